"""The roots: the only secrets that end, and by which all cells end.

A root wraps the keys of all drops of one *generation* for one last day. It never enters the
cluster. Each process of the relay keeps every root in the file `roots.sqlite` of its directory, and
destroys those of a day that has ended; then no key that they wrapped can be opened.

A new root is durable in enough directories before the cluster knows of it, and the cluster knows
its hash alone. Of two processes that make one at once, the first whose hash is in the cluster is
right.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import RelayBusy, StoreDamaged
from amanat.protocol import codec
from amanat.relay.cluster.engine import RETRY_S, Publish
from amanat.relay.cluster.messages import GENERATION_BYTES, Day, Generation, WrappedKey
from amanat.relay.cluster.secrecy import Secrecy
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.wrapping import KEY_BYTES, NONCE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from amanat.relay.cluster.engine import Engine
    from amanat.relay.cluster.layout import Layout

ANSWER_S = 2.0
"""Longest that other processes may take to keep or to tell a root, in seconds: one sync each."""

KEPT = b"kept"
"""The answer of a process that has made a root durable, followed by the id of its directory."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS root (
    generation BLOB NOT NULL,
    last_day INTEGER NOT NULL,
    hash BLOB NOT NULL,         -- of several that were made at once, the cluster knows which counts
    secret BLOB NOT NULL,
    PRIMARY KEY (generation, last_day, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ended_day (
    one INTEGER PRIMARY KEY CHECK (one = 0),
    day INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS ended_generation (generation BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    one INTEGER PRIMARY KEY CHECK (one = 0),
    note BLOB NOT NULL          -- the newest checkpoint of the ledger that a process here has seen
) STRICT;
CREATE TABLE IF NOT EXISTS directory (id BLOB NOT NULL) STRICT;
INSERT INTO directory SELECT randomblob(16) WHERE NOT EXISTS (SELECT 1 FROM directory);
"""


class Root(codec.Record, frozen=True):
    """A root, or a question for one."""

    generation: Generation
    last_day: Day
    secret: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    """In a question, the root's hash, which is as long."""

    def with_secret(self, secret: bytes) -> Root:
        """The same root with its secret."""
        return Root(self.generation, self.last_day, secret)


_decoder = codec.decoder_of(Root)


class Roots:
    """The roots that this process has."""

    def __init__(
        self, path: Path, engine: Engine, layout: Layout, *, key: bytes, keepers: int
    ) -> None:
        """`key` is known to the relay's processes alone; a root rests in `keepers` directories
        before it is used. Raises StoreDamaged or DiskFull."""
        self._engine = engine
        self._layout = layout
        self._secrecy = Secrecy(key, b"amanat cluster roots")
        self._keepers = keepers
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes, int], bytes] = {}
        """The roots that the cluster knows of."""
        self._ended = 0
        """The day before which all roots are destroyed here, for good."""
        self._ended_generations: set[bytes] = set()
        """The generations whose roots are destroyed here, for good."""
        old = os.umask(0o077)
        try:
            with sqlite_errors:
                self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                for pragma in ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON"):
                    self._file.execute(f"PRAGMA {pragma}")
                self._file.executescript(_SCHEMA)
                self._ended = (
                    self._file.execute("SELECT max(day) FROM ended_day").fetchone()[0] or 0
                )
                self._ended_generations |= {
                    row[0] for row in self._file.execute("SELECT generation FROM ended_generation")
                }
                self._id: bytes = self._file.execute("SELECT id FROM directory").fetchone()[0]
        finally:
            os.umask(old)
        self._subject = f"{layout.region}.root"
        engine.listen(f"{self._subject}.*", self._hear)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    # The ledger, which a cluster that was put back would show as it was

    def seen(self) -> bytes:
        """The newest checkpoint of the ledger that was seen here; empty if none was."""
        with self._lock, sqlite_errors:
            row = self._file.execute("SELECT note FROM seen").fetchone()
        return bytes(row[0]) if row else b""

    def see(self, note: bytes) -> None:
        """Remember a checkpoint in place of the one before."""
        with self._lock, sqlite_errors:
            self._file.execute("INSERT OR REPLACE INTO seen VALUES (0, ?)", (note,))

    # Keys

    def wrap(
        self, subject: str, day: int, last_day: int, generation: bytes, key: bytes
    ) -> WrappedKey:
        """The key of a drop and day, wrapped. Raises RelayBusy if no root can be made now."""
        root = self.root(generation, last_day)
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(root).encrypt(nonce, key, _bound(subject, day))
        return WrappedKey(day, last_day, generation, nonce + sealed)

    def unwrap(self, subject: str, key: WrappedKey) -> bytes | None:
        """The key of a drop and day; None if its root is destroyed. Raises StoreDamaged if it does
        not open."""
        root = self.find(key.generation, key.last_day)
        if root is None:
            return None
        try:
            return AESGCM(root).decrypt(
                key.wrapped[:NONCE_BYTES], key.wrapped[NONCE_BYTES:], _bound(subject, key.day)
            )
        except InvalidTag:
            raise StoreDamaged("a key does not open") from None

    # Roots

    def root(self, generation: bytes, last_day: int) -> bytes:
        """The root of a generation and last day, made now if there is none. Raises RelayBusy."""
        found = self.find(generation, last_day)
        return found if found is not None else self._make(generation, last_day)

    def find(self, generation: bytes, last_day: int) -> bytes | None:
        """The root of a generation and last day; None if there is none or it has ended. Raises
        RelayBusy if no process tells it now."""
        place = generation, last_day
        known = self._known.get(place)
        if known is not None:
            return known
        if self._has_ended(*place):
            return None
        told = self._told(*place)
        if told is None:
            return None
        secret = self._kept(*place, told)
        if secret is None:
            secret = self._fetched(*place, told)
        if secret is None:
            # It has not ended, so what it opens must not pass for ended.
            raise RelayBusy("no process tells the root", retry_after=RETRY_S)
        self._known[place] = secret
        return secret

    def _told(self, generation: bytes, last_day: int) -> bytes | None:
        """The hash that the cluster knows."""
        subject = self._name(generation, last_day)
        message = self._engine.last(self._layout.state, subject, by_leader=True)
        return message.body if message else None

    def _name(self, generation: bytes, last_day: int) -> str:
        return f"{self._layout.region}.state.root.{generation.hex()}.{last_day}"

    def _make(self, generation: bytes, last_day: int) -> bytes:
        root = Root(generation, last_day, os.urandom(KEY_BYTES))
        if not self._keep(root):
            raise RelayBusy("the root's day has ended", retry_after=RETRY_S)
        others = self._keepers - 1
        if others:
            kept = self._ask("keep", root, enough=others)
            if len(set(kept)) < others:
                raise RelayBusy("too few processes keep the new root", retry_after=RETRY_S)
        subject = self._name(generation, last_day)
        (outcome,) = self._engine.publish([[Publish(subject, 0, {}, _hash(root.secret))]])
        if outcome == "unknown":
            raise RelayBusy("the cluster does not answer", retry_after=RETRY_S)
        found = self.find(generation, last_day)
        if found is None:
            raise RelayBusy("no process has the root yet", retry_after=RETRY_S)
        return found

    def _fetched(self, generation: bytes, last_day: int, told: bytes) -> bytes | None:
        """The root with a hash, from another process."""
        for answer in self._ask("tell", Root(generation, last_day, told), enough=1):
            root = self._opened(answer)
            if root is not None and hmac.compare_digest(_hash(root.secret), told):
                self._keep(root)
                return root.secret
        return None

    # The other processes

    def _ask(self, verb: str, root: Root, *, enough: int) -> list[bytes]:
        body = self._id + self._sealed(root)
        subject = f"{self._subject}.{verb}"
        return self._engine.consult(subject, body, wait_s=ANSWER_S, enough=enough)

    def _hear(self, subject: str, body: bytes) -> bytes | None:
        """Keep the root that another process has made, or tell one by its hash. A process hears its
        own questions, too, and does not answer them."""
        asker, sealed = body[: len(self._id)], body[len(self._id) :]
        root = self._opened(sealed)
        if root is None or asker == self._id:
            return None
        if subject.endswith(".keep"):
            return KEPT + self._id if self._keep(root) else None
        if subject.endswith(".end"):
            self._end_generation(root.generation)
            return None
        secret = self._kept(root.generation, root.last_day, root.secret)
        return self._sealed(root.with_secret(secret)) if secret else None

    def _sealed(self, root: Root) -> bytes:
        return self._secrecy.seal(codec.encode(root))

    def _opened(self, body: bytes) -> Root | None:
        plain = self._secrecy.open(body)
        return None if plain is None else decode_root(plain)

    # The file

    def _kept(self, generation: bytes, last_day: int, told: bytes) -> bytes | None:
        with self._lock, sqlite_errors:
            row = self._file.execute(
                "SELECT secret FROM root WHERE generation = ? AND last_day = ? AND hash = ?",
                (generation, last_day, told),
            ).fetchone()
        return bytes(row[0]) if row else None

    def _has_ended(self, generation: bytes, last_day: int) -> bool:
        return last_day < self._ended or generation in self._ended_generations

    def _keep(self, root: Root) -> bool:
        """Keep a root, unless it has ended here: what is destroyed never comes back."""
        if self._has_ended(root.generation, root.last_day):
            return False
        with self._lock, sqlite_errors:
            self._file.execute(
                "INSERT OR IGNORE INTO root VALUES (?,?,?,?)",
                (root.generation, root.last_day, _hash(root.secret), root.secret),
            )
        return True

    def destroy(self, today: int) -> None:
        """Destroy the roots of days before `today`, here."""
        self._ended = max(self._ended, today)
        self._destroy("INSERT OR REPLACE INTO ended_day VALUES (0, ?)", "last_day < ?", self._ended)
        self._known = {place: root for place, root in self._known.items() if place[1] >= today}

    def destroy_generation(self, generation: bytes) -> None:
        """Destroy the roots of a generation, here and in the other processes that run."""
        if generation in self._ended_generations:
            return
        self._end_generation(generation)
        self._engine.tell(
            f"{self._subject}.end", self._id + self._sealed(Root(generation, 0, bytes(KEY_BYTES)))
        )

    def _end_generation(self, generation: bytes) -> None:
        self._ended_generations.add(generation)
        self._destroy(
            "INSERT OR IGNORE INTO ended_generation VALUES (?)", "generation = ?", generation
        )
        self._known = {place: root for place, root in self._known.items() if place[0] != generation}

    def _destroy(self, end: str, which: str, value: object) -> None:
        with self._lock, sqlite_errors:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.execute(end, (value,))
            self._file.execute(f"DELETE FROM root WHERE {which}", (value,))  # noqa: S608  # constants
            self._file.execute("COMMIT")


def own_generation(gate: int) -> bytes:
    """The generation of drops that are made here after the move with a number, by which all drops
    went; 0 before any."""
    return gate.to_bytes(GENERATION_BYTES, "big")


def decode_root(data: bytes) -> Root:
    """The root in some bytes. Raises StoreDamaged."""
    return codec.decode(_decoder, data, StoreDamaged)


def _bound(subject: str, day: int) -> bytes:
    return f"{subject} {day}".encode()


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(b"amanat cluster root" + secret).digest()
