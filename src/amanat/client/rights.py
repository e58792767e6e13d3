"""Who may change a group: the rules every member judges every Commit by.

They use nothing but the group's own state before the Commit and the Commit itself, so all members
come to the same answer; where two differed, the group would fork (docs/protocol.md, section 9).
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple, assert_never

from msgspec import structs

from amanat import mls
from amanat.errors import InvalidCommit, InvalidCredential
from amanat.protocol.identity import (
    Credential,
    Leaf,
    check_credential,
    check_signature,
    decode_leaf,
    leave_text,
)
from amanat.protocol.messages import (
    CommitInfo,
    Leave,
    Policy,
    Who,
    decode_commit_info,
    decode_policy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.mls import Member, ReadCommit

MAX_HYBRID_LEAVES = 256
"""Most leaves of a group on the hybrid suite: beyond, its Commits grow to hundreds of KiB."""
MAX_CLASSICAL_LEAVES = 1000
"""Most leaves of a group on the classical suite: what the engine is measured for."""


@unique
class Deed(StrEnum):
    """What somebody may do to a group."""

    ADD = "add"
    REMOVE = "remove"
    RENAME = "rename"
    ADMINISTER = "administer"
    """To change who else may do what."""
    PLACE = "place"
    """To say where its epoch drops are."""


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


def most_leaves(suite: int) -> int:
    """How many leaves a group of a suite may have."""
    return MAX_HYBRID_LEAVES if suite == mls.HYBRID_SUITE else MAX_CLASSICAL_LEAVES


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


def may(
    policy: Policy,
    people: Sequence[Person],
    identity: bytes,
    deed: Deed,
    whom: bytes | None = None,
) -> bool:
    """Whether a person may do this in a group, to the person `whom` where it is done to one.

    In a 1:1 conversation both may place it, and nobody may do anything else. To leave, and to let
    go who leaves, needs no right. A Commit by somebody who is no admin must not add and take an
    admin away at once.
    """
    in_charge = admins(policy, people)
    if all(person.identity != identity for person in people):
        return False
    if policy.direct:
        return deed is Deed.PLACE and identity in policy.direct
    if identity in in_charge:
        return True
    match deed:
        case Deed.ADD:
            # Members make no admins: neither by asking back in one who is still listed, nor, while
            # the lowest leaf rules for want of one, by filling a lower leaf.
            safe = in_charge <= set(policy.admins) and whom not in policy.admins
            return policy.may_add == Who.MEMBERS and safe
        case Deed.REMOVE:
            return policy.may_remove == Who.MEMBERS and whom not in in_charge
        case Deed.RENAME:
            return policy.may_rename == Who.MEMBERS
        case Deed.ADMINISTER | Deed.PLACE:
            return False
        case _:
            assert_never(deed)


def judge(
    policy: Policy, people: Sequence[Person], commit: ReadCommit, *, group: bytes, most: int
) -> None:
    """Raise InvalidCommit unless the committer may do all that the Commit does.

    `people` are the members before it; `most` is the largest number of leaves after it.
    """
    if commit.external:
        _judge_rejoin(policy, people, commit)
        return
    by_leaf = {person.leaf_index: person for person in people}
    committer = by_leaf.get(commit.committer.leaf_index)
    if committer is None:
        raise InvalidCommit
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
    new = [credential.identity for credential in added]
    gone = [by_leaf.get(leaf_index) for leaf_index in commit.removes]
    _judge_members(policy, people, committer.identity, new, gone, info.leaves, group=group)
    if commit.policy_new is not None:
        _judge_policy(policy, decode_policy(commit.policy_new), people, committer.identity)


def _judge_rejoin(policy: Policy, people: Sequence[Person], commit: ReadCommit) -> None:
    """A member comes in again on a new leaf in place of the old one, and nothing else changes.

    The new leaf is the first that is free (RFC 9420, section 12.4.3.2), so it may be lower than
    the old one, and the lowest leaf rules where no admin is left: nobody comes to rule by it.
    """
    try:
        back = read_member(
            commit.committer.leaf_index,
            commit.committer.credential,
            commit.committer.signer,
            commit.committer.leaf,
        )
    except InvalidCredential:
        raise InvalidCommit from None
    gone = [person for person in people if person.leaf_index in commit.removes]
    others = [person for person in people if person.leaf_index not in commit.removes]
    if (
        len(commit.removes) != 1
        or [person.identity for person in gone] != [back.identity]
        or back.leaf.nonce == gone[0].leaf.nonce
        or commit.updates != (commit.committer,)
        or commit.adds
        or commit.policy_new is not None
        or (commit.aad and decode_commit_info(commit.aad).leaves)
        or admins(policy, [*others, back]) != admins(policy, people)
    ):
        raise InvalidCommit


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


def _judge_members(
    policy: Policy,
    people: Sequence[Person],
    committer: bytes,
    new: Sequence[bytes],
    gone: Sequence[Person | None],
    leaves: Sequence[Leave],
    *,
    group: bytes,
) -> None:
    # One device a person so far: a second one would need pair chains of its own.
    if {person.identity for person in people} & set(new) or len(set(new)) < len(new):
        raise InvalidCommit
    in_charge = admins(policy, people)
    for person in gone:
        if person is None:
            raise InvalidCommit
        free = person.identity == committer or is_leaving(person, leaves, group=group)
        if not (free or may(policy, people, committer, Deed.REMOVE, person.identity)):
            raise InvalidCommit
        if new and person.identity in in_charge and committer not in in_charge:
            raise InvalidCommit
    for identity in new:
        if not may(policy, people, committer, Deed.ADD, identity):
            raise InvalidCommit


def _judge_policy(
    before: Policy, after: Policy, people: Sequence[Person], committer: bytes
) -> None:
    # Built up from the policy before, so that what nobody may change cannot be forgotten here.
    renamed = structs.replace(before, name=after.name)
    administered = structs.replace(
        renamed,
        admins=after.admins,
        may_add=after.may_add,
        may_remove=after.may_remove,
        may_rename=after.may_rename,
    )
    placed = structs.replace(administered, relay=after.relay, region=after.region)
    if (
        after != placed
        or (before.direct and after == before)
        or (renamed != before and not may(before, people, committer, Deed.RENAME))
        or (administered != renamed and not may(before, people, committer, Deed.ADMINISTER))
        or (placed != administered and not may(before, people, committer, Deed.PLACE))
    ):
        raise InvalidCommit
