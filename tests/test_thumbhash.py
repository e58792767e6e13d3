"""The stand-in of a picture looks like it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from amanat.media import thumbhash


class Shown(NamedTuple):
    """A stand-in as another program draws it: 32 points along the longer side."""

    points: np.ndarray
    across: int
    down: int


def draw(code: bytes) -> Shown:
    """A decoder, written from the published form as a program that shows stand-ins would."""
    head = int.from_bytes(code[:5], "little")

    def bits(at: int, many: int) -> int:
        return head >> at & ((1 << many) - 1)

    has_alpha, is_wide = bool(bits(23, 1)), bool(bits(39, 1))
    most = 5 if has_alpha else 7
    across, down = (most, bits(24, 3)) if is_wide else (bits(24, 3), most)
    halves = [half for one in code[6 if has_alpha else 5 :] for half in (one & 15, one >> 4)]
    width, height = (32, max(1, round(32 * down / across)))
    if across < down:
        width, height = max(1, round(32 * across / down)), 32

    def channel(nx: int, ny: int, average: float, strength: float) -> np.ndarray:
        plane = np.full((height, width), average)
        for y in range(ny):
            for x in range(1 if y == 0 else 0, nx):
                if x * ny >= nx * (ny - y):
                    break
                wave = (halves.pop(0) / 7.5 - 1) * strength
                rows = np.cos(math.pi / height * (np.arange(height) + 0.5) * y)
                columns = np.cos(math.pi / width * (np.arange(width) + 0.5) * x)
                plane += 2 * wave * np.outer(rows, columns)
        return plane

    light = channel(max(3, across), max(3, down), bits(0, 6) / 63, bits(18, 5) / 31)
    first = channel(3, 3, bits(6, 6) / 31.5 - 1, bits(27, 6) / 63 * 1.25)
    second = channel(3, 3, bits(12, 6) / 31.5 - 1, bits(33, 6) / 63 * 1.25)
    alpha = np.ones((height, width))
    if has_alpha:
        alpha = channel(5, 5, (code[5] & 15) / 15, (code[5] >> 4) / 15)
    assert sum(halves) == 0
    blue = light - 2 / 3 * first
    red = (3 * light - blue + second) / 2
    points = np.clip(np.stack([red, red - second, blue, alpha], axis=2), 0, 1)
    return Shown(np.round(points * 255), across, down)


def scene(width: int, height: int) -> Image.Image:
    """A blue sky over a green field, with a red sun on the left."""
    picture = Image.new("RGBA", (width, height), (90, 150, 230, 255))
    picture.paste((60, 140, 50, 255), (0, height // 2, width, height))
    picture.paste((230, 60, 40, 255), (width // 10, height // 10, width // 3, height // 3))
    return picture


@pytest.mark.parametrize(("width", "height"), [(48, 32), (32, 48), (40, 40), (48, 8)])
def test_a_stand_in_looks_like_its_picture(width: int, height: int) -> None:
    picture = scene(width, height)
    seen = draw(thumbhash.encode(width, height, picture.tobytes()))
    down, across, _ = seen.points.shape
    wanted = np.asarray(picture.resize((across, down), Image.Resampling.BOX)).astype(float)
    assert np.abs(seen.points - wanted).mean() < 22
    if max(width, height) < 2 * min(width, height):
        assert abs(seen.across / seen.down - width / height) < 0.3 * width / height + 1


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90), (10, 90, 200)])
def test_one_colour_stays_that_colour(colour: tuple[int, int, int]) -> None:
    picture = Image.new("RGBA", (20, 30), (*colour, 255))
    seen = draw(thumbhash.encode(20, 30, picture.tobytes()))
    assert np.abs(seen.points[:, :, :3] - np.array(colour)).max() < 8


def test_what_is_transparent_stays_transparent() -> None:
    picture = Image.new("RGBA", (40, 40), (200, 30, 90, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 20, 40))
    code = thumbhash.encode(40, 40, picture.tobytes())
    assert len(code) == 25
    seen = draw(code)
    assert seen.points[:, :8, 3].mean() < 60
    assert seen.points[:, -8:, 3].mean() > 200


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_any_picture_has_a_stand_in_that_can_be_drawn(
    width: int, height: int, chance: object
) -> None:
    points = np.random.default_rng(hash(chance) % 2**32).bytes(4 * width * height)
    code = thumbhash.encode(width, height, points)
    assert 5 <= len(code) <= 25
    draw(code)


def test_bytes_that_are_no_picture_are_refused() -> None:
    for width, height, points in (
        (0, 1, b""),
        (1, 1, b"123"),
        (101, 1, bytes(404)),
        (-1, -1, b"1234"),
    ):
        with pytest.raises(ValueError, match="sides"):
            thumbhash.encode(width, height, points)
