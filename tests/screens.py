"""Every screen of the page and the way to it: for pictures, and for what holds on all of them.

The people and their words are made up. `Between` stands on the line between the page and its
client, and tells the page of events that take long to come about, such as the move of a relay.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from amanat import Client, media
from amanat.media.voice import voice_note
from amanat.page import records
from pages import UNLOCK, show_sheet, until
from recordings import SILENCE, ogg
from talks import hide
from ups import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page, WebSocketRoute

    from amanat.page.server import Server

NAMES = {"en": ("Alice", "Maryam", "Babak"), "fa": ("آلیس", "مریم", "بابک")}
TALK = {
    "en": (
        "Good morning! Did the books arrive?",
        "They did, all four. Thank you.",
        "The one about bridges is for you alone.",
        "I will read it on the train. When do you come back?",
        "On Thursday, I think.",
    ),
    "fa": (
        "صبح به‌خیر! کتاب‌ها رسیدند؟",
        "رسیدند، هر چهارتا. سپاس.",
        "آن که دربارهٔ پل‌هاست تنها برای توست.",
        "در قطار می‌خوانمش. کی برمی‌گردی؟",
        "گمانم پنج‌شنبه.",
    ),
}
FIND = {"en": "book", "fa": "کتاب"}
EMOJI = {"en": ":hea", "fa": ":گل"}
GROUP = {"en": "Mountain on Friday", "fa": "جمعه، کوه"}
WALK = {
    "en": (
        "Who brings bread? 🍞",
        "See https://example.org/paths?from=the-north&to=the-hut before you say yes",
        "@Alice, you have the map",
        "نقشه در کیف من است, in the small pocket",
        "⛰️",
    ),
    "fa": (
        "نان با کیست؟ 🍞",
        "پیش از آن‌که بگویی آری https://example.org/paths?from=the-north&to=the-hut را ببین",
        "@آلیس، نقشه پیش توست",
        "The map is in my bag، در جیب کوچک",
        "⛰️",
    ),
}
IMPORTED = {
    "en": (
        ("Ali", "Zahra", "Dara", "Nika", "Omid", "Leila", "Sam", "Tara", "Ida", "Kian"),
        tuple(f"R. {number}" for number in range(20)),
    ),
    "fa": (
        ("علی", "زهرا", "سارا", "نیکا", "امید", "لیلا", "سام", "Tara", "آیدا", "کیان"),
        tuple(f"بنی‌هاشمی {number}" for number in range(10))
        + ("ي و ك", "(کرج)", "Reza") * 3
        + ("۱۲",),
    ),
}
"""Given names and further names of people in an imported group."""
NOTE = {"en": "Dates, walnuts, tea", "fa": "خرما، گردو، چای"}
WORDS = (
    *("abandon", "ability", "able", "about", "above", "absent", "absorb", "abstract", "absurd"),
    *("abuse", "access", "accident", "account", "accuse", "achieve", "acid", "acoustic", "acquire"),
    *("across", "act", "action", "actor", "actress", "actual"),
)
"""A recovery phrase of nobody."""
FAR = "amanat://relay.example.org:7443/#cmVsYXk"
NEVER = object()
"""The answer to an ask that stays without one."""


class Screen(NamedTuple):
    """A screen: how its pictures are called, to which area it belongs, and the way to it."""

    name: str
    area: str
    show: Callable[[Stage], Awaitable[None]]


SCREENS: list[Screen] = []


def screen(area: str) -> Callable[[Callable[[Stage], Awaitable[None]]], None]:
    """The way to a screen of an area; its function has the screen's name."""

    def keep(way: Callable[[Stage], Awaitable[None]]) -> None:
        SCREENS.append(Screen(way.__name__.strip("_").replace("_", "-"), area, way))

    return keep


class Between:
    """Stands between a page and its client, and changes what the page is told."""

    def __init__(self) -> None:
        self._line: WebSocketRoute | None = None
        self.forget()

    def forget(self) -> None:
        """Change nothing from now on."""
        self.status: dict[str, Any] = {}
        self.begun: dict[str, Any] = {}
        self.details: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        """The answers to asks that the client does not hear."""
        self.is_away = False
        """Whether there is no client."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is changed."""
        return not (self.status or self.begun or self.details or self.answers or self.is_away)

    async def stand(self, context: BrowserContext) -> None:
        """Stand there for every page of a browser that is opened from now on."""
        await context.route_web_socket(re.compile("/live$"), self._join)

    async def leave(self) -> None:
        """Let there be no client."""
        self.is_away = True
        if self._line is not None:
            await self._line.close()

    async def tell(self, said: dict[str, Any]) -> None:
        """Tell the page something."""
        if self._line is not None:
            self._line.send(json.dumps(said))

    async def _join(self, line: WebSocketRoute) -> None:
        if self.is_away:
            await line.close()
            return
        self._line = line
        client, asked = line.connect_to_server(), dict[int, str]()

        def say(frame: str | bytes) -> None:
            ask = json.loads(frame)
            asked[ask["id"]] = ask["do"]
            if ask["do"] not in self.answers:
                client.send(frame)
            elif (answer := self.answers[ask["do"]]) is not NEVER:
                line.send(json.dumps({"id": ask["id"], **answer}))

        def tell(frame: str | bytes) -> None:
            said = json.loads(frame)
            what = asked.pop(said.get("id", -1), "")
            told = said.get("ok", said)
            if what == "begin":
                told |= self.begun
            if what == "details":
                told |= self.details
            if isinstance(told, dict) and isinstance(told.get("status"), dict):
                told["status"] |= self.status
            line.send(json.dumps(said))

        line.on_message(say)
        client.on_message(tell)


class Stage(NamedTuple):
    """Alice's page, and everything that the way to a screen needs."""

    window: Window
    alice: Client
    language: str
    between: Between

    @property
    def tab(self) -> Page:
        return self.window.tab

    @property
    def friend(self) -> str:
        return NAMES[self.language][1]

    @property
    def group(self) -> str:
        return GROUP[self.language]

    async def reload(self) -> None:
        """Begin anew."""
        await self.tab.reload()
        await self.tab.wait_for_selector("[data-usable]")

    async def clear(self) -> None:
        """Leave whatever is shown."""
        if not self.between.is_idle:
            self.between.forget()
            await self.reload()
            return
        await self.tab.evaluate(
            "() => { for (const one of document.querySelectorAll('dialog[open]')) one.close();"
            " for (const one of document.querySelectorAll('[popover]')) one.remove(); }"
        )

    async def open(self, name: str) -> None:
        """A conversation, anew."""
        await self.reload()
        await self.window.open(name)
        await self.tab.locator("article").last.wait_for()

    async def press(self, *keys: str) -> None:
        """Press one after the other, by the keys of their words."""
        await self.window.press(*keys)

    async def label(self, key: str, value: str) -> None:
        """Write into a field that has this label."""
        await self.tab.get_by_label(await self.window.word(key), exact=True).fill(value)

    async def sheet(self, call: str, *keys: str) -> None:
        """Show a sheet by the call of a module's function, and press what leads on from it."""
        await show_sheet(self.tab, call)
        await self.press(*keys)

    async def details(self, name: str, *keys: str) -> None:
        """The details of a conversation, and what leads on from them."""
        await self.sheet(f"details.showDetails('{self.alice.chat(name).gid.hex()}')", *keys)

    async def menu(self, text: str, *keys: str) -> None:
        """The menu of a message, and what is chosen there."""
        await self.window.bubble(text).last.click(button="right")
        await self.tab.locator("[role=menu]").wait_for()
        await self.press(*keys)


# Before the profile is open


async def _begin(stage: Stage, **begun: str) -> None:
    stage.between.begun = begun
    await stage.reload()
    await stage.tab.locator("start-page form").wait_for()


@screen("start")
async def start(stage: Stage) -> None:
    await _begin(stage, state="new")


@screen("start")
async def start_relay(stage: Stage) -> None:
    await _begin(stage, state="new")
    await stage.tab.locator("summary").click()


@screen("start")
async def start_refused(stage: Stage) -> None:
    stage.between.answers = {"create": {"error": "broken-address", "detail": ""}}
    await start_filled(stage)
    await stage.tab.locator("start-page [role=alert]:not(:empty)").wait_for()


async def start_filled(stage: Stage) -> None:
    await _begin(stage, state="new")
    inputs = stage.tab.locator("start-page input:visible")
    for number, typed in enumerate((NAMES[stage.language][0], "secret", "secret")):
        await inputs.nth(number).fill(typed)
    await stage.tab.locator("start-page .go").click()


@screen("start")
async def start_under_way(stage: Stage) -> None:
    stage.between.answers = {"create": NEVER}
    await start_filled(stage)


@screen("start")
async def locked(stage: Stage) -> None:
    await _begin(stage, state="locked", opens_with="passphrase")


@screen("start")
async def locked_keyring(stage: Stage) -> None:
    await _begin(stage, state="locked", opens_with="keyring")


async def _restoring(stage: Stage) -> None:
    await _begin(stage, state="new")
    await stage.press("restore")
    await stage.tab.locator("start-page textarea").wait_for()


async def _restoring_filled(stage: Stage) -> None:
    await _restoring(stage)
    await stage.tab.locator("start-page textarea").fill(" ".join(WORDS))
    inputs = stage.tab.locator("start-page input:visible")
    for number, typed in enumerate(("/media/disk", "secret", "secret")):
        await inputs.nth(number).fill(typed)
    await stage.tab.locator("start-page .go").click()


@screen("start")
async def restoring(stage: Stage) -> None:
    await _restoring(stage)


@screen("start")
async def restoring_refused(stage: Stage) -> None:
    stage.between.answers = {"restore": {"error": "unknown-word", "detail": "word 7"}}
    await _restoring_filled(stage)
    await stage.tab.locator("start-page [role=alert]:not(:empty)").wait_for()


@screen("start")
async def restoring_under_way(stage: Stage) -> None:
    stage.between.answers = {"restore": NEVER}
    await _restoring_filled(stage)
    await stage.between.tell(_under_way("restore"))
    await stage.tab.locator("start-page progress").wait_for()


# The list, and what stands above it


@screen("list")
async def list_(stage: Stage) -> None:
    await _list_of(stage)


@screen("list")
async def nobody(stage: Stage) -> None:
    stage.between.begun = {"chats": [], "contacts": []}
    await stage.reload()


@screen("list")
async def archived(stage: Stage) -> None:
    await _list_of(stage)
    await stage.tab.locator("button.archived:visible").click()


async def _list_of(stage: Stage) -> None:
    await stage.reload()
    await stage.tab.wait_for_selector("chat-list a")


@screen("list")
async def list_menu(stage: Stage) -> None:
    await _list_of(stage)
    await stage.window.row(stage.friend).locator("a").click(button="right")
    await stage.tab.locator("[role=menu]").wait_for()


@screen("list")
async def begin_menu(stage: Stage) -> None:
    await _list_of(stage)
    await stage.press("begin")


@screen("list")
async def search(stage: Stage) -> None:
    await _list_of(stage)
    await stage.tab.locator("nav input").fill(FIND[stage.language])
    await stage.tab.locator("room-find mark").first.wait_for()


@screen("list")
async def search_nothing(stage: Stage) -> None:
    await _list_of(stage)
    await stage.tab.locator("nav input").fill("qqq")
    nothing = await stage.window.word("nothingFound")
    await stage.tab.locator("room-find").get_by_text(nothing).wait_for()


@screen("list")
async def search_link(stage: Stage) -> None:
    await _list_of(stage)
    await stage.tab.locator("nav input").fill("amanat-invite:abc")
    await stage.tab.locator("room-find a").wait_for()


@screen("list")
async def offer(stage: Stage) -> None:
    offered = {"id": "1", "name": stage.group, "by": stage.friend, "asked_at": 0, "expires_at": 0}
    stage.between.begun = {"offers": [offered]}
    await stage.reload()
    await stage.tab.locator(".offer").wait_for()


@screen("list")
async def visitor(stage: Stage) -> None:
    knocked = {
        "id": "1",
        "name": NAMES[stage.language][2],
        "greeting": "\n".join(TALK[stage.language]),
        "blocked": False,
        "knocked_at": 0,
        "expires_at": 0,
    }
    parted = knocked | {"id": "2", "name": stage.friend, "greeting": "", "blocked": True}
    stage.between.begun = {"visitors": [knocked, parted]}
    await stage.reload()
    await stage.tab.locator(".offer").first.wait_for()


@screen("list")
async def away(stage: Stage) -> None:
    await _list_of(stage)
    await stage.between.leave()
    await stage.tab.locator(".away").wait_for()


# A conversation


@screen("talk")
async def conversation(stage: Stage) -> None:
    await stage.open(stage.friend)


@screen("talk")
async def conversation_group(stage: Stage) -> None:
    await stage.open(stage.group)


@screen("talk")
async def conversation_scrolled(stage: Stage) -> None:
    await stage.open(NAMES[stage.language][2])
    await stage.tab.evaluate("document.querySelector('chat-history').scrollTop = 300")
    await stage.tab.locator("button.down").wait_for()


@screen("talk")
async def conversation_gap(stage: Stage) -> None:
    gid = stage.alice.chat(stage.group).gid.hex()
    missing = {
        "chat": gid,
        "conversation": stage.group,
        "sender": stage.friend,
        "many": 3,
    }
    hers = [one.position for one in stage.alice.chat(stage.group).messages() if not one.is_own]
    place = {"who": hers[0].identity.hex(), "upto": hers[0].seq}
    nowhere = {"who": "", "upto": 0, "many": 1, "sender": NAMES[stage.language][2]}
    stage.between.status = {"missing": [missing | place, missing | nowhere]}
    await stage.open(stage.group)
    await stage.tab.get_by_role("note").last.wait_for()


@screen("talk")
async def conversation_refused(stage: Stage) -> None:
    stage.between.answers = {"send": {"error": "disk-full", "detail": ""}}
    await stage.open(stage.friend)
    await stage.tab.locator("main textarea").fill(TALK[stage.language][0])
    await stage.tab.keyboard.press("Enter")
    await stage.tab.locator(".refusal:visible").wait_for()


@screen("talk")
async def notes(stage: Stage) -> None:
    await stage.open(await stage.window.word("notes"))


@screen("talk")
async def files(stage: Stage) -> None:
    await _a_picture_and_a_file(stage)


@screen("talk")
async def picture_large(stage: Stage) -> None:
    await _a_picture_and_a_file(stage)
    await stage.tab.locator("article .picture").last.click()
    await stage.tab.locator("dialog.large").wait_for()


@screen("talk")
async def gallery(stage: Stage) -> None:
    await _a_picture_and_a_file(stage)
    await stage.sheet(f"gallery.showGallery('{stage.alice.notes().gid.hex()}')")
    await stage.tab.locator("dialog .tile img[src]").last.wait_for()


@screen("talk")
async def links(stage: Stage) -> None:
    notes = stage.alice.notes()
    for link in ("https://amanat.example/", f"https://{'long.' * 20}example/{NOTE['fa']}"):
        notes.send(f"{NOTE[stage.language]} {link}")
    await stage.sheet(f"linked.showLinks('{notes.gid.hex()}')")
    await stage.tab.locator("dialog .gallery .way").last.wait_for()


@screen("talk")
async def voice_notes(stage: Stage) -> None:
    notes = stage.alice.notes()
    await notes.send_file(voice_note(ogg([SILENCE] * 50 * 83), bytes(range(0, 256, 8))))
    await notes.send_file(voice_note(ogg([SILENCE] * 50)), text=NOTE[stage.language])
    await stage.open(await stage.window.word("notes"))
    place = stage.tab.locator("article .voice .place").first
    await place.press("PageUp")


@screen("talk")
async def voice_recording(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.tab.locator("main textarea").fill("")  # a draft of another screen
    await stage.press("record")
    await stage.tab.locator(".recording .level").wait_for()


@screen("talk")
async def picture_by_camera(stage: Stage) -> None:
    await stage.open(stage.friend)
    # A phone has its own way to the camera, and no button for it.
    await stage.tab.evaluate(
        "import(new URL('camera.js', location.href)).then((one) => { one.takePicture(); })"
    )
    await stage.tab.locator("dialog.question video").wait_for()


async def _a_picture_and_a_file(stage: Stage) -> None:
    notes, made = stage.alice.notes(), io.BytesIO()
    Image.linear_gradient("L").save(made, "PNG")
    await notes.send_file(await media.picture(made.getvalue()), text=NOTE[stage.language])
    await notes.send_file(io.BytesIO(bytes(70_000)), name="map.pdf")
    await stage.open(await stage.window.word("notes"))
    await stage.tab.locator("article img[src]").last.wait_for()


@screen("talk")
async def menu(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][0])


@screen("talk")
async def menu_own(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][1])


@screen("talk")
async def quick(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.tab.locator("article:not(.own)").last.hover()


@screen("talk")
async def react(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][0], "reactOther")
    await stage.tab.locator(".question").wait_for()


@screen("talk")
async def delete(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][1], "removeEverywhere")
    await stage.tab.locator(".question").wait_for()


@screen("talk")
async def message_details(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][1], "details")
    await stage.tab.locator(".question").wait_for()


@screen("talk")
async def link(stage: Stage) -> None:
    await stage.open(stage.group)
    await stage.tab.locator("a.url").first.click()
    await stage.tab.locator(".question").wait_for()


@screen("talk")
async def link_imitated(stage: Stage) -> None:
    await stage.reload()
    await stage.tab.evaluate(
        "import(new URL('links.js', location.href))"
        ".then((m) => { m.follow('https://you@exаmple.org/') })"
    )
    await stage.tab.locator(".question").wait_for()


@screen("talk")
async def answer(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][0], "reply")
    await stage.tab.locator(".answers-to:visible").wait_for()


@screen("talk")
async def edit(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][1], "edit")
    await stage.tab.locator(".answers-to:visible").wait_for()


@screen("talk")
async def selecting(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][1], "select")
    await stage.window.bubble(TALK[stage.language][3]).last.click()


@screen("talk")
async def seek(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.tab.keyboard.press("Control+f")
    await stage.tab.keyboard.type(FIND[stage.language])
    await stage.tab.locator(".seek [role=status]:not(:empty)").wait_for()


@screen("talk")
async def days(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.tab.locator(".entry .day button").last.click()
    await stage.tab.locator("[role=grid]").wait_for()


@screen("talk")
async def emoji(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.tab.locator("main textarea").fill("")
    await stage.tab.locator("main textarea").press_sequentially(EMOJI[stage.language])
    await stage.tab.locator("[role=option]").first.wait_for()


@screen("talk")
async def mention(stage: Stage) -> None:
    await stage.open(stage.group)
    await stage.tab.locator("main textarea").fill("")
    await stage.tab.locator("main textarea").press_sequentially("@")
    await stage.tab.locator("[role=option]").first.wait_for()


@screen("talk")
async def forward(stage: Stage) -> None:
    await stage.open(stage.friend)
    await stage.menu(TALK[stage.language][0], "forward")
    await stage.tab.locator(".target").first.wait_for()


# The details of a conversation


@screen("details")
async def details(stage: Stage) -> None:
    await stage.details(stage.friend)


@screen("details")
async def details_group(stage: Stage) -> None:
    await stage.details(stage.group)


@screen("details")
async def details_notes(stage: Stage) -> None:
    await stage.sheet(f"details.showDetails('{stage.alice.notes().gid.hex()}')")


@screen("details")
async def details_astray(stage: Stage) -> None:
    friend, other = NAMES[stage.language][1:]
    state = {
        "helper": friend,
        "signer": friend,
        "came": [other],
        "went": [friend],
        "admins": [other],
        "no_admins": [friend],
        "name": stage.group,
    }
    stage.between.details = {"state": "astray", "rejoinable": [state], "hidden": 2}
    await stage.details(stage.group)


@screen("details")
async def details_over(stage: Stage) -> None:
    stage.between.details = {"state": "removed", "held_by": [stage.friend], "outbound": "hold"}
    await stage.details(stage.group)


@screen("details")
async def number(stage: Stage) -> None:
    await stage.details(stage.friend, "showNumber")
    await stage.tab.locator(".number").wait_for()


@screen("details")
async def number_unverified(stage: Stage) -> None:
    await stage.details(NAMES[stage.language][2], "showNumber")
    await stage.tab.locator(".number").wait_for()


@screen("details")
async def timer(stage: Stage) -> None:
    await stage.details(stage.friend)
    box = stage.tab.locator("dialog[open] select", has=stage.tab.locator("option[value=custom]"))
    await box.select_option("custom")
    await stage.tab.locator("dialog[open] input[type=number]").wait_for()


@screen("details")
async def block(stage: Stage) -> None:
    await stage.details(stage.friend, "block")
    await stage.tab.locator(".question").wait_for()


@screen("details")
async def clear(stage: Stage) -> None:
    await stage.details(stage.friend, "clear")
    await stage.tab.locator(".question").wait_for()


@screen("details")
async def export(stage: Stage) -> None:
    await stage.details(stage.friend, "export")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("details")
async def exported(stage: Stage) -> None:
    file = "/home/somebody/Downloads/" + stage.friend + ".html"
    stage.between.answers = {"export": {"ok": {"file": file}}}
    await stage.details(stage.friend, "export", "exportPage")
    await stage.tab.locator("dialog[open] code").wait_for()


@screen("details")
async def group_rename(stage: Stage) -> None:
    await stage.details(stage.group, "renameGroup")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("details")
async def group_add(stage: Stage) -> None:
    stage.between.details = {"people": [NAMES[stage.language][0]]}
    await stage.details(stage.group, "addPeople")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("details")
async def group_member(stage: Stage) -> None:
    await stage.details(stage.group)
    await stage.tab.locator("dialog[open] .line button").first.click()
    await stage.tab.locator("[role=menu]").wait_for()


# People


@screen("people")
async def contact(stage: Stage) -> None:
    await stage.sheet("people.showNewContact()")


@screen("people")
async def invite(stage: Stage) -> None:
    await stage.sheet("people.showNewContact()", "showCode")
    await stage.tab.locator("dialog[open] .code path").first.wait_for()


@screen("people")
async def invite_used(stage: Stage) -> None:
    await invite_shown(stage)
    for one in stage.alice.invites()[1:]:
        stage.alice.withdraw_invite(one.id)
    await stage.tab.evaluate(
        "import(new URL('store.js', location.href))"
        ".then(({ store }) => store.dispatchEvent(new Event('people')))"
    )
    await stage.tab.locator("dialog[open] [role=status]").wait_for()


async def invite_shown(stage: Stage) -> None:
    await stage.sheet("people.showNewContact()", "showCode")
    await stage.tab.locator("dialog[open] .code path").first.wait_for()


@screen("people")
async def accept(stage: Stage) -> None:
    await stage.sheet("people.showAccept()")


@screen("people")
async def accept_refused(stage: Stage) -> None:
    await stage.sheet("people.showAccept('amanat-invite:abc')", "knock")
    await stage.tab.locator("dialog[open] .failed:not(:empty)").wait_for()


@screen("people")
async def camera(stage: Stage) -> None:
    await stage.sheet("people.showAccept()", "fromCamera")
    await stage.tab.locator("dialog[open] video").wait_for()


@screen("people")
async def knocked(stage: Stage) -> None:
    stage.between.answers = {"accept": {"ok": {"inviter": stage.friend}}}
    await stage.sheet("people.showAccept('amanat-invite:abc')", "knock")
    await stage.tab.locator(
        "dialog[open] .chief", has_text=await stage.window.word("done")
    ).wait_for()


@screen("people")
async def group(stage: Stage) -> None:
    await stage.sheet("groups.showNewGroup()")


@screen("people")
async def group_refused(stage: Stage) -> None:
    await stage.sheet("groups.showNewGroup()", "beginGroup")
    await stage.tab.locator("[aria-invalid=true]").wait_for()


@screen("people")
async def name(stage: Stage) -> None:
    await stage.sheet("own.showName()")


# Home


@screen("home")
async def home(stage: Stage) -> None:
    await stage.sheet("home.showHome()")


@screen("home")
async def home_in_trouble(stage: Stage) -> None:
    friend, other = NAMES[stage.language][1:]
    now, relay = stage.alice.now(), str(stage.alice.status().relay)
    move = {
        "relay": relay,
        "to": FAR,
        "region": "FR",
        "on": "2027-03-21",
        "decide_by": "2027-03-01",
        "reason": "The law of the land",
        "is_allowed": False,
    }
    warning = {"at": now, "detail": "", "conversation": stage.group, "whom": friend}
    stage.between.status = {
        "moves": [move, move | {"is_allowed": True}],
        "away": [relay, FAR, "amanat://c.example/"],
        "warnings": [
            warning | {"code": "identity-changed", "many": 1},
            warning | {"code": "message-lost", "many": 3, "whom": ""},
        ],
        "fallback": FAR,
        "fallback_region": "NL",
        "fallback_operator": "Hut e.V.",
        "former": [
            {"relay": FAR, "region": "DE", "is_away": True},
            {"relay": FAR, "region": "NL", "is_away": False},
        ],
        "unaware": [friend, other],
        "to_tell": 5,
        "left_behind": [stage.group],
        "lost_invites": [1, 2],
        "lost_knocks": [other],
        "outbox": 7,
        "exposed": [FAR],
        "transport": "covered",
        "missing": [{"chat": "", "conversation": stage.group, "sender": friend, "many": 2}],
        "hop": FAR,
        "is_hop_away": True,
        "period": 60,
        "proxy": "127.0.0.1:9050",
        "cost": {"up_bytes": 30e6, "down_bytes": 21e6, "usual_s": 30.0, "longest_s": 60.0},
        "is_proxy_away": True,
        "outbound": "hold",
        "is_strict": True,
    }
    await stage.reload()
    await stage.sheet("home.showHome()")


@screen("home")
async def exit_(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "exit")
    await stage.tab.locator("dialog[open] input").first.wait_for()


@screen("home")
async def exit_sure(stage: Stage) -> None:
    await exit_asked(stage)


async def exit_asked(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "exit")
    await stage.label("relayAddress", FAR)
    await stage.press("exit")
    await stage.tab.locator(".question").wait_for()


@screen("home")
async def exit_under_way(stage: Stage) -> None:
    stage.between.answers = {"exit": NEVER}
    await exit_asked(stage)
    await stage.press("exit")
    await stage.tab.locator("dialog[open] .going").wait_for()


@screen("home")
async def fallback(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "addFallback")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("home")
async def place(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "anotherPlace")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("home")
async def hop(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "hopTo")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("home")
async def hop_off(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "hopOff")
    await stage.tab.locator(".question").wait_for()


@screen("home")
async def proxy(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "proxySet")
    await stage.tab.locator("dialog[open] .chief").wait_for()


@screen("home")
async def regions(stage: Stage) -> None:
    await stage.sheet("home.showHome()", "changeAllowed")
    await stage.tab.locator("dialog[open] .chief").wait_for()


# Settings


@screen("settings")
async def settings(stage: Stage) -> None:
    await stage.sheet("settings.showSettings()")


@screen("settings")
async def files_kept(stage: Stage) -> None:
    await stage.sheet("settings.showSettings()", "files")


@screen("settings")
async def health(stage: Stage) -> None:
    await stage.sheet("settings.showSettings()", "health")


@screen("settings")
async def health_damaged(stage: Stage) -> None:
    stage.between.answers = {"health": {"ok": {"damage": "page 7 of message"}}}
    await stage.sheet("settings.showSettings()", "health")
    await stage.tab.locator("dialog[open] .notice").wait_for()


def _under_way(phase: str) -> dict[str, Any]:
    """How far a backup has got."""
    return {"on": "backup", "under_way": {"phase": phase, "percent": 40}}


def _backups(stage: Stage, **more: object) -> dict[str, Any]:
    """A status in which backups are made."""
    about = {
        "folder": "/media/disk",
        "is_noted": True,
        "is_asked": False,
        "is_late": False,
        "forget_days": 30,
        "last_at": stage.alice.now() - 10**7,
        "file": "20240601T101500Z.archive",
        "bytes": 58_000_000,
        "messages": 12_345,
        "due_at": stage.alice.now() + 10**7,
        "error": "",
    }
    return {"backups": about | more}


@screen("settings")
async def backups_none(stage: Stage) -> None:
    await stage.sheet("backups.showBackups()")
    await stage.tab.locator("dialog[open] .chief").wait_for()


async def _announced(stage: Stage) -> None:
    stage.between.answers = {
        "begin backups": {
            "ok": {"words": [{"word": one, "number": at * 83} for at, one in enumerate(WORDS, 1)]}
        },
        "asked words": {"ok": {"places": [3, 7, 18, 24]}},
        "give words": {"ok": None},
    }
    await stage.sheet("backups.showBackups()")
    await stage.label("backupFolder", "/media/disk")
    await stage.press("backupBegin")
    await stage.tab.locator(".question").wait_for()


async def _phrase(stage: Stage) -> None:
    await _announced(stage)
    await stage.press("phraseShow")
    await stage.tab.locator("dialog[open] .phrase li").last.wait_for()


@screen("settings")
async def recovery_announced(stage: Stage) -> None:
    await _announced(stage)


@screen("settings")
async def recovery_phrase(stage: Stage) -> None:
    await _phrase(stage)


@screen("settings")
async def recovery_hidden(stage: Stage) -> None:
    await _phrase(stage)
    await hide(stage.tab, is_hidden=True)
    await hide(stage.tab, is_hidden=False)
    await stage.tab.get_by_text(await stage.window.word("phraseHidden")).wait_for()


@screen("settings")
async def recovery_asked(stage: Stage) -> None:
    await _phrase(stage)
    await stage.press("phraseWritten")
    await stage.tab.locator("dialog[open] input").last.wait_for()


@screen("settings")
async def recovery_wrong(stage: Stage) -> None:
    await _phrase(stage)
    stage.between.answers["give words"] = {"error": "other-word", "detail": "word 7"}
    await stage.press("phraseWritten")
    await stage.tab.locator("dialog[open] input").last.fill("zoo")
    await stage.press("phraseGiven")
    await stage.tab.locator("dialog[open] [aria-invalid=true]").wait_for()


@screen("settings")
async def recovery_noted(stage: Stage) -> None:
    await _phrase(stage)
    await stage.press("phraseWritten")
    await stage.tab.locator("dialog[open] input").last.wait_for()
    await stage.press("phraseGiven")
    await stage.tab.get_by_text(await stage.window.word("phraseNoted")).wait_for()


@screen("settings")
async def backups(stage: Stage) -> None:
    stage.between.status = _backups(stage)
    await stage.sheet("backups.showBackups()")
    await stage.tab.get_by_role("button", name=await stage.window.word("backupNow")).wait_for()


@screen("settings")
async def backups_late(stage: Stage) -> None:
    stage.between.status = _backups(stage, error="folder-away", is_late=True, is_asked=True)
    await stage.sheet("backups.showBackups()")
    await stage.tab.locator("dialog[open] .notice").wait_for()


@screen("settings")
async def settings_late(stage: Stage) -> None:
    stage.between.status = _backups(stage, error="disk-full", is_asked=True)
    await stage.reload()
    await stage.sheet("settings.showSettings()")
    await stage.tab.locator("dialog[open] .notice").scroll_into_view_if_needed()


@screen("settings")
async def backups_under_way(stage: Stage) -> None:
    stage.between.status = _backups(stage)
    await stage.sheet("backups.showBackups()")
    await stage.tab.get_by_role("button", name=await stage.window.word("backupNow")).wait_for()
    await stage.between.tell(_under_way("check"))
    await stage.tab.locator("dialog[open] progress").wait_for()


@screen("settings")
async def backups_check(stage: Stage) -> None:
    stage.between.status = _backups(stage)
    found = {"made_at": stage.alice.now() - 10**9, "messages": 12_345, "unknown": 2}
    stage.between.answers = {"check backup": {"ok": found}}
    await stage.sheet("backups.showBackups()")
    await stage.press("backupCheck", "backupCheckNow")
    await stage.tab.locator("dialog[open] [role=status]:not(:empty)").last.wait_for()


@screen("settings")
async def backups_folder(stage: Stage) -> None:
    stage.between.status = _backups(stage)
    await stage.sheet("backups.showBackups()")
    await stage.press("backupOther")
    await stage.tab.locator("dialog[open] input").wait_for()


@screen("settings")
async def backups_restored(stage: Stage) -> None:
    stage.between.begun = {"chats": [_astray(stage)]}
    await stage.reload()
    await stage.sheet("backups.showRestored()")


def _astray(stage: Stage) -> dict[str, Any]:
    line = records.summary(stage.alice.chat(stage.group).summary())
    return line | {"state": "astray"}


def _brought(stage: Stage) -> dict[str, Any]:
    """A chat that was brought along, and its messages: of two hundred people, as in a large group
    of Persian names, some of which are written from left to right."""
    given, family = IMPORTED[stage.language]
    names = [f"{one} {other}" for one in given for other in family]
    now = stage.alice.now()
    chat = {
        "id": 1,
        "app": "telegram",
        "title": stage.group,
        "kind": "private_supergroup",
        "messages": 12_345,
        "first_at": now - 10**11,
        "last_at": now,
        "goes_on_from": 2,
    }
    said = {"chat": 1, "title": stage.group, "is_own": False, "edited_at": None, "extra": ""}
    texts = TALK[stage.language] + WALK[stage.language]
    messages = [
        said
        | {
            "row": row,
            "sender": name,
            "at": now - 10**9 + row,
            "kind": "text",
            "text": texts[row % 10],
        }
        | {"forwarded_from": NAMES[stage.language][1] if row % 9 == 0 else ""}
        for row, name in enumerate(names)
    ]
    quote = {"sender": names[-9], "kind": "text", "text": texts[0]}
    messages[-1] |= {"is_own": True, "edited_at": now, "quote": quote}
    messages[-2] |= {"kind": "photo"}
    messages[-3] |= {"kind": "file", "extra": "map (2).pdf", "text": ""}
    messages[-4] |= {"kind": "service", "text": "", "extra": f"edit_group_title {stage.group}"}
    messages[-5] |= {"kind": "service", "text": "", "extra": "suggest_birthday 7"}
    messages[-6] |= {"extra": "👍 3  🌹 1"}
    older = chat | {"id": 2, "kind": "private_group", "goes_on_from": 0}
    return {
        "imported": {"ok": {"chats": [older, chat], "under_way": None}},
        "imported messages": {"ok": messages[-50:]},
        "search imported": {"ok": [messages[1] | {"marks": [[0, 4]]}]},
    }


@screen("settings")
async def imports(stage: Stage) -> None:
    stage.between.answers = _brought(stage)
    stage.between.answers["imported"]["ok"]["under_way"] = {"percent": 40}
    await stage.sheet("settings.showSettings()", "imports")
    await stage.label("importSearch", FIND[stage.language])
    await stage.tab.locator("dialog[open] mark").wait_for()


@screen("settings")
async def imports_none(stage: Stage) -> None:
    await stage.sheet("imports.showImports()")


@screen("settings")
async def imported(stage: Stage) -> None:
    stage.between.answers = _brought(stage)
    await stage.sheet("imports.showImports()")
    await stage.tab.locator("dialog[open] .way").last.click()
    await stage.tab.locator("dialog[open] article").last.wait_for()


@screen("settings")
async def import_(stage: Stage) -> None:
    export = {
        "path": "/home/somebody/Downloads/ChatExport_2024",
        "name": "ChatExport_2024",
        "at": 0,
    }
    stage.between.answers = {"exports": {"ok": [export | {"at": stage.alice.now()}]}}
    await stage.sheet("importing.showImport()")


async def _previewed(stage: Stage) -> None:
    now = stage.alice.now()
    counts = {"people": 200, "first_at": now - 10**11, "last_at": now, "files": 3_000}
    chats = [
        counts | {"key": name, "title": name, "kind": "personal_chat", "messages": 45_678}
        for name in (*NAMES[stage.language], stage.group)
    ]
    skipped = {"broken": 1, "unknown": 2, "unsupported": 30}
    survey = {"chats": chats, "skipped": skipped, "me": "", "is_cut": True, "is_zoned": False}
    stage.between.answers = {
        "exports": {"ok": []},
        "preview": {"ok": survey | {"cut_off": stage.group}},
    }
    await stage.sheet("importing.showImport()")
    await stage.label("importPath", "/home/somebody/ChatExport_2024")


@screen("settings")
async def import_preview(stage: Stage) -> None:
    await _previewed(stage)
    await stage.press("importLook")
    await stage.tab.locator("dialog[open] input[type=checkbox]").last.wait_for()


@screen("settings")
async def import_dates(stage: Stage) -> None:
    await _previewed(stage)
    stage.between.answers["preview"] = {"error": "open-dates", "detail": ""}
    await stage.press("importLook", "monthFirst")
    await stage.tab.get_by_role("button", name=await stage.window.word("dayFirst")).wait_for()


@screen("settings")
async def import_refused(stage: Stage) -> None:
    await _previewed(stage)
    stage.between.answers["preview"] = {"error": "not-an-export", "detail": ""}
    await stage.press("importLook")
    await stage.tab.locator("dialog[open] .failed:not(:empty)").wait_for()


@screen("settings")
async def import_under_way(stage: Stage) -> None:
    await _previewed(stage)
    stage.between.answers["import"] = NEVER
    await stage.press("importLook", "importNow")
    await stage.tab.locator("dialog[open] progress").wait_for()


@screen("settings")
async def import_done(stage: Stage) -> None:
    await _previewed(stage)
    stage.between.answers["import"] = {"ok": {"messages": 45_678}}
    await stage.press("importLook", "importNow")
    await stage.tab.get_by_role("button", name=await stage.window.word("done")).wait_for()


@screen("settings")
async def about(stage: Stage) -> None:
    await stage.sheet("settings.showSettings()", "about")


@screen("settings")
async def passphrase(stage: Stage) -> None:
    await stage.sheet("secret.showPassphrase()")


@screen("settings")
async def passphrase_changed(stage: Stage) -> None:
    stage.between.answers = {"passphrase": {"ok": {"opens_with": "passphrase"}}}
    await stage.sheet("secret.showPassphrase()")
    inputs = stage.tab.locator("dialog[open] input[type=password]")
    for number in range(await inputs.count()):
        await inputs.nth(number).fill("another")
    await stage.press("changePassphrase")
    await stage.tab.locator("dialog[open] [role=status]").wait_for()


@screen("settings")
async def wipe(stage: Stage) -> None:
    await stage.sheet("wipe.showWipe()")


@screen("settings")
async def wiped(stage: Stage) -> None:
    stage.between.answers = {"wipe": {"ok": {}}}
    await stage.sheet("wipe.showWipe()")
    await stage.label("yourName", NAMES[stage.language][0])
    await stage.tab.locator("dialog[open] .bad").click()
    await stage.tab.locator(".ended").wait_for()


SHEETS = {
    "start": {"showStart", "showRestoring"},
    "list": set[str](),
    "talk": {
        *("showDays", "showFiles", "showForward", "showGallery", "showLinks"),
        "showVoices",
    },
    "details": {
        *("showAdd", "showDetails", "showExport", "showNumber", "showRename", "showSaved"),
        "showTimer",
    },
    "people": {
        *("showAccept", "showInvite", "showKnocked", "showName", "showNewContact"),
        "showNewGroup",
    },
    "home": {
        *("showExit", "showFallback", "showHome", "showHop", "showPlace"),
        *("showProxy", "showRegions"),
    },
    "settings": {
        *("showAbout", "showChanged", "showEnd", "showHealth", "showKeeping", "showPassphrase"),
        *("showSettings", "showWipe", "showImports", "showImported", "showImport", "showPreview"),
        *("showDates", "showDone", "showBackups", "showFolder", "showCheck", "showPhrase"),
        *("showAsked", "showNoted", "showRestored"),
    },
}
"""The functions of the page that show something, by the area in which they are called."""


def of(area: str) -> list[Screen]:
    """The screens of an area."""
    return [one for one in SCREENS if one.area == area]


@contextlib.asynccontextmanager
async def people(root: Path, relay: str, language: str) -> AsyncIterator[Client]:
    """Alice, and two people whom she has met and who have talked with her."""
    async with contextlib.AsyncExitStack() as staying:
        made = [
            await staying.enter_async_context(
                await Client.create(root / f"{language}{number}", UNLOCK, name=one, relay=relay)
            )
            for number, one in enumerate(NAMES[language])
        ]
        alice, maryam, babak = made
        for other in (maryam, babak):
            other.accept(alice.invite())
            await until(alice, lambda: len(alice.contacts()) == made.index(other))  # noqa: B023  # awaited here
            await until(other, lambda: bool(other.contacts()))  # noqa: B023
        await _talk(alice, maryam, language)
        await _walk(alice, maryam, babak, language)
        alice.notes().send(NOTE[language])
        yield alice


async def _talk(alice: Client, maryam: Client, language: str) -> None:
    hers, ours = maryam.chat(NAMES[language][0]), alice.chat(NAMES[language][1])
    for number, text in enumerate(TALK[language]):
        speaker, listener = (hers, ours) if number % 2 == 0 else (ours, hers)
        answered = speaker.messages()[-1].id if number == 3 else ""
        speaker.send(text, reply_to=answered)
        await until(alice, lambda: listener.count() > number)  # noqa: B023  # awaited here
        await until(maryam, lambda: listener.count() > number)  # noqa: B023
    ours.messages()[0].react("❤️")
    alice.contact(NAMES[language][1]).set_verified()


async def _walk(alice: Client, maryam: Client, babak: Client, language: str) -> None:
    """Three people in a group, and everything that can be with a text."""
    gid = alice.create_group(GROUP[language], NAMES[language][1:]).gid
    for one in (maryam, babak):
        await until(one, lambda: any(not c.is_direct for c in one.conversations()))  # noqa: B023
    chat = alice.chat(gid)
    chats = {one: one.chat(GROUP[language]) for one in (alice, maryam, babak)}
    for number, text in enumerate(WALK[language]):
        chats[(maryam, babak)[number % 2]].send(text)
        for one, seen in chats.items():  # each text at the same place of everybody's list
            await until(one, lambda: seen.count() > number)  # noqa: B023
    first, linked, named, *_ = chat.messages()
    first.react("👍")
    chats[babak].messages()[0].react("👍")
    chats[maryam].messages()[2].react("🔥")
    await until(alice, lambda: bool(chat.messages()[2].reactions))
    chat.forward(linked.id, alice.chat(NAMES[language][2]).gid)
    chat.send(TALK[language][1])
    chat.edit(chat.messages()[-1].id, TALK[language][3])
    chat.send(TALK[language][4])
    chat.delete([chat.messages()[-1].id])
    chat.set_timer(86_400)
    chat.send(TALK[language][2], reply_to=named.id)
    theirs = alice.chat(NAMES[language][2])
    for text in WALK[language] * 6:
        theirs.send(text)
    theirs.set_draft(TALK[language][0])
    chat.set_pinned()
    alice.create_group(NOTE[language])
    alice.chat(NOTE[language]).set_archived()
    long = " ".join(TALK[language][2:4])
    alice.create_group(long)
    alice.chat(long).set_muted(2**52)


@contextlib.asynccontextmanager
async def staged(
    context: BrowserContext, server: Server, alice: Client, language: str
) -> AsyncIterator[Stage]:
    """Alice's page in a tab, and her console."""
    between = Between()
    await between.stand(context)
    yield Stage(await Window.of(context, server), alice, language, between)


async def shown(stage: Stage, some: Iterable[Screen]) -> AsyncIterator[str]:
    """Show one screen after the other; gives their names."""
    for one in some:
        await stage.clear()
        await one.show(stage)
        yield one.name
