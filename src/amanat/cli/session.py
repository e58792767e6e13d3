"""An open client for the work of a command: the background's, or this process's own."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from amanat import front
from amanat.cli import terminal
from amanat.errors import HopAway, ProxyAway, RelayUnreachable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Coroutine

    from amanat.client.sdk.client import Client
    from amanat.client.vault import Unlock
    from amanat.display import Out

    Work: TypeAlias = Callable[[Client], Coroutine[Any, Any, int | None]]
    """The work of a command with an open client. It returns an exit status, or None for 0."""


def with_client(
    args: argparse.Namespace, work: Work, *, is_online: bool = True, unlock: Unlock | None = None
) -> None:
    """Have the work of a command done, which is the command's last step. The background does it if
    there is one; otherwise this process opens the profile, and goes online if `is_online`. It asks
    for the passphrase unless `unlock` is given."""
    if args.hand_over is not None:  # this is the background, which awaits the work
        args.hand_over(work)
        return
    line = front.reach(args.profile)
    if line is not None:
        with contextlib.closing(line):
            screen = args.screen
            status = line.ask(args.words, args.given.texts, screen.say, screen.shown, screen.bar)
    else:
        status = _open_and_do(args, work, unlock, is_online=is_online)
    if status:
        sys.exit(status)


def _open_and_do(
    args: argparse.Namespace, work: Work, unlock: Unlock | None, *, is_online: bool
) -> int:
    import uvloop

    from amanat.client.vault import naming_faults

    with naming_faults(args.profile):
        unlock = unlock or terminal.unlock(args)
        return uvloop.run(_work_here(args, work, unlock, is_online=is_online)) or 0


async def _work_here(
    args: argparse.Namespace, work: Work, unlock: Unlock, *, is_online: bool
) -> int | None:
    from amanat.client.sdk.client import Client

    client = Client.open(args.profile, unlock)
    try:
        if is_online:
            client.start()
        status = await work(client)
        if is_online and client.is_caught_up:  # messages that came may need receipts
            with contextlib.suppress(RelayUnreachable):
                await _within(args, client, client.flushed(), client.hopping.seconds_to_leave())
        return status
    finally:
        await client.close()


async def _within(
    args: argparse.Namespace, client: Client, work: Awaitable[None], more_s: float = 0
) -> None:
    """Wait for the relays. Raises RelayUnreachable, HopAway or ProxyAway if it takes too long."""
    import asyncio

    wait = args.wait + more_s
    try:
        async with asyncio.timeout(wait):
            await work
    except TimeoutError:
        raise _unreachable(client)(f"waited {wait:g} s") from None


def _unreachable(client: Client) -> type[RelayUnreachable]:
    status = client.status()
    if status.is_proxy_away:
        return ProxyAway
    return HopAway if status.is_hop_away else RelayUnreachable


async def caught_up(args: argparse.Namespace, client: Client) -> None:
    """Wait until everything new has come. Raises RelayUnreachable if none of our relays answers, or
    no longer does."""
    await _within(args, client, client.caught_up())
    status = client.status()
    if {status.relay, status.fallback} - {""} <= set(status.away):
        raise _unreachable(client)


async def catch_up(args: argparse.Namespace, out: Out, client: Client) -> None:
    """Wait until everything new has come, or note that it could not be fetched."""
    try:
        await caught_up(args, client)
    except RelayUnreachable as error:
        out.note(f"{error}; this is what was known before")


async def flush(args: argparse.Namespace, out: Out, client: Client) -> None:
    """Wait until queued requests have reached their relays. Raises RelayUnreachable if these do not
    answer.

    With covered transport, requests leave in their turn; a command with a background need not wait
    for that.
    """
    if not client.is_caught_up:
        raise _unreachable(client)  # we have waited for it already
    turns_s = client.hopping.seconds_to_leave()
    if turns_s:
        out.note(f"it leaves in its turn, within {turns_s:.0f} s")
        if args.hand_over is not None:
            return
    await _within(args, client, client.flushed(), turns_s)


async def look_back(args: argparse.Namespace, client: Client) -> None:
    """Find out whether former homes are there, so that the command can tell what depends on
    them."""
    import asyncio

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(args.wait):
            await client.heard_of_former()
