"""Where relays are: their own word counts, a person's word counts for that person, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from addresses import key_of, relay_at
from amanat.client import vault
from amanat.client.invite import Invite, to_link
from amanat.client.places import MAX_RELAYS, Places
from amanat.client.rules.outbox import Purpose
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, Vault
from amanat.config import PlaceConfig, RelayConfig
from amanat.drill.network import Socket
from amanat.drill.person import Person
from amanat.drill.shelves import Relay
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    BadSetting,
    BrokenAddress,
    BrokenInvite,
    MalformedFrame,
    NotPublic,
    RelayKeyChanged,
    StoreDamaged,
)
from amanat.protocol import codec, wire
from amanat.protocol.descriptor import (
    MAX_ADDRESS_CHARS,
    NamedAddress,
    RelayAddress,
    Stay,
    b64,
    decode_address,
    parse_address,
    sign_address,
)
from amanat.protocol.drops import derive_drop
from amanat.protocol.identity import Address
from amanat.protocol.messages import Kind, NewAddresses
from amanat.protocol.places import MAX_PLACES, Place
from amanat.relay.directory import RelayDirectory
from relays import RelayProcess, in_loop

DAY_MS = 86_400_000
OLD, NEW, NAMED = (Place(f"{name}.example", 443) for name in ("old", "new", "named"))
KEY = relay_at().key
CONFIG = RelayConfig(region="DE", operator="one", host="relay.example", port=8443)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Vault]:
    vault.create(tmp_path, Unlock(key=bytes(32)), lambda _, __: None, now=0)
    found = vault.open_vault(tmp_path, Unlock(key=bytes(32)))
    yield found
    found.close()


# Known places


def test_of_two_addresses_a_relay_has_signed_the_later_one_counts(opened: Vault) -> None:
    places = Places(opened)
    with opened.unit(now=1) as unit:
        assert places.learn(unit, relay_at(NEW, issued=2))
        assert not places.learn(unit, relay_at(OLD, issued=1))
        assert not places.learn(unit, relay_at(NEW, issued=3))  # which says nothing new
    assert places.where(KEY, now=1) == [NEW]
    with opened.unit(now=1) as unit:
        assert places.learn(unit, relay_at(OLD, issued=4))
    assert Places(opened).where(KEY, now=1) == [OLD]


def test_what_a_failed_unit_learned_is_learned_anew(opened: Vault) -> None:
    places = Places(opened)

    def fail() -> None:
        with opened.unit(now=1) as unit:
            places.learn(unit, relay_at(NEW, issued=2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with opened.unit(now=1) as unit:
        assert places.learn(unit, relay_at(NEW, issued=2))
    assert places.where(KEY, now=1) == [NEW]


def test_a_relay_is_looked_for_where_it_was_found_or_named_last_and_then_where_it_says(
    opened: Vault,
) -> None:
    places = Places(opened)
    stays = Stay(OLD, 0, 10), Stay(NEW, 11)
    with opened.unit(now=1) as unit:
        places.learn(unit, relay_at(*stays))
    assert places.where(KEY, now=10 * DAY_MS) == [OLD, NEW]
    assert places.where(KEY, now=11 * DAY_MS) == [NEW, OLD]
    with opened.unit(now=5) as unit:
        places.found(unit, KEY, OLD, [])
    assert places.where(KEY, now=11 * DAY_MS) == [OLD, NEW]
    with opened.unit(now=6) as unit:
        places.name(unit, NamedAddress.of(KEY, NAMED))
    assert places.where(KEY, now=11 * DAY_MS) == [NAMED, NEW, OLD]
    with opened.unit(now=7) as unit:
        places.found(unit, KEY, NEW, [NAMED])
    assert places.where(KEY, now=11 * DAY_MS) == [NEW, NAMED, OLD]


def test_a_place_is_kept_for_as_long_as_the_relay_is_found_there(opened: Vault) -> None:
    places = Places(opened)
    with opened.unit(now=1) as unit:
        places.learn(unit, relay_at(OLD))
        places.found(unit, KEY, OLD, [])
        unit.now = 2
        places.learn(unit, relay_at(NEW, issued=2))
    assert places.where(KEY, now=3) == [OLD, NEW]
    with opened.unit(now=3) as unit:
        places.found(unit, KEY, NEW, [OLD])
    assert places.where(KEY, now=3) == [NEW]


def test_what_is_kept_of_places_is_bounded(opened: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amanat.client.places.MAX_RELAYS", 3)
    places = Places(opened)
    with opened.unit(now=0) as unit:
        for number in range(10):
            unit.now = number
            places.learn(unit, relay_at(number=number))
            places.found(unit, relay_at(number=number).key, OLD, [])
        for port in range(1, 20):
            unit.now = 100 + port
            places.name(unit, NamedAddress.of(KEY, Place("10.0.0.1", port)))
    assert opened._db.execute("SELECT count(*) FROM relay_at").fetchone() == (3,)
    assert places.signed(relay_at(number=9).key) is not None
    named = opened._db.execute("SELECT count(*) FROM place WHERE named_at IS NOT NULL").fetchone()
    assert named == (MAX_PLACES,)
    with opened.unit(now=200) as unit:
        assert places.learn(unit, relay_at(number=0))  # it is learned again
        for number in range(1, 10):
            unit.now = 300 + number
            places.learn(unit, relay_at(number=number, issued=5))
    assert places.signed(KEY) is not None  # for the person has named it
    assert MAX_RELAYS == 4096


def test_what_is_shown_of_a_relay_can_be_pasted(opened: Vault) -> None:
    places = Places(opened)
    hosts = [Place(f"{letter * 60}.example", 1) for letter in "abcd"]
    with opened.unit(now=0) as unit:
        for number in (0, 2):
            unit.now = number
            places.name(unit, NamedAddress.of(KEY, *hosts[number : number + 2]))
        unit.now = 9
        places.learn(unit, relay_at(Place("c" * 63 + ".example", 1), issued=9))
    text = str(places.address(KEY, now=9))
    assert len(text) <= MAX_ADDRESS_CHARS
    assert parse_address(text).places == places.address(KEY, now=9).places


# Calls at the word of others


def lure(host: str, port: int, *, tls: str = "pinned") -> bytes:
    """An address at a place, as a stranger may write it, signed or not."""
    key = Ed25519PrivateKey.generate()
    try:
        return codec.encode(sign_address([Stay(Place(host, port, tls))], key, issued=1))
    except ValueError:
        public = key.public_key().public_bytes_raw()
        return codec.encode(NamedAddress.of(public, Place(host, port, tls)))


def invite_to(relay: RelayAddress) -> Invite:
    bucket = derive_drop(os.urandom(32), purpose=b"amanat bucket drop", region="DE")
    return Invite(
        1,
        Ed25519PrivateKey.generate().public_key().public_bytes_raw(),
        "Nice",
        X25519PrivateKey.generate().public_key().public_bytes_raw(),
        os.urandom(32),
        [Address(relay, "DE", bucket.drop_id, bucket.append_token)],
        2**40,
    )


@in_loop
@pytest.mark.long
async def test_no_invite_has_us_call_on_our_own_machine_or_network(tmp_path: Path) -> None:
    called = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(writer.get_extra_info("sockname"))
        writer.close()

    # Even if the test fails, nothing may stay running, or the loop could not close.
    async with contextlib.AsyncExitStack() as running:
        server = await running.enter_async_context(
            await asyncio.start_server(take, ["127.0.0.1", "::1"], 0)
        )
        ports = {sock.family: sock.getsockname()[1] for sock in server.sockets}
        relay = running.enter_context(RelayProcess(tmp_path / "relay", tls="pinned"))
        client = await Client.create(
            tmp_path / "alice", Unlock(key=bytes(32)), name="alice", relay=str(relay.address)
        )
        await running.enter_async_context(client)
        for host, port in (
            ("127.0.0.1", ports[socket.AF_INET]),
            ("localhost", ports[socket.AF_INET]),
            ("0.0.0.0", ports[socket.AF_INET]),  # noqa: S104  # called
            ("::1", ports[socket.AF_INET6]),
        ):
            relay_there = sign_address(
                [Stay(Place(host, port))], Ed25519PrivateKey.generate(), issued=1
            )
            with pytest.raises(NotPublic):
                client.accept(to_link(invite_to(relay_there)))
            # An address that comes in another way waits, and is not called either.
            with client._unit() as unit:
                client._run.parts.outbox.deposit(
                    unit,
                    invite_to(relay_there).addresses,
                    os.urandom(32),
                    b"",
                    purpose=Purpose.REPLY,
                    about=None,
                    due_at=0,
                )
        # A name resolved by others, so the client learns only then that it is private.
        inside = sign_address([Stay(Place("inside.example", 1))], key_of(9), issued=1)

        async def resolve(_place: Place) -> list[str]:
            return ["127.0.0.1"]

        with pytest.MonkeyPatch.context() as changed:
            changed.setattr("amanat.link.resolve", resolve)
            client.accept(to_link(invite_to(inside)))
            await asyncio.sleep(1.5)
        assert called == []
        assert client.status().outbox >= 5
        # A place that the person has named is called.
        await client.home.set_place(f"amanat://127.0.0.1:{ports[socket.AF_INET]}/#{'A' * 43}")
        assert called


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_no_record_of_others_names_a_place_without_tls(host: str) -> None:
    data = lure(host, 1, tls="off")
    with pytest.raises(BrokenInvite):
        decode_address(data, BrokenInvite)


async def test_a_private_relay_is_called_on_by_people_who_have_named_it(world: World) -> None:
    hidden = add_relay(world, Place("relay.internal", 443))
    alice = await world.person("alice", relay=hidden)
    bob = await world.person("bob", relay=hidden)  # both have named it, as in docs/first-steps.md
    carol = await world.person("carol")
    await world.meet(alice, bob)
    assert [one.name for one in alice.client.contacts()] == ["bob"]
    carol.client.accept(alice.client.invite())
    await world.pass_time(60)
    assert not carol.client.contacts()
    assert ("carol", hidden.address) not in world.network.seen
    with carol.acting():
        assert await carol.client.home.set_place(str(hidden.address))
    await world.settle()
    assert [one.name for one in carol.client.contacts()] == ["alice"]


# A relay that goes elsewhere


def add_relay(world: World, *places: Place) -> Relay:
    relay = world.add_relay()
    if places:
        relay.is_at(*places, issued=2)
    return relay


def go(relay: Relay, *places: Place | Stay) -> None:
    """Move a relay to these places and away from all others, without a word to anybody."""
    relay.is_at(*places, issued=relay.address.issued + 1)


def cut_all(world: World, relay: Relay) -> None:
    for socket_ in list(world.network.sockets):
        if socket_.relay is relay:
            socket_.disconnect()


def where(person: Person, relay: Relay) -> str:
    return person.rules.places.address(relay.address.key, now=0).name


async def test_a_place_that_is_to_come_is_learned_and_used_when_the_old_one_is_gone(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    (old,) = world.relay.address.places
    go(world.relay, Stay(old, 0, 20_000), Stay(NEW, 20_000))
    world.relay.here = {old}
    cut_all(world, world.relay)
    await world.pass_time(60)  # both connect again, and learn
    world.relay.here = {NEW}
    cut_all(world, world.relay)
    alice.say("bob", "have you found it?")
    await world.settle()
    assert bob.texts("alice") == ["have you found it?"]
    assert where(alice, world.relay).startswith(NEW.name)
    assert not alice.client.status().away


@pytest.mark.long
async def test_a_person_who_gets_the_new_place_of_their_relay_gets_everybody_back(
    world: World,
) -> None:
    """Alice and Bob are at home at the relay that moves, Carol and Dave elsewhere."""
    second = world.add_relay("DE")
    alice, bob = await world.friends("alice", "bob")
    carol = await world.person("carol", relay=second)
    dave = await world.person("dave", relay=second)
    await world.meet(alice, carol, dave)
    await world.meet(bob, carol)
    await world.meet(carol, dave)
    gid = await world.group("all", alice, bob, carol, dave)
    go(world.relay, NEW)
    cut_all(world, world.relay)
    said = []
    for number, one in enumerate((alice, bob, carol, dave)):
        one.client.chat(gid).send(f"{number} of {one.name}")
        said.append(f"{number} of {one.name}")
    carol.say("alice", "where are you?")
    await world.pass_time(120)
    assert alice.client.status().away
    with alice.acting():
        assert await alice.client.home.set_place(str(NamedAddress.of(world.relay.address.key, NEW)))
    with bob.acting():
        assert await bob.client.home.set_place(str(NamedAddress.of(world.relay.address.key, NEW)))
    await world.settle()
    await world.pass_time(600)
    for one in (alice, bob, carol, dave):
        assert sorted(m.text for m in one.client.chat(gid).messages()) == said
        assert not one.client.status().missing
        assert where(one, world.relay).startswith(NEW.name)
    assert alice.texts("carol") == ["where are you?"]


async def test_a_contact_at_the_same_relay_tells_by_way_of_the_fallback(world: World) -> None:
    second = world.add_relay("DE")
    alice = await world.person("alice", fallback=second)
    bob = await world.person("bob")
    await world.meet(alice, bob)
    go(world.relay, NEW)
    cut_all(world, world.relay)
    await world.pass_time(30)
    with bob.acting():
        assert await bob.client.home.set_place(str(NamedAddress.of(world.relay.address.key, NEW)))
    bob.say("alice", "here")
    await world.settle()
    assert alice.texts("bob") == ["here"]
    assert where(alice, world.relay).startswith(NEW.name)
    assert second.known.get(world.relay.address.key) is not None


async def test_the_fallback_tells_what_somebody_else_has_brought_it(world: World) -> None:
    """Alice and Bob do not know each other; they share two relays."""
    second = world.add_relay("DE")
    alice = await world.person("alice", fallback=second)
    bob = await world.person("bob", fallback=second)
    go(world.relay, NEW)
    cut_all(world, world.relay)
    await world.pass_time(30)
    assert alice.client.status().away
    with bob.acting():
        assert await bob.client.home.set_place(str(NamedAddress.of(world.relay.address.key, NEW)))
    await world.pass_time(180)
    assert not alice.client.status().away
    assert where(alice, world.relay).startswith(NEW.name)


@pytest.mark.long
async def test_a_hop_finds_the_relay_for_all_its_people_once_one_of_them_knows(
    world: World,
) -> None:
    first, second = world.two_operators()
    alice, bob = [await world.person(name, fallback=second) for name in ("alice", "bob")]
    await world.meet(alice, bob)
    go(first, NEW)
    cut_all(world, first)
    await world.pass_time(60)
    with bob.acting():
        assert await bob.client.home.set_place(str(NamedAddress.of(first.address.key, NEW)))
    bob.say("alice", "here")
    await world.settle()
    assert alice.texts("bob") == ["here"]
    # Neither has asked that relay for anything directly.
    assert not [who for who, relay in world.network.seen if relay == first.address]


async def test_where_another_key_answers_it_is_told_and_nothing_is_kept(world: World) -> None:
    (alice,) = await world.friends("alice")
    stranger = add_relay(world, Place("stranger.example", 443))
    (there,) = stranger.address.places
    wrong = NamedAddress.of(world.relay.address.key, there)
    with alice.acting(), pytest.raises(RelayKeyChanged):
        await alice.client.home.set_place(str(wrong))
    assert there not in alice.rules.places.where(world.relay.address.key, now=0)
    # The relay moves away, and somebody else is found in its place.
    (old,) = world.relay.address.places
    with alice.acting():
        await alice.client.home.set_place(str(world.relay.address))
    go(world.relay, old, NEW)
    cut_all(world, world.relay)
    await world.pass_time(60)
    stranger.here, world.relay.here = {old}, {NEW}
    cut_all(world, world.relay)
    await world.pass_time(120)
    assert not alice.client.status().away
    assert alice.warnings().count("relay-key-changed") == 1


async def test_nobody_can_say_where_a_relay_is_that_is_not_theirs_to_say(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    before = where(alice, world.relay)
    (address,) = bob.rules.me.addresses
    forged = NamedAddress.of(address.relay.key, NEW)
    body = codec.encode(NewAddresses(2**52, [Address(forged, "IR", *address_of(address))]))
    with bob.client._unit() as unit:
        bob.rules.conversations.saying.say(unit, bob.gid("alice"), Kind.ADDRESSES, body)
    await world.settle()
    assert where(alice, world.relay) == before
    assert "invalid-message" in alice.warnings()
    alice.say("bob", "and on")
    await world.settle()
    assert bob.texts("alice") == ["and on"]


def address_of(address: Address) -> tuple[bytes, bytes]:
    return address.drop_id, address.append_token


async def test_the_home_is_no_new_home_wherever_it_is(world: World) -> None:
    (alice,) = await world.friends("alice")
    elsewhere = NamedAddress.of(world.relay.address.key, NEW)
    assert alice.client.home.is_home(str(elsewhere))
    with alice.acting(), pytest.raises(BadArgument, match="amanat home"):
        await alice.client.home.exit(str(elsewhere))


@pytest.mark.long
async def test_a_newcomer_sees_where_our_relay_is_though_our_leaf_is_older(world: World) -> None:
    second = world.add_relay("DE")
    alice, bob = await world.friends("alice", "bob")
    carol = await world.person("carol", relay=second)
    await world.meet(bob, carol)
    gid = await world.group("all", bob, alice)
    (old,) = world.relay.address.places
    go(world.relay, old, NEW)
    cut_all(world, world.relay)
    await world.settle()
    bob.client.chat(gid).add(["carol"])
    await world.settle()
    world.relay.here = {NEW}
    cut_all(world, world.relay)
    carol.client.chat(gid).send("hello all")
    await world.settle()
    assert "hello all" in [one.text for one in alice.client.chat(gid).messages()]


# Attacks


def test_a_flood_of_addresses_drives_out_nothing_that_is_ours_or_waited_for(
    opened: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amanat.client.places.MAX_RELAYS", 3)
    places = Places(opened)
    ours, first, second, met = (relay_at(number=number) for number in range(4))
    with opened.unit(now=1) as unit:
        for one in (ours, first, second):
            places.learn(unit, one)
        opened._db.execute(
            "INSERT INTO relay (relay, region, bucket_key) VALUES (?, 'DE', x'')", (ours.key,)
        )
        opened._db.execute(
            "INSERT INTO outbox (relay, request, other_relay, purpose, due_at)"
            " VALUES (?, x'', ?, 'pair', 0)",
            (first.key, second.key),
        )
    with opened.unit(now=2) as unit:
        places.learn(unit, met)
        unit.now = 3
        for number in range(4, 20):
            places.learn(unit, relay_at(number=number))
    for one in (ours, first, second):
        assert places.where(one.key, now=3) == [*one.places]
    assert places.where(met.key, now=3) == []
    with opened.unit(now=0) as unit:
        assert places.learn(unit, met)  # though the clock was set back
    assert places.where(met.key, now=3) == [*met.places]


def test_a_clock_that_jumps_hides_no_place(opened: Vault) -> None:
    places = Places(opened)
    ahead = 100 * 366 * DAY_MS
    with opened.unit(now=ahead) as unit:
        places.learn(unit, relay_at(Stay(OLD, 0, 10), Stay(NEW, 11)))
        places.found(unit, KEY, OLD, [])
    for now in (0, 5 * DAY_MS, ahead, 2 * ahead):
        assert {*places.where(KEY, now=now)} == {OLD, NEW}
    with opened.unit(now=5) as unit:
        places.name(unit, NamedAddress.of(KEY, NAMED))
        places.learn(unit, relay_at(NEW, issued=2))
    assert places.where(KEY, now=5) == [OLD, NAMED, NEW]
    with opened.unit(now=6) as unit:
        places.found(unit, KEY, NAMED, [OLD])
    assert places.where(KEY, now=6) == [NAMED, NEW]
    assert places.found_at(KEY) == NAMED


def test_what_a_relay_signs_counts_though_its_clock_was_set_back(tmp_path: Path) -> None:
    home = RelayDirectory.create(tmp_path / "relay", CONFIG)
    first = home.signed_address(8443, now=4_000_000_000.5)
    assert RelayDirectory.open(home.path).signed_address(8443, now=5) == first
    assert home.signed_address(8443, now=5).issued == first.issued
    second = home.signed_address(8444, now=5)
    assert second.issued == first.issued + 1
    assert [place.port for place in second.places] == [8444]
    (home.path / "address.signed").write_bytes(codec.encode(relay_at(issued=2**50)))
    assert home.signed_address(8444, now=5).issued == 5  # the file is another relay's
    (home.path / "address.signed").write_bytes(b"junk")
    with pytest.raises(StoreDamaged, match=r"address\.signed"):
        home.signed_address(8444, now=5)


@pytest.mark.long
def test_a_relay_has_no_thousand_places_even_if_somebody_says_so(tmp_path: Path) -> None:
    many = [Place(f"r{number}.example", 443) for number in range(1000)]
    with pytest.raises(ValueError, match="places"):
        sign_address(map(Stay, many), key_of(0), issued=1)
    stays = [[[place.host, place.port, place.tls], 0, 0] for place in many]
    record = msgspec.msgpack.encode([KEY, 1, stays, bytes(64)])
    with pytest.raises(BrokenInvite):
        decode_address(record, BrokenInvite)
    at = [[place.host, place.port, place.tls] for place in many]
    for frame in ([9, 1, KEY, at], [16, 1, KEY, [KEY, 1, stays, bytes(64)]]):
        with pytest.raises(MalformedFrame):
            wire.decode_request(msgspec.msgpack.encode(frame))
    with pytest.raises(BrokenAddress):
        parse_address(f"amanat://{','.join(map(str, many))}#{b64(KEY)}")
    settings = msgspec.structs.replace(
        CONFIG, places=tuple(PlaceConfig(place.host, place.port) for place in many)
    )
    with pytest.raises(BadSetting, match="places"):
        RelayDirectory.create(tmp_path / "relay", settings)


async def test_an_old_word_of_a_relay_that_is_repeated_counts_for_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    old = world.relay.address
    go(world.relay, NEW)
    world.relay.here.add(old.places[0])
    cut_all(world, world.relay)
    await world.pass_time(60)
    before = where(alice, world.relay)
    assert NEW.name in before
    (address,) = bob.rules.me.addresses
    stale = Address(old, address.region, *address_of(address))
    body = codec.encode(NewAddresses(2**52, [stale]))
    with bob.client._unit() as unit:
        bob.rules.conversations.saying.say(unit, bob.gid("alice"), Kind.ADDRESSES, body)
    await world.settle()
    assert where(alice, world.relay) == before
    assert alice.rules.places.signed(old.key) == world.relay.address
    assert not alice.warnings()
    alice.say("bob", "and on")
    await world.settle()
    assert bob.texts("alice") == ["and on"]


@pytest.mark.long
async def test_a_hop_that_lies_about_where_a_relay_is_is_believed_in_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.two_operators()
    alice, bob = [await world.person(name, fallback=second) for name in ("alice", "bob")]
    await world.meet(alice, bob)
    told = first.address
    lies: list[wire.Reply] = [
        wire.Located(0, relay_at(NEW, issued=9)),  # another relay's word
        wire.Located(0, sign_address([Stay(OLD)], first.key, issued=0)),  # an old one
        wire.Described(0, second.descriptor(), b""),  # of another relay
        wire.Described(0, b"junk", b""),
        wire.Failed(0, "relay-key-changed"),  # as an honest one says, too
        wire.Failed(0, "label-taken"),
        wire.Failed(0, "junk"),
        wire.Located(0, None),
    ]
    honest = type(world.network.sockets[0]).deliver

    def lying(socket: Socket, reply: wire.Reply) -> None:
        is_asked = isinstance(reply, wire.Located | wire.Described) and socket.relay is second
        if lies and is_asked and isinstance(lies[0], wire.Failed | type(reply)):
            reply = msgspec.structs.replace(lies.pop(0), id=reply.id)
        honest(socket, reply)

    monkeypatch.setattr(type(world.network.sockets[0]), "deliver", lying)
    for _ in range(12):
        cut_all(world, second)
        for one in (alice, bob):
            one.client._routes.look_again(told.key)
        alice.say("bob", "past its lies")
        await world.pass_time(60)
    assert not lies
    await world.settle()
    assert bob.texts("alice") == ["past its lies"] * 12
    for one in (alice, bob):
        assert one.rules.places.signed(told.key) == told
        assert [*one.rules.places.where(told.key, now=0)] == [*told.places]
        assert not one.warnings()
    assert not [who for who, relay in world.network.seen if relay == first.address]


async def test_a_hop_that_was_made_to_forget_is_told_again(world: World) -> None:
    """A flood of addresses drives out everything that the hop knew."""
    first, second = world.two_operators()
    alice, bob = [await world.person(name, fallback=second) for name in ("alice", "bob")]
    await world.meet(alice, bob)
    go(first, NEW)
    cut_all(world, first)
    with bob.acting():
        assert await bob.client.home.set_place(str(NamedAddress.of(first.address.key, NEW)))
    bob.say("alice", "before")
    await world.settle()
    second.known.clear()
    bob.say("alice", "after")
    alice.say("bob", "answer")
    await world.settle()
    for texts in (alice.texts("bob"), bob.texts("alice")):
        assert sorted(texts) == ["after", "answer", "before"]
    assert second.known[first.address.key] == first.address


@pytest.mark.long
async def test_a_relay_that_is_elsewhere_all_the_time_does_not_have_us_write_all_the_time(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    (old,) = world.relay.address.places
    versions = set()
    for number in range(30):
        go(world.relay, old, Place(f"place{number}.example", 443))
        world.relay.here = {old}
        cut_all(world, world.relay)
        await world.pass_time(60)
        versions.add(alice.rules.conversations.whereabouts._number("addresses version"))
    assert len(versions) == 1
    # New envelopes still carry the address, and within the hour the contacts are told.
    (address,) = alice.rules.me.addresses
    assert address.relay.says_as(world.relay.address)
    await world.pass_time(3600)
    assert not alice.rules.places.has_news
    assert alice.rules.conversations.whereabouts._number("addresses version") not in versions
    alice.say("bob", "and on")
    await world.settle()
    assert bob.texts("alice") == ["and on"]
