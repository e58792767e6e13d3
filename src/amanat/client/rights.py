"""Rights: the rules by which every member judges every Commit.

They use nothing but the group's own state before the Commit and the Commit itself, so all members
come to the same answer. If two differed, the group would fork (docs/protocol.md, section 9).
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple, assert_never

from msgspec import structs

from amanat import mls
from amanat.errors import InvalidCommit, InvalidCredential, OldGeneration
from amanat.protocol.identity import (
    Address,
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
    from collections.abc import Iterable, Sequence

    from amanat.mls import Member, ReadCommit

MAX_HYBRID_LEAVES = 256
"""The most leaves of a group on the hybrid suite. Beyond this, its Commits grow to hundreds of
KiB."""
MAX_CLASSICAL_LEAVES = 1000
"""The most leaves of a group on the classical suite: the size for which the engine is measured."""


@unique
class Deed(StrEnum):
    """The deeds by which a person changes a group."""

    ADD = "add"
    REMOVE = "remove"
    RENAME = "rename"
    ADMINISTER = "administer"
    """To change the rights of others."""
    PLACE = "place"
    """To set the relay of its epoch drops, wherever that is."""


class Person(NamedTuple):
    """A leaf with the checked content of its credential and extension."""

    leaf_index: int
    signer: bytes
    credential: Credential
    leaf: Leaf

    @property
    def identity(self) -> bytes:
        """The person's identity key."""
        return self.credential.identity


def most_leaves(suite: int) -> int:
    """The most leaves that a group of a suite may have."""
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

    When the last of them has left, the person at the lowest leaf is the admin, so no group is
    stuck.
    """
    present = {person.identity for person in people} & set(policy.admins)
    if present or policy.direct or not people:
        return present
    return {min(people, key=lambda person: person.leaf_index).identity}


def highest_generation(people: Iterable[Person], identity: bytes) -> int:
    """The highest generation among somebody's leaves; 0 if they have none."""
    return max((p.credential.generation for p in people if p.identity == identity), default=0)


def may(
    policy: Policy,
    people: Sequence[Person],
    identity: bytes,
    deed: Deed,
    whom: bytes | None = None,
) -> bool:
    """Whether a person may do this deed in a group, to the person `whom` if it is done to one.

    In a 1:1 conversation both may place it, and nobody may do anything else. Leaving, letting go a
    member who leaves, and taking a group along (`taken_along`) need no right. A Commit by somebody
    who is no admin must not both add people and remove an admin.
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
            # Members must not make admins: neither by adding one back who is still listed, nor,
            # while the lowest leaf rules because there is no admin, by filling a lower leaf.
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
    """Raise InvalidCommit unless the committer may do everything that the Commit does. It is
    OldGeneration if a device comes in, or stays, of a generation below its person's highest.

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
        leaves = {person.leaf_index: person.leaf for person in people}
        for update in commit.updates:
            leaves[update.leaf_index] = _judge_update(by_leaf, update)
        renewed = [by_leaf[update.leaf_index].credential for update in commit.updates]
        _judge_generations(people, [*added, *renewed])
        home = leaves[committer.leaf_index].addresses[0]
        for leaf_index in commit.removes:
            leaves.pop(leaf_index, None)
        after = [*leaves.values(), *(decode_leaf(add.leaf) for add in commit.adds)]
    except InvalidCredential:
        raise InvalidCommit from None
    if len(people) + len(added) - len(commit.removes) > most:
        raise InvalidCommit
    new = [credential.identity for credential in added]
    gone = [by_leaf.get(leaf_index) for leaf_index in commit.removes]
    _judge_members(policy, people, committer.identity, new, gone, info.leaves, group=group)
    if commit.policy_new is not None:
        new_policy = decode_policy(commit.policy_new)
        along = taken_along(policy, after, home)
        _judge_policy(policy, new_policy, people, committer.identity, along=along)


def taken_along(policy: Policy, leaves: Iterable[Leaf], home: Address) -> Policy:
    """The policy with which these leaves remain in a group: placed at the committer's home if
    nobody is at its relay any longer, because nobody could make another epoch drop there."""
    relays = {address.relay.key for leaf in leaves for address in leaf.addresses}
    if policy.relay.key in relays:
        return policy
    return structs.replace(policy, relay=home.relay, region=home.region)


def _judge_rejoin(policy: Policy, people: Sequence[Person], commit: ReadCommit) -> None:
    """Raise InvalidCommit unless a member only joins again on a new leaf in place of their old one.

    The new leaf is the first free one (RFC 9420, section 12.4.3.2), so it may be lower than the old
    one. Because the lowest leaf rules when no admin is left, nobody may come to rule in this way.
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
    _judge_generations(people, [back.credential])
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


def _judge_generations(people: Sequence[Person], credentials: Iterable[Credential]) -> None:
    """Raise OldGeneration if a leaf with one of these credentials is of a generation below the
    highest of its person in the group. Their identity key has signed both, so nobody else can bring
    a device of theirs in, or lock one out."""
    for credential in credentials:
        if credential.generation < highest_generation(people, credential.identity):
            raise OldGeneration


def is_leaving(person: Person, leaves: Sequence[Leave], *, group: bytes) -> bool:
    """Whether one of these signed wishes to leave is for this leaf."""
    text = leave_text(group, person.leaf.nonce)
    for wish in leaves:
        if wish.identity == person.identity and wish.nonce == person.leaf.nonce:
            try:
                check_signature(wish.identity, wish.signature, text)
            except InvalidCredential:
                continue
            return True
    return False


def _judge_update(by_leaf: dict[int, Person], update: Member) -> Leaf:
    before = by_leaf.get(update.leaf_index)
    after = read_member(update.leaf_index, update.credential, update.signer, update.leaf)
    # A device may refresh its keys. Its identity, and the membership that the leaf stands for, may
    # not change.
    if (
        before is None
        or after.credential != before.credential
        or after.signer != before.signer
        or after.leaf.nonce != before.leaf.nonce
    ):
        raise InvalidCommit
    return after.leaf


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
    # Each person has one device so far, because a second one would need its own pair chains.
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
    before: Policy, after: Policy, people: Sequence[Person], committer: bytes, *, along: Policy
) -> None:
    # Built from the policy before, so that no field that nobody may change can be forgotten here.
    renamed = structs.replace(before, name=after.name)
    administered = structs.replace(
        renamed,
        admins=after.admins,
        may_add=after.may_add,
        may_remove=after.may_remove,
        may_rename=after.may_rename,
    )
    placed = structs.replace(administered, relay=after.relay, region=after.region)
    is_along = (after.relay, after.region) == (along.relay, along.region)
    if (
        after != placed
        or (before.direct and after == before)
        or (renamed != before and not may(before, people, committer, Deed.RENAME))
        or (administered != renamed and not may(before, people, committer, Deed.ADMINISTER))
        or not (placed == administered or is_along or may(before, people, committer, Deed.PLACE))
    ):
        raise InvalidCommit
