"""Reading a QR code from a picture, in a process of its own.

The browser has decoded the picture, and sends its shades of grey. Looking for a code in them is the
work of a library in C++, on bytes that a stranger may have made. So a child process does it: it
knows no key, opens nothing, and may use little memory and time. Its answer is a text like one that
the person has pasted.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import struct
import sys

from amanat.errors import BadArgument

MAX_SIDE = 640
"""Longest side of a picture, in points: enough for a code that fills a quarter of it."""
MAX_TEXT_BYTES = 8192
"""Longest text of a code, in bytes; the largest QR code holds fewer."""
READ_S = 10.0
"""Longest that reading may take, in seconds; it takes a fifth of one."""
END_S = 5.0
"""Longest that we wait for the end of a child that was killed, in seconds."""
_MEMORY_BYTES = 2**30
"""Most memory of the child."""
_FILES = 64
"""Most files that the child may have open: those of the library, while it loads."""
_SIZE = struct.Struct(">HH")
_CHILD = (sys.executable, "-m", "amanat.qr")


async def read(width: int, height: int, shades: bytes) -> str:
    """The text of a QR code in a picture; empty if there is none.

    `shades` has a byte for each point, row by row from the top, 0 for black. Raises BadArgument if
    that is no picture of these sides, each at most MAX_SIDE.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and len(shades) == width * height):
        raise BadArgument("this is no picture")
    child = await asyncio.create_subprocess_exec(
        *_CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    answer = b""
    try:
        async with asyncio.timeout(READ_S):
            answer = await _ask(child, _SIZE.pack(width, height) + shades)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        await _end(child)
    return answer.decode(errors="ignore")


async def _ask(child: asyncio.subprocess.Process, question: bytes) -> bytes:
    """The answer of a child to a question; nothing if it is too long."""
    if child.stdin is None or child.stdout is None:
        return b""
    child.stdin.write(question)
    child.stdin.close()
    answer = b""
    while more := await child.stdout.read(MAX_TEXT_BYTES):
        answer += more
        if len(answer) > MAX_TEXT_BYTES:
            return b""
    return answer


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill a child, and wait until it is gone. We take the rest of its output first, because a loop
    notices the end of a child only after that."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            while child.stdout is not None and await child.stdout.read(MAX_TEXT_BYTES):
                pass
            await child.wait()


def main() -> None:
    """The child: reads the sides and the shades, and writes the text."""
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, int(READ_S)),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    import zxingcpp  # noqa: PLC0415  # under the limits, and only here

    width, height = _SIZE.unpack(sys.stdin.buffer.read(_SIZE.size))
    shades = sys.stdin.buffer.read(width * height)
    picture = memoryview(shades).cast("B", shape=[height, width])
    found = zxingcpp.read_barcodes(picture, zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    sys.stdout.buffer.write(found[0].text.encode() if found else b"")


if __name__ == "__main__":
    main()
