"""First contact: links that survive copying, knocks that are answered once."""

from __future__ import annotations

import hashlib
import os
import zlib

import msgspec
import numpy as np
import pytest
import segno
import zxingcpp
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from addresses import relay_at
from amanat.client import invite as rules
from amanat.client.invite import MAX_GREETING_CHARS, MAX_LINK_CHARS, PREFIX, from_link, to_link
from amanat.client.rules import saying
from amanat.client.rules.outbox import Purpose
from amanat.client.shell import agenda
from amanat.drill.network import STORM
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    BrokenInvite,
    InviteExpired,
    InviteUsed,
    OwnInvite,
    UnknownInvite,
)
from amanat.protocol import codec
from amanat.protocol.descriptor import Stay, b64, unb64
from amanat.protocol.identity import MAX_NAME_CHARS, Address
from amanat.protocol.messages import Knock
from amanat.protocol.places import Place
from client_decoders import ADDRESS, INVITE

LINK = to_link(INVITE)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_link_is_plain_ascii_and_read_back() -> None:
    assert LINK.isascii()
    assert from_link(LINK) == INVITE


@settings(max_examples=50)
@given(
    st.text(st.characters(categories=("L", "N", "S")), min_size=1, max_size=MAX_NAME_CHARS).filter(
        lambda name: "\u2800" not in name and "\u3164" not in name and "\uffa0" not in name
    ),
    st.binary(min_size=64, max_size=64),
)
def test_every_invite_is_read_back(name: str, secrets: bytes) -> None:
    made = rules.Invite(1, INVITE.identity, name, secrets[:32], secrets[32:], [ADDRESS], 0)
    assert from_link(to_link(made)) == made


def test_longest_invite_is_read_back() -> None:
    hosts = [f"{letter * 56}.example" for letter in "abcd"]
    relay = relay_at(*(Stay(Place(host, 65535, "web"), 2**23, 2**24 - 1) for host in hosts))
    address = Address(relay, "IR", ADDRESS.drop_id, ADDRESS.append_token)
    name = "\N{GRINNING FACE}" * MAX_NAME_CHARS
    made = rules.Invite(
        1, INVITE.identity, name, INVITE.public, INVITE.secret, [address] * 2, 2**53 - 1
    )
    assert len(to_link(made)) <= MAX_LINK_CHARS
    assert from_link(to_link(made)) == made


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t", "\n\n"])
@pytest.mark.parametrize("width", [1, 7, 76])
def test_spaces_and_line_breaks_do_no_harm(space: str, width: int) -> None:
    lines = [LINK[at : at + width] for at in range(0, len(LINK), width)]
    assert from_link(space + space.join(lines) + space) == INVITE


@pytest.mark.parametrize(
    "around",
    ["\ufeff{}", "<{}>", "{}.", "\u200e{}\u200f", "({}),", '"{}"', "«{}»", "\u2068{}\u2069.",
     "`{}`", "{}\u200b\n"],
)  # fmt: skip
def test_signs_around_a_link_do_no_harm(around: str) -> None:
    assert from_link(around.format(LINK)) == INVITE
    assert from_link(around.format(LINK.replace(PREFIX, "Amanat-Invite:"))) == INVITE
    inside = "\u200b".join([LINK[:20], LINK[20:99], LINK[99:]])
    assert from_link(around.format(inside.replace(PREFIX, PREFIX.upper()))) == INVITE


def test_link_cut_anywhere_is_broken() -> None:
    for size in range(len(LINK)):
        with pytest.raises(BrokenInvite):
            from_link(LINK[:size])


def test_link_with_any_character_changed_is_broken() -> None:
    for at in range(len(LINK)):
        for other in {chr(ord(LINK[at]) ^ 1), "A" if LINK[at] not in "aA" else "B"}:
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
    "text", ["", PREFIX, "https://example.org", PREFIX + LINK[len(PREFIX) :].upper(), LINK + "A",
             LINK * 2, "A" + LINK,
             PREFIX + "A" * MAX_LINK_CHARS, PREFIX + "۱۲۳", PREFIX + "=" * 8, "\x00"],
)  # fmt: skip
def test_a_word_that_is_no_link_is_broken(text: str) -> None:
    with pytest.raises(BrokenInvite):
        from_link(text)


@pytest.mark.parametrize(
    "name", ["Alice\x1b]52;c;cHduZWQ=\x07", "Mal\nCarol", "\u200b", "A\u202e", ""]
)
def test_whole_link_of_nobody_who_has_a_name_is_broken(name: str) -> None:
    with pytest.raises(BrokenInvite):
        from_link(to_link(msgspec.structs.replace(INVITE, name=name)))


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
    assert alice.client.contact("bob").safety_number == bob.client.contact("علی").safety_number
    assert alice.one("SELECT count(*) FROM invite") == 0
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
    made = rules.Invite(1, INVITE.identity, "eve", bytes(32), os.urandom(32), [ADDRESS], 2**40)
    with pytest.raises(BrokenInvite):
        bob.client.accept(to_link(made))
    assert bob.one("SELECT count(*) FROM outbox") == 0


async def test_invite_is_good_for_one_person(world: World) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    link = alice.client.invite()
    bob.client.accept(link)
    await world.settle()
    world.network.sent.clear()  # the test puts two people's two texts under one label
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


@pytest.mark.long
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
    assert len({alice.client.contact(c.name).safety_number for c in alice.client.contacts()}) == 3


def knock_with(bob: Person, link: str, payload: bytes) -> None:
    """Append a payload of our own making where the knock goes."""
    made = from_link(link)
    with bob.client._unit() as unit:
        bob.rules.outbox.deposit(
            unit,
            made.addresses,
            made.secret,
            payload,
            purpose=Purpose.KNOCK,
            about=made.identity,
            due_at=0,
        )


@pytest.mark.parametrize("kind", ["garbage", "sealed garbage", "to another key", "no KeyPackage"])
async def test_junk_uses_the_invite_up_and_is_reported(world: World, kind: str) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    link = alice.client.invite()
    key = X25519PrivateKey.generate().public_key()
    if kind != "to another key":
        key = X25519PublicKey.from_public_bytes(from_link(link).public)
    knock = codec.encode(Knock(b"junk", "bob", "", bob.rules.me.addresses, bytes(32)))
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
    assert alice.one("SELECT count(*) FROM invite") == 0
    world.network.sent.clear()
    bob.client.accept(link)
    await world.settle()
    assert bob.warnings() == [InviteUsed.code]


async def test_knock_with_somebody_elses_key_package_does_not_lie_about_them(world: World) -> None:
    alice, bob, eve = [await world.person(name) for name in ("alice", "bob", "eve")]
    link = alice.client.invite()
    with bob.client._unit() as unit:
        stolen = bob.rules.conversations.key_packages.new_key_package(
            unit, 78, alice.rules.me.identity
        )
    knock = Knock(stolen, "eve", "", eve.rules.me.addresses, bytes(32))
    key = X25519PublicKey.from_public_bytes(from_link(link).public)
    knock_with(eve, link, rules._SUITE.encrypt(codec.encode(knock), key, info=rules._INFO))
    await world.settle()
    (contact,) = alice.client.contacts()
    assert contact.identity == bob.rules.me.identity
    alice.say(contact.name, "only bob could read this")
    await world.settle()
    assert eve.client.conversations() == []


@pytest.mark.long
async def test_people_of_two_relays_meet_and_make_a_group(world: World) -> None:
    abroad = world.add_relay("DE", buckets=3)
    alice, bob = await world.person("alice"), await world.person("bob", relay=abroad)
    carol = await world.person("carol", relay=abroad)
    await world.meet(alice, bob, carol)
    gid = await world.group("far and near", alice, bob, carol)
    for person in (alice, bob, carol):
        person.client.chat(gid).send(f"from {person.name}")
    bob.client.chat(bob.gid("alice")).send("hello")
    await world.settle()
    for person in (alice, bob, carol):
        assert person.client.chat(gid).count() == 3
        assert person.client.chat(gid).view().region == "IR"
        assert not person.warnings()
    bob.client.chat(gid).leave()
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "carol"]
    assert alice.texts("bob") == ["hello"]


# How invites end


async def test_invites_are_listed_and_one_can_be_withdrawn(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    first, second = alice.client.invite(), alice.client.invite(3_600)
    (one, other) = alice.client.invites()
    assert one.expires_at == world.now() // 1000 * 1000 + 1000 * rules.LIFE_S
    assert other.expires_at == world.now() // 1000 * 1000 + 3_600_000
    assert {one.is_lost, other.is_lost} == {False}
    alice.client.withdraw_invite(one.id)
    assert alice.client.invites() == [other]
    with pytest.raises(UnknownInvite):
        alice.client.withdraw_invite(one.id)
    before = alice.one("SELECT count(*) FROM mls")
    bob.client.accept(first, "are you there?")
    await world.settle()
    assert alice.client.contacts() == bob.client.contacts() == []
    assert alice.one("SELECT count(*) FROM mls") == before
    assert not alice.warnings()
    # Bob cannot know this; he may still knock on another invite.
    bob.client.accept(second)
    await world.settle()
    assert [c.name for c in bob.client.contacts()] == ["alice"]
    assert alice.client.invites() == []


async def test_invite_is_withdrawn_for_the_next_process_too(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    link = alice.client.invite()
    alice.client.withdraw_invite(alice.client.invites()[0].id)
    await alice.sleep()
    alice.wake()
    bob.client.accept(link)
    await world.settle()
    assert alice.client.contacts() == []


@pytest.mark.long
async def test_knock_on_an_invite_that_has_expired_is_not_answered_and_its_maker_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 300.0)
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    link = alice.client.invite(3_600)
    await alice.sleep()
    bob.client.accept(link, "in time, and not read in time")
    await world.settle()
    await world.pass_time(3_601)
    with pytest.raises(InviteExpired):
        carol.client.accept(link)
    alice.wake()
    await world.settle()
    assert alice.client.invites() == []
    assert alice.client.contacts() == bob.client.contacts() == []
    await world.pass_time(agenda.EXPIRE_EVERY_MS / 1000)
    assert bob.warnings() == [InviteExpired.code]
    assert not alice.warnings()
    assert alice.one("SELECT count(*) FROM invite") == 0
    await world.pass_time((rules.REPLY_MS + agenda.EXPIRE_EVERY_MS) / 1000)
    assert bob.one("SELECT count(*) FROM knock") == 0
    assert bob.warnings() == [InviteExpired.code]  # told once


async def test_invite_lives_no_longer_than_is_allowed_and_only_so_many_are_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    for life_s in (0, -1, rules.MAX_LIFE_S + 1):
        with pytest.raises(BadArgument):
            alice.client.invite(life_s)
    alice.client.invite(rules.MAX_LIFE_S)
    monkeypatch.setattr(rules, "MAX_OPEN", 3)
    alice.client.invite(10)
    alice.client.invite()
    with pytest.raises(BadArgument):
        alice.client.invite()
    await world.pass_time(11)
    alice.client.invite()  # one has expired


@pytest.mark.long
async def test_knocker_who_is_not_answered_may_knock_again_and_is_met_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    first, second = alice.client.invite(), alice.client.invite()
    await alice.sleep()
    bob.client.accept(first, "once")
    with pytest.raises(InviteUsed):
        bob.client.accept(first)
    bob.client.accept(second, "twice")
    await world.settle()
    alice.wake()
    await world.settle()
    monkeypatch.setattr(world, "tick_s", 3_600.0)
    await world.pass_time(rules.IDLE_MS / 1000 + 7_200)
    await world.settle()
    assert len(alice.client.contacts()) == len(bob.client.contacts()) == 1
    bob.say("alice", "hello")
    alice.say("bob", "hi")
    await world.settle()
    assert alice.texts("bob") == bob.texts("alice")
    assert {"hello", "hi"} < set(alice.texts("bob"))
    assert bob.one("SELECT count(*) FROM knock") == 0


@pytest.mark.parametrize("who_ends", ["the lower", "the higher"])
async def test_both_knock_and_one_invite_has_ended_and_they_meet_all_the_same(
    world: World, who_ends: str
) -> None:
    people = [await world.person("alice"), await world.person("bob")]
    people.sort(key=lambda person: person.rules.me.identity)
    low, high = people
    ends, other = (low, high) if who_ends == "the lower" else (high, low)
    gone, good = ends.client.invite(), other.client.invite()
    ends.client.withdraw_invite(ends.client.invites()[0].id)
    other.client.accept(gone, "into the void")
    ends.client.accept(good, "to you")
    await world.settle()
    await world.pass_time(rules.ASIDE_MS / 1000 + 2)
    await world.settle()
    for person in people:
        (contact,) = person.client.contacts()
        assert person.texts(contact.name) == ["to you"]
        assert person.one("SELECT count(*) FROM invite") == 0
    low.say(high.name, "hello")
    await world.settle()
    assert high.texts(low.name) == ["to you", "hello"]


async def both_knocked(world: World) -> tuple[Person, Person]:
    """Two people who have knocked on each other's invites: the lower one is away, and the higher
    has answered after all."""
    people = [await world.person("alice"), await world.person("bob")]
    low, high = sorted(people, key=lambda person: person.rules.me.identity)
    await high.sleep()
    low.client.accept(high.client.invite(), "from the lower")
    link = low.client.invite()
    await world.settle()
    await low.sleep()
    high.client.accept(link, "from the higher")
    high.wake()
    await world.pass_time(rules.ASIDE_MS / 1000 + 2)
    assert [c.name for c in high.client.contacts()] == [low.name]
    return low, high


async def test_both_answer_and_are_in_one_conversation(world: World) -> None:
    low, high = await both_knocked(world)
    low.wake()
    await world.settle()
    high.say(low.name, "hello")
    low.say(high.name, "hi")
    await world.settle()
    assert {"hello", "hi"} < set(low.texts(high.name))
    assert low.texts(high.name) == high.texts(low.name)
    for person in (low, high):
        assert len([c for c in person.client.conversations() if c.is_live]) == 1
        assert not person.warnings()


def own(person: Person, whom: str) -> dict[str, str]:
    """The texts from one person to another, with their states."""
    return {m.text: m.state for m in person.messages(whom) if m.is_own}


async def test_what_the_higher_said_before_the_lower_answered_is_said_in_the_one_that_stays(
    world: World,
) -> None:
    low, high = await both_knocked(world)
    high.say(low.name, "are you there")
    high.say(low.name, "and this")
    await world.settle()
    first, second = [m for m in high.messages(low.name) if m.is_own]
    given_up = high.gid(low.name)
    high.client.chat(given_up).edit(first.id, "are you there?")
    high.client.chat(given_up).react(second.id, "!")
    high.client.chat(given_up).set_timer(86_400)
    high.client.chat(given_up).send("an answer", reply_to=second.id)
    low.wake()
    await world.settle()
    await world.pass_time(120)
    assert high.gid(low.name) != given_up
    said = ["are you there?", "and this", "an answer"]
    for person, other in ((low, high), (high, low)):
        texts = person.texts(other.name)
        assert [text for text in texts if text in said] == said
        (quote,) = [m.reply_to for m in person.messages(other.name) if m.reply_to]
        assert quote.text == "and this"
        assert [m.reactions for m in person.messages(other.name) if m.reactions] == [
            {high.name: "!"}
        ]
        assert person.client.chat(person.gid(other.name)).view().timer == 86_400
        assert not person.warnings()
    assert {own(high, low.name)[text] for text in said} == {"delivered"}
    assert [m.text for m in high.client.chat(given_up).messages()] == [
        "from the lower"
    ]  # the greeting
    assert low.texts(high.name) == high.texts(low.name)


async def test_text_of_a_conversation_that_was_given_up_is_delivered_when_it_has_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saying, "MAX_SAID_AGAIN", 2)
    low, high = await both_knocked(world)
    for number in range(4):
        high.say(low.name, f"text {number}")
    low.wake()
    await world.settle()
    for number in range(4, 8):
        high.say(low.name, f"text {number}")
    await world.settle()
    await world.pass_time(120)
    await world.settle()
    came = [f"text {number}" for number in range(2, 8)]
    assert [text for text in low.texts(high.name) if text.startswith("text")] == came
    states = own(high, low.name)
    assert {states[text] for text in came} == {"delivered"}
    assert states["text 0"] == states["text 1"] == "undelivered"


async def test_a_text_between_two_answers_is_said_in_the_conversation_that_stays(
    world: World,
) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    first, second = alice.client.invite(), alice.client.invite()
    await alice.sleep()
    bob.client.accept(first, "once")
    await world.settle()
    await bob.sleep()
    alice.wake()
    await world.settle()
    alice.say("bob", "from alice")
    await world.settle()
    bob.client.accept(second, "twice")
    bob.wake()
    while not bob.client.contacts():
        await world.pass_time(0.001)
    bob.say("alice", "from bob")
    await world.settle()
    await world.pass_time(120)
    await world.settle()
    for person, other in ((alice, bob), (bob, alice)):
        assert {"from alice", "from bob"} < set(person.texts(other.name))
        assert len([c for c in person.client.conversations() if c.is_live]) == 1
        assert not person.warnings()
    assert alice.texts("bob") == bob.texts("alice")
    assert own(alice, "bob")["from alice"] == own(bob, "alice")["from bob"] == "delivered"


async def test_invite_that_has_expired_is_not_answered_before_it_is_cleared_away(
    world: World,
) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    link = alice.client.invite(60)
    await world.pass_time(58)
    world.network.is_up = False
    for socket in list(world.network.sockets):
        socket.disconnect()
    bob.client.accept(link)
    await world.pass_time(4)
    world.network.is_up = True
    await world.settle()
    assert alice.one("SELECT count(*) FROM invite") == 1  # invites are cleared once an hour
    assert alice.client.invites() == []
    assert alice.client.contacts() == []
