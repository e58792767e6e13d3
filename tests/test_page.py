"""The page without a browser: its doors, what it may ask, and what it is answered and told."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.client import events
from amanat.client.transcript import Newest
from amanat.errors import AmanatError, MalformedFrame
from amanat.page import doors, protocol
from amanat.page.attendant import Attendant
from amanat.page.doors import Doors, Entrance, File, Live, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from amanat.drill.person import Person
    from amanat.drill.world import World

HOST = "127.0.0.1:4000"
ORIGIN = f"http://{HOST}"


def enter(at: Doors) -> dict[str, str]:
    """The headers of a browser that has opened a link."""
    token = at.link(now=0).partition("?")[2]
    entrance = at.knock("GET", f"/?{token}", {"Host": HOST}, now=1)
    assert isinstance(entrance, Entrance)
    cookie = entrance.headers["Set-Cookie"].partition(";")[0]
    return {"Host": HOST, "Cookie": f"theirs=1; {cookie}", "Sec-Fetch-Site": "same-origin"}


def test_a_link_lets_a_browser_in_to_the_files_and_the_socket() -> None:
    at = Doors(4000)
    headers = enter(at)
    assert at.knock("GET", at.path, headers, now=2) == File("index.html")
    assert at.knock("GET", f"{at.path}main.js", headers, now=2) == File("main.js")
    assert at.knock("GET", f"{at.path}live", headers | {"Origin": ORIGIN}, now=2) == Live()


def test_the_cookie_is_for_no_script_no_other_site_and_no_other_path() -> None:
    at = Doors(4000)
    token = at.link(now=0).partition("?")[2]
    entrance = at.knock("GET", f"/?{token}", {"Host": HOST}, now=1)
    assert isinstance(entrance, Entrance)
    given_ = entrance.headers["Set-Cookie"].split("; ")[1:]
    assert given_ == ["HttpOnly", "SameSite=Strict", f"Path={at.path}"]
    assert len(at.path) > 20
    assert "Location" not in entrance.headers  # a Strict cookie would not come along


@pytest.mark.parametrize(
    "planted",
    ["amanat=planted", 'amanat="', "amanat", '{"a": 1}', "a[b]=;;=\udc80", "amanat=\udc80"],
)
def test_no_cookie_that_another_server_planted_shuts_the_person_out(planted: str) -> None:
    at = Doors(4000)
    headers = enter(at)
    for cookies in (f"{headers['Cookie']}; {planted}", f"{planted}; {headers['Cookie']}"):
        assert at.knock("GET", at.path, headers | {"Cookie": cookies}, now=2) == File("index.html")


@pytest.mark.parametrize("when", ["used", "late", "unknown", "empty"])
def test_a_link_works_once_and_soon(when: str) -> None:
    at = Doors(4000)
    token = at.link(now=0).partition("?")[2]
    if when == "used":
        at.knock("GET", f"/?{token}", {"Host": HOST}, now=1)
    token = {"unknown": token[:-1], "empty": ""}.get(when, token)
    now = doors.LINK_S if when == "late" else 1
    assert at.knock("GET", f"/?{token}", {"Host": HOST}, now=now) == Refused(403)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Host": "localhost:4000"}, 421),
        ({"Host": "amanat.example:4000"}, 421),
        ({"Host": "127.0.0.1:4001"}, 421),
        ({"Host": None}, 421),
        ({"Cookie": None}, 403),
        ({"Cookie": "amanat=wrong"}, 403),
        ({"Cookie": "amanat"}, 403),
        ({"Cookie": "\x00=;;=\udc80"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:4001"}, 403),
        ({"Origin": "http://localhost:4000"}, 403),
    ],
)
def test_nobody_else_gets_a_socket(changed: dict[str, str | None], status: int) -> None:
    at = Doors(4000)
    headers: dict[str, str | None] = {**enter(at), "Origin": ORIGIN, **changed}
    kept = {name: value for name, value in headers.items() if value is not None}
    for socket in ("live", "bring"):
        assert at.knock("GET", f"{at.path}{socket}", kept, now=2) == Refused(status)


def test_no_other_path_or_method_is_answered() -> None:
    at = Doors(4000)
    headers = enter(at)
    assert at.knock("POST", at.path, headers, now=2) == Refused(405)
    assert at.knock("GET", "/main.js", headers, now=2) == Refused(403)
    assert at.knock("GET", f"/x{at.path}", headers, now=2) == Refused(403)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_ask_are_refused_by_name(data: bytes) -> None:
    with contextlib.suppress(MalformedFrame):
        assert isinstance(protocol.decode_ask(data), protocol.Ask)


@pytest.mark.parametrize(
    "text",
    [
        '{"do": "begin"}',
        '{"do": "begin", "id": -1}',
        '{"do": "begin", "id": 1, "more": 1}',
        '{"do": "history", "id": 1, "chat": "xy", "where": {"at": "newest"}}',
        '{"do": "history", "id": 1, "chat": "00", "where": {"at": "share", "of": 2}}',
        '{"do": "history", "id": 1, "chat": "00", "where": {"at": "newest"}, "many": 100000}',
        '{"do": "delete everything", "id": 1}',
        "[" * 60_000,
        json.dumps({"do": "send", "id": 1, "chat": "00", "text": "x" * protocol.MAX_ASK_BYTES}),
        '{"do": "settings", "id": 1, "values": {"theme": 1}}',
        json.dumps({"do": "settings", "id": 1, "values": {"theme": "x" * 41}}),
        json.dumps({"do": "settings", "id": 1, "values": {"T": "x"}}),
        json.dumps(
            {
                "do": "settings",
                "id": 1,
                "values": {"a" * (n + 1): "" for n in range(20)}
                | {"b" * (n + 1): "" for n in range(20)},
            }
        ),
    ],
)
def test_an_ask_has_its_fields_within_their_bounds_and_no_others(text: str) -> None:
    with pytest.raises(MalformedFrame):
        protocol.decode_ask(text.encode())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"do": "create group", "id": 3, "name": "", "people": []}', 3),
        ('{"do": "delete everything", "id": 4}', 4),
        ('{"do": "begin"}', None),
        ('{"do": "begin", "id": -1}', None),
        ('{"do": "begin", "id": "1"}', None),
        ("[1]", None),
        ('"' + "\ud800", None),
        ("[" * 60_000, None),
    ],
)
def test_what_is_no_ask_is_refused_under_its_number_if_it_has_one(
    text: str, number: int | None
) -> None:
    data = text.encode(errors="surrogatepass")
    with pytest.raises(MalformedFrame):
        protocol.decode_ask(data)
    assert protocol.number_of(data) == number


def test_every_ask_is_in_the_document_and_the_reverse() -> None:
    text = (Path(__file__).parents[1] / "docs" / "page.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", text.partition("| ask |")[2], re.MULTILINE)
    documented = [name for row in rows for name in re.findall("`([^`]+)`", row)]
    assert sorted(documented) == sorted(one.__struct_config__.tag for one in get_args(protocol.Ask))


class Page:
    """A page that asks an attendant."""

    def __init__(self, person: Person) -> None:
        self.attendant = Attendant(person.client, lambda _: None)

    def ask(self, what: str, **more: object) -> Any:  # noqa: ANN401  # JSON
        ask = protocol.decode_ask(json.dumps({"do": what, "id": 7, **more}).encode())
        if isinstance(ask, protocol.Begin):
            return {"ok": json.loads(msgspec.json.encode(self.attendant.begin()))}
        assert isinstance(ask, protocol.ClientAsk)
        doing = self.attendant.attend(ask)
        try:
            doing.send(None)
        except StopIteration as ended:
            return {"ok": json.loads(msgspec.json.encode(ended.value))}
        except AmanatError as error:
            return {"error": error.code}
        doing.close()
        raise AssertionError("it waits")

    def told(self, event: events.Event) -> list[Any]:
        return [json.loads(frame) for frame in self.attendant.tell(event)]


async def test_a_page_lists_reads_and_writes_conversations(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(alice)
    bob.say("alice", "سلام")
    await world.settle()
    begun = page.ask("begin")["ok"]
    assert begun["status"]["name"] == "alice"
    [line] = begun["chats"]
    assert (line["name"], line["unread"], line["last"]["text"]) == ("bob", 1, "سلام")
    chat = line["chat"]
    part = page.ask("history", chat=chat, where={"at": "unread"})["ok"]
    [message] = part["messages"]
    assert part["unread"] == message["id"]
    page.ask("seen", chat=chat, row=message["row"])
    assert page.ask("begin")["ok"]["chats"][0]["unread"] == 0
    assert page.ask("send", chat=chat, text="hello", reply_to=message["id"])["ok"]["row"]
    await world.settle()
    assert bob.texts("alice") == ["سلام", "hello"]
    part = page.ask("history", chat=chat, where={"at": "newest"})["ok"]
    assert [one["text"] for one in part["messages"]] == ["سلام", "hello"]
    assert part["messages"][1]["quote"]["text"] == "سلام"
    position = part["messages"][1]["position"]
    before = page.ask("history", chat=chat, where={"at": "before", "position": position})["ok"]
    assert [one["text"] for one in before["messages"]] == ["سلام"]


async def test_a_draft_rests_in_the_vault_alone(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(alice)
    chat = alice.gid("bob").hex()
    page.ask("draft", chat=chat, text="not yet")
    await world.settle()
    await alice.sleep()
    alice.wake()
    assert Page(alice).ask("begin")["ok"]["chats"][0]["draft"] == "not yet"
    assert bob.texts("alice") == []


async def test_the_settings_of_the_page_rest_in_the_vault(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    assert Page(alice).ask("begin")["ok"]["settings"] == {}
    Page(alice).ask("settings", values={"theme": "dark", "digits": "latn"})
    Page(alice).ask("settings", values={"theme": "light"})
    await alice.sleep()
    alice.wake()
    assert Page(alice).ask("begin")["ok"]["settings"] == {"theme": "light"}


async def test_what_cannot_be_done_is_answered_by_the_code_of_an_error(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    page = Page(alice)
    nobody = "00" * 16
    assert page.ask("send", chat=nobody, text="x") == {"error": "not-a-member"}
    assert page.ask("draft", chat=nobody, text="x") == {"error": "unknown-conversation"}
    chat = alice.gid("bob").hex()
    where = {"at": "after", "position": "nowhere"}
    assert page.ask("history", chat=chat, where=where) == {"error": "bad-argument"}


async def test_every_event_is_told_as_whole_facts(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(alice)
    happened = alice.client.events()
    bob.say("alice", "one")
    await world.settle()
    event = await anext(happened)
    while not isinstance(event, events.TextArrived):
        event = await anext(happened)
    message, summary = page.told(event)
    assert (message["on"], message["message"]["text"]) == ("message", "one")
    assert (summary["on"], summary["summary"]["unread"]) == ("summary", 1)
    assert page.told(event) == [message, summary]  # told twice, it is the same
    gid = alice.gid("bob")
    assert page.told(events.MessageChanged(gid, 10**6))[0]["on"] == "gone"
    assert [one["on"] for one in page.told(events.StateChanged(gid))] == ["progress", "summary"]
    assert [one["on"] for one in page.told(events.StatusChanged())] == ["status"]
    alice.say("bob", "two")
    await world.settle()
    event = await anext(happened)
    while event != events.TextArrived(gid, alice.client.chat(gid).history(Newest()).newest):
        event = await anext(happened)
    assert page.told(event)[0]["message"]["text"] == "two"
    assert [one["on"] for one in page.told(events.SummaryChanged(gid))] == ["summary"]


async def test_another_name_is_told_with_each_line_that_shows_it(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(alice)
    said, silent = (alice.client.create_group(name, ["bob"]).gid for name in ("one", "other"))
    await world.settle()
    bob.client.chat(said).send("hello")
    alice.client.chat(silent).send("mine")
    await world.settle()
    [contact] = alice.client.contacts()
    told = page.told(events.PersonChanged(contact.identity))
    lines = {one["summary"]["chat"] for one in told if one["on"] == "summary"}
    assert lines == {alice.gid("bob").hex(), said.hex()}
    assert [one["on"] for one in told][:2] == ["status", "people"]


async def test_a_page_knows_which_rows_are_unread_and_is_told_of_its_own_changes(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(alice)
    for text in ("one", "two", "three"):
        bob.say("alice", text)
    alice.say("bob", "mine")
    await world.settle()
    chat = alice.gid("bob").hex()
    part = page.ask("history", chat=chat, where={"at": "newest"})["ok"]
    theirs = [one for one in part["messages"] if not one["own"]]
    rows = [one["row"] for one in theirs]
    assert part["unread_rows"] == sorted(rows)
    assert part["newest"] == max(one["row"] for one in part["messages"])
    first, *others = sorted(rows)
    assert page.ask("seen", chat=chat, row=first)["ok"]["unread_rows"] == others
    happened = alice.client.events()
    [mine] = [one for one in part["messages"] if one["own"]]
    page.ask("edit", chat=chat, message=mine["id"], text="better")
    page.ask("react", chat=chat, message=theirs[0]["id"], emoji="👍")
    page.ask("delete", chat=chat, messages=[theirs[1]["id"]], for_everyone=False)
    await world.settle()
    told: list[Any] = []
    while "gone" not in [one["on"] for one in told]:
        told += page.told(await anext(happened))
    messages = {one["message"]["id"]: one["message"] for one in told if one["on"] == "message"}
    assert messages[mine["id"]]["text"] == "better"
    assert messages[theirs[0]["id"]]["reactions"] == {"alice": "👍"}
    assert {"on": "gone", "chat": chat, "row": theirs[1]["row"]} in told


@pytest.mark.long
async def test_a_page_is_told_of_gaps_when_they_show_and_when_they_are_closed(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    page = Page(bob)
    happened = bob.client.events()
    await world.pass_time(3600)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    world.relay.forgets = lambda _, who: who == "bob"
    alice.say("bob", "two")
    await world.settle()
    gap = {
        "chat": bob.gid("alice").hex(),
        "conversation": "alice",
        "sender": "alice",
        "many": 1,
        "who": bob.client.contact("alice").identity.hex(),
        "upto": 2,  # they came when the two met
    }
    assert await missing_when_a_text_arrives(page, happened) == [gap]
    world.relay.forgets = lambda *_: False
    await world.pass_time(3600)
    assert await missing_when_a_text_arrives(page, happened) == []


async def missing_when_a_text_arrives(page: Page, happened: AsyncIterator[events.Event]) -> object:
    """The gaps of which the page was told when the next text arrived, or before."""
    missing: object = None
    while True:
        event = await anext(happened)
        for one in page.told(event):
            if one["on"] == "status":
                missing = one["status"]["missing"]
        if isinstance(event, events.TextArrived):
            return missing
