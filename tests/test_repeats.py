"""A relay forgets cells that let people in: clients append them again until the people come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amanat.client import repeats
from amanat.client.rules import files, roster
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import InviteExpired
from amanat.protocol import wire

DAY_S = 86_400


def of_bucket(person: Person) -> bytes:
    return person.rules.me.home.bucket.drop_id


class Forgetful:
    """A relay that acknowledges some cells and does not keep them."""

    def __init__(self, world: World, *, times: int) -> None:
        self.left = times
        self.seen: dict[bytes, list[bytes]] = {}
        """All cells that came under each label."""
        world.relay.forgets = self._forgets
        self.wants: Callable[[wire.Append, str], bool] = lambda *_: True

    def _forgets(self, append: wire.Append, who: str) -> bool:
        if not self.wants(append, who) or self.left == 0:
            return False
        self.seen.setdefault(append.cell[:16], []).append(append.cell)
        self.left -= 1
        return True

    @property
    def is_same_bytes(self) -> bool:
        return all(len(set(cells)) == 1 for cells in self.seen.values())


@pytest.fixture
def slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let days pass fast: clients look for what is due every five minutes."""
    monkeypatch.setattr(world, "tick_s", 300.0)
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)


def kept(person: Person) -> int:
    """How many cells a person keeps for repeats."""
    return sum(
        int(person.one(f"SELECT count(*) FROM {table}"))  # noqa: S608  # our own names
        for table in ("repeat", "repeat_request", "awaited")
    )


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("what", ["the knock", "the answer"])
@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.long
async def test_first_words_that_a_relay_forgets_are_appended_again(
    world: World, what: str, is_restarted: bool
) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    lost = Forgetful(world, times=2)
    inviter, knocker = of_bucket(alice), of_bucket(bob)
    lost.wants = lambda append, who: (
        (append.drop_id, who) == ((inviter, "bob") if what == "the knock" else (knocker, "alice"))
    )
    bob.client.accept(alice.client.invite(), "hello")
    await world.settle()
    assert bob.client.contacts() == []
    assert lost.left == (1 if what == "the knock" else 0)  # with the answer went KeyPackages
    if what == "the answer":
        lost.left = 1
    if is_restarted:
        for person in (alice, bob):
            await person.sleep()
            person.wake()
    for _ in range(8):
        await world.pass_time(repeats.PAUSE_MS[0] / 1000)
        await world.settle()
    assert lost.left == 0
    assert lost.is_same_bytes
    assert [c.name for c in bob.client.contacts()] == ["alice"]
    bob.say("alice", "nice to meet you")
    await world.settle()
    assert alice.texts("bob") == bob.texts("alice") == ["hello", "nice to meet you"]
    await world.pass_time(3 * DAY_S)
    assert kept(alice) == kept(bob) == 0


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("what", ["a piece", "the whole file"])
@pytest.mark.long
async def test_piece_of_a_welcome_that_a_relay_forgets_is_appended_again(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(files, "MAX_PAYLOAD", 2_000)  # so that there are pieces
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    drops: list[bytes] = []
    lost = Forgetful(world, times=1)
    buckets = {of_bucket(person) for person in (alice, bob, carol)}

    def wants(append: wire.Append, who: str) -> bool:
        if who != "alice" or append.drop_id in buckets:
            return False
        drops.append(append.drop_id)
        return len(drops) == 2

    lost.wants = wants
    view = alice.client.create_group("family", ["bob", "carol"])
    while lost.left:
        await world.pass_time(0.01)
    await world.pass_time(5)
    assert len(drops) > 3
    if what == "the whole file":
        del world.relay.shelves[drops[0]]
    assert not [c for c in bob.client.conversations() if not c.is_direct]
    await world.pass_time(repeats.PAUSE_MS[0] / 1000 + 400)
    await world.settle()
    assert lost.is_same_bytes
    for person in (bob, carol):
        assert person.client.chat(view.gid).view().people == ["alice", "bob", "carol"]
        assert not person.warnings()
    assert alice.one("SELECT count(*) FROM awaited") == 0
    await world.pass_time(DAY_S)
    assert kept(alice) == 0


@pytest.mark.usefixtures("slow")
@pytest.mark.long
async def test_nothing_is_appended_again_once_all_have_come(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    await world.group("family", alice, bob, carol)
    for _ in range(6):  # receipts, and new keys in every group
        await world.pass_time(1_200)
        await world.settle()
    before = world.network.appends
    await world.pass_time(DAY_S)
    assert world.network.appends - before <= 6
    assert [kept(person) for person in (alice, bob, carol)] == [0, 0, 0]


@pytest.mark.long
@pytest.mark.usefixtures("slow")
async def test_a_file_that_is_whole_is_not_sent_again_to_people_who_are_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[wire.Request] = []
    note = world.network.note

    def noted(request: wire.Request, who: str) -> None:
        asked.append(request)
        note(request, who)

    monkeypatch.setattr(world.network, "note", noted)
    alice, bob = await world.friends("alice", "bob")
    await world.pass_time(600)
    await bob.sleep()
    alice.client.create_group("family", ["bob"])
    await world.pass_time(60)
    asked.clear()
    await world.pass_time(3 * DAY_S)
    drop_id = alice.one("SELECT about FROM repeat WHERE kind = 'file'")
    about = [request for request in asked if getattr(request, "drop_id", None) == drop_id]
    assert len(about) > 3
    assert {type(request) for request in about} == {wire.Create}
    bob.wake()
    await world.settle()
    assert [c.name for c in bob.client.conversations() if not c.is_direct] == ["family"]


@pytest.mark.long
async def test_a_knock_is_sent_so_often_for_a_person_who_never_comes_and_then_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 3_600.0)
    alice, bob = await world.person("alice"), await world.person("bob")
    life_s = repeats.LIFE_MS // 1000 + 4 * DAY_S
    link = alice.client.invite(life_s)
    await alice.sleep()
    bob.client.accept(link)
    await world.pass_time(60)
    request = wire.decode_request(bob.one("SELECT request FROM repeat_request"))
    asked: list[wire.Request] = []
    note = world.network.note

    def noted(request: wire.Request, who: str) -> None:
        asked.append(wire.with_id(request, 0))
        note(request, who)

    monkeypatch.setattr(world.network, "note", noted)
    await world.pass_time(repeats.LIFE_MS / 1000 + 2 * DAY_S)
    sent = asked.count(request)
    days = repeats.LIFE_MS // repeats.PAUSE_MS[1]
    assert days - 2 <= sent <= repeats.MAX_TRIES  # about daily, and more often at first
    assert kept(bob) == 0
    assert not bob.warnings()
    await world.pass_time(2 * DAY_S)
    assert bob.warnings() == [InviteExpired.code]


async def test_only_so_many_bytes_are_kept_and_the_oldest_go_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    await carol.sleep()
    dave = await world.person("dave")
    await dave.sleep()
    bob.client.accept(carol.client.invite())
    (size,) = bob.db.execute("SELECT length(request) FROM repeat_request").fetchone()
    first = bob.one("SELECT about FROM repeat")
    monkeypatch.setattr(repeats, "MAX_BYTES", size)
    bob.client.accept(dave.client.invite())
    assert bob.one("SELECT about FROM repeat") != first
    assert kept(bob) == 2
    assert not alice.warnings()


async def test_clock_set_back_puts_nothing_off(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    lost = Forgetful(world, times=1)
    lost.wants = lambda _append, who: who == "bob"
    bob.client.accept(alice.client.invite())
    await world.settle()
    with bob.client._unit():
        bob.db.execute("UPDATE repeat SET due_at = ?", (2**52,))
    await bob.sleep()
    bob.wake()
    assert bob.one("SELECT due_at FROM repeat") <= world.now() + repeats.PAUSE_MS[1]
