"""Coming in again by an external Commit: after an old copy of a vault, or with nothing left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from amanat import mls
from amanat.client import rights
from amanat.errors import (
    AmanatError,
    BadArgument,
    EngineFailed,
    FutureEpoch,
    InvalidCommit,
    InvalidWelcome,
    NotAMember,
    OwnMessage,
    PendingCommit,
    TooOld,
    WrongEpoch,
)
from amanat.protocol import codec
from amanat.protocol.identity import Address, Leaf, issue_credential
from amanat.protocol.messages import Policy
from test_mls import (
    GID,
    Client,
    both_suites,
    chunks_are_those_of_rows,
    everyone_moves,
    flipped,
    group_of,
)
from test_rights import BUCKET, RELAY

if TYPE_CHECKING:
    from collections.abc import Callable


def copy_of(client: Client) -> Client:
    """Another machine with a copy of this one's vault."""
    copy = Client.__new__(Client)
    copy.name, copy.signer, copy.rows = client.name, client.signer, dict(client.rows)
    copy.restart()
    return copy


def only_the_key_of(client: Client) -> Client:
    """The same device after it has lost everything else."""
    left = copy_of(client)
    left.rows = {key: row for key, row in left.rows.items() if key.startswith(b"signer/")}
    left.restart()
    return left


def rejoin(client: Client, by: Client, **changes: bytes) -> mls.CommitBundle:
    """An external Commit of `client`, from the GroupInfo and tree of `by`, kept in the vault."""
    made = {
        "group_info": by.engine.group_info(GID),
        "tree": by.engine.export_tree(GID),
        "signer": client.signer,
        "credential": client.name,
        "leaf": b"new leaf of " + client.name,
    } | changes
    bundle = client.engine.join_external(**made)
    client.save()
    return bundle


def all_talk(clients: list[Client]) -> None:
    assert len({client.seen()[1:] for client in clients}) == 1
    for sender in clients:
        message = sender.send(b"from " + sender.name)
        for reader in clients:
            if reader is not sender:
                assert reader.read(message).plaintext == b"from " + sender.name
                reader.save()


def is_clean(client: Client) -> bool:
    """Whether nothing of a rejoin is left in the vault."""
    return not any(key.startswith(b"rejoin") for key in client.rows)


@pytest.fixture
def trio() -> list[Client]:
    return group_of(mls.CLASSICAL_SUITE, "alice", "bob", "carol")


@pytest.mark.parametrize("has_path", [True, False])
def test_a_commit_is_our_own_only_where_our_key_has_signed_it(
    trio: list[Client], has_path: bool
) -> None:
    alice, bob, carol = trio

    def commit_of(client: Client) -> bytes:
        if has_path:
            return client.engine.commit(GID, update=True).commit
        package = Client("dave").key_package(mls.CLASSICAL_SUITE)
        return client.engine.commit(GID, adds=[package]).commit

    own = commit_of(copy_of(bob))
    with pytest.raises(OwnMessage):
        bob.engine.process(GID, own)
    # Nobody else can make one, neither from one of ours nor from one of theirs.
    for commit in (own, commit_of(copy_of(alice))):
        for at in range(0, len(commit) * 8, 5):
            with pytest.raises(AmanatError) as refused:
                bob.engine.process(GID, flipped(commit, at))
            assert not isinstance(refused.value, OwnMessage)
    assert bob.engine.take_delta() == []
    carol.follow(own)


@both_suites
def test_an_old_copy_comes_in_again_and_all_converge(suite: int) -> None:
    alice, bob, carol = group_of(suite, "alice", "bob", "carol")
    old = copy_of(bob)
    everyone_moves([alice, bob, carol], bob, update=True)
    everyone_moves([alice, bob, carol], alice, policy=b"policy 1")
    early = alice.send(b"before")
    with pytest.raises(FutureEpoch):
        old.engine.process(GID, early)
    with pytest.raises(WrongEpoch):
        alice.engine.process(GID, old.engine.commit(GID, update=True).commit)
    old.engine.abort()
    before = old.seen()

    bundle = rejoin(old, alice, aad=b"why")
    assert (bundle.welcome, bundle.tree, bundle.epoch_before) == (None, None, 3)
    assert mls.peek(bundle.commit) == mls.Header(GID, 3, mls.ContentType.COMMIT)
    old.restart()
    assert old.engine.pending(GID) == old.engine.group(GID).pending == bundle.sha256
    assert old.seen()[1:] == before[1:]

    back = mls.Member(1, b"bob", bob.signer, b"new leaf of bob")
    for client in (alice, carol):
        staged = client.engine.process(GID, bundle.commit)
        assert isinstance(staged, mls.StagedCommit)
        assert staged.external
        assert (staged.epoch_before, staged.epoch_after, staged.aad) == (3, 4, b"why")
        assert (staged.committer, staged.updates, staged.removes) == (back, (back,), (1,))
        assert (staged.adds, staged.policy_new, staged.self_removed) == ((), None, False)
        secret = client.engine.export_staged(staged.handle, "x", b"", 32)
        assert secret == old.engine.export_pending(GID, "x", b"", 32)
        client.engine.accept(staged.handle)
        client.save()
    assert bob.follow(bundle.commit).self_removed
    assert not bob.engine.group(GID).active

    own = old.win(bundle)
    assert (own.external, own.committer, own.updates) == (True, back, (back,))
    assert (own.epoch_before, own.epoch_after, own.removes) == (3, 4, (1,))
    assert secret == old.engine.export_secret(GID, "x", b"", 32)
    assert is_clean(old)
    old.restart()
    with pytest.raises(TooOld):
        old.engine.process(GID, early)
    all_talk([alice, old, carol])
    everyone_moves([alice, old, carol], old, policy=b"policy 2")
    everyone_moves([alice, old, carol], carol, update=True)
    all_talk([alice, old, carol])


def test_a_device_that_lost_all_but_its_key_comes_in_again(trio: list[Client]) -> None:
    alice, bob, carol = trio
    everyone_moves(trio, alice, removes=[2])  # so that the tree has a blank
    left = only_the_key_of(bob)
    bundle = rejoin(left, alice)
    left.restart()
    assert left.engine.pending(GID) == bundle.sha256
    for refused in (left.engine.group, left.engine.members, left.engine.group_info):
        with pytest.raises(NotAMember):
            refused(GID)
    assert alice.follow(bundle.commit).removes == (1,)
    left.win(bundle)
    all_talk([alice, left])
    left.engine.delete_group(GID)
    left.save()
    assert {key.split(b"/")[0] for key in left.rows} == {b"signer"}
    with pytest.raises(NotAMember):
        rejoin(copy_of(carol), alice)  # a removed member cannot


def test_the_new_leaf_is_the_first_that_is_free(trio: list[Client]) -> None:
    _, bob, carol = trio
    everyone_moves(trio, carol, removes=[0])
    old = copy_of(bob)
    bundle = rejoin(old, carol)
    staged = carol.follow(bundle.commit)
    assert (staged.committer.leaf_index, staged.removes) == (0, (1,))
    old.win(bundle)
    assert [m.leaf_index for m in carol.engine.members(GID)] == [0, 2]
    assert old.engine.group(GID).own_leaf == 0
    all_talk([old, carol])


def test_a_copy_of_the_current_state_comes_in_again_too(trio: list[Client]) -> None:
    alice, bob, carol = trio
    copy = copy_of(bob)
    bob.send(b"with the key that the copy would use next")
    bundle = rejoin(copy, alice)
    for client in (alice, carol):
        client.follow(bundle.commit)
    copy.win(bundle)
    all_talk([alice, copy, carol])


def test_an_old_copy_of_a_large_group_comes_in_again() -> None:
    alice, bob = clients = group_of(mls.CLASSICAL_SUITE, "alice", "bob")
    packages = [Client("stranger").key_package(mls.CLASSICAL_SUITE) for _ in range(100)]
    everyone_moves(clients, alice, adds=packages)
    old = copy_of(bob)
    everyone_moves(clients, alice, update=True)
    bundle = rejoin(old, alice)
    alice.follow(bundle.commit)
    old.win(bundle)
    assert chunks_are_those_of_rows(alice)
    assert chunks_are_those_of_rows(old)
    old.restart()
    all_talk([alice, old])
    everyone_moves([alice, old], old, update=True)
    assert chunks_are_those_of_rows(old)


def test_the_loser_of_a_race_keeps_the_state_before_it_and_tries_again(trio: list[Client]) -> None:
    alice, bob, carol = trio
    old = copy_of(bob)
    old.engine.commit(GID, policy=b"of the past")
    old.save()
    rows, before = dict(old.rows), old.seen()
    everyone_moves(trio, bob, update=True)
    lost = rejoin(old, alice)
    everyone_moves(trio, alice, update=True)
    with pytest.raises(WrongEpoch):
        carol.engine.process(GID, lost.commit)
    with pytest.raises(BadArgument):
        old.engine.merge_pending(GID, bytes(32))
    old.engine.clear_pending(GID)
    old.save()
    assert (old.rows, old.seen()) == (rows, before)
    with pytest.raises(BadArgument):
        old.engine.merge_pending(GID, lost.sha256)
    won = rejoin(old, alice)
    for client in (alice, carol):
        client.follow(won.commit)
    old.win(won)
    assert old.engine.pending(GID) is None
    all_talk([alice, old, carol])


def test_another_commit_that_is_accepted_takes_a_rejoin_back(trio: list[Client]) -> None:
    alice, bob, carol = trio
    rejoin(bob, alice)
    update = alice.engine.commit(GID, update=True)
    alice.win(update)
    for client in (bob, carol):
        client.follow(update.commit)
    assert bob.engine.pending(GID) is None
    assert is_clean(bob)
    all_talk(trio)


def test_a_commit_of_the_past_leaves_a_rejoin_of_the_present(trio: list[Client]) -> None:
    alice, bob, carol = trio
    old = copy_of(bob)
    update = everyone_moves(trio, alice, update=True)
    bundle = rejoin(old, alice)
    old.follow(update.commit)
    assert old.engine.pending(GID) == bundle.sha256
    for client in (alice, carol):
        client.follow(bundle.commit)
    old.win(bundle)
    all_talk([alice, old, carol])


def test_a_welcome_takes_a_rejoin_back(trio: list[Client]) -> None:
    alice, bob, carol = trio
    left = only_the_key_of(bob)
    rejoin(left, alice)
    package = left.key_package(mls.CLASSICAL_SUITE)
    bundle = everyone_moves([alice, carol], alice, removes=[1], adds=[package])
    assert bundle.welcome is not None
    left.engine.join(bundle.welcome, bundle.tree)
    left.save()
    assert is_clean(left)
    all_talk([alice, left, carol])


def test_while_a_rejoin_waits_the_old_state_reads_and_says_nothing(trio: list[Client]) -> None:
    alice, bob, _ = trio
    rejoin(bob, alice)
    for restarted in (False, True):
        if restarted:
            bob.restart()
        calls: list[Callable[[], object]] = [
            lambda: bob.engine.encrypt(GID, b"with a key that was used before"),
            lambda: bob.engine.commit(GID, update=True),
            lambda: bob.engine.group_info(GID),
            lambda: rejoin(bob, alice),
        ]
        for call in calls:
            with pytest.raises(PendingCommit):
                call()
        assert bob.read(alice.send(b"still read")).plaintext == b"still read"
        bob.save()
    bob.engine.clear_pending(GID)
    assert alice.read(bob.send(b"again")).plaintext == b"again"


def test_a_rejoin_is_in_the_vault_or_it_is_not(trio: list[Client]) -> None:
    alice, bob, carol = trio
    old = copy_of(bob)
    everyone_moves(trio, alice, update=True)
    before = old.seen()
    old.engine.join_external(
        alice.engine.group_info(GID), alice.engine.export_tree(GID), old.signer, b"bob", b""
    )
    old.engine.abort()
    assert old.engine.take_delta() == []
    assert old.seen() == before
    bundle = rejoin(old, alice)
    old.engine.merge_pending(GID, bundle.sha256)
    assert old.epoch == 3
    old.engine.abort()
    assert (old.epoch, old.engine.pending(GID)) == (1, bundle.sha256)
    for client in (alice, carol):
        client.follow(bundle.commit)
    old.win(bundle)
    all_talk([alice, old, carol])


def test_a_missing_row_of_a_rejoin_is_damage(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bundle = rejoin(bob, alice)
    rows = [key for key in bob.rows if key.startswith(b"rejoined/")]
    assert rows
    for row in rows:
        kept = dict(bob.rows)
        del kept[row]
        engine = mls.Engine(kept.get)
        with pytest.raises(AmanatError) as refused:
            engine.merge_pending(GID, bundle.sha256)
        assert refused.value.code == "vault-damaged"
        assert engine.take_delta() == []


def test_a_group_info_tells_what_would_be_joined(trio: list[Client]) -> None:
    alice, bob, _ = trio
    info, tree = alice.engine.group_info(GID), alice.engine.export_tree(GID)
    assert tree[:64] not in info
    lineage, signer = mls.Lineage.begin(info, tree)
    view = lineage.view()
    assert (view.gid, view.epoch, view.suite, view.policy, view.members, signer) == (
        GID,
        1,
        mls.CLASSICAL_SUITE,
        b"policy 0",
        alice.engine.members(GID),
        0,
    )
    assert bob.engine.lineage(GID).view() == view
    assert bob.engine.group(GID).state == view.state
    assert mls.Lineage.begin(bob.engine.group_info(GID), tree)[1] == 1
    assert bob.engine.take_delta() == []


def test_a_false_group_info_is_refused_and_changes_nothing(trio: list[Client]) -> None:
    alice, bob, _ = trio
    info, tree = alice.engine.group_info(GID), alice.engine.export_tree(GID)
    everyone_moves(trio, alice, update=True)
    later = alice.engine.export_tree(GID)
    rows, before = dict(bob.rows), bob.seen()
    false = [(flipped(info, at), tree) for at in range(0, len(info) * 8, 5)]
    false += [(info, flipped(tree, at)) for at in range(0, len(tree) * 8, 37)]
    false += [(info[:-1], tree), (info + b"\0", tree), (info, tree[:-1]), (info, b""), (b"", tree)]
    false += [(info, later), (bytes((4 << 20) + 1), tree), (info, bytes((8 << 20) + 1))]
    for wrong_info, wrong_tree in false:
        with pytest.raises(InvalidWelcome):
            mls.Lineage.begin(wrong_info, wrong_tree)
        with pytest.raises(InvalidWelcome):
            bob.engine.join_external(wrong_info, wrong_tree, bob.signer, b"bob", b"")
    stranger = Client("stranger")
    with pytest.raises(NotAMember):
        stranger.engine.join_external(info, tree, stranger.signer, b"bob", b"")
    with pytest.raises(BadArgument):
        stranger.engine.join_external(info, tree, bob.signer, b"bob", b"")
    assert bob.engine.take_delta() == stranger.engine.take_delta() == []
    assert (bob.rows, bob.seen()) == (rows, before)


def test_no_changed_external_commit_is_read_or_changes_anything(trio: list[Client]) -> None:
    alice, bob, carol = trio
    commit = rejoin(copy_of(bob), alice).commit
    before = carol.seen()
    changed = [flipped(commit, at) for at in range(0, len(commit) * 8, 3)]
    changed += [commit[:size] for size in range(0, len(commit), 7)] + [commit + b"\0"]
    for data in changed:
        with pytest.raises(AmanatError) as refused:
            carol.engine.process(GID, data)
        assert not isinstance(refused.value, EngineFailed)
    assert carol.engine.take_delta() == []
    assert carol.seen() == before
    carol.follow(commit)


def test_an_external_commit_can_be_rejected_and_read_again(trio: list[Client]) -> None:
    alice, bob, carol = trio
    old = copy_of(bob)
    bundle = rejoin(old, alice)
    staged = carol.engine.process(GID, bundle.commit)
    assert isinstance(staged, mls.StagedCommit)
    carol.engine.reject(staged.handle)
    assert carol.save() == 0
    for client in (alice, carol):
        client.follow(bundle.commit)
    old.win(bundle)
    all_talk([alice, old, carol])


def test_rules_of_a_group_let_its_own_members_in_again_and_nobody_in_their_place() -> None:
    address = Address(RELAY, "IR", BUCKET.drop_id, BUCKET.append_token)
    keys = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob")}
    clients = [Client(name) for name in keys]

    def credential(identity: Ed25519PrivateKey, client: Client) -> bytes:
        delivery = X25519PrivateKey.generate().public_key().public_bytes_raw()
        return issue_credential(identity, delivery=delivery, signer=client.signer)

    def leaf(name: str) -> bytes:
        return codec.encode(Leaf(os.urandom(16), name, [address]))

    alice, bob = clients
    policy = Policy([], "family", [keys["alice"].public_key().public_bytes_raw()], RELAY, "IR")
    suite = mls.CLASSICAL_SUITE
    own = credential(keys["alice"], alice)
    alice.engine.create_group(GID, suite, alice.signer, own, leaf("alice"), codec.encode(policy))
    package = bob.engine.new_key_package(
        suite, bob.signer, credential(keys["bob"], bob), leaf("bob"), now=1, lifetime_s=1
    )
    bob.save()
    bundle = alice.engine.commit(GID, adds=[package.bytes])
    alice.win(bundle)
    assert bundle.welcome is not None
    bob.engine.join(bundle.welcome, bundle.tree)
    bob.save()
    nonce = rights.read_members(alice.engine.members(GID))[1].leaf.nonce

    def judge(client: Client, credential: bytes, leaf: bytes) -> None:
        commit = rejoin(client, alice, credential=credential, leaf=leaf).commit
        staged = alice.engine.process(GID, commit)
        assert isinstance(staged, mls.StagedCommit)
        people = rights.read_members(alice.engine.members(GID))
        rights.judge(policy, people, staged, group=GID, most=2)

    judge(copy_of(bob), credential(keys["bob"], bob), leaf("bob"))
    mallory = Ed25519PrivateKey.generate()
    for forged, its_leaf in (
        (credential(mallory, bob), leaf("bob")),  # bob's device for another person
        (credential(keys["alice"], bob), leaf("alice")),
        (credential(keys["bob"], alice), leaf("bob")),  # for another device
        (credential(keys["bob"], bob), codec.encode(Leaf(nonce, "bob", [address]))),
        (credential(keys["bob"], bob), b""),
    ):
        with pytest.raises(InvalidCommit):
            judge(copy_of(bob), forged, its_leaf)
