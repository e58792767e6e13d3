"""Waiting for a file that is on its way, and telling how far it has got."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.display import shown
from amanat.errors import BY_CODE, FileIncomplete, RelayUnreachable

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import Progress
    from amanat.display import Out

_KIB = 1024


async def wait(client: Client, number: int, out: Out, patience_s: float) -> None:
    """Wait until a transfer has ended. Raises the error with which it fails, FileIncomplete if its
    cells are not at the relay for now, or RelayUnreachable if it does not get on for so long."""
    import asyncio

    from amanat.client.transfers import Phase

    before, loop = -1, asyncio.get_running_loop()
    latest = loop.time() + patience_s
    while one := client.files.transfer(number):
        if one.phase is Phase.FAILED:
            raise BY_CODE[one.error]
        if not one.is_up and one.tries:
            raise FileIncomplete
        if one.done != before:
            before, latest = one.done, loop.time() + patience_s
        elif loop.time() > latest:
            raise RelayUnreachable(f"waited {patience_s:g} s")
        show(one, out)
        await client.changed()


def show(one: Progress | None, out: Out) -> None:
    """Show how far a file has got, if it is on its way for the person."""
    if one is not None and not one.is_outline:
        out.bar(one.id, line(one), done=one.done, whole=one.size)


def line(one: Progress) -> str:
    """A line about a file on its way."""
    from amanat.client.transfers import Phase

    way = "to the relay" if one.is_up else "from the relay"
    state = "" if one.phase is Phase.UNDER_WAY else f", {one.phase}"
    failed = f" ({BY_CODE[one.error].text})" if one.error else ""
    name = shown(one.name) if one.name else "a file"
    if one.is_outline:
        return f"{name}: its preview from the relay, within a minute{state}{failed}"
    return f"{name}: {size(one.done)} of {size(one.size)} {way}{state}{failed}"


def size(many: float) -> str:
    """A number of bytes, as people read it."""
    if many < _KIB:
        return f"{many} bytes"
    for unit in ("KiB", "MiB"):
        many /= _KIB
        if many < _KIB:
            return f"{many:.1f} {unit}"
    return f"{many / _KIB:.1f} GiB"
