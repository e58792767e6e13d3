"""Reading a QR code from a picture, in a process of its own.

The browser has decoded the picture, and sends its shades of grey. Looking for a code in them is the
work of a library in C++, on bytes that a stranger may have made. So a child process does it: it
knows no key, opens nothing, and may use little memory and time (`amanat.confinement`). Its answer
is a text like one that the person has pasted.
"""

from __future__ import annotations

import asyncio
import struct
import sys

from amanat import child as children
from amanat import confinement
from amanat.errors import BadArgument

MAX_SIDE = 640
"""Longest side of a picture, in points: enough for a code that fills a quarter of it."""
MAX_TEXT_BYTES = 8192
"""Longest text of a code, in bytes; the largest QR code holds fewer."""
READ_S = 10.0
"""Longest that reading may take, in seconds; it takes a fifth of one."""
_SIZE = struct.Struct(">HH")
_CHILD = children.command("amanat.qr")


async def read(width: int, height: int, shades: bytes) -> str:
    """The text of a QR code in a picture; empty if there is none.

    `shades` has a byte for each point, row by row from the top, 0 for black. Raises BadArgument if
    that is no picture of these sides, each at most MAX_SIDE.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and len(shades) == width * height):
        raise BadArgument("this is no picture")
    child = await children.start(_CHILD)
    answer = b""
    try:
        async with asyncio.timeout(READ_S):
            answer = await _ask(child, _SIZE.pack(width, height) + shades)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        await children.end(child)
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


def main() -> None:
    """The child: reads the sides and the shades, and writes the text."""
    confinement.limit(cpu_s=int(READ_S))
    import zxingcpp  # noqa: PLC0415  # under the limits, and only here

    confinement.seal()
    width, height = _SIZE.unpack(sys.stdin.buffer.read(_SIZE.size))
    shades = sys.stdin.buffer.read(width * height)
    picture = memoryview(shades).cast("B", shape=[height, width])
    found = zxingcpp.read_barcodes(picture, zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    sys.stdout.buffer.write(found[0].text.encode() if found else b"")


if __name__ == "__main__":
    main()
