"""The evidence that each design gives its operator about the same people.

Each design carries the messages of a sample and leaves the log that a hostile operator could keep.
For every request to deposit something, the log has its time, its source network address (a person's
number, or -1 where it is hidden), its destination, its size, and anything else written on it.

*cloud*: plaintext, user ids, rooms. *federated*: ciphertext with sender, room and its members.
*sealed*: one mailbox a person, the sender hidden, delivery receipts at once. *perqueue*: a queue
for each sender of each recipient, the sender hidden. *amanat*: buckets; *direct*, the depositor's
address is seen; *hopped*, it is not; *covered*, cells are seen at the end of rounds
(`queueing.py`).

Our client's requests and their times follow `client/rules/saying.py` and `client/rules/sent.py`:
a cell for each recipient, a separate receipt after 5 to 60 seconds where none rode along, and
heartbeats for words that nobody has confirmed. `tests/test_drill.py` compares them with real
clients.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.client.rules.roster import RECEIPT_GROUP
from amanat.client.rules.saying import RECEIPT_DELAY_MS
from amanat.client.rules.sent import BEATS_MS
from amanat.drill.queueing import PERIOD_S, carry
from amanat.protocol.cells import CELL_SIZES, MESSAGE_CELL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.sample import Sample

DESIGNS = ("cloud", "federated", "sealed", "perqueue", "amanat")
MODES = {"amanat": ("direct", "hopped", "covered")}
"""The modes of each design that has any."""
PEOPLE_PER_BUCKET = (32, 64)
MANY_PEOPLE = 500
"""How many people share a bucket of an ordinary relay, and of one with more than MANY_PEOPLE: as
docs/operations.md tells operators, because many buckets differ more in how much they receive."""
HIDDEN = -1
FAN_OUT_S = 0.02
"""Time between two cells of one message to several people, in seconds, as measured on loopback."""
WAY_S = (0.02, 0.3)
"""Shortest and longest time that a request takes to arrive, in seconds."""
PADDING = {"cloud": 1, "federated": 1, "sealed": 160, "perqueue": 16_384}
"""Multiples to which a design pads, in bytes: Signal's texts, SimpleX's blocks. Ours has cells."""
ENVELOPE_BYTES = {"cloud": 0, "federated": 200, "sealed": 100, "perqueue": 300, "amanat": 300}
"""Bytes around a text at rest; ours measured by bench/cells.py, the others' estimated."""
TEXT_BYTES = (80.0, 0.9)
"""Median length of a text in bytes, and the spread of its logarithm."""


class Evidence(NamedTuple):
    """The log of a server, and the truth about each entry.

    Arrays of one length, in the order of `at`. `source`, `place` and `size` are what the log says;
    `author` and `recipient` are the truth.
    """

    at: NDArray[np.float64]
    source: NDArray[np.int64]
    place: NDArray[np.int64]
    size: NDArray[np.int64]
    author: NDArray[np.int64]
    recipient: NDArray[np.int64]
    owners: list[tuple[int, ...]]
    """For each place, the people whose it may be as far as the operator knows."""
    rooms: list[tuple[int, ...]]
    """The members of each room, where the server knows rooms and places are rooms; else empty."""
    period_s: int = 0
    """The period of a covered client, in seconds, whose cells are seen at the end of rounds; else
    0."""


class Deposits(NamedTuple):
    """Everything that clients deposit, before a design hides any of it."""

    at: NDArray[np.float64]
    author: NDArray[np.int64]
    recipient: NDArray[np.int64]
    talk: NDArray[np.int64]
    size: NDArray[np.int64]
    """Bytes of the text; 0 for a receipt or a heartbeat."""


def buckets_of(people: int, per_bucket: int = 0) -> int:
    """How many buckets a relay of so many people has, with so many in each, or with as many as
    operators are told to have."""
    return -(-people // (per_bucket or PEOPLE_PER_BUCKET[people > MANY_PEOPLE]))


def observe(
    sample: Sample,
    design: str,
    mode: str | None,
    rng: np.random.Generator,
    *,
    per_bucket: int = 0,
) -> Evidence:
    """The log of a server of a design; ours has so many people in a bucket, or the usual number."""
    buckets = buckets_of(sample.people, per_bucket)
    if mode == "covered":
        deposits = covered(sample, rng)
        evidence = _buckets(sample, deposits, rng, buckets, is_hidden=True)
        return evidence._replace(period_s=PERIOD_S)
    if design == "amanat":
        deposits = deposit(sample, rng, receipts="ours")
        is_hidden = mode != "direct"
        return _buckets(sample, deposits, rng, buckets, is_hidden=is_hidden)
    receipts = "none" if design in ("cloud", "federated") else "each"
    deposits = deposit(sample, rng, receipts=receipts)
    if design in ("cloud", "federated"):
        return _rooms(sample, deposits, design)
    hidden = np.full(len(deposits.at), HIDDEN)
    if design == "sealed":
        owners: list[tuple[int, ...]] = [(who,) for who in range(sample.people)]
        place = deposits.recipient
    else:
        key = deposits.author * sample.people + deposits.recipient
        queues, place = np.unique(key, return_inverse=True)
        owners = [(int(queue % sample.people),) for queue in queues]
    return _sorted(deposits, hidden, place, design, owners)


def stored_size(text_bytes: NDArray[np.int64], design: str) -> NDArray[np.int64]:
    """Bytes at rest of texts of so many bytes."""
    whole = text_bytes + ENVELOPE_BYTES[design]
    if design == "amanat":
        cells = np.array(CELL_SIZES)
        return cells[np.minimum(np.searchsorted(cells, whole), len(cells) - 1)]
    return -(-whole // PADDING[design]) * PADDING[design]


def hide(evidence: Evidence) -> Evidence:
    """The same evidence, through a hop: no entry has a source address."""
    return evidence._replace(source=np.full(len(evidence.at), HIDDEN))


def with_puppets(
    evidence: Evidence, people: int, share: float, rng: np.random.Generator
) -> Evidence:
    """The same evidence, where a share of every bucket are the operator's puppets, so that fewer
    real people hide each other."""
    real = max(1, round(people / len(evidence.owners) * (1 - share)))
    bucket, owners = _drawn(people, -(-people // real), rng)
    return evidence._replace(place=bucket[evidence.recipient], owners=owners)


def covered(sample: Sample, rng: np.random.Generator) -> Deposits:
    """The deposits of covered people, at the times at which they can be seen."""
    sizes = _text_sizes(sample, rng)
    is_large = stored_size(sizes, "amanat") > MESSAGE_CELL
    seen = carry(sample, sizes.tolist(), rng, is_large=is_large.tolist())
    at, author, recipient, talk, size = zip(*seen, strict=True)
    return Deposits(
        np.array(at), np.array(author), np.array(recipient), np.array(talk), np.array(size)
    )


def _buckets(
    sample: Sample,
    deposits: Deposits,
    rng: np.random.Generator,
    buckets: int,
    *,
    is_hidden: bool,
) -> Evidence:
    bucket, owners = _drawn(sample.people, buckets, rng)
    source = np.full(len(deposits.at), HIDDEN) if is_hidden else deposits.author
    return _sorted(deposits, source, bucket[deposits.recipient], "amanat", owners)


def _drawn(
    people: int, many: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[tuple[int, ...]]]:
    """(the bucket of each person, the people of each bucket). Everybody draws at random, except
    that here every bucket gets its full number of people."""
    bucket = rng.permutation(np.arange(people) % many)
    return bucket, [tuple(np.flatnonzero(bucket == one).tolist()) for one in range(many)]


def _rooms(sample: Sample, deposits: Deposits, design: str) -> Evidence:
    # One entry for each message: the server itself hands the copies out.
    _, first = np.unique(np.stack([deposits.at, deposits.author]), axis=1, return_index=True)
    one = Deposits(
        deposits.at[first],
        deposits.author[first],
        deposits.recipient[first],
        deposits.talk[first],
        deposits.size[first],
    )
    return _sorted(one, one.author, one.talk, design, sample.talks)._replace(rooms=sample.talks)


def _sorted(
    deposits: Deposits,
    source: NDArray[np.int64],
    place: NDArray[np.int64],
    design: str,
    owners: list[tuple[int, ...]],
) -> Evidence:
    order = np.argsort(deposits.at, kind="stable")
    return Evidence(
        at=deposits.at[order],
        source=source[order],
        place=place[order],
        size=stored_size(deposits.size, design)[order],
        author=deposits.author[order],
        recipient=deposits.recipient[order],
        owners=owners,
        rooms=[],
    )


def deposit(sample: Sample, rng: np.random.Generator, *, receipts: str) -> Deposits:
    """The deposits of a sample's clients: texts, and receipts as "none", "each" (one for every
    text, to its author, as soon as it has come) or "ours"."""
    rows: list[tuple[float, int, int, int, int]] = []
    sizes = _text_sizes(sample, rng)
    by_talk: dict[int, list[tuple[float, int]]] = {}
    for at, who, talk, size in zip(
        sample.at.tolist(),
        sample.sender.tolist(),
        sample.talk.tolist(),
        sizes.tolist(),
        strict=True,
    ):
        by_talk.setdefault(talk, []).append((at, who))
        step = 0.0 if receipts == "none" else FAN_OUT_S
        others = [one for one in sample.talks[talk] if one != who]
        rows += [(at + step * i, who, other, talk, size) for i, other in enumerate(others)]
    if receipts == "each":
        for talk, said in by_talk.items():
            for at, who in said:
                for other in sample.talks[talk]:
                    came = sample.opened(other, at + rng.uniform(*WAY_S))
                    if other != who:
                        rows.append((came + rng.uniform(*WAY_S), other, who, talk, 0))
    elif receipts == "ours":
        for talk, said in by_talk.items():
            rows += _quiet(sample, talk, said, rng)
    rows = [row for row in rows if row[0] < sample.seconds]
    at_, author, recipient, talk_, size_ = zip(*rows, strict=True)
    return Deposits(
        np.array(at_), np.array(author), np.array(recipient), np.array(talk_), np.array(size_)
    )


def _text_sizes(sample: Sample, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.exp(rng.normal(np.log(TEXT_BYTES[0]), TEXT_BYTES[1], len(sample.at))).astype(int) + 1


def _quiet(
    sample: Sample, talk: int, said: list[tuple[float, int]], rng: np.random.Generator
) -> list[tuple[float, int, int, int, int]]:
    """Receipts and heartbeats of our clients in one conversation."""
    members = sample.talks[talk]
    rows: list[tuple[float, int, int, int, int]] = []
    if len(members) > RECEIPT_GROUP:
        return rows
    low, high = (one / 1000 for one in RECEIPT_DELAY_MS)
    confirmed: dict[int, list[float]] = {}

    def tell(at: float, who: int) -> None:
        others = [one for one in members if one != who]
        rows.extend((at + FAN_OUT_S * i, who, one, talk, 0) for i, one in enumerate(others))

    for who in members:
        own = [at for at, author in said if author == who]
        come = sorted(
            sample.opened(who, at + float(rng.uniform(*WAY_S)))
            for at, author in said
            if author != who
        )
        due = None
        told: list[float] = []
        for at, is_own in sorted([(at, True) for at in own] + [(at, False) for at in come]):
            if due is not None and due <= at:
                tell(due, who)
                told.append(due)
                due = None
            if is_own:
                due = None
                told.append(at)
            elif due is None and at < sample.seconds:
                due = at + float(rng.uniform(low, high))
        if due is not None:
            tell(due, who)
            told.append(due)
        confirmed[who] = told
    beats = np.cumsum(BEATS_MS) / 1000
    for who in members:
        own = [at for at, author in said if author == who]
        for at, after in itertools.pairwise([*own, sample.seconds]):
            known = max(
                next((when for when in confirmed[other] if when > at), sample.seconds)
                for other in members
                if other != who
            )
            for beat in (at + beats).tolist():
                if beat >= min(known, after):
                    break
                beat_at = sample.opened(who, beat)
                if beat_at < min(known, after):
                    tell(beat_at, who)
    return rows
