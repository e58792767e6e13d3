"""The vault keeps its contents, keeps them from everybody else, and names any fault by its code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlcipher3

from amanat.client import schema, unlock_file
from amanat.client.unit import Unit
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.errors import (
    BadArgument,
    DiskFull,
    NoProfile,
    ProfileExists,
    ProfileInUse,
    VaultDamaged,
    VaultTooNew,
    VaultTooOld,
    WrongPassphrase,
)
from keyrings import Memory, system_keyring

__all__ = ["system_keyring"]  # a fixture

KEY = Unlock(key=bytes(range(32)))
SECRET = b"a secret nobody else reads"


def fill(unit: Unit, _: Vault) -> None:
    unit.put("secret", SECRET)


def state(directory: Path) -> dict[str, bytes]:
    """Every file and its contents."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile that opens with KEY."""
    create(tmp_path / "profile", KEY, fill, now=0)
    return tmp_path / "profile"


@pytest.fixture
def opened(profile: Path) -> Iterator[Vault]:
    """The vault of that profile, open."""
    found = open_vault(profile, KEY)
    yield found
    found.close()


def reads(directory: Path, unlock: Unlock) -> bytes:
    found = open_vault(directory, unlock)
    try:
        return found.get("secret")
    finally:
        found.close()


def test_vault_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    create(tmp_path, Unlock(passphrase="گذرواژه"), fill, now=0)
    assert unlock_file.needs_passphrase(tmp_path)
    assert reads(tmp_path, Unlock(passphrase="گذرواژه")) == SECRET
    before = state(tmp_path)
    for wrong in ("", "گذرواژه ", "password"):
        with pytest.raises(WrongPassphrase):
            open_vault(tmp_path, Unlock(passphrase=wrong))
    with pytest.raises(WrongPassphrase):
        open_vault(tmp_path, KEY)
    assert state(tmp_path) == before


@pytest.mark.long
def test_to_try_a_passphrase_costs_a_program_as_much_as_it_should(tmp_path: Path) -> None:
    """In a process of its own, because tests make it cheap."""
    program = (
        "import json; from amanat.client.unlock_file import new_key;"
        " from amanat.client.vault import Unlock;"
        " print(json.dumps(new_key(Unlock(passphrase='x'))[1]['argon2id']))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(ran.stdout) == {"memory_kib": 256 * 1024, "passes": 3, "lanes": 4}


def test_vault_opens_with_its_key_alone(profile: Path) -> None:
    assert not unlock_file.needs_passphrase(profile)
    assert reads(profile, KEY) == SECRET
    for wrong in (Unlock(key=bytes(32)), Unlock(key=b"short"), Unlock(passphrase="x"), Unlock()):
        with pytest.raises(WrongPassphrase):
            open_vault(profile, wrong)


def test_vault_opens_with_the_system_keyring(tmp_path: Path, system_keyring: Memory) -> None:
    create(tmp_path, Unlock(keyring=True), fill, now=0)
    assert not unlock_file.needs_passphrase(tmp_path)
    assert reads(tmp_path, Unlock(keyring=True)) == SECRET
    (entry,) = system_keyring.kept
    assert system_keyring.kept[entry].encode() not in b"".join(state(tmp_path).values())
    system_keyring.kept.clear()
    with pytest.raises(WrongPassphrase):
        open_vault(tmp_path, Unlock(keyring=True))


@pytest.mark.parametrize(
    "unlock",
    [Unlock(), Unlock(passphrase="x", keyring=True), Unlock(passphrase="x", key=bytes(32)),
     Unlock(key=bytes(31))],
)  # fmt: skip
def test_vault_is_made_with_exactly_one_key(tmp_path: Path, unlock: Unlock) -> None:
    with pytest.raises(BadArgument):
        create(tmp_path, unlock, fill, now=0)
    assert not (tmp_path / "vault.db").exists()
    create(tmp_path, KEY, fill, now=0)


def test_each_vault_has_its_own_salt(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        create(tmp_path / name, Unlock(passphrase="same"), fill, now=0)
        files.append(json.loads((tmp_path / name / "vault.json").read_bytes()))
    assert files[0]["salt"] != files[1]["salt"]
    assert files[0]["check"] != files[1]["check"]


def test_second_vault_does_not_replace_the_first(profile: Path) -> None:
    before = state(profile)
    with pytest.raises(ProfileExists):
        create(profile, Unlock(passphrase="x"), fill, now=0)
    assert state(profile) == before


def test_failing_to_fill_leaves_no_profile(tmp_path: Path) -> None:
    def fail(unit: Unit, new: Vault) -> None:
        fill(unit, new)
        raise BadArgument("no")

    with pytest.raises(BadArgument):
        create(tmp_path, KEY, fail, now=0)
    with pytest.raises(NoProfile):
        open_vault(tmp_path, KEY)
    create(tmp_path, KEY, fill, now=0)
    assert reads(tmp_path, KEY) == SECRET
    assert set(state(tmp_path)) == {"lock", "vault.db", "vault.json"}


def test_profile_is_for_its_owner_s_eyes(profile: Path) -> None:
    assert profile.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in profile.iterdir())


def test_one_process_at_a_time(profile: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from amanat.client.vault import *;"
        f"held = open_vault(Path({str(profile)!r}), Unlock(key=bytes(range(32))));"
        "print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        before = state(profile)
        with pytest.raises(ProfileInUse):
            open_vault(profile, KEY)
        with pytest.raises(ProfileInUse):
            create(profile, KEY, fill, now=0)
        assert state(profile) == before
        other.kill()
    assert reads(profile, KEY) == SECRET


def test_one_opening_at_a_time_in_one_process(profile: Path, opened: Vault) -> None:
    with pytest.raises(ProfileInUse):
        open_vault(profile, KEY)
    assert opened.get("secret") == SECRET


def test_vault_of_a_newer_program_is_left_alone(profile: Path) -> None:
    opened = open_vault(profile, KEY)
    opened._db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    opened.close()
    before = state(profile)
    with pytest.raises(VaultTooNew):
        open_vault(profile, KEY)
    assert state(profile) == before


def test_unlock_file_of_a_newer_program_is_left_alone(profile: Path) -> None:
    settings = json.loads((profile / "vault.json").read_bytes())
    (profile / "vault.json").write_text(json.dumps(settings | {"version": 2}))
    with pytest.raises(VaultTooNew):
        open_vault(profile, KEY)


def hard(memory_kib: float) -> bytes:
    """An unlock file that asks for so much memory."""
    cost = {"memory_kib": memory_kib, "passes": 1, "lanes": 1}
    settings = {"version": 1, "unlock": "passphrase", "check": "00", "salt": "00" * 16}
    return json.dumps(settings | {"argon2id": cost}).encode()


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"version": 1}',
             b'{"version": 1, "unlock": "key"}',
             b'{"version": 1, "unlock": "passphrase", "check": "00"}',
             b'{"version": 1, "unlock": "passphrase", "check": "00", "salt": "zz"}',
             b'{"version": 1, "unlock": "key", "check": 7}',
             b'{"version": 1, "unlock": "a nod", "check": "00"}',
             '{"version": 1, "unlock": "key", "check": "é"}'.encode(),
             hard(-1), hard(1e9), hard(99_999_999_999)],
)  # fmt: skip
def test_broken_unlock_file_is_named(profile: Path, text: bytes) -> None:
    (profile / "vault.json").write_bytes(text)
    with pytest.raises(VaultDamaged):
        open_vault(profile, Unlock(passphrase="x", key=bytes(range(32))))


@pytest.mark.parametrize("missing", ["vault.json", "vault.db"])
def test_profile_with_a_file_missing_is_no_profile(profile: Path, missing: str) -> None:
    (profile / missing).unlink()
    with pytest.raises(NoProfile):
        open_vault(profile, KEY)


def test_no_profile_where_nothing_is(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoProfile):
            open_vault(directory, KEY)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 4097])
def test_cut_database_is_named(profile: Path, size: int) -> None:
    os.truncate(profile / "vault.db", size)
    with pytest.raises(VaultDamaged):
        open_vault(profile, KEY).close()


@pytest.mark.parametrize("at", [0, 15, 16, 100, 4000, 4095])
def test_changed_first_page_is_named(profile: Path, at: int) -> None:
    with (profile / "vault.db").open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(VaultDamaged):
        open_vault(profile, KEY).close()


def test_database_of_another_profile_is_named(profile: Path, tmp_path: Path) -> None:
    create(tmp_path / "other", Unlock(key=bytes(32)), fill, now=0)
    shutil.copy(tmp_path / "other" / "vault.db", profile / "vault.db")
    with pytest.raises(VaultDamaged):
        open_vault(profile, KEY)


def test_nothing_can_be_read_in_the_files(profile: Path, opened: Vault) -> None:
    with opened.unit(now=0) as unit:
        for number in range(50):
            unit.db.execute("INSERT INTO meta VALUES (?, ?)", (f"number {number}", SECRET * 50))
    everything = b"".join(state(profile).values())
    for known in (SECRET, b"CREATE TABLE", b"number 7", b"SQLite format", bytes(range(32))):
        assert known not in everything


@pytest.mark.parametrize(("setting", "value"), [("synchronous", 2), ("secure_delete", 1)])
def test_what_is_kept_and_deleted_outlives_the_power(
    opened: Vault, setting: str, value: int
) -> None:
    assert opened._db.execute(f"PRAGMA {setting}").fetchone() == (value,)


def test_unit_is_kept_whole(opened: Vault) -> None:
    told: list[str] = []
    opened.bind(
        before_commit=lambda unit: unit.put("mirror", b"new"),
        after_commit=lambda: told.append("committed"),
        forget=lambda: told.append("forgotten"),
    )
    with opened.unit(now=0) as unit:
        unit.put("secret", b"new")
    assert (opened.get("secret"), opened.get("mirror")) == (b"new", b"new")
    assert told == ["committed"]


def test_failed_unit_never_was(opened: Vault) -> None:
    told: list[str] = []
    opened.bind(
        before_commit=lambda _: told.append("asked"),
        after_commit=lambda: told.append("committed"),
        forget=lambda: told.append("forgotten"),
    )
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), opened.unit(now=0) as unit:  # noqa: PT012  # a unit that fails half-way
            unit.put("secret", b"new")
            raise error
    assert opened.get("secret") == SECRET
    assert told == ["forgotten"] * 2


def test_failure_to_write_memory_is_a_failed_unit(opened: Vault) -> None:
    def fail(_: Unit) -> None:
        raise ValueError

    opened.bind(before_commit=fail)
    with pytest.raises(ValueError), opened.unit(now=0) as unit:  # noqa: PT011  # it has no text
        unit.put("secret", b"new")
    assert opened.get("secret") == SECRET


def test_key_that_is_not_there_is_an_error(opened: Vault) -> None:
    with pytest.raises(KeyError):
        opened.get("nothing")


def test_full_disk_is_named_and_changes_nothing(opened: Vault) -> None:
    (pages,) = opened._db.execute("PRAGMA page_count").fetchone()
    opened._db.execute(f"PRAGMA max_page_count = {pages}")
    told: list[str] = []
    opened.bind(forget=lambda: told.append("forgotten"))
    with pytest.raises(DiskFull), opened.unit(now=0) as unit:  # noqa: PT012  # half of it would fit
        unit.put("secret", b"new")
        unit.put("large", bytes(100_000))
    assert opened.get("secret") == SECRET
    assert told == ["forgotten"]
    opened._db.execute("PRAGMA max_page_count = 100000")
    with opened.unit(now=0) as unit:
        unit.put("large", bytes(100_000))
    assert opened.get("large") == bytes(100_000)


def test_closing_leaves_no_log_of_what_was_deleted(profile: Path) -> None:
    opened = open_vault(profile, KEY)
    with opened.unit(now=0) as unit:
        unit.put("secret", b"")
    assert (profile / "vault.db-wal").stat().st_size
    opened.close()
    assert set(state(profile)) == {"lock", "vault.db", "vault.json"}


@pytest.mark.parametrize("version", [1, schema.BASE - 1])
def test_vault_from_before_the_first_release_is_left_alone_and_says_what_to_do(
    profile: Path, version: int
) -> None:
    opened = open_vault(profile, KEY)
    opened._db.execute(f"PRAGMA user_version = {version}")
    opened.close()
    before = state(profile)
    with pytest.raises(VaultTooOld, match=f"version {version}") as refused:
        open_vault(profile, KEY)
    assert "nothing was changed" in refused.value.hint
    assert "`amanat init`" in refused.value.hint
    assert state(profile) == before


def test_vault_whose_credential_has_no_generation_is_left_alone(profile: Path) -> None:
    opened = open_vault(profile, KEY)
    opened._db.execute(
        "INSERT INTO meta VALUES ('credential', CAST(x'9401c420' || zeroblob(132) AS BLOB))"
    )
    opened._db.execute(f"PRAGMA user_version = {schema.VERSION - 1}")
    opened.close()
    before = state(profile)
    with pytest.raises(VaultTooOld):
        open_vault(profile, KEY)
    assert state(profile) == before


def test_step_makes_an_older_vault_like_a_new_one_and_keeps_what_it_holds(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        schema,
        "STEPS",
        (
            *schema.STEPS,
            "ALTER TABLE contact ADD COLUMN note TEXT;\nCREATE TABLE pin (id BLOB) STRICT;\n",
            "UPDATE meta SET value = CAST(value || x'21' AS BLOB) WHERE key = 'secret';\n",
        ),
    )
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 2)
    create(tmp_path / "new", KEY, fill, now=0)
    new, old = open_vault(tmp_path / "new", KEY), open_vault(profile, KEY)
    assert dump(old) == dump(new)
    assert old.get("secret") == SECRET + b"!"
    old.close()
    again = open_vault(profile, KEY)
    assert again.get("secret") == SECRET + b"!"
    again.close()
    new.close()


def test_step_that_fails_leaves_the_vault_as_it_was(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_vault(profile, KEY)
    made = dump(before)
    before.close()
    with monkeypatch.context() as changed:
        broken = "CREATE TABLE pin (id BLOB) STRICT;\nBROKEN;\n"
        changed.setattr(schema, "STEPS", (*schema.STEPS, broken))
        changed.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(VaultDamaged):
            open_vault(profile, KEY)
    after = open_vault(profile, KEY)
    assert dump(after) == made
    assert after.get("secret") == SECRET
    after.close()


def dump(opened: Vault) -> list[tuple[str, str]]:
    """The schema."""
    return opened._db.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    ).fetchall()


# Another key

FROM, TO = Unlock(passphrase="from"), Unlock(passphrase="to")


def big(unit: Unit, new: Vault) -> None:
    """Some fifty pages."""
    fill(unit, new)
    unit.put("much", os.urandom(200_000))


def change(directory: Path, old: Unlock, new: Unlock) -> None:
    """Open a vault, change what opens it, and close it."""
    found = open_vault(directory, old)
    try:
        found.change_unlock(unlock_file.prepare_change(directory, old, new))
        assert found.get("secret") == SECRET
        with found.unit(now=0) as unit:
            unit.put("later", b"kept")
        assert found.get("later") == b"kept"
    finally:
        found.close()


def opens(directory: Path, *unlocks: Unlock) -> list[bool]:
    """Whether each of these opens a copy of the profile, with its contents whole."""
    found = []
    for unlock in unlocks:
        copy = directory.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(directory, copy)
        try:
            assert reads(copy, unlock) == SECRET
        except WrongPassphrase:
            found.append(False)
        else:
            found.append(True)
            again = open_vault(copy, unlock)  # what was broken off has been mended
            assert not again.damage()
            again.close()
            assert "next" not in json.loads((copy / "vault.json").read_bytes())
    return found


def test_a_changed_passphrase_opens_the_vault_and_the_old_one_does_not(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    create(profile, FROM, big, now=0)
    shutil.copytree(profile, tmp_path / "older")
    change(profile, FROM, TO)
    assert opens(profile, FROM, TO) == [False, True]
    assert opens(tmp_path / "older", FROM, TO) == [True, False]
    assert set(state(profile)) == {"lock", "vault.db", "vault.json"}


def test_a_vault_whose_new_pages_stand_in_the_log_is_not_damaged(tmp_path: Path) -> None:
    create(tmp_path / "profile", FROM, big, now=0)
    found = open_vault(tmp_path / "profile", FROM)
    found._db.execute("PRAGMA wal_autocheckpoint = 0")
    change = unlock_file.prepare_change(tmp_path / "profile", FROM, TO)
    assert found._rekey(change) is None
    assert not found.damage()
    found.close()


def test_no_page_keeps_the_key_of_the_old_passphrase(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    create(profile, FROM, big, now=0)
    before = (profile / "vault.db").read_bytes()
    change(profile, FROM, TO)
    after = (profile / "vault.db").read_bytes()
    pages = [{data[at : at + 4096] for at in range(0, len(data), 4096)} for data in (before, after)]
    assert not pages[0] & pages[1]
    found = open_vault(profile, TO)
    assert not found.damage()
    found.close()


@pytest.mark.parametrize("new", ["", "same"])
def test_an_empty_passphrase_is_no_new_one_and_the_same_one_is(tmp_path: Path, new: str) -> None:
    create(tmp_path / "profile", Unlock(passphrase="same"), fill, now=0)
    if new:
        change(tmp_path / "profile", Unlock(passphrase="same"), Unlock(passphrase=new))
    else:
        with pytest.raises(BadArgument):
            change(tmp_path / "profile", Unlock(passphrase="same"), Unlock(passphrase=new))
    assert opens(tmp_path / "profile", Unlock(passphrase="same")) == [True]


def test_a_new_passphrase_is_the_same_however_it_was_typed(tmp_path: Path) -> None:
    create(tmp_path / "profile", FROM, fill, now=0)
    change(tmp_path / "profile", FROM, Unlock(passphrase="e\u0301 1"))
    assert opens(tmp_path / "profile", Unlock(passphrase="\u00e9\u00a01")) == [True]


def test_only_the_passphrase_in_force_can_be_changed(tmp_path: Path) -> None:
    create(tmp_path / "profile", FROM, fill, now=0)
    change(tmp_path / "profile", FROM, TO)
    with pytest.raises(WrongPassphrase):
        unlock_file.prepare_change(tmp_path / "profile", FROM, KEY)
    found = open_vault(tmp_path / "profile", TO)
    late = unlock_file.prepare_change(tmp_path / "profile", TO, FROM)
    found.change_unlock(unlock_file.prepare_change(tmp_path / "profile", TO, KEY))
    with pytest.raises(WrongPassphrase):
        found.change_unlock(late)  # it was prepared before the other one was made
    assert found.get("secret") == SECRET
    found.close()
    assert opens(tmp_path / "profile", TO, FROM, KEY) == [False, False, True]


def test_a_vault_goes_into_the_keyring_and_out_of_it(
    tmp_path: Path, system_keyring: Memory
) -> None:
    profile = tmp_path / "profile"
    create(profile, FROM, fill, now=0)
    change(profile, FROM, Unlock(keyring=True))
    assert not unlock_file.needs_passphrase(profile)
    assert len(system_keyring.kept) == 1
    assert opens(profile, Unlock(keyring=True)) == [True]
    change(profile, Unlock(keyring=True), TO)
    assert not system_keyring.kept
    assert unlock_file.needs_passphrase(profile)
    assert opens(profile, TO, Unlock(keyring=True)) == [True, False]


@pytest.mark.long
@pytest.mark.parametrize("way", ["passphrase", "same", "keyring"])
def test_a_vault_whose_process_died_while_it_changed_opens_with_exactly_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system_keyring: Memory, way: str
) -> None:
    """The directory is kept as it is at every step of the change, and between all that the change
    writes into the database's log and from there into the database."""
    new = {"passphrase": TO, "same": FROM, "keyring": Unlock(keyring=True)}[way]
    profile = tmp_path / "profile"
    create(profile, FROM, big, now=0)
    steps: list[dict[str, bytes]] = [state(profile)]

    def kept(name: str) -> None:
        real = getattr(os, name)

        def step(*given: object) -> object:
            steps.append(state(profile))
            done = real(*given)
            steps.append(state(profile))
            return done

        monkeypatch.setattr(os, name, step)

    class Watched(sqlcipher3.Connection):  # type: ignore[misc]  # it has no types
        def close(self) -> None:  # which empties the log
            steps.append(state(profile))
            super().close()

    kept("fsync")
    kept("rename")
    found = open_vault(profile, FROM, Watched)
    found._db.execute("PRAGMA wal_autocheckpoint = 0")
    found.change_unlock(unlock_file.prepare_change(profile, FROM, new))
    steps.append(state(profile))
    found.close()
    steps.append(state(profile))
    full = max(steps, key=lambda step: len(step.get("vault.db-wal", b"")))
    log, old = full["vault.db-wal"], full["vault.db"]
    done = steps[-1]["vault.db"]
    cuts = [0, 4152, len(log) // 2, len(log) - 1]
    steps += [full | {"vault.db-wal": log[:cut]} for cut in cuts]
    cuts = [4096, len(old) // 2, len(old) - 4096]
    steps += [full | {"vault.db": done[:cut] + old[cut:]} for cut in cuts]
    entries, outcomes = system_keyring.kept, set()
    for step in [one for at, one in enumerate(steps) if one not in steps[:at]]:
        shutil.rmtree(tmp_path / "then", ignore_errors=True)
        (tmp_path / "then").mkdir(mode=0o700)
        for name, data in step.items():
            (tmp_path / "then" / name).write_bytes(data)
        system_keyring.kept = {}
        is_old = opens(tmp_path / "then", FROM)
        system_keyring.kept = dict(entries)
        outcomes.add((*is_old, *opens(tmp_path / "then", new)))
    assert outcomes == ({(True, True)} if way == "same" else {(True, False), (False, True)})


def test_a_client_does_not_wait_for_a_backup_to_empty_its_log(opened: Vault) -> None:
    """A backup reads one moment of the vault, so the log cannot be emptied meanwhile."""
    opened._db.execute("PRAGMA busy_timeout = 60000")
    is_chosen, is_enough = threading.Event(), threading.Event()

    def read() -> None:
        with opened.snapshot():
            is_chosen.set()
            is_enough.wait(5)  # one who waits gets what they wait for, and so fails

    reader = threading.Thread(target=read)
    reader.start()
    is_chosen.wait()
    with opened.unit(now=0) as unit:
        unit.put("word", b"said meanwhile")
    assert not opened.scrub()
    is_enough.set()
    reader.join()
    assert opened.scrub()
    assert opened._db.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
