"""Who may do what: a table, and the tricks that must not work."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from amanat.client import rights
from amanat.errors import InvalidCommit, InvalidCredential
from amanat.mls import Added, Member, StagedCommit
from amanat.protocol import codec
from amanat.protocol.descriptor import b64
from amanat.protocol.drops import derive_bucket
from amanat.protocol.identity import Address, Leaf, issue_credential, leave_text
from amanat.protocol.messages import MAX_LEAVES_PER_COMMIT, CommitInfo, Policy
from amanat.protocol.messages import Leave as Wish

GROUP = bytes(range(16))
RELAY = f"amanat://relay.example:1/#{b64(bytes(32))}"
BUCKET = derive_bucket(bytes(32), 0, region="IR")


class Somebody(NamedTuple):
    """A person with their keys, and their leaf in the group."""

    key: Ed25519PrivateKey
    member: Member

    @property
    def identity(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def person(self) -> rights.Person:
        return rights.read_members([self.member])[0]

    @property
    def added(self) -> Added:
        return Added(self.member.credential, self.member.signer, self.member.leaf)

    def wish(self, group: bytes = GROUP) -> Wish:
        nonce = self.person.leaf.nonce
        return Wish(self.identity, nonce, self.key.sign(leave_text(group, nonce)))

    def again(self, **changes: object) -> Member:
        """The leaf with something else in it."""
        parts = {name: getattr(self.member, name) for name in Member.__slots__}
        return Member(**(parts | changes))


def somebody(leaf_index: int, key: Ed25519PrivateKey | None = None) -> Somebody:
    key = key or Ed25519PrivateKey.generate()
    signer = os.urandom(32)
    delivery = X25519PrivateKey.generate().public_key().public_bytes_raw()
    address = Address(RELAY, "IR", BUCKET.drop_id, BUCKET.append_token)
    leaf = codec.encode(Leaf(os.urandom(16), f"person {leaf_index}", [address]))
    credential = issue_credential(key, delivery=delivery, signer=signer)
    return Somebody(key, Member(leaf_index, credential, signer, leaf))


ADMIN, MEMBER, OTHER, NEW = (somebody(index) for index in range(4))
IN_GROUP = [one.person for one in (ADMIN, MEMBER, OTHER)]
GROUP_POLICY = Policy([], "family", [ADMIN.identity], RELAY, "IR")
DIRECT_POLICY = Policy(sorted([ADMIN.identity, MEMBER.identity]), "", [], RELAY, "IR")


def commit(
    by: Somebody,
    *,
    adds: tuple[Added, ...] = (),
    removes: tuple[int, ...] = (),
    updates: tuple[Member, ...] = (),
    policy: Policy | bytes | None = None,
    wishes: list[Wish] | None = None,
    aad: bytes | None = None,
) -> StagedCommit:
    """A Commit as the engine shows it."""
    return StagedCommit(
        epoch_before=1,
        epoch_after=2,
        committer=by.member,
        adds=adds,
        removes=removes,
        updates=updates,
        policy_new=codec.encode(policy) if isinstance(policy, Policy) else policy,
        self_removed=False,
        handle=1,
        aad=codec.encode(CommitInfo(wishes or [])) if aad is None else aad,
    )


def is_allowed(
    staged: StagedCommit,
    policy: Policy = GROUP_POLICY,
    people: list[rights.Person] = IN_GROUP,
    most: int = 256,
) -> bool:
    try:
        rights.judge(policy, people, staged, group=GROUP, most=most)
    except InvalidCommit:
        return False
    return True


def policy(**changes: object) -> Policy:
    fields = {name: getattr(GROUP_POLICY, name) for name in GROUP_POLICY.__struct_fields__}
    return Policy(**(fields | changes))


DEEDS: dict[str, Callable[[Somebody], StagedCommit]] = {
    "nothing but new keys": lambda by: commit(by, updates=(by.member,)),
    "add": lambda by: commit(by, adds=(NEW.added,)),
    "remove another": lambda by: commit(by, removes=(OTHER.member.leaf_index,)),
    "remove who asked to leave": lambda by: commit(by, removes=(2,), wishes=[OTHER.wish()]),
    "rename": lambda by: commit(by, policy=policy(name="friends")),
    "make an admin": lambda by: commit(by, policy=policy(admins=[ADMIN.identity, by.identity])),
    "move to another relay": lambda by: commit(by, policy=policy(relay=RELAY.replace(":1", ":2"))),
    "move to another region": lambda by: commit(by, policy=policy(region="DE")),
    "turn the group into a pair": lambda by: commit(by, policy=DIRECT_POLICY),
}
ADMINS_MAY = {
    "nothing but new keys", "add", "remove another", "remove who asked to leave", "rename",
    "make an admin",
}  # fmt: skip
MEMBERS_MAY = {"nothing but new keys", "remove who asked to leave"}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_an_admin_may(deed: str) -> None:
    assert is_allowed(DEEDS[deed](ADMIN)) == (deed in ADMINS_MAY)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_member_may(deed: str) -> None:
    assert is_allowed(DEEDS[deed](MEMBER)) == (deed in MEMBERS_MAY)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_stranger_may(deed: str) -> None:
    assert not is_allowed(DEEDS[deed](somebody(7)))


@pytest.mark.parametrize("deed", DEEDS)
def test_what_either_of_a_pair_may(deed: str) -> None:
    pair = [ADMIN.person, MEMBER.person]
    for by in (ADMIN, MEMBER):
        expected = deed == "nothing but new keys"
        assert is_allowed(DEEDS[deed](by), DIRECT_POLICY, pair) == expected


def test_one_of_a_pair_may_go_and_may_not_be_put_out() -> None:
    pair = [ADMIN.person, MEMBER.person]
    put_out = commit(ADMIN, removes=(1,))
    let_go = commit(ADMIN, removes=(1,), wishes=[MEMBER.wish()])
    assert not is_allowed(put_out, DIRECT_POLICY, pair)
    assert is_allowed(let_go, DIRECT_POLICY, pair)


def test_rights_fall_to_the_lowest_leaf_when_no_admin_is_left() -> None:
    left = [MEMBER.person, OTHER.person]
    assert is_allowed(commit(MEMBER, adds=(NEW.added,)), people=left)
    assert not is_allowed(commit(OTHER, adds=(NEW.added,)), people=left)


def test_leave_statement_of_another_group_is_worth_nothing() -> None:
    assert not is_allowed(commit(MEMBER, removes=(2,), wishes=[OTHER.wish(b"x" * 16)]))


def test_leave_statement_for_another_is_worth_nothing() -> None:
    nonce = OTHER.person.leaf.nonce
    forged = Wish(OTHER.identity, nonce, MEMBER.key.sign(leave_text(GROUP, nonce)))
    assert not is_allowed(commit(MEMBER, removes=(2,), wishes=[forged]))


def test_leave_statement_of_an_earlier_membership_is_worth_nothing() -> None:
    back = somebody(2, OTHER.key)
    people = [ADMIN.person, MEMBER.person, back.person]
    assert not is_allowed(commit(MEMBER, removes=(2,), wishes=[OTHER.wish()]), people=people)
    assert is_allowed(commit(MEMBER, removes=(2,), wishes=[back.wish()]), people=people)


def test_forged_statement_does_not_hide_a_true_one() -> None:
    forged = Wish(OTHER.identity, OTHER.person.leaf.nonce, bytes(64))
    assert is_allowed(commit(MEMBER, removes=(2,), wishes=[forged, OTHER.wish()]))


def test_too_many_leave_statements_are_refused() -> None:
    wishes = [OTHER.wish()] * (MAX_LEAVES_PER_COMMIT + 1)
    assert not is_allowed(commit(MEMBER, removes=(2,), wishes=wishes))
    assert is_allowed(commit(MEMBER, removes=(2,), wishes=wishes[1:]))


@pytest.mark.parametrize("aad", [b"\x00", b"\xc1", bytes(100)])
def test_commit_with_other_authenticated_data_is_refused(aad: bytes) -> None:
    assert not is_allowed(commit(ADMIN, aad=aad))


def test_removing_a_leaf_nobody_has_is_refused() -> None:
    assert not is_allowed(commit(ADMIN, removes=(5,)))


@pytest.mark.parametrize(
    "swap",
    [
        {"credential": NEW.member.credential, "signer": NEW.member.signer},
        {"signer": NEW.member.signer},
        {"leaf": NEW.member.leaf},
        {"leaf": b""},
        {"leaf_index": 5},
    ],
    ids=["identity", "signature key", "nonce", "broken leaf", "another leaf"],
)
def test_update_may_not_change_who_a_leaf_is(swap: dict[str, object]) -> None:
    assert not is_allowed(commit(ADMIN, updates=(MEMBER.again(**swap),)))


def test_update_may_change_name_and_address() -> None:
    leaf = MEMBER.person.leaf
    renamed = codec.encode(Leaf(leaf.nonce, "another name", leaf.addresses))
    assert is_allowed(commit(MEMBER, updates=(MEMBER.again(leaf=renamed),)))


@pytest.mark.parametrize(
    "added",
    [
        Added(b"", NEW.member.signer, NEW.member.leaf),
        Added(NEW.member.credential, MEMBER.member.signer, NEW.member.leaf),
        Added(NEW.member.credential, NEW.member.signer, b""),
    ],
    ids=["no credential", "a credential for another key", "no leaf"],
)
def test_joiner_must_be_who_they_say(added: Added) -> None:
    assert not is_allowed(commit(ADMIN, adds=(added,)))


def test_nobody_is_in_a_group_twice() -> None:
    assert not is_allowed(commit(ADMIN, adds=(somebody(9, MEMBER.key).added,)))
    assert not is_allowed(commit(ADMIN, adds=(NEW.added, somebody(9, NEW.key).added)))


def test_group_stays_within_its_size() -> None:
    assert not is_allowed(commit(ADMIN, adds=(NEW.added,)), most=3)
    assert is_allowed(commit(ADMIN, adds=(NEW.added,), removes=(2,)), most=3)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        codec.encode(Policy([], "no admin", [], RELAY, "IR")),
        codec.encode(Policy([bytes(32)], "half a pair", [], RELAY, "IR")),
        codec.encode(policy(name="n" * 101)),
        codec.encode(policy(region="Iran")),
        codec.encode(policy(admins=[bytes(32)] * 65)),
    ],
)
def test_broken_policy_is_refused(broken: bytes) -> None:
    assert not is_allowed(commit(ADMIN, policy=broken))


def test_tree_with_a_false_credential_is_not_read() -> None:
    with pytest.raises(InvalidCredential):
        rights.read_members([ADMIN.again(signer=MEMBER.member.signer)])
