"""One's own name, notes, forwarding, and what one takes away, on the page in a browser."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import keyring.backends.fail
import keyring.core
import pytest

from amanat import Unlock, opens_with, page
from amanat.errors import WrongPassphrase
from keyrings import Memory, system_keyring
from pages import (
    browser,
    faults_in_both_themes,
    in_a_loop,
    opened,
    page_of_alice,
    relay,
    until,
)
from ups import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Locator, Page

    from amanat import Client
    from relays import RelayProcess

__all__ = ["relay", "system_keyring"]  # fixtures
pytestmark = pytest.mark.e2e
SECRET = "nobody would guess this"  # noqa: S105  # of nobody


class Alice(NamedTuple):
    """Alice's page, and both clients."""

    tab: Page
    client: Client
    maryam: Client

    def row(self, name: str) -> Locator:
        """The line of a conversation in the list."""
        return self.tab.locator("chat-list .row", has_text=name)

    def bubble(self, text: str) -> Locator:
        return self.tab.locator("article", has=self.tab.locator("p", has_text=text))

    async def open(self, name: str) -> None:
        await self.row(name).locator("a").click()
        await self.tab.locator("main textarea:focus").wait_for()

    async def press(self, *names: str) -> None:
        """Press one after the other; what is pressed is on the page or in the sheet."""
        for one in names:
            button = self.tab.get_by_role("button", name=one, exact=True)
            await button.or_(self.tab.get_by_role("menuitem", name=one, exact=True)).last.click()

    async def type(self, text: str) -> None:
        """Write into the field that has the focus."""
        await self.tab.locator("dialog input:focus").fill(text)

    async def says(self, text: str) -> None:
        """Wait until the sheet says something."""
        await self.tab.get_by_role("dialog").get_by_text(text).wait_for()


@contextlib.asynccontextmanager
async def alices(root: Path, relay: RelayProcess, language: str = "en") -> AsyncIterator[Alice]:
    """Alice with her page, and مریم whom she has met."""
    async with page_of_alice(root, relay, language) as (client, maryam, tab):
        yield Alice(tab, client, maryam)


@contextlib.asynccontextmanager
async def house_of_alice(root: Path) -> AsyncIterator[tuple[page.House, Alice]]:
    """The page of a profile that a passphrase opens, of somebody who has met nobody but Echo."""
    house = page.House(root / "alice")
    async with page.serving(house, port=0) as server, browser("en") as context:
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
        client = house._present().client
        tab, console = await opened(context, server)
        yield house, Alice(tab, client, client)
        assert console == []
        await house.close()


@in_a_loop
async def test_another_name_is_taken_at_home_and_everything_follows(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, chat = alice.tab, alice.client.chat("مریم")
        chat.send("good news")
        chat.messages()[0].react("👍")
        await alice.open("مریم")
        await alice.press("alice", "Change your name")
        await alice.type("  Alice of Shiraz ")
        await tab.keyboard.press("Enter")
        await alice.says("Alice of Shiraz")
        await tab.locator(".bar .me", has_text="Alice of Shiraz").wait_for()
        await until(alice.maryam, lambda: alice.maryam.contacts()[0].name == "Alice of Shiraz")
        await tab.keyboard.press("Escape")
        # One's own reaction is one's own under the new name, too.
        chip = alice.bubble("good news").locator(".chip[aria-pressed=true]")
        await chip.wait_for()
        assert await chip.get_attribute("title") == "\u2068You\u2069"
        await alice.press("Alice of Shiraz", "Change your name")
        await alice.type(" ")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text="Write a name.").wait_for()
        assert alice.client.status().name == "Alice of Shiraz"


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_notes_to_oneself_have_a_name_of_their_own_everywhere(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with alices(tmp_path, relay, language) as alice:
        tab, name = alice.tab, {"en": "Notes to yourself", "fa": "یادداشت برای خودتان"}[language]
        here = {"en": "Stays on this device", "fa": "روی همین دستگاه می‌ماند"}[language]
        await tab.locator(".bar .round").click()
        await tab.get_by_role("menuitem", name=name).click()
        await tab.locator("main h1", has_text=name).wait_for()
        await tab.locator("main .rest", has_text=here).wait_for()
        await tab.locator("main textarea:focus").fill("buy dates, @")
        await tab.keyboard.press("Enter")
        mark = alice.bubble("buy dates").locator(".mark")
        assert await mark.get_attribute("title") == here.removesuffix(" می‌ماند").replace(
            "Stays on", "On"
        )
        row = alice.row(name)
        await row.locator(".face .icon-notes").wait_for()
        await row.locator("p", has_text="buy dates, @").wait_for()
        await tab.fill("input[type=search]", name[:5])
        await tab.locator("room-find a .icon-notes").first.wait_for()
        await tab.fill("input[type=search]", "dates")
        await tab.locator("room-find a", has_text=name).locator("mark").wait_for()
        await tab.fill("input[type=search]", "")
        await tab.locator("main .info").click()
        await tab.get_by_role("dialog").get_by_role("heading", name=name).wait_for()
        await tab.get_by_role("dialog").locator("select").wait_for()
        assert "alice" not in await tab.get_by_role("dialog").inner_text()
        await tab.keyboard.press("Escape")
        await alice.bubble("buy dates").click(button="right")
        items = await tab.get_by_role("menuitem").all_inner_texts()
        delete = {"en": "Delete", "fa": "پاک کردن"}[language]
        assert [one for one in items if one.startswith(delete)] == [delete]
        await tab.get_by_role("menuitem", name=delete).click()
        await tab.get_by_role("dialog").get_by_role("button", name=delete).click()
        await alice.bubble("buy dates").wait_for(state="detached")
        assert await tab.locator(".away").is_hidden()
        await alice.row("مریم").locator("a").click()
        await tab.locator("main h1", has_text="مریم").wait_for()
        assert await tab.locator("main .rest").inner_text() != here


@in_a_loop
async def test_messages_are_forwarded_to_ones_notes_and_to_people(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, chat = alice.tab, alice.client.chat("مریم")
        bakers = alice.client.create_group("Bakers")
        for text in ("first", "second", "third"):
            alice.maryam.contact("alice").send(text)
        await until(alice.client, lambda: chat.count() == 3)
        chat.send("nothing")
        chat.delete([chat.messages()[-1].id])
        await alice.open("مریم")
        await tab.locator("article.deleted").click(button="right")
        assert await tab.get_by_role("menuitem", name="Forward…").count() == 0
        await tab.keyboard.press("Escape")
        await alice.bubble("second").click(button="right")
        await alice.press("Forward…")
        targets = tab.locator("dialog .target bdi")
        await targets.first.wait_for()
        assert await targets.all_inner_texts() == ["Notes to yourself", "مریم", "Bakers"]
        await alice.type("note")
        assert await targets.filter(visible=True).all_inner_texts() == ["Notes to yourself"]
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("Enter")
        await tab.locator("main h1", has_text="Notes to yourself").wait_for()
        await alice.bubble("second").locator(".forwarded", has_text="Forwarded").wait_for()
        assert await faults_in_both_themes(alice.tab) == []
        await alice.open("مریم")
        await alice.bubble("third").click(button="right")
        await alice.press("Select")
        await alice.bubble("first").click()
        await tab.locator("article.deleted").click()
        await tab.get_by_role("toolbar").get_by_role("button", name="Forward…").click()
        await tab.locator("dialog .target", has_text="Bakers").click()
        await tab.locator("main h1", has_text="Bakers").wait_for()
        await alice.bubble("third").locator(".forwarded").wait_for()
        said = alice.client.chat(bakers.gid).messages()
        assert [one.text for one in said] == ["first", "third"]
        assert all(one.is_forwarded for one in said)
        assert await tab.get_by_role("toolbar").is_hidden()


@in_a_loop
async def test_where_nothing_can_be_said_the_sheet_says_so_and_nothing_is_sent_twice(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, notes = alice.tab, alice.client.notes()
        for text in ("first", "second"):
            notes.send(text)
        await alice.open("Notes to yourself")
        await alice.bubble("first").click(button="right")
        await alice.press("Select")
        await alice.bubble("second").click()
        second = notes.messages()[1].id
        await tab.get_by_role("toolbar").get_by_role("button", name="Forward…").click()
        await tab.locator("dialog .target").last.wait_for()
        notes.delete([second])  # in another window, meanwhile
        for _ in range(2):
            await tab.locator("dialog .target", has_text="مریم").click()
            await tab.get_by_role("alert").filter(has_text="no longer here").wait_for()
        assert [one.text for one in alice.client.chat("مریم").messages()] == ["first"]


@in_a_loop
async def test_all_messages_of_a_conversation_are_deleted_here_alone(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, chat = alice.tab, alice.client.chat("مریم")
        for number in range(40):
            chat.send(f"line {number}")
        await until(alice.maryam, lambda: alice.maryam.chat("alice").count() == 40)
        await alice.open("مریم")
        await tab.locator("main .info").click()
        await alice.press("Delete all messages here")
        await alice.says("The others keep theirs")
        await alice.press("Cancel")
        assert chat.count() == 40
        await alice.press("Delete all messages here", "Delete")
        await alice.bubble("line 39").wait_for(state="detached")
        await tab.locator("article").first.wait_for(state="detached")
        assert (chat.count(), alice.maryam.chat("alice").count()) == (0, 40)
        await tab.keyboard.press("Escape")
        await tab.locator("main h1", has_text="مریم").wait_for()
        assert await tab.locator(".away").is_hidden()
        assert await alice.row("مریم").locator("p").inner_text() == ""


@in_a_loop
async def test_a_group_that_was_left_goes_from_the_list_with_its_messages(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, bakers = alice.tab, alice.client.create_group("Bakers")
        chat = alice.client.chat(bakers.gid)
        chat.send("flour")
        await alice.open("Bakers")
        chat.leave()
        await until(alice.client, lambda: chat.view().state == "left")
        await tab.locator("main .info").click()
        await alice.press("Delete all messages here")
        await alice.says("goes from the list")
        await alice.press("Delete")
        await alice.row("Bakers").wait_for(state="detached")
        await tab.locator("dialog[open]").wait_for(state="detached")
        await tab.get_by_role("heading", name="Choose a conversation.").wait_for()
        assert await tab.locator("main h1").is_hidden()
        assert await alice.row("مریم").is_visible()


@in_a_loop
async def test_a_contact_is_removed_and_the_conversation_closes(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab = alice.tab
        alice.maryam.contact("alice").send("hello")
        await alice.row("hello").wait_for()
        await alice.open("مریم")
        await alice.bubble("hello").wait_for()
        await tab.locator("main .info").click()
        await alice.press("Remove this contact")
        await alice.says("To talk again you need a new invite.")
        await tab.locator(".question button.bad").click()
        await alice.row("مریم").wait_for(state="detached")
        await tab.get_by_role("heading", name="You have no conversations yet.").wait_for()
        await tab.locator("dialog[open]").wait_for(state="detached")
        assert not alice.client.contacts()
        await tab.locator(".bar .round").click()
        await alice.press("New group")
        await alice.says("There is nobody to add.")
        assert await tab.locator(".away").is_hidden()


@pytest.mark.parametrize(("name", "form"), [("A page, for people", "html"), ("Data", "json")])
@in_a_loop
async def test_a_conversation_becomes_a_file_and_the_page_says_where_it_is(
    tmp_path: Path, relay: RelayProcess, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    async with alices(tmp_path, relay) as alice:
        downloads = tmp_path / "Downloads"
        downloads.mkdir()
        monkeypatch.setenv("HOME", str(tmp_path))
        alice.client.chat("مریم").send("a word")
        await alice.open("مریم")
        await alice.tab.locator("main .info").click()
        await alice.press("Save as a file…")
        await alice.says("whoever has it can read it")
        await alice.tab.get_by_role("button", name=name).click()
        await alice.says(str(downloads / f"مریم.{form}"))
        assert "a word" in (downloads / f"مریم.{form}").read_text()


@in_a_loop
async def test_another_passphrase_opens_the_profile_from_then_on(tmp_path: Path) -> None:
    async with house_of_alice(tmp_path) as (house, alice):
        tab = alice.tab
        old, new, again = (
            tab.get_by_label(name, exact=True)
            for name in (
                "The passphrase until now",
                "The new passphrase",
                "The new passphrase again",
            )
        )
        await alice.press("Settings", "Change the passphrase")
        await old.fill("a guess")
        await new.fill("another one")
        await again.fill("another none")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text="differ").wait_for()
        await again.fill("another one")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text="does not open").wait_for()
        await old.fill(SECRET)
        await tab.keyboard.press("Enter")
        await alice.says("From now on, the new passphrase")
        await alice.press("Done", "Lock now")
        await tab.locator("start-page input:visible").fill("another one")
        await tab.keyboard.press("Enter")
        await tab.locator(".bar .me", has_text="alice").wait_for()
        await house.close()
        with pytest.raises(WrongPassphrase):
            await house.open(Unlock(passphrase=SECRET))


@in_a_loop
async def test_the_system_keyring_takes_the_place_of_a_passphrase_and_back(
    tmp_path: Path, system_keyring: Memory
) -> None:
    house = page.House(tmp_path / "alice")
    async with page.serving(house, port=0) as server, browser("en") as context:
        tab, console = await opened(context, server)
        alice = Window(tab, console)
        await tab.get_by_label("Your name").fill("alice")
        await tab.get_by_label("No passphrase").check()
        await tab.get_by_text("Whoever is logged in as you").wait_for()
        assert not await tab.locator("input[type=password]").first.is_visible()
        await alice.press("startNow")
        await tab.locator(".bar .me", has_text="alice").wait_for(timeout=60_000)
        assert len(system_keyring.kept) >= 1
        assert opens_with(tmp_path / "alice") == "keyring"
        other, said = await opened(context, server)
        for one in (Window(other, said), alice):
            await one.press("settings", "changePassphrase")
        # The keyring opens it, so there is no passphrase to give.
        assert await tab.locator("dialog input:visible").count() == 2
        await tab.get_by_label("The new passphrase", exact=True).fill(SECRET)
        await tab.get_by_label("The new passphrase again").fill(SECRET)
        await alice.press("changePassphrase")
        await tab.get_by_text("From now on, the new passphrase").wait_for()
        assert opens_with(tmp_path / "alice") == "passphrase"
        # The other tab has heard of it.
        await Window(other, said).press("backStep", "changePassphrase")
        await other.get_by_label("The passphrase until now").fill(SECRET)
        await other.get_by_label("No passphrase").check()
        await Window(other, said).press("changePassphrase")
        await other.get_by_text("this system’s keyring opens your messages").wait_for()
        assert opens_with(tmp_path / "alice") == "keyring"
        await alice.press("done", "lockNow")
        await tab.get_by_role("heading", name="Amanat is locked").wait_for()
        await alice.press("open")
        await tab.locator(".bar .me", has_text="alice").wait_for(timeout=60_000)
        assert console == said == []
        await house.close()


@in_a_loop
async def test_without_a_keyring_that_works_the_page_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = page.House(tmp_path / "alice")
    monkeypatch.setattr("keyring.core._keyring_backend", keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    async with page.serving(house, port=0) as server, browser("en") as context:
        tab, console = await opened(context, server)
        await tab.get_by_label("Your name").fill("alice")
        await tab.get_by_label("No passphrase").check()
        await tab.get_by_role("button", name="Begin").click()
        await (
            tab.get_by_role("alert")
            .filter(has_text="has no keyring that works")
            .wait_for(timeout=60_000)
        )
        await tab.get_by_label("No passphrase").uncheck()
        await tab.get_by_label("A passphrase").wait_for()
        assert console == []


@in_a_loop
async def test_everything_is_destroyed_for_whoever_types_their_name(tmp_path: Path) -> None:
    async with house_of_alice(tmp_path) as (house, alice):
        tab, name = alice.tab, alice.tab.get_by_label("Your name")
        await alice.press("Settings", "Destroy everything on this device")
        await alice.says("Others keep what you sent them.")
        await name.fill("Alice")
        await tab.locator("dialog button.bad").click()
        await tab.get_by_role("alert").filter(has_text="not your name").wait_for()
        assert (tmp_path / "alice" / "vault.db").exists()
        await name.fill("alice")
        await tab.locator("dialog button.bad").click()
        await tab.get_by_role("heading", name="Everything is destroyed").wait_for()
        await asyncio.wait_for(house.over(), 10)
        assert not (tmp_path / "alice" / "vault.db").exists()
        assert await tab.locator("nav, main, dialog, start-page").count() == 0


@in_a_loop
async def test_a_text_of_a_group_that_names_us_stands_out(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with alices(tmp_path, relay) as alice:
        tab, group = alice.tab, alice.client.create_group("Bakers", ["مریم"])
        await until(alice.maryam, lambda: len(alice.maryam.conversations()) > 1)
        said, chat = alice.maryam.chat(group.gid), alice.client.chat(group.gid)
        texts = ("not alice", "nor @alices", "nor mail@alice", "hey @Alice!")
        for text in texts:
            said.send(text)
        await until(alice.client, lambda: chat.count() == len(texts))
        badge = alice.row("Bakers").locator(".unread", has_text="@")
        await badge.wait_for()
        assert await faults_in_both_themes(alice.tab) == []
        await alice.open("Bakers")
        await alice.bubble("hey @Alice!").wait_for()
        named = tab.locator("article.names-me")
        assert await named.locator("p").all_inner_texts() == ["hey @Alice!"]
        edge = "(one) => getComputedStyle(one).borderInlineStartStyle"
        assert await named.evaluate(edge) == "solid"
        await tab.mouse.move(900, 300)  # a line under the pointer shows no number
        alice.maryam.contact("alice").send("you, @alice")
        await alice.row("you, @alice").locator(".unread").wait_for()
        assert await alice.row("you, @alice").locator(".unread", has_text="@").count() == 0
        await alice.row("you, @alice").locator("a").click()
        await alice.bubble("you, @alice").wait_for()
        assert await named.evaluate(edge) == "none"
