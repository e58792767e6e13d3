"""Everything of the page that stands around the conversation, in a browser."""

from __future__ import annotations

import asyncio
import json
import re
import time
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zxingcpp

from amanat import Client, errors
from amanat.protocol.descriptor import MoveNotice
from amanat.relay.directory import write_notice
from pages import (
    UNLOCK,
    holds,
    in_a_loop,
    opened,
    page_of_alice,
    relay,
    sheet,
    show_sheet,
    shown_to,
    until,
)
from relays import RelayProcess

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import WebSocketRoute


__all__ = ["relay"]
KEY = re.compile(r'^  "?([a-z-]+)"?:', re.MULTILINE)
DAY_S = 86_400
MONTHS = {
    *("ژانویه", "فوریه", "مارس", "آوریل", "مه", "ژوئن", "ژوئیه"),
    *("اوت", "سپتامبر", "اکتبر", "نوامبر", "دسامبر", "ژانویهٔ", "فوریهٔ", "مهٔ", "ژوئیهٔ"),
}
"""The months of the Gregorian calendar, in Persian."""
ELSEWHERE = {
    *("background-busy", "background-gone", "cluster-unready", "other-version", "output-failed"),
    *("bad-setting", "broken-certificate", "broken-control", "broken-report", "drop-moved"),
    *("future-epoch", "id-in-use", "lab-missing", "move-refused"),
    *("move-under-way", "not-installed", "notice-runs", "report-exists", "store-damaged"),
    *("scrub-under-way", "store-too-new", "store-too-old"),
    "wrong-shares",
}
"""Errors of commands, relays and drills, and those that stay inside the client."""
pytestmark = pytest.mark.e2e


@in_a_loop
async def test_a_line_of_the_list_says_how_its_conversation_stands(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        maryam.contact("alice").send("سلام")
        row = tab.locator("chat-list .row")
        await row.locator(".unread", has_text="1").wait_for()
        await row.get_by_text("سلام").wait_for()
        alice.contact("مریم").set_verified()
        await row.get_by_text("Verified").wait_for()
        alice.chat("مریم").set_draft("perhaps")
        await row.get_by_text("Draft").wait_for()
        alice.chat("مریم").set_draft("")
        alice.chat("مریم").send("hello")
        await row.get_by_text("You: hello").wait_for()
        await row.locator("a").click(button="right")
        await tab.get_by_role("menuitem", name="Mute for 8 hours").click()
        await row.get_by_text("Muted").wait_for()
        await tab.locator(".unread.quiet").wait_for()
        await row.locator("a").focus()
        await tab.keyboard.press("Shift+F10")
        await tab.get_by_role("menuitem", name="Pin").wait_for()
        await tab.keyboard.press("Enter")
        await row.get_by_text("Pinned").wait_for()
        await row.hover()
        await row.get_by_role("button").click()
        await tab.get_by_role("menuitem", name="Archive").click()
        await tab.get_by_role("button", name="Archived (1)").click()
        await row.hover()
        await row.get_by_role("button").click()
        await tab.keyboard.press("Escape")
        assert await tab.evaluate("document.activeElement.className") == "more"
        await tab.get_by_role("button", name="All conversations").click()
        assert not await row.is_visible()


@in_a_loop
async def test_keys_find_the_next_conversation_and_the_search(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, _, tab):
        alice.create_group("Bakers")
        await tab.locator("chat-list .row", has_text="Bakers").wait_for()
        await tab.keyboard.press("Alt+ArrowDown")
        first = await tab.locator("h1").inner_text()
        await tab.keyboard.press("Alt+ArrowDown")
        await holds(tab, f"document.querySelector('h1').innerText !== {first!r}")
        await tab.keyboard.press("Alt+ArrowUp")
        await holds(tab, f"document.querySelector('h1').innerText === {first!r}")
        await tab.locator("main textarea:focus").wait_for()
        links = tab.locator("chat-list .row a")
        await links.first.focus()
        await tab.keyboard.press("ArrowDown")
        assert await links.last.evaluate("(link) => link === document.activeElement")
        await tab.keyboard.press("Control+k")
        await tab.keyboard.type("bak")
        await tab.locator("room-find a", has_text="Bakers").wait_for()
        await tab.keyboard.press("Escape")
        assert await tab.input_value("input[type=search]") == ""
        await tab.locator("chat-list a").first.focus()
        await tab.keyboard.press("/")
        await tab.locator("input[type=search]:focus").wait_for()
        assert await tab.input_value("input[type=search]") == ""
        assert await tab.locator("chat-list").is_visible()


@in_a_loop
async def test_search_finds_people_and_messages_and_opens_the_conversation_there(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        maryam.contact("alice").send("😀 we meet at the bakery")
        for n in range(80):
            alice.chat("مریم").send(f"line {n}")
        await until(alice, lambda: alice.chat("مریم").count() == 81)
        await tab.fill("input[type=search]", "مريم")  # with the letter of Arabic
        await tab.locator("room-find a", has_text="مریم").wait_for()
        await tab.fill("input[type=search]", "bak")
        result = tab.locator("room-find a", has_text="we meet")
        await result.wait_for()
        assert await result.locator("mark").all_inner_texts() == ["bakery"]
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("log").get_by_text("we meet at the bakery").wait_for()
        await tab.fill("input[type=search]", "nowhere")
        await tab.get_by_text("Nothing found.").wait_for()


def read_code(path: str | None) -> str:
    """The text of a QR code whose dark squares a path draws."""
    squares = [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path or "")]
    size = max(x for x, _ in squares) + 5
    image = np.full((size, size), 255, dtype=np.uint8)
    for x, y in squares:
        image[y, x] = 0
    [found] = zxingcpp.read_barcodes(image.repeat(4, 0).repeat(4, 1))
    return found.text


@in_a_loop
async def test_an_invite_is_shown_as_a_code_and_can_be_withdrawn(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, _, tab):
        await sheet(tab, "Begin something new", "New contact", "Show my QR code")
        await tab.locator("svg.code").wait_for()
        link = await tab.locator(".link code").inner_text()
        assert [one.id for one in alice.invites()]
        assert read_code(await tab.locator("svg.code .black").get_attribute("d")) == link
        await sheet(tab, "Withdraw")
        await tab.get_by_role("button", name="Use somebody\u2019s link").wait_for()
        assert not alice.invites()
        alice.invite()
        await tab.keyboard.press("Escape")
        assert not await tab.locator("dialog[open]").count()
        assert await tab.evaluate("document.activeElement.ariaLabel") == "Begin something new"
        await sheet(tab, "Begin something new", "New contact", "Withdraw")
        await until(alice, lambda: not alice.invites())
        await sheet(tab, "Show my QR code")
        before = await tab.locator(".link code").inner_text()
        await tab.get_by_label("How long it works").select_option("3600")
        await until(alice, lambda: alice.invites()[-1].expires_at < alice.now() + 3_600_001)
        await tab.locator(".link code").filter(has_not_text=before).wait_for()
        await until(alice, lambda: len(alice.invites()) == 1)
        link = await tab.locator(".link code").inner_text()
        address = str(relay.address)
        async with await Client.create(
            tmp_path / "babak", UNLOCK, name="babak", relay=address
        ) as babak:
            babak.accept(link)
            await tab.get_by_text("This invite was used").wait_for()
            await tab.locator("chat-list a", has_text="babak").wait_for(state="attached")


@in_a_loop
async def test_somebodys_link_is_used_by_paste_and_a_bad_one_is_explained(
    tmp_path: Path, relay: RelayProcess
) -> None:
    address = str(relay.address)
    async with (
        page_of_alice(tmp_path, relay) as (alice, _, tab),
        await Client.create(tmp_path / "babak", UNLOCK, name="babak", relay=address) as babak,
    ):
        await sheet(tab, "Begin something new", "New contact", "Use somebody\u2019s link")
        for bad, why in (("amanat:nothing", "not a whole invite"), (alice.invite(), "your own")):
            await tab.get_by_label("Their link").fill(bad)
            await sheet(tab, "Knock")
            await tab.get_by_role("alert").get_by_text(why).wait_for()
        await tab.get_by_label("Their link").fill(f"Here it is: {babak.invite()}")
        await sheet(tab, "Knock")
        await tab.get_by_text("You knocked. Once babak has let you in").wait_for()
        await sheet(tab, "Done")
        await tab.locator("chat-list a", has_text="babak").wait_for()


@in_a_loop
async def test_a_group_is_begun_changed_and_left(tmp_path: Path, relay: RelayProcess) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        await sheet(tab, "Begin something new", "New group")
        await tab.get_by_label("Name of the group").fill("<img src=x onerror=alert(1)>")
        await tab.get_by_role("checkbox", name="مریم").check()
        await sheet(tab, "Begin the group")
        await tab.locator("main h1", has_text="<img").wait_for()
        gid = next(one.gid for one in alice.summaries() if not one.is_direct)
        await until(maryam, lambda: len(maryam.summaries()) == 2)
        await until(alice, lambda: len(alice.chat(gid).view().people) == 2)
        await tab.locator(".info").click()
        await tab.get_by_role("heading", name="2 people").wait_for()
        await tab.get_by_text("Messages to you rest in Germany.").wait_for()
        await sheet(tab, "Rename the group")
        await tab.get_by_label("Name of the group").fill("Bakers")
        await tab.keyboard.press("Enter")
        await until(maryam, lambda: "Bakers" in [one.name for one in maryam.summaries()])
        await sheet(tab, "More: مریم", "Make admin")
        await until(alice, lambda: "مریم" in alice.chat(gid).view().admins)
        await tab.get_by_label("Add people").select_option("members")
        await until(alice, lambda: alice.chat(gid).view().roles["may_add"] == "members")
        await sheet(tab, "More: مریم", "Take admin rights away")
        await until(alice, lambda: "مریم" not in alice.chat(gid).view().admins)
        await sheet(tab, "More: مریم", "Remove", "Remove")
        await until(alice, lambda: alice.chat(gid).view().people == ["alice"])
        await sheet(tab, "Leave the group", "Leave the group")
        await tab.locator(".notice").wait_for()
        assert not alice.chat(gid).view().is_live


@in_a_loop
async def test_a_group_out_of_step_is_joined_again_after_a_look_at_it(
    tmp_path: Path, relay: RelayProcess
) -> None:
    state = {
        "helper": "maryam",
        "signer": "maryam",
        "came": ["babak"],
        "went": [],
        "admins": ["babak"],
        "no_admins": ["alice"],
        "name": "Bakers of old",
    }
    asked = list[str]()

    def stand_between(line: WebSocketRoute) -> None:
        client = line.connect_to_server()

        def say(frame: str | bytes) -> None:
            asked.append(str(frame))
            client.send(frame)

        def tell(frame: str | bytes) -> None:
            said = json.loads(frame)
            if "rejoinable" in str(frame):
                said["ok"] |= {"state": "astray", "rejoinable": [state]}
            line.send(json.dumps(said))

        line.on_message(say)
        client.on_message(tell)

    async with shown_to(tmp_path, relay) as (alice, _, server, context):
        alice.create_group("Bakers")
        await context.route_web_socket(re.compile("/live$"), stand_between)
        tab, console = await opened(context, server)
        await tab.locator("chat-list a", has_text="Bakers").click()
        await tab.locator("button.info").click()
        await tab.get_by_text("has lost its place in this conversation").wait_for()
        await tab.get_by_text("New in it: babak.").wait_for()
        await tab.get_by_text("No longer admins: alice.").wait_for()
        await tab.get_by_text("It is called Bakers of old now.").wait_for()
        await sheet(tab, "Join again")
        await tab.get_by_text("a stranger among them will read what you write").wait_for()
        await sheet(tab, "Join again")
        await tab.get_by_role("alert").get_by_text("You have no contact with this name.").wait_for()
        [ask] = [json.loads(one) for one in asked if '"rejoin"' in one]
        assert ask["helper"] == "maryam"
        assert console == []


@in_a_loop
async def test_a_group_that_a_contact_offers_is_joined_declined_or_blocked(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        alice.offers.set_adds("ask")
        for name in ("Bakers", "Cooks"):
            maryam.create_group(name, ["alice"])
        bakers = tab.locator(".offer", has_text="Bakers")
        cooks = tab.locator(".offer", has_text="Cooks")
        await bakers.get_by_text("مریم wants you in the group Bakers.").wait_for()
        await cooks.wait_for()
        await bakers.get_by_role("button", name="Join").click()
        await tab.locator("chat-list a", has_text="Bakers").wait_for()
        await cooks.get_by_role("button", name="Decline").click()
        await cooks.wait_for(state="detached")
        assert not alice.offers.all()


VISITS = {
    "en": ("When somebody knocks", "Let in", "Turn away", "has knocked and wants to meet you"),
    "fa": (
        "وقتی کسی با دعوت من در می‌زند", "راه دادن", "راه ندادن",
        "در زده است و می‌خواهد با شما آشنا شود",
    ),
}  # fmt: skip
"""The words of the page about people who knock, in each language."""


@in_a_loop
@pytest.mark.parametrize("language", ["en", "fa"])
async def test_somebody_who_knocks_is_let_in_or_turned_away(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    choice, let_in, turn_away, visits = VISITS[language]
    address = str(relay.address)
    async with (
        page_of_alice(tmp_path, relay, language) as (alice, _, tab),
        await Client.create(tmp_path / "babak", UNLOCK, name="babak", relay=address) as babak,
        await Client.create(tmp_path / "mallory", UNLOCK, name="مریم", relay=address) as mallory,
    ):
        await sheet(tab, "Settings" if language == "en" else "تنظیمات")
        await tab.get_by_label(choice).select_option("ask")
        await until(alice, lambda: alice.visitors.knocks == "ask")
        await tab.keyboard.press("Escape")
        babak.accept(alice.invite(), "سلام <b>alice</b>\n" * 100)
        mallory.accept(alice.invite())
        first = tab.locator(".offer", has_text="babak")
        second = tab.locator(".offer", has_text="مریم (2)")
        await first.get_by_text(visits).wait_for()
        assert await first.locator(".greeting").get_attribute("dir") == "rtl"
        assert "<b>alice</b>" in await first.locator(".greeting").inner_text()
        box = await first.bounding_box()
        assert box is not None
        assert box["height"] < 400
        await second.get_by_role("button", name=turn_away).click()
        await second.wait_for(state="detached")
        await first.get_by_role("button", name=let_in).click()
        await tab.locator("chat-list a", has_text="babak").wait_for()
        await first.wait_for(state="detached")
        assert alice.visitors.all() == []
        await until(babak, lambda: len(babak.contacts()) == 1)
        assert mallory.contacts() == []


@in_a_loop
async def test_a_safety_number_is_compared_and_a_contact_blocked(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay, "fa") as (alice, maryam, tab):
        await tab.locator("chat-list a").click()
        await tab.locator(".info").click()
        await sheet(tab, "مقایسهٔ شمارهٔ ایمنی")
        shown = "".join((await tab.locator(".number").inner_text()).split())
        theirs = maryam.contact("alice").safety_number
        assert shown == "".join(theirs.split())
        assert await tab.locator(".number span").count() == 12
        assert await tab.locator(".number").get_attribute("dir") == "ltr"
        await sheet(tab, "بله، یکی است")
        await until(alice, lambda: alice.contact("مریم").is_verified)
        await tab.get_by_role("button", name="دیگر مطمئن نیستم").wait_for()
        await sheet(tab, "بازگشت")
        await sheet(tab, "مسدود کردن", "مسدود کردن")
        await tab.get_by_role("button", name="رفع مسدودی").wait_for()
        assert alice.contact("مریم").is_blocked
        await sheet(tab, "رفع مسدودی")
        await until(alice, lambda: not alice.contact("مریم").is_blocked)


@in_a_loop
async def test_details_say_where_it_rests_and_set_the_timer(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, _, tab):
        await tab.locator("chat-list a").click()
        await tab.locator(".info").click()
        await tab.get_by_text(
            "Your messages rest in Germany, at the homes of the others"
        ).wait_for()
        await tab.get_by_label("New messages disappear").select_option("604800")
        await until(alice, lambda: alice.chat("مریم").view().timer == 604800)
        await tab.get_by_label("New messages disappear").select_option("custom")
        await tab.get_by_label("Days", exact=True).fill("3")
        await sheet(tab, "Set")
        await until(alice, lambda: alice.chat("مریم").view().timer == 3 * 86400)
        timer = tab.get_by_role("combobox", name="New messages disappear")  # no longer the sheet
        await timer.select_option("300")
        await until(alice, lambda: alice.chat("مریم").view().timer == 300)
        await sheet(tab, "Mute until I unmute")
        await tab.get_by_text("Muted until you unmute it.").wait_for()


@in_a_loop
async def test_home_says_where_it_rests_and_what_went_wrong(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, _, tab):
        await tab.locator(".me", has_text="alice").click()
        await tab.get_by_text("rests in Germany, and is under the law there").wait_for()
        await tab.get_by_label("Both must be in one region").check()
        await until(alice, lambda: alice.status().is_strict)
        await tab.get_by_label("It waits to be fetched").select_option("hold")
        await until(alice, lambda: alice.status().outbound == "hold")
        await tab.get_by_label("Hide when you write").select_option("60")
        await tab.get_by_role("alert").get_by_text("you need a second relay").wait_for()
        await sheet(tab, "Change the regions")
        await tab.get_by_label("Regions by their two letters").fill("de, nl")
        await tab.get_by_text("Germany and Netherlands").wait_for()
        await sheet(tab, "Set")
        await tab.get_by_text("Only in Germany and Netherlands.").wait_for()
        with alice._run.unit() as unit:
            alice._conversations.warnings.warn(unit, None, "message-lost", "")
        await tab.get_by_text("A message to you is lost").wait_for()
        await tab.locator(".me .trouble").wait_for()
        await sheet(tab, "Seen")
        await tab.locator(".me .trouble").wait_for(state="detached")


@in_a_loop
async def test_a_person_moves_to_another_home(tmp_path: Path, relay: RelayProcess) -> None:
    with RelayProcess(tmp_path / "other", region="NL") as other:
        async with page_of_alice(tmp_path, relay) as (alice, _, tab):
            alice.home.set_allowed_regions(["DE"])
            await tab.locator(".me").click()
            await sheet(tab, "Move to another home")
            await tab.get_by_label("Address of the relay").fill("amanat://nowhere")
            await sheet(tab, "Move to another home", "Move to another home")
            await tab.get_by_role("alert").get_by_text("not a whole relay address").wait_for()
            await tab.get_by_label("Address of the relay").fill(str(other.address))
            await sheet(tab, "Move to another home", "Move to another home")
            await tab.get_by_role("alert").get_by_text("a region you have not allowed").wait_for()
            alice.home.set_allowed_regions(["DE", "NL"])
            await sheet(tab, "Move to another home", "Move to another home")
            await tab.get_by_text("rests in Netherlands, and is under the law").wait_for()
            await tab.get_by_text("One person does not know yet where you are").wait_for()
            assert alice.status().region == "NL"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            (
                "Your relay moves to France on",
                "Its operator says: the law",
                "Stay: allow this region",
                "You allow this region",
                "Leave for another relay",
                "Address of the relay",
            ),
        ),
        (
            "fa",
            (
                "به فرانسه می‌رود. تا",
                "گرداننده‌اش می‌گوید: the law",
                "ماندن: اجازه به این منطقه",
                "این منطقه را اجازه داده‌اید",
                "رفتن به رله‌ای دیگر",
                "نشانی رله",
            ),
        ),
    ],
)
@in_a_loop
async def test_a_move_of_the_relay_is_announced_and_allowed(
    tmp_path: Path, relay: RelayProcess, language: str, said: tuple[str, ...]
) -> None:
    moves, reason, stay, stays, leave, address = said
    with RelayProcess(tmp_path / "other", region="FR") as other:
        on = int(time.time() // DAY_S) + 400
        notice = MoveNotice(to=other.signed, region="FR", on=on, reason="the law")
        write_notice(relay.directory.path, notice)
        async with page_of_alice(tmp_path, relay, language) as (alice, _, tab):
            await alice.watch.check_ledgers()
            await tab.locator(".me").click()
            shown = tab.locator("section.notice")
            await shown.get_by_text(moves).wait_for()
            await shown.get_by_text(reason).wait_for()
            await sheet(tab, stay)
            await shown.get_by_text(stays).wait_for()
            assert alice.status().allowed_regions == ["DE", "FR"]
            await sheet(tab, leave)
            await tab.get_by_label(address).wait_for()


@in_a_loop
async def test_the_profile_is_locked_once_nothing_was_done_for_long(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with shown_to(tmp_path, relay) as (_, _, server, context):
        await context.clock.install()
        asked = list[str]()
        context.on(
            "page",
            lambda tab: tab.on(
                "websocket",
                lambda line: line.on("framesent", lambda frame: asked.append(str(frame))),
            ),
        )
        tab, console = await opened(context, server)
        await sheet(tab, "Settings")
        await tab.get_by_label("Lock when nothing was done for").select_option("5")
        await context.clock.run_for(4 * 60_000)
        await tab.mouse.move(3, 3)
        await context.clock.run_for(4 * 60_000)
        assert not [one for one in asked if '"lock"' in one]
        await context.clock.run_for(2 * 60_000)
        assert [one for one in asked if '"lock"' in one]
        await tab.locator("chat-list .row").wait_for(state="detached")
        assert not await tab.locator("dialog[open]").count()
        assert console == []


@in_a_loop
async def test_a_last_line_without_a_letter_has_the_direction_of_the_page(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay, "fa") as (_, maryam, tab):
        maryam.contact("alice").send("⛰")
        await tab.locator("chat-list p[dir=rtl]", has_text="⛰").wait_for()
        maryam.contact("alice").send("⛰ hello")
        await tab.locator("chat-list p[dir=ltr]", has_text="hello").wait_for()


@in_a_loop
async def test_settings_rest_in_the_vault_and_work_at_once(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        await sheet(tab, "Settings")
        await tab.get_by_label("Theme").select_option("dark")
        await holds(tab, "getComputedStyle(document.body).backgroundColor === 'rgb(22, 28, 32)'")
        await tab.get_by_label("When a contact adds me").select_option("ask")
        await until(alice, lambda: alice.offers.adds == "ask")
        await tab.get_by_label("The Enter key").select_option("break")
        await sheet(tab, "Health")
        await tab.get_by_text("Everything you have is whole.").wait_for()
        await sheet(tab, "Back", "About")
        await tab.get_by_text("Your browser keeps nothing").wait_for()
        await sheet(tab, "Back")
        await tab.get_by_role("combobox", name="Language", exact=True).select_option("fa")
        await tab.wait_for_selector("html[lang=fa][dir=rtl][data-usable]")
        await tab.reload()
        await tab.wait_for_selector("html[lang=fa][data-usable]")
        await tab.locator("chat-list a").click()
        await tab.fill("main textarea", "one")
        await tab.keyboard.press("Enter")
        await tab.keyboard.type("two")
        await tab.keyboard.press("Control+Enter")
        await until(maryam, lambda: maryam.chat("alice").count() > 0)
        assert [one.text for one in maryam.chat("alice").messages()] == ["one\ntwo"]


@in_a_loop
async def test_digits_and_calendar_are_settings_of_their_own(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay, "fa") as (alice, _, tab):
        alice.invite()

        async def expires() -> str:
            await show_sheet(tab, "people.showNewContact()")
            return await tab.locator("dialog .line span").first.inner_text()

        async def choose(label: str, value: str) -> None:
            await show_sheet(tab, "settings.showSettings()")
            box = tab.get_by_role("combobox", name=label, exact=True)
            await box.select_option(value)
            name = {"رقم‌ها": "digits", "گاه‌شمار": "calendar"}[label]
            async with asyncio.timeout(30):
                while f"{name}={value}" not in tab.url:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0.05)
            await tab.wait_for_selector("html[lang=fa][data-usable]")

        jalali = await expires()
        assert re.search("[۰-۹]", jalali)
        assert not re.search("[0-9]", jalali)
        await choose("رقم‌ها", "latn")
        same = await expires()
        assert re.sub(r"\d+", "n", same) == re.sub(r"\d+", "n", jalali)
        assert not re.search("[۰-۹]", same)
        await choose("گاه‌شمار", "gregory")
        gregorian = await expires()
        assert MONTHS & set(gregorian.replace("،", " ").split())
        assert not MONTHS & set(jalali.replace("،", " ").split())
        assert re.search("[0-9]", gregorian)


@in_a_loop
async def test_news_is_announced_without_a_name_and_only_if_wanted(
    tmp_path: Path, relay: RelayProcess
) -> None:
    recorder = """
        globalThis.announced = [];
        globalThis.Notification = class {
            static permission = "granted";
            static requestPermission() { return Promise.resolve("granted"); }
            constructor(title) { announced.push(title); }
            close() {}
        };
    """
    async with shown_to(tmp_path, relay) as (alice, maryam, server, context):
        await context.add_init_script(recorder)
        tab, console = await opened(context, server)
        maryam.contact("alice").send("one")
        await holds(tab, "document.title === '(1) Amanat'")
        assert await tab.get_attribute("link[rel=icon]", "href") == "icon-unread.svg"
        assert await tab.evaluate("announced") == []
        await sheet(tab, "Settings")
        await tab.get_by_label("Notifications").select_option("plain")
        maryam.contact("alice").send("two")
        await holds(tab, "announced.length === 1")
        assert await tab.evaluate("announced") == ["New message"]
        alice.chat("مریم").set_muted(2**52)
        await holds(tab, "document.title === 'Amanat'")
        maryam.contact("alice").send("three")
        await until(alice, lambda: alice.chat("مریم").summary().unread == 3)
        alice.chat("مریم").set_muted(None)
        await holds(tab, "document.title === '(3) Amanat'")
        await tab.get_by_label("Notifications").select_option("named")
        maryam.contact("alice").send("four")
        await holds(tab, "announced.length === 2")
        assert "مریم" in (await tab.evaluate("announced"))[1]
        assert console == []


def test_every_error_and_every_warning_of_a_client_has_words_in_both_languages() -> None:
    web, known = resources.files("amanat.page") / "web", set[str]()
    english, persian = (
        [
            KEY.findall(part)
            for name, first in ((f"words-{language}.js", 2), (f"more-{language}.js", 1))
            for part in (web / name).read_text().split("export const ")[first:]
        ]
        for language in ("en", "fa")
    )
    assert english == persian
    known |= {key for part in english for key in part}
    known |= {*re.findall('^  "([a-z-]+)",', (web / "warned.js").read_text(), re.MULTILINE)}
    assert set(errors.BY_CODE) - known == ELSEWHERE


def test_no_style_knows_a_left_or_a_right() -> None:
    style = (resources.files("amanat.page") / "web" / "style.css").read_text()
    assert re.findall("left|right", style) == []
    rules = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    assert rules.count("{") == rules.count("}")


def test_a_colour_or_a_time_stands_among_the_tokens_alone() -> None:
    style = (resources.files("amanat.page") / "web" / "style.css").read_text()
    rules = re.sub(r"/\*.*?\*/|:root \{.*?\}", "", style, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(|\d+m?s\b", rules) == []
