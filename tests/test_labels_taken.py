"""A relay says that a label is taken: the client seals the payload again under another label, or
tells the person. It sends nothing unchanged again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from amanat.client.holding import HOLD, PATIENCE_MS
from amanat.client.repeats import PAUSE_MS
from amanat.client.rules import roster
from amanat.client.rules.files import file_drop, file_keys
from amanat.client.rules.posting import MAX_SKIPPED
from amanat.errors import LabelTaken, NoSuchDrop, RelayBusy
from amanat.protocol import wire
from amanat.protocol.cells import LARGE_CELL
from test_claims import shown, states, taken_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.drill.person import Person
    from amanat.drill.shelves import Relay
    from amanat.drill.world import World


class Liar:
    """A relay that says so many times that the labels of a person's appends are taken: it throws
    the cells away, or keeps them all the same."""

    def __init__(
        self,
        relay: Relay,
        whom: Person,
        wants: Callable[[wire.Append], bool],
        *,
        most: int,
        keeps: bool = False,
    ) -> None:
        self.labels: list[bytes] = []
        self.most = most
        real = relay._append

        def append(request: wire.Append, who: str) -> tuple[int, bytes]:
            label = request.cell[:16]
            if who != whom.name or not wants(request):
                return real(request, who)
            if label not in self.labels and len(self.labels) >= self.most:
                return real(request, who)
            if label not in self.labels and keeps:
                real(request, who)
            self.labels.append(label)
            raise LabelTaken

        relay._append = append  # type: ignore[method-assign]


def in_epoch(person: Person, gid: bytes) -> Callable[[wire.Append], bool]:
    """Whether an append goes to the drop of a person's present epoch."""
    drop_id = person.epoch_place(gid).drop.drop_id
    return lambda append: append.drop_id == drop_id


@pytest.mark.long
async def test_label_taken_in_one_lane_leaves_the_other_as_it_is(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    await world.pass_time(200)
    taken_by(world.relay, bob.bucket, "alice", most=1)
    alice.client.chat(gid).send("hello")
    await world.pass_time(30)
    assert shown(bob, gid) == ["hello"]
    alice.client.chat(gid).rename("our family")
    await world.pass_time(30)  # far sooner than bob would look without a notice
    assert bob.client.chat(gid).view().name == "our family"
    alice.client.chat(gid).send("still here")
    await world.settle()
    assert shown(bob, gid) == ["hello", "still here"]
    assert not {*alice.warnings(), *bob.warnings()}


@pytest.mark.long
@pytest.mark.parametrize("keeps", [False, True])
async def test_word_of_a_large_group_leaves_under_another_label(
    world: World, monkeypatch: pytest.MonkeyPatch, *, keeps: bool
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 2)
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("club", *people)
    await world.pass_time(200)
    liar = Liar(world.relay, alice, in_epoch(alice, gid), most=3, keeps=keeps)
    alice.client.chat(gid).send("hello")
    await world.settle()
    assert len(liar.labels) == len(set(liar.labels)) == 3
    assert shown(bob, gid) == shown(carol, gid) == ["hello"]
    assert states(alice, gid) == ["sent"]
    assert not [person.warnings() for person in people if person.warnings()]


@pytest.mark.long
@pytest.mark.parametrize("keeps", [False, True])
async def test_commit_leaves_under_another_label_and_proves_no_copied_vault(
    world: World, *, keeps: bool
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    await world.pass_time(200)
    liar = Liar(world.relay, alice, in_epoch(alice, gid), most=2, keeps=keeps)
    alice.client.chat(gid).rename("our family")
    await world.settle()
    assert len(set(liar.labels)) == len(liar.labels) >= 1
    assert [person.client.chat(gid).view().name for person in (alice, bob)] == ["our family"] * 2
    assert [person.client.chat(gid).view().state for person in (alice, bob)] == ["active"] * 2
    assert not {*alice.warnings(), *bob.warnings()}


@pytest.mark.long
async def test_the_commit_of_a_member_who_comes_back_leaves_under_another_label(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    await world.pass_time(200)
    liar = Liar(world.relay, alice, in_epoch(bob, gid), most=2)
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, "copied-vault", is_restart=True)
    await world.settle()
    assert len(liar.labels) == len(set(liar.labels)) == 2
    assert alice.client.chat(gid).view().state == "active"
    assert {*alice.warnings()} == {"copied-vault"}


@pytest.mark.long
async def test_held_word_whose_label_is_said_to_be_taken_is_held_anew_and_told(
    world: World,
) -> None:
    german = world.add_relay("DE")
    alice, bob = await world.person("alice"), await world.person("bob", relay=german)
    await world.meet(alice, bob)
    alice.client.home.set_outbound(HOLD)
    await world.pass_time(200)
    known = set(world.relay.shelves)
    liar = Liar(world.relay, alice, lambda append: append.drop_id not in known, most=1)
    alice.say("bob", "hello")
    await world.pass_time(PATIENCE_MS / 1000)
    assert len(liar.labels) == 1
    await world.pass_time(1_200)
    assert bob.texts("alice") == ["hello"]
    assert {*alice.warnings()} == {LabelTaken.code}
    assert not bob.warnings()


@pytest.mark.long
async def test_relay_that_says_so_of_every_label_is_told_and_loses_no_word(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    await world.pass_time(200)
    real = world.relay._append
    liar = Liar(world.relay, alice, in_epoch(alice, gid), most=10**6)
    alice.client.chat(gid).rename("our family")
    await world.pass_time(7_200)
    assert MAX_SKIPPED < len(liar.labels) < 100
    assert len(set(liar.labels)) == len(liar.labels)
    assert alice.warnings() == [LabelTaken.code]
    world.relay._append = real  # type: ignore[method-assign]
    await world.pass_time(600)
    await world.settle()
    assert [person.client.chat(gid).view().name for person in (alice, bob)] == ["our family"] * 2
    assert not bob.warnings()


@pytest.mark.long
async def test_a_newcomer_cannot_keep_others_out_by_what_they_put_into_the_file(
    world: World,
) -> None:
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", bob)
    known, real = set(world.relay.shelves), world.relay._append
    is_slow = True

    def append(request: wire.Append, who: str) -> tuple[int, bytes]:
        if is_slow and who == "bob" and request.drop_id not in known:
            raise RelayBusy
        return real(request, who)

    world.relay._append = append  # type: ignore[method-assign]
    bob.client.chat(gid).add(["carol", "mallory"])
    while not (awaited := mallory.rules.conversations.joining.awaited()):
        await world.pass_time(0.1)
    drop, [key, *_] = file_drop(awaited[0].file), file_keys(awaited[0].file)
    junk = wire.Append(0, drop.drop_id, drop.append_token, key.label + bytes(LARGE_CELL - 16))
    with pytest.raises(NoSuchDrop):
        real(junk, "mallory")
    is_slow = False
    await world.settle()
    assert carol.client.chat(gid).view().people == ["bob", "carol", "mallory"]
    assert not {*bob.warnings(), *carol.warnings()}


@pytest.mark.long
async def test_file_whose_label_is_said_to_be_taken_is_told_and_not_sent_all_the_time(
    world: World,
) -> None:
    bob, carol = await world.friends("bob", "carol")
    gid = await world.group("family", bob)
    known = set(world.relay.shelves)
    liar = Liar(world.relay, bob, lambda append: append.drop_id not in known, most=10**6)
    bob.client.chat(gid).add(["carol"])
    await world.pass_time(300)
    assert len(liar.labels) == 1
    assert bob.warnings() == [LabelTaken.code]
    assert bob.one("SELECT count(*) FROM outbox") == 0
    liar.labels.clear()
    liar.most = 0
    await world.pass_time(PAUSE_MS[0] / 1000 + 400)
    await world.settle()
    assert carol.client.chat(gid).view().people == ["bob", "carol"]
    assert not carol.warnings()


async def test_answer_to_a_request_that_was_taken_back_counts_for_no_other(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    relay = world.network.relay_with(bob.rules.me.home.relay)
    appended: list[bytes] = []
    real = relay._append

    def append(request: wire.Append, who: str) -> tuple[int, bytes]:
        answer = real(request, who)
        if who == "alice" and not appended:
            # While the answer is on its way, alice gives the text up and says another.
            with alice.client._unit():
                alice.db.execute("DELETE FROM outbox")
            alice.say("bob", "two")
        appended.append(request.cell)
        return answer

    relay._append = append  # type: ignore[method-assign]
    alice.say("bob", "one")
    await world.pass_time(5)
    assert len(appended) > 1
    assert bob.texts("alice") == ["one", "two"]
