"""The comparison of all replicas, because the engine does not notice a changed bit.

Each replica of each stream is read whole, through a reader on its own node, while relays serve. A
message of a drop or a journal is good if the relay's proof is; of the others, the version is good
that most nodes have. A replica that lacks a good message, or has another, is bad.

A bad replica is rebuilt from the others: its node stops, somebody deletes what the node has of the
stream, the node starts, and the engine fetches the stream anew. A scrub itself cannot stop a node:
it runs the operator's program for that, for one replica at a time, and only while the other
replicas of the stream are good and present. Of a message that no replica has as it was, nothing is
deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections import Counter
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any, NamedTuple

import nats.errors

from amanat.errors import BadSetting, RelayBusy, ScrubUnderWay, StoreDamaged
from amanat.relay.cluster.engine import RETRY_S, Engine, EngineRefused
from amanat.relay.cluster.greeting import admit
from amanat.relay.cluster.messages import Sealer
from amanat.relay.cluster.store import Access, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from amanat.relay.cluster.engine import Message
    from amanat.relay.cluster.layout import Layout
    from amanat.relay.directory import RelayDirectory


CLAIM_S = 1.0
"""Seconds for which a scrub listens whether another one is under way."""
REBUILD_S = 600.0
"""Longest that the operator's program may take to rebuild a replica, in seconds: it waits until a
node has stopped."""
FILL_S = 3600.0
"""Longest that a node may take to fetch a replica anew, in seconds: the largest of 32 streams of a
relay fills in minutes over a network of one gigabit a second."""
LOOK_S = 1.0
"""Seconds between two looks at a replica that fills."""
WHOLE_TRIES = 30
"""Looks whether all other replicas are there, before one is rebuilt."""
COMPARISONS = 5
"""Times that a replica which has filled is compared before it counts as bad: the leader may think
it current while its node has only begun."""
ROUNDS = 3
"""Times that bad replicas are rebuilt: the engine loses a message now and then as a node starts."""
TOLD_MESSAGES = 256
"""Messages after which a scrub tells how far it is."""


class BadReplica(NamedTuple):
    """A replica that does not have what the others have."""

    stream: str
    node: str
    group: str
    """The engine's name for the replicas of the stream."""
    missing: list[int]
    """The places of messages that it lacks."""
    changed: list[int]
    """The places of messages that it has otherwise."""


@unique
class Outcome(StrEnum):
    """How a replica is left."""

    HEALED = "healed"
    BAD = "bad"
    UNREAD = "unread"
    LOST = "lost"
    """Of some message of the stream, no replica is good."""


class Found(NamedTuple):
    """A replica that was not, or is not, as it should be."""

    outcome: Outcome
    stream: str
    node: str
    """Its node; empty if it concerns all."""
    missing: int
    """Messages that it lacks."""
    changed: int
    """Messages that it has otherwise."""
    text: str
    advice: str
    """The operator's remedy."""


class _Look(NamedTuple):
    """The findings of one look at all replicas of some streams."""

    bad: list[BadReplica]
    others: list[Found]

    def spares(self, one: BadReplica) -> bool:
        """Whether the stream is fine but for this replica."""
        streams = [bad.stream for bad in self.bad] + [found.stream for found in self.others]
        return streams.count(one.stream) == 1


@contextlib.contextmanager
def opened(directory: RelayDirectory) -> Iterator[tuple[Engine, Layout, Sealer]]:
    """A connection to a relay's cluster for a program beside the relay, which needs no roots.

    Raises BadSetting, which names what is wrong.
    """
    config = directory.config
    if not config.store:
        raise BadSetting("store is empty: this relay's drops rest in its own directory")
    access = Access.of(config)
    admit(access.servers, config.region, **access.options)
    try:
        engine = Engine(access.servers, config.region, **access.options)
    except (nats.errors.Error, OSError) as error:
        raise BadSetting(f"no node of the cluster lets us in: {error}") from None
    with contextlib.closing(engine):
        yield engine, layout_of(directory), Sealer.of(directory.identity)


class Scrubber:
    """A scrub of a cluster."""

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        sealer: Sealer,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._sealer = sealer
        self._progress = progress
        self._read, self._total = 0, 0
        """Messages that were read, and that are to be read, in this look."""

    def run(self, program: Sequence[str] = ()) -> list[Found]:
        """Compare all replicas, and rebuild bad ones with a program, if one is given: it gets the
        node, the stream and the group as its last three words. Returns what was not fine; nothing
        if all was.

        Raises ScrubUnderWay, or RelayBusy if the cluster does not answer.
        """
        self._claim()
        look = self._look()
        rebuilt: list[BadReplica] = []
        failure = ""
        for _ in range(ROUNDS):
            going = [one for one in look.bad if program and look.spares(one)]
            if not going or failure:
                break
            for one in going:
                failure = self._rebuild(one, program)
                if failure:
                    break
                rebuilt.append(one)
            look = self._look()
        left = {(one.stream, one.node) for one in look.bad}
        healed = {(one.stream, one.node): one for one in rebuilt}
        return [
            *(_healed(one) for place, one in healed.items() if place not in left),
            *(_bad(one, failure, is_alone=look.spares(one)) for one in look.bad),
            *look.others,
        ]

    def _claim(self) -> None:
        """Be the only scrub. Of two that begin at once, the one with the lower name goes on.
        Nothing is left of the claim when this process ends."""
        subject, mine = f"{self._layout.region}.scrub", os.urandom(16)
        is_mine = False

        def hear(_: str, name: bytes) -> bytes | None:
            return mine if name != mine and (is_mine or name > mine) else None

        self._engine.listen(subject, hear)
        if self._engine.consult(subject, mine, wait_s=CLAIM_S, enough=1):
            raise ScrubUnderWay
        is_mine = True

    def compare(self) -> list[BadReplica]:
        """Compare all replicas. Returns the bad ones. Raises RelayBusy if one cannot be read, and
        StoreDamaged if of some message no replica is good."""
        look = self._look()
        for found in look.others:
            if found.outcome is Outcome.LOST:
                raise StoreDamaged(found.text)
            raise RelayBusy(found.text, retry_after=RETRY_S)
        return look.bad

    # A look

    def _look(self) -> _Look:
        """Look at all replicas."""
        infos = {stream: self._info(stream) for stream in self._layout.streams()}
        self._read = 0
        self._total = sum(info["state"]["messages"] for info in infos.values())
        self._total *= self._layout.replicas
        self._progress(0, self._total)
        look = _Look([], [])
        for stream in infos:
            self._look_at(stream, look)
        self._progress(self._total, self._total)
        return look

    def _info(self, stream: str) -> dict[str, Any]:
        try:
            return self._engine.api(f"STREAM.INFO.{stream}")
        except EngineRefused as refused:
            raise StoreDamaged(f"stream {stream}: {refused}") from None

    def _look_at(self, stream: str, look: _Look) -> None:
        """Look at the replicas of one stream."""
        info = self._info(stream)
        cluster = info["cluster"]
        if not cluster.get("leader"):
            look.others.append(
                _unread(stream, "", f"stream {stream} has no leader", "start more of its nodes")
            )
            return
        nodes = [cluster["leader"]]
        for peer in cluster.get("replicas", []):
            if peer.get("offline"):
                look.others.append(_away(stream, peer["name"]))
            else:
                nodes.append(peer["name"])
        newest = info["state"]["last_seq"]
        had: dict[str, dict[int, bytes]] = {}
        proven: dict[bytes, Message] = {}
        for node in nodes:
            try:
                had[node] = self._had(stream, node, newest, proven)
            except RelayBusy:
                look.others.append(_away(stream, node))
        good, lost = self._good(stream, had, proven)
        if lost:
            look.others.append(_lost(stream, lost))
        for node, has in had.items():
            bad = _differing(has, good)
            if bad:
                bad = self._sure(stream, node, newest, bad, good)
            missing = [place for place in bad if place not in has and self._is_kept(stream, place)]
            changed = [place for place in bad if place in has]
            if missing or changed:
                look.bad.append(BadReplica(stream, node, cluster["raft_group"], missing, changed))

    def _had(
        self, stream: str, node: str, newest: int, proven: dict[bytes, Message]
    ) -> dict[int, bytes]:
        """The digests of the messages up to a place that a node has. Adds those of messages that
        prove themselves to `proven`, without their bodies. Raises RelayBusy."""
        had: dict[int, bytes] = {}

        def hear(message: Message) -> None:
            if message.place <= newest:  # later ones are compared the next time
                had[message.place] = digest = _digest(message)
                if self._proves(stream) and self._sealer.proves(message):
                    proven[digest] = message._replace(headers={}, body=b"")
            self._read += 1
            if self._read % TOLD_MESSAGES == 0:
                self._progress(min(self._read, self._total), self._total)

        self._engine.read_replica(stream, node, hear)
        return had

    def _proves(self, stream: str) -> bool:
        return stream not in (self._layout.ledger, self._layout.state)

    def _good(
        self, stream: str, had: dict[str, dict[int, bytes]], proven: dict[bytes, Message]
    ) -> tuple[dict[int, bytes], list[int]]:
        """(the digest of each message that is good at some node, the places of the others)."""
        good: dict[int, bytes] = {}
        lost: list[int] = []
        for place in set().union(*had.values()):
            versions = Counter(has[place] for has in had.values() if place in has)
            if self._proves(stream):
                versions = Counter({one: count for one, count in versions.items() if one in proven})
            digest, count = versions.most_common(1)[0] if versions else (b"", 0)
            if count and (self._proves(stream) or 2 * count > self._layout.replicas):
                good[place] = digest
            elif self._is_kept(stream, place):
                lost.append(place)
        if self._proves(stream):
            lost += _gaps([proven[good[place]] for place in sorted(good)], lost)
        return good, sorted(lost)

    def _is_kept(self, stream: str, place: int) -> bool:
        """Whether the leader has a message there: others have been purged meanwhile."""
        return self._engine.at(stream, place) is not None

    def _sure(
        self, stream: str, node: str, newest: int, bad: list[int], good: dict[int, bytes]
    ) -> list[int]:
        """Those of some places that differ at a second look, too: a replica may lag for a
        moment."""
        try:
            again = self._had(stream, node, newest, {})
        except RelayBusy:
            return bad
        return [place for place in bad if again.get(place) != good[place]]

    # Rebuilding

    def _rebuild(self, bad: BadReplica, program: Sequence[str]) -> str:
        """Rebuild a replica. Returns what went wrong; empty: nothing."""
        for _ in range(WHOLE_TRIES):  # nodes that have just started catch up
            if self._is_whole():
                break
            time.sleep(LOOK_S)
        else:
            return "another replica is away or behind just now"
        words = [*program, bad.node, bad.stream, bad.group]
        try:
            ran = subprocess.run(words, timeout=REBUILD_S, check=False)  # noqa: S603  # the operator's
        except OSError as error:
            return f"{program[0]} does not run: {error.strerror}"
        except subprocess.TimeoutExpired:
            return f"{program[0]} did not end within {REBUILD_S:.0f} seconds"
        if ran.returncode:
            return f"{program[0]} ended with status {ran.returncode}"
        return self._await(bad)

    def _await(self, bad: BadReplica) -> str:
        """Wait until a replica that was rebuilt is as the others. Returns what went wrong."""
        until = time.monotonic() + FILL_S
        tries = 0
        while tries < COMPARISONS:
            time.sleep(LOOK_S)
            if time.monotonic() > until:
                return f"node {bad.node} did not fetch the stream within {FILL_S:.0f} seconds"
            with contextlib.suppress(RelayBusy):
                if self._is_whole():
                    look = _Look([], [])
                    self._look_at(bad.stream, look)
                    if not look.bad and not look.others:
                        return ""
                    tries += 1
        return ""  # the next look tells what is left

    def _is_whole(self) -> bool:
        """Whether every replica of every stream is there, and current."""
        for stream in self._layout.streams():
            cluster = self._info(stream)["cluster"]
            peers = cluster.get("replicas", [])
            if not cluster.get("leader") or len(peers) + 1 < self._layout.replicas:
                return False
            if any(one.get("offline") or not one.get("current") for one in peers):
                return False
        return True


def _differing(has: dict[int, bytes], good: dict[int, bytes]) -> list[int]:
    """The places at which a replica does not have what is good."""
    return sorted(place for place, digest in good.items() if has.get(place) != digest)


def _gaps(messages: list[Message], known: list[int]) -> list[int]:
    """The places of messages that no replica has any more, but that a later one names as its
    predecessor. The first message of a chain that is left may name one that was purged."""
    newest: dict[str, int] = {}
    gaps = []
    for message in messages:
        last = newest.get(message.subject, message.before)
        if message.before not in (0, last, *known):
            gaps.append(message.before)
        newest[message.subject] = message.place
    return gaps


def _digest(message: Message) -> bytes:
    words = hashlib.sha256(f"{message.subject} {message.before}".encode())
    for name in sorted(message.headers):
        if name.startswith("Amanat-"):
            words.update(f"\n{name} {message.headers[name]}".encode())
    words.update(b"\n\n" + message.body)
    return words.digest()


# Words


def _wrong(bad: BadReplica) -> str:
    return f"lacks {len(bad.missing)} messages, and {len(bad.changed)} differ from the other nodes'"


def _healed(bad: BadReplica) -> Found:
    return Found(
        Outcome.HEALED, bad.stream, bad.node, len(bad.missing), len(bad.changed),
        f"stream {bad.stream}: node {bad.node} had lost or changed messages, and was rebuilt from"
        " the others",
        f"look at the disk of node {bad.node}: it may fail",
    )  # fmt: skip


def _bad(bad: BadReplica, failure: str, *, is_alone: bool) -> Found:
    if not is_alone:
        advice = (
            "other replicas of this stream are bad, too, or were not read: delete none. Start the"
            " nodes that are away, and look at all disks; then scrub again"
        )
    else:
        advice = (
            f"stop node {bad.node}, delete streams/{bad.stream} and _js_/{bad.group} below its"
            " jetstream directory, start it, and scrub again; --rebuild runs a program that does so"
        )
    text = f"stream {bad.stream}: node {bad.node} {_wrong(bad)}"
    if failure and is_alone:
        text += f"; it is not rebuilt: {failure}"
    return Found(
        Outcome.BAD, bad.stream, bad.node, len(bad.missing), len(bad.changed), text, advice
    )


def _unread(stream: str, node: str, text: str, advice: str) -> Found:
    return Found(Outcome.UNREAD, stream, node, 0, 0, text, advice)


def _away(stream: str, node: str) -> Found:
    return _unread(
        stream,
        node,
        f"stream {stream}: node {node} is away, and was not compared",
        "start it, or replace it; then scrub again",
    )


def _lost(stream: str, places: list[int]) -> Found:
    return Found(
        Outcome.LOST, stream, "", 0, len(places),
        f"stream {stream}: no replica that answers has message {places[0]} as it was"
        + (f", nor {len(places) - 1} others" if places[1:] else ""),
        "delete nothing: start the nodes that are away and scrub again; people's programs notice"
        " the cells that stay lost, and send them again",
    )  # fmt: skip
