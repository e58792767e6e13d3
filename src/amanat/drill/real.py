"""Other people's real programs: started here, loaded with the trace, stopped, their disks attacked.

They are Matrix Synapse and ejabberd, as `make real` installs them. The first messages of one seed
go in the order of the trace through each server's own protocol, end-to-end encrypted as far as a
server can tell, since it gets ciphertext. The attacks then read only the files that it has written.
They are those of the drill, without tuning, since the servers record rooms.
"""

from __future__ import annotations

import base64
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.drill import ejabberd, seized, synapse
from amanat.drill.attacks import contacts, content, deletion, groups, identifiers, ip
from amanat.drill.ejabberd import Ejabberd
from amanat.drill.sample import draw
from amanat.drill.scores import rank
from amanat.drill.search import found
from amanat.drill.synapse import Synapse
from amanat.drill.told import Load, evidence
from amanat.errors import BadArgument, NotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample
    from amanat.drill.told import Server, Told
    from amanat.drill.traces import Said

SERVERS: dict[str, Callable[[Path], Server]] = {ejabberd.NAME: Ejabberd, synapse.NAME: Synapse}
MOST_MESSAGES = 50_000
MOST_PEOPLE = 1_000
"""Most people: each has a connection of their own, whose address is made of a number below this."""
GRAPH = {contacts.NAME: contacts, groups.NAME: groups}
ATTACKS = (*GRAPH, ip.NAME, content.NAME, identifiers.NAME, deletion.NAME)
"""The attacks that a disk allows."""
DELETED = 50
"""Number of messages taken out of the disk, none of them the last of its conversation."""
KINDS = {
    "names": "names of people",
    "rooms": "names of rooms",
    "devices": "names of devices",
    "programs": "names of programs",
    "addresses": "network addresses",
}
"""The parts of a load, besides messages, that a server may be told."""


class Found(NamedTuple):
    """One figure of a real server. `base` is the base rate, `random` the figure of a guess."""

    attack: str
    metric: str
    value: float
    base: float | None = None
    random: float | None = None


def check(messages: int, people: int) -> None:
    """Check that a load is possible. Raises BadArgument if not, or NotInstalled."""
    if not 0 < messages <= MOST_MESSAGES or people > MOST_PEOPLE:
        raise BadArgument(
            f"real servers take 1 to {MOST_MESSAGES} messages of at most {MOST_PEOPLE} people"
        )
    known = {ejabberd.NAME: ejabberd.is_installed(), synapse.NAME: synapse.is_installed()}
    if missing := [name for name, is_there in known.items() if not is_there]:
        raise NotInstalled(", ".join(missing))


def first_messages(
    said: list[Said], *, people: int, days: int, messages: int
) -> tuple[Load, list[str]]:
    """(the load of the servers, the texts of its messages)."""
    whole = draw(said, people=people, days=days, seed=0)
    sample = whole._replace(
        at=whole.at[:messages], sender=whole.sender[:messages], talk=whole.talk[:messages]
    )
    known = content.canaries()
    texts = [known[number % len(known)] for number in range(len(sample.at))]
    numbers = range(sample.people)
    load = Load(
        sample,
        accounts=[f"person{number}" for number in numbers],
        names=_names("Person", sample.people),
        devices=_names("Phone", sample.people),
        programs=_names("Program", sample.people),
        # All have one length, so that none stands inside another.
        addresses=[f"127.1.{100 + number // 100}.{100 + number % 100}" for number in numbers],
        rooms=[
            "" if len(members) == 2 else name  # noqa: PLR2004  # a conversation of two
            for members, name in zip(sample.talks, _names("Room", len(sample.talks)), strict=True)
        ],
        payloads=[base64.b64encode(seized.encrypted("federated", text)).decode() for text in texts],
    )
    return load, texts


def _names(of: str, many: int) -> list[str]:
    """Names that occur nowhere else."""
    return [f"{of} {secrets.token_hex(6)}" for _ in range(many)]


def measure(
    name: str, load: Load, texts: list[str], attacks: tuple[str, ...], step: Callable[[], None]
) -> list[Found]:
    """The figures of one server, which is started, loaded, stopped and removed again."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="amanat-real-") as directory:
        server = SERVERS[name](Path(directory) / name)
        with server.running():
            ids = server.load(load, step)
        told = server.told()
        seen = evidence(told, load, ids)
        results = list(_graph(load.sample, seen, rng))
        results.append(
            Found(ip.NAME, "addresses known", ip.measure(seen), random=1 / load.sample.people)
        )
        results += _content(server, load, texts)
        results.append(_identifiers(told, load, ids, rng))
        results += _deletion(server, load, ids, rng) if deletion.NAME in attacks else []
    return [one for one in results if one.attack in attacks]


def _graph(sample: Sample, seen: Evidence, rng: np.random.Generator) -> Iterator[Found]:
    pairs = np.triu_indices(sample.people, 1)
    for name, attack in GRAPH.items():
        truth = attack.truth(sample)[pairs]
        if truth.any():
            (score,) = attack.features(seen, sample.people).values
            both = rank(score[pairs], truth, rng)
            yield Found(name, "average precision", both.average_precision, both.base, both.base)
            yield Found(name, "AUC", both.auc, both.base, 0.5)
            yield Found(name, "precision at k", both.precision_at_k, both.base, both.base)


def _content(server: Server, load: Load, texts: list[str]) -> Iterator[Found]:
    hits = found(texts, [server.directory])
    yield Found(content.NAME, "canaries found", len(hits), random=0)
    for kind in server.hears:
        known = [one for one in getattr(load, kind) if one]
        if kind == "rooms":
            known = [load.rooms[talk] for talk in load.used if load.rooms[talk]]
        if known:
            metric = f"{KINDS[kind]} found of {len(known)}"
            yield Found(content.NAME, metric, len(found(known, [server.directory])))


def _identifiers(told: Told, load: Load, ids: list[str], rng: np.random.Generator) -> Found:
    number = {message: index for index, message in enumerate(ids)}
    best = ("no field", 0.0)
    for name, rows in told.fields.items():
        kept = [(number[message], value) for message, value in rows if message in number]
        at = np.array([index for index, _ in kept])
        whose = {
            "whom it is for": load.recipients[at],
            "whom it is from": load.sample.sender[at],
        }
        told_by = identifiers.measure({name: [value for _, value in kept]}, whose, rng)
        best = max(best, told_by, key=lambda one: one[1])
    return Found(identifiers.NAME, f"bits of {best[0]}", best[1], random=0)


def _deletion(
    server: Server, load: Load, ids: list[str], rng: np.random.Generator
) -> Iterator[Found]:
    """The figures of messages removed behind the server's back, whose clients then read again."""
    talk = load.sample.talk
    last = {int(one): number for number, one in enumerate(talk)}
    able = [number for number, one in enumerate(talk.tolist()) if number != last[one]]
    if not able:
        return
    chosen = rng.permutation(able)[:DELETED]
    gone = {ids[number] for number in chosen}
    talks = sorted({int(one) for one in talk[chosen]})
    there = {message for message, one in zip(ids, talk.tolist(), strict=True) if one in set(talks)}
    with server.running():
        before, complaints = server.read(load, talks)
        if not there <= before or complaints:
            raise RuntimeError(f"{server.name} did not give {len(there - before)} messages back")
    server.delete(gone)
    with server.running():
        after, complaints = server.read(load, talks)
    missing = there - after
    yield Found(
        deletion.NAME, f"gone when read again, of {len(gone)}", len(missing & gone) / len(gone)
    )
    yield Found(
        deletion.NAME, f"noticed, rows of {len(gone)}", min(1.0, complaints / len(gone)), random=0
    )
