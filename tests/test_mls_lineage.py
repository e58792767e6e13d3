"""Lineages: a group's way from one state to another, followed without the secrets of its epochs."""

from __future__ import annotations

import pytest

from amanat import mls
from amanat.errors import BadArgument, InvalidCommit, InvalidMessage, PeerError
from test_mls import GID, Client, both_suites, everyone_moves, flipped, group_of
from test_mls_external import copy_of, rejoin


def history(suite: int) -> tuple[list[Client], mls.Lineage, list[bytes]]:
    """(members, lineage, Commits) of a group that has had one Commit of each kind; the lineage
    stands before them."""
    alice, bob, carol = clients = group_of(suite, "alice", "bob", "carol")
    before = mls.Lineage.begin(alice.engine.group_info(GID), alice.engine.export_tree(GID))[0]
    dave = Client("dave")
    commits = [everyone_moves(clients, bob, update=True).commit]
    added = everyone_moves(clients, alice, adds=[dave.key_package(suite)])
    assert added.welcome is not None
    dave.engine.join(added.welcome, added.tree)
    dave.save()
    commits.append(added.commit)
    everyone = [*clients, dave]
    commits.append(everyone_moves(everyone, carol, policy=b"policy 1", aad=b"why").commit)
    commits.append(everyone_moves([alice, carol, dave], dave, removes=[1]).commit)
    again = copy_of(carol)
    back = rejoin(again, alice)
    for client in (alice, dave):
        client.follow(back.commit)
    again.win(back)
    commits.append(back.commit)
    commits.append(everyone_moves([alice, dave, again], again, leaf=b"moved").commit)
    return [alice, dave, again], before, commits


def follow(lineage: mls.Lineage, commits: list[bytes]) -> list[mls.ReadCommit]:
    seen = []
    for commit in commits:
        seen.append(lineage.read(commit))
        lineage.accept()
    return seen


@both_suites
def test_every_kind_of_commit_is_followed_to_the_state_of_the_members(suite: int) -> None:
    members, lineage, commits = history(suite)
    update, add, policy, remove, back, leaf = follow(lineage, commits)
    assert [member.leaf_index for member in update.updates] == [1]
    assert [added.credential for added in add.adds] == [b"dave"]
    assert (policy.policy_new, policy.aad, policy.committer.leaf_index) == (b"policy 1", b"why", 2)
    assert (remove.removes, remove.self_removed) == ((1,), False)
    assert (back.external, back.removes, back.committer.leaf_index) == (True, (2,), 1)
    assert leaf.updates[0].leaf == b"moved"
    for member in members:
        assert member.engine.lineage(GID).view() == lineage.view()
        info, tree = member.engine.group_info(GID), member.engine.export_tree(GID)
        told, signer = mls.Lineage.begin(info, tree)
        assert (told.view(), signer) == (lineage.view(), member.engine.group(GID).own_leaf)


def test_a_lineage_begins_where_a_member_is_and_leaves_that_member_alone() -> None:
    alice, bob = clients = group_of(mls.CLASSICAL_SUITE, "alice", "bob")
    old = copy_of(bob)
    rows, before = dict(old.rows), old.seen()
    lineage = old.engine.lineage(GID)
    commits = [everyone_moves(clients, bob, update=True).commit for _ in range(3)]
    assert all(read.committer.signer == bob.signer for read in follow(lineage, commits))
    assert lineage.view() == alice.engine.lineage(GID).view()
    assert old.engine.take_delta() == []
    assert (old.rows, old.seen()) == (rows, before)


def test_a_commit_changes_nothing_until_it_is_accepted_and_is_accepted_once() -> None:
    _, lineage, commits = history(mls.CLASSICAL_SUITE)
    before = lineage.view()
    with pytest.raises(BadArgument):
        lineage.accept()
    for _ in range(2):
        lineage.read(commits[0])
    assert lineage.view() == before
    lineage.accept()
    with pytest.raises(BadArgument):
        lineage.accept()
    assert lineage.view().epoch == before.epoch + 1


def test_nothing_can_be_left_out_put_in_or_put_in_another_order() -> None:
    _, lineage, commits = history(mls.CLASSICAL_SUITE)
    for wrong in commits[1:]:
        with pytest.raises(InvalidCommit):
            lineage.read(wrong)
    follow(lineage, commits[:2])
    for wrong in (*commits[:2], *commits[3:]):
        with pytest.raises(InvalidCommit):
            lineage.read(wrong)


def test_a_sibling_does_not_go_on_from_where_the_group_went() -> None:
    alice, bob, carol = group_of(mls.CLASSICAL_SUITE, "alice", "bob", "carol")
    lineage, other = alice.engine.lineage(GID), alice.engine.lineage(GID)
    parted = copy_of(bob)
    first = parted.engine.commit(GID, update=True)
    parted.win(first)
    second = parted.engine.commit(GID, update=True)
    won = everyone_moves([alice, bob, carol], alice, update=True)
    assert follow(lineage, [won.commit])
    with pytest.raises(InvalidCommit):
        lineage.read(second.commit)
    assert follow(other, [first.commit, second.commit])
    assert other.view().state != lineage.view().state


def test_no_changed_commit_is_read_to_the_state_of_the_members() -> None:
    members, lineage, commits = history(mls.CLASSICAL_SUITE)
    follow(lineage, commits[:-1])
    last, right = commits[-1], members[0].engine.lineage(GID).view().state
    unnoticed = 0
    for at in range(0, len(last) * 8, 3):
        try:
            lineage.read(flipped(last, at))
        except PeerError:
            continue
        unnoticed += 1
    # Only a Commit's confirmation tag and membership tag are outside its signature. The first is
    # part of the state; the second is of use to members alone.
    assert 0 < unnoticed <= (32 + 32) * 8 // 3 + 2
    follow(lineage, [last])
    assert lineage.view().state == right


def test_a_wrong_confirmation_tag_shows_in_the_state() -> None:
    alice, bob = clients = group_of(mls.CLASSICAL_SUITE, "alice", "bob")
    begun = alice.engine.lineage(GID), alice.engine.lineage(GID)
    commit = everyone_moves(clients, bob, update=True).commit
    states = set()
    for lineage, change in zip(begun, (0, 1), strict=True):
        # The confirmation tag, and after it the membership tag: 32 bytes each, and a length of 1.
        changed = bytearray(commit)
        changed[-40] ^= change
        follow(lineage, [bytes(changed)])
        states.add(lineage.view().state)
    assert len(states) == 2
    assert alice.engine.lineage(GID).view().state in states


def test_messages_and_proposals_are_no_commits() -> None:
    members, lineage, commits = history(mls.CLASSICAL_SUITE)
    follow(lineage, commits)
    for junk in (members[0].send(b"hello"), b"", b"\0" * 100, members[0].engine.group_info(GID)):
        with pytest.raises(InvalidMessage):
            lineage.read(junk)
