"""Another implementation of RFC 9420, mls-rs, in one group with ours, and the RFC's own vectors.

This oracle has a limit: it does not know our extensions, so it cannot be a member of a group that
we make, but we can join its groups. There each reads everything that the other makes: trees,
KeyPackages, Welcomes, messages and Commits, which both frame as PublicMessages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mls_rs_uniffi import mls_rs_uniffi as oracle

from amanat import mls
from amanat.errors import InvalidKeyPackage, InvalidMessage, InvalidWelcome
from test_mls import NOW, Client

GID = b"the oracle's group"
MLS_VECTORS = "AMANAT_MLS_VECTORS"


class Other:
    """A member by mls-rs, of suite 0x0001."""

    def __init__(self, name: bytes, *, tree_in_welcome: bool = False) -> None:
        keys = oracle.generate_signature_keypair(oracle.CipherSuite.CURVE25519_AES128)
        config = oracle.client_config_default()
        config.use_ratchet_tree_extension = tree_in_welcome
        self.client = oracle.Client(name, keys, config)
        self.group: Any = None

    def create(self) -> None:
        self.group = self.client.create_group(GID)

    def add(self, *key_packages: bytes) -> tuple[bytes, bytes, bytes]:
        """Add and apply: the Commit, the Welcome and the tree."""
        packages = [oracle.Message.from_bytes(package) for package in key_packages]
        made = self.group.add_members(packages)
        self.group.process_incoming_message(made.commit_message)
        tree = self.group.export_tree().bytes
        return made.commit_message.to_bytes(), made.welcome_message.to_bytes(), tree

    def join(self, welcome: bytes, tree: bytes) -> None:
        message = oracle.Message.from_bytes(welcome)
        self.group = self.client.join_group(oracle.RatchetTree(bytes=tree), message).group

    def key_package(self) -> bytes:
        package: bytes = self.client.generate_key_package_message().to_bytes()
        return package

    def process(self, message: bytes) -> Any:  # noqa: ANN401, the oracle has no types
        return self.group.process_incoming_message(oracle.Message.from_bytes(message))

    def send(self, text: bytes) -> bytes:
        message: bytes = self.group.encrypt_application_message(text).to_bytes()
        return message

    def secret(self) -> bytes:
        secret: bytes = self.group.export_secret(b"a label", b"a context", 48)
        return secret


def mixed() -> tuple[list[Other], Client]:
    """A group of five by mls-rs and one of ours, who joins by the Welcome of the first."""
    first, *others = members = [Other(b"other %d" % i) for i in range(5)]
    first.create()
    ours = Client("ours")
    packages = [other.key_package() for other in others]
    _, welcome, tree = first.add(*packages, ours.key_package(mls.CLASSICAL_SUITE))
    for other in others:
        other.join(welcome, tree)
    ours.engine.join(welcome, tree)
    ours.save()
    return members, ours


def secret_of(client: Client) -> bytes:
    return client.engine.export_secret(GID, "a label", b"a context", 48)


def test_we_join_by_their_welcome_and_agree_on_members_and_secrets() -> None:
    members, ours = mixed()
    names = [member.credential for member in ours.engine.members(GID)]
    assert names == [b"other %d" % i for i in range(5)] + [b"ours"]
    assert {secret_of(ours)} == {member.secret() for member in members}
    assert ours.engine.export_tree(GID) == members[0].group.export_tree().bytes


def test_we_join_by_a_welcome_that_carries_its_tree() -> None:
    first, ours = Other(b"first", tree_in_welcome=True), Client("ours")
    first.create()
    _, welcome, _ = first.add(ours.key_package(mls.CLASSICAL_SUITE))
    ours.engine.join(welcome, None)
    assert secret_of(ours) == first.secret()


def test_messages_are_read_in_both_directions() -> None:
    members, ours = mixed()
    for i, member in enumerate(members):
        read = ours.read(member.send(b"from them"), GID)
        assert (read.plaintext, read.sender_leaf) == (b"from them", i)
        assert read.credential == b"other %d" % i
    message = ours.send(b"from us", GID)
    assert all(member.process(message).data == b"from us" for member in members)


def test_they_follow_our_updates_adds_and_removals() -> None:
    members, ours = mixed()
    second = Client("second")

    def change(**changes: Any) -> mls.CommitBundle:  # noqa: ANN401, as `Engine.commit`
        bundle = ours.engine.commit(GID, **changes)
        ours.win(bundle, GID)
        for member in members:
            member.process(bundle.commit)
        return bundle

    change(update=True)
    added = change(adds=[second.key_package(mls.CLASSICAL_SUITE)])
    assert added.welcome is not None
    second.engine.join(added.welcome, added.tree)
    removed = change(removes=[2])
    del members[2]
    updated = change(update=True, aad=b"seen by all")
    for bundle in (removed, updated):
        second.follow(bundle.commit, GID)
    secrets = {member.secret() for member in members}
    assert secrets == {secret_of(ours)} == {secret_of(second)}
    message = members[-1].send(b"to all of ours")
    assert ours.read(message, GID) == second.read(message, GID)


def test_their_key_package_is_refused_for_a_group_of_ours() -> None:
    ours = Client("ours")
    ours.create(mls.CLASSICAL_SUITE, GID)
    package = Other(b"other").key_package()
    with pytest.raises(InvalidKeyPackage):
        mls.check_key_package(package, now=NOW)
    with pytest.raises(InvalidKeyPackage):
        ours.engine.commit(GID, adds=[package])


def test_we_follow_their_updates_and_adds() -> None:
    members, ours = mixed()
    first = members[0]

    def follow(commit: Any) -> None:  # noqa: ANN401, the oracle has no types
        for member in members:
            member.group.process_incoming_message(commit)
        ours.follow(commit.to_bytes(), GID)

    follow(first.group.commit().commit_message)
    late = Other(b"late")
    commit, welcome, tree = first.add(late.key_package())
    for member in members[1:]:
        member.process(commit)
    ours.follow(commit, GID)
    late.join(welcome, tree)
    members.append(late)
    follow(members[1].group.commit().commit_message)
    assert {secret_of(ours)} == {member.secret() for member in members}
    assert ours.read(late.send(b"hello"), GID).credential == b"late"


def test_a_proposal_standing_alone_is_refused_and_freezes_nothing() -> None:
    members, ours = mixed()
    package = oracle.Message.from_bytes(Other(b"late").key_package())
    (proposal,) = members[1].group.propose_add_members([package])
    with pytest.raises(InvalidMessage):
        ours.engine.process(GID, proposal.to_bytes())
    assert ours.engine.take_delta() == []
    ours.engine.encrypt(GID, b"not frozen")


def rfc_vectors(name: str) -> list[dict[str, Any]]:
    """The MLS working group's test vectors, from the directory that the variable names."""
    places = [Path(os.environ[MLS_VECTORS])] if MLS_VECTORS in os.environ else []
    cargo = shutil.which("cargo")
    if cargo is not None and not places:
        manifest = Path(__file__).parent.parent / "rust" / "Cargo.toml"
        command = [cargo, "metadata", "--locked", "--offline", "--format-version", "1"]
        done = subprocess.run(
            [*command, "--manifest-path", str(manifest)], capture_output=True, check=False
        )
        packages = json.loads(done.stdout)["packages"] if done.returncode == 0 else []
        places = [
            Path(package["manifest_path"]).parent / "test_vectors"
            for package in packages
            if package["name"] == "openmls"
        ]
    for place in places:
        if (place / name).is_file():
            read: list[dict[str, Any]] = json.loads((place / name).read_text())
            return read
    pytest.skip(
        "the published openmls crate leaves its test vectors out; "
        f"set {MLS_VECTORS} to openmls/test_vectors of a source checkout"
    )


@pytest.mark.long
def test_the_messages_of_the_rfc_decode() -> None:
    for vector in rfc_vectors("messages.json"):
        private = bytes.fromhex(vector["private_message"])
        kind = mls.ContentType(private[5 + private[4] + 8])  # after the group id and the epoch
        if kind == mls.ContentType.APPLICATION:
            assert mls.peek(private).gid in private
        else:
            with pytest.raises(InvalidMessage):
                mls.peek(private)
        commit = bytes.fromhex(vector["public_message_commit"])
        assert mls.peek(commit).content_type == mls.ContentType.COMMIT
        for public in ("public_message_application", "public_message_proposal"):
            with pytest.raises(InvalidMessage):
                mls.peek(bytes.fromhex(vector[public]))
        engine = Client("nobody").engine
        for welcome in ("mls_welcome", "mls_group_info", "mls_key_package"):
            with pytest.raises(InvalidWelcome) as why:
                engine.join(bytes.fromhex(vector[welcome]), bytes.fromhex(vector["ratchet_tree"]))
            assert (why.value.detail != "it does not decode") == (welcome == "mls_welcome")
