"""Backups: what is in them and what is not, how they are made and kept, and what happens when a
process dies meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.client import backing, backups, folders
from amanat.client.blobs import DIRECTORY
from amanat.client.folders import Folder, keeping
from amanat.client.gathering import OF_PROGRAMS, SETTINGS, gather
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    BrokenArchive,
    DiskFull,
    FolderAway,
    NoBackup,
    OtherWord,
    PhraseSlip,
    UnknownWord,
    WordCount,
    WrongPhrase,
)
from amanat.protocol import codec, phrase
from amanat.protocol.archive import Opener, read_header
from amanat.protocol.backup import Entry, Message
from damage import changed_at

DAY_S = 86_400
NOW_S = 1_700_000_000


class Killed(BaseException):
    """The process died."""


def folder(tmp_path: Path) -> Path:
    place = tmp_path / "stick"
    place.mkdir(exist_ok=True)
    return place


def begin(one: Person, place: Path) -> str:
    """Begin backups; returns the phrase."""
    with one.acting():
        return " ".join(word.word for word in one.client.backups.begin(place))


def entries(file: Path, key: bytes) -> list[tuple[Entry, bytes]]:
    data = file.read_bytes()
    _, length = read_header(data)
    opener = Opener(key, data[:length])
    runs = (*opener.feed(data[length:]), *opener.end())
    return [(Entry(run.kind), body) for run in runs for body in run.bodies]


def texts(file: Path, key: bytes) -> list[str | None]:
    decoder = codec.decoder_of(Message)
    return [
        codec.decode(decoder, body, BrokenArchive).text
        for entry, body in entries(file, key)
        if entry is Entry.MESSAGE
    ]


async def test_backup_is_made_checked_and_told(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    alice.say("bob", "hello")
    alice.client.notes().send("a note")
    await world.settle()
    with pytest.raises(NoBackup):
        await alice.client.backups.make()
    words = begin(alice, folder(tmp_path))
    assert alice.client.backups.begin(folder(tmp_path)) == []  # shown once
    told: list[tuple[str, int, int]] = []
    made = await alice.client.backups.make(lambda *one: told.append(one))
    assert (made.name, made.messages, made.unknown) == ("alice", 2, 0)
    assert texts(Path(made.file), phrase.key_of(words)) == ["hello", "a note"]
    assert await alice.client.backups.check(Path(made.file)) == made
    status = alice.client.backups.status()
    assert (status.file, status.messages) == (Path(made.file).name, 2)
    assert (status.last_at, status.error) == (made.made_at, "")
    assert 0 < status.due_at - status.last_at <= backups.EVERY_MS
    assert {phase for phase, _, _ in told} >= {"write"}


async def test_no_word_and_no_name_of_a_backup_is_in_clear(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    alice.say("bob", "a word like no other")
    await world.settle()
    place = folder(tmp_path)
    words = begin(alice, place)
    await alice.client.backups.make()
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    for secret in (b"word like no other", b"alice", b"bob", phrase.key_of(words)):
        assert secret not in everything
    for one in alice.rules.me.homes:
        assert one.bucket.read_token not in everything


async def test_there_is_no_ratchet_in_a_backup(world: World, tmp_path: Path) -> None:
    """No secret with which anything was sealed, or could be, is in the records themselves."""
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "hello")
    bob.say("alice", "hello back")
    await world.settle()
    await bob.sleep()
    alice.say("bob", "on its way")
    alice.client.invite()
    with alice.vault.snapshot() as read:
        runs = gather(read, {}, now=world.now())
        plain = b"".join(codec.encode(one) for _, records in runs for one in records)
    secrets = [row[0] for row in alice.db.execute("SELECT chain FROM chain_out")]
    secrets += [row[0] for row in alice.db.execute("SELECT chain FROM chain_in")]
    secrets += [row[0] for row in alice.db.execute("SELECT secret FROM epoch_drop")]
    secrets += [row[0] for row in alice.db.execute("SELECT private FROM invite")]
    secrets += [row[0] for row in alice.db.execute("SELECT request FROM outbox")]
    secrets += [
        row[1]
        for row in alice.db.execute("SELECT key, value FROM mls")
        if len(row[1]) > 16 and not row[0].startswith(b"signer/")
    ]
    assert len(secrets) > 10
    for secret in secrets:
        assert secret not in plain
    assert (
        alice.rules.me.identity_key.private_bytes_raw() in plain
    )  # the search finds what is there


async def test_deleted_expired_and_short_lived_texts_are_left_out(
    world: World, tmp_path: Path
) -> None:
    alice, bob = await world.friends("alice", "bob")
    words = begin(alice, folder(tmp_path))
    chat = alice.client.chat(alice.gid("bob"))
    for text in ("stays", "deleted", "hidden"):
        chat.send(text)
    await world.settle()
    stays, deleted, hidden = chat.messages()
    deleted.delete()
    hidden.delete(for_everyone=False)
    chat.set_timer(3600)
    await world.settle()
    chat.send("of an hour")
    await world.settle()
    chat.messages()[-1].edit("of an hour, and edited")
    chat.set_timer(2 * DAY_S)
    await world.settle()
    bob.say("alice", "of two days")
    await world.settle()
    made = await alice.client.backups.make()
    key = phrase.key_of(words)
    assert texts(Path(made.file), key) == ["stays", None, "of two days"]
    plain = b"".join(body for _, body in entries(Path(made.file), key))
    for gone in (b"deleted", b"hidden", b"of an hour"):
        assert gone not in plain
    alice.client.mark_read()
    later = again(alice, Folder(folder(tmp_path), key), key, world.now() + 3 * DAY_S * 1000)
    assert texts(later.path, key) == ["stays", None]
    assert stays.text == "stays"


def test_every_setting_is_kept_or_left_out_on_purpose() -> None:
    """The program has each setting that a backup keeps."""
    source = "".join(path.read_text() for path in Path(backing.__file__).parent.rglob("*.py"))
    for key in SETTINGS:
        assert f'"{key}"' in source.replace("'", '"')
    assert OF_PROGRAMS == "program "


async def test_backup_is_made_every_day_and_a_missed_one_is_made_up(
    world: World, tmp_path: Path
) -> None:
    world.tick_s = 300
    alice = await world.person("alice")
    place = folder(tmp_path)
    begin(alice, place)

    async def made(after: int) -> int:
        while alice.client.backups.status().last_at == after:
            await world.pass_time(600)
        return alice.client.backups.status().last_at

    first = await made(0)
    assert await made(first) - first >= backups.EVERY_MS
    await alice.sleep()
    await world.pass_time(10 * DAY_S)
    assert alice.client.backups.status().due_at < world.now()
    alice.wake()
    before = world.now()
    assert await made(alice.client.backups.status().last_at) - before < 3_600_000
    shutil.move(place, tmp_path / "pulled out")
    while not alice.client.backups.status().error:
        await world.pass_time(600)
    assert alice.client.backups.status().error == FolderAway.code
    shutil.move(tmp_path / "pulled out", place)
    await made(alice.client.backups.status().last_at)
    assert not alice.client.backups.status().error
    alice.client.backups.stop()
    assert alice.client.backups.status().due_at == 0


async def test_client_goes_on_while_a_backup_is_made(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.friends("alice", "bob")
    key = phrase.key_of(begin(alice, folder(tmp_path)))
    await alice.client.backups.make()
    alice.say("bob", "before")
    await world.settle()
    arrived = threading.Event()

    def slowly(*args: object, **kwargs: object) -> object:
        assert arrived.wait(60)
        return gather(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(backing, "gather", slowly)
    making = asyncio.create_task(alice.client.backups.make())
    while not list(folder(tmp_path).glob("*/*.part")):  # its moment is chosen
        await world.pass_time(1)
    alice.say("bob", "meanwhile")
    while bob.texts("alice")[-1:] != ["meanwhile"]:
        await world.pass_time(1)
    arrived.set()
    assert texts(Path((await making).file), key) == ["before"]


@pytest.mark.parametrize("is_away", [False, True])
async def test_backup_that_was_under_way_when_they_were_stopped_begins_no_others(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_away: bool
) -> None:
    alice = await world.person("alice")
    begin(alice, folder(tmp_path))
    stopped = threading.Event()

    def slowly(*args: object, **kwargs: object) -> object:
        assert stopped.wait(60)
        if is_away:
            raise FolderAway
        return gather(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(backing, "gather", slowly)
    making = asyncio.create_task(alice.client.backups.make())
    while not list(folder(tmp_path).glob("*/*.part")):
        await world.pass_time(1)
    with alice.acting():
        alice.client.backups.stop()
    stopped.set()
    await asyncio.wait([making])
    assert isinstance(making.exception(), FolderAway if is_away else type(None))
    status = alice.client.backups.status()
    assert (status.due_at, status.error, status.last_at > 0) == (0, "", not is_away)


async def test_words_of_the_phrase_are_asked_for(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    words = begin(alice, folder(tmp_path)).split()
    asked = alice.client.backups.asked()
    assert len(set(asked)) == backups.ASKED_WORDS
    right = {place: words[place - 1] for place in asked}
    wrong = right | {asked[0]: "zoo" if right[asked[0]] != "zoo" else "abandon"}
    with pytest.raises(WrongPhrase):
        alice.client.backups.confirm(wrong)
    with pytest.raises(BadArgument):
        alice.client.backups.confirm({1: words[0]})
    assert not alice.client.backups.status().is_noted
    numbers = {place: str(phrase.number_of(word)) for place, word in right.items()}
    alice.client.backups.confirm(numbers)
    assert alice.client.backups.status().is_noted
    renewed = alice.client.backups.begin(folder(tmp_path), new_phrase=True)
    assert [one.word for one in renewed] != words
    assert not alice.client.backups.status().is_noted


async def test_words_are_asked_for_once_more_after_a_week(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    words = begin(alice, folder(tmp_path)).split()
    right = {place: words[place - 1] for place in alice.client.backups.asked()}

    def is_asked() -> tuple[bool, bool]:
        status = alice.client.backups.status()
        return status.is_asked, status.is_noted

    assert is_asked() == (True, False)
    alice.client.backups.confirm(right)
    assert is_asked() == (False, True)
    await alice.sleep()
    await world.pass_time(6 * DAY_S)
    alice.wake()
    alice.client.backups.confirm(right)  # they look by themselves, which takes no question away
    await alice.sleep()
    await world.pass_time(DAY_S)
    alice.wake()
    assert is_asked() == (True, True)
    with pytest.raises(OtherWord):
        alice.client.backups.confirm(right | {next(iter(right)): "2048"})
    assert is_asked() == (True, True)
    alice.client.backups.confirm(right)
    assert is_asked() == (False, True)
    await alice.sleep()
    await world.pass_time(30 * DAY_S)
    alice.wake()
    assert is_asked() == (False, True)
    alice.client.backups.begin(folder(tmp_path), new_phrase=True)
    assert is_asked() == (True, False)
    alice.client.backups.stop()
    assert is_asked() == (False, False)


async def test_a_backup_that_is_old_is_told(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    begin(alice, folder(tmp_path))
    assert not alice.client.backups.status().is_late  # there is none yet
    await alice.client.backups.make()
    await alice.sleep()
    await world.pass_time(backups.LATE_MS // 1000 - 3600)
    alice.wake()
    assert not alice.client.backups.status().is_late
    await alice.sleep()
    await world.pass_time(3600)
    alice.wake()
    assert alice.client.backups.status().is_late
    alice.client.backups.stop()
    assert not alice.client.backups.status().is_late


def test_a_phrase_that_is_none_says_why() -> None:
    words = phrase.words_of(bytes(range(32)))

    def refused(kind: type[WrongPhrase], said: list[str]) -> str:
        with pytest.raises(kind) as why:
            phrase.key_of(" ".join(said))
        return why.value.detail

    assert refused(WordCount, words[:23]) == "these are 23"
    assert refused(UnknownWord, [*words[:6], "abandom", *words[7:]]) == "word 7"
    assert refused(UnknownWord, [*words[:23], "2049"]) == "word 24"
    refused(PhraseSlip, [words[1], words[0], *words[2:]])
    assert phrase.key_of(" ".join(one[:4].upper() for one in words)) == bytes(range(32))


# On the disk


async def alive(world: World, tmp_path: Path) -> tuple[Person, Folder, bytes, Path]:
    """Somebody with a file of theirs, and a good backup."""
    alice, _ = await world.friends("alice", "bob")
    key = phrase.key_of(begin(alice, folder(tmp_path)))
    source = tmp_path / "a file.bin"
    source.write_bytes(os.urandom(100_000))
    await alice.client.notes().send_file(source)
    alice.say("bob", "one")
    await world.settle()
    made = await alice.client.backups.make()
    assert made.files == 1
    return alice, Folder(folder(tmp_path), key), key, Path(made.file)


def again(alice: Person, where: Folder, key: bytes, at: int) -> backing.Made:
    return backing.make(alice.vault, where, key, now=at)


@pytest.mark.long
async def test_dying_at_any_step_leaves_the_last_good_backup(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, where, key, good = await alive(world, tmp_path)
    source = tmp_path / "another.bin"
    source.write_bytes(os.urandom(70_000))
    await alice.client.notes().send_file(source)
    alice.say("bob", "two")
    await world.settle()
    now, left = world.now() + 86_400_000, [0]

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    for name in ("open", "write", "pwrite", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
    steps = 0
    while True:
        steps += 1
        left[0] = steps
        try:
            made = again(alice, where, key, now)
        except Killed:
            left[0] = 0
            for one in where.archives():
                found = backing.check(one.path, where, key, now=now)
                assert found.messages in (2, 4)
            assert good in [one.path for one in where.archives()]
            continue
        break
    left[0] = 0
    assert steps > 12
    assert made.found.messages == 4
    assert not list(where.own.rglob("*.part"))


async def test_full_disk_is_told_and_harms_no_backup(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, where, key, good = await alive(world, tmp_path)

    def full(_handle: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(DiskFull):
            again(alice, where, key, world.now() + 1_000)
    assert [one.path for one in where.archives()] == [good]
    assert backing.check(good, where, key, now=world.now()).messages == 2


async def test_disk_that_gives_back_something_else_is_found_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, where, key, good = await alive(world, tmp_path)
    real = folders.write_all

    def badly(handle: int, data: bytes) -> None:
        real(handle, changed_at(data) if len(data) > 1_000 else data)

    monkeypatch.setattr(backing, "write_all", badly)
    with pytest.raises(BrokenArchive):
        again(alice, where, key, world.now() + 1_000)
    assert [one.path for one in where.archives()] == [good]


async def test_missing_and_changed_parts_of_a_backup_are_found(
    world: World, tmp_path: Path
) -> None:
    alice, where, key, good = await alive(world, tmp_path)
    whole = good.read_bytes()
    for broken in (whole[:-1], whole[:400], whole[:500] + b"x" + whole[501:], whole + b"x"):
        good.write_bytes(broken)
        with pytest.raises(BrokenArchive):
            await alice.client.backups.check(good)
    good.write_bytes(whole)
    with pytest.raises(WrongPhrase):
        backing.check(good, where, bytes(32), now=world.now())
    (content,) = [path for path in (where.own / "blobs").rglob("*") if path.is_file()]
    content.unlink()
    with pytest.raises(BrokenArchive):
        await alice.client.backups.check(good)
    # The next backup brings it again.
    again(alice, where, key, world.now() + 1_000)
    assert (await alice.client.backups.check(where.place)).files == 1


async def test_content_is_written_once_and_goes_with_the_last_backup_that_names_it(
    world: World, tmp_path: Path
) -> None:
    alice, where, key, good = await alive(world, tmp_path)
    (content,) = [path for path in (where.own / "blobs").rglob("*") if path.is_file()]
    before = content.stat().st_mtime_ns
    now = world.now()
    assert again(alice, where, key, now + 1_000).new_blobs == 0
    assert content.stat().st_mtime_ns == before
    (own,) = (alice.directory / DIRECTORY).rglob("*/*")
    assert content.read_bytes() != own.read_bytes()
    alice.client.notes().messages()[0].delete(for_everyone=False)
    again(alice, where, key, now + 86_400_000)
    assert content.exists()
    for days in range(2, 500, 7):
        again(alice, where, key, now + days * 86_400_000)
    assert not good.exists()
    assert not content.exists()


async def test_damaged_content_does_not_prevent_a_backup(world: World, tmp_path: Path) -> None:
    alice, where, key, _ = await alive(world, tmp_path)
    shutil.rmtree(where.own)
    (own,) = (alice.directory / DIRECTORY).rglob("*/*")
    data = bytearray(own.read_bytes())
    data[100] ^= 1
    own.write_bytes(data)
    made = again(alice, where, key, world.now())
    assert (made.damaged, made.new_blobs, made.found.messages) == (1, 0, 2)


async def test_two_people_may_use_one_folder(world: World, tmp_path: Path) -> None:
    alice, bob = await world.friends("alice", "bob")
    place = folder(tmp_path)
    keys = [phrase.key_of(begin(one, place)) for one in (alice, bob)]
    now = world.now()
    for day in range(0, 60, 3):
        for one, key in zip((alice, bob), keys, strict=True):
            again(one, Folder(place, key), key, now + day * 86_400_000)
    for key in keys:
        there = Folder(place, key).archives()
        assert len(there) == 8
        assert backing.check(there[0].path, Folder(place, key), key, now=now)


@given(st.lists(st.integers(NOW_S, NOW_S + 800 * DAY_S), min_size=1, max_size=200))
def test_the_newest_of_each_day_week_and_month_is_kept(times: list[int]) -> None:
    kept = keeping(times)
    assert max(times) in kept
    assert len(kept) <= folders.KEPT_DAYS + folders.KEPT_WEEKS + folders.KEPT_MONTHS
    assert keeping(kept) == kept  # what is kept stays kept
    days = {dt.datetime.fromtimestamp(at, dt.UTC).date() for at in times}
    last = sorted(days)[-folders.KEPT_DAYS :]
    assert set(last) <= {dt.datetime.fromtimestamp(at, dt.UTC).date() for at in kept}


@given(st.lists(st.integers(0, 4 * 10**9), min_size=1), st.integers(1, backups.MAX_FORGET_DAYS))
def test_backups_that_are_to_be_forgotten_are_and_never_the_newest(
    times: list[int], days: int
) -> None:
    newest = max(times)
    kept = keeping(times, forget_days=days)
    assert kept == [at for at in keeping(times) if newest - at < days * DAY_S]
    assert newest in kept


async def test_a_backup_removes_those_that_are_to_be_forgotten(
    world: World, tmp_path: Path
) -> None:
    alice = await world.person("alice")
    words = begin(alice, folder(tmp_path))
    where = Folder(folder(tmp_path), phrase.key_of(words))
    await alice.client.backups.make()
    with pytest.raises(BadArgument):
        alice.client.backups.begin(folder(tmp_path), forget_days=backups.MAX_FORGET_DAYS + 1)
    alice.client.backups.begin(folder(tmp_path), forget_days=7)
    alice.client.backups.begin(folder(tmp_path))  # which leaves it as it is
    assert alice.client.backups.status().forget_days == 7
    await alice.sleep()
    await world.pass_time(8 * DAY_S)
    alice.wake()
    newest = await alice.client.backups.make()
    assert [one.path for one in where.archives()] == [Path(newest.file)]
    alice.client.backups.begin(folder(tmp_path), forget_days=0)
    await alice.sleep()
    await world.pass_time(8 * DAY_S)
    alice.wake()
    await alice.client.backups.make()
    assert Path(newest.file) in [one.path for one in where.archives()]


def test_a_year_of_daily_backups_keeps_seven_days_four_weeks_and_twelve_months() -> None:
    kept: list[int] = []
    for day in range(800):
        kept = keeping([*kept, NOW_S + day * DAY_S])
    assert len(kept) in range(19, 24)
    ages = [round((kept[-1] - at) / DAY_S) for at in kept]
    assert ages[-7:] == [6, 5, 4, 3, 2, 1, 0]
    assert max(ages) > 320
