"""A code is read from a picture by a child process, whatever the picture is."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys

import pytest
import segno

from amanat import qr
from amanat.errors import BadArgument
from pages import in_a_loop

LINK = "amanat:" + "0123456789abcdef" * 28
"""As long as an invite."""


def picture(text: str, *, scale: int, margin: int = 4) -> tuple[int, int, bytes]:
    """A code as a person sees it on a screen: its sides and its shades."""
    made = segno.make(text, error="l", micro=False)
    rows = [list(row) for row in made.matrix_iter(scale=scale, border=margin)]
    return len(rows[0]), len(rows), bytes(0 if dark else 255 for row in rows for dark in row)


def blurred(width: int, height: int, shades: bytes, chance: random.Random) -> bytes:
    """The same as a camera may see it: grey, in noise, with a point like those around it."""
    return bytes(
        min(255, max(0, 60 + sum(shades[max(0, at - 1) : at + 2]) // 6 + chance.randrange(-25, 26)))
        for at in range(width * height)
    )


@pytest.mark.parametrize("scale", [2, 4, 7])
@in_a_loop
async def test_a_code_is_read_at_any_size(scale: int) -> None:
    assert await qr.read(*picture(LINK, scale=scale)) == LINK


@pytest.mark.long
@in_a_loop
async def test_a_code_in_a_bad_picture_is_read() -> None:
    width, height, shades = picture(LINK, scale=5)
    seen = blurred(width, height, shades, random.Random(1))
    assert await qr.read(width, height, seen) == LINK


@pytest.mark.long
@in_a_loop
async def test_a_picture_without_a_code_gives_nothing() -> None:
    assert await qr.read(1, 1, b"\0") == ""
    assert await qr.read(640, 640, bytes(640 * 640)) == ""
    assert await qr.read(300, 200, random.Random(1).randbytes(60_000)) == ""


@pytest.mark.parametrize(
    ("width", "height", "shades"),
    [(0, 0, b""), (2, 2, b"123"), (2, 2, b"12345"), (641, 1, bytes(641)), (-1, -1, b"1")],
)
@in_a_loop
async def test_bytes_that_are_no_picture_are_refused(
    width: int, height: int, shades: bytes
) -> None:
    with pytest.raises(BadArgument):
        await qr.read(width, height, shades)


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 9)",
        "raise SystemExit(3)",
        "import time; time.sleep(1000)",
        "import os\nwhile True: os.write(1, b'x' * 65536)",
    ],
)
@in_a_loop
async def test_a_child_that_fails_gives_nothing_and_is_gone(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(qr, "_CHILD", (sys.executable, "-c", program))
    monkeypatch.setattr(qr, "READ_S", 1.0)
    begun: list[asyncio.subprocess.Process] = []
    real = asyncio.create_subprocess_exec

    async def exec_noted(*words: str, **how: int) -> asyncio.subprocess.Process:
        begun.append(await real(*words, **how))  # type: ignore[arg-type]
        return begun[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", exec_noted)
    assert await qr.read(8, 8, bytes(64)) == ""
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0].pid, 0)


def test_the_child_loads_nothing_that_knows_a_key() -> None:
    code = "import amanat.qr, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    ours = {one.removeprefix("amanat.") for one in loaded if one.startswith("amanat.")}
    assert ours == {"child", "confinement", "errors", "process", "qr"}
