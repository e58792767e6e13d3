"""A name is one line that can be seen, is nobody else's, and stands for the person who has it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.client import vault
from amanat.client.names import alike, looks
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import AmbiguousName, BadArgument, InvalidCommit, NotAMember, UnknownContact
from amanat.protocol import codec
from amanat.protocol.identity import MAX_NAME_CHARS, NAME_PATTERN, Name, check_name
from amanat.protocol.messages import Policy, decode_policy
from client_decoders import ADDRESS

PERSIAN = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"
"""A name that needs a joiner."""
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"

NO_NAMES = {
    "line": "Mal\nCarol", "last line": "Mal\n", "return": "Mal\rCarol",
    "separator": "Mal\u2028Carol",
    "escape": "\x1b[2J", "C1": "\x9b2J", "zero width": "Alice\u200b", "override": "\u202eecilA",
    "isolate": "\u2068Alice\u2069", "mark": "Alice\u200f", "BOM": "\ufeffAlice",
    "tag": "A\U000e0041",
    "zero width alone": "\u200b", "joiners alone": "\u200c\u200d", "space alone": "\u3000 \xa0",
    "filler": "\u3164", "braille blank": "\u2800", "variation": "\ufe0f", "nothing": "",
}  # fmt: skip


def is_a_name(text: str) -> bool:
    try:
        return msgspec.convert(text, Name) == text
    except msgspec.ValidationError:
        return False


@pytest.mark.parametrize("text", NO_NAMES.values(), ids=NO_NAMES)
def test_a_word_that_is_no_name_is_refused_here_and_from_others(text: str) -> None:
    assert not is_a_name(text)
    if text.strip() == text or not text.strip():
        with pytest.raises(BadArgument):
            check_name(text)
    policy = Policy([], text, [bytes(32)], ADDRESS.relay, "DE")
    with pytest.raises(InvalidCommit):
        decode_policy(codec.encode(policy))


@pytest.mark.parametrize(
    "text",
    [
        "Alice",
        "Ali Re\u0301za",
        PERSIAN,
        FAMILY,
        "\u2764\ufe0f",
        "李",
        "O'Neil-Smith (2)",
        "x" * 100,
    ],
)
def test_what_people_are_called_is_a_name(text: str) -> None:
    assert is_a_name(text)
    assert check_name(f" {text}\n") == text
    decode_policy(codec.encode(Policy([], text, [bytes(32)], ADDRESS.relay, "DE")))


@given(st.text(max_size=MAX_NAME_CHARS + 1))
@pytest.mark.long
def test_every_name_we_accept_others_accept_too(text: str) -> None:
    try:
        assert is_a_name(check_name(text))
    except BadArgument:
        assert not is_a_name(text.strip())
    except UnicodeEncodeError:  # half of a surrogate pair, which no text on the wire can hold
        assert not text.isprintable()


def test_a_long_text_is_no_slow_name() -> None:
    for text in ("\u200b" * 60_000, " " * 60_000, "a" * 60_000 + "\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, Name)
    assert NAME_PATTERN.endswith("\\Z")  # and not $, which lets a line break by


LOOK_ALIKES = [
    ("Alice", "alice"), ("Alice", "\u0410lice"), ("Alice", "Alic\u0435"), ("Alice", "A\u200clice"),
    ("Alice", "Alice\ufe0f"), ("Alice", "\uff21lice"), ("Alice", "Al\u0456ce"), ("alice", "aIice"),
    ("Alice", "A1ice"), ("Bob", "B0b"), ("Alice B", "Alice\xa0\xa0B"), ("Alice", "Alice\u2800"),
    ("Jos\xe9", "Jose\u0301"), ("paypal", "pay\u0440al"),
    ("\u0639\u0644\u06cc", "\u0639\u0644\u0649"),
    (PERSIAN, PERSIAN.replace("\u200c", "")), ("\U0001d5d4lice", "Alice"), ("IAN", "ian"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), LOOK_ALIKES)
def test_names_that_look_alike_are_known_to(one: str, other: str) -> None:
    assert looks(one) & looks(other)
    assert alike(one, ["somebody", other]) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [("Alice", "Alicia"), ("Anna", "Ann A"), ("Bob", "Rob"), ("علی", "علیرضا"), ("é", "e")],
)
def test_names_that_differ_are_told_apart(one: str, other: str) -> None:
    assert not looks(one) & looks(other)


@pytest.mark.parametrize("other", ["\u0410lice", "Alice\ufe0f", "alice", "A\u200clice"])
async def test_a_look_alike_is_warned_of_like_a_namesake(world: World, other: str) -> None:
    bob = await world.person("bob")
    for name in ("Alice", other):
        met = await world.person(name)
        met.client.accept(bob.client.invite())
        await world.settle()
    assert [c.name for c in bob.client.contacts()] == sorted(["Alice", f"{other} (2)"])
    assert bob.warnings() == ["identity-changed"]


@pytest.mark.long
async def test_a_stranger_in_a_group_does_not_look_like_a_contact(world: World) -> None:
    alice, _ = await world.friends("Alice", "bob")
    twin, carol = await world.person("b\u043eb"), await world.person("carol")
    await world.meet(twin, carol)
    await world.meet(carol, alice)
    view = carol.client.create_group("g", [one.name for one in carol.client.contacts()])
    await world.settle()
    short = vault.fingerprint(twin.rules.me.identity)
    assert alice.client.chat(view.gid).view().people == ["Alice", f"b\u043eb ({short})", "carol"]


def texts(person: Person, gid: bytes) -> list[str]:
    return [message.text for message in person.client.chat(gid).messages()]


@pytest.mark.long
async def test_a_group_catches_nothing_that_is_meant_for_a_person(world: World) -> None:
    alice, _, carol = await world.friends("alice", "bob", "carol")
    client = alice.client
    contact = client.contact("bob")
    for name in ("bob", contact.id, vault.fingerprint(contact.conversation)):
        carol.client.create_group(name, ["alice"])
    await world.settle()
    assert len(client.conversations()) == 5
    for wanted in ("bob", contact.id, vault.fingerprint(contact.conversation), "\u2068bob\u2069"):
        assert client.conversation(wanted).gid == contact.conversation, wanted
        assert client.contact(contact.id) == client.contact("bob") == contact
    groups = [view for view in client.conversations() if not view.is_direct]
    assert {client.group(view.id).gid for view in groups} == {view.gid for view in groups}
    for view in groups:
        assert client.group(view.name).gid == client.conversation(view.id).gid == view.gid
    with pytest.raises(NotAMember):
        client.group("carol")


async def test_an_id_wins_over_any_name(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    short = alice.client.contact("bob").id
    mallory = await world.person(short)
    await world.meet(alice, mallory)
    assert alice.client.contact(short).name == "bob"
    assert alice.client.conversation(short).name == "bob"
    gid = await world.group("g", alice, bob)
    alice.client.chat(gid).add([alice.client.contacts()[0].id])
    with pytest.raises(UnknownContact):
        alice.client.contact("nobody")


async def test_two_groups_of_one_name_are_told_apart_by_their_ids(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    made = [alice.client.create_group("ours") for _ in range(2)]
    with pytest.raises(AmbiguousName):
        alice.client.group("ours")
    for view in made:
        assert alice.client.group(view.id).gid == alice.client.conversation(view.id).gid == view.gid


async def test_a_name_is_found_however_its_letters_are_put_together(world: World) -> None:
    alice, _ = await world.friends("alice", "Jos\xe9")
    assert alice.client.contact("Jose\u0301").name == "Jos\xe9"
    assert alice.client.conversation(" Jose\u0301").name == "Jos\xe9"
