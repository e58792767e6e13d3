"""A conversation read from any place, the list of all, and the events that programs get of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amanat.client import desk, feed, schema
from amanat.client.desk import Desk
from amanat.client.events import (
    Event,
    Joined,
    PersonChanged,
    StateChanged,
    StatusChanged,
    SummaryChanged,
    TextArrived,
)
from amanat.client.feed import Feed
from amanat.client.transcript import (
    After,
    Around,
    Before,
    Day,
    Entry,
    Newest,
    Part,
    Position,
    Quote,
    Scroll,
    Share,
    Transcript,
    Unread,
)
from amanat.client.unit import Unit
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.drill.world import World
from amanat.errors import BadArgument, Overrun, UnknownConversation, UnknownMessage
from amanat.protocol import codec
from amanat.protocol.identity import Credential

KEY = Unlock(key=bytes(32))
GID, OTHER = b"conversation 001", b"conversation 002"
ALICE, BOB = b"alice" + bytes(27), b"bob" + bytes(29)
MINUTE = 60_000
MANY = 60


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A vault with two conversations of Alice's, one of them with many messages, which came in
    another order than they stand in."""
    create(tmp_path / "alice", KEY, belongs_to_alice, now=0)
    opened = open_vault(tmp_path / "alice", KEY)
    order = list(range(MANY))
    random.Random(1).shuffle(order)
    with opened.unit(now=0) as unit:
        for gid in (GID, OTHER):
            unit.db.execute(
                "INSERT INTO conversation (gid, state, sent_hash, sure_seq)"
                " VALUES (?, 'active', x'', 0)",
                (gid,),
            )
        for number in order:
            say(unit, GID, number)
        say(unit, OTHER, 1)
    yield opened
    opened.close()


def say(unit: Unit, gid: bytes, number: int) -> None:
    who = BOB if number % 3 else ALICE
    unit.db.execute(
        "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at, kept_at,"
        " text) VALUES (?, ?, x'', ?, x'', ?, ?, ?, 0, ?)",
        (gid, number.to_bytes(16), who, number, number // 2, number * MINUTE, str(number)),
    )


def belongs_to_alice(unit: Unit, _: Vault) -> None:
    """Put the credential of a vault of Alice's where the program puts it."""
    unit.put("credential", codec.encode(Credential(2, ALICE, bytes(32), 1, bytes(64))))


def unread(vault: Vault) -> dict[bytes, int]:
    """How many texts of others each conversation holds since its read mark, counted one by one."""
    return {
        gid: len(Transcript(vault, ALICE).unread_rows(gid))
        for (gid,) in vault.read.execute("SELECT gid FROM conversation").fetchall()
    }


def unread_in_lines(vault: Vault) -> dict[bytes, int]:
    return {line.gid: line.unread for line in Desk(vault).lines()}


def read(vault: Vault, where: Scroll, many: int = 7) -> Part:
    return Transcript(vault, ALICE).part(GID, where, many=many)


def everything(vault: Vault) -> list[Entry]:
    return Transcript(vault, ALICE).everything(GID)


def test_a_conversation_is_read_to_both_ends_by_position(vault: Vault) -> None:
    whole = everything(vault)
    assert [entry.position for entry in whole] == sorted(entry.position for entry in whole)
    transcript = Transcript(vault, ALICE)
    part = transcript.part(GID, Newest(), many=7)
    back = part.entries
    while part.entries:
        assert part.before == MANY - len(back)
        assert part.total == MANY
        part = transcript.part(GID, Before(back[0].position), many=7)
        back = part.entries + back
    assert back == whole
    forth: list[Entry] = []
    position = Position(-1, b"", 0, b"")
    while (part := transcript.part(GID, After(position), many=7)).entries:
        assert part.before == len(forth)
        forth += part.entries
        position = forth[-1].position
    assert part.before == MANY
    assert forth == whole


def test_the_files_of_a_conversation_are_read_to_both_ends_and_nothing_else_is(
    vault: Vault,
) -> None:
    with vault.unit(now=0) as unit:
        unit.db.execute(
            "INSERT INTO file (gid, id, body, is_near) SELECT gid, id, x'', 1 FROM message"
            " WHERE seq % 4 = 0"
        )
    transcript = Transcript(vault, ALICE)
    whole = [entry for entry in reversed(everything(vault)) if entry.file is not None]
    assert len(whole) == MANY // 4
    back = transcript.files(GID, before=None, after=None, many=4)
    while more := transcript.files(GID, before=back[-1].position, after=None, many=4):
        assert len(more) <= 4
        back += more
    assert back == whole
    forth = whole[-1:]
    while more := transcript.files(GID, before=None, after=forth[0].position, many=4):
        forth = more + forth
    assert forth == whole


def test_the_links_of_a_conversation_are_as_its_words_are_now(vault: Vault) -> None:
    transcript = Transcript(vault, ALICE)

    def linked() -> list[str | None]:
        found = transcript.links(GID, before=None, many=3)
        while more := transcript.links(GID, before=found[-1].position, many=3):
            assert len(more) <= 3
            found += more
        return [one.text for one in found]

    def change(statement: str, *values: object) -> None:
        with vault.unit(now=0) as unit:
            unit.db.execute(statement, values)

    for number in range(0, MANY, 5):
        change("UPDATE message SET text = ? WHERE seq = ?", f"http://{number}.example", number)
    texts = [f"http://{number}.example" for number in reversed(range(0, MANY, 5))]
    assert linked() == texts
    change("UPDATE message SET text = 'nothing' WHERE gid = ? AND seq = 55", GID)  # edited
    change("UPDATE message SET text = NULL WHERE gid = ? AND seq = 50", GID)  # deleted
    change("DELETE FROM message WHERE gid = ? AND seq = 45", GID)  # expired
    change("UPDATE message SET text = 'see https://a' WHERE gid = ? AND seq = 41", GID)
    assert linked() == ["see https://a", *texts[3:]]


def test_no_message_without_a_link_is_read_to_find_the_links(vault: Vault) -> None:
    statements: list[str] = []
    vault._db.set_trace_callback(statements.append)
    place = Position(7 * MINUTE, BOB, 7, bytes(16))
    for before in (None, place):
        Transcript(vault, ALICE).links(GID, before=before, many=3)
    vault._db.set_trace_callback(None)
    plans = [
        plan
        for one in statements
        if "://" in one
        for *_, plan in vault._db.execute(f"EXPLAIN QUERY PLAN {one}")
    ]
    assert len(plans) == 2
    for plan in plans:  # and nothing is sorted
        assert plan.startswith("SEARCH m USING")
        assert "INDEX message_link" in plan


@pytest.mark.parametrize("number", [0, 1, 30, MANY - 1])
def test_a_message_is_shown_among_those_around_it(vault: Vault, number: int) -> None:
    whole = everything(vault)
    part = read(vault, Around(whole[number].id.hex()))
    assert whole[number] in part.entries
    assert part.entries == whole[part.before : part.before + 7][: len(part.entries)]
    if 4 <= number < MANY - 4:
        assert len(part.entries) == 7


def test_a_share_and_a_day_lead_to_their_place(vault: Vault) -> None:
    whole = everything(vault)
    assert read(vault, Share(0)).entries == whole[:7]
    assert read(vault, Share(0.5)).entries == whole[30:37]
    assert read(vault, Share(1)).entries == whole[-7:]
    with pytest.raises(BadArgument):
        read(vault, Share(1.1))
    found = read(vault, Day(20 * MINUTE)).entries[0]
    assert found.sent_at >= 20 * MINUTE
    assert found == next(entry for entry in whole if entry.sent_at >= 20 * MINUTE)
    assert read(vault, Day(10**15)).entries == whole[-7:]


def test_the_first_unread_message_is_the_one_that_stands_first(vault: Vault) -> None:
    whole = everything(vault)
    newest = max(entry.row for entry in whole)
    with vault.unit(now=0) as unit:
        unit.db.execute("UPDATE conversation SET read_row = ?", (newest - 20,))
    unread = [e for e in whole if e.row > newest - 20 and e.identity != ALICE]
    assert unread[0].row != min(e.row for e in unread)  # or this test shows nothing
    part = read(vault, Unread(), many=1)
    assert part.entries == [unread[0]]
    with vault.unit(now=0) as unit:
        unit.db.execute("UPDATE conversation SET read_row = ?", (newest,))
    assert read(vault, Unread()).entries == whole[-7:]


def test_how_many_stand_before_is_right_after_messages_came_and_went(vault: Vault) -> None:
    transcript = Transcript(vault, ALICE)
    middle = everything(vault)[30].position

    def before() -> int:
        part = transcript.part(GID, After(middle), many=3)
        assert part.entries == [e for e in everything(vault) if e.position > middle][:3]
        assert part.total == len(everything(vault))
        return part.before

    def fail(look: Callable[[], int]) -> None:
        with vault.unit(now=0) as unit:
            unit.db.execute("DELETE FROM message WHERE gid = ? AND seq = 4", (GID,))
            say(unit, GID, MANY)
            assert look() < 31
            raise ZeroDivisionError

    assert before() == before() == 31
    with vault.unit(now=0) as unit:
        unit.db.execute("DELETE FROM message WHERE gid = ? AND seq = 3", (GID,))
    assert before() == 30
    with pytest.raises(ZeroDivisionError):
        fail(before)
    assert before() == 30
    with vault.unit(now=0) as unit:
        unit.db.execute("UPDATE message SET gid = ? WHERE seq = 5", (OTHER,))
    assert before() == 29
    assert transcript.total(OTHER) == 2


def test_a_position_is_a_text_for_programs(vault: Vault) -> None:
    position = everything(vault)[0].position
    assert Position.parse(str(position)) == position
    with pytest.raises(BadArgument):
        Position.parse("1.zz")


def test_a_message_of_another_conversation_is_not_shown(vault: Vault) -> None:
    transcript = Transcript(vault, ALICE)
    (theirs,) = transcript.everything(OTHER)
    assert transcript.at(OTHER, theirs.row) == theirs
    assert transcript.at(GID, theirs.row) is None
    assert transcript.at(GID, 10**9) is None
    with pytest.raises(UnknownMessage):
        transcript.position(OTHER, bytes(16))


@pytest.mark.parametrize("words", ["null", "true", "0", "1.5", ""])
def test_words_that_read_like_a_value_stay_words(vault: Vault, words: str) -> None:
    first, second = everything(vault)[:2]
    with vault.unit(now=0) as unit:
        unit.db.execute("UPDATE message SET text = ? WHERE row = ?", (words, first.row))
        unit.db.execute("UPDATE message SET reply_to = ? WHERE row = ?", (first.id, second.row))
        unit.db.execute("INSERT INTO desk (gid, draft) VALUES (?, ?)", (GID, words))
    first, second = everything(vault)[:2]
    assert (first.text, second.quote) == (words, Quote(first.id, first.identity, words))
    assert Desk(vault).line(GID).draft == words


@pytest.mark.parametrize("seed", range(8))
def test_after_any_history_a_line_tells_as_many_unread_as_counting_finds(
    vault: Vault, seed: int
) -> None:
    chance = random.Random(seed)
    numbers = iter(range(MANY, 10**6))

    def some_row() -> int:
        rows = vault.read.execute("SELECT row FROM message ORDER BY row").fetchall()
        return int(chance.choice(rows)[0])

    def one_step(unit: Unit) -> None:
        gid = chance.choice((GID, OTHER))
        match chance.randrange(6):
            case 0 | 1:
                say(unit, gid, next(numbers))
            case 2:
                unit.db.execute("DELETE FROM message WHERE row = ?", (some_row(),))
            case 3:
                unit.db.execute(
                    "UPDATE OR IGNORE message SET gid = ? WHERE row = ?", (gid, some_row())
                )
            case 4:
                unit.db.execute(
                    "UPDATE conversation SET read_row = ? WHERE gid = ?", (some_row(), gid)
                )
            case _:  # as after one is let in again
                row = unit.db.execute(
                    "DELETE FROM conversation WHERE gid = ? RETURNING *", (gid,)
                ).fetchone()
                say(unit, gid, next(numbers))
                marks = ", ".join("?" * len(row))
                unit.db.execute(f"INSERT INTO conversation VALUES ({marks})", row)  # noqa: S608

    def fail() -> None:
        with vault.unit(now=0) as unit:
            one_step(unit)
            raise ZeroDivisionError

    seen = set()
    for _ in range(60):
        with vault.unit(now=0) as unit:
            one_step(unit)
        with pytest.raises(ZeroDivisionError):
            fail()
        assert unread_in_lines(vault) == unread(vault)
        seen |= set(unread(vault).values())
    assert len(seen) > 5  # or this test shows nothing


def test_a_line_tells_no_more_unread_than_a_list_shows(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unread_in_lines(vault) == {GID: 40, OTHER: 1}
    monkeypatch.setattr(desk, "MAX_UNREAD", 30)
    assert unread_in_lines(vault) == {GID: 30, OTHER: 1}


def test_an_older_vault_is_counted_once(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as before:
        before.setattr(schema, "STEPS", schema.STEPS[:2])
        before.setattr(schema, "VERSION", schema.BASE + 2)
        create(tmp_path / "old", KEY, belongs_to_alice, now=0)
        old = open_vault(tmp_path / "old", KEY)
        with old.unit(now=0) as unit:
            for gid in (GID, OTHER, b"conversation 003"):
                unit.db.execute(
                    "INSERT INTO conversation (gid, state, sent_hash, sure_seq, read_row)"
                    " VALUES (?, 'active', x'', 0, 3)",
                    (gid,),
                )
            for number in range(9):
                say(unit, GID, number)
                say(unit, OTHER, number)
        old.close()
    opened = open_vault(tmp_path / "old", KEY)
    assert unread_in_lines(opened) == unread(opened) != {}
    with opened.unit(now=0) as unit:
        say(unit, b"conversation 003", 1)
    assert unread_in_lines(opened) == unread(opened)
    assert unread(opened)[b"conversation 003"] == 1
    opened.close()


async def test_a_vault_knows_whose_it_is(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    ((identity,),) = alice.vault.read.execute("SELECT identity FROM me").fetchall()
    assert identity == alice.client._me.identity


async def test_events_end_with_overrun_where_nobody_takes_them(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert world.now()  # whose loop this runs in
    monkeypatch.setattr(feed, "MAX_EVENTS", 3)
    full: Feed[int] = Feed()
    for number in range(3):
        full.put(number)
    assert [await full.get() for _ in range(3)] == [0, 1, 2]
    for number in range(5):
        full.put(number)
    with pytest.raises(Overrun):
        await full.get()
    with pytest.raises(Overrun):
        await full.get()


# With real clients


async def test_a_list_shows_the_last_message_and_what_is_unread(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    for text in ("one", "two"):
        bob.say("alice", text)
        await world.settle()
    alice.client.chat(gid).send("mine")
    await world.settle()
    client = alice.client
    direct, group = client.summaries()
    assert (direct.name, direct.is_direct, direct.unread) == ("bob", True, 2)
    assert (group.name, group.is_direct, group.unread) == ("family", False, 0)
    assert direct.last == client.chat(direct.gid).messages()[-1]
    assert group.last == client.chat(gid).messages()[-1]
    assert group.last.state in ("sent", "delivered")
    assert client.chat(gid).summary() == group
    first = client.chat(direct.gid).messages()[-2]
    client.chat(direct.gid).seen(first.row)
    assert client.chat(direct.gid).summary().unread == 1
    assert [message.text for message, _ in client.unread()] == ["two"]
    client.chat(direct.gid).seen(first.row - 1)  # nothing read becomes unread
    assert client.chat(direct.gid).summary().unread == 1
    with pytest.raises(UnknownConversation):
        client.chat(b"elsewhere").summary()


async def test_a_conversation_is_arranged_in_this_vault_alone(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    bob.say("alice", "one")
    await world.settle()
    client, gid = alice.client, alice.gid("bob")
    question = client.chat(gid).messages()[-1].id
    outbox = client.status().outbox
    client.chat(gid).set_draft("what I mean", reply_to=question)
    client.chat(gid).set_pinned()
    client.chat(gid).set_muted(5)
    client.chat(gid).set_archived()
    assert client.status().outbox == outbox
    await alice.sleep()
    line = alice.client.chat(gid).summary()
    assert (line.draft, line.draft_reply_to) == ("what I mean", question)
    assert (line.pinned_at, line.muted_until, line.is_archived) == (world.now(), 5, True)
    alice.client.chat(gid).set_draft("")
    alice.client.chat(gid).set_pinned(is_pinned=False)
    alice.client.chat(gid).set_muted(None)
    alice.client.chat(gid).set_archived(is_archived=False)
    line = alice.client.chat(gid).summary()
    assert (line.draft, line.draft_reply_to, line.pinned_at) == ("", "", None)
    assert (line.muted_until, line.is_archived) == (None, False)
    with pytest.raises(UnknownConversation):
        alice.client.chat(b"elsewhere").set_pinned()


async def test_programs_are_told_of_delivery_reading_people_and_relays(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid, events = alice.gid("bob"), alice.client.events()
    alice.client.chat(gid).send("hello")
    await world.settle()
    bob.say("alice", "hello yourself")
    await world.settle()
    alice.client.chat(gid).mark_read()
    alice.client.chat(gid).mark_read()  # changes nothing
    alice.client.contact("bob").set_verified()
    alice.client.contact("bob").set_verified(is_verified=False)
    await alice.sleep()
    seen = [event async for event in events]
    kinds = [type(event) for event in seen]
    assert kinds.count(StateChanged) >= 2
    assert kinds.count(SummaryChanged) == 2  # said something, and read
    assert kinds.count(PersonChanged) == 2
    assert kinds.count(TextArrived) == 2  # her own, and his
    assert {event.gid for event in seen if isinstance(event, StateChanged)} == {gid}


async def test_events_of_different_kinds_about_one_conversation_are_all_told(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    gid, events = alice.gid("bob"), alice.client.events()
    told: list[Event] = [StateChanged(gid), SummaryChanged(gid), StateChanged(gid), Joined(gid)]
    with alice.client._unit() as unit:
        unit.events += told
    await alice.sleep()
    seen = [type(event) async for event in events]
    assert seen == [StateChanged, SummaryChanged, Joined]


async def test_programs_are_told_that_a_relay_is_away_and_back(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    events = alice.client.events()
    world.network.is_up = False
    alice.client._routes.close()
    await world.pass_time(30)
    assert alice.client.status().away
    assert isinstance(await anext(events), StatusChanged)
    world.network.is_up = True
    bob.say("alice", "hello")
    await world.settle()
    assert not alice.client.status().away
    await alice.sleep()
    assert StatusChanged in [type(event) async for event in events]
