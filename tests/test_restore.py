"""Restoring: everything said is there at once, and every conversation comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amanat.cli import standing
from amanat.client.claims import QUESTION_EVERY_MS
from amanat.client.folders import Folder
from amanat.client.restoring import Restoring
from amanat.client.sdk.backups import restore as restored
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, scratch
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    BrokenArchive,
    FolderAway,
    MessageLost,
    NoBackup,
    OldDevice,
    OutOfStep,
    ProfileExists,
    ProfileReplaced,
    WrongPhrase,
)
from amanat.protocol import phrase
from amanat.protocol.backup import RECORDS, Entry
from damage import changed_at
from test_backup import Killed, begin, entries, folder


def content(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


async def lose(one: Person) -> None:
    """Somebody's device is gone."""
    await one.client.close()
    one.is_awake = False


async def restore(one: Person, tmp_path: Path, backup: Path, words: str) -> None:
    """Give somebody who has lost theirs a new device, restored from a backup."""
    one.directory = tmp_path / os.urandom(4).hex()
    with one.acting():
        made = await restored(
            one.directory,
            Unlock(key=one.key),
            backup=backup,
            phrase=words,
            around=one.around,
        )
    assert made.name == one.name
    one.open()


async def come_back(world: World, one: Person) -> None:
    one.wake()
    while any(view.state == "astray" for view in one.client.conversations()):
        await world.pass_time(5)
    await world.settle()


async def test_everything_said_is_there_at_once(world: World, tmp_path: Path) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    alice.say("bob", "hello")
    alice.client.chat(gid).send("all")
    carol.client.chat(gid).send("yes")
    alice.client.notes().send("a note")
    write(tmp_path / "plan.txt", b"a plan" * 30_000)
    await alice.client.chat(gid).send_file(tmp_path / "plan.txt", text="the plan")
    await world.settle()
    bob.client.chat(gid).messages()[0].react("👍")
    alice.client.mark_read()
    bob.say("alice", "not read yet")
    await world.settle()

    def shown() -> list[list[tuple[object, ...]]]:
        chats = [alice.client.chat(one.gid).messages() for one in alice.client.conversations()]
        return [[(m.text, m.sender, m.sent_at, m.reactions, m.is_own) for m in c] for c in chats]

    def counted() -> list[tuple[bytes, int, int]]:
        return list(alice.db.execute("SELECT gid, held, unread FROM tally ORDER BY gid"))

    before, counts = shown(), counted()
    assert sorted(unread for _, _, unread in counts) == [0, 0, 0, 1]
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    await lose(alice)
    await restore(alice, tmp_path, folder(tmp_path), words)
    assert shown() == before
    assert counted() == counts
    assert [one.message.text for one in alice.client.search("hel")] == ["hello"]
    states = [view.state for view in alice.client.conversations()]
    assert states == ["astray", "astray", "astray", "notes"]
    assert [message.text for message, _ in alice.client.unread()] == ["not read yet"]
    (found,) = [one for one in alice.client.chat(gid).messages() if one.file]
    assert found.file is not None
    await found.file.save(tmp_path / "restored.txt")
    assert content(tmp_path / "restored.txt") == b"a plan" * 30_000
    status = alice.client.backups.status()
    assert (status.folder, status.is_noted) == (str(folder(tmp_path)), True)
    with pytest.raises(OutOfStep):
        alice.client.chat(gid).rename("not yet")


@pytest.mark.long
async def test_conversations_come_back_with_what_was_said_meanwhile(
    world: World, tmp_path: Path
) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    alice.say("bob", "hello")
    await world.settle()
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    await lose(alice)
    bob.say("alice", "are you there?")  # said to a device that is gone
    carol.client.chat(gid).send("where is alice?")
    await world.settle()
    await restore(alice, tmp_path, folder(tmp_path), words)
    alice.say("bob", "written before the device was let in")
    await come_back(world, alice)
    for one in people:
        one.client.chat(gid).send(f"{one.name} again")
    alice.say("carol", "just us")
    bob.say("alice", "welcome back")
    alice.client.notes().send("a note")
    await world.settle()
    await world.pass_time(120)
    await world.settle()
    for one in people:
        said = {message.text for message in one.client.chat(gid).messages()}
        assert said == {f"{each.name} again" for each in people} | {"where is alice?"}
    assert carol.texts("alice") == ["just us"]
    said = {"hello", "are you there?", "written before the device was let in", "welcome back"}
    assert set(alice.texts("bob")) == set(bob.texts("alice")) == said
    held = alice.db.execute("SELECT gid, held FROM tally WHERE held > 0 ORDER BY gid").fetchall()
    rows = alice.db.execute("SELECT gid, count(*) FROM message GROUP BY gid ORDER BY gid")
    assert held == rows.fetchall()
    assert not bob.warnings()
    assert not carol.warnings()
    assert set(alice.warnings()) <= {MessageLost.code}
    view = bob.client.create_group("new", ["alice"])
    again = alice.client.create_group("newer", ["bob", "carol"])
    await world.settle()
    assert alice.client.chat(view.gid).view().state == "active"
    assert carol.client.chat(again.gid).view().state == "active"


@pytest.mark.long
async def test_restored_profile_is_backed_up_and_restored_again(
    world: World, tmp_path: Path
) -> None:
    """Even while it is not let in: a recalled group goes from backup to backup."""
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    left = await world.group("left", *people)
    alice.client.chat(gid).send("one")
    alice.client.chat(left).leave()
    await world.settle()
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    await lose(alice)
    for _ in range(2):
        await restore(alice, tmp_path, folder(tmp_path), words)
        await alice.client.backups.make()
        await lose(alice)
    await restore(alice, tmp_path, folder(tmp_path), words)
    assert alice.client.chat(left).view().name == "left"
    assert alice.client.chat(left).view().state == "left"
    await come_back(world, alice)
    bob.client.chat(left).add(["alice"])
    await world.settle()
    alice.client.chat(gid).send("two")
    alice.client.chat(left).send("in again")
    await world.settle()
    assert [one.text for one in carol.client.chat(gid).messages()] == ["one", "two"]
    assert carol.client.chat(left).messages()[-1].text == "in again"


@pytest.mark.long
async def test_groups_that_went_on_since_the_backup_let_the_device_in(
    world: World, tmp_path: Path
) -> None:
    people = await world.friends("alice", "bob", "carol", "dora")
    alice, bob, carol, dora = people
    gid = await world.group("family", alice, bob, carol)
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    await lose(alice)
    for number in range(5):
        bob.client.chat(gid).rename(f"family {number}")
        await world.settle()
    bob.client.chat(gid).add(["dora"])
    await world.settle()
    await restore(alice, tmp_path, folder(tmp_path), words)
    await come_back(world, alice)
    assert alice.client.chat(gid).view().name == "family 4"
    alice.client.chat(gid).send("hello dora")
    await world.settle()
    assert dora.client.chat(gid).messages()[-1].text == "hello dora"
    # Somebody who was removed meanwhile has no place to come back to.
    await alice.client.backups.make()
    await lose(alice)
    bob.client.chat(gid).remove("alice")
    await world.settle()
    await restore(alice, tmp_path, folder(tmp_path), words)
    alice.wake()
    for _ in range(10):
        await world.pass_time(60)
    assert alice.client.chat(gid).view().state == "astray"
    alice.client.chat(gid).send("never said")
    await world.pass_time(60)
    assert "never said" not in [one.text for one in dora.client.chat(gid).messages()]


@pytest.mark.long
async def test_one_contact_lets_a_device_into_many_conversations(
    world: World, tmp_path: Path
) -> None:
    """A contact answers once in ten seconds, so they are not asked about all at once."""
    alice, bob = await world.friends("alice", "bob")
    for number in range(4):
        await world.group(f"group {number}", alice, bob)
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    await lose(alice)
    await restore(alice, tmp_path, folder(tmp_path), words)
    begun = world.now()
    await come_back(world, alice)
    assert world.now() - begun < 75_000
    for view in alice.client.conversations():
        alice.client.chat(view.gid).send("back")
    await world.settle()
    shown = [bob.client.chat(view.gid).messages()[-1].text for view in bob.client.conversations()]
    assert shown == ["back"] * 5


async def test_restore_that_cannot_be_leaves_no_profile(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    words = begin(alice, folder(tmp_path))
    made = await alice.client.backups.make()
    good = Path(made.file)
    await alice.sleep()
    copy = alice.copy()
    other = " ".join(phrase.words_of(bytes(32)))
    empty = tmp_path / "empty"
    empty.mkdir()
    whole = content(good)

    async def refused(error: type[Exception], backup: Path, said: str) -> None:
        directory = tmp_path / "new"
        with pytest.raises(error):
            await restored(
                directory, Unlock(key=alice.key), backup=backup, phrase=said, around=alice.around
            )
        assert not (directory / "vault.db").exists()

    alice.wake()  # somebody has to be awake for the world's time to go on
    await refused(WrongPhrase, folder(tmp_path), other)
    await refused(WrongPhrase, good, other)
    await refused(WrongPhrase, folder(tmp_path), "word")
    await refused(NoBackup, empty, words)
    await refused(FolderAway, tmp_path / "nowhere", words)
    write(good, whole[:-1])
    await refused(BrokenArchive, folder(tmp_path), words)
    write(good, whole)
    with pytest.raises(ProfileExists):
        await restored(copy, Unlock(key=alice.key), backup=good, phrase=words, around=alice.around)


async def test_file_whose_content_is_lost_in_the_folder_is_not_here(
    world: World, tmp_path: Path
) -> None:
    """Everything else is restored."""
    alice, _ = await world.friends("alice", "bob")
    for name in ("lost", "damaged", "good"):
        write(tmp_path / name, os.urandom(100_000))
        await alice.client.notes().send_file(tmp_path / name, text=name)
    words = begin(alice, folder(tmp_path))
    made = await alice.client.backups.make()
    where, notes = Folder(folder(tmp_path), phrase.key_of(words)), alice.client.notes()
    blobs = {
        m.text: alice.one("SELECT blob FROM file WHERE id = ?", bytes.fromhex(m.id))
        for m in notes.messages()
    }
    where.blob_path(blobs["lost"]).unlink()
    damaged = where.blob_path(blobs["damaged"])
    write(damaged, changed_at(content(damaged)))
    await lose(alice)
    await restore(alice, tmp_path, Path(made.file), words)
    files = {one.text: one.file for one in alice.client.notes().messages()}
    assert {text: one and one.is_here for text, one in files.items()} == {
        "lost": False, "damaged": False, "good": True,
    }  # fmt: skip
    assert files["good"] is not None
    await files["good"].save(tmp_path / "restored")
    assert content(tmp_path / "restored") == content(tmp_path / "good")


@pytest.mark.long
async def test_restore_that_dies_begins_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = await world.friends("alice", "bob")
    (tmp_path / "plan.txt").write_bytes(b"a plan" * 30_000)
    await alice.client.notes().send_file(tmp_path / "plan.txt")
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    real, left = os.open, [0]

    def dying(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return real(*args, **kwargs)  # type: ignore[arg-type]

    directory, steps = tmp_path / "new", 0
    monkeypatch.setattr(os, "open", dying)
    while True:
        steps += 1
        left[0] = steps
        try:
            await restored(
                directory,
                Unlock(key=alice.key),
                backup=folder(tmp_path),
                phrase=words,
                around=alice.around,
            )
        except Killed:
            left[0] = 0
            if not (directory / "vault.db").exists():
                continue
        break
    left[0] = 0
    assert steps > 5
    made = alice.client.open(directory, Unlock(key=alice.key))
    (message,) = made.notes().messages()
    assert message.file is not None
    await message.file.save(tmp_path / "restored.txt")
    assert (tmp_path / "restored.txt").read_bytes() == b"a plan" * 30_000
    await made.close()


def tried(records: list[tuple[Entry, bytes]]) -> None:
    with scratch(now=0) as unit:
        restoring = Restoring(unit)
        for entry, body in records:
            restoring.take(entry, [body])
        restoring.end()


async def test_records_of_later_versions_are_passed_over(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    words = begin(alice, folder(tmp_path))
    made = await alice.client.backups.make()
    records = entries(Path(made.file), phrase.key_of(words))
    with scratch(now=world.now()) as unit:
        restoring = Restoring(unit)
        for entry, body in records:
            restoring.take(entry, [body])
        restoring.take(200, [b"of a later version"])
        restoring.end()
        assert restoring.unknown == 1
    first, person = records[0]
    longer = b"\xdc" + (person[0] & 15).to_bytes(2, "big") + person[1:]  # the same, in other words
    for wrong in (records[1:], [records[0]] * 2, [(first, b"\xc0")], [(first, longer)], []):
        with pytest.raises(BrokenArchive):
            tried(wrong)


@pytest.mark.long
async def test_device_that_the_backup_was_made_on_is_out_and_makes_no_more(
    world: World, tmp_path: Path
) -> None:
    """It comes up again after its profile was restored, and uses the same folder. The restored
    device is told that it is in use."""
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "hello")
    with alice.client._unit() as unit:  # it has run for more than a year
        unit.put("claims", (400).to_bytes(8, "big"))
    claims = alice.rules.conversations.claims
    words = begin(alice, folder(tmp_path))
    for is_kept in (True, False):  # it claims before the backup, and after it
        with alice.client._unit() as unit:
            assert claims.question(unit)
        await world.pass_time(QUESTION_EVERY_MS // 1000)
        if is_kept:
            await alice.client.backups.make()
    await alice.sleep()
    old = alice.copy()
    await lose(alice)
    await restore(alice, tmp_path, folder(tmp_path), words)
    await come_back(world, alice)
    new = alice.directory
    assert OldDevice.code not in alice.warnings()  # by what it did before
    alice.say("bob", "said by the restored device")
    await world.settle()
    await alice.live_as(old)
    alice.say("bob", "said by the old device")
    while alice.client.chat(alice.gid("bob")).view().state != "replaced":
        await world.pass_time(5)
    await world.settle()
    assert ProfileReplaced.code in alice.warnings()
    assert bob.texts("alice") == ["hello", "said by the restored device"]
    with pytest.raises(ProfileReplaced):
        await alice.client.backups.make()
    await alice.live_as(new)
    await world.settle()
    assert alice.warnings().count(OldDevice.code) == 1
    assert not bob.warnings()


@pytest.mark.long
async def test_restoring_one_backup_twice_leaves_one_device_in_and_loses_nothing(
    world: World, tmp_path: Path
) -> None:
    alice, bob = await world.friends("alice", "bob")
    words = begin(alice, folder(tmp_path))
    made = await alice.client.backups.make()
    aside = tmp_path / "aside.archive"
    world.network.copied.add("alice")  # two devices of one generation use the same labels
    write(aside, content(Path(made.file)))
    await lose(alice)
    for number in range(2):
        await restore(alice, tmp_path, aside, words)
        await come_back(world, alice)
        alice.say("bob", f"said by device {number}")
        await world.settle()
        await lose(alice)
    alice.open()
    alice.wake()
    await come_back(world, alice)
    bob.say("alice", "still here?")
    await world.settle()
    assert alice.texts("bob")[-1] == "still here?"
    assert bob.texts("alice") == ["said by device 0", "said by device 1", "still here?"]


async def test_backup_of_version_1_restores_for_ever(world: World, tmp_path: Path) -> None:
    """The file is never made again, whatever becomes of the vault's tables."""
    words = " ".join(phrase.words_of(bytes(range(32))))
    file = Path(__file__).parent / "vectors" / "backup-1.archive"
    await world.person("somebody")  # so that the world's time goes on
    key = Unlock(key=bytes(32))
    made = await restored(tmp_path / "new", key, backup=file, phrase=words, around=world.around())
    assert (made.name, made.messages, made.unknown) == ("alice", 4, 0)
    client = Client.open(tmp_path / "new", key, world.around())
    views = [(view.name, str(view.state)) for view in client.conversations()]
    assert views == [
        ("bob", "astray"), ("carol", "astray"), ("family", "astray"), ("alice", "notes"),
    ]  # fmt: skip
    hello, salam = client.chat("bob").messages()
    assert (hello.text, salam.text, salam.reactions) == ("hello", "سلام", {"alice": "👍"})
    assert [message.text for message in client.chat("family").messages()] == ["all of you"]
    assert [message.text for message in client.notes().messages()] == ["a note"]
    assert [message.text for message, _ in client.unread()] == ["سلام"]
    await client.close()


def test_restoring_knows_every_record() -> None:
    assert set(Restoring._WRITE) == set(Entry) == set(RECORDS)


async def test_person_whose_home_went_with_the_machine_is_told_how_to_go_on(
    world: World, tmp_path: Path
) -> None:
    """Her relay ran on the machine that she has lost, so nobody can answer her there."""
    own = world.add_relay("IR")
    alice, bob = await world.person("alice", relay=own), await world.person("bob")
    await world.meet(bob, alice)
    alice.say("bob", "hello")
    await world.settle()
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    assert not alice.client.status().is_homeless
    await lose(alice)
    world.network.cut(own.address)
    await restore(alice, tmp_path, folder(tmp_path), words)
    alice.wake()
    await world.pass_time(600)
    assert alice.client.status().is_homeless
    assert "amanat exit --to RELAY" in standing._troubles(alice.client.status())
    await alice.client.home.exit(str(world.relay.address))
    await world.pass_time(600)
    assert not alice.client.status().is_homeless
    assert "amanat exit" not in standing._troubles(alice.client.status())
    bob.client.chat("alice").leave()
    alice.client.accept(bob.client.invite())
    await world.pass_time(600)
    alice.say("bob", "here I am")
    bob.say("alice", "welcome")
    await world.pass_time(600)
    for one, other in ((alice, "bob"), (bob, "alice")):
        assert sorted(one.texts(other)) == ["here I am", "welcome"]  # said at one moment
