"""The binding: the life of groups, the refusals of each call, and calls that are all or nothing."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amanat import mls
from amanat.errors import (
    AmanatError,
    BadArgument,
    EngineFailed,
    FutureEpoch,
    InvalidCommit,
    InvalidKeyPackage,
    InvalidMessage,
    InvalidWelcome,
    NotAMember,
    OwnMessage,
    PendingCommit,
    ReusedSecret,
    TooOld,
    VaultDamaged,
    WrongEpoch,
)
from amanat.protocol import labels
from damage import changed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = 1_000_000_000
DAY = 24 * 3600
GID = b"a group"

both_suites = pytest.mark.parametrize(
    "suite", [mls.HYBRID_SUITE, mls.CLASSICAL_SUITE], ids=["hybrid", "classical"]
)


class Client:
    """A vault that is a dict, and an engine over it."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.rows: dict[bytes, bytes] = {}
        self.engine = mls.Engine(self.rows.get)
        self.signer = self.engine.new_signer()
        self.save()

    def save(self) -> int:
        """Commit the delta; how many bytes it had."""
        delta = self.engine.take_delta()
        for key, value in delta:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self.engine.committed()
        return sum(len(key) + len(value or b"") for key, value in delta)

    def restart(self) -> None:
        """Lose everything that is not in the vault."""
        self.engine = mls.Engine(self.rows.get)

    def key_package(self, suite: int) -> bytes:
        made = self.engine.new_key_package(
            suite, self.signer, self.name, b"leaf of " + self.name, now=NOW, lifetime_s=DAY
        )
        self.save()
        return made.bytes

    def create(self, suite: int, gid: bytes = GID) -> None:
        leaf = b"leaf of " + self.name
        self.engine.create_group(gid, suite, self.signer, self.name, leaf, b"policy 0")
        self.save()

    def win(self, bundle: mls.CommitBundle, gid: bytes = GID) -> mls.CommitView:
        view = self.engine.merge_pending(gid, bundle.sha256)
        self.save()
        return view

    def follow(self, commit: bytes, gid: bytes = GID) -> mls.StagedCommit:
        staged = self.engine.process(gid, commit)
        assert isinstance(staged, mls.StagedCommit)
        self.engine.accept(staged.handle)
        self.save()
        return staged

    def read(self, message: bytes, gid: bytes = GID) -> mls.Application:
        received = self.engine.process(gid, message)
        assert isinstance(received, mls.Application)
        return received

    def send(self, text: bytes, gid: bytes = GID) -> bytes:
        message = self.engine.encrypt(gid, text)
        self.save()
        return message

    @property
    def epoch(self) -> int:
        return self.engine.group(GID).epoch

    def seen(self, gid: bytes = GID) -> tuple[object, ...]:
        """Everything that can be seen of a group."""
        group = self.engine.group(gid)
        secret = self.engine.export_secret(gid, "seen", b"", 32) if group.active else b""
        return group, self.engine.members(gid), self.engine.export_tree(gid), secret


def group_of(suite: int, *names: str) -> list[Client]:
    """Clients who are all in one group, in epoch 1."""
    first, *others = clients = [Client(name) for name in names]
    first.create(suite)
    bundle = first.engine.commit(GID, adds=[other.key_package(suite) for other in others])
    first.win(bundle)
    assert bundle.welcome is not None
    for other in others:
        other.engine.join(bundle.welcome, bundle.tree)
        other.save()
    return clients


def everyone_moves(clients: list[Client], by: Client, **changes: object) -> mls.CommitBundle:
    bundle = by.engine.commit(GID, **changes)  # type: ignore[arg-type]  # as the test says
    by.save()
    for client in clients:
        if client is not by:
            client.follow(bundle.commit)
    by.win(bundle)
    return bundle


@pytest.fixture
def trio() -> list[Client]:
    return group_of(mls.CLASSICAL_SUITE, "alice", "bob", "carol")


# The life of a group


@both_suites
def test_members_of_a_new_group_agree_on_everything(suite: int) -> None:
    clients = group_of(suite, "alice", "bob", "carol")
    views = [client.engine.group(GID) for client in clients]
    assert {(view.epoch, view.suite, view.policy) for view in views} == {(1, suite, b"policy 0")}
    assert len({view.epoch_authenticator for view in views}) == 1
    assert len({client.engine.export_secret(GID, "x", b"y", 32) for client in clients}) == 1
    assert len({client.engine.export_tree(GID) for client in clients}) == 1
    assert [view.own_leaf for view in views] == [0, 1, 2]
    expected = tuple(
        mls.Member(leaf, client.name, client.signer, b"leaf of " + client.name)
        for leaf, client in enumerate(clients)
    )
    assert all(client.engine.members(GID) == expected for client in clients)


@both_suites
def test_a_message_arrives_with_its_sender_and_additional_data(suite: int) -> None:
    alice, bob = group_of(suite, "alice", "bob")
    message = alice.engine.encrypt(GID, b"salaam", b"for all to see")
    assert mls.peek(message) == mls.Header(GID, 1, mls.ContentType.APPLICATION)
    assert bob.read(message) == mls.Application(
        1, 0, b"alice", alice.signer, b"for all to see", b"salaam"
    )


def test_a_message_without_additional_data_after_one_with_it_has_none(trio: list[Client]) -> None:
    alice, bob, _ = trio
    alice.engine.encrypt(GID, b"", b"only here")
    assert bob.read(alice.engine.encrypt(GID, b"")).aad == b""


@both_suites
def test_a_group_lives_through_adds_updates_removals_and_policies(suite: int) -> None:
    alice, bob = clients = group_of(suite, "alice", "bob")
    carol = Client("carol")
    bundle = everyone_moves(clients, alice, adds=[carol.key_package(suite)])
    assert bundle.welcome is not None
    gid, joined = carol.engine.join(bundle.welcome, bundle.tree)
    carol.save()
    clients.append(carol)
    assert (gid, joined.epoch) == (GID, 2)
    everyone_moves(clients, bob, update=True)
    everyone_moves(clients, carol, policy=b"policy 1")
    everyone_moves(clients, bob, leaf=b"new leaf")
    everyone_moves(clients, alice, removes=[1], policy=b"policy 2")
    assert not bob.engine.group(GID).active
    assert alice.engine.group(GID).policy == carol.engine.group(GID).policy == b"policy 2"
    assert alice.seen()[1:] == carol.seen()[1:]
    assert [member.credential for member in alice.engine.members(GID)] == [b"alice", b"carol"]
    assert carol.read(alice.send(b"without bob")).plaintext == b"without bob"


@both_suites
def test_a_commit_tells_what_it_does_before_it_is_accepted(suite: int) -> None:
    alice, bob, carol = group_of(suite, "alice", "bob", "carol")
    dave = Client("dave")
    bundle = alice.engine.commit(
        GID,
        adds=[dave.key_package(suite)],
        removes=[2],
        policy=b"policy 1",
        leaf=b"moved",
        aad=b"why",
    )
    staged = bob.engine.process(GID, bundle.commit)
    assert isinstance(staged, mls.StagedCommit)
    assert (staged.epoch_before, staged.epoch_after) == (1, 2)
    assert staged.committer == mls.Member(0, b"alice", alice.signer, b"leaf of alice")
    assert staged.adds == (mls.Added(b"dave", dave.signer, b"leaf of dave"),)
    assert staged.removes == (2,)
    assert staged.updates == (mls.Member(0, b"alice", alice.signer, b"moved"),)
    assert (staged.policy_new, staged.aad, staged.self_removed) == (b"policy 1", b"why", False)
    assert bob.epoch == 1
    own = alice.engine.merge_pending(GID, bundle.sha256)
    assert bob.engine.accept(staged.handle) == own
    removed = carol.follow(bundle.commit)
    assert removed.self_removed
    assert not carol.engine.group(GID).active


def test_adds_alone_go_without_a_path_and_the_rest_with_one(trio: list[Client]) -> None:
    alice, bob, _ = trio
    dave = Client("dave")
    adds = alice.engine.commit(GID, adds=[dave.key_package(mls.CLASSICAL_SUITE)])
    assert bob.follow(adds.commit).updates == ()
    alice.win(adds)
    for changes in ({"update": True}, {"removes": [3]}, {"policy": b"p"}, {"leaf": b"l"}):
        bundle = alice.engine.commit(GID, **changes)
        assert [updated.leaf_index for updated in bob.follow(bundle.commit).updates] == [0]
        assert bundle.welcome is bundle.tree is None
        alice.win(bundle)


def test_a_policy_that_stays_is_not_shown_as_new(trio: list[Client]) -> None:
    alice, bob, _ = trio
    assert bob.follow(alice.engine.commit(GID, update=True).commit).policy_new is None


def test_exporters_of_the_next_epoch_are_known_before_it_begins(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bundle = alice.engine.commit(GID, update=True)
    staged = bob.engine.process(GID, bundle.commit)
    assert isinstance(staged, mls.StagedCommit)
    early = alice.engine.export_pending(GID, "drop", b"id", 24)
    assert early == bob.engine.export_staged(staged.handle, "drop", b"id", 24)
    alice.win(bundle)
    bob.engine.accept(staged.handle)
    assert early == alice.engine.export_secret(GID, "drop", b"id", 24)
    assert early == bob.engine.export_secret(GID, "drop", b"id", 24)
    assert early != alice.engine.export_secret(GID, "drop", b"other", 24)


def test_somebody_removed_sees_it_reads_nothing_more_and_can_come_back(trio: list[Client]) -> None:
    alice, bob, carol = trio
    bundle = alice.engine.commit(GID, removes=[1])
    bob_sees = bob.engine.process(GID, bundle.commit)
    assert isinstance(bob_sees, mls.StagedCommit)
    assert bob_sees.self_removed
    with pytest.raises(NotAMember):
        bob.engine.export_staged(bob_sees.handle, "x", b"", 32)
    bob.engine.accept(bob_sees.handle)
    bob.save()
    alice.win(bundle)
    carol.follow(bundle.commit)
    for refused in (
        lambda: bob.engine.process(GID, alice.send(b"later")),
        lambda: bob.engine.encrypt(GID, b"hello?"),
        lambda: bob.engine.commit(GID, update=True),
        lambda: bob.engine.export_secret(GID, "x", b"", 32),
    ):
        with pytest.raises(NotAMember):
            refused()
    assert not any(key.startswith(b"epoch-keys/") for key in bob.rows)
    again = alice.engine.commit(GID, adds=[bob.key_package(mls.CLASSICAL_SUITE)])
    alice.win(again)
    carol.follow(again.commit)
    assert again.welcome is not None
    bob.engine.join(again.welcome, again.tree)
    bob.save()
    bob.restart()
    assert bob.seen()[1:] == alice.seen()[1:]


def test_a_signature_key_signs_texts_of_ours_and_none_that_mls_could_have_it_sign() -> None:
    client = Client("alice")
    text = b"amanat piece 1" + bytes(20)
    signature = client.engine.sign(client.signer, text)
    Ed25519PublicKey.from_public_bytes(client.signer).verify(signature, text)
    label = b"MLS 1.0 FramedContentTBS"
    for other in (bytes([len(label)]) + label + b"\x04text", b"", b"amanat"):
        with pytest.raises(BadArgument):
            client.engine.sign(client.signer, other)
    with pytest.raises(BadArgument):
        client.engine.sign(bytes(32), text)


def test_one_device_is_in_groups_of_both_suites_with_one_signature_key() -> None:
    alice, bob = Client("alice"), Client("bob")
    for suite in (mls.HYBRID_SUITE, mls.CLASSICAL_SUITE):
        gid = b"group %d" % suite
        alice.create(suite, gid)
        bundle = alice.engine.commit(gid, adds=[bob.key_package(suite)])
        alice.win(bundle, gid)
        assert bundle.welcome is not None
        bob.engine.join(bundle.welcome, bundle.tree)
        assert bob.read(alice.send(b"hi", gid), gid).signer == alice.signer


def test_one_welcome_serves_all_joiners_and_holds_no_tree() -> None:
    alice, *others = (Client(name) for name in ("alice", "bob", "carol", "dave"))
    alice.create(mls.CLASSICAL_SUITE)
    packages = [other.key_package(mls.CLASSICAL_SUITE) for other in others]
    bundle = alice.engine.commit(GID, adds=packages)
    alice.win(bundle)
    assert bundle.welcome is not None
    assert bundle.tree == alice.engine.export_tree(GID)
    assert bundle.tree[:64] not in bundle.welcome
    for other in others:
        with pytest.raises(InvalidWelcome):
            other.engine.join(bundle.welcome, None)
        other.engine.join(bundle.welcome, bundle.tree)
        assert other.seen()[1:] == alice.seen()[1:]


@pytest.mark.long
def test_a_deleted_group_leaves_no_row_behind() -> None:
    clients = group_of(mls.CLASSICAL_SUITE, *"abcdefghijklmnopqrst")
    before = {client: dict(client.rows) for client in clients}
    for by in clients[:6]:
        for sender in clients:
            message = sender.send(b"hi")
            for reader in clients:
                if reader is not sender:
                    reader.read(message)
        everyone_moves(clients, by, update=True)
    everyone_moves(clients, clients[0], removes=[7])
    for client in clients:
        client.engine.commit(GID, update=True) if client.engine.group(GID).active else None
        client.save()
        assert before[client].keys() != client.rows.keys()
        client.engine.delete_group(GID)
        client.save()
        assert {key.split(b"/")[0] for key in client.rows} == {b"signer"}
        with pytest.raises(NotAMember):
            client.engine.group(GID)


# Concurrent Commits


@both_suites
def test_of_two_concurrent_commits_the_loser_follows_the_winner(suite: int) -> None:
    alice, bob, carol = group_of(suite, "alice", "bob", "carol")
    won = alice.engine.commit(GID, policy=b"alice's")
    lost = bob.engine.commit(GID, policy=b"bob's")
    bob.save()
    assert bob.engine.group(GID).pending == bob.engine.pending(GID) == lost.sha256
    alice.win(won)
    carol.follow(won.commit)
    bob.follow(won.commit)
    assert bob.engine.pending(GID) is None
    for client in (alice, carol):
        with pytest.raises(WrongEpoch):
            client.engine.process(GID, lost.commit)
    with pytest.raises(BadArgument):
        bob.engine.merge_pending(GID, lost.sha256)
    assert alice.seen()[1:] == bob.seen()[1:] == carol.seen()[1:]
    everyone_moves([alice, bob, carol], bob, policy=b"bob's")


def test_an_own_commit_is_known_again_by_its_hash_even_after_a_restart(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bundle = alice.engine.commit(GID, update=True)
    alice.save()
    alice.restart()
    assert hashlib.sha256(bundle.commit).digest() == bundle.sha256 == alice.engine.pending(GID)
    with pytest.raises(OwnMessage):
        alice.engine.process(GID, bundle.commit)
    with pytest.raises(BadArgument):
        alice.engine.merge_pending(GID, bytes(32))
    alice.win(bundle)
    bob.follow(bundle.commit)
    assert alice.seen()[1:] == bob.seen()[1:]


def test_a_pending_commit_stands_in_the_way_of_another_but_not_of_messages(
    trio: list[Client],
) -> None:
    alice, bob, _ = trio
    alice.engine.commit(GID, update=True)
    with pytest.raises(PendingCommit):
        alice.engine.commit(GID, update=True)
    assert bob.read(alice.send(b"meanwhile")).plaintext == b"meanwhile"
    assert alice.read(bob.send(b"meanwhile")).plaintext == b"meanwhile"
    alice.engine.clear_pending(GID)
    assert alice.engine.pending(GID) is None
    with pytest.raises(BadArgument):
        alice.engine.export_pending(GID, "x", b"", 32)
    alice.engine.commit(GID, update=True)


def test_a_commit_can_be_read_again_until_it_is_accepted(trio: list[Client]) -> None:
    alice, bob, _ = trio
    commit = alice.engine.commit(GID, update=True).commit
    rejected = bob.engine.process(GID, commit)
    assert isinstance(rejected, mls.StagedCommit)
    bob.engine.reject(rejected.handle)
    assert bob.save() == 0
    bob.read(alice.send(b"between"))
    undecided = bob.engine.process(GID, commit)
    assert isinstance(undecided, mls.StagedCommit)
    bob.save()
    bob.restart()
    bob.follow(commit)
    with pytest.raises(WrongEpoch):
        bob.engine.process(GID, commit)


def test_a_handle_dies_with_a_verdict_an_abort_and_the_epoch(trio: list[Client]) -> None:
    alice, bob, carol = trio

    def staged(commit: bytes) -> int:
        received = bob.engine.process(GID, commit)
        assert isinstance(received, mls.StagedCommit)
        return received.handle

    one, other = (client.engine.commit(GID, update=True).commit for client in (alice, carol))
    aborted = staged(one)
    bob.engine.abort()
    rejected = staged(one)
    bob.engine.reject(rejected)
    outlived, accepted = staged(other), staged(one)
    bob.engine.encrypt(GID, b"in the same epoch a handle lives on")
    bob.engine.accept(accepted)
    for dead in (aborted, rejected, outlived, accepted, 999):
        for use in (
            bob.engine.accept,
            bob.engine.reject,
            lambda handle: bob.engine.export_staged(handle, "x", b"", 32),
        ):
            with pytest.raises(BadArgument):
                use(dead)


# Order, loss, repetition


@both_suites
def test_messages_may_come_late_and_in_any_order_but_once(suite: int) -> None:
    alice, bob = group_of(suite, "alice", "bob")
    messages = [alice.send(b"%d" % i) for i in range(mls.OUT_OF_ORDER_TOLERANCE)]
    shuffled = random.Random(1).sample(list(enumerate(messages)), len(messages))
    for i, message in shuffled:
        assert bob.read(message).plaintext == b"%d" % i
        bob.save()
    for message in messages:
        with pytest.raises(ReusedSecret):
            bob.engine.process(GID, message)


def test_a_message_is_too_old_once_as_many_later_ones_as_tolerated_came(
    trio: list[Client],
) -> None:
    alice, bob, _ = trio
    messages = [alice.send(b"%d" % i) for i in range(mls.OUT_OF_ORDER_TOLERANCE + 2)]
    bob.read(messages[-1])
    bob.read(messages[2])
    with pytest.raises(TooOld):
        bob.engine.process(GID, messages[0])


def test_what_a_pair_chain_still_opens_is_not_too_old_for_the_engine() -> None:
    assert labels.WINDOW == mls.OUT_OF_ORDER_TOLERANCE


def test_two_thousand_messages_may_be_missing_but_no_more(trio: list[Client]) -> None:
    alice, bob, carol = trio
    for _ in range(2000):
        alice.engine.encrypt(GID, b"lost")
    bob.read(alice.send(b"found"))
    with pytest.raises(InvalidMessage):
        carol.engine.process(GID, alice.send(b"one too far"))


def test_messages_of_three_past_epochs_are_still_read(trio: list[Client]) -> None:
    alice, bob, _ = trio
    early = [alice.send(b"epoch 1"), alice.send(b"epoch 1 again")]
    for _ in range(3):
        everyone_moves(trio, alice, update=True)
    bob.restart()
    assert bob.read(early[0]).epoch == 1
    bob.save()
    bob.restart()
    with pytest.raises(ReusedSecret):
        bob.engine.process(GID, early[0])
    everyone_moves(trio, alice, update=True)
    with pytest.raises(TooOld):
        bob.engine.process(GID, early[1])


def test_a_joiner_cannot_read_what_was_before(trio: list[Client]) -> None:
    alice, _, _ = trio
    early = alice.send(b"before dave")
    dave = Client("dave")
    package = dave.key_package(mls.CLASSICAL_SUITE)
    bundle = everyone_moves(trio, alice, adds=[package])
    assert bundle.welcome is not None
    dave.engine.join(bundle.welcome, bundle.tree)
    with pytest.raises(TooOld):
        dave.engine.process(GID, early)


def test_what_comes_before_its_epoch_can_be_kept_and_read_then(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bundle = alice.engine.commit(GID, update=True)
    alice.win(bundle)
    message, commit = alice.send(b"early"), alice.engine.commit(GID, update=True).commit
    for early in (message, commit):
        with pytest.raises(FutureEpoch):
            bob.engine.process(GID, early)
    bob.follow(bundle.commit)
    assert bob.read(message).plaintext == b"early"
    bob.follow(commit)


def test_an_own_message_is_known_as_such_in_every_epoch(trio: list[Client]) -> None:
    alice, *_ = trio
    message = alice.send(b"mine")
    with pytest.raises(OwnMessage):
        alice.engine.process(GID, message)
    everyone_moves(trio, alice, update=True)
    with pytest.raises(OwnMessage):
        alice.engine.process(GID, message)


def test_a_late_message_is_from_the_member_who_held_the_leaf_then(trio: list[Client]) -> None:
    alice, bob, carol = trio
    late = bob.send(b"bob was here")
    everyone_moves(trio, alice, removes=[1])
    dave = Client("dave")
    package = dave.key_package(mls.CLASSICAL_SUITE)
    everyone_moves([alice, carol], alice, adds=[package])
    assert carol.engine.members(GID)[1].credential == b"dave"
    carol.restart()
    read = carol.read(late)
    assert (read.sender_leaf, read.credential, read.signer) == (1, b"bob", bob.signer)


# Units of work


def test_an_abort_takes_memory_back_as_well(trio: list[Client]) -> None:
    alice, bob, _ = trio
    incoming = bob.send(b"read twice")
    before = alice.seen()
    alice.read(incoming)
    alice.engine.encrypt(GID, b"never sent")
    bundle = alice.engine.commit(GID, update=True)
    alice.engine.merge_pending(GID, bundle.sha256)
    alice.engine.create_group(b"other", mls.CLASSICAL_SUITE, alice.signer, b"a", b"", b"")
    unsaved = alice.engine.new_signer()
    assert alice.seen() != before
    alice.engine.abort()
    assert alice.engine.take_delta() == []
    assert alice.seen() == before
    assert alice.read(incoming).plaintext == b"read twice"
    with pytest.raises(NotAMember):
        alice.engine.group(b"other")
    with pytest.raises(BadArgument):
        alice.engine.create_group(b"other", mls.CLASSICAL_SUITE, unsaved, b"a", b"", b"")


def test_a_delta_is_returned_until_it_is_committed(trio: list[Client]) -> None:
    alice, *_ = trio
    alice.engine.encrypt(GID, b"one")
    first = dict(alice.engine.take_delta())
    assert first
    assert dict(alice.engine.take_delta()) == first
    made = alice.engine.new_key_package(
        mls.CLASSICAL_SUITE, alice.signer, b"a", b"", now=NOW, lifetime_s=DAY
    )
    both = dict(alice.engine.take_delta())
    assert first.items() < both.items()
    alice.engine.delete_key_package(made.ref)
    alice.engine.committed()
    (row,) = alice.engine.take_delta()
    assert row[1] is None  # changed after the delta was taken, so not forgotten by `committed`
    assert row[0] in both


def test_reading_looks_leave_nothing_to_store(trio: list[Client]) -> None:
    alice, *_ = trio
    alice.restart()
    alice.seen()
    alice.engine.pending(GID)
    assert alice.engine.take_delta() == []


def test_an_error_of_fetch_comes_out_unchanged_and_changes_nothing(trio: list[Client]) -> None:
    alice, bob, _ = trio
    full = True

    def fetch(key: bytes) -> bytes | None:
        if full:
            raise OSError("the disk")
        return alice.rows.get(key)

    engine = mls.Engine(fetch)
    message = bob.send(b"hi")
    for call in (
        lambda: engine.group(GID),
        lambda: engine.process(GID, message),
        lambda: engine.encrypt(GID, b""),
        lambda: engine.create_group(GID, mls.CLASSICAL_SUITE, alice.signer, b"", b"", b""),
    ):
        with pytest.raises(OSError, match="the disk"):
            call()
    full = False
    assert engine.take_delta() == []
    assert isinstance(engine.process(GID, message), mls.Application)


def test_a_call_that_fails_half_way_is_as_if_never_made(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bundle = alice.engine.commit(GID, update=True)
    lose: set[bytes] = set()

    def fetch(key: bytes) -> bytes | None:
        if key.split(b"/")[0] in lose:
            raise OSError
        return bob.rows.get(key)

    engine = mls.Engine(fetch)
    before = engine.group(GID)
    staged = engine.process(GID, bundle.commit)
    assert isinstance(staged, mls.StagedCommit)
    lose.add(b"epoch-keys")  # the merge needs it half-way
    with pytest.raises(OSError, match=r"^$"):
        engine.accept(staged.handle)
    lose.clear()
    assert engine.group(GID) == before
    assert engine.take_delta() == []
    again = engine.process(GID, bundle.commit)
    assert isinstance(again, mls.StagedCommit)
    engine.accept(again.handle)
    alice.win(bundle)
    assert engine.group(GID).epoch_authenticator == alice.engine.group(GID).epoch_authenticator


def test_a_damaged_row_is_named_as_such(trio: list[Client]) -> None:
    alice, *_ = trio
    for key in [key for key in alice.rows if not key.startswith((b"signer/", b"pending/"))]:
        rows = dict(alice.rows)
        rows[key] = b"\xff"
        engine = mls.Engine(rows.get)
        if key.startswith(b"epoch-keys/"):  # read only when a path is merged
            continue
        with pytest.raises(VaultDamaged):
            engine.group(GID)


def test_a_missing_page_of_ratchets_is_damage_and_not_an_empty_page(trio: list[Client]) -> None:
    alice, *_ = trio
    alice.send(b"what spends a ratchet")
    pages = [key for key in alice.rows if key.startswith(b"ratchets/")]
    assert pages
    for page in pages:
        rows = {key: value for key, value in alice.rows.items() if key != page}
        with pytest.raises(VaultDamaged):
            mls.Engine(rows.get).group(GID)


def test_a_state_that_contradicts_itself_fails_the_call(trio: list[Client]) -> None:
    alice, *_ = trio
    (own_leaf,) = [key for key in alice.rows if key.startswith(b"own-leaf/")]
    alice.rows[own_leaf] = b"\x09"  # CBOR 9: there is no such leaf
    alice.restart()
    with pytest.raises(EngineFailed):
        alice.engine.encrypt(GID, b"")


def test_threads_may_share_an_engine(trio: list[Client]) -> None:
    alice, bob, _ = trio
    messages: list[bytes] = []

    def write() -> None:
        messages.extend(alice.engine.encrypt(GID, b"x") for _ in range(50))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(messages) == 200
    # Every message has a generation of its own: all are read, none is a repetition.
    for message in messages:
        try:
            bob.read(message)
        except TooOld:  # threads append in another order than they encrypt
            continue


@pytest.mark.long
def test_a_message_writes_little_in_a_large_group() -> None:
    alice, *others = (Client(f"member {i}") for i in range(20))
    strangers = [Client("stranger").key_package(mls.CLASSICAL_SUITE) for _ in range(180)]
    alice.create(mls.CLASSICAL_SUITE)
    packages = [other.key_package(mls.CLASSICAL_SUITE) for other in others]
    bundle = alice.engine.commit(GID, adds=[*packages, *strangers])
    alice.win(bundle)
    assert bundle.welcome is not None
    for other in others:
        other.engine.join(bundle.welcome, bundle.tree)
        other.save()
    clients = [alice, *others]
    for by in clients[:3]:  # three past epochs, each with a roster of 200
        everyone_moves(clients, by, update=True)
    for other in others:
        for _ in range(mls.OUT_OF_ORDER_TOLERANCE):  # and as many kept keys as there can be
            other.engine.encrypt(GID, b"lost")
        alice.read(other.send(b"found"))
        assert alice.save() < 64 * 1024
    alice.engine.encrypt(GID, b"own")
    assert alice.save() < 64 * 1024


def chunks_are_those_of_rows(client: Client) -> bool:
    """Whether every chunk belongs to a tree or roster."""
    lists = b"".join(
        row for key, row in client.rows.items() if key.startswith((b"tree/", b"past-roster/"))
    )
    chunks = [key for key in client.rows if key.split(b"/")[0].endswith(b"-chunk")]
    return bool(chunks) and all(key[-32:] in lists for key in chunks)


@pytest.mark.long
def test_a_commit_writes_what_it_changes_in_a_large_group() -> None:
    suite = mls.CLASSICAL_SUITE
    alice, *others = clients = [Client(f"member {i}") for i in range(3)]
    strangers = [Client("stranger").key_package(suite) for _ in range(300)]
    alice.create(suite)
    packages = [other.key_package(suite) for other in others]
    bundle = alice.engine.commit(GID, adds=[*packages, *strangers])
    alice.win(bundle)
    assert bundle.welcome is not None
    for other in others:
        other.engine.join(bundle.welcome, bundle.tree)
        other.save()
    everyone_moves(clients, alice, update=True)
    written = []
    for number in range(5):
        by = clients[number % 3]
        added = by.engine.commit(GID, adds=[Client("new").key_package(suite)], removes=[100])
        for client in clients:
            if client is not by:
                staged = client.engine.process(GID, added.commit)
                assert isinstance(staged, mls.StagedCommit)
                client.engine.accept(staged.handle)
            else:
                client.engine.merge_pending(GID, added.sha256)
            written.append(client.save())
            assert chunks_are_those_of_rows(client)
            reloaded = Client.__new__(Client)
            reloaded.rows, reloaded.engine = client.rows, mls.Engine(client.rows.get)
            assert reloaded.seen() == client.seen()
    # Chunks end where the bytes say so, and a few are eight times as long as others: so the mean,
    # beside a tree and a roster that are half as long again as the tree alone.
    tree = sum(len(row) for key, row in alice.rows.items() if key.startswith(b"tree-chunk/"))
    assert sum(written) / len(written) < tree * 3 / 4
    late = alice.send(b"late")
    everyone_moves(clients, alice, removes=list(range(10, 303)))
    everyone_moves(clients, alice, update=True)
    others[0].restart()
    assert others[0].read(late).signer == alice.signer
    for _ in range(3):
        everyone_moves(clients, alice, update=True)
    for client in clients:  # small enough by now for whole rows
        assert not any(b"chunk" in key for key in client.rows)
        assert client.seen()[1:] == alice.seen()[1:]


def changed_in_the_middle(row: bytes) -> bytes:
    return changed_at(row, len(row) // 2)


def test_a_missing_or_changed_chunk_is_damage() -> None:
    suite = mls.CLASSICAL_SUITE
    alice = Client("alice")
    alice.create(suite)
    packages = [Client("stranger").key_package(suite) for _ in range(100)]
    alice.win(alice.engine.commit(GID, adds=packages))
    alice.win(alice.engine.commit(GID, update=True))
    assert chunks_are_those_of_rows(alice)
    for key in [key for key in alice.rows if b"chunk" in key.split(b"/")[0]]:
        for rows in (
            {other: row for other, row in alice.rows.items() if other != key},
            alice.rows | {key: alice.rows[key][1:]},
            # After most flips of a single bit the tree can be read, but is another one.
            alice.rows | {key: changed_in_the_middle(alice.rows[key])},
        ):
            with pytest.raises(VaultDamaged):
                mls.Engine(rows.get).group(GID)
    alice.engine.delete_group(GID)
    alice.save()
    assert {key.split(b"/")[0] for key in alice.rows} == {b"signer"}


# KeyPackages and Welcomes


@both_suites
def test_a_key_package_says_whose_it_is_and_for_how_long(suite: int) -> None:
    alice = Client("alice")
    made = alice.engine.new_key_package(
        suite, alice.signer, b"credential", b"leaf", now=NOW, lifetime_s=DAY
    )
    view = mls.check_key_package(made.bytes, now=NOW)
    assert view == mls.KeyPackageView(
        made.ref, suite, b"credential", alice.signer, b"leaf", NOW + DAY
    )
    assert len(made.bytes) < 3000
    mls.check_key_package(made.bytes, now=NOW + DAY - 1)
    with pytest.raises(InvalidKeyPackage):
        mls.check_key_package(made.bytes, now=NOW + DAY)


def test_a_key_package_from_far_in_the_future_is_refused() -> None:
    alice = Client("alice")
    made = alice.engine.new_key_package(
        mls.CLASSICAL_SUITE, alice.signer, b"", b"", now=NOW, lifetime_s=84 * DAY
    )
    mls.check_key_package(made.bytes, now=NOW - 3600)
    with pytest.raises(InvalidKeyPackage):
        mls.check_key_package(made.bytes, now=NOW - 3601)


@both_suites
def test_no_bit_of_a_key_package_can_be_changed(suite: int) -> None:
    package = Client("alice").key_package(suite)
    for position in range(0, len(package) * 8, 8 if suite == mls.CLASSICAL_SUITE else 61):
        with pytest.raises(InvalidKeyPackage):
            mls.check_key_package(flipped(package, position), now=NOW)


def test_a_welcome_shows_what_joining_would_join() -> None:
    alice, bob = Client("alice"), Client("bob")
    alice.create(mls.HYBRID_SUITE)
    made = bob.engine.new_key_package(
        mls.HYBRID_SUITE, bob.signer, b"bob", b"", now=NOW, lifetime_s=DAY
    )
    bob.save()
    bundle = alice.engine.commit(GID, adds=[made.bytes])
    alice.win(bundle)
    assert bundle.welcome is not None
    view = bob.engine.inspect_welcome(bundle.welcome, bundle.tree)
    assert view == mls.WelcomeView(
        GID, 1, mls.HYBRID_SUITE, b"policy 0", alice.engine.members(GID), 0, made.ref
    )
    assert bob.engine.take_delta() == []
    with pytest.raises(NotAMember):
        bob.engine.group(GID)
    bob.engine.join(bundle.welcome, bundle.tree)
    assert any(value is None for key, value in bob.engine.take_delta() if b"key-package" in key)
    with pytest.raises(InvalidWelcome):
        bob.engine.join(bundle.welcome, bundle.tree)


def test_a_garbage_welcome_burns_no_key_package() -> None:
    alice, bob = Client("alice"), Client("bob")
    alice.create(mls.CLASSICAL_SUITE)
    bundle = alice.engine.commit(GID, adds=[bob.key_package(mls.CLASSICAL_SUITE)])
    assert bundle.welcome is not None
    assert bundle.tree is not None
    rows = dict(bob.rows)
    garbage: list[tuple[bytes, bytes | None]] = [
        (flipped(bundle.welcome, position), bundle.tree)
        for position in range(0, len(bundle.welcome) * 8, 37)
    ]
    garbage += [
        (bundle.welcome, flipped(bundle.tree, position))
        for position in range(0, len(bundle.tree) * 8, 37)
    ]
    garbage += [(bundle.welcome[:size], bundle.tree) for size in range(0, len(bundle.welcome), 7)]
    garbage += [(bundle.welcome, bundle.tree[:-1]), (bundle.welcome, b""), (bundle.welcome, None)]
    garbage += [(bundle.welcome + b"\0", bundle.tree), (bundle.commit, bundle.tree)]
    for welcome, tree in garbage:
        for take in (bob.engine.inspect_welcome, bob.engine.join):
            with pytest.raises(InvalidWelcome):
                take(welcome, tree)
    assert bob.engine.take_delta() == []
    assert bob.rows == rows
    bob.engine.join(bundle.welcome, bundle.tree)


def test_a_deleted_key_package_lets_nobody_in() -> None:
    alice, bob = Client("alice"), Client("bob")
    alice.create(mls.CLASSICAL_SUITE)
    made = bob.engine.new_key_package(
        mls.CLASSICAL_SUITE, bob.signer, b"bob", b"", now=NOW, lifetime_s=DAY
    )
    bob.engine.delete_key_package(made.ref)
    bob.engine.delete_key_package(made.ref)
    bundle = alice.engine.commit(GID, adds=[made.bytes])
    assert bundle.welcome is not None
    with pytest.raises(InvalidWelcome):
        bob.engine.join(bundle.welcome, bundle.tree)


def test_an_add_is_judged_alike_whatever_the_clock_says(trio: list[Client]) -> None:
    alice, bob, carol = trio
    dave = Client("dave")
    made = dave.engine.new_key_package(
        mls.CLASSICAL_SUITE, dave.signer, b"dave", b"", now=1, lifetime_s=1
    )  # out of date since 1970
    dave.save()
    with pytest.raises(InvalidKeyPackage):
        mls.check_key_package(made.bytes, now=NOW)
    bundle = everyone_moves([alice, bob, carol], alice, adds=[made.bytes])
    assert bundle.welcome is not None
    dave.engine.join(bundle.welcome, bundle.tree)


# Refusals


def test_arguments_that_cannot_be_are_refused_and_change_nothing(trio: list[Client]) -> None:
    alice, bob, _ = trio
    engine, signer = alice.engine, alice.signer
    suite = mls.CLASSICAL_SUITE
    dave = Client("dave")
    twice = [dave.key_package(suite), dave.key_package(suite)]

    def key_package(*, lifetime_s: int) -> mls.KeyPackage:
        return engine.new_key_package(suite, signer, b"", b"", now=NOW, lifetime_s=lifetime_s)

    calls: list[Callable[[], object]] = [
        lambda: engine.create_group(GID, suite, signer, b"", b"", b""),
        lambda: engine.create_group(b"", suite, signer, b"", b"", b""),
        lambda: engine.create_group(bytes(256), suite, signer, b"", b"", b""),
        lambda: engine.create_group(b"new", 0x0002, signer, b"", b"", b""),
        lambda: engine.create_group(b"new", suite, bytes(32), b"", b"", b""),
        lambda: key_package(lifetime_s=0),
        lambda: key_package(lifetime_s=84 * DAY + 1),
        lambda: engine.new_key_package(suite, signer, bytes(1 << 14), b"", now=NOW, lifetime_s=DAY),
        lambda: engine.commit(GID),
        lambda: engine.commit(GID, removes=[0]),
        lambda: engine.commit(GID, removes=[3]),
        lambda: engine.commit(GID, removes=[1 << 31]),
        lambda: engine.commit(GID, adds=twice),
        lambda: engine.commit(GID, adds=[bob.key_package(suite)]),
        lambda: engine.export_secret(GID, "x", b"", 0),
        lambda: engine.export_secret(GID, "x", b"", 1025),
        lambda: engine.encrypt(GID, bytes(4 << 20)),
    ]
    alice.save()
    before = alice.seen()
    for call in calls:
        with pytest.raises(BadArgument):
            call()
        assert engine.take_delta() == []
        assert alice.seen() == before
    with pytest.raises(InvalidKeyPackage):
        engine.commit(GID, adds=[Client("dave").key_package(mls.HYBRID_SUITE)])
    with pytest.raises(InvalidKeyPackage):
        engine.commit(GID, adds=[b"garbage"])


def test_a_commit_whose_secrets_are_wrong_is_refused_and_changes_nothing(
    trio: list[Client],
) -> None:
    alice, bob, _ = trio
    (row,) = [key for key in alice.rows if key.startswith(b"epoch-secrets/")]
    secrets = alice.rows[row]
    at = secrets.index(b"\x18", secrets.index(b"init_secret")) + 1  # CBOR: one byte follows
    alice.rows[row] = secrets[:at] + bytes([secrets[at] ^ 64]) + secrets[at + 1 :]
    before = bob.seen()
    alice.restart()
    commit = alice.engine.commit(GID, update=True).commit
    with pytest.raises(InvalidCommit):
        bob.engine.process(GID, commit)
    assert bob.engine.take_delta() == []
    assert bob.seen() == before


def test_a_group_that_is_not_there_is_refused_everywhere(trio: list[Client]) -> None:
    alice, bob, _ = trio
    gid = b"elsewhere"
    calls: list[Callable[[], object]] = [
        lambda: alice.engine.group(gid),
        lambda: alice.engine.members(gid),
        lambda: alice.engine.pending(gid),
        lambda: alice.engine.encrypt(gid, b""),
        lambda: alice.engine.process(gid, bob.send(b"")),
        lambda: alice.engine.commit(gid, update=True),
        lambda: alice.engine.merge_pending(gid, bytes(32)),
        lambda: alice.engine.clear_pending(gid),
        lambda: alice.engine.export_secret(gid, "x", b"", 32),
        lambda: alice.engine.export_pending(gid, "x", b"", 32),
        lambda: alice.engine.export_tree(gid),
        lambda: alice.engine.delete_group(gid),
    ]
    for call in calls:
        with pytest.raises(NotAMember):
            call()


def test_additional_data_of_a_message_that_was_refused_is_not_on_the_next(
    trio: list[Client],
) -> None:
    alice, bob, _ = trio
    with pytest.raises(BadArgument):
        alice.engine.commit(GID, adds=[bob.key_package(mls.CLASSICAL_SUITE)], aad=b"secret")
    assert bob.read(alice.send(b"")).aad == b""


def test_a_message_of_one_group_is_refused_in_another(trio: list[Client]) -> None:
    alice, bob, _ = trio
    bob.create(mls.CLASSICAL_SUITE, b"other")
    with pytest.raises(InvalidMessage):
        bob.engine.process(b"other", alice.send(b"hi"))


def test_bytes_beyond_their_limit_are_refused_before_they_are_read(trio: list[Client]) -> None:
    alice, *_ = trio
    huge = bytes((4 << 20) + 1)
    with pytest.raises(InvalidMessage):
        mls.peek(huge)
    with pytest.raises(InvalidMessage):
        alice.engine.process(GID, huge)
    with pytest.raises(InvalidWelcome):
        alice.engine.join(huge, None)
    with pytest.raises(InvalidKeyPackage):
        mls.check_key_package(bytes((16 << 10) + 1), now=NOW)


# Bytes of strangers


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def broken(data: bytes) -> Iterator[bytes]:
    yield from (data[:size] for size in range(len(data)))
    yield data + b"\0"
    yield from (flipped(data, bit) for bit in range(len(data) * 8))


@pytest.mark.parametrize("content", ["message", "commit"])
def test_no_changed_or_cut_message_is_read_or_changes_anything(
    trio: list[Client], content: str
) -> None:
    alice, bob, _ = trio
    commit = alice.engine.commit(GID, update=True).commit
    whole = alice.send(b"text") if content == "message" else commit
    before = bob.seen()
    for data in broken(whole):
        with pytest.raises((InvalidMessage, FutureEpoch, WrongEpoch, TooOld, ReusedSecret)):
            bob.engine.process(GID, data)
    assert bob.engine.take_delta() == []
    assert bob.seen() == before
    bob.engine.process(GID, whole)


@settings(max_examples=200)
@given(data=st.binary(max_size=300), head=st.sampled_from([1, 2, 3, 4, 5, None]))
def test_random_bytes_are_refused_by_every_entry(data: bytes, head: int | None) -> None:
    if head is not None:
        data = b"\0\1" + head.to_bytes(2, "big") + data
    client = loner()
    calls: list[Callable[[], object]] = [
        lambda: mls.check_key_package(data, now=NOW),
        lambda: client.engine.process(GID, data),
        lambda: client.engine.inspect_welcome(data, data),
        lambda: client.engine.join(data, None),
        lambda: client.engine.commit(GID, adds=[data]),
    ]
    for call in calls:
        with pytest.raises(AmanatError) as refused:
            call()
        assert not isinstance(refused.value, EngineFailed)
    assert client.engine.take_delta() == []
    assert client.epoch == 0


_LONERS: list[Client] = []


def loner() -> Client:
    """A group of one that no test changes, so that random examples can share it."""
    if not _LONERS:
        client = Client("alone")
        client.create(mls.CLASSICAL_SUITE)
        _LONERS.append(client)
    return _LONERS[0]


# Any history


OPERATIONS = (
    "send", "update", "policy", "swap", "race", "read late", "reject", "abort", "restart",
    "come in again",
)  # fmt: skip
FOR_TWO = ("swap", "race", "reject", "come in again")


@pytest.mark.long
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3), st.integers(0, 3)), max_size=25
    )
)
def test_after_any_history_the_rows_alone_say_the_same(
    steps: list[tuple[str, int, int]],
) -> None:
    clients = group_of(mls.CLASSICAL_SUITE, "a", "b", "c", "d")
    names = (f"newcomer {i}" for i in itertools.count())
    late: list[tuple[Client, bytes, list[Client]]] = []
    for operation, one, other in steps:
        step(operation, clients[one], clients[other], clients, late, next(names))
        for client in clients:
            client.save()
            reloaded = Client.__new__(Client)
            reloaded.rows, reloaded.engine = client.rows, mls.Engine(client.rows.get)
            assert reloaded.seen() == client.seen()
        assert len({client.engine.group(GID).epoch_authenticator for client in clients}) == 1
    for sender in clients:  # and everyone can still talk, by whichever engine
        for client in clients:
            client.restart()
        message = sender.send(b"still here")
        assert all(c.read(message).plaintext == b"still here" for c in clients if c is not sender)


def come_in_again(one: Client, other: Client, clients: list[Client]) -> None:
    """An external Commit of `one`, from the GroupInfo and tree of `other`, after one that lost."""

    def made() -> mls.CommitBundle:
        info, tree = other.engine.group_info(GID), other.engine.export_tree(GID)
        return one.engine.join_external(info, tree, one.signer, one.name, b"leaf again")

    made()
    one.save()
    one.restart()
    one.engine.clear_pending(GID)
    bundle = made()
    one.save()
    for client in clients:
        if client is not one:
            client.follow(bundle.commit)
    one.win(bundle)


def read_late(message: bytes, sender: Client, readers: list[Client]) -> None:
    for reader in readers:
        try:
            assert reader.read(message).signer == sender.signer
        except TooOld:
            continue


def step(
    operation: str,
    one: Client,
    other: Client,
    clients: list[Client],
    late: list[tuple[Client, bytes, list[Client]]],
    name: str,
) -> None:
    if one is other and operation in FOR_TWO:
        return
    match operation:
        case "send":
            late.append((one, one.send(b"hi"), [c for c in clients if c is not one]))
        case "read late" if late:
            sender, message, readers = late.pop()
            read_late(message, sender, [reader for reader in readers if reader in clients])
        case "update":
            everyone_moves(clients, one, update=True)
        case "policy":
            everyone_moves(clients, one, policy=name.encode())
        case "swap":
            newcomer = Client(name)
            leaf = other.engine.group(GID).own_leaf
            package = newcomer.key_package(mls.CLASSICAL_SUITE)
            bundle = everyone_moves(clients, one, removes=[leaf], adds=[package])
            assert bundle.welcome is not None
            newcomer.engine.join(bundle.welcome, bundle.tree)
            clients[clients.index(other)] = newcomer
        case "race":
            other.engine.commit(GID, policy=b"lost")
            everyone_moves(clients, one, policy=b"won " + name.encode())
        case "reject":
            bundle = one.engine.commit(GID, update=True)
            staged = other.engine.process(GID, bundle.commit)
            assert isinstance(staged, mls.StagedCommit)
            other.engine.reject(staged.handle)
            one.engine.clear_pending(GID)
        case "come in again":
            come_in_again(one, other, clients)
        case "abort":
            one.engine.encrypt(GID, b"never sent")
            one.engine.commit(GID, update=True)
            one.engine.abort()
        case "restart":
            one.restart()
