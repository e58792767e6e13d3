"""MLS groups (RFC 9420): bytes in, bytes out. The only importer of the compiled binding.

An `Engine` keeps groups in memory and asks `fetch` for stored rows; it never stores anything
itself. Every call is all or nothing, and its changes join the *delta*:

    begin a vault transaction
        ... any calls, and the client's own rows ...
        write what take_delta() returns
    commit the transaction
    committed()              or abort(), if anything above failed

Until `committed()` the delta stays readable, and a second `take_delta()` returns all of it again.
`abort()` also rolls back memory: every group, staged Commit and key not in the vault is forgotten.
The delta is secret, and belongs in the vault and nowhere else. Rows may be written in any order.

Use one engine and one process for each vault: two would use the same keys twice. Calls
may come from any thread; each runs without the GIL, one at a time. `fetch` runs inside a call, so
it must not call the engine.

A Commit of this client is *pending* until the client knows that the epoch drop took it
(`merge_pending`) or took another (`process` and `accept` that one; ours is then gone). Only
`clear_pending` also clears a pending Commit, for one that certainly never left this machine.

A client whose state is lost, or is an old copy, joins again by its own external Commit
(`join_external`). The group that it begins is kept apart until `merge_pending`, which puts it in
the place of the old state; until then the old state is unchanged, and can read but neither send nor
commit.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat import _mls
from amanat.errors import BY_CODE, EngineFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HYBRID_SUITE: Final = _mls.HYBRID_SUITE
"""0x004E, X25519 with ML-KEM-768, AES-256-GCM and SHA-384, signed with Ed25519.

We use it rather than 0x004F (AES-128, SHA-256) because it is meant for ciphertext that somebody
keeps for decades.
"""
CLASSICAL_SUITE: Final = _mls.CLASSICAL_SUITE
"""0x0001, X25519, AES-128-GCM, SHA-256, Ed25519: the suite of every MLS implementation."""
EXT_POLICY: Final = _mls.EXT_POLICY
"""GroupContext extension that holds the group's policy; every member must support it."""
EXT_LEAF: Final = _mls.EXT_LEAF
"""LeafNode extension that holds a client's statement about itself in its leaf."""
OUT_OF_ORDER_TOLERANCE: Final = _mls.OUT_OF_ORDER_TOLERANCE
"""Messages of one sender that may still be read after a later one (RFC 9420, section 15.1)."""

_NEXT_BYTE = 24
"""In CBOR, the number stands in the byte after this one (RFC 8949, section 3)."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ContentType(IntEnum):
    """The content type that a message claims (RFC 9420, section 6)."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True)
class KeyPackage:
    """A KeyPackage to hand out, and the reference with which to delete its private part."""

    bytes: builtins.bytes
    ref: builtins.bytes


@dataclass(frozen=True, slots=True)
class KeyPackageView:
    """A valid KeyPackage, except for its credential, which the client must judge."""

    ref: bytes
    suite: int
    credential: bytes
    signer: bytes
    leaf: bytes
    not_after: int


@dataclass(frozen=True, slots=True)
class Member:
    """One leaf of a group: a device."""

    leaf_index: int
    credential: bytes
    signer: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Added:
    """A device that a Commit adds. Its leaf index is known once the Commit is accepted."""

    credential: bytes
    signer: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as this client sees it; not `active` once the client was removed.

    `policy` is empty in a group that Amanat did not make. `pending` is the SHA-256 of our
    Commit whose fate is not known. `state` is a hash over everything on which a newcomer to the
    group builds (its GroupContext and confirmation tag): two members in one epoch with one `state`
    are in one branch.
    """

    epoch: int
    suite: int
    own_leaf: int
    policy: bytes
    epoch_authenticator: bytes
    pending: bytes | None
    active: bool
    state: bytes


@dataclass(frozen=True, slots=True)
class WelcomeView:
    """The group that a Welcome would join. `ref` is the KeyPackage that joining uses up."""

    gid: bytes
    epoch: int
    suite: int
    policy: bytes
    members: tuple[Member, ...]
    sender_leaf: int
    ref: bytes


@dataclass(frozen=True, slots=True)
class LineageView:
    """The public state of a group in one epoch; `state` as in `GroupView`."""

    gid: bytes
    epoch: int
    suite: int
    policy: bytes
    members: tuple[Member, ...]
    state: bytes


@dataclass(frozen=True, slots=True)
class CommitBundle:
    """A Commit to put into the epoch drop of `epoch_before`, recognised later by its SHA-256.

    The one Welcome serves every joiner and holds no tree: each needs `tree` beside it.
    """

    commit: bytes
    welcome: bytes | None
    tree: bytes | None
    epoch_before: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class CommitView:
    """The changes of a Commit: `committer` is the leaf before it, `updates` holds leaves after it.

    `policy_new` is None if the policy stays. The leaf indices in `removes` are those of the members
    before the Commit, and may belong to somebody else after it.

    An `external` Commit lets a member in again (RFC 9420, section 12.4.3.2): `removes` is the old
    leaf, and `committer`, alone in `updates`, the new one.
    """

    epoch_before: int
    epoch_after: int
    committer: Member
    adds: tuple[Added, ...]
    removes: tuple[int, ...]
    updates: tuple[Member, ...]
    policy_new: bytes | None
    self_removed: bool
    external: bool


@dataclass(frozen=True, slots=True)
class ReadCommit(CommitView):
    """A Commit that MLS accepts, with its authenticated data, for the client to judge by its rules.

    It changes nothing until it is accepted.
    """

    aad: bytes


@dataclass(frozen=True, slots=True)
class StagedCommit(ReadCommit):
    """Another member's valid Commit, for a member to `accept` or `reject`.

    The handle lives until then, or until `abort` or the end of the epoch; the Commit can be
    processed again.
    """

    handle: int


@dataclass(frozen=True, slots=True)
class Application:
    """A message, with its sender's credential and signature key as of the message's epoch."""

    epoch: int
    sender_leaf: int
    credential: bytes
    signer: bytes
    aad: bytes
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The outside of a message, which anybody can have written."""

    gid: bytes
    epoch: int
    content_type: ContentType


class Engine:
    """The MLS state of one vault: its groups, signature keys and KeyPackages."""

    def __init__(self, fetch: Callable[[bytes], bytes | None]) -> None:
        self._engine = _mls.Engine(fetch)

    def take_delta(self) -> list[tuple[bytes, bytes | None]]:
        """Every row changed since `committed`, by key; None if it is deleted."""
        return _call(self._engine.take_delta)

    def committed(self) -> None:
        """Forget the delta that `take_delta` returned: it is in the vault."""
        _call(self._engine.committed)

    def abort(self) -> None:
        """Go back to the state in the vault."""
        _call(self._engine.abort)

    def new_signer(self) -> bytes:
        """A new Ed25519 signature key, by its public half. It serves both suites."""
        return _call(self._engine.new_signer)

    def sign(self, signer: bytes, text: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) of a signature key of this client over a text that is
        not an MLS message: it begins with "amanat ".

        Raises BadArgument for another text, and if the key is missing.
        """
        return _call(self._engine.sign, signer, text)

    def new_key_package(
        self,
        suite: int,
        signer: bytes,
        credential: bytes,
        leaf: bytes,
        *,
        now: int,
        lifetime_s: int,
    ) -> KeyPackage:
        """A KeyPackage with which others can add us once, valid for `lifetime_s` (at most 84
        days)."""
        return KeyPackage(
            *_call(
                self._engine.new_key_package,
                suite,
                signer,
                credential,
                leaf,
                now=now,
                lifetime_s=lifetime_s,
            )
        )

    def delete_key_package(self, ref: bytes) -> None:
        """Forget the private part of a KeyPackage, if it is still there."""
        _call(self._engine.delete_key_package, ref)

    def create_group(
        self, gid: bytes, suite: int, signer: bytes, credential: bytes, leaf: bytes, policy: bytes
    ) -> None:
        """Create a group of one, in epoch 0."""
        _call(self._engine.create_group, gid, suite, signer, credential, leaf, policy)

    def commit(
        self,
        gid: bytes,
        *,
        adds: Sequence[bytes] = (),
        removes: Sequence[int] = (),
        policy: bytes | None = None,
        update: bool = False,
        leaf: bytes | None = None,
        aad: bytes = b"",
    ) -> CommitBundle:
        """A Commit, now pending, that does all of this at once.

        Only a Commit of nothing but Adds goes without an UpdatePath, whose size grows with the
        group; `update` asks for one. This call does not notice that a KeyPackage in `adds` is out
        of date, so call `check_key_package` first.
        """
        return CommitBundle(
            *_call(
                self._engine.commit,
                gid,
                adds=list(adds),
                removes=list(removes),
                policy=policy,
                update=update,
                leaf=leaf,
                aad=aad,
            )
        )

    def export_pending(self, gid: bytes, label: str, context: bytes, n: int) -> bytes:
        """A secret of the epoch that the pending Commit would begin."""
        return _call(self._engine.export_pending, gid, label, context, n)

    def pending(self, gid: bytes) -> bytes | None:
        """The SHA-256 of our Commit whose fate is not known."""
        return _call(self._engine.pending, gid)

    def merge_pending(self, gid: bytes, sha256: bytes) -> CommitView:
        """Move to the epoch that the pending Commit begins: it won."""
        return _commit_view(_call(self._engine.merge_pending, gid, sha256))

    def clear_pending(self, gid: bytes) -> None:
        """Drop the pending Commit, which must never have left this machine.

        If others have it and it wins, this client is locked out of the epoch it began itself.
        """
        _call(self._engine.clear_pending, gid)

    def encrypt(self, gid: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        """A PrivateMessage to everyone in the group. It must be stored before it is sent."""
        return _call(self._engine.encrypt, gid, plaintext, aad)

    def process(self, gid: bytes, message: bytes) -> Application | StagedCommit:
        """The content of a PrivateMessage or a Commit.

        An Application can be read only once, because its key is gone then. Raises OwnMessage for a
        Commit that our key has signed, and for a PrivateMessage that claims to be ours.

        A future epoch (FutureEpoch) is only a claim of the outside, so keep few such messages.
        """
        match _call(self._engine.process, gid, message):
            case handle, view, aad:
                return StagedCommit(*_commit_parts(view), aad, handle)
            case application:
                return Application(*application)

    def export_staged(self, handle: int, label: str, context: bytes, n: int) -> bytes:
        """A secret of the epoch that the staged Commit would begin."""
        return _call(self._engine.export_staged, handle, label, context, n)

    def accept(self, handle: int) -> CommitView:
        """Move to the epoch that the staged Commit begins. Our pending Commit is gone then."""
        return _commit_view(_call(self._engine.accept, handle))

    def reject(self, handle: int) -> None:
        """Forget a staged Commit, as if it had never been processed."""
        _call(self._engine.reject, handle)

    def members(self, gid: bytes) -> tuple[Member, ...]:
        """The members of the group, by leaf index."""
        return tuple(Member(*member) for member in _call(self._engine.members, gid))

    def group(self, gid: bytes) -> GroupView:
        """The group as this client sees it."""
        return GroupView(*_call(self._engine.group, gid))

    def export_secret(self, gid: bytes, label: str, context: bytes, n: int) -> bytes:
        """A secret of `n` bytes that the members of this epoch share (RFC 9420, section 8.5)."""
        return _call(self._engine.export_secret, gid, label, context, n)

    def export_tree(self, gid: bytes) -> bytes:
        """The ratchet tree of this epoch, for somebody who joins by a Welcome of this epoch."""
        return _call(self._engine.export_tree, gid)

    def inspect_welcome(self, welcome: bytes, tree: bytes | None) -> WelcomeView:
        """The group that `join` would join, fully checked. Nothing is used up, whatever the bytes
        are."""
        gid, epoch, suite, policy, members, sender_leaf, ref = _call(
            self._engine.inspect_welcome, welcome, tree
        )
        members_seen = tuple(Member(*member) for member in members)
        return WelcomeView(gid, epoch, suite, policy, members_seen, sender_leaf, ref)

    def join(self, welcome: bytes, tree: bytes | None) -> tuple[bytes, GroupView]:
        """Join a group; returns its id and view. The KeyPackage is used up, but not on failure.

        `tree` is None only for a Welcome that carries its own. The new state replaces that of a
        group from which this client was removed.
        """
        gid, group = _call(self._engine.join, welcome, tree)
        return gid, GroupView(*group)

    def delete_group(self, gid: bytes) -> None:
        """Forget a group and all its secrets, and our external Commit with it."""
        _call(self._engine.delete_group, gid)

    def group_info(self, gid: bytes) -> bytes:
        """The signed GroupInfo of this epoch, for a member who has to join again.

        It holds no tree: `export_tree` goes beside it. Anyone with both can read who is in the
        group, so they are for its members only.
        """
        return _call(self._engine.group_info, gid)

    def lineage(self, gid: bytes) -> Lineage:
        """The lineage of a group from its epoch here on."""
        return Lineage(_call(self._engine.lineage, gid))

    def join_external(
        self,
        group_info: bytes,
        tree: bytes,
        signer: bytes,
        credential: bytes,
        leaf: bytes,
        aad: bytes = b"",
    ) -> CommitBundle:
        """A Commit, now pending, that puts a new leaf in the place of the old one of `signer`.

        Raises NotAMember if `signer` has no leaf in the group, PendingCommit if such a Commit is
        pending already. If another Commit won, call `clear_pending` and try again with a new
        GroupInfo. The old state's past messages can no longer be read once this is merged.
        """
        return CommitBundle(
            *_call(self._engine.join_external, group_info, tree, signer, credential, leaf, aad)
        )


class Lineage:
    """The public state of a group, followed from Commit to Commit without the secrets of its epochs
    and without touching any vault.

    It checks signatures, the tree and the transcript, but not confirmation tags and path secrets,
    which only members of an epoch can check. A member can therefore make a Commit that is valid
    here and for nobody else.
    """

    def __init__(self, lineage: _mls.Lineage) -> None:
        self._lineage = lineage

    @classmethod
    def begin(cls, group_info: bytes, tree: bytes) -> tuple[Lineage, int]:
        """The state that a GroupInfo describes, and the index of the leaf that has signed it.

        Raises InvalidWelcome unless a member has signed it and the tree is the group's.
        """
        lineage, signer = _call(_mls.Lineage.begin, group_info, tree)
        return cls(lineage), signer

    def view(self) -> LineageView:
        """The group's public state in the epoch that the lineage has reached."""
        gid, epoch, suite, policy, members, state = _call(self._lineage.view)
        members_seen = tuple(Member(*member) for member in members)
        return LineageView(gid, epoch, suite, policy, members_seen, state)

    def read(self, commit: bytes) -> ReadCommit:
        """A Commit that continues from this epoch, for the client to judge; `self_removed` is
        false.

        Raises InvalidCommit or InvalidMessage.
        """
        view, aad = _call(self._lineage.read, commit)
        return ReadCommit(*_commit_parts(view), aad)

    def accept(self) -> None:
        """Move to the epoch that the Commit read last begins."""
        _call(self._lineage.accept)


def check_key_package(key_package: bytes, *, now: int) -> KeyPackageView:
    """A KeyPackage, if it is rightly signed, of a suite and shape that we use, and not out of
    date."""
    return KeyPackageView(*_call(_mls.check_key_package, key_package, now=now))


def signer_row(private: bytes) -> tuple[bytes, bytes]:
    """The row of the engine's state that holds the signature key with this private half (32 bytes),
    for a vault whose engine has nothing else."""
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    pair = b"\xa3\x67private%s\x66public%s\x70signature_scheme\x67ED25519"
    return _signer_key(public), pair % (_numbers(private), _numbers(public))


def signer_private(fetch: Callable[[bytes], bytes | None], public: bytes) -> bytes:
    """The private half (32 bytes) of a signature key, from the rows of the engine's state. Raises
    EngineFailed if it is not there."""
    row = fetch(_signer_key(public)) or b""
    at = len(b"\xa3\x67private\x98\x20")
    private = bytearray()
    while at < len(row) and len(private) < len(public):
        at += row[at] == _NEXT_BYTE
        private += row[at : at + 1]
        at += 1
    if len(private) < len(public) or signer_row(bytes(private)) != (_signer_key(public), row):
        raise EngineFailed("the signature key is not there")
    return bytes(private)


def _signer_key(public: bytes) -> bytes:
    """The key of that row."""
    return b"signer/\xa1\x65value" + _numbers(public + b"RustCryptoSignatureKey\x08\x07")


def _numbers(data: bytes) -> bytes:
    """Bytes as the engine writes them: as a CBOR array of numbers (RFC 8949, section 3)."""
    short = _NEXT_BYTE  # from 24 on a number stands in a byte of its own
    return b"\x98%c" % len(data) + b"".join(
        bytes([one]) if one < short else bytes([short, one]) for one in data
    )


def peek(message: bytes) -> Header:
    """The outside of a message, to find the group it claims to be for."""
    gid, epoch, content_type = _call(_mls.peek, message)
    return Header(gid, epoch, ContentType(content_type))


def _call(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call the binding. Only this function turns its refusals into our own errors."""
    try:
        return function(*args, **kwargs)
    except _mls.MlsError as refusal:
        code, detail = refusal.args
        raise BY_CODE[code](detail) from None


def _commit_view(view: _mls._CommitView) -> CommitView:
    return CommitView(*_commit_parts(view))


def _commit_parts(
    view: _mls._CommitView,
) -> tuple[
    int,
    int,
    Member,
    tuple[Added, ...],
    tuple[int, ...],
    tuple[Member, ...],
    bytes | None,
    bool,
    bool,
]:
    before, after, committer, adds, removes, updates, policy_new, self_removed, external = view
    return (
        before,
        after,
        Member(*committer),
        tuple(Added(*added) for added in adds),
        tuple(removes),
        tuple(Member(*member) for member in updates),
        policy_new,
        self_removed,
        external,
    )
