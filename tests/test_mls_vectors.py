"""Known answers: bytes that this build once wrote, on the wire and to the vault, stay readable.

    python tests/test_mls_vectors.py

writes tests/vectors/mls again. A changed file means that clients cannot talk to earlier ones, or
cannot read their own vaults: it is a new version of the protocol, never a routine update.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amanat import mls
from test_mls import GID, Client

VECTORS = Path(__file__).parent / "vectors" / "mls"
SUITES = {"hybrid": mls.HYBRID_SUITE, "classical": mls.CLASSICAL_SUITE}


def secret_of(engine: mls.Engine) -> str:
    return engine.export_secret(GID, "known answer", b"context", 32).hex()


def rows_of(client: Client) -> dict[str, str]:
    return {key.hex(): value.hex() for key, value in sorted(client.rows.items())}


def vector(suite: int) -> dict[str, Any]:
    """Bob's rows before a Welcome and later as a member, and the bytes that he gets after each."""
    alice, bob = Client("alice"), Client("bob")
    alice.create(suite)
    package = bob.key_package(suite)
    made: dict[str, Any] = {"suite": suite, "key_package": package.hex(), "invited": rows_of(bob)}
    bundle = alice.engine.commit(GID, adds=[package])
    alice.win(bundle)
    assert bundle.welcome is not None
    assert bundle.tree is not None
    made |= {"welcome": bundle.welcome.hex(), "tree": bundle.tree.hex()}
    made["joined_secret"] = secret_of(alice.engine)
    bob.engine.join(bundle.welcome, bundle.tree)
    late = [alice.send(b"late 0"), alice.send(b"late 1")]
    bob.read(alice.send(b"first"))
    bob.save()
    update = alice.engine.commit(GID, update=True)
    alice.win(update)
    bob.follow(update.commit)
    bob.engine.commit(GID, policy=b"lost")
    bob.save()
    made["member"] = rows_of(bob)
    made["late"] = [message.hex() for message in late]
    made["message"] = alice.engine.encrypt(GID, b"now", b"aad").hex()
    commit = alice.engine.commit(GID, policy=b"policy 1", leaf=b"moved")
    alice.win(commit)
    made |= {"commit": commit.commit.hex(), "committed_secret": secret_of(alice.engine)}
    return made


def load(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return read


def engine_of(rows: dict[str, str]) -> mls.Engine:
    stored = {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows.items()}
    return mls.Engine(stored.get)


@pytest.mark.parametrize("name", SUITES)
def test_a_key_package_and_welcome_of_this_version_are_still_understood(name: str) -> None:
    known = load(name)
    view = mls.check_key_package(bytes.fromhex(known["key_package"]), now=1_000_000_000)
    assert (view.suite, view.credential, view.leaf) == (known["suite"], b"bob", b"leaf of bob")
    engine = engine_of(known["invited"])
    gid, group = engine.join(bytes.fromhex(known["welcome"]), bytes.fromhex(known["tree"]))
    assert (gid, group.epoch, group.suite) == (GID, 1, SUITES[name])
    assert secret_of(engine) == known["joined_secret"]


@pytest.mark.parametrize("name", SUITES)
def test_a_group_stored_by_this_version_still_loads_reads_and_moves_on(name: str) -> None:
    known = load(name)
    engine = engine_of(known["member"])
    assert engine.group(GID).pending is not None
    for i, late in enumerate(known["late"]):
        received = engine.process(GID, bytes.fromhex(late))
        assert isinstance(received, mls.Application)
        assert (received.epoch, received.plaintext) == (1, b"late %d" % i)
    received = engine.process(GID, bytes.fromhex(known["message"]))
    assert isinstance(received, mls.Application)
    assert (received.epoch, received.plaintext, received.aad) == (2, b"now", b"aad")
    staged = engine.process(GID, bytes.fromhex(known["commit"]))
    assert isinstance(staged, mls.StagedCommit)
    engine.accept(staged.handle)
    assert engine.group(GID).policy == b"policy 1"
    assert engine.members(GID)[0].leaf == b"moved"
    assert secret_of(engine) == known["committed_secret"]


if __name__ == "__main__":
    for name, suite in SUITES.items():
        text = json.dumps(vector(suite), indent=1)
        (VECTORS / f"{name}.json").write_text(text + "\n")
