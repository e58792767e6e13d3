"""A profile that is wiped is gone, the key first, whenever the process dies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from amanat import wipe
from amanat.client.vault import Unlock, create, open_vault
from amanat.errors import AmanatError, NoProfile, ProfileInUse
from keyrings import Memory, system_keyring
from test_vault import FROM, KEY, fill, reads, state

__all__ = ["system_keyring"]  # a fixture


def test_a_wiped_profile_leaves_nothing_but_what_is_not_its_own(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    create(profile, FROM, fill, now=0)
    (profile / "run.sock").touch()
    assert wipe(profile)
    assert not profile.exists()
    create(profile, FROM, fill, now=0)
    (profile / "letter.txt").write_text("kept")
    assert wipe(profile)
    assert state(profile) == {"letter.txt": b"kept"}
    for directory in (profile, tmp_path / "nowhere"):
        with pytest.raises(NoProfile):
            wipe(directory)
    assert state(profile) == {"letter.txt": b"kept"}


def test_a_profile_in_use_is_not_wiped(tmp_path: Path) -> None:
    create(tmp_path, KEY, fill, now=0)
    opened = open_vault(tmp_path, KEY)
    before = state(tmp_path)
    with pytest.raises(ProfileInUse):
        wipe(tmp_path)
    assert state(tmp_path) == before
    opened.close()


@pytest.mark.parametrize("way", ["passphrase", "keyring"])
def test_a_profile_whose_wiping_was_broken_off_at_any_step_can_be_read_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system_keyring: Memory, way: str
) -> None:
    unlock = {"passphrase": FROM, "keyring": Unlock(keyring=True)}[way]
    profile = tmp_path / "profile"
    create(profile, unlock, fill, now=0)
    whole = state(profile)
    steps: list[dict[str, bytes]] = []

    def kept(name: str) -> None:
        real = getattr(os, name)

        def step(*given: object, **more: object) -> object:
            done = real(*given, **more)
            steps.append(state(profile))
            return done

        monkeypatch.setattr(os, name, step)

    kept("fsync")
    kept("unlink")
    assert wipe(profile)
    monkeypatch.undo()
    assert len(steps) >= 4
    assert not system_keyring.kept
    for step in steps:
        assert step.get("vault.json", b"").strip(b"\0") == b""  # and is not merely without a name
        shutil.rmtree(tmp_path / "then", ignore_errors=True)
        (tmp_path / "then").mkdir(mode=0o700)
        for name, data in step.items():
            (tmp_path / "then" / name).write_bytes(data)
        with pytest.raises(AmanatError):
            reads(tmp_path / "then", unlock)
        if any(name.startswith("vault.") for name in step):
            wipe(tmp_path / "then")
            assert not (tmp_path / "then").exists()
    assert whole["vault.json"] not in b"".join(b"".join(step.values()) for step in steps)


def test_the_draft_of_a_change_is_wiped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "profile", FROM, fill, now=0)
    shutil.copy(tmp_path / "profile" / "vault.json", tmp_path / "profile" / "vault.new")
    salt = (tmp_path / "profile" / "vault.new").read_bytes()
    found: list[bool] = []
    real = os.unlink

    def step(*given: object, **more: object) -> None:
        found.append(salt in b"".join(state(tmp_path / "profile").values()))
        real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", step)
    assert wipe(tmp_path / "profile")
    assert found
    assert not any(found)


def test_a_damaged_profile_is_wiped(tmp_path: Path, system_keyring: Memory) -> None:
    for text in (
        b"",
        b"{",
        b'{"version": 2, "unlock": "key"}',
        b'{"version": 1, "unlock": "keyring"}',
    ):
        create(tmp_path / "profile", FROM, fill, now=0)
        (tmp_path / "profile" / "vault.json").write_bytes(text)
        assert wipe(tmp_path / "profile")
        assert not (tmp_path / "profile").exists()
    assert not system_keyring.kept


def test_a_keyring_that_does_not_answer_is_named(
    tmp_path: Path, system_keyring: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "profile", Unlock(keyring=True), fill, now=0)

    def fails(*_: object) -> str:
        import keyring.errors  # noqa: PLC0415

        raise keyring.errors.KeyringLocked

    monkeypatch.setattr(system_keyring, "delete_password", fails)
    monkeypatch.setattr(system_keyring, "get_password", fails)
    assert not wipe(tmp_path / "profile")
    assert not (tmp_path / "profile").exists()
