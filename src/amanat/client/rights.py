"""Who may change a group: the rules every member judges every Commit by.

They use nothing but the group's own state before the Commit and the Commit itself, so all members
come to the same answer; where two differed, the group would fork (docs/protocol.md, section 9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import InvalidCommit, InvalidCredential
from amanat.protocol.identity import (
    Credential,
    Leaf,
    check_credential,
    check_signature,
    decode_leaf,
    leave_text,
)
from amanat.protocol.messages import CommitInfo, Leave, Policy, decode_commit_info, decode_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.mls import Member, StagedCommit

MAX_HYBRID_LEAVES = 256
"""Most leaves of a group on the hybrid suite: beyond, its Commits grow to hundreds of KiB."""
MAX_CLASSICAL_LEAVES = 1000
"""Most leaves of a group on the classical suite: what the engine is measured for."""


class Person(NamedTuple):
    """A leaf with what its credential and extension say, checked."""

    leaf_index: int
    signer: bytes
    credential: Credential
    leaf: Leaf

    @property
    def identity(self) -> bytes:
        """The person's identity key."""
        return self.credential.identity


def read_member(leaf_index: int, credential: bytes, signer: bytes, leaf: bytes) -> Person:
    """A leaf of the tree, checked. Raises InvalidCredential."""
    return Person(
        leaf_index, signer, check_credential(credential, signer=signer), decode_leaf(leaf)
    )


def read_members(members: Sequence[Member]) -> list[Person]:
    """All leaves of a tree, checked. Raises InvalidCredential."""
    return [read_member(m.leaf_index, m.credential, m.signer, m.leaf) for m in members]


def admins(policy: Policy, people: Sequence[Person]) -> set[bytes]:
    """The identities with admin rights: the admins who are members.

    When the last of them has left, the person at the lowest leaf is admin, so no group is stuck.
    """
    present = {person.identity for person in people} & set(policy.admins)
    if present or policy.direct or not people:
        return present
    return {min(people, key=lambda person: person.leaf_index).identity}


def judge(
    policy: Policy, people: Sequence[Person], commit: StagedCommit, *, group: bytes, most: int
) -> None:
    """Raise InvalidCommit unless the committer may do all that the Commit does.

    `people` are the members before it; `most` is the largest number of leaves after it.
    """
    by_leaf = {person.leaf_index: person for person in people}
    committer = by_leaf.get(commit.committer.leaf_index)
    if committer is None:
        raise InvalidCommit
    may_all = committer.identity in admins(policy, people)
    info = decode_commit_info(commit.aad) if commit.aad else CommitInfo(leaves=[])
    try:
        added = [check_credential(add.credential, signer=add.signer) for add in commit.adds]
        for add in commit.adds:
            decode_leaf(add.leaf)
        for update in commit.updates:
            _judge_update(by_leaf, update)
    except InvalidCredential:
        raise InvalidCommit from None
    if len(people) + len(added) - len(commit.removes) > most:
        raise InvalidCommit
    # One device a person so far: a second one would need pair chains of its own.
    identities = {person.identity for person in people}
    new = {credential.identity for credential in added}
    if new and (not may_all or new & identities or len(new) < len(added)):
        raise InvalidCommit
    for leaf_index in commit.removes:
        gone = by_leaf.get(leaf_index)
        if gone is None:
            raise InvalidCommit
        own = gone.identity == committer.identity
        if not (may_all or own or is_leaving(gone, info.leaves, group=group)):
            raise InvalidCommit
    if commit.policy_new is not None:
        _judge_policy(policy, decode_policy(commit.policy_new), may_all=may_all)


def is_leaving(person: Person, leaves: Sequence[Leave], *, group: bytes) -> bool:
    """Whether one of the signed wishes to leave is this leaf's own."""
    text = leave_text(group, person.leaf.nonce)
    for wish in leaves:
        if wish.identity == person.identity and wish.nonce == person.leaf.nonce:
            try:
                check_signature(wish.identity, wish.signature, text)
            except InvalidCredential:
                continue
            return True
    return False


def _judge_update(by_leaf: dict[int, Person], update: Member) -> None:
    before = by_leaf.get(update.leaf_index)
    after = read_member(update.leaf_index, update.credential, update.signer, update.leaf)
    # A device's keys may be refreshed; who it is, and which membership this is, may not change.
    if (
        before is None
        or after.credential != before.credential
        or after.signer != before.signer
        or after.leaf.nonce != before.leaf.nonce
    ):
        raise InvalidCommit


def _judge_policy(before: Policy, after: Policy, *, may_all: bool) -> None:
    same_place = (after.relay, after.region) == (before.relay, before.region)
    if not may_all or before.direct or after.direct or not same_place:
        raise InvalidCommit
