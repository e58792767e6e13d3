"""Through a hop: a person's relay does not see who asks it, and no request goes another way."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter

import pytest

from amanat.client.cover import SECOND_EVERY, _Places
from amanat.client.unit import Unit
from amanat.client.ways import CURSOR_STEP, HOP_AWAY_S, rest_after
from amanat.drill.network import STORM
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import BadArgument, HopRefused, NoHop, RelayUnreachable
from amanat.link import RETRY_S
from amanat.protocol import wire
from amanat.protocol.drops import first_digest, next_digest
from amanat.protocol.rounds import PERIODS_S, READ, ROUND_S, SEND

LATE = 0.01
"""How much later than its time a timer of the world may fire, as a share of a round."""


async def pair(world: World) -> tuple[Person, Person]:
    first, second = world.two_operators()
    alice = await world.person("alice", relay=first, fallback=second)
    bob = await world.person("bob", relay=first, fallback=second)
    await world.meet(alice, bob)
    return alice, bob


async def test_two_relays_of_different_operators_are_asked_through_each_other(world: World) -> None:
    alice, bob = await pair(world)
    before, appends = world.network.handed_on, world.network.appends
    alice.say("bob", "who says this?")
    await world.settle()
    assert bob.texts("alice") == ["who says this?"]
    assert world.network.appends > appends
    assert world.network.handed_on > before
    # Nobody has ever asked either relay directly for anything at that relay itself.
    assert world.network.seen == []
    status = alice.client.status()
    assert (status.transport, status.hop) == ("hopped", status.fallback)
    assert not status.exposed
    assert "not who" in status.means


@pytest.mark.long
async def test_groups_invites_and_files_go_through_a_hop_in_a_storm(world: World) -> None:
    alice, bob = await pair(world)
    carol = await world.person(
        "carol",
        relay=world.relay,
        fallback=world.network.relay_with(alice.rules.me.homes[1].relay),
    )
    world.network.weather = STORM
    await world.meet(alice, carol)
    gid = await world.group("family", alice, bob, carol)
    for number in range(10):
        for person in (alice, bob, carol):
            person.client.chat(gid).send(f"{person.name} {number}")
    await world.settle()
    said = {f"{name} {number}" for name in ("alice", "bob", "carol") for number in range(10)}
    for person in (alice, bob, carol):
        assert {message.text for message in person.client.chat(gid).messages()} == said
    assert world.network.seen == []


@pytest.mark.parametrize(
    ("operators", "hops", "why"),
    [
        (("one", "one"), (True, True), "same operator"),
        (("", "another"), (True, True), "same operator, or do not name one"),
        (("one", "another"), (True, False), "does not pass requests on"),
    ],
)
async def test_without_a_hop_of_another_operator_it_is_direct_and_says_why(
    world: World, operators: tuple[str, str], hops: tuple[bool, bool], why: str
) -> None:
    first, second = world.two_operators()
    (first.operator, second.operator), (first.is_hop, second.is_hop) = operators, hops
    alice = await world.person("alice", relay=first, fallback=second)
    status = alice.client.status()
    assert (status.transport, status.hop) == ("direct", "")
    assert why in status.why
    await world.meet(alice, await world.person("bob"))
    alice.say("bob", "hello")
    await world.settle()
    assert ("alice", first.address) in world.network.seen


async def test_with_one_relay_it_is_direct(world: World) -> None:
    alice = await world.person("alice")
    assert alice.client.status().transport == "direct"
    assert "second relay" in alice.client.status().why


@pytest.mark.long
async def test_while_the_hop_is_away_nothing_goes_another_way(world: World) -> None:
    alice, bob = await pair(world)
    first, second = (relay.address for relay in list(world.network.relays.values())[:2])
    world.network.cut(second)
    alice.say("bob", "wait for it")
    await world.pass_time(10 * HOP_AWAY_S)
    assert bob.texts("alice") == []
    assert not [at for _, at in world.network.seen if at == first]
    assert alice.client.status().outbox
    assert alice.client.status().is_hop_away
    assert alice.client.status().transport == "hopped"
    world.network.away.clear()
    await world.settle()
    assert bob.texts("alice") == ["wait for it"]
    await world.pass_time(RETRY_S[1])  # nobody asks the relay more often
    assert not alice.client.status().is_hop_away
    assert world.network.seen == []


async def test_a_person_may_decide_to_go_direct_and_back(world: World) -> None:
    alice, bob = await pair(world)
    _, second = (relay.address for relay in list(world.network.relays.values())[:2])
    world.network.cut(second)
    for person in (alice, bob):
        await person.client.hopping.set_hop("off")
    alice.say("bob", "never mind")
    await world.settle()
    assert bob.texts("alice") == ["never mind"]
    assert alice.client.status().transport == "direct"
    assert "switched off" in alice.client.status().why
    world.network.away.clear()
    for person in (alice, bob):
        await person.client.hopping.set_hop("auto")
    await world.settle()
    world.network.seen.clear()
    alice.say("bob", "back")
    await world.settle()
    assert bob.texts("alice")[-1] == "back"
    assert world.network.seen == []
    await alice.sleep()
    assert alice.client.status().transport == "hopped"


async def test_fallback_is_asked_directly_when_the_home_is_gone_and_that_is_said(
    world: World,
) -> None:
    alice, bob = await pair(world)
    first, second = (relay.address for relay in list(world.network.relays.values())[:2])
    world.network.cut(first)
    alice.say("bob", "is anybody there?")
    await world.pass_time(5 * HOP_AWAY_S)
    assert bob.texts("alice") == ["is anybody there?"]
    assert alice.client.status().exposed == [str(second)]
    world.network.away.clear()
    await world.settle()
    await world.pass_time(90)
    world.network.seen.clear()
    alice.say("bob", "better now")
    await world.settle()
    assert bob.texts("alice")[-1] == "better now"
    assert not alice.client.status().exposed
    assert world.network.seen == []


@pytest.mark.long
async def test_hop_that_stops_serving_is_told_of_and_nothing_goes_direct(world: World) -> None:
    alice, bob = await pair(world)
    first, second = list(world.network.relays.values())[:2]
    first.is_hop = second.is_hop = False
    for person in (alice, bob):
        await person.sleep()
        person.wake()
    alice.say("bob", "not past me")
    await world.pass_time(120)
    assert bob.texts("alice") == []
    assert world.network.seen == []
    assert str(first.address) in alice.client.status().away
    first.is_hop = second.is_hop = True
    await world.settle()
    assert bob.texts("alice") == ["not past me"]


@pytest.mark.parametrize(
    "code", ["label-taken", "no-such-drop", "bad-cell", "broken-seal", "hop-refused", "junk"]
)
async def test_hop_cannot_make_a_client_give_up_a_message(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    alice, bob = await pair(world)
    honest = world.network._hand_on
    lies = iter([code] * 6)

    def lying(socket: object, request: wire.Forward | wire.Inquire) -> None:
        lie = next(lies, None)
        if lie is None:
            honest(socket, request)  # type: ignore[arg-type]
        else:
            socket.deliver(wire.Failed(request.id, lie))  # type: ignore[attr-defined]

    monkeypatch.setattr(world.network, "_hand_on", lying)
    alice.say("bob", "still here")
    await world.settle()
    assert next(lies, "told all") == "told all"
    assert bob.texts("alice") == ["still here"]
    assert not {"copied-vault", "label-taken"} & {*alice.warnings()}


@pytest.mark.long
async def test_hop_that_swaps_answers_is_believed_in_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await pair(world)
    kept: list[bytes] = []
    real = type(world.network.sockets[0]).deliver

    def swap(socket: object, reply: wire.Reply) -> None:
        if isinstance(reply, wire.Answer):
            kept.append(reply.sealed)
            if len(kept) % 3 == 0:
                reply = wire.Answer(reply.id, kept[-2])
        real(socket, reply)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.network.sockets[0]), "deliver", swap)
    for number in range(5):
        alice.say("bob", str(number))
    await world.pass_time(60)
    monkeypatch.setattr(type(world.network.sockets[0]), "deliver", real)
    await world.settle()
    assert bob.texts("alice") == [str(number) for number in range(5)]
    assert world.network.seen == []


async def test_another_relay_can_be_the_hop(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    third = world.add_relay("FR")
    with pytest.raises(HopRefused):
        await alice.client.hopping.set_hop(str(third.address))
    third.is_hop = True
    await alice.client.hopping.set_hop(str(third.address))
    await world.settle()
    world.network.seen.clear()
    alice.say("bob", "by way of a friend")
    await world.settle()
    assert bob.texts("alice") == ["by way of a friend"]
    assert "alice" not in [who for who, _ in world.network.seen]
    assert alice.client.status().hop == str(third.address)


async def test_fallback_set_later_brings_the_hop(world: World) -> None:
    first, second = world.two_operators()
    alice, _ = await world.friends("alice", "bob")
    assert alice.client.status().transport == "direct"
    await alice.client.home.set_fallback(str(second.address))
    await world.settle()
    assert alice.client.status().transport == "hopped"
    with pytest.raises(BadArgument):
        await alice.client.home.set_fallback(str(first.address))


async def test_relay_that_becomes_a_hop_is_used_from_the_next_start_on(world: World) -> None:
    first, second = world.two_operators()
    first.is_hop = second.is_hop = False
    alice = await world.person("alice", relay=first, fallback=second)
    assert alice.client.status().transport == "direct"
    first.is_hop = second.is_hop = True
    await alice.sleep()
    alice.wake()
    await world.settle()
    await world.pass_time(5)
    assert alice.client.status().transport == "hopped"
    world.network.seen.clear()
    await world.pass_time(60)
    assert world.network.seen == []


@pytest.mark.long
async def test_what_a_relay_sees_of_a_return_is_a_multiple(world: World) -> None:
    alice, bob = await pair(world)
    await bob.sleep()
    for number in range(270):
        alice.say("bob", str(number))
        if number % 50 == 0:
            await world.settle()
    await world.settle()
    cursors = []
    real = world.relay.answer

    def note(request: wire.Request, who: str = "") -> wire.Reply:
        if isinstance(request, wire.Read) and who == "bob":
            cursors.append(request.after)
        return real(request, who)

    world.relay.answer = note  # type: ignore[method-assign]
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == [str(number) for number in range(270)]
    assert cursors[0] % CURSOR_STEP == 0


def test_cells_read_before_are_cut_off_and_the_digest_goes_on() -> None:
    digests = [first_digest(bytes(24))]
    cells = [bytes([number]) * 1024 for number in range(4)]
    for cell in cells:
        digests.append(next_digest(digests[-1], cell))
    whole = wire.Cells(0, 1, digests[0], cells, 4)
    assert rest_after(whole, 2) == wire.Cells(0, 3, digests[2], cells[2:], 4)
    assert rest_after(whole, 0) == whole
    assert rest_after(whole, 4) == wire.Cells(0, 5, digests[4], [], 4)


# Covered


async def covered(world: World, *, period_s: int = 60) -> tuple[Person, Person]:
    alice, bob = await pair(world)
    await world.settle()
    for person in (alice, bob):
        await person.client.hopping.set_cover(period_s)
        await person.sleep()
        person.wake()
    await world.pass_time(3 * period_s)
    return alice, bob


@pytest.mark.parametrize("period_s", PERIODS_S)
@pytest.mark.long
async def test_covered_one_cell_leaves_in_each_period_whatever_is_said(
    world: World, period_s: int
) -> None:
    alice, bob = await covered(world, period_s=period_s)
    world.network.lines.clear()
    begin = world.network.clock()
    await world.pass_time(10 * period_s)
    for number in range(3):
        alice.say("bob", f"سلام {number}")
    await world.pass_time(10 * period_s)
    assert bob.texts("alice") == ["سلام 0", "سلام 1", "سلام 2"]
    whole = range(int(begin // period_s) + 1, int(world.network.clock() // period_s))
    for person in (alice, bob):
        sent = [one for one in world.network.lines if one[1] == person.name]
        # Each of two hops got one cell in each past period, at times of the grid.
        times = [at for at, _, verb, _ in sent if verb == "Cover"]
        periods = Counter(int(at // period_s) for at in times)
        assert [periods[number] for number in whole] == [2] * len(whole)
        assert all(at % period_s >= period_s - ROUND_S for at in times)
        assert all(SEND[0] <= at / ROUND_S % 1 <= SEND[1] + LATE for at in times)
        # It got one request for a page, and one more in every fourth period, whatever is said.
        times = [at for at, _, verb, _ in sent if verb == "Forward"]
        periods = Counter(int(at // period_s) for at in times)
        assert [periods[number] for number in whole] == [
            1 if number % SECOND_EVERY else 2 for number in whole
        ]
        assert all(READ[0] <= at % period_s / ROUND_S <= READ[1] + LATE for at in times)
        assert len({size for *_, size in sent}) == 1
    assert world.network.seen == []
    assert alice.client.status().transport == "covered"
    assert alice.client.status().period == period_s


@pytest.mark.long
async def test_covered_words_are_seen_at_the_end_of_a_round(world: World) -> None:
    alice, bob = await covered(world)
    shelf = world.relay.shelves[bob.bucket]
    before, grown = len(shelf.cells), []
    for number in range(4):
        alice.say("bob", f"text {number}")
        for _ in range(600):
            await world.pass_time(0.1)
            if len(shelf.cells) > before:
                grown.append(world.network.clock() % ROUND_S)
                before = len(shelf.cells)
    assert len(grown) >= 3
    assert all(at < 0.2 for at in grown)


@pytest.mark.long
async def test_covered_a_long_text_and_a_group_still_arrive(world: World) -> None:
    alice, bob = await covered(world, period_s=30)
    alice.say("bob", "x" * 3_000)
    gid = await world.group("family", alice, bob)
    alice.client.chat(gid).send("to all")
    await world.settle()
    assert bob.texts("alice") == ["x" * 3_000]
    assert [message.text for message in bob.client.chat(gid).messages()] == ["to all"]
    assert world.network.seen == []


@pytest.mark.long
async def test_covered_nothing_leaves_another_way_while_the_hop_is_away(world: World) -> None:
    alice, bob = await covered(world)
    _, second = (relay.address for relay in list(world.network.relays.values())[:2])
    world.network.cut(second)
    alice.say("bob", "wait for it")
    await world.pass_time(10 * HOP_AWAY_S)
    assert bob.texts("alice") == []
    assert world.network.seen == []
    status = alice.client.status()
    assert (status.transport, status.is_hop_away, status.exposed) == ("covered", True, [])
    world.network.away.clear()
    await world.settle()
    assert bob.texts("alice") == ["wait for it"]
    assert world.network.seen == []


@pytest.mark.long
async def test_cover_needs_a_hop_and_can_be_ended(world: World) -> None:
    carol = await world.person("carol")
    with pytest.raises(NoHop, match="second relay"):
        await carol.client.hopping.set_cover(60)
    alice, bob = await covered(world)
    with pytest.raises(BadArgument):
        await alice.client.hopping.set_cover(45)
    await alice.sleep()
    alice.wake()
    assert alice.client.status().transport == "covered"
    for person in (alice, bob):
        await person.client.hopping.set_cover(0)
    assert alice.client.status().transport == "hopped"
    alice.say("bob", "at once")
    await world.pass_time(5)
    assert bob.texts("alice") == ["at once"]


@pytest.mark.long
async def test_covered_without_a_hop_any_more_waits_and_says_why(world: World) -> None:
    alice, bob = await covered(world)
    await alice.client.hopping.set_hop("off")
    alice.say("bob", "not like this")
    await world.pass_time(200)
    assert bob.texts("alice") == []
    assert world.network.seen == []
    assert "switched off" in alice.client.status().why
    await alice.client.hopping.set_hop("auto")
    await world.settle()
    assert bob.texts("alice") == ["not like this"]


@pytest.mark.long
async def test_covered_words_go_before_receipts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await covered(world)
    for number in range(6):
        alice.say("bob", f"question {number}")
    await world.pass_time(400)
    for number in range(10):
        bob.say("alice", f"answer {number}")
    # The moment in a round is random, and one receipt may already have been on its way. So this
    # goes by what is said while words wait, and not by time.
    newest, receipts = bob.one("SELECT max(id) FROM outbox"), list[bytes]()
    words = [bob.one("SELECT secret FROM outbox WHERE id = ?", newest - back) for back in range(8)]
    saying = bob.client._run.parts.conversations.saying
    send_receipt = saying.send_receipt

    def noted(unit: Unit, gid: bytes) -> None:
        receipts.append(gid)
        send_receipt(unit, gid)

    monkeypatch.setattr(saying, "send_receipt", noted)
    # The answers that wait are sealed, so none of them carries this receipt. It is due in a minute
    # at most, and they take one each.
    with bob.client._run.unit() as unit:
        saying.owe_receipt(unit, bob.gid("alice"))
    seconds = 0
    while any(bob.one("SELECT count(*) FROM outbox WHERE secret = ?", word) for word in words):
        assert receipts == []
        assert seconds < 20 * 60
        await world.pass_time(1)
        seconds += 1
    # Two cells of one round may land in any order, and then the words between are asked for.
    await world.pass_time(60 * 60)
    answers = [one.text for one in alice.messages("bob") if not one.is_own]
    assert answers == [f"answer {number}" for number in range(10)]
    assert all(message.state == "delivered" for message in alice.messages("bob") if message.is_own)


async def test_a_bucket_has_every_second_page_where_others_wait(world: World) -> None:
    asked: list[str] = []

    async def ask(what: str) -> wire.Reply:
        asked.append(what)
        return wire.Created(0, 0)

    places = _Places(lambda: ask("nothing"))
    waiting = [
        asyncio.create_task(places.wait(functools.partial(ask, what), is_often=what == "bucket"))
        for what in ("look 1", "look 2", "bucket", "bucket", "gone", "bucket")
    ]
    await asyncio.sleep(0)
    waiting[4].cancel()
    await asyncio.sleep(0)
    for _ in range(7):
        await places.take()
    assert asked == ["bucket", "look 1", "bucket", "look 2", "bucket", "nothing", "nothing"]
    last = asyncio.create_task(places.wait(lambda: ask("too late")))
    await asyncio.sleep(0)
    places.end()
    with pytest.raises(RelayUnreachable):
        await last
