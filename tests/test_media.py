"""Pictures leave as their points alone, and no picture file harms the program that sends it."""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from amanat import media
from amanat.drill import cameras
from amanat.drill.attacks import metadata
from amanat.drill.search import encodings
from amanat.errors import (
    AmanatError,
    BrokenPicture,
    MovingPicture,
    PictureTooLarge,
    PictureUnread,
)
from amanat.media import frames
from amanat.media.bare import is_bare, sides
from figures import report, rounds
from pages import in_a_loop

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def saved(picture: Image.Image, form: str, **how: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **how)
    return out.getvalue()


def shown(made: media.Picture) -> Image.Image:
    picture = Image.open(io.BytesIO(made.data))
    assert picture.size == (made.width, made.height)
    assert Image.MIME[picture.format or ""] == made.type
    return picture.convert("RGBA")


def photograph(width: int = 320, height: int = 240) -> Image.Image:
    return cameras.scene(width, height, np.random.default_rng(1))


# What leaves


@in_a_loop
async def test_nothing_leaves_but_the_picture() -> None:
    chances = np.random.default_rng(7)
    async with media.Worker() as worker:
        for number in range(metadata.PICTURES):
            taken = cameras.photograph(number, chances)
            made = await worker.picture(taken.data)
            told = await worker.traces(taken.data)
            leaves = made.data + made.preview + made.hint
            for canary in taken.canaries:
                for code in encodings(canary):
                    assert code not in leaves, (taken.style, canary)
            assert taken.place not in leaves
            assert is_bare(made.data, made.type)
            assert is_bare(made.preview, made.preview_type)
            assert not told.read  # there are blocks that nobody knows
            assert told[:3] == (True, True, True) or taken.style == "GIF", taken.style


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@in_a_loop
async def test_a_picture_is_upright_however_the_camera_was_held(form: str) -> None:
    upright = Image.new("RGB", (96, 48))
    corners = {(0, 0): "red", (48, 0): "lime", (0, 24): "blue", (48, 24): "yellow"}
    for at, colour in corners.items():
        upright.paste(colour, (*at, at[0] + 48, at[1] + 24))
    turns = Image.Transpose
    held = {
        1: None,
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    async with media.Worker() as worker:
        for orientation, turn in held.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            seen = upright if turn is None else upright.transpose(turn)
            made = await worker.picture(saved(seen, form, exif=exif))
            picture = shown(made)
            assert picture.size == upright.size, orientation
            for at in corners:
                middle = (at[0] + 24, at[1] + 12)
                wanted, found = upright.getpixel(middle), picture.getpixel(middle)
                assert isinstance(wanted, tuple)
                assert isinstance(found, tuple)
                apart = max(abs(one - two) for one, two in zip(wanted, found, strict=False))
                assert apart < 12, orientation


def icc(primaries: np.ndarray, gamma: float) -> bytes:
    """A profile of RGB with these primaries (rows: red, green, blue, as XYZ at D50) and a gamma."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    text = b"wide\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
    }
    for letter, row in zip(b"rgb", primaries, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*row)
        curve = struct.pack(">IH", 1, round(gamma * 256))
        tags[bytes([letter]) + b"TRC"] = b"curv" + bytes(4) + curve
    table, data, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += name + struct.pack(">II", at + len(data), len(body))
        data += padded
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    whole = head.ljust(128, b"\0") + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


P3 = np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
"""Display P3 at D50: red, green, blue."""
SRGB = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])


def to_srgb(shades: np.ndarray) -> np.ndarray:
    """Colours of Display P3 with a gamma of 2.2 as sRGB, by arithmetic."""
    linear = ((shades / 255) ** 2.2) @ P3 @ np.linalg.inv(SRGB)
    linear = np.clip(linear, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(coded * 255))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@in_a_loop
async def test_colours_of_a_wide_screen_look_alike_without_their_profile(form: str) -> None:
    colours = np.array(
        [[200, 90, 60], [40, 160, 90], [128, 128, 128], [240, 220, 30], [90, 80, 200]]
    )
    async with media.Worker() as worker:
        for colour in colours:
            flat = Image.new("RGB", (64, 64), tuple(int(one) for one in colour))
            how: dict[str, object] = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
            data = saved(flat, form, icc_profile=icc(P3, 2.2), **how)
            found = np.array(shown(await worker.picture(data)).getpixel((32, 32)))[:3]
            assert np.abs(found - to_srgb(colour)).max() <= 5, (colour, found)
            plain = np.array(
                shown(await worker.picture(saved(flat, form, **how))).getpixel((32, 32))
            )
            assert np.abs(plain[:3] - colour).max() <= 5


@in_a_loop
async def test_pictures_of_every_mode_keep_their_shades() -> None:
    grey = Image.linear_gradient("L")
    clear = photograph(256, 256).convert("RGBA")
    clear.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    flat = photograph(256, 256).quantize(200)
    pictures = {
        "grey": (saved(grey, "PNG"), grey),
        "16 bits": (saved(deep, "PNG"), grey),
        "palette": (saved(flat, "PNG"), flat),
        "CMYK": (
            saved(photograph(256, 256).convert("CMYK"), "JPEG", quality=95),
            photograph(256, 256),
        ),
        "GIF": (saved(flat, "GIF"), flat),
        "bits": (saved(grey.convert("1"), "PNG"), grey.convert("1")),
        "half transparent": (saved(clear, "PNG"), clear),
        "grey, half transparent": (saved(clear.convert("LA"), "PNG"), clear.convert("LA")),
        "transparent GIF": (saved(clear, "GIF"), None),
    }
    async with media.Worker() as worker:
        for name, (data, wanted) in pictures.items():
            made = await worker.picture(data)
            found = np.asarray(shown(made)).astype(int)
            if wanted is not None:
                apart = np.abs(found - np.asarray(wanted.convert("RGBA")).astype(int))
                # Colour that nobody sees may change.
                seen = np.asarray(wanted.convert("RGBA"))[:, :, 3:] > 32
                assert (apart[:, :, :3] * seen).mean() < 8, name
                assert apart[:, :, 3].mean() < 2, name
            assert ("transparent" in name) == (found[:, :, 3].min() < 255), name


@in_a_loop
async def test_a_large_picture_is_made_small_and_a_small_one_is_left() -> None:
    async with media.Worker() as worker:
        for before, after in (
            ((5000, 2000), (2560, 1024)),
            ((100, 3000), (85, 2560)),
            ((40_000, 3), (2560, 1)),
            ((1, 1), (1, 1)),
            ((2560, 7), (2560, 7)),
        ):
            made = await worker.picture(saved(photograph(*before), "JPEG"))
            assert (made.width, made.height) == after
            preview = Image.open(io.BytesIO(made.preview))
            assert max(preview.size) <= 320
            assert len(made.preview) <= 40_000
            assert 0 < len(made.hint) <= 25
        noise = np.random.default_rng(1).integers(0, 256, (800, 800, 4), dtype=np.uint8)
        made = await worker.picture(saved(Image.fromarray(noise), "PNG"))
        assert len(made.preview) <= 40_000


@in_a_loop
async def test_a_screenshot_stays_sharp() -> None:
    shot = Image.effect_mandelbrot((800, 600), (-2, -1.5, 1, 1.5), 20).quantize(9).convert("RGB")
    made = await media.picture(saved(shot, "PNG"))
    assert np.array_equal(np.asarray(shown(made).convert("RGB")), np.asarray(shot))


# What is refused


def png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of these sides, whatever its data is."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


NOTHING = zlib.compress(b"")
ROW = zlib.compress(bytes(20 * 21))
FAT = zlib.compress(bytes(200_000_000), 9)
MANY = [photograph(40, 30).rotate(turn) for turn in (0, 90, 180)]
BAD: dict[str, tuple[bytes, type[AmanatError]]] = {
    "nothing": (b"", BrokenPicture),
    "zeros": (bytes(1000), BrokenPicture),
    "words": (b"this is no picture", BrokenPicture),
    "a page": (b"<html><script>alert(1)</script></html>", BrokenPicture),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', BrokenPicture),
    "a BMP": (saved(photograph(), "BMP"), BrokenPicture),
    "a TIFF": (saved(photograph(), "TIFF"), BrokenPicture),
    "a PDF": (saved(photograph(), "PDF"), BrokenPicture),
    "an ICO": (saved(photograph(), "ICO"), BrokenPicture),
    "half a JPEG": (saved(photograph(), "JPEG")[:4000], BrokenPicture),
    "half a PNG": (saved(photograph(), "PNG")[:4000], BrokenPicture),
    "half a WebP": (saved(photograph(), "WEBP")[:2000], BrokenPicture),
    "a GIF's head": (saved(photograph(), "GIF")[:40], BrokenPicture),
    "a head alone": (png(20, 20, NOTHING), BrokenPicture),
    "no sides": (png(0, 20, NOTHING), BrokenPicture),
    "10 billion points": (png(100_000, 100_000, NOTHING), PictureTooLarge),
    "a bomb of points": (png(14_000, 14_000, FAT), PictureTooLarge),
    "a JPEG of 4 billion points": (
        b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0",
        PictureTooLarge,
    ),
    "a bomb of text": (png(20, 20, ROW, (b"zTXt", b"a\0\0" + FAT)), BrokenPicture),
    "a bomb of a profile": (png(20, 20, ROW, (b"iCCP", b"a\0\0" + FAT)), BrokenPicture),
    "a GIF that moves": (saved(MANY[0], "GIF", save_all=True, append_images=MANY), MovingPicture),
    "a WebP that moves": (saved(MANY[0], "WEBP", save_all=True, append_images=MANY), MovingPicture),
    "a PNG that moves": (saved(MANY[0], "PNG", save_all=True, append_images=MANY), MovingPicture),
    "too many bytes": (bytes(media.MAX_FILE_BYTES + 1), PictureTooLarge),
}


@pytest.mark.parametrize("name", BAD)
@in_a_loop
async def test_what_cannot_be_sent_as_a_picture_is_refused_by_name(name: str) -> None:
    data, error = BAD[name]
    async with media.Worker() as worker:
        with pytest.raises(error) as told:
            await worker.picture(data)
        assert told.value.hint
        if len(data) <= media.MAX_FILE_BYTES:
            assert (await worker.picture(saved(photograph(8, 8), "PNG"))).width == 8


@in_a_loop
async def test_the_largest_picture_is_read() -> None:
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(bytes(8001)) for _ in range(8000)) + rows.flush()
    made = await media.picture(png(8000, 8000, data))
    assert (made.width, made.height) == (2560, 2560)
    wide = saved(Image.new("RGB", (10_000, 6_400), "teal"), "JPEG")
    assert (await media.picture(wide)).width == 2560


@in_a_loop
async def test_a_file_that_is_two_things_leaves_as_a_picture_alone() -> None:
    canary = b"<script>canary</script>"
    jpeg, gif = saved(photograph(), "JPEG"), saved(photograph(), "GIF")
    for data in (
        jpeg + b"PK\x03\x04" + canary,
        jpeg[:2] + b"\xff\xfe\x00\x20" + canary.ljust(30) + jpeg[2:],
        jpeg[:2] + b"\xff\xe9\x00\x20" + b"%PDF-1.4 " + canary[:21] + jpeg[2:],
        gif[:-1] + b"!\xfe" + bytes([len(canary)]) + canary + b"\0;",
        saved(photograph(), "PNG") + canary,
    ):
        made = await media.picture(data)
        assert b"canary" not in made.data + made.preview
        assert is_bare(made.data, made.type)
        assert not (await media.traces(data)).read or data.startswith(
            (b"GIF", jpeg[:2] + b"\xff\xfe")
        )


@in_a_loop
async def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(saved(photograph(), "PNG"))
    assert (await media.picture(path)).width == 320
    with pytest.raises(FileNotFoundError):
        await media.picture(tmp_path / "none")
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PictureTooLarge):
        await media.picture(path)
    assert await media.traces(path) == media.NOT_READ


# What stays in a file


@in_a_loop
async def test_traces_tell_what_stays_in_a_file() -> None:
    def with_exif(**fields: dict[int, object]) -> bytes:
        exif = Image.Exif()
        exif.update(fields.get("base", {}))
        for name, number in (("camera", 0x8769), ("place", 0x8825)):
            exif.get_ifd(number).update(fields.get(name, {}))
        return saved(photograph(), "JPEG", exif=exif)

    def told(*names: str) -> media.Traces:
        return media.Traces("place" in names, "time" in names, "camera" in names, read=True)

    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/" exif:GPSLatitude="35,41.5N"/>'
    wanted = {
        saved(photograph(), "JPEG"): told(),
        saved(photograph(), "PNG"): told(),
        saved(photograph(), "WEBP"): told(),
        saved(photograph(), "GIF"): told(),
        with_exif(place={1: "N", 2: (35.0, 41.0, 3.0)}): told("place"),
        with_exif(place={0: b"\2\3\0\0"}): told(),
        with_exif(place={29: "2026:10:03"}): told("time"),
        with_exif(base={306: "2026:10:03 04:05:06"}): told("time"),
        with_exif(camera={36867: "2026:10:03 04:05:06"}): told("time"),
        with_exif(base={271: "Canon"}): told("camera"),
        with_exif(camera={0xA434: "50mm"}): told("camera"),
        saved(photograph(), "JPEG", xmp=xmp.encode()): told("place"),
        saved(photograph(), "WEBP", xmp=xmp.encode()): told("place"),
        png(20, 20, ROW, (b"tIME", bytes(7))): told("time"),
        png(20, 20, ROW, (b"tEXt", b"Creation Time\x00yesterday")): told("time"),
        png(20, 20, ROW, (b"tEXt", b"Author\0somebody")): told(),
    }
    async with media.Worker() as worker:
        for data, traces in wanted.items():
            assert await worker.traces(data) == traces, data[:200]
    unknown = (
        saved(photograph(), "JPEG") + b"more",
        png(20, 20, ROW, (b"caNb", b"a")),
        b"",
        b"\0" * 9,
    )
    for data in unknown:
        assert not (await media.traces(data)).read


# The child


def test_a_program_that_asks_loads_no_library_for_pictures() -> None:
    code = "import amanat.media, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "PIL" not in loaded
    code = "import amanat.media.worker, amanat.media.metadata, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "PIL" in loaded
    ours = {one.split(".")[1] for one in loaded if one.startswith("amanat.")}
    assert ours == {"child", "confinement", "errors", "media", "process"}


@in_a_loop
async def test_the_child_is_told_nothing_but_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMANAT_SECRET", "hunter2")
    async with media.Worker() as worker:
        await worker.picture(saved(photograph(), "PNG"))
        assert worker._child is not None
        place = Path(f"/proc/{worker._child.pid}")
        status = dict(line.split(":\t") for line in (place / "status").read_text().splitlines())
        assert status["NoNewPrivs"] == "1"
        assert status["Threads"] == "1"
        assert (place / "cmdline").read_bytes() == b"\0".join(
            word.encode() for word in (*media._CHILD, "")
        )
        if os.geteuid() == 0:  # nobody else may look
            assert b"hunter2" not in (place / "environ").read_bytes()
            assert sorted(int(one.name) for one in (place / "fd").iterdir()) == [0, 1, 2]


def answer(width: int, height: int, kind: int, *pieces: bytes) -> str:
    """A program that answers whatever it is asked."""
    head = frames.REMADE.pack(width, height, kind, *(len(piece) for piece in pieces))
    out = frames.STATUS.pack(frames.DONE) + head + b"".join(pieces)
    return f"import sys, zlib; sys.stdout.buffer.write(zlib.decompress({zlib.compress(out)!r}))"


JPEG, WEBP = saved(photograph(), "JPEG"), saved(photograph(), "WEBP")
EXIF = Image.Exif()
EXIF[306] = "2026:10:03 04:05:06"
LIES = {
    "dies": "import os; os.kill(os.getpid(), 9)",
    "ends": "raise SystemExit(3)",
    "sleeps": "import time; time.sleep(1000)",
    "reads nothing and writes for ever": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "unknown error": "import os; os.write(1, b'\\x63')",
    "half an answer": "import os; os.write(1, b'\\0\\1')",
    "no sides": answer(0, 240, frames.JPEG, JPEG, WEBP, b"h"),
    "too wide": answer(2561, 240, frames.JPEG, JPEG, WEBP, b"h"),
    "unknown type": answer(320, 240, 3, JPEG, WEBP, b"h"),
    "no hint": answer(320, 240, frames.JPEG, JPEG, WEBP, b""),
    "a long hint": answer(320, 240, frames.JPEG, JPEG, WEBP, bytes(26)),
    "a large preview": answer(320, 240, frames.JPEG, JPEG, bytes(40_001), b"h"),
    "other sides": answer(319, 240, frames.JPEG, JPEG, WEBP, b"h"),
    "a wide preview": answer(
        320, 240, frames.JPEG, JPEG, saved(Image.new("RGB", (321, 1)), "WEBP"), b"h"
    ),
    "another type": answer(320, 240, frames.WEBP, JPEG, WEBP, b"h"),
    "a time in the picture": answer(
        320, 240, frames.JPEG, saved(photograph(), "JPEG", exif=EXIF), WEBP, b"h"
    ),
    "a time in the preview": answer(
        320, 240, frames.JPEG, JPEG, saved(photograph(), "WEBP", exif=EXIF), b"h"
    ),
    "something behind the picture": answer(320, 240, frames.JPEG, JPEG + b"more", WEBP, b"h"),
}


@in_a_loop
async def test_the_answer_that_the_lies_differ_from_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = answer(320, 240, frames.JPEG, JPEG, WEBP, b"h")
    monkeypatch.setattr(media, "_CHILD", (sys.executable, "-c", program))
    assert (await media.picture(b"")).data == JPEG


@pytest.mark.parametrize("lie", LIES)
@in_a_loop
async def test_a_child_that_fails_or_lies_is_gone_and_nothing_of_it_leaves(
    monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    monkeypatch.setattr(media, "_CHILD", (sys.executable, "-c", LIES[lie]))
    monkeypatch.setattr(media, "READ_S", 1.0)
    async with media.Worker() as worker:
        with pytest.raises(PictureUnread):
            await worker.picture(saved(photograph(800, 600), "BMP"))
        assert worker._child is not None
        pid = worker._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@in_a_loop
async def test_a_child_is_gone_if_nobody_waits_for_its_answer() -> None:
    worker = media.Worker()

    async def ask() -> None:
        async with worker:
            await worker.picture(saved(photograph(4000, 3000), "JPEG"))

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert worker._child is not None
    with pytest.raises(ProcessLookupError):
        os.kill(worker._child.pid, 0)


# Bytes that are nearly right


SMALL = [
    saved(photograph(24, 16), "JPEG", icc_profile=icc(P3, 2.2), exif=EXIF),
    saved(photograph(24, 16), "JPEG", progressive=True),
    saved(photograph(24, 16).convert("CMYK"), "JPEG"),
    saved(photograph(24, 16), "PNG", icc_profile=icc(P3, 2.2), exif=EXIF),
    saved(photograph(24, 16).quantize(16), "PNG"),
    saved(MANY[0], "PNG", save_all=True, append_images=MANY[:1]),
    saved(photograph(24, 16), "WEBP", exif=EXIF),
    saved(photograph(24, 16).convert("RGBA"), "WEBP", lossless=True),
    saved(photograph(24, 16), "GIF"),
    saved(MANY[0], "GIF", save_all=True, append_images=MANY[:1]),
]
CHANGES: list[Callable[[random.Random, bytearray, int], None]] = [
    lambda chance, data, at: data.__setitem__(
        slice(at, at), chance.randbytes(chance.randint(1, 9))
    ),
    lambda chance, data, at: data.__delitem__(slice(at, at + chance.randint(1, 30))),
    lambda chance, data, at: data.__setitem__(slice(at, at + 1), chance.randbytes(1)),
    lambda chance, data, at: data.__setitem__(
        slice(at, at + 1), chance.choice([b"\0", b"\xff", b"\x7f"])
    ),
    lambda chance, data, at: data.__setitem__(
        slice(at, at + 4), chance.choice([b"\xff" * 4, bytes(4)])
    ),
    lambda chance, data, at: data.__setitem__(
        slice(at, None), data[chance.randrange(len(data) + 1) :]
    ),
]


def mutated(chance: random.Random) -> bytes:
    """A picture file with a few changes, more often near its beginning than at its end."""
    data = bytearray(chance.choice(SMALL))
    for _ in range(chance.randint(1, 4)):
        at = int(len(data) * chance.random() ** 2)
        chance.choice(CHANGES)(chance, data, at)
    return mended(bytes(data)) if chance.random() < 0.5 else bytes(data)


def mended(data: bytes) -> bytes:
    """A PNG with right checksums: else most of what we change is never looked at."""
    if not data.startswith(b"\x89PNG"):
        return data
    out, at = data[:8], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@in_a_loop
async def test_files_that_are_nearly_pictures_harm_nobody() -> None:
    chance, inputs = random.Random(3), rounds(300, 100_000)
    made = refused = died = crashed = 0
    left = inputs
    while left:
        async with media.Worker() as worker:
            while left:
                left -= 1
                try:
                    await (worker.traces if left % 8 == 0 else worker.picture)(mutated(chance))
                    made += 1
                except PictureUnread:
                    died += 1
                    break
                except (BrokenPicture, PictureTooLarge, MovingPicture):
                    refused += 1
        crashed += worker._child is not None and worker._child.returncode != -signal.SIGKILL
    assert crashed == 0  # a child that is killed, by its limit or by us, has not crashed
    assert made > inputs / 50  # else the changes break everything at once
    assert refused > inputs / 50
    report(
        "picture files changed", inputs=inputs, made_anew=made, refused=refused, children_ended=died
    )


# What is bare


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def test_a_picture_that_holds_anything_else_is_not_bare() -> None:
    jpeg, webp = saved(photograph(), "JPEG", progressive=True), saved(photograph(), "WEBP")
    clear = photograph().convert("RGBA")
    clear.putalpha(100)
    for form, how in (("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"optimize": True})):
        assert sides(saved(photograph(), form, **how), "image/jpeg") == (320, 240)
    for lossless in (False, True):
        for picture in (photograph(), clear):
            assert sides(saved(picture, "WEBP", lossless=lossless), "image/webp") == (320, 240)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (
        saved(photograph(), "JPEG", exif=EXIF),
        saved(photograph(), "JPEG", comment="here"),
        saved(photograph(), "JPEG", icc_profile=profile),
        saved(photograph(), "JPEG", xmp=b"here"),
        saved(photograph(), "MPO", save_all=True, append_images=[photograph()]),
        jpeg[:-2] + b"\xff\xfe\0\5abc" + jpeg[-2:],
        jpeg + b"\0",
        jpeg + jpeg,
        jpeg[:-1],
        jpeg[:30],
        jpeg[:2] + b"\xff\xdb\x10\0" + bytes(0xFFE) + jpeg[2:],
        jpeg[:2] + b"\xff\xdb\0\2" * 64 + jpeg[2:],
        b"",
    ):
        assert not is_bare(data, "image/jpeg")
    for data in (
        saved(photograph(), "WEBP", exif=EXIF),
        saved(clear, "WEBP", xmp=b"here"),
        saved(photograph(), "WEBP", icc_profile=profile),
        saved(MANY[0], "WEBP", save_all=True, append_images=MANY),
        webp + b"\0",
        webp[:-1],
        webp[:12],
        webp[:20],
        riff(b"VP8 \0\0\0\0" * 1000),
        riff(b"VP8X\n\0\0\0" + bytes(10) + webp[12:]),
        webp[:4] + struct.pack("<I", len(webp)) + webp[8:] + b"EXIF\0\0\0\0",
        b"",
    ):
        assert not is_bare(data, "image/webp")


def test_bytes_that_are_nearly_bare_are_judged_without_an_error() -> None:
    chance, seeds = random.Random(5), [JPEG, WEBP, saved(photograph(40, 30), "WEBP", lossless=True)]
    for _ in range(2_000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            chance.choice(CHANGES)(chance, data, int((len(data)) * chance.random() ** 3))
        for kind in ("image/jpeg", "image/webp"):
            found = sides(bytes(data), kind)
            assert found is None or len(found) == 2
