"""First contact: links that survive copying, knocks that are answered once."""

from __future__ import annotations

import hashlib
import os
import zlib

import numpy as np
import pytest
import segno
import zxingcpp
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from amanat.client import invite as rules
from amanat.client.invite import MAX_GREETING_CHARS, MAX_LINK_CHARS, PREFIX, from_link, to_link
from amanat.drill.world import STORM, Person, World
from amanat.errors import BadArgument, BrokenInvite, InviteUsed, OwnInvite
from amanat.protocol import codec
from amanat.protocol.descriptor import RelayAddress, b64, unb64
from amanat.protocol.identity import MAX_NAME_CHARS, Address
from amanat.protocol.messages import Knock
from amanat.protocol.places import Place
from client_decoders import ADDRESS, INVITE

LINK = to_link(INVITE)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_link_is_plain_ascii_and_read_back() -> None:
    assert LINK.isascii()
    assert from_link(LINK) == INVITE


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=MAX_NAME_CHARS), st.binary(min_size=64, max_size=64))
def test_every_invite_is_read_back(name: str, secrets: bytes) -> None:
    made = rules.Invite(1, INVITE.identity, name, secrets[:32], secrets[32:], [ADDRESS])
    assert from_link(to_link(made)) == made


def test_longest_invite_is_read_back() -> None:
    hosts = [f"{letter * 60}.example" for letter in "abcd"]
    relay = str(RelayAddress(bytes(32), tuple(Place(host, 65535, "web") for host in hosts)))
    address = Address(relay, "IR", ADDRESS.drop_id, ADDRESS.append_token)
    name = "\N{GRINNING FACE}" * MAX_NAME_CHARS
    made = rules.Invite(1, INVITE.identity, name, INVITE.public, INVITE.secret, [address] * 2)
    assert len(to_link(made)) <= MAX_LINK_CHARS
    assert from_link(to_link(made)) == made


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t", "\n\n"])
@pytest.mark.parametrize("width", [1, 7, 76])
def test_spaces_and_line_breaks_do_no_harm(space: str, width: int) -> None:
    lines = [LINK[at : at + width] for at in range(0, len(LINK), width)]
    assert from_link(space + space.join(lines) + space) == INVITE


def test_link_cut_anywhere_is_broken() -> None:
    for size in range(len(LINK)):
        with pytest.raises(BrokenInvite):
            from_link(LINK[:size])


def test_link_with_any_character_changed_is_broken() -> None:
    for at in range(len(LINK)):
        for other in {chr(ord(LINK[at]) ^ 1), "A" if LINK[at] != "A" else "B"}:
            with pytest.raises(BrokenInvite):
                from_link(LINK[:at] + other + LINK[at + 1 :])


def test_link_with_any_bit_flipped_is_broken() -> None:
    data = unb64(LINK.removeprefix(PREFIX))
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BrokenInvite):
            from_link(PREFIX + b64(bytes(broken)))


@pytest.mark.parametrize(
    "text", ["", PREFIX, "https://example.org", LINK.upper(), LINK + "A", LINK * 2, "A" + LINK,
             PREFIX + "A" * MAX_LINK_CHARS, PREFIX + "۱۲۳", PREFIX + "=" * 8, "\x00"],
)  # fmt: skip
def test_what_is_no_link_is_broken(text: str) -> None:
    with pytest.raises(BrokenInvite):
        from_link(text)


def test_whole_link_of_what_is_no_invite_is_broken() -> None:
    for body in (b"", b"\x90", zlib.compress(b"x"), codec.encode(INVITE)[:-1]):
        check = hashlib.sha256(body).digest()[: rules.CHECK_BYTES]
        with pytest.raises(BrokenInvite):
            from_link(PREFIX + b64(body + check))


@pytest.mark.parametrize("scale", [3, 5])
def test_qr_code_is_read_back(scale: int) -> None:
    rows = segno.make(LINK, error="l", micro=False).matrix_iter(scale=scale)
    image = np.array([[0 if dark else 255 for dark in row] for row in rows], dtype=np.uint8)
    assert [found.text for found in zxingcpp.read_barcodes(image)] == [LINK]


def used(person: Person) -> int:
    """How many invites were used up."""
    return int(person.one("SELECT count(*) FROM invite WHERE used_at IS NOT NULL"))


async def test_two_meet_by_a_link_and_see_the_greeting(world: World) -> None:
    alice, bob = await world.person("علی"), await world.person("bob")
    assert bob.client.accept(alice.client.invite(), "سلام") == "علی"
    assert bob.client.contacts() == []
    await world.settle()
    assert [c.name for c in alice.client.contacts()] == ["bob"]
    assert [c.name for c in bob.client.contacts()] == ["علی"]
    for person in (alice, bob):
        (other,) = (p for p in (alice, bob) if p is not person)
        (greeting,) = person.messages(other.name)
        assert (greeting.sender, greeting.text) == ("bob", "سلام")
        assert not person.warnings()
    assert alice.client.safety_number("bob") == bob.client.safety_number("علی")
    assert used(alice) == 1
    assert bob.one("SELECT count(*) FROM knock") == 0


async def test_own_invite_is_refused(world: World) -> None:
    alice = await world.person("alice")
    with pytest.raises(OwnInvite):
        alice.client.accept(alice.client.invite())


async def test_broken_invite_changes_nothing(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    with pytest.raises(BrokenInvite):
        bob.client.accept(alice.client.invite()[:-1])
    assert bob.one("SELECT count(*) FROM outbox") == 0


async def test_greeting_too_long_is_refused(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    link = alice.client.invite()
    with pytest.raises(BadArgument):
        bob.client.accept(link, "x" * (MAX_GREETING_CHARS + 1))
    bob.client.accept(link, "ی" * MAX_GREETING_CHARS)
    await world.settle()
    assert alice.texts("bob") == ["ی" * MAX_GREETING_CHARS]


async def test_invite_with_a_key_of_low_order_is_broken(world: World) -> None:
    bob = await world.person("bob")
    made = rules.Invite(1, INVITE.identity, "eve", bytes(32), os.urandom(32), [ADDRESS])
    with pytest.raises(BrokenInvite):
        bob.client.accept(to_link(made))
    assert bob.one("SELECT count(*) FROM outbox") == 0


async def test_invite_is_good_for_one_person(world: World) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    link = alice.client.invite()
    bob.client.accept(link)
    await world.settle()
    world.network.sent.clear()  # two people, two texts, one label: that is what is tested
    carol.client.accept(link)
    await world.settle()
    assert [c.name for c in alice.client.contacts()] == ["bob"]
    assert carol.client.contacts() == []
    assert carol.warnings() == [InviteUsed.code]
    assert carol.one("SELECT count(*) FROM knock") == 0
    carol.client.accept(alice.client.invite())
    await world.settle()
    assert [c.name for c in carol.client.contacts()] == ["alice"]


async def test_contact_is_not_met_twice(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    for one, other in ((alice, bob), (bob, alice)):
        with pytest.raises(InviteUsed):
            one.client.accept(other.client.invite())


async def test_both_knock_at_once_and_one_conversation_results(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    alice.client.accept(bob.client.invite(), "from alice")
    bob.client.accept(alice.client.invite(), "from bob")
    await world.settle()
    for person in (alice, bob):
        assert len(person.client.contacts()) == 1
        assert len(person.client.conversations()) == 1
        assert person.one("SELECT count(*) FROM knock") == 0
    alice.say("bob", "hello")
    bob.say("alice", "hi")
    await world.settle()
    assert alice.texts("bob") == bob.texts("alice")
    assert {"hello", "hi"} < set(alice.texts("bob"))


async def test_many_meet_in_a_storm(world: World) -> None:
    alice = await world.person("alice")
    others = [await world.person(f"p{number}") for number in range(6)]
    world.network.weather = STORM
    for other in others:
        other.client.accept(alice.client.invite(), f"I am {other.name}")
    await world.settle()
    assert len(alice.client.contacts()) == 6
    for other in others:
        assert alice.texts(other.name) == [f"I am {other.name}"] == other.texts("alice")
        assert not other.warnings()


async def test_namesake_gets_another_name_and_is_warned_of(world: World) -> None:
    alice = await world.person("alice")
    twins = [await world.person("bob") for _ in range(3)]
    world.people = {str(n): p for n, p in enumerate([alice, *twins])}
    for twin in twins:
        twin.client.accept(alice.client.invite())
        await world.settle()
    assert [c.name for c in alice.client.contacts()] == ["bob", "bob (2)", "bob (3)"]
    assert alice.warnings() == ["identity-changed"] * 2
    assert len({alice.client.safety_number(c.name) for c in alice.client.contacts()}) == 3


def knock_with(bob: Person, link: str, payload: bytes) -> None:
    """Put something of our own making where the knock goes."""
    made = from_link(link)
    with bob.client._unit():
        bob.client._delivery.deposit(
            made.addresses, made.secret, payload, purpose="knock", about=made.identity, due_at=0
        )


@pytest.mark.parametrize("kind", ["garbage", "sealed garbage", "to another key", "no KeyPackage"])
async def test_junk_uses_the_invite_up_and_is_reported(world: World, kind: str) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    link = alice.client.invite()
    key = X25519PrivateKey.generate().public_key()
    if kind != "to another key":
        key = X25519PublicKey.from_public_bytes(from_link(link).public)
    knock = codec.encode(Knock(b"junk", "bob", "", bob.client._me.addresses, bytes(32)))
    payload = {
        "garbage": os.urandom(500),
        "sealed garbage": rules._SUITE.encrypt(os.urandom(99), key, info=rules._INFO),
        "to another key": rules._SUITE.encrypt(knock, key, info=rules._INFO),
        "no KeyPackage": rules._SUITE.encrypt(knock, key, info=rules._INFO),
    }[kind]
    knock_with(bob, link, payload)
    await world.settle()
    assert alice.warnings() == ["invalid-message"]
    assert alice.client.contacts() == []
    assert used(alice) == 1
    world.network.sent.clear()
    bob.client.accept(link)
    await world.settle()
    assert bob.warnings() == [InviteUsed.code]


async def test_knock_with_somebody_elses_key_package_does_not_lie_about_them(world: World) -> None:
    alice, bob, eve = [await world.person(name) for name in ("alice", "bob", "eve")]
    link = alice.client.invite()
    with bob.client._unit():
        stolen = bob.client._conversations.new_key_package(
            78, alice.client._me.identity, now=world.now()
        )
    knock = Knock(stolen, "eve", "", eve.client._me.addresses, bytes(32))
    key = X25519PublicKey.from_public_bytes(from_link(link).public)
    knock_with(eve, link, rules._SUITE.encrypt(codec.encode(knock), key, info=rules._INFO))
    await world.settle()
    (contact,) = alice.client.contacts()
    assert contact.identity == bob.client._me.identity
    alice.say(contact.name, "only bob could read this")
    await world.settle()
    assert eve.client.conversations() == []


async def test_people_of_two_relays_meet_and_make_a_group(world: World) -> None:
    abroad = world.add_relay("DE", buckets=3)
    alice, bob = await world.person("alice"), await world.person("bob", relay=abroad)
    carol = await world.person("carol", relay=abroad)
    await world.meet(alice, bob, carol)
    gid = await world.group("far and near", alice, bob, carol)
    for person in (alice, bob, carol):
        person.client.send(gid, f"from {person.name}")
    bob.client.send(bob.gid("alice"), "hello")
    await world.settle()
    for person in (alice, bob, carol):
        assert person.client.count(gid) == 3
        assert person.client.view(gid).region == "IR"
        assert not person.warnings()
    bob.client.leave(gid)
    await world.settle()
    assert alice.client.view(gid).people == ["alice", "carol"]
    assert alice.texts("bob") == ["hello"]
