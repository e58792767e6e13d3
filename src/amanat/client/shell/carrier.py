"""The carrier: it carries files to relays and from them, each lane separately.

A lane has as many bytes under way as its line takes in a second, so a text that is said meanwhile
waits no longer than that. Covered, nothing is carried: it would show when somebody sends a file.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from amanat.client.events import TransferChanged
from amanat.client.pace import Pace
from amanat.client.transfers import Anew, Bits, Done, Download, Failed, Later, Upload, gone, no_bits
from amanat.errors import (
    AmanatError,
    BlobDamaged,
    DiskFull,
    FileGone,
    FileIncomplete,
    NoSuchDrop,
    PeerError,
    TrustError,
    Unavailable,
    UnexpectedReply,
    UsageError,
)
from amanat.link import RETRY_S
from amanat.protocol import wire
from amanat.protocol.cells import LARGE_CELL
from amanat.protocol.files import FileDrop, Known

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.blobs import Blob
    from amanat.client.routes import Routes
    from amanat.client.shell.pausing import Pausing
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transfers import Asked, Lane, Transfer
    from amanat.client.ways import Way
    from amanat.link import Link

MOST_BYTES = 64 * LARGE_CELL
"""The bytes of files that may be under way on the fastest line: 4 MiB, which fill a line of
80 Mbit/s over 400 ms. They are two commits of a relay, which takes one while it writes the
other."""
NOTE_CELLS = 256
"""How many cells may be done before the vault notes them, which takes the disk as long as some
cells take the line. A process that dies sends or fetches these again: 16 MiB."""
NOTE_S = 1.0
"""How long they may be done before it does, in seconds."""
PACE_S = 60.0
"""How long after the end of a file the next one goes on at its pace, in seconds. A line may become
slower without losing the connection, and a word then waits behind what is under way."""

_MOST_LOOKING_S = 0.02
"""How long looking at what has come of a file may keep the loop busy at a time, in seconds."""


class _Job(NamedTuple):
    """A request under way: its size or that of its answer, and how much was under way with it."""

    what: int | Asked
    size: int
    under_way: int
    began: float


class Carrier:
    """Carries the files of one client."""

    def __init__(self, run: Runtime, routes: Routes, pausing: Pausing) -> None:
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._tell = run.tell
        self._tick_s = run.around.tick_s
        self._sharing = run.parts.conversations.sharing
        self._transfers = run.parts.conversations.sharing.transfers
        self._blobs = run.parts.conversations.blobs
        self._routes = routes
        self._rest_after = pausing.rest_after
        self._downloads: dict[int, Download] = {}
        """The downloads under way, by the ids of their transfers."""
        self._awaited: dict[int, set[int]] = {}
        """The cells for which somebody waits, by the ids of their transfers."""
        self._looked_at: set[int] = set()
        """The downloads of which this process knows that the disk has kept what was noted."""
        self._paces: WeakKeyDictionary[Link, dict[Lane, Pace]] = WeakKeyDictionary()
        """The paces of lanes, by the connections that they were found on."""
        self._wake = run.wake
        run.at_wake(self._begin)
        run.at_due(self._begin)

    def has(self, number: int, cell: int) -> bool:
        """Whether a cell of a download is here. If it is not, it comes before the others."""
        download = self._downloads.get(number)
        if download is not None and cell in download.done:
            return True
        self._awaited.setdefault(number, set()).add(cell)
        if download is not None:
            download.want(cell)
        return False

    def _begin(self) -> None:
        """Start a task for each lane in which a file waits."""
        if self._routes.period_s:
            return
        for lane in self._transfers.lanes(now=self._now()):
            if ("carry", lane) not in self._tasks:
                self._spawn(("carry", lane), self._carry(lane))

    async def _carry(self, lane: Lane) -> None:
        """Carry the files of one lane, one after the other, as long as there are any."""
        while (one := self._transfers.next(lane, now=self._now())) and not self._routes.period_s:
            try:
                await (self._up if lane.is_up else self._down)(one)
            except DiskFull:  # ours, or the relay's: it stops this file alone
                await self._later(one)
            except (FileIncomplete, NoSuchDrop):
                missing = gone(one.file, now=self._now())
                if one.is_outline:
                    self._give_up(one)
                elif isinstance(missing, FileGone):
                    self._fail(one, missing.code)
                else:
                    await self._later(one)
            except Unavailable as error:
                await self._rest_after(error, lane.relay, b"")
            except (PeerError, TrustError, UsageError) as error:
                self._fail(one, error.code)

    def _pace(self, way: Way, lane: Lane) -> Pace:
        """The pace of a lane, which goes on where the last file left it, unless the connection is
        another one or that was long ago."""
        paces = self._paces.setdefault(way.line, {})
        kept = paces.get(lane)
        if kept is None or asyncio.get_running_loop().time() > kept.until:
            kept = paces[lane] = Pace(MOST_BYTES)
        return kept

    async def _later(self, one: Transfer) -> None:
        try:
            with self._unit() as unit:
                self._transfers.later(unit, one.id)
                unit.events.append(TransferChanged(one.gid, one.id))
        except DiskFull:
            await asyncio.sleep(self._tick_s())

    def _give_up(self, one: Transfer) -> None:
        """Give up an outline, for which nobody waits, unless the person wants all of the file by
        now."""
        with self._unit() as unit:
            now = self._transfers.get(one.id)
            if now is not None and now.is_outline:
                self._transfers.end(unit, one.id)
                unit.events.append(TransferChanged(one.gid, one.id))

    def _fail(self, one: Transfer, code: str) -> None:
        with self._unit() as unit:
            self._transfers.fail(unit, one.id, code)
            unit.events.append(TransferChanged(one.gid, one.id))

    # To a relay

    async def _up(self, one: Transfer) -> None:
        """Put a file up, and say it. Raises what stops it."""
        if not self._sharing.is_at_home(one):
            with self._unit() as unit:
                self._sharing.anew(unit, one, FileIncomplete.code)
            return
        name = self._blobs.name(one.blob)
        if name is None:
            raise BlobDamaged
        way = await self._routes.to(one.relay)
        await way.request(self._sharing.create(one), wire.Created)
        upload = Upload(one)
        with self._blobs.open(name) as blob:
            outcome = await self._send(one, upload, blob, way, self._pace(way, one.lane))
        with self._unit() as unit:
            self._transfers.note(unit, one.id, upload.done.data)
            if isinstance(outcome, Anew):
                self._sharing.anew(unit, one, outcome.code)
            elif isinstance(outcome, Failed):
                self._transfers.fail(unit, one.id, outcome.code)
                unit.events.append(TransferChanged(one.gid, one.id))
            elif upload.is_whole and (now := self._transfers.get(one.id)) is not None:
                self._sharing.is_up(unit, now)
        if isinstance(outcome, Later):
            await asyncio.sleep(outcome.retry_after or RETRY_S[0])

    async def _send(
        self, one: Transfer, upload: Upload, blob: Blob, way: Way, pace: Pace
    ) -> Anew | Failed | Later | None:
        """Send the cells that are missing; returns what stopped it, if anything did."""
        rests = FileDrop(one.file.secret, one.file.region, one.owner)
        noting = _Noting(self._note_up, one, upload.done)
        stop: Anew | Failed | Later | None = None

        def begin(_room: int) -> tuple[int, wire.Request, int] | None:
            number = None if stop or not self._goes_on(one) else upload.next()
            if number is None:
                return None
            payload = blob.read(number) if number < filled else b""
            cell = rests.seal(number, payload)
            append = wire.Append(0, rests.drop.drop_id, rests.drop.append_token, cell)
            return number, append, len(cell)

        def took(number: int | Asked, answer: object) -> None:
            nonlocal stop
            assert isinstance(number, int)  # noqa: S101  # as `begin` gave it
            outcome = upload.took(number, answer)
            if isinstance(outcome, Done):
                noting.add()
                noting.look()
            elif not isinstance(stop, Anew | Failed):
                stop = outcome

        filled = self._filled(one, blob)
        await self._pump(way, pace, begin, took)
        return stop

    def _filled(self, one: Transfer, blob: Blob) -> int:
        """The number of cells of a file of ours that hold anything."""
        known = Known(one.file)
        known.take(0, blob.read(0))
        return known.shape.filled

    def _note_up(self, one: Transfer, done: Bits) -> None:
        with self._unit() as unit:
            self._transfers.note(unit, one.id, done.data)
        self._tell(TransferChanged(one.gid, one.id))

    # From a relay

    async def _down(self, one: Transfer) -> None:
        """Fetch a file, or its outline. Raises what stops it."""
        if not self._sharing.is_wanted_still(one, now=self._now()):
            self._give_up(one)
            return
        name = self._blobs.name(one.blob)
        if name is None:
            raise BlobDamaged
        way = await self._routes.to(one.relay)
        with self._blobs.create(name) as blob:
            self._blobs.sync(name)
            done = Bits(one.done)
            self._take_over(one, done, blob)
            try:
                known = await self._known(one, done, blob)
            except BlobDamaged:  # so all of it is fetched again
                done, known = Bits(no_bits(one.file.cells)), Known(one.file)
            download = Download(one.file, done, known, is_outline=one.is_outline)
            self._downloads[one.id] = download
            for cell in self._awaited.get(one.id, ()):
                download.want(cell)
            try:
                await self._receive(one, download, blob, way, self._pace(way, one.lane))
            finally:
                del self._downloads[one.id]
                self._awaited.pop(one.id, None)
                blob.sync()
                if not download.is_whole and self._transfers.get(one.id) is not None:
                    self._note_down(one, done, blob)
        with self._unit() as unit:
            now = self._transfers.get(one.id)
            if now is not None and download.is_whole:
                self._sharing.is_here(unit, one)
            elif now is not None and now.is_outline and download.is_over:
                self._sharing.outline_is_here(unit, one)

    def _take_over(self, one: Transfer, done: Bits, blob: Blob) -> None:
        """Take over the outline of a file if it is here from before."""
        name = None if 0 in done else self._sharing.outline(one)
        if name is not None:
            with contextlib.suppress(BlobDamaged), self._blobs.open(name) as kept:
                blob.write(0, kept.read(0))
                done.add(0)

    async def _known(self, one: Transfer, done: Bits, blob: Blob) -> Known:
        """The outline and the tables, as far as they were fetched. Raises BlobDamaged if anything
        is not there that an earlier process has noted."""
        loop = asyncio.get_running_loop()
        began, known = loop.time(), Known(one.file)
        if 0 in done:
            known.take(0, blob.read(0))
            chunks = known.shape.chunks
            is_new = one.id not in self._looked_at
            for number in range(1 if is_new else chunks + 1, one.file.cells):
                if number not in done:
                    continue
                payload = blob.read(number)  # which shows that it is there
                if number > chunks:
                    known.take(number, payload)
                if loop.time() - began > _MOST_LOOKING_S:
                    await asyncio.sleep(0)
                    began = loop.time()
        self._looked_at.add(one.id)
        return known

    async def _receive(
        self, one: Transfer, download: Download, blob: Blob, way: Way, pace: Pace
    ) -> None:
        """Ask for the cells that are missing, and keep them."""
        noting = _Noting(lambda one, done: self._note_down(one, done, blob), one, download.done)
        failure: AmanatError | None = None

        def keep(cells: list[tuple[int, bytes]]) -> None:
            for _, run in groupby(enumerate(sorted(cells)), lambda one: one[1][0] - one[0]):
                numbers, payloads = zip(*(cell for _, cell in run), strict=True)
                blob.write(numbers[0], *payloads)
            noting.add(len(cells))

        def begin(room: int) -> tuple[Asked, wire.Request, int] | None:
            asked = None if failure or not self._goes_on(one) else download.next(room)
            return None if asked is None else (asked, asked.read, asked.size)

        def took(asked: int | Asked, answer: object) -> None:
            nonlocal failure
            assert not isinstance(asked, int)  # noqa: S101  # as `begin` gave it
            if isinstance(answer, wire.Cells):
                download.took(asked, answer, keep)
                noting.look()
                if any(cell in download.done for cell in self._awaited.get(one.id, ())):
                    del self._awaited[one.id]
                    self._wake()
                return
            download.failed(asked)
            failure = answer if isinstance(answer, AmanatError) else UnexpectedReply()

        await self._pump(way, pace, begin, took)
        if failure is not None:
            raise failure

    def _note_down(self, one: Transfer, done: Bits, blob: Blob) -> None:
        blob.sync()  # first the disk, then the note
        with self._unit() as unit:
            self._transfers.note(unit, one.id, done.data)
        self._tell(TransferChanged(one.gid, one.id))

    # Both ways

    def _goes_on(self, one: Transfer) -> bool:
        return (
            not self._routes.period_s
            and self._transfers.is_under_way(one.id)
            and not self._gives_way(one)
        )

    def _gives_way(self, one: Transfer) -> bool:
        """Whether a file stops for an outline, which is one cell, and goes on behind it."""
        is_long = not one.is_up and not one.is_outline
        return is_long and self._transfers.is_outline_due(one.relay, now=self._now())

    async def _pump(
        self,
        way: Way,
        pace: Pace,
        begin: Callable[[int], tuple[int | Asked, wire.Request, int] | None],
        took: Callable[[int | Asked, object], None],
    ) -> None:
        """Keep the line full: `begin` gives the next request for so many bytes, with its name and
        its size or that of its answer, and `took` takes the answer or the error."""
        loop = asyncio.get_running_loop()
        jobs: dict[asyncio.Task[wire.Reply], _Job] = {}
        under_way = 0
        try:
            while True:
                while not jobs or under_way + LARGE_CELL <= pace.window:
                    found = begin(pace.window - under_way)
                    if found is None:
                        break
                    what, request, size = found
                    under_way += size
                    asking = asyncio.create_task(way.ask(request))
                    jobs[asking] = _Job(what, size, under_way, loop.time())
                if not jobs:
                    return
                await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                for asked in [one for one in jobs if one.done()]:
                    job = jobs.pop(asked)
                    under_way -= job.size
                    error = asked.exception()
                    if error is None:
                        pace.took(job.under_way, loop.time() - job.began)
                    elif not isinstance(error, AmanatError):
                        raise error
                    took(job.what, asked.result() if error is None else error)
        finally:
            pace.until = loop.time() + PACE_S
            for left in jobs:
                left.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)


class _Noting:
    """Notes which cells are done, now and then."""

    def __init__(self, note: Callable[[Transfer, Bits], None], one: Transfer, done: Bits) -> None:
        self._note, self._one, self._done = note, one, done
        self._many, self._latest = 0, 0.0

    def add(self, cells: int = 1) -> None:
        """Count cells."""
        self._many += cells
        if self._many == cells:
            self._latest = asyncio.get_running_loop().time() + NOTE_S

    def look(self) -> None:
        """Note the cells that are done, if it is time."""
        now = asyncio.get_running_loop().time()
        if self._many and (self._many >= NOTE_CELLS or now >= self._latest):
            self._many = 0
            self._note(self._one, self._done)
