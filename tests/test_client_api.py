"""The SDK as programs use it: its results, its refusals, and the state that it keeps."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amanat.client import feed
from amanat.client.events import (
    GroupChanged,
    Joined,
    PersonChanged,
    Removed,
    StateChanged,
    StatusChanged,
    SummaryChanged,
    TextArrived,
    Warned,
)
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, naming_faults
from amanat.drill.world import World
from amanat.errors import (
    AmanatError,
    BadArgument,
    BrokenAddress,
    BrokenDescriptor,
    DiskFull,
    DropFull,
    GroupTooLarge,
    MessageTooLarge,
    NoAccess,
    NoProfile,
    NotAdmin,
    NotAMember,
    ProfileExists,
    ProfileInUse,
    RelayBusy,
    RelayUnreachable,
    UnknownContact,
    UnknownConversation,
    VaultDamaged,
    WrongPassphrase,
)
from amanat.protocol.descriptor import b64
from amanat.protocol.messages import MAX_TEXT_BYTES

KEY = Unlock(key=bytes(32))


async def create(world: World, directory: Path, **changes: str) -> Client:
    asked = {"name": "alice", "relay": str(world.relay.address)} | changes
    return await Client.create(directory, KEY, around=world.around(), **asked)  # type: ignore[arg-type]  # only texts


# Becoming a person


@pytest.mark.parametrize("name", ["", "   ", "\n", "x" * 101])
async def test_name_of_no_use_is_refused(world: World, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArgument):
        await create(world, tmp_path / "p", name=name)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("relay", "error"),
    [
        ("relay.example", BrokenAddress),
        ("amanat://relay.example:1/#short", BrokenAddress),
        (f"amanat://127.0.0.1:9/#{b64(bytes(32))}", RelayUnreachable),
    ],
)
async def test_relay_of_no_use_is_refused(
    world: World, tmp_path: Path, relay: str, error: type[AmanatError]
) -> None:
    with pytest.raises(error):
        await create(world, tmp_path / "p", relay=relay)
    assert not (tmp_path / "p").exists()


async def test_relay_without_access_for_us_is_refused(world: World, tmp_path: Path) -> None:
    world.relay.gives_access = False
    with pytest.raises(NoAccess):
        await create(world, tmp_path / "p")
    assert not (tmp_path / "p").exists()


async def test_descriptor_of_another_key_is_refused(world: World, tmp_path: Path) -> None:
    world.relay.key = world.add_relay("DE").key
    with pytest.raises(BrokenDescriptor):
        await create(world, tmp_path / "p")
    assert not (tmp_path / "p").exists()


async def test_second_person_does_not_replace_the_first(world: World, tmp_path: Path) -> None:
    client = await create(world, tmp_path)
    await client.close()
    with pytest.raises(ProfileExists):
        await create(world, tmp_path, name="eve")
    client = Client.open(tmp_path, KEY, world.around())
    assert client.status().name == "alice"
    await client.close()


async def test_profile_is_opened_once(world: World, tmp_path: Path) -> None:
    client = await create(world, tmp_path)
    with pytest.raises(ProfileInUse):
        Client.open(tmp_path, KEY)
    await client.close()
    with pytest.raises(WrongPassphrase):
        Client.open(tmp_path, Unlock(key=os.urandom(32)))
    with pytest.raises(NoProfile):
        Client.open(tmp_path / "elsewhere", KEY)


@pytest.mark.long
@pytest.mark.filterwarnings("default::RuntimeWarning")
async def test_a_client_that_is_stopped_before_it_has_begun_leaves_nothing_undone(
    world: World, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    client = await create(world, tmp_path)
    client.start()
    await client.close()
    gc.collect()
    assert not recwarn.list


async def test_new_person_reads_from_the_end_of_the_bucket(world: World) -> None:
    await world.friends("alice", "bob")
    carol = await world.person("carol")
    drop_id = carol.rules.me.home.bucket.drop_id
    assert carol.rules.cursors.read_from(drop_id) == len(world.relay.shelves[drop_id].cells) > 0


@pytest.mark.long
async def test_people_are_spread_over_the_buckets(world: World) -> None:
    relay = world.add_relay(buckets=4)
    people = [await world.person(f"p{number}", relay=relay) for number in range(40)]
    assert len({person.rules.me.home.bucket.drop_id for person in people}) == 4


# Talking


async def test_text_is_queued_then_sent_then_delivered(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await alice.sleep()
    await bob.sleep()
    alice.say("bob", "hello")
    assert alice.messages("bob")[0].state == "queued"
    alice.wake()
    await world.settle()
    assert alice.messages("bob")[0].state == "sent"
    bob.wake()
    await world.settle()
    assert bob.messages("alice")[0].state == ""
    await world.pass_time(61)
    await world.settle()
    assert alice.messages("bob")[0].state == "delivered"


@pytest.mark.long
async def test_text_to_a_group_is_delivered_when_everyone_has_it(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    await carol.sleep()
    alice.client.chat(gid).send("hello")
    await world.settle()
    await world.pass_time(61)
    await world.settle()
    assert bob.client.chat(gid).count() == 1
    assert alice.client.chat(gid).messages()[0].state == "sent"
    carol.wake()
    await world.pass_time(61)
    await world.settle()
    assert alice.client.chat(gid).messages()[0].state == "delivered"


@pytest.mark.parametrize("text", ["x", "سلم\n多谢", "\x00", "a" * MAX_TEXT_BYTES, "é" * 5000])
async def test_any_text_arrives_as_it_was_written(world: World, text: str) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", text)
    await world.settle()
    assert bob.texts("alice") == [text]


@pytest.mark.parametrize("text", ["", "a" * (MAX_TEXT_BYTES + 1), "é" * (MAX_TEXT_BYTES // 2 + 1)])
async def test_text_too_long_or_empty_is_refused(world: World, text: str) -> None:
    alice, _ = await world.friends("alice", "bob")
    with pytest.raises(MessageTooLarge):
        alice.say("bob", text)
    assert alice.texts("bob") == []
    assert alice.client.status().outbox == 0


async def test_the_text_written_first_is_shown_first_whatever_the_clocks_say(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.ahead_ms, bob.ahead_ms = 10**9, -(10**9)
    for number in range(6):
        one, other = ((alice, "bob"), (bob, "alice"))[number % 2]
        one.say(other, f"text {number}")
        await world.settle()
    for person, other in ((alice, "bob"), (bob, "alice")):
        assert person.texts(other) == [f"text {number}" for number in range(6)]


async def test_unread_is_what_others_wrote_since_it_was_marked(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "one")
    bob.say("alice", "two")
    await world.settle()
    assert [m.text for m, _ in alice.client.unread()] == ["two"]
    assert {m.text for m, _ in alice.client.unread(everything=True)} == {"one", "two"}
    assert alice.client.unread(b"elsewhere") == []
    alice.client.mark_read(b"elsewhere")
    assert len(alice.client.unread()) == 1
    alice.client.mark_read()
    assert alice.client.unread() == []
    await alice.sleep()
    assert alice.client.unread() == []
    bob.say("alice", "three")
    alice.wake()
    await world.settle()
    assert [(m.text, view.name) for m, view in alice.client.unread()] == [("three", "bob")]


@pytest.mark.long
async def test_a_message_is_read_once_the_body_of_the_loop_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.friends("alice", "bob")
    for number in range(3):
        alice.say("bob", f"text {number}")
        await world.settle()
    async for message in bob.client.messages():
        if message.text == "text 1":
            break  # the body has not ended
    assert [one.text for one, _ in bob.client.unread()] == ["text 1", "text 2"]
    alice.client.chat(alice.gid("bob")).delete([alice.messages("bob")[1].id])
    await world.settle()
    monkeypatch.setattr(feed, "MAX_EVENTS", 2)  # a slow program gets no sign of it
    heard: list[str] = []

    async def hear() -> None:
        async for message in bob.client.messages():
            heard.append(message.text)
            await asyncio.sleep(60)
            if message.text == "hello":
                message.reply("you too")

    task = world.loop.create_task(hear())
    await world.pass_time(30)
    for words in ("hello", "and", "good", "bye"):
        alice.say("bob", words)
    await world.pass_time(600)
    task.cancel()
    assert (heard[0], sorted(heard[1:])) == ("text 2", ["and", "bye", "good", "hello"])
    assert not bob.client.unread()
    (answer,) = [one for one in alice.messages("bob") if not one.is_own]
    assert answer.reply_to is not None
    assert (answer.text, answer.reply_to.text) == ("you too", "hello")


async def test_a_wait_for_events_that_is_cancelled_ends_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    events = bob.client.events()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await anext(events)
    alice.say("bob", "hello")
    async for event in events:
        if isinstance(event, TextArrived):
            break
    assert bob.texts("alice") == ["hello"]


async def test_events_tell_what_happens(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    seen: list[type] = []

    async def watch() -> None:
        async for event in bob.client.events():
            if not isinstance(event, StateChanged | StatusChanged | PersonChanged | SummaryChanged):
                seen.append(type(event))  # noqa: PERF401  # seen as they come

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    gid = await world.group("family", alice, bob)
    alice.client.chat(gid).send("hello")
    await world.settle()
    alice.client.chat(gid).rename("friends")
    await world.settle()
    alice.client.chat(gid).remove("bob")
    await world.settle()
    assert seen == [Joined, TextArrived, GroupChanged, Removed]
    drop_id = bob.rules.me.home.bucket.drop_id
    with bob.client._unit() as unit:
        bob.rules.conversations.warnings.warn(unit, None, "relay-lied", drop_id.hex())
    await bob.sleep()
    await task
    assert seen[-1] is Warned


async def test_events_that_nobody_holds_any_more_are_not_kept(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    kept, dropped = alice.client.events(), alice.client.events()
    begun = alice.client.events()
    bob.say("alice", "one")
    await world.settle()
    assert isinstance(await anext(begun), TextArrived)
    del begun, dropped
    await world.pass_time(1)
    assert len(alice.client._run._subscribers) == 1
    assert isinstance(await anext(kept), TextArrived)


async def test_a_program_is_told_what_has_stopped_its_client(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")

    async def fail() -> None:
        raise ZeroDivisionError

    async def watch() -> None:
        async for _ in alice.client.events():
            pass

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    alice.client._run.spawn("failing", fail())
    with pytest.raises(ZeroDivisionError):
        await task
    with pytest.raises(ZeroDivisionError):
        alice.say("bob", "hello")
    with pytest.raises(ZeroDivisionError):
        await alice.client.changed()
    alice.client._run._failure = None


# People and groups


@pytest.mark.long
async def test_names_find_people_and_conversations(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    client = alice.client
    bob_there = client.contact("bob")
    assert client.contact(bob_there.id) == bob_there
    assert client.conversation("bob").gid == bob_there.conversation
    assert client.conversation("family").gid == gid
    assert client.conversation(client.chat(gid).view().id).gid == gid
    for name in ("dave", "", "BOB"):
        with pytest.raises(UnknownContact):
            client.contact(name)
        with pytest.raises(UnknownConversation):
            client.conversation(name)
    with pytest.raises(UnknownConversation):
        client.chat(b"elsewhere").view()
    await world.group("carol", alice, carol)
    assert client.conversation("carol").is_direct


async def test_verifying_is_kept(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    assert alice.client.contact("bob").safety_number == bob.client.contact("alice").safety_number
    alice.client.contact("bob").set_verified()
    await alice.sleep()
    assert alice.client.contact("bob").is_verified
    alice.client.contact("bob").set_verified(is_verified=False)
    assert not alice.client.contact("bob").is_verified
    with pytest.raises(UnknownContact):
        alice.client.contact("carol").set_verified()


@pytest.mark.long
async def test_members_who_are_no_contacts_have_the_names_they_give_themselves(
    world: World,
) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    await world.meet(alice, bob, carol)
    gid = await world.group("family", alice, bob, carol)
    carol.client.chat(gid).send("hello")
    await world.settle()
    assert bob.client.chat(gid).view().people == ["alice", "bob", "carol"]
    assert bob.client.chat(gid).messages()[0].sender == "carol"
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    bob.client.chat(gid).remove("carol")
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob"]
    assert bob.client.chat(gid).messages()[0].text == "hello"


async def test_nobody_slips_into_a_known_name(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    imitator = await world.person("bob")
    world.people["imitator"], world.people["bob"] = imitator, bob
    imitator.client.accept(alice.client.invite())
    await world.settle()
    gid = alice.client.create_group("family", ["bob", "bob (2)"]).gid
    await world.settle()
    imitator.client.chat(gid).send("I am bob")
    await world.settle()
    assert alice.client.chat(gid).messages()[0].sender == "bob (2)"
    (shown,) = {m.sender for m in bob.client.chat(gid).messages()}
    assert shown.startswith("bob (")


async def test_the_rights_of_admins_are_refused_to_others(world: World) -> None:
    alice, bob, _ = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    deeds: list[Callable[[], object]] = [
        lambda: bob.client.chat(gid).rename("x"),
        lambda: bob.client.chat(gid).add(["carol"]),
        lambda: bob.client.chat(gid).remove("carol"),
        lambda: bob.client.chat(gid).set_admin("bob"),
        lambda: alice.client.chat(alice.gid("bob")).rename("x"),
        lambda: alice.client.chat(alice.gid("bob")).add(["carol"]),
        lambda: alice.client.chat(alice.gid("bob")).remove("bob"),
    ]
    for deed in deeds:
        with pytest.raises(NotAdmin):
            deed()
    assert bob.client.status().outbox == 0


async def test_a_senseless_argument_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    client = alice.client
    for deed, error in (
        (lambda: client.chat(gid).rename(""), BadArgument),
        (lambda: client.chat(gid).rename("x" * 101), BadArgument),
        (lambda: client.create_group(""), BadArgument),
        (lambda: client.create_group("x", ["nobody"]), UnknownContact),
        (lambda: client.chat(gid).remove("alice"), BadArgument),
        (lambda: client.chat(gid).remove("carol"), UnknownContact),
        (lambda: client.chat(gid).set_admin("alice", is_admin=False), BadArgument),
        (lambda: client.chat(gid).add(["nobody"]), UnknownContact),
        (lambda: client.chat(b"elsewhere").send("x"), NotAMember),
        (lambda: client.chat(b"elsewhere").leave(), NotAMember),
    ):
        with pytest.raises(error):
            deed()
    monkeypatch.setattr("amanat.client.rights.MAX_HYBRID_LEAVES", 2)
    with pytest.raises(GroupTooLarge):
        client.chat(gid).add(["carol"])
    monkeypatch.setattr("amanat.client.rights.MAX_CLASSICAL_LEAVES", 2)
    with pytest.raises(GroupTooLarge):
        client.create_group("large", ["bob", "carol"])
    assert client.status().outbox == 0
    assert len(carol.client.conversations()) == 2


@pytest.mark.long
async def test_a_person_who_has_left_says_nothing_more(world: World) -> None:
    alice, bob, _ = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    bob.client.chat(gid).leave()
    for deed in (lambda: bob.client.chat(gid).send("x"), lambda: bob.client.chat(gid).leave()):
        with pytest.raises(NotAMember):
            deed()
    await world.settle()
    with pytest.raises(NotAMember):
        bob.client.chat(gid).send("x")
    assert alice.client.chat(gid).view().people == ["alice", "carol"]


@pytest.mark.long
async def test_last_admin_hands_over_or_the_eldest_takes_over(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice.client.chat(gid).leave()
    await world.settle()
    (admin,) = bob.client.chat(gid).view().admins
    assert carol.client.chat(gid).view().admins == [admin]
    heir = bob if admin == "bob" else carol
    heir.client.chat(gid).rename("ours")
    await world.settle()
    assert bob.client.chat(gid).view().name == carol.client.chat(gid).view().name == "ours"


@pytest.mark.long
async def test_contact_away_is_in_once_they_have_been_online(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    await carol.sleep()
    for number in range(3):  # uses up the KeyPackages that carol gave
        alice.client.create_group(f"group {number}", ["bob", "carol"])
        await world.pass_time(5)
    gid = alice.gid("group 2")
    assert alice.client.chat(gid).wished() == [carol.rules.me.identity]
    assert bob.client.chat(gid).view().people == ["alice", "bob"]
    carol.wake()
    await world.settle()
    for person in people:
        assert person.client.chat(gid).view().people == ["alice", "bob", "carol"]
    assert alice.client.chat(gid).wished() == []


# Trouble


@pytest.mark.parametrize(
    "refusal", [RelayBusy(retry_after=5.0), DropFull(retry_after=60.0), DropFull()]
)
async def test_a_request_refused_for_now_goes_out_later_and_unchanged(
    world: World, refusal: AmanatError
) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.refuses = refusal
    for number in range(3):
        alice.say("bob", f"text {number}")
    await world.pass_time(30)
    assert bob.texts("alice") == []
    assert alice.client.status().outbox == 3
    assert {m.state for m in alice.messages("bob")} == {"queued"}
    world.relay.refuses = None
    await world.settle()
    assert bob.texts("alice") == ["text 0", "text 1", "text 2"]
    assert not alice.warnings()


async def test_relay_that_is_down_stops_nothing_for_good(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.network.is_up = False
    for person in (alice, bob):
        person.client._routes.close()
    alice.say("bob", "hello")
    await world.pass_time(300)
    assert alice.client.status().outbox == 1
    world.network.is_up = True
    await world.settle()
    assert bob.texts("alice") == ["hello"]
    assert not alice.warnings() + bob.warnings()


async def test_waiting_ends_when_all_is_sent_and_read(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await bob.sleep()
    alice.say("bob", "hello")
    await alice.client.flushed()
    assert alice.client.status().outbox == 0
    bob.wake()
    await bob.client.caught_up()
    assert bob.texts("alice") == ["hello"]


async def test_status_counts(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await world.group("family", alice, bob)
    status = alice.client.status()
    assert (status.name, status.region, status.transport) == ("alice", "IR", "direct")
    assert (status.contacts, status.conversations, status.outbox) == (1, 2, 0)
    assert status.relay == str(world.relay.address)
    assert status.warnings == []
    assert alice.client.traffic() > (0, 0)
    assert alice.client.check_vault() == ""


async def test_full_disk_is_named_loses_nothing_and_passes(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    pages = alice.one("PRAGMA page_count")
    alice.db.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        while True:
            alice.say("bob", "x" * 1000)

    with pytest.raises(DiskFull):
        fill()
    kept = alice.client.chat(alice.gid("bob")).count()
    bob.say("alice", "y" * 10_000)
    await world.pass_time(60)
    alice.db.execute("PRAGMA max_page_count = 1000000")
    await world.settle()
    assert len(bob.texts("alice")) == kept + 1
    assert "y" * 10_000 in alice.texts("bob")
    assert alice.texts("bob") == bob.texts("alice")
    assert not alice.warnings() + bob.warnings()


@pytest.mark.long
async def test_what_could_not_be_kept_is_read_once_more_and_not_asked_for(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.db.execute(f"PRAGMA max_page_count = {alice.one('PRAGMA page_count')}")
    texts = [letter * 10_000 for letter in "abcdefgh"]
    for text in texts:
        bob.say("alice", text)
    await world.pass_time(3)
    assert len(alice.texts("bob")) < len(texts)
    alice.db.execute("PRAGMA max_page_count = 1000000")
    before = world.network.appends
    await world.settle()
    assert alice.texts("bob") == texts
    assert world.network.appends == before


@pytest.mark.long
async def test_damaged_page_anywhere_is_found_and_named(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    for number in range(20):
        bob.say("alice", f"text {number} " * 100)
    await world.settle()
    await alice.sleep()
    await alice.client.close()
    del world.people["alice"]
    path = alice.directory / "vault.db"
    whole = path.read_bytes()
    pages = len(whole) // 4096
    assert pages > 20
    for page in (0, *world.rng.sample(range(1, pages), 15)):
        broken = bytearray(whole)
        broken[page * 4096 + world.rng.randrange(4096)] ^= 1
        path.write_bytes(broken)
        try:
            client = Client.open(alice.directory, Unlock(key=alice.key), world.around())
        except VaultDamaged:
            continue
        assert client.check_vault()
        with pytest.raises(VaultDamaged), naming_faults(alice.directory):
            look_at_everything(client)
        await client.close()
    path.write_bytes(whole)
    client = Client.open(alice.directory, Unlock(key=alice.key), world.around())
    assert client.check_vault() == ""
    await client.close()


def look_at_everything(client: Client) -> None:
    """Read every row of every table and index."""
    tables = client._vault._db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    for (table,) in tables:
        client._vault._db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # our own names
    if client.check_vault():  # damage in a page that no reader needs
        raise VaultDamaged


async def test_nothing_said_known_or_named_can_be_read_in_the_files(world: World) -> None:
    alice, bob = await world.friends("a very long name", "another long name")
    gid = await world.group("the name of the group", alice, bob)
    words = "what was said, in so many words"
    alice.client.chat(gid).send(words)
    bob.say("a very long name", words[::-1])
    await world.settle()
    me = alice.rules.me
    known = [
        *(text.encode() for text in (words, words[::-1], "the name of the group", bob.name)),
        me.identity, me.delivery_key, me.signer, me.identity_key.private_bytes_raw(),
        gid, me.home.bucket.append_token, str(world.relay.address).encode(), alice.key,
    ]  # fmt: skip
    files = [path for path in alice.directory.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"vault.db", "vault.db-wal", "vault.json"}
    everything = b"".join(path.read_bytes() for path in files)
    assert [secret for secret in known if secret in everything] == []
    relay = b"".join(cell for shelf in world.relay.shelves.values() for cell in shelf.cells)
    assert [secret for secret in known if secret in relay] == []


@pytest.mark.long
async def test_relay_sees_three_sizes_and_no_label_twice(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    for person in people:
        person.client.chat(gid).send("the same words")
    await world.settle()
    cells = [cell for shelf in world.relay.shelves.values() for cell in shelf.cells]
    assert {len(cell) for cell in cells} <= {1024, 16384, 65536}
    assert len({cell[:16] for cell in cells}) == len(cells)
    pieces = [cell[at : at + 16] for cell in cells for at in range(0, 1024, 16)]
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize("ahead_ms", [3_600_000, 9 * 86_400_000])
async def test_clock_set_for_a_moment_delays_nothing(world: World, ahead_ms: int) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.ahead_ms = bob.ahead_ms = ahead_ms
    alice.say("bob", "what time is it?")
    alice.ahead_ms = bob.ahead_ms = 0
    await world.pass_time(5)
    assert bob.texts("alice") == ["what time is it?"]


async def test_half_of_a_character_is_refused_by_name_wherever_words_are_taken(
    world: World,
) -> None:
    alice, _ = await world.friends("alice", "bob")
    client, half = alice.client, "a\ud800"
    chat = client.chat(alice.gid("bob"))
    group = client.chat(client.create_group("g").gid)
    message = chat.message_at(chat.send("whole"))
    assert message is not None
    for say in (
        lambda: chat.send(half),
        lambda: message.edit(half),
        lambda: chat.set_draft(half),
        lambda: group.rename(half),
        lambda: client.create_group(half),
        lambda: client.rename(half),
    ):
        with pytest.raises(BadArgument):
            say()
    assert [one.text for one in chat.messages()] == ["whole"]
    assert [view.name for view in client.conversations()] == ["bob", "g"]
    assert client.status().name == "alice"
