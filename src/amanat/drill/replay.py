"""Replaying a trace: real clients with real vaults talk through a real relay.

The relay is a process of its own; the people are spread over worker processes, each running its
clients in one event loop. Time is compressed and order kept: a person says their next line of a
conversation when they have seen every line before it. Afterwards every transcript is compared with
the trace, and the relay's data directory and everything it printed are searched for every text.

The conductor (this process) and the workers talk over pipes, in phases: make the people; exchange
invites (real people do so out of band); make groups; talk; report.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from amanat.drill.relays import RELAY_STOP_S, RelayProcess
from amanat.drill.search import Hit, find_texts
from amanat.drill.talkers import Order, Task, work
from amanat.drill.transcripts import Transcript, compare_all
from amanat.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from amanat.drill.traces import Script

STALL_S = 120
"""A replay in which nothing arrives for this many seconds has lost something, and ends."""
SHOWN_HITS = 100
"""Most texts found at the relay whose places are reported: even one is too many."""


class Report(NamedTuple):
    """The findings of a replay; field names are the JSON keys.

    A message is delivered when all its recipients show it, so `delivered + lost = messages_in`.
    Times run from the sender's `send` to the recipient's transcript; bytes are WebSocket payload
    while people talk, over all clients. `texts_too_short` counts texts that were not searched for,
    because so few bytes turn up in random data by chance; `plaintext_hits` says where the first
    hits stand. `founding_seconds` is the part of `setup_seconds` between the making of the first
    group and the moment at which everybody is in their groups.
    """

    people: int
    messages_in: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    transcripts_equal: bool
    relay_plaintext_hits: int
    plaintext_hits: list[Hit]
    texts_too_short: int
    seconds: float
    messages_per_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    bytes_up_per_message: int
    bytes_down_per_message: int
    relay_disk_bytes: int
    setup_seconds: float
    founding_seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, duplicated or found."""
        return not (self.lost or self.duplicated or self.relay_plaintext_hits)


def replay(
    script: Script,
    *,
    processes: int,
    progress: Callable[[str, int, int], None],
    kills: int = 0,
    keep: Path | None = None,
) -> Report:
    """Replay a script and report. Calls `progress(phase, done, total)` as it goes on.

    While people talk, the relay and the workers in turn are killed by SIGKILL and started again,
    `kills` times at random moments. Everything rests in a temporary directory, or in `keep`, which
    then stays. Raises BadArgument or RelayUnreachable.
    """
    if not 1 <= processes <= len(script.people):
        raise BadArgument("--processes must be from 1 to the number of people")
    root = Path(tempfile.mkdtemp(prefix="amanat-replay-")) if keep is None else keep
    root.mkdir(parents=True, exist_ok=True)
    unused = RelayProcess(root / "unused", people=len(script.people))
    relay = RelayProcess(root / "relay", people=len(script.people))
    conductor = Conductor(script, relay, root, processes=processes)
    try:
        unused.run()
        unused.stop()
        relay.run()
        began = time.monotonic()
        progress("people", 0, len(script.people))
        conductor.start()
        progress("people", len(script.people), len(script.people))
        talking = time.monotonic()
        conductor.talk(progress, kills=kills)
        seconds = time.monotonic() - talking
        results = conductor.report()
        relay.stop()  # its write-ahead log is now in the database, as on a seized disk
        hits, short = find_texts(
            {line.text for line in script.lines}, relay.written, unused=unused.written
        )
        return _report(
            script,
            results,
            hits=hits,
            short=short,
            seconds=seconds,
            setup=talking - began,
            founding=conductor.founding_s,
            disk=relay.disk_bytes(),
        )
    finally:
        conductor.close()
        unused.kill()
        relay.kill()
        if keep is None:
            shutil.rmtree(root, ignore_errors=True)


class Conductor:
    """Starts the workers, takes them through the phases, and kills and restarts them."""

    def __init__(
        self,
        script: Script,
        relay: RelayProcess,
        root: Path,
        *,
        processes: int,
        lines_per_s: float = 0,
        others: Sequence[str] = (),
    ) -> None:
        """`others` are the addresses of further relays on this machine, which clients call only if
        their people have named them. `lines_per_s` is the most lines said in a second; 0: no
        limit."""
        self._lines_per_s = lines_per_s
        self._others = tuple(others)
        self._script = script
        self._relay = relay
        self._root = root
        self._key = os.urandom(32)  # of every vault, so that a killed worker's people come back
        self._context = multiprocessing.get_context("spawn")
        self._shares = [script.people[i::processes] for i in range(processes)]
        self._workers: list[_Handle] = []
        self.founding_s = 0.0
        """Seconds between the making of the first group and everybody's being in their groups."""

    def start(self) -> None:
        """Start the workers and wait until everybody has met and is in their groups."""
        self._workers = [self._spawn(share, is_new=True) for share in self._shares]
        links: dict[tuple[str, str], str] = {}
        for worker in self._workers:
            links |= worker.receive("links")
        for worker in self._workers:
            worker.pipe.send(links)
        ready = [worker.receive("ready") for worker in self._workers]
        made = [made for each in ready for made in each["made_at"]]
        if made:
            self.founding_s = max(each["ready_at"] for each in ready) - min(made)

    def tell(self, order: Order) -> None:
        """Have people do something while they talk."""
        for worker in self._workers:
            worker.pipe.send(order)

    def talk(
        self,
        progress: Callable[[str, int, int], None],
        *,
        kills: int = 0,
        meanwhile: Callable[[float], bool] = lambda _: True,
    ) -> None:
        """Let people talk until everyone has everything, or no further message arrives.

        `meanwhile` is called again and again with the share of messages shown so far, and returns
        whether its own work is done; talking goes on until then.
        """
        for worker in self._workers:
            worker.pipe.send("talk")
        total = sum(len(line.conversation) for line in self._script.lines)
        kill_at = sorted(random.Random().randrange(total) for _ in range(kills))  # noqa: S311
        counts = [0] * len(self._workers)
        moved = time.monotonic()
        while time.monotonic() - moved < STALL_S:
            is_done = meanwhile(sum(counts) / total)
            if is_done and sum(counts) >= total:
                break
            pipes = {worker.pipe: number for number, worker in enumerate(self._workers)}
            for pipe in multiprocessing.connection.wait(list(pipes), timeout=1.0):
                number = next(n for p, n in pipes.items() if p is pipe)
                count = self._workers[number].receive("count")["shown"]
                if count != counts[number]:
                    moved = time.monotonic()
                counts[number] = count
            progress("messages", sum(counts), total)
            if kill_at and sum(counts) > kill_at[0]:
                del kill_at[0]
                if len(kill_at) % 2:
                    self._relay.kill()
                    self._relay.run()
                else:
                    self._restart(len(kill_at) // 2 % len(self._workers))

    def report(self) -> list[dict[str, Any]]:
        """The findings of each worker."""
        for worker in self._workers:
            worker.pipe.send("report")
        results = []
        for worker in self._workers:
            while (message := worker.pipe.recv())[0] == "count":
                pass  # sent before the worker got the request to report
            results.append(worker.check(message, "report"))
        return results

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.join(RELAY_STOP_S)
            if worker.process.is_alive():
                worker.kill()

    def _spawn(self, share: list[str], *, is_new: bool) -> _Handle:
        ours, theirs = self._context.Pipe()
        task = Task(
            *(self._script, share, self._relay.address, self._root, self._key, is_new),
            lines_per_s=self._lines_per_s / len(self._shares),
            others=self._others,
        )
        process = self._context.Process(target=work, args=(theirs, task), daemon=True)
        process.start()
        theirs.close()
        return _Handle(ours, process)

    def _restart(self, number: int) -> None:
        self._workers[number].kill()
        self._workers[number] = self._spawn(self._shares[number], is_new=False)
        self._workers[number].receive("ready")
        self._workers[number].pipe.send("talk")


class _Handle(NamedTuple):
    """The conductor's handle of a worker."""

    pipe: Connection
    process: SpawnProcess

    def receive(self, kind: str) -> dict[Any, Any]:
        """The worker's next message, which is of this kind."""
        return self.check(self.pipe.recv(), kind)

    @staticmethod
    def check(message: tuple[str, dict[Any, Any]], kind: str) -> dict[Any, Any]:
        """The content of a message of this kind; fails on any other."""
        if message[0] != kind:
            raise RuntimeError(f"a worker says {message}")
        return message[1]

    def kill(self) -> None:
        """End the worker without a word."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _report(
    script: Script,
    results: list[dict[str, Any]],
    *,
    hits: list[Hit],
    short: int,
    seconds: float,
    setup: float,
    founding: float,
    disk: int,
) -> Report:
    transcripts = [Transcript(*t) for result in results for t in result["transcripts"]]
    sent = sum(result["sent"] for result in results)
    received = sum(result["received"] for result in results)
    found = compare_all(script, transcripts)
    waits = sorted(wait for transcript in transcripts for wait in transcript.waits_ms)
    count = len(script.lines)
    return Report(
        people=len(script.people),
        messages_in=count,
        delivered=count - found.lost,
        lost=found.lost,
        duplicated=found.duplicated,
        reordered=found.reordered,
        transcripts_equal=found.equal and not found.lost,
        relay_plaintext_hits=len(hits),
        plaintext_hits=hits[:SHOWN_HITS],
        texts_too_short=short,
        seconds=round(seconds, 2),
        messages_per_s=round(count / seconds, 1),
        p50_ms=_quantile(waits, 0.5),
        p99_ms=_quantile(waits, 0.99),
        longest_ms=_quantile(waits, 1.0),
        bytes_up_per_message=sent // count,
        bytes_down_per_message=received // count,
        relay_disk_bytes=disk,
        setup_seconds=round(setup, 2),
        founding_seconds=round(founding, 2),
    )


def _quantile(ordered: list[int], share: float) -> float:
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else 0.0
