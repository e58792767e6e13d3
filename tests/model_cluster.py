"""Models of a relay on a cluster (docs/decisions/0039). Each tries every order of the steps of a
few processes, with crashes, lost answers, late messages and lagging replicas.

There are four models, each small enough to be explored whole: a drop (`Chain`), the ledger
(`Takeover`), the roots of keys (`Roots`) and a move from a cluster to an embedded relay (`Move`).
They share the explorer. Each state says which promise it breaks, if any; the explorer also finds
the states from which no run can end well. A *mistake* is a rule that a model leaves out: the tests
expect that each is found.

A change that was sent and not answered is *late*: the engine may take it at any later time, or
never. That covers lost answers, slow networks and processes that sleep before they send.

`Chain` keeps the history of what the engine took beside the engine's state. No rule looks at it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

Some = TypeVar("Some", bound=Hashable)
Item = TypeVar("Item")


class Model(Protocol[Some]):
    """Something to explore."""

    def begin(self) -> Some:
        """The first state."""

    def steps(self, now: Some) -> Iterator[tuple[str, Some]]:
        """Every next step, by its name, and the state after it."""

    def wrong(self, now: Some) -> str:
        """The promise that a state breaks, empty if none."""

    def is_over(self, now: Some) -> bool:
        """Whether a run may end here. From every state, some such state must be in reach."""


class Explored(NamedTuple):
    states: int
    steps: int
    wrong: str
    """The first promise that is broken, empty if none is."""
    history: list[str]
    """The shortest history that breaks it."""


class Search(Generic[Some]):
    """Every reachable state of a model, the nearest first, up to the first broken promise."""

    def __init__(self, model: Model[Some]) -> None:
        self._model = model
        begin = model.begin()
        self._number: dict[Some, int] = {begin: 0}
        self._states = [begin]
        self._how: list[tuple[int, str]] = [(-1, "")]
        self._before: list[list[int]] = [[]]
        self._steps = 0

    def run(self) -> Explored:
        number, states = self._number, self._states
        at = 0
        while at < len(states):
            now = states[at]
            if wrong := self._model.wrong(now):
                return self._found(wrong, at)
            for name, after in self._model.steps(now):
                self._steps += 1
                to = number.setdefault(after, len(states))
                if to == len(states):
                    states.append(after)
                    self._how.append((at, name))
                    self._before.append([])
                self._before[to].append(at)
            at += 1
        stuck = self._stuck()
        return self._found("stuck", stuck) if stuck is not None else self._found("", 0)

    def _stuck(self) -> int | None:
        """The nearest state from which no run can end well."""
        todo = deque(at for at, now in enumerate(self._states) if self._model.is_over(now))
        good = set(todo)
        while todo:
            for before in self._before[todo.popleft()]:
                if before not in good:
                    good.add(before)
                    todo.append(before)
        return next((at for at in range(len(self._states)) if at not in good), None)

    def _found(self, wrong: str, at: int) -> Explored:
        history: list[str] = []
        while at:
            at, name = self._how[at]
            history.append(name)
        return Explored(len(self._states), self._steps, wrong, history[::-1])


def explore(model: Model[Some]) -> Explored:
    return Search(model).run()


def put(items: tuple[Item, ...], at: int, item: Item) -> tuple[Item, ...]:
    return (*items[:at], item, *items[at + 1 :])


def less(items: tuple[Item, ...], at: int) -> tuple[Item, ...]:
    return items[:at] + items[at + 1 :]


# One drop: its chain, its labels, its expiry, its readers


class Cell(NamedTuple):
    seq: int
    text: str
    """The first letter is the label."""
    day: int


class Message(NamedTuple):
    """A change of the drop: the cells that land, and the record after them."""

    seq: int
    """Its place in the stream, given by the engine."""
    before: int
    """The message that it names as its predecessor; 0 if none."""
    digest: tuple[Cell, ...]
    """All cells of the drop, up to the head."""
    kept: int
    """The seq of the first cell that rests."""
    life: int
    """How many drops of this id there were before it. No rule looks at it."""
    is_end: bool
    cells: tuple[Cell, ...]
    entry: str

    @property
    def head(self) -> int:
        return len(self.digest)


Log = tuple[Message, ...]
"""The messages of a drop that are not purged."""


class Known(NamedTuple):
    """A drop as a process has read it: its last message, and the cells that rest with the message
    that holds each."""

    last: Message | None
    cells: tuple[tuple[Cell, int], ...]

    @property
    def seq(self) -> int:
        return self.last.seq if self.last else 0

    @property
    def is_here(self) -> bool:
        return self.last is not None and not self.last.is_end

    @property
    def is_whole(self) -> bool:
        """Whether no resting cell is missing. The record says which there must be."""
        last = self.last
        wanted = range(last.kept, last.head + 1) if last else range(0)
        return [cell.seq for cell, _ in self.cells] == list(wanted)


def known_of(record: Log, cells: Log) -> Known:
    """The knowledge from two reads, of the record and of the cells, which two replicas may
    answer."""
    last = record[-1] if record else None
    if last is None:
        return Known(None, ())
    resting = {
        cell: one.seq
        for one in cells
        for cell in one.cells
        if one.life == last.life and last.kept <= cell.seq <= last.head
    }
    return Known(last, tuple(resting.items()))


class Process(NamedTuple):
    known: Known | None = None
    day: int = 0


class Reader(NamedTuple):
    life: int = 0
    cursor: int = 0


class Answer(NamedTuple):
    """An acknowledged cell of a life of the drop."""

    life: int
    cell: Cell


class Drop(NamedTuple):
    views: tuple[Log, ...] = ((),)
    """The leader's log, and before it those that a lagging replica may still show."""
    processes: tuple[Process, ...] = (Process(), Process())
    late: Log = ()
    seq: int = 0
    """The last sequence number of the stream."""
    mark: int = 0
    """The ledger has taken over the entries up to it."""
    ledger: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    """History: every entry that was made."""
    lives: int = 0
    acknowledged: frozenset[Answer] = frozenset()
    reader: Reader = Reader()
    broken: str = ""


@dataclass(frozen=True)
class Chain:
    """A drop that two processes serve."""

    texts: tuple[str, ...] = ("a1", "b1")
    messages: int = 4
    """Messages that are published at most."""
    late: int = 1
    """Messages that are late at once at most."""
    behind: int = 1
    """Changes by which a replica lags at most."""
    writers: int = 2
    """Processes that create and append. All of them do everything else."""
    expires: bool = False
    reads: bool = False
    skips: bool = False
    """Whether a replica may silently leave out a message."""
    mistake: str = ""

    def begin(self) -> Drop:
        return Drop()

    def is_over(self, now: Drop) -> bool:
        return not now.late

    # The engine

    def _accept(self, now: Drop, message: Message) -> Drop | None:
        """The engine takes a message, or refuses it (None)."""
        log = now.views[0]
        last = log[-1] if log else None
        if message.before != (last.seq if last else 0) and self.mistake != "no predecessor":
            return None
        lives = now.lives + (message.entry == "created")
        if message.entry == "created":
            message = message._replace(life=lives)
        elif last and message.digest[: last.head] != last.digest:
            now = now._replace(broken="one total order")
        taken = message._replace(seq=now.seq + 1)
        told = (*now.told, taken.entry) if taken.entry else now.told
        return self._change(now._replace(seq=now.seq + 1, lives=lives, told=told), (*log, taken))

    def _change(self, now: Drop, log: Log) -> Drop:
        return now._replace(views=(log, *now.views)[: self.behind + 1])

    def _replicas(self, now: Drop) -> Iterator[Log]:
        for view in dict.fromkeys(now.views):
            yield view
            if self.skips:
                yield from (less(view, at) for at in range(len(view)))

    # A process

    def _reads(self, now: Drop, who: int) -> Iterator[Known]:
        """The knowledge of the drop that a process may have when it wants to change it."""
        known = now.processes[who].known
        if known is not None:
            yield known
            return
        logs = dict.fromkeys(self._replicas(now))
        pairs = itertools.product(dict.fromkeys(one[-1:] for one in logs), logs)
        for one in dict.fromkeys(known_of(record, cells) for record, cells in pairs):
            is_enough = one.is_whole or self.mistake == "labels in part"
            yield one if is_enough else self._leader(now)

    def _leader(self, now: Drop) -> Known:
        return known_of(now.views[0], now.views[0])

    def _publish(
        self, now: Drop, who: int, known: Known, message: Message, cell: Cell | None = None
    ) -> Iterator[tuple[str, Drop]]:
        """Publish a change; the answer comes, or does not."""
        if now.seq + len(now.late) >= self.messages:
            return
        after = self._accept(now, message)
        if after is None:
            yield "is refused, and reads again", self._learn(now, who, self._leader(now))
        else:
            if cell is not None:
                after = self._acknowledge(after, after.views[0][-1].life, cell)
            cells = (*known.cells, *((one, after.seq) for one in message.cells))
            last = after.views[0][-1]
            rest = tuple(one for one in cells if one[0].seq >= last.kept)
            yield "is taken", self._learn(after, who, Known(last, rest))
        if len(now.late) < self.late:
            unknown = now._replace(late=(*now.late, message))
            if self.mistake == "a retry is answered from what is staged":
                staged = tuple((one, now.seq + 1) for one in message.cells)
                memory = Known(message._replace(seq=now.seq + 1), known.cells + staged)
                yield "hears nothing", self._learn(unknown, who, memory)
            else:
                yield "hears nothing", self._learn(unknown, who, None)

    def _learn(self, now: Drop, who: int, known: Known | None) -> Drop:
        me = now.processes[who]._replace(known=known)
        return now._replace(processes=put(now.processes, who, me))

    def _acknowledge(self, now: Drop, life: int, cell: Cell) -> Drop:
        """A client is told the seq of its cell."""
        last = now.views[0][-1] if now.views[0] else None
        kept = last.kept if last and last.life == life else len(self.texts) * self.messages
        for one in now.acknowledged:
            is_same = one.life == life and one.cell.text == cell.text
            if is_same and one.cell.seq != cell.seq and min(one.cell.seq, cell.seq) >= kept:
                return now._replace(broken="a retry gets the same seq")
        return now._replace(acknowledged=now.acknowledged | {Answer(life, cell)})

    def _append(self, now: Drop, who: int, known: Known, text: str) -> Iterator[tuple[str, Drop]]:
        if not known.is_here or known.last is None:
            if self.mistake != "a refusal from memory":
                known = self._leader(now)
            if known.last is None or known.last.is_end:
                # A refusal tells of a moment after the request came.
                is_right = not self._leader(now).is_here
                yield "refuses", now if is_right else now._replace(broken="no drop")
                return
        last, me = known.last, now.processes[who]
        for cell, _ in known.cells:
            if cell.text == text:
                yield "answers again", self._acknowledge(now, last.life, cell)
            if cell.text[0] == text[0]:
                return
        day = max(last.digest[-1].day if last.head >= last.kept else 0, me.day)
        cell = Cell(last.head + 1, text, day)
        message = Message(
            0, known.seq, (*last.digest, cell), last.kept, last.life, False, (cell,), ""
        )
        yield from self._publish(now, who, known, message, cell)

    def _create(self, now: Drop, who: int, known: Known) -> Iterator[tuple[str, Drop]]:
        if known.is_here and self.mistake != "created, from memory":
            known = self._leader(now)
        if known.is_here:
            is_right = self._leader(now).is_here
            yield "answers", now if is_right else now._replace(broken="no drop")
            return
        message = Message(0, known.seq, (), 1, 0, False, (), "created")
        yield from self._publish(now, who, known, message)

    def _expire(self, now: Drop, who: int, known: Known) -> Iterator[tuple[str, Drop]]:
        last, day = known.last, now.processes[who].day
        if last is None or last.is_end:
            return
        ended = [cell for cell, _ in known.cells if cell.day < day]
        if ended:
            message = last._replace(
                before=known.seq,
                kept=last.kept + len(ended),
                cells=(),
                entry=f"expired {len(ended)}",
            )
            for name, after in self._publish(now, who, known, message):
                yield f"expires: {name}", after
        elif last.head and not known.cells:
            message = last._replace(before=known.seq, is_end=True, cells=(), entry="erased")
            for name, after in self._publish(now, who, known, message):
                yield f"ends it: {name}", after

    def _purge(self, now: Drop, known: Known) -> Iterator[tuple[str, Drop]]:
        """Purge what the process knows to be of no use. Its knowledge may be old."""
        if known.last is None:
            return
        last, log = known.last, now.views[0]
        waiting = [one.seq for one in log if one.entry and one.seq > now.mark]
        if self.mistake == "purge before takeover":
            waiting = []
        if last.is_end:
            if waiting and waiting[0] <= last.seq:
                return
            # With a bound: another process may have made the drop again since.
            upto = (now.seq if self.mistake == "purge without a bound" else last.seq) + 1
        else:
            upto = min([last.seq, *(at for _, at in known.cells)])
            if self.mistake == "purge below the record":
                upto = last.seq
            upto = min([upto, *waiting])
        rest = tuple(one for one in log if one.seq >= upto)
        if rest != log:
            yield "purges", self._change(now, rest)

    def _read(self, now: Drop, who: int) -> Iterator[tuple[str, Drop]]:
        """A reader reads on at a process."""
        reader, memory = now.reader, now.processes[who].known
        logs = dict.fromkeys(self._replicas(now))
        records = [*logs, *([(memory.last,)] if memory and memory.last else [])]
        pairs = itertools.product(dict.fromkeys(one[-1:] for one in records), logs)
        shown = (self._shown(now, known_of(record, cells)) for record, cells in pairs)
        for known in dict.fromkeys(shown):
            last = known.last
            if last is not None and not last.is_end and reader.life in {0, last.life}:
                yield "shows", self._show(now, last, known)

    def _shown(self, now: Drop, known: Known) -> Known:
        """The answers that a process may give the reader that has read this."""
        last, reader = known.last, now.reader
        if last is None:
            return known
        is_behind = reader.cursor > last.head and self.mistake != "a record behind the cursor"
        is_part = not known.is_whole and self.mistake != "a missing cell is an expired one"
        return self._leader(now) if is_behind or is_part else known

    def _show(self, now: Drop, record: Message, known: Known) -> Drop:
        last = now.views[0][-1] if now.views[0] else None
        reader = now.reader
        if last is None or record.life != last.life or reader.life not in {0, last.life}:
            return now
        if record.head < reader.cursor:
            return now._replace(broken="a head never goes back")
        shown = {cell for cell, _ in known.cells}
        for cell in last.digest[reader.cursor : record.head]:
            if cell not in shown and cell.seq >= last.kept:
                return now._replace(broken="a reader gets every cell")
        if any(cell not in last.digest for cell in shown):
            return now._replace(broken="a reader gets the right cells")
        return now._replace(reader=Reader(last.life, record.head))

    # All of it

    def steps(self, now: Drop) -> Iterator[tuple[str, Drop]]:
        for at, message in enumerate(now.late):
            rest = now._replace(late=less(now.late, at))
            yield "a late message gets lost", rest
            after = self._accept(rest, message)
            if after is not None:
                yield "a late message is taken", after
        for who, me in enumerate(now.processes):
            if me.known is not None:
                yield f"{who} crashes", self._learn(now, who, None)
            for known in self._reads(now, who):
                for name, after in self._work(now, who, known):
                    yield f"{who} {name}", after
            if self.reads:
                for name, after in self._read(now, who):
                    yield f"{who} {name}", after
            if self.expires and me.day == 0:
                aged = put(now.processes, who, me._replace(day=1))
                yield f"a day ends at {who}", now._replace(processes=aged)
        entries = [one for one in now.views[0] if one.entry and one.seq > now.mark]
        if self.expires and entries:
            ledger = (*now.ledger, *(one.entry for one in entries))
            yield "entries are taken over", now._replace(ledger=ledger, mark=entries[-1].seq)

    def _work(self, now: Drop, who: int, known: Known) -> Iterator[tuple[str, Drop]]:
        """The steps of a process that knows this."""
        if who < self.writers:
            for text in self.texts:
                for name, after in self._append(now, who, known, text):
                    yield f"appends {text}: {name}", after
            for name, after in self._create(now, who, known):
                yield f"creates: {name}", after
        if self.expires:
            yield from self._expire(now, who, known)
            yield from self._purge(now, known)

    def wrong(self, now: Drop) -> str:
        if now.broken:
            return now.broken
        log = now.views[0]
        waiting = tuple(one.entry for one in log if one.entry and one.seq > now.mark)
        if self.expires and now.ledger + waiting != now.told:
            return "every entry is taken over once"
        if not log:
            is_lost = bool(now.told) and now.told[-1] != "erased"
            return "nothing is lost by a purge" if is_lost else ""
        last, today = log[-1], max(one.day for one in now.processes)
        if not last.is_end and not known_of(log, log).is_whole:
            return "nothing is lost by a purge"
        resting = [cell for cell, _ in known_of(log, log).cells]
        if len({cell.text[0] for cell in resting}) < len(resting):
            return "a label rests once"
        for life, cell in now.acknowledged:
            is_there = cell in last.digest and (cell.seq >= last.kept or cell.day < today)
            if life == last.life and not is_there:
                return "an acknowledged cell is there"
        return self._agree(now, last)

    def _agree(self, now: Drop, last: Message) -> str:
        """The ledger agrees with the record (relay/ledger.py)."""
        is_here, ended = False, 0
        for entry in now.told:
            if is_here != (entry != "created"):
                return "entries follow each other"
            is_here = entry != "erased"
            ended = ended + int(entry.split()[1]) if entry.startswith("expired") else 0
        if is_here == last.is_end or (is_here and ended != last.kept - 1):
            return "the ledger agrees"
        return ""


# The ledger: taking entries over, signing, showing


class Entry(NamedTuple):
    seq: int
    """Its place in its shard."""
    name: str
    """The drop, and the number of the entry in the drop."""


Checkpoint = tuple[str, ...]
"""A signed size and root, which stand for all entries."""
Marks = tuple[int, ...]


class Taking(NamedTuple):
    """A message of the ledger's stream."""

    before: int
    """How many messages there were."""
    marks: Marks
    names: tuple[str, ...]


class Book(NamedTuple):
    made: Marks = (0, 0)
    """How many entries were made in each shard."""
    shards: tuple[tuple[Entry, ...], ...] = ((), ())
    """The entries that are not purged."""
    ledger: tuple[Taking, ...] = ()
    late: tuple[Taking, ...] = ()
    kept: tuple[Checkpoint, ...] = ((), ())
    """The last checkpoint in each process's directory."""
    register: Checkpoint = ()
    """The checkpoint that the cluster shows."""
    signed: frozenset[Checkpoint] = frozenset()
    shown: frozenset[Checkpoint] = frozenset()
    seen: int = 0
    """The size that somebody was shown last."""
    puts: int = 0
    """How often the cluster was put back to an older disk."""
    broken: str = ""


def goes_on(older: Checkpoint, newer: Checkpoint) -> bool:
    return newer[: len(older)] == older


@dataclass(frozen=True)
class Takeover:
    """Two shards, whose entries two processes take over into the ledger and sign."""

    entries: tuple[tuple[str, ...], ...] = (("a1", "c1", "a2"), ("b1",))
    """The entries that will be made in each shard."""
    late: int = 1
    behind: int = 1
    skips: bool = False
    puts: int = 0
    """How often the cluster may be put back."""
    mistake: str = ""

    def begin(self) -> Book:
        return Book()

    def is_over(self, now: Book) -> bool:
        return sum(len(taking.names) for taking in now.ledger) == sum(map(len, self.entries))

    def _views(self, stream: tuple[Item, ...]) -> Iterator[tuple[Item, ...]]:
        """The parts of a stream that a replica may show."""
        for lag in range(min(self.behind, len(stream)) + 1):
            view = stream[: len(stream) - lag]
            yield view
            if self.skips:
                yield from (less(view, at) for at in range(len(view)))

    def _ledgers(self, now: Book) -> Iterator[tuple[Taking, ...]]:
        """The parts of the ledger that a process may read. Each message names the one before it."""
        for view in dict.fromkeys(self._views(now.ledger)):
            is_chain = all(one.before == at for at, one in enumerate(view))
            if is_chain or self.mistake == "a hole in the ledger":
                yield view

    def _takings(self, now: Book, ledger: tuple[Taking, ...]) -> Iterator[Taking]:
        marks = ledger[-1].marks if ledger else (0,) * len(now.shards)
        for views in itertools.product(*map(self._views, now.shards)):
            taken = [
                [one for one in view if one.seq > mark]
                for view, mark in zip(views, marks, strict=True)
            ]
            # Each entry names the one before it in its shard, whichever drop that is of.
            is_chain = all(
                [one.seq for one in ones] == list(range(mark + 1, mark + 1 + len(ones)))
                for ones, mark in zip(taken, marks, strict=True)
            )
            if not is_chain and self.mistake != "a hole in a shard":
                continue
            new = tuple(
                ones[-1].seq if ones else mark for ones, mark in zip(taken, marks, strict=True)
            )
            if self.mistake == "marks of the leader":
                new = now.made
            if self.mistake == "marks go back":
                ends = (view[-1].seq if view else 0 for view in views)
                new = tuple(ends)
            names = tuple(one.name for ones in taken for one in ones)
            if names:
                yield Taking(ledger[-1].before + 1 if ledger else 0, new, names)

    def _accept(self, now: Book, taking: Taking) -> Book | None:
        if taking.before != len(now.ledger) and self.mistake != "no predecessor":
            return None
        return now._replace(ledger=(*now.ledger, taking._replace(before=len(now.ledger))))

    def _purge(self, now: Book, marks: Marks) -> Book:
        shards = (
            tuple(one for one in shard if one.seq > mark)
            for shard, mark in zip(now.shards, marks, strict=True)
        )
        return now._replace(shards=tuple(shards))

    def _keep(self, now: Book, who: int, checkpoint: Checkpoint) -> Book:
        return now._replace(kept=put(now.kept, who, checkpoint))

    def steps(self, now: Book) -> Iterator[tuple[str, Book]]:
        for shard, names in enumerate(self.entries):
            made = now.made[shard]
            if made < len(names):
                entry = Entry(made + 1, names[made])
                yield (
                    f"entry {entry.name} is made",
                    now._replace(
                        made=put(now.made, shard, made + 1),
                        shards=put(now.shards, shard, (*now.shards[shard], entry)),
                    ),
                )
        for at, taking in enumerate(now.late):
            rest = now._replace(late=less(now.late, at))
            yield "a late message gets lost", rest
            after = self._accept(rest, taking)
            if after is not None:
                yield "a late message is taken", after
        for ledger in self._ledgers(now):
            yield from self._work(now, ledger)
        if now.puts < self.puts and now.ledger:
            yield (
                "the cluster is put back",
                now._replace(ledger=now.ledger[:-1], late=(), register=(), puts=now.puts + 1),
            )
        yield from self._show(now)

    def _work(self, now: Book, ledger: tuple[Taking, ...]) -> Iterator[tuple[str, Book]]:
        """The steps of a process that has read the ledger so far. Processes differ in nothing but
        their directories."""
        for taking in dict.fromkeys(self._takings(now, ledger)):
            name = f"{' '.join(taking.names)} from {taking.before}"
            after = self._accept(now, taking)
            if after is not None:
                yield f"{name} is taken over", after
            if len(now.late) < self.late:
                yield f"{name} is late", now._replace(late=(*now.late, taking))
            if self.mistake == "purge before takeover":
                yield f"{name} is purged", self._purge(now, taking.marks)
        if ledger and not self.puts:
            yield f"a purge up to {ledger[-1].marks}", self._purge(now, ledger[-1].marks)
        checkpoint = tuple(name for taking in ledger for name in taking.names)
        for who, kept in enumerate(now.kept):
            is_newer = len(checkpoint) > len(kept)
            if is_newer and (goes_on(kept, checkpoint) or self.mistake == "signs anything"):
                signed = now._replace(signed=now.signed | {checkpoint})
                yield f"{who} signs {len(checkpoint)}", self._keep(signed, who, checkpoint)

    def _show(self, now: Book) -> Iterator[tuple[str, Book]]:
        for who, kept in enumerate(now.kept):
            other = now.kept[1 - who]
            if kept != other and goes_on(other, kept):
                yield f"{who} tells of {len(kept)}", self._keep(now, 1 - who, kept)
            is_everywhere = goes_on(kept, other) or self.mistake == "kept by its signer alone"
            if is_everywhere and len(kept) > len(now.register):
                shown = now.shown | {kept}
                yield f"{who} publishes {len(kept)}", now._replace(register=kept, shown=shown)
            if self.mistake == "each process shows its own" and kept:
                yield f"{who} shows {len(kept)}", self._see(now, len(kept))
        if now.register and self.mistake != "each process shows its own":
            yield f"the cluster shows {len(now.register)}", self._see(now, len(now.register))

    def _see(self, now: Book, size: int) -> Book:
        if self.puts:
            return now
        broken = "a checkpoint that is shown never goes back" if size < now.seen else ""
        return now._replace(seen=size, broken=broken)

    def wrong(self, now: Book) -> str:
        names = [name for taking in now.ledger for name in taking.names]
        told = now.shown if self.puts else now.signed
        if any(not goes_on(*sorted(pair, key=len)) for pair in itertools.combinations(told, 2)):
            return "two checkpoints go on from each other"
        if len(set(names)) < len(names):
            return "an entry is in the ledger once"
        marks = now.ledger[-1].marks if now.ledger else (0, 0)
        for shard, mark, made, all_names in zip(
            now.shards, marks, now.made, self.entries, strict=True
        ):
            waiting = {one.name for one in shard if one.seq > mark}
            if not set(all_names[:made]) <= waiting | set(names):
                return "an entry is never lost"
            told_names = [name for name in names if name in all_names]
            if told_names != list(all_names[: len(told_names)]):
                return "entries keep their order"
        return now.broken


# The roots of keys: making, spreading, naming and destroying them


class Holder(NamedTuple):
    """A process."""

    day: int = 0
    is_up: bool = True
    confirmed: frozenset[int] = frozenset()
    """Directories in which its own root is, as it has heard. It forgets that in a crash."""


class Shelf(NamedTuple):
    """A directory."""

    roots: frozenset[int] = frozenset()
    """Each root is named by the process that made it."""
    is_ended: bool = False
    """Whether it has destroyed the day's roots: it then takes none of that day again."""


class Vault(NamedTuple):
    holders: tuple[Holder, ...]
    shelves: tuple[Shelf, ...]
    mail: frozenset[tuple[int, int]] = frozenset()
    """(root, process): what was sent may come at any time, or never."""
    late: frozenset[int] = frozenset()
    """Roots whose hash is on its way to the cluster."""
    named: int | None = None
    """The root whose hash is in the cluster."""
    cells: frozenset[int] = frozenset()
    """The roots under which cells were published."""
    is_certified: bool = False
    """Whether the relay has said that nothing of the day is left."""
    broken: str = ""


@dataclass(frozen=True)
class Roots:
    """The root of one last day, day 1, at three processes, whose clocks are a day apart at most.
    Cells of day 0 are published under it."""

    shelves: tuple[int, ...] = (0, 1, 2)
    """The directory of each process."""
    makers: int = 2
    """Processes that make a root."""
    keepers: int = 2
    mistake: str = ""

    def begin(self) -> Vault:
        return Vault((Holder(),) * len(self.shelves), (Shelf(),) * (max(self.shelves) + 1))

    def is_over(self, now: Vault) -> bool:
        return all(shelf.is_ended for shelf in now.shelves)

    def _hold(self, now: Vault, who: int, holder: Holder) -> Vault:
        return now._replace(holders=put(now.holders, who, holder))

    def _lay(self, now: Vault, who: int, shelf: Shelf) -> Vault:
        return now._replace(shelves=put(now.shelves, self.shelves[who], shelf))

    def steps(self, now: Vault) -> Iterator[tuple[str, Vault]]:
        for root, who in sorted(now.mail):
            yield from self._take(now, root, who)
        for root in now.late:
            yield f"the late hash of {root} comes", self._name(now, root, is_late=True)
        for who, holder in enumerate(now.holders):
            if holder.day < 2 and holder.day == min(one.day for one in now.holders):
                yield (
                    f"a day ends at {who}",
                    self._hold(now, who, holder._replace(day=holder.day + 1)),
                )
            if holder.is_up:
                down = holder._replace(is_up=False, confirmed=frozenset())
                yield f"{who} crashes", self._hold(now, who, down)
                yield from self._work(now, who, holder, now.shelves[self.shelves[who]])
            else:
                up = self._hold(now, who, holder._replace(is_up=True))
                if self.mistake == "a start ends no day" and holder.day == 2:
                    shelf = now.shelves[self.shelves[who]]
                    up = self._lay(up, who, shelf._replace(is_ended=True))
                yield f"{who} starts", up
        ended = (
            now.shelves[self.shelves[who]].is_ended
            for who, holder in enumerate(now.holders)
            if holder.is_up or self.mistake != "those that answer certify"
        )
        if not now.is_certified and all(ended):
            yield "the relay certifies", now._replace(is_certified=True)

    def _work(
        self, now: Vault, who: int, holder: Holder, shelf: Shelf
    ) -> Iterator[tuple[str, Vault]]:
        if holder.day == 2 and not shelf.is_ended:
            yield f"{who} ends the day", self._lay(now, who, Shelf(frozenset(), is_ended=True))
            return
        if shelf.is_ended:
            return
        # A process makes a root if the replica that it asks knows of no hash yet.
        if who < self.makers and who not in shelf.roots and holder.day == 0:
            mail = {(who, to) for to in range(len(now.holders)) if to != who}
            made = self._lay(now, who, shelf._replace(roots=shelf.roots | {who}))
            made = made._replace(mail=made.mail | mail)
            confirmed = frozenset({self.shelves[who]})
            yield f"{who} makes a root", self._hold(made, who, holder._replace(confirmed=confirmed))
        is_spread = len(holder.confirmed) >= self.keepers
        if who in shelf.roots and (is_spread or self.mistake == "a hash before the root"):
            yield f"{who} names its root", self._name(now, who)
            yield f"{who} hears nothing", now._replace(late=now.late | {who})
        under = who if self.mistake == "a root without a hash" else now.named
        if under in shelf.roots and under is not None and holder.day == 0:
            yield f"{who} publishes a cell", now._replace(cells=now.cells | {under})
        if now.named is not None and now.named not in shelf.roots:
            # Another process that is up and has it sends it.
            for other, one in enumerate(now.holders):
                if one.is_up and now.named in now.shelves[self.shelves[other]].roots:
                    yield (
                        f"{other} sends {who} the root",
                        now._replace(mail=now.mail | {(now.named, who)}),
                    )
                    break

    def _take(self, now: Vault, root: int, who: int) -> Iterator[tuple[str, Vault]]:
        shelf, maker = now.shelves[self.shelves[who]], now.holders[root]
        if not now.holders[who].is_up:
            return
        if shelf.is_ended and self.mistake != "a root of a day that has ended":
            return
        taken = self._lay(now, who, shelf._replace(roots=shelf.roots | {root}))
        yield f"{who} takes root {root}", taken
        if maker.is_up and maker.confirmed:
            by = who + 100 if self.mistake == "processes count" else self.shelves[who]
            heard = maker._replace(confirmed=maker.confirmed | {by})
            yield f"{who} takes root {root} and says so", self._hold(taken, root, heard)

    def _name(self, now: Vault, root: int, *, is_late: bool = False) -> Vault:
        if is_late:
            now = now._replace(late=now.late - {root})
        if now.named is not None and self.mistake != "the last hash is right":
            return now
        return now._replace(named=root)

    def wrong(self, now: Vault) -> str:
        has_ended = [shelf.is_ended for shelf in now.shelves]
        for root in now.cells:
            if root != now.named:
                return "one root for a day"
            held = sum(root in shelf.roots for shelf in now.shelves)
            if not any(has_ended) and held < self.keepers:
                return "a root is kept before it is used"
        is_left = any(shelf.roots for shelf in now.shelves)
        if is_left and (all(has_ended) or now.is_certified):
            return "nobody opens the cells of a day that has ended"
        return now.broken


# A move, from a cluster to an embedded relay


class Version(NamedTuple):
    """The last message of the drop at the source."""

    seq: int = 1
    cells: tuple[str, ...] = ()
    has_gone: bool = False


class Asked(NamedTuple):
    move: int
    cells: tuple[str, ...]
    """The cells that the mover has carried."""


class Server(NamedTuple):
    """A process of the source."""

    note: Version | None = None
    """The standing that a Freeze has noted."""
    knows_closed: bool = False
    """Whether it knows that the destination creates new drops."""
    asked: Asked | None = None
    """The Release that it was asked for. It may act on it when the mover has died long since."""


class Late(NamedTuple):
    """A change of the drop (with the version) or the closing of a move (without)."""

    before: int
    """The predecessor, or the number of the move."""
    version: Version | None


class Moving(NamedTuple):
    source: Version = Version()
    servers: tuple[Server, ...] = (Server(), Server())
    late: tuple[Late, ...] = ()
    move: str = "none"
    """The move at the source: none, open, closed or abandoned."""
    told: tuple[str, ...] | None = None
    """The cells of which the answer to the mover's Freeze told."""
    mover: str = "idle"
    """The mover's state: idle, copies, frozen, asked, released, or undoing."""
    arrived: tuple[str, ...] | None = None
    landed: tuple[str, ...] | None = None
    """The drop's cells at the destination, once it is there."""
    has_begun: bool = False
    """Whether the destination knows of the move."""
    new: frozenset[str] = frozenset()
    """The relays at which a new drop was created."""
    strays: int = 0
    moves: int = 0
    acknowledged: frozenset[str] = frozenset()
    broken: str = ""


@dataclass(frozen=True)
class Move:
    """A drop and a mover, who may die and begin anew at any step, while people append, and create
    another drop."""

    texts: tuple[str, ...] = ("x", "y")
    late: int = 1
    strays: int = 1
    """How often a Freeze of a mover that has died may come late."""
    moves: int = 2
    """How many moves may begin; all but the last can be abandoned."""
    creates: bool = True
    mistake: str = ""

    def begin(self) -> Moving:
        return Moving()

    def is_over(self, now: Moving) -> bool:
        has_moved = now.landed is not None and now.source.has_gone
        return has_moved or (now.move == "none" and not now.source.has_gone and not now.has_begun)

    def _serve(self, now: Moving, who: int, server: Server) -> Moving:
        return now._replace(servers=put(now.servers, who, server))

    def _publish(self, now: Moving, late: Late) -> Iterator[tuple[str, Moving]]:
        """The change is taken or refused, or it is unknown which: then with a broken name."""
        yield "", self._accept(now, late) or now
        if len(now.late) < self.late:
            yield "nothing is heard", now._replace(late=(*now.late, late))

    def _accept(self, now: Moving, late: Late) -> Moving | None:
        if late.version is None:
            is_open = now.move == "open" and now.moves == late.before
            return now._replace(move="closed") if is_open else None
        names = late.before == now.source.seq
        if not names and not (late.version.has_gone and self.mistake == "no predecessor"):
            return None
        return now._replace(source=late.version._replace(seq=now.source.seq + 1))

    def steps(self, now: Moving) -> Iterator[tuple[str, Moving]]:
        for at, late in enumerate(now.late):
            rest = now._replace(late=less(now.late, at))
            yield "a late message gets lost", rest
            after = self._accept(rest, late)
            if after is not None:
                yield "a late message is taken", after
        for who, server in enumerate(now.servers):
            if server != Server():
                yield f"{who} crashes", self._serve(now, who, Server())
            if self.creates:
                yield from self._create(now, who, server)
            yield from self._steps_at(now, who, server)
        for text in self.texts:
            for name, after in self._append(now, text):
                yield f"append {text}: {name}", after
        yield from self._mover(now)

    # People

    def _append(self, now: Moving, text: str) -> Iterator[tuple[str, Moving]]:
        """A client appends at some process. A process that knows an older version sends what is
        late already."""
        source, thanks = now.source, now.acknowledged | {text}
        if source.has_gone:
            # The answer says where the drop is now.
            if now.landed is not None:
                landed = now.landed if text in now.landed else (*now.landed, text)
                yield "goes on there", now._replace(landed=landed, acknowledged=thanks)
            return
        if text in source.cells:
            yield "is known", now._replace(acknowledged=thanks)
            return
        late = Late(source.seq, Version(0, (*source.cells, text)))
        for name, after in self._publish(now, late):
            yield name or "is taken", after if name else after._replace(acknowledged=thanks)

    def _create(self, now: Moving, who: int, server: Server) -> Iterator[tuple[str, Moving]]:
        is_there = "source" in now.new and self.mistake != "sent on without a look"
        if now.move == "closed" and not server.knows_closed:
            known = server._replace(knows_closed=True)
            yield f"{who} hears of the closing", self._serve(now, who, known)
        if server.knows_closed and not is_there:
            if now.has_begun:
                yield f"create at {who}: there", now._replace(new=now.new | {"destination"})
        elif now.move != "closed" or self.mistake == "a process creates that has not heard":
            # The closing is a predecessor of the creation.
            yield f"create at {who}", now._replace(new=now.new | {"source"})

    # The mover

    def _steps_at(self, now: Moving, who: int, server: Server) -> Iterator[tuple[str, Moving]]:
        """The mover's steps at a process of the source."""
        noted = self._serve(now, who, server._replace(note=now.source))
        if now.mover == "copies" and not now.source.has_gone and now.arrived is not None:
            yield f"freeze at {who}", noted._replace(mover="frozen", told=now.source.cells)
        if now.strays < self.strays and now.move != "none" and not now.source.has_gone:
            yield f"a stray freeze at {who}", noted._replace(strays=now.strays + 1)
        if now.mover == "frozen" and now.arrived == now.told and now.told is not None:
            asked = server._replace(asked=Asked(now.moves, now.told))
            yield f"the mover asks {who}", self._serve(now._replace(mover="asked"), who, asked)
        if server.asked is not None:
            for name, after in self._release(now, who, server, server.asked):
                yield f"{who} {name}", after

    def _release(
        self, now: Moving, who: int, server: Server, asked: Asked
    ) -> Iterator[tuple[str, Moving]]:
        """Close the move, and when that is known, release the drop."""
        note, done = server.note, server._replace(asked=None)
        is_noted = note is not None and (
            note.cells == asked.cells or self.mistake == "a release of what was noted last"
        )
        is_closed = now.move == "closed" or self.mistake == "a release before the closing"
        if note is None or not is_noted or now.moves != asked.move or now.source.has_gone:
            yield "is too late", self._answer(self._serve(now, who, done), "copies")
        elif not is_closed:
            for name, after in self._publish(now, Late(asked.move, None)):
                if name or after.move != "closed":
                    yield f"closes: {name}", self._answer(self._serve(after, who, done), "idle")
                else:
                    known = server._replace(knows_closed=self.creates)
                    yield "closes", self._serve(after, who, known)
        else:
            done = done._replace(note=None)
            for name, after in self._publish(now, Late(note.seq, note._replace(has_gone=True))):
                heard = "released" if after.source.has_gone else "copies"
                yield (
                    f"releases: {name}",
                    self._answer(self._serve(after, who, done), "idle" if name else heard),
                )

    def _answer(self, now: Moving, mover: str) -> Moving:
        """The mover hears, if it still waits."""
        return now._replace(mover=mover) if now.mover == "asked" else now

    def _mover(self, now: Moving) -> Iterator[tuple[str, Moving]]:
        if now.mover != "idle":
            yield "the mover dies", now._replace(mover="idle", told=None)
        if now.mover == "idle":
            yield from self._resume(now)
        # It copies from a replica that may lag by a cell.
        if now.mover in {"copies", "frozen"} and now.has_begun and now.landed is None:
            cells = now.source.cells
            for upto in {max(len(cells) - 1, 0), len(cells)}:
                if now.arrived is None or upto > len(now.arrived):
                    carried = cells[:upto] if now.told is None else now.told
                    yield f"carries {len(carried)}", now._replace(arrived=carried)
        has_come = now.arrived is not None and now.arrived == now.told
        if now.mover == "released" and now.landed is None and has_come:
            yield "lands", now._replace(landed=now.arrived, arrived=None)
        if now.mover.startswith("undoing"):
            yield from self._undo(now)

    def _resume(self, now: Moving) -> Iterator[tuple[str, Moving]]:
        if now.move == "none" and now.moves < self.moves and not now.source.has_gone:
            yield (
                "a move begins",
                now._replace(move="open", has_begun=True, moves=now.moves + 1, mover="copies"),
            )
        if now.move in {"open", "closed"}:
            if now.source.has_gone and now.landed is None and now.arrived is not None:
                if now.arrived == now.source.cells:
                    yield "lands what has gone", now._replace(landed=now.arrived, arrived=None)
            elif not now.source.has_gone:
                yield "the mover goes on", now._replace(mover="copies", has_begun=True)
        if now.move == "open" and now.moves < self.moves:
            yield "the operator abandons", now._replace(mover="undoing")
        if now.move == "abandoned":
            yield "the operator goes on abandoning", now._replace(mover="undoing")

    def _undo(self, now: Moving) -> Iterator[tuple[str, Moving]]:
        """Abandon at the source, then at the destination; then the source forgets the move."""
        there = now._replace(arrived=None, has_begun=False)
        if self.mistake == "abandon at the destination first":
            if now.has_begun and now.landed is None:
                yield "abandon at the destination", there
            elif now.move == "open":
                yield "abandon at the source", now._replace(move="none", mover="idle")
            return
        if now.move == "open":
            yield "abandon at the source", now._replace(move="abandoned")
        elif now.move == "abandoned" and now.has_begun:
            yield "abandon at the destination", there
        elif now.move == "abandoned":
            yield "forget the move", now._replace(move="none", mover="idle")

    def wrong(self, now: Moving) -> str:
        if now.landed is not None and not now.source.has_gone:
            return "a drop is at one relay"
        if len(now.new) > 1:
            return "a drop is at one relay"
        cells = now.source.cells if now.landed is None else now.landed
        if not now.acknowledged <= set(cells):
            return "an acknowledged cell is there"
        if now.landed is not None and now.landed[: len(now.source.cells)] != now.source.cells:
            return "the drop lands as it went"
        return now.broken
