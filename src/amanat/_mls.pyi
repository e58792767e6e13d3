# The compiled MLS binding: tuples of bytes and numbers. `amanat.mls` gives them names and types.

from collections.abc import Callable
from typing import TypeAlias, final

__all__ = [
    "CLASSICAL_SUITE",
    "EXT_LEAF",
    "EXT_POLICY",
    "HYBRID_SUITE",
    "OUT_OF_ORDER_TOLERANCE",
    "Engine",
    "Lineage",
    "MlsError",
    "check_key_package",
    "peek",
]

HYBRID_SUITE: int
CLASSICAL_SUITE: int
EXT_POLICY: int
EXT_LEAF: int
OUT_OF_ORDER_TOLERANCE: int

# A refusal: a code of `amanat.errors` and a detail.
class MlsError(Exception):
    args: tuple[str, str]

# leaf index, credential, signature key, leaf extension
_Member: TypeAlias = tuple[int, bytes, bytes, bytes]
# credential, signature key, leaf extension
_Added: TypeAlias = tuple[bytes, bytes, bytes]
# epoch, suite, own leaf, policy, epoch authenticator, SHA-256 of the pending Commit, active, state
_GroupView: TypeAlias = tuple[int, int, int, bytes, bytes, bytes | None, bool, bytes]
# group id, epoch, suite, policy, members, sender's leaf, KeyPackage reference
_WelcomeView: TypeAlias = tuple[bytes, int, int, bytes, list[_Member], int, bytes]
# group id, epoch, suite, policy, members, state
_LineageView: TypeAlias = tuple[bytes, int, int, bytes, list[_Member], bytes]
# epoch before, epoch after, committer, adds, removes, updates, new policy, removes this client,
# external
_CommitView: TypeAlias = tuple[
    int, int, _Member, list[_Added], list[int], list[_Member], bytes | None, bool, bool
]
# Commit, Welcome, tree after the Commit, epoch before, SHA-256 of the Commit
_CommitBundle: TypeAlias = tuple[bytes, bytes | None, bytes | None, int, bytes]
# epoch, sender's leaf, credential, signature key, additional data, plaintext
_Application: TypeAlias = tuple[int, int, bytes, bytes, bytes, bytes]
# handle, view, additional data
_StagedCommit: TypeAlias = tuple[int, _CommitView, bytes]

@final
class Engine:
    def __new__(cls, fetch: Callable[[bytes], bytes | None]) -> Engine: ...
    def take_delta(self) -> list[tuple[bytes, bytes | None]]: ...
    def committed(self) -> None: ...
    def abort(self) -> None: ...
    def new_signer(self) -> bytes: ...
    def sign(self, signer: bytes, text: bytes) -> bytes: ...
    def new_key_package(
        self,
        suite: int,
        signer: bytes,
        credential: bytes,
        leaf: bytes,
        *,
        now: int,
        lifetime_s: int,
    ) -> tuple[bytes, bytes]: ...
    def delete_key_package(self, reference: bytes) -> None: ...
    def create_group(
        self, gid: bytes, suite: int, signer: bytes, credential: bytes, leaf: bytes, policy: bytes
    ) -> None: ...
    def commit(
        self,
        gid: bytes,
        *,
        adds: list[bytes],
        removes: list[int],
        policy: bytes | None,
        update: bool,
        leaf: bytes | None,
        aad: bytes,
    ) -> _CommitBundle: ...
    def export_pending(self, gid: bytes, label: str, context: bytes, n: int) -> bytes: ...
    def pending(self, gid: bytes) -> bytes | None: ...
    def merge_pending(self, gid: bytes, sha256: bytes) -> _CommitView: ...
    def clear_pending(self, gid: bytes) -> None: ...
    def encrypt(self, gid: bytes, plaintext: bytes, aad: bytes) -> bytes: ...
    def process(self, gid: bytes, message: bytes) -> _Application | _StagedCommit: ...
    def export_staged(self, handle: int, label: str, context: bytes, n: int) -> bytes: ...
    def accept(self, handle: int) -> _CommitView: ...
    def reject(self, handle: int) -> None: ...
    def members(self, gid: bytes) -> list[_Member]: ...
    def group(self, gid: bytes) -> _GroupView: ...
    def export_secret(self, gid: bytes, label: str, context: bytes, n: int) -> bytes: ...
    def export_tree(self, gid: bytes) -> bytes: ...
    def inspect_welcome(self, welcome: bytes, tree: bytes | None) -> _WelcomeView: ...
    def join(self, welcome: bytes, tree: bytes | None) -> tuple[bytes, _GroupView]: ...
    def delete_group(self, gid: bytes) -> None: ...
    def group_info(self, gid: bytes) -> bytes: ...
    def lineage(self, gid: bytes) -> Lineage: ...
    def join_external(
        self,
        group_info: bytes,
        tree: bytes,
        signer: bytes,
        credential: bytes,
        leaf: bytes,
        aad: bytes,
    ) -> _CommitBundle: ...

@final
class Lineage:
    # the state, and the leaf that has signed the GroupInfo
    @staticmethod
    def begin(group_info: bytes, tree: bytes) -> tuple[Lineage, int]: ...
    def view(self) -> _LineageView: ...
    def read(self, commit: bytes) -> tuple[_CommitView, bytes]: ...
    def accept(self) -> None: ...

# reference, suite, credential, signature key, leaf extension, not after
def check_key_package(
    key_package: bytes, *, now: int
) -> tuple[bytes, int, bytes, bytes, bytes, int]: ...

# what looks like it has the same (Unicode UTS 39, section 4)
def skeleton(text: str) -> str: ...

# group id, epoch, content type
def peek(message: bytes) -> tuple[bytes, int, int]: ...
