"""A disk that is full, fails, or may not be written to is reported by name, and harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amanat.client import unlock_file
from amanat.client.unit import Unit
from amanat.client.vault import Unlock, Vault, create, naming_faults, open_vault
from amanat.errors import DiskFull, FileTooLarge, NoMemory, NotPermitted
from disks import small_disk, stuff

KEY = Unlock(key=bytes(range(32)))
HERE = Path(__file__).parent


def fill(unit: Unit, _: Vault) -> None:
    unit.put("kept", b"before")


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """The library to preload."""
    library = tmp_path / "faulty.so"
    compiler = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "faulty.c"), "-ldl"]
    subprocess.run(compiler, check=True)
    return library


FAILS = """
import ctypes, errno, json, sys
from pathlib import Path
from amanat.client.unlock_file import prepare_change
from amanat.client.vault import Unlock, create, open_vault
from amanat.errors import AmanatError, WrongPassphrase

faulty = ctypes.CDLL(None).faulty
faulty.argtypes, faulty.restype = (ctypes.c_long, ctypes.c_int), ctypes.c_long
root, key = Path(sys.argv[1]), Unlock(key=bytes(range(32)))
other = Unlock(key=bytes(32))

def using(directory):
    opened = open_vault(directory, key)
    assert opened._db.execute("PRAGMA secure_delete").fetchone() == (1,)
    try:
        with opened.unit(now=0) as unit:
            unit.put("more", bytes(20_000))
        with opened.unit(now=0) as unit:
            unit.put("more", b"")
    finally:
        opened.close()

def making(directory):
    create(directory, key, lambda unit, _: unit.put("kept", b"before"), now=0)

def changing(directory):
    opened = open_vault(directory, key)
    try:
        opened.change_unlock(prepare_change(directory, key, other))
        assert opened.get("kept") == b"before"
    finally:
        opened.close()

def key_of(directory):
    found = []
    for name, one in (("old", key), ("new", other)):
        try:
            opened = open_vault(directory, one)
        except WrongPassphrase:
            continue
        if opened.get("kept") == b"before" and not opened.damage():
            found.append(name)
        opened.close()
    return found

def fails(work, directory, after, error):
    faulty(after, error)
    try:
        work(directory)
        return "done"
    except AmanatError as failure:
        return failure.code
    finally:
        faulty(0, 0)

making(root / "profile")
faulty(0, 0)
using(root / "profile")
writes = faulty(0, 0)
making(root / "changed")
faulty(0, 0)
changing(root / "changed")
changes = faulty(0, 0)
found = {"writes": writes, "using": [], "making": [], "changing": []}
for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO"):
    for after in range(writes):
        code = fails(using, root / "profile", after, getattr(errno, name))
        opened = open_vault(root / "profile", key)
        whole = opened.get("kept") == b"before" and not opened.damage()
        opened.close()
        found["using"].append([name, after, code, whole])
    for after in range(0, 40, 3):
        directory = root / f"{name} {after}"
        code = fails(making, directory, after, getattr(errno, name))
        if code != "done":
            making(directory)
        opened = open_vault(directory, key)
        found["making"].append([name, after, code, opened.get("kept") == b"before"])
        opened.close()
    for after in sorted({*range(0, changes, 23), *range(changes - 9, changes)}):
        directory = root / f"changed {name} {after}"
        making(directory)
        code = fails(changing, directory, after, getattr(errno, name))
        found["changing"].append([name, after, code, key_of(directory)])
print(json.dumps(found))
"""
"""Each write in turn is the first of those that fail."""

NAMES = {
    "ENOSPC": {"disk-full"},
    "EDQUOT": {"disk-full"},
    "EFBIG": {"file-too-large"},
    "EIO": {"disk-failed"},
}


@pytest.mark.long
def test_a_disk_that_fails_at_any_write_is_named_and_harms_nothing(
    faulty: Path, tmp_path: Path
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", FAILS, str(root)],
        env=os.environ | {"LD_PRELOAD": str(faulty), "FAULTY": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["writes"] > 20
    for name, after, code, is_whole in (*found["using"], *found["making"]):
        assert is_whole, (name, after, code)
        assert code in NAMES[name] | {"done"}, (name, after, code)
    for name, after, code, keys in found["changing"]:
        assert keys == ["new" if code == "done" else "old"], (name, after, code)
        assert code in NAMES[name] | {"done"}, (name, after, code)
    for name, codes in NAMES.items():
        for work in ("using", "making", "changing"):
            met = {code for which, _, code, _ in found[work] if which == name}
            assert codes <= met, (name, work, met)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for 2 MiB."""
    with small_disk(tmp_path / "small", 2) as directory:
        yield directory


@pytest.mark.long
def test_a_full_disk_is_full_however_little_room_it_has(disk: Path) -> None:
    profile = disk / "profile"
    create(profile, KEY, fill, now=0)
    met = set()
    for room in range(0, 100_000, 4096):
        ballast = stuff(disk)
        os.truncate(ballast, max(0, ballast.stat().st_size - room))
        try:
            with contextlib.closing(open_vault(profile, KEY)) as opened, opened.unit(now=0) as unit:
                unit.put("more", bytes(30_000))
            met.add("done")
        except DiskFull as error:
            met.add(error.code)
        ballast.unlink()
        with contextlib.closing(open_vault(profile, KEY)) as opened:
            assert opened.get("kept") == b"before"
            assert not opened.damage()
    assert met == {"disk-full", "done"}


def test_a_limit_of_size_is_named_and_nothing_changes(tmp_path: Path) -> None:
    create(tmp_path, KEY, fill, now=0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.closing(open_vault(tmp_path, KEY)) as opened:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        try:
            with pytest.raises(FileTooLarge), opened.unit(now=0) as unit:
                unit.put("more", bytes(1_000_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        assert opened.get("kept") == b"before"
        with opened.unit(now=0) as unit:
            unit.put("more", bytes(1_000_000))


def test_a_passphrase_that_cannot_be_changed_for_want_of_room_is_the_old_one(
    tmp_path: Path,
) -> None:
    create(tmp_path, KEY, lambda unit, _: unit.put("kept", bytes(500_000)), now=0)
    new = Unlock(key=bytes(32))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (tmp_path / "vault.json").read_bytes()
    with contextlib.closing(open_vault(tmp_path, KEY)) as opened:
        change = unlock_file.prepare_change(tmp_path, KEY, new)
        for room in (50, 300_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            try:
                with pytest.raises(FileTooLarge):
                    opened.change_unlock(change)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
            assert (tmp_path / "vault.json").read_bytes() == before
            assert {path.name for path in tmp_path.iterdir()} >= {"lock", "vault.db", "vault.json"}
            with opened.unit(now=0) as unit:
                unit.put("more", b"said")
    with contextlib.closing(open_vault(tmp_path, KEY)) as opened:
        assert (opened.get("kept"), opened.get("more")) == (bytes(500_000), b"said")
        assert not opened.damage()
        opened.change_unlock(change)
    with contextlib.closing(open_vault(tmp_path, new)) as opened:
        assert opened.get("more") == b"said"


def test_what_the_system_says_of_a_file_has_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted), naming_faults(tmp_path):
        raise PermissionError(13, "Permission denied", "vault.json")
    with pytest.raises(BrokenPipeError), naming_faults(tmp_path):
        raise BrokenPipeError(32, "Broken pipe")


def test_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def derive(*_: object, **__: object) -> bytes:
        raise MemoryError

    create(tmp_path, Unlock(passphrase="a passphrase"), fill, now=0)
    monkeypatch.setattr(unlock_file, "_argon2", derive)
    with pytest.raises(NoMemory):
        open_vault(tmp_path, Unlock(passphrase="a passphrase"))
