"""The maker: a child makes a backup, knows its secrets by a pipe alone, and harms nothing when it
ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlcipher3

from amanat import child as children
from amanat.client import apart, backing, maker
from amanat.client.folders import Folder
from amanat.client.sdk.backups import restore
from amanat.client.vault import Unlock, Vault, open_vault
from amanat.errors import BrokenArchive, FolderAway, NoMemory, ProfileInUse
from amanat.protocol import phrase
from damage import changed_at
from relays import in_loop

pytestmark = [pytest.mark.e2e, pytest.mark.long]
UNLOCK = Unlock(key=bytes(32))
KEY = bytes(range(32))
NOW = 1_700_000_000_000
DAY_MS = 86_400_000


async def profile(tmp_path: Path) -> tuple[Vault, Folder]:
    """A person's vault, and a folder with one backup of it."""
    file = Path(__file__).parent / "vectors" / "backup-1.archive"
    words = " ".join(phrase.words_of(KEY))
    await restore(tmp_path / "alice", UNLOCK, backup=file, phrase=words)
    place = tmp_path / "stick"
    place.mkdir()
    opened = open_vault(tmp_path / "alice", UNLOCK)
    folder = Folder(place, KEY)
    backing.make(opened, folder, KEY, now=NOW)
    return opened, folder


@contextmanager
def locked(directory: Path, key: bytes) -> Iterator[None]:
    """A database that nobody else can read meanwhile, so that a child waits for it."""
    db = sqlcipher3.connect(str(directory / "vault.db"), isolation_level=None)
    db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.close()


def is_good(folder: Folder) -> bool:
    """Whether the folder has the one backup from before, and it is whole."""
    (kept,) = folder.archives()
    return backing.check(kept.path, folder, KEY, now=NOW).messages == 4


@in_loop
async def test_a_child_makes_a_backup_that_restores(tmp_path: Path) -> None:
    opened, folder = await profile(tmp_path)
    told: list[str] = []
    made = await apart.Apart().make(
        opened,
        folder,
        KEY,
        now=NOW + 1_000,
        told=lambda phase, _done, _whole: told.append(phase),
    )
    assert (made.found.name, made.found.messages) == ("alice", 4)
    assert set(told) == {"write"}  # it is too small to be told of its trial
    assert [one.path for one in folder.archives()][:1] == [made.path]
    assert made == backing.make(opened, folder, KEY, now=NOW + 1_000)
    opened.close()


@in_loop
async def test_a_child_forgets_backups_as_the_person_has_set(tmp_path: Path) -> None:
    opened, kept = await profile(tmp_path)
    folder = Folder(kept.place, KEY, forget_days=1)
    made = await apart.Apart().make(opened, folder, KEY, now=NOW + 2 * DAY_MS)
    assert [one.path for one in folder.archives()] == [made.path]
    opened.close()


@in_loop
async def test_a_child_checks_a_backup(tmp_path: Path) -> None:
    opened, folder = await profile(tmp_path)
    opened.close()
    (kept,) = folder.archives()
    told: list[str] = []
    found = await apart.Apart().check(
        kept.path, folder, KEY, now=NOW, told=lambda phase, _done, _whole: told.append(phase)
    )
    assert found == backing.check(kept.path, folder, KEY, now=NOW)
    kept.path.write_bytes(changed_at(kept.path.read_bytes()))
    with pytest.raises(BrokenArchive):
        await apart.Apart().check(kept.path, folder, KEY, now=NOW)


@in_loop
async def test_errors_of_a_child_have_their_names(tmp_path: Path) -> None:
    opened, _ = await profile(tmp_path)
    away = Folder(tmp_path / "nowhere", KEY)
    with pytest.raises(FolderAway, match="nowhere"):
        await apart.Apart().make(opened, away, KEY, now=NOW + 1_000)
    opened.close()


@in_loop
async def test_no_secret_is_in_a_childs_command_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, folder = await profile(tmp_path)
    seen: list[bytes] = []
    start = children.start

    async def watched(words: tuple[str, ...]) -> asyncio.subprocess.Process:
        child = await start(words)
        there = Path(f"/proc/{child.pid}")
        seen.append((there / "cmdline").read_bytes() + (there / "environ").read_bytes())
        return child

    monkeypatch.setattr(children, "start", watched)
    await apart.Apart().make(opened, folder, KEY, now=NOW + 1_000)
    (public,) = seen
    assert b"amanat.client.maker" in public
    for secret in (KEY, opened.key, os.fsencode(opened.directory), os.fsencode(folder.place)):
        assert secret not in public
        assert secret.hex().encode() not in public
    opened.close()


async def until(what: Callable[[], object]) -> None:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < 30
        await asyncio.sleep(0.05)


@in_loop
async def test_a_child_takes_what_nobody_else_wants_and_ends_with_the_client() -> None:
    child = await children.start(apart.CHILD)
    try:
        await until(lambda: os.getpriority(os.PRIO_PROCESS, child.pid) == maker.NICE)
        assert child.stdin is not None
        child.stdin.close()
        assert await child.wait() != 0
    finally:
        await children.end(child)


@in_loop
async def test_a_child_at_work_ends_with_the_client(tmp_path: Path) -> None:
    """It waits for the vault's lock for five seconds, and then says that the profile is in use."""
    opened, folder = await profile(tmp_path)
    key, directory = opened.key, opened.directory
    opened.close()
    ask = apart.encode(
        apart.Ask(os.fsencode(directory), key, os.fsencode(folder.place), KEY, 0, NOW + 1_000)
    )
    with locked(directory, key):
        for is_gone in (False, True):
            child = subprocess.Popen(  # noqa: ASYNC220  # it takes no time
                apart.CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(apart.LENGTH.pack(len(ask)) + ask)
            child.stdin.flush()
            if is_gone:
                child.stdin.close()
            said = await asyncio.to_thread(child.stdout.read)
            assert (said == b"") is is_gone
            assert (ProfileInUse.code.encode() in said) is not is_gone
            child.stdin.close()
            child.stdout.close()
            child.wait()
    assert is_good(folder)


@in_loop
@pytest.mark.parametrize("how", ["killed", "cancelled"])
async def test_a_child_that_is_ended_leaves_the_last_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    opened, folder = await profile(tmp_path)
    begun: list[int] = []
    start = children.start

    async def noted(words: tuple[str, ...]) -> asyncio.subprocess.Process:
        child = await start(words)
        begun.append(child.pid)
        return child

    monkeypatch.setattr(children, "start", noted)
    making = asyncio.create_task(apart.Apart().make(opened, folder, KEY, now=NOW + 1_000))
    await until(lambda: begun)
    if how == "killed":
        os.kill(begun[0], signal.SIGKILL)
        with pytest.raises(NoMemory):
            await making
    else:
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)
    assert is_good(folder)
    opened.close()
