"""Notes to oneself are a conversation like any other, and no relay ever sees anything of them."""

from __future__ import annotations

import pytest

from amanat.client.transcript import Newest
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    NotAMember,
    UnknownContact,
    UnknownConversation,
    UnknownMessage,
)

DAY_S = 86_400


def traffic(world: World, person: Person) -> tuple[int, int]:
    """The cells at the relay, and the requests that somebody still has to send."""
    cells = sum(len(shelf.cells) for shelf in world.relay.shelves.values())
    return cells, person.one("SELECT count(*) FROM outbox")


async def test_notes_have_everything_that_a_conversation_has(world: World) -> None:
    alice = await world.person("alice")
    notes = alice.client.notes()
    assert alice.client.notes().gid == notes.gid
    row = notes.send("buy dates")
    first = notes.message_at(row)
    assert first is not None
    assert (first.text, first.sender, first.is_own, first.state) == (
        "buy dates", "alice", True, "kept",
    )  # fmt: skip
    first.reply("and tea")
    first.edit("buy figs")
    first.react("❤️")
    shown = notes.messages()
    assert [one.text for one in shown] == ["buy figs", "and tea"]
    assert [one.state for one in shown] == ["kept", "kept"]
    assert shown[0].reactions == {"alice": "❤️"}
    assert shown[1].reply_to is not None
    assert shown[1].reply_to.text == "buy figs"
    assert [found.message.text for found in alice.client.search("figs")] == ["buy figs"]
    notes.set_draft("call maryam")
    notes.set_pinned()
    (line,) = alice.client.summaries()
    assert (line.name, line.is_notes, line.is_direct, line.draft) == (
        "alice", True, False, "call maryam",
    )  # fmt: skip
    assert line.last is not None
    assert line.last.text == "and tea"
    assert (line.unread, notes.count(), notes.history(Newest()).total) == (0, 2, 2)
    notes.delete([shown[1].id])
    assert notes.message(shown[1].id).is_deleted
    notes.delete([shown[0].id, shown[1].id], for_everyone=False)
    assert notes.messages() == []
    with pytest.raises(UnknownMessage):
        notes.edit(first.id, "too late")
    assert not alice.client.unread(everything=True)


@pytest.mark.long
async def test_nothing_of_notes_reaches_a_relay_however_long_they_are_kept(world: World) -> None:
    alice, _ = await world.friends("alice", "babak")
    world.tick_s = 60.0
    await world.pass_time(2 * DAY_S + 3_600)  # past this day's claims
    await world.settle()
    notes = alice.client.notes()
    before = traffic(world, alice)
    epoch_drops = alice.one("SELECT count(*) FROM epoch_drop")
    for number in range(3):
        notes.send(f"note {number}")
    notes.edit(notes.messages()[0].id, "other words")
    notes.react(notes.messages()[1].id, "👍")
    notes.set_timer(3_600)
    notes.send("for an hour")
    await world.pass_time(600)
    assert traffic(world, alice) == before
    assert alice.one("SELECT count(*) FROM epoch_drop") == epoch_drops
    await world.pass_time(3_600)
    assert [one.text for one in notes.messages()] == ["other words", "note 1", "note 2"]
    await alice.sleep()
    alice.client.notes().send("offline")
    assert alice.client.notes().messages()[-1].state == "kept"
    alice.wake()
    for table in ("sent", "waiting", "epoch_drop", "attempt", "intent", "telling"):
        rows = alice.one(f"SELECT count(*) FROM {table} WHERE gid = ?", notes.gid)  # noqa: S608
        assert rows == 0, table
    await world.settle()
    assert traffic(world, alice) == before


@pytest.mark.long
async def test_notes_stay_apart_from_moves_names_and_months(world: World) -> None:
    alice, _ = await world.friends("alice", "babak")
    second = world.add_relay("DE")
    notes = alice.client.notes()
    notes.send("one")
    alice.client.rename("Al")
    alice.client.home.set_allowed_regions(None)
    await alice.client.home.exit(str(second.address))
    await world.settle()
    world.tick_s = 3600.0
    await world.pass_time(30 * DAY_S)
    await world.settle()
    view = notes.view()
    assert (view.name, view.people, view.state, view.epoch) == ("Al", ["Al"], "notes", 0)
    assert (view.region, view.inbound_region, view.outbound_regions) == ("", "", [])
    assert "nothing of them goes to any relay" in view.outbound_why
    assert [one.sender for one in notes.messages()] == ["Al"]
    assert not alice.client.status().left_behind


async def test_notes_are_found_by_their_id_alone(world: World) -> None:
    alice, notes_bot = await world.friends("alice", "notes")
    twin = await world.person("\u0430lice")
    await world.meet(alice, twin)
    client = alice.client
    notes = client.notes()
    assert client.conversation(notes.view().id).gid == notes.gid
    assert client.conversation("notes").is_direct
    with pytest.raises(UnknownConversation):
        client.conversation("alice")
    with pytest.raises(UnknownConversation):
        client.group("alice")
    with pytest.raises(UnknownConversation):
        client.group(notes.view().id)
    assert notes.gid not in client.together().live()
    assert notes_bot.client.conversations()[0].name == "alice"


async def test_nobody_comes_into_notes_and_nobody_leaves_them(world: World) -> None:
    alice, _ = await world.friends("alice", "babak")
    notes = alice.client.notes()
    for change in (
        lambda: notes.add(["babak"]),
        lambda: notes.rename("ours"),
        lambda: notes.set_roles({"may_add": "members"}),
        notes.leave,
        notes.leave_and_block,
    ):
        with pytest.raises(NotAMember):
            change()
    with pytest.raises(UnknownContact):
        notes.remove("babak")
    with pytest.raises(BadArgument):
        notes.set_timer(-1)
    assert notes.view().people == ["alice"]


async def test_notes_outlive_a_death(world: World) -> None:
    alice = await world.person("alice")
    alice.client.notes().send("one")
    await alice.revive()
    assert [one.text for one in alice.client.notes().messages()] == ["one"]
    assert len(alice.client.conversations()) == 1
