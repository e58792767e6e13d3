"""The house: the profile behind the page, which is not made yet, locked, or open.

It opens the profile for the person, has everything beside it while it is open, and closes it again.
A page that comes is told which of the three it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from amanat import Client, Unlock, opens_with, wipe
from amanat.client.events import StatusChanged
from amanat.errors import (
    BY_ERRNO,
    AmanatError,
    BadArgument,
    EngineFailed,
    Overrun,
    ProfileExists,
    ProfileLocked,
    VaultDamaged,
)
from amanat.page import backing, backups, protocol, settings, telling
from amanat.page.alone import Alone
from amanat.page.attendant import Attendant
from amanat.page.dwelling import access
from amanat.page.local import Local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from amanat.client.sdk.files import ByteStream
    from amanat.page.handing import Part

BUG = "bug"
"""The code for an error that only a mistake of ours can cause."""
LOCAL_REGION = "XX"
"""The region of a relay on this machine, if the person named none: ISO 3166-1 leaves this code to
its users."""
LOOK_S = 10.0
"""How often the house looks whether it is to be locked, in seconds; a tab looks as often."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It runs while the machine sleeps, where the system has such a clock."""

_logger = logging.getLogger(__name__)


class House:
    """The profile in one directory."""

    def __init__(
        self,
        directory: Path,
        beside: Callable[[Client], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        """`beside` is what lasts as long as the profile is open."""
        self._directory = directory
        self._beside = beside
        self._local = Local(directory)
        self._attendant: Attendant | None = None
        self._stay = contextlib.AsyncExitStack()
        """Everything that is closed with the profile."""
        self._door = asyncio.Lock()
        """Held by whoever opens or closes the profile."""
        self._asks: set[asyncio.Task[object]] = set()
        """The asks that the open client has yet to answer."""
        self._alone = Alone(now=_now())
        self._locking: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tell: Callable[[list[bytes]], None] = lambda _: None
        """Tells every tab."""
        self.resync: Callable[[], None] = lambda: None
        """Lets every tab ask for everything again."""

    def tabs(self, many: int) -> None:
        """So many tabs are open now."""
        self._alone.tabs(many, now=_now())

    async def over(self) -> None:
        """Wait until the profile is wiped, or the client fails; raises the error that stopped
        it."""
        await self._over

    async def attend(self, ask: protocol.Ask) -> bytes:
        """Do what a page asks; the frame that answers it."""
        return await self._answer(ask.id, self._do(ask))

    async def send_file(self, offer: protocol.Offer, source: ByteStream) -> bytes:
        """Have a file sent that a page brings; the frame that answers it."""
        return await self._answer(0, self._send_file(offer, source))

    def media(self, ticket: str, wanted: str) -> Part | None:
        """The part of a file that a browser wants, by its Range header; None if it gets none."""
        with contextlib.suppress(AmanatError, OSError):
            return self._present().media(ticket, wanted)
        return None

    async def _answer(self, number: int, doing: Awaitable[object]) -> bytes:
        """Await something; the frame that answers it."""
        try:
            return telling.answer(number, await doing)
        except AmanatError as error:
            is_over = isinstance(error, EngineFailed | VaultDamaged) and self._attendant is not None
            if is_over and not self._over.done():
                self._over.set_exception(error)  # only a new process is to be trusted
            return telling.refusal(number, error.code, error.detail)
        except OSError as error:
            kind = BY_ERRNO.get(error.errno or 0)
            return telling.refusal(number, kind.code if kind else BUG, str(error))
        except Exception as error:  # noqa: BLE001  # the page has to hear something
            _logger.error("an ask could not be done: %s", type(error).__name__)  # noqa: TRY400
            return telling.refusal(number, BUG, type(error).__name__)

    async def _do(self, ask: protocol.Ask) -> object:
        match ask:
            case protocol.Begin():
                return self._begin()
            case protocol.Create():
                await self.create(ask)
            case backups.Restore():
                await self.restore(ask)
            case protocol.Unlock(passphrase=passphrase):
                await self.open(_unlock(passphrase))
            case protocol.Lock():
                await self.close()
            case protocol.Passphrase(old=old, new=new):
                await self._present().client.unlocking.change(_unlock(old), _unlock(new))
            case protocol.Wipe(name=name):
                await self.wipe(name)
            case _:
                return await self._attend(ask)
        return self._begin()

    def _begin(self) -> dict[str, object]:
        """Everything that a page shows outside conversations."""
        found = opens_with(self._directory)
        if self._attendant is not None:
            return {"state": "open", "opens_with": found, **self._attendant.begin()}
        return {"state": "locked" if found else "new", "opens_with": found}

    def _present(self) -> Attendant:
        """The attendant of the open client. Raises ProfileLocked."""
        if self._attendant is None:
            raise ProfileLocked
        return self._attendant

    async def _attend(self, ask: protocol.ClientAsk) -> object:
        with self._asking() as attendant:
            answer = await attendant.attend(ask)
            self.tell(attendant.share(ask))
            return answer

    async def _send_file(self, offer: protocol.Offer, source: ByteStream) -> object:
        with self._asking() as attendant:
            return await attendant.send_file(offer, source)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Attendant]:
        """The attendant, for an ask that ends at the latest when the profile is closed. Raises
        ProfileLocked."""
        attendant = self._present()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # it runs in one
        self._asks.add(task)
        try:
            yield attendant
        finally:
            self._asks.discard(task)

    async def create(self, ask: protocol.Create) -> None:
        """Make a person, and open their profile. Raises like `Client.create`."""
        async with self._door:
            if self._attendant is not None:
                return
            if opens_with(self._directory):  # before a relay is made for nobody
                raise ProfileExists(str(self._directory))
            async with contextlib.AsyncExitStack() as staying:
                local = ""
                if not ask.relay:
                    await self._local.make(ask.region or LOCAL_REGION)
                    local = await staying.enter_async_context(self._local.running())
                client = await Client.create(
                    self._directory,
                    _unlock(ask.passphrase),
                    name=ask.name,
                    relay=ask.relay or local,
                    access=access(ask.access),
                    proxy=ask.proxy.strip(),
                    proxy_login=ask.login,
                )
                await self._move_in(client, staying, local)

    async def restore(self, ask: backups.Restore) -> None:
        """Make the profile from a backup, and open it. Raises like `amanat.restore` and `open`."""
        unlock = _unlock(ask.passphrase)
        async with self._door:
            await backing.restore(self._directory, unlock, ask, self._tell_now)
        await self.open(unlock)

    async def open(self, unlock: Unlock) -> None:
        """Open the profile. Raises like `Client.open`."""
        async with self._door:
            if self._attendant is not None:
                return
            async with contextlib.AsyncExitStack() as staying:
                client = Client.open(self._directory, unlock)
                local = ""
                if self._local.is_there:
                    # Without it the person can still read. The status says that it is away.
                    with contextlib.suppress(AmanatError, OSError):
                        local = await staying.enter_async_context(self._local.running())
                await self._move_in(client, staying, local)

    async def _move_in(
        self, client: Client, staying: contextlib.AsyncExitStack, local: str
    ) -> None:
        """Let an open client do its work, and everything beside it, until `close`. `local` is the
        address of the relay on this machine if one runs."""
        await staying.enter_async_context(client)
        if self._beside is not None:
            await staying.enter_async_context(self._beside(client))
        if local:
            await staying.enter_async_context(self._local.friend_of(client, local))
        await staying.enter_async_context(self.hosting(client))
        self._stay = staying.pop_all()

    def _tell_now(self, frames: list[bytes]) -> None:
        """Tell every tab of the server that there is by now."""
        self.tell(frames)

    @contextlib.asynccontextmanager
    async def hosting(self, client: Client) -> AsyncIterator[None]:
        """Let pages use a client that is open, for as long as this lasts."""
        attendant = self._attendant = Attendant(client, self._tell_now)
        following = asyncio.ensure_future(self._follow(attendant))
        watching = asyncio.ensure_future(self._watch(client))
        self.tell([telling.told("state")])
        try:
            yield
        finally:
            self._attendant = None
            beside = (*self._asks, following, watching)
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def close(self) -> None:
        """Close the profile and forget its key. Unsent words rest in the vault."""
        async with self._door:
            await self._stay.aclose()
            self.tell([telling.told("state")])

    async def wipe(self, name: str) -> None:
        """Destroy the profile of the person with this name, and the relay beside it. Raises
        ProfileLocked, BadArgument, or the errors of `amanat.wipe`."""
        if self._present().client.status().name != name:
            raise BadArgument("that is not the name of the person")
        await self.close()
        wipe(self._directory)
        self._local.wipe()
        if not self._over.done():
            self._over.set_result(None)

    async def _watch(self, client: Client) -> None:
        """Close the profile once there was no tab for as long as the person has set."""
        self._alone.begin(now=_now())
        while not self._alone.is_due(settings.idle_s(client), now=_now()):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(LOOK_S)
        self._locking = asyncio.ensure_future(self.close())  # which ends us

    async def _follow(self, attendant: Attendant) -> None:
        """Tell every tab of all that happens, until the client stops."""
        while True:
            try:
                async for event in attendant.client.events():
                    self.tell(attendant.tell(event))
                    if isinstance(event, StatusChanged):
                        self._tell_unlocking()
            except Overrun:  # nobody knows what was lost: all tabs ask again
                self.resync()
            except AmanatError as error:
                if not self._over.done():
                    self._over.set_exception(error)
                return
            else:
                return

    def _tell_unlocking(self) -> None:
        """Tell every tab what opens the profile, which it may have been told otherwise before."""
        with contextlib.suppress(AmanatError, OSError):  # a damaged file is named when it is opened
            found = opens_with(self._directory)
            self.tell([telling.told("unlocking", opens_with=found)])


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _unlock(passphrase: str | None) -> Unlock:
    return Unlock(keyring=True) if passphrase is None else Unlock(passphrase=passphrase)
