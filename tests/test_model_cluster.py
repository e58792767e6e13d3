"""The promises of a relay on a cluster hold in every reachable state of the models, and every
planted mistake breaks one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from figures import SOAK, report
from model_cluster import Chain, Model, Move, Roots, Takeover, explore

AnyModel: TypeAlias = Chain | Takeover | Roots | Move

pytestmark = pytest.mark.long

LABELS = Chain(texts=("a1", "a2", "b1"), skips=True)
ENDS = Chain(texts=("a1",), messages=5, late=0, expires=True)
EXPIRY = Chain(texts=("a1",), expires=True)
READERS = Chain(late=0, writers=1, expires=True, reads=True)
LEDGER = Takeover(entries=(("a1", "a2"), ("b1",)), skips=True)
PUT_BACK = Takeover(entries=(("a1",), ("b1",)), puts=1)
RACE = Roots(shelves=(0, 1))
SPREAD = Roots(makers=1)
TWICE = Roots(shelves=(0, 0, 1), makers=1)
RELEASE = Move(texts=("x",), moves=1, creates=False)
ABANDON = Move(texts=(), strays=0, creates=False)
CREATION = Move(texts=(), strays=0, moves=1)

HOLD: dict[str, AnyModel] = {
    "labels": LABELS,
    "ends": ENDS,
    "expiry": EXPIRY,
    "readers": READERS,
    "readers of bad replicas": replace(READERS, texts=("a1",), skips=True),
    "ledger": LEDGER,
    "a cluster put back": PUT_BACK,
    "two roots": RACE,
    "three directories": SPREAD,
    "one directory twice": TWICE,
    "release": RELEASE,
    "abandon": ABANDON,
    "creation in a move": CREATION,
}
LARGE: dict[str, AnyModel] = {
    "expiry, large": Chain(texts=("a1",), messages=5, expires=True),
    "readers, large": replace(READERS, skips=True),
    "ledger, large": Takeover(late=0, skips=True),
    "roots, large": Roots(),
    "moves, large": Move(texts=("x",), creates=False),
    "release, large": Move(texts=("x", "y"), strays=0, moves=1, creates=False),
}
"""Explored only by `make soak`."""

FOUND: list[tuple[AnyModel, str, str]] = [
    (LABELS, "no predecessor", "entries follow each other"),
    (LABELS, "labels in part", "a retry gets the same seq"),
    (LABELS, "a retry is answered from what is staged", "an acknowledged cell is there"),
    (LABELS, "a refusal from memory", "no drop"),
    (ENDS, "created, from memory", "no drop"),
    (ENDS, "purge without a bound", "nothing is lost by a purge"),
    (READERS, "purge below the record", "nothing is lost by a purge"),
    (EXPIRY, "purge before takeover", "every entry is taken over once"),
    (READERS, "a record behind the cursor", "a head never goes back"),
    (READERS, "a missing cell is an expired one", "a reader gets every cell"),
    (LEDGER, "no predecessor", "an entry is in the ledger once"),
    (LEDGER, "marks of the leader", "an entry is never lost"),
    (LEDGER, "marks go back", "an entry is in the ledger once"),
    (LEDGER, "purge before takeover", "an entry is never lost"),
    (LEDGER, "a hole in a shard", "an entry is never lost"),
    (LEDGER, "a hole in the ledger", "two checkpoints go on from each other"),
    (LEDGER, "each process shows its own", "a checkpoint that is shown never goes back"),
    (PUT_BACK, "signs anything", "two checkpoints go on from each other"),
    (PUT_BACK, "kept by its signer alone", "two checkpoints go on from each other"),
    (RACE, "a hash before the root", "a root is kept before it is used"),
    (RACE, "a root without a hash", "one root for a day"),
    (RACE, "the last hash is right", "one root for a day"),
    (RACE, "a root of a day that has ended", "nobody opens the cells of a day that has ended"),
    (RACE, "a start ends no day", "nobody opens the cells of a day that has ended"),
    (RACE, "those that answer certify", "nobody opens the cells of a day that has ended"),
    (TWICE, "processes count", "a root is kept before it is used"),
    (RELEASE, "no predecessor", "an acknowledged cell is there"),
    (RELEASE, "a release of what was noted last", "an acknowledged cell is there"),
    (ABANDON, "a release before the closing", "stuck"),
    (ABANDON, "abandon at the destination first", "stuck"),
    (CREATION, "a process creates that has not heard", "a drop is at one relay"),
    (CREATION, "sent on without a look", "a drop is at one relay"),
]


@pytest.mark.parametrize("name", [*HOLD, *(LARGE if SOAK > 1 else ())])
def test_no_order_of_steps_breaks_a_promise(name: str) -> None:
    model: Model[Any] = (HOLD | LARGE)[name]
    explored = explore(model)
    report(f"cluster model: {name}", states=explored.states, steps=explored.steps)
    assert not explored.wrong, (explored.wrong, explored.history)
    assert explored.states > 1000  # it did explore


@pytest.mark.parametrize(
    ("model", "mistake", "wrong"), FOUND, ids=[f"{type(m).__name__}-{what}" for m, what, _ in FOUND]
)
def test_a_planted_mistake_breaks_a_promise(model: AnyModel, mistake: str, wrong: str) -> None:
    planted: Model[Any] = replace(model, mistake=mistake)
    explored = explore(planted)
    assert explored.wrong == wrong, explored.history


def test_the_history_of_a_broken_promise_is_the_shortest() -> None:
    explored = explore(replace(CREATION, mistake="a process creates that has not heard"))
    assert explored.history == [
        "a move begins",
        "carries 0",
        "freeze at 0",
        "the mover asks 0",
        "0 closes",
        "create at 0: there",
        "create at 1",
    ]
