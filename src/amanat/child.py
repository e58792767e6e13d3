"""Starting and ending a child that reads bytes which a stranger may have made.

The child is a module of ours (`amanat.qr`, `amanat.media.worker`) in a Python of its own. It gets
standard input and output, no other descriptor, no environment and no error output, and it knows no
key. By `amanat.confinement` it gives up the rest itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

END_S = 5.0
"""Longest that we wait for the end of a child that was killed, in seconds."""
_ROOT = str(Path(__file__).parent.parent)
_TAKEN_BYTES = 65_536
"""Output that is taken at once from a child that was killed, in bytes."""


def command(module: str) -> tuple[str, ...]:
    """The command that runs a module as a child. Python is isolated (-I): it takes modules neither
    from the working directory nor from any place that the person's settings name. So the command
    says where the program is."""
    program = (
        f"import sys; sys.path.insert(0, {_ROOT!r});"
        f" import runpy; runpy.run_module({module!r}, run_name='__main__')"
    )
    return (sys.executable, "-I", "-c", program)


async def start(words: tuple[str, ...]) -> asyncio.subprocess.Process:
    """A child that runs a command."""
    return await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
    )


async def end(child: asyncio.subprocess.Process) -> None:
    """Kill a child, and wait until it is gone. We take the rest of its output first, because a loop
    notices the end of a child only after that."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            while child.stdout is not None and await child.stdout.read(_TAKEN_BYTES):
                pass
            await child.wait()
