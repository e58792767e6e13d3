"""ThumbHash: a blurred stand-in for a picture, in at most 25 bytes.

The form is the published one (Evan Wallace, 2023), so that any program that knows it can show the
stand-in. A picture is taken apart into lightness, two opposing colours and transparency; of each we
keep the average and the longest waves of a cosine transform, each in four bits.

    bytes 0 to 2    average lightness, 6 bits; of the colours, 6 bits each; strength of the waves of
                    lightness, 5 bits; whether parts are transparent, 1 bit
    bytes 3 and 4   waves of lightness along the shorter side, 3 bits; strength of the waves of the
                    colours, 6 bits each; whether the picture is wider than high, 1 bit
    byte 5          if parts are transparent: average transparency and its strength, 4 bits each
    then            the waves, 4 bits each, the lower half of a byte first
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_SIDE = 100
"""Longest side of a picture that is taken, in points."""
_WAVES, _WAVES_OVER_ALPHA = 7, 5
"""Waves of lightness along the longer side, where nothing is transparent and where something is."""
_COLOUR_WAVES, _ALPHA_WAVES = 3, 5
_FEWEST = 3
"""Least waves of lightness along a side."""


class _Parts(NamedTuple):
    """A channel: its average, its waves from -1 to 1, and the strength by which they count."""

    average: float
    waves: list[float]
    strength: float


def encode(width: int, height: int, points: bytes) -> bytes:
    """The ThumbHash of a picture: four bytes (RGBA) for each point, row by row from the top.

    Raises ValueError if a side is longer than MAX_SIDE, or the bytes are not of that size.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and len(points) == 4 * width * height):
        raise ValueError("no picture of these sides")
    lightness, blue_yellow, red_green, alphas = _channels(points)
    is_transparent = sum(alphas) < width * height
    most = _WAVES_OVER_ALPHA if is_transparent else _WAVES
    across, down = (max(1, _whole(most * side / max(width, height))) for side in (width, height))
    size = (width, height)
    light = _parts(lightness, size, (max(_FEWEST, across), max(_FEWEST, down)))
    first, second = (
        _parts(one, size, (_COLOUR_WAVES, _COLOUR_WAVES)) for one in (blue_yellow, red_green)
    )
    head = _whole(63 * light.average)
    head |= _whole(31.5 + 31.5 * first.average) << 6
    head |= _whole(31.5 + 31.5 * second.average) << 12
    head |= _whole(31 * light.strength) << 18
    head |= is_transparent << 23
    is_wide = width > height
    head |= (down if is_wide else across) << 24
    head |= _whole(63 * first.strength) << 27
    head |= _whole(63 * second.strength) << 33
    head |= is_wide << 39
    out = bytearray(head.to_bytes(5, "little"))
    waves = [*light.waves, *first.waves, *second.waves]
    if is_transparent:
        alpha = _parts(alphas, size, (_ALPHA_WAVES, _ALPHA_WAVES))
        out.append(_whole(15 * alpha.average) | _whole(15 * alpha.strength) << 4)
        waves += alpha.waves
    halves = [_whole(15 * (0.5 + 0.5 * wave)) for wave in waves]
    halves += [0] * (len(halves) % 2)
    out += bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return bytes(out)


def _channels(points: bytes) -> tuple[list[float], list[float], list[float], list[float]]:
    """Lightness, blue against yellow, red against green, and opacity of each point. Through
    transparent points one sees the picture's average colour."""
    alphas = [alpha / 255 for alpha in points[3::4]]
    total = sum(alphas)
    colours: list[list[float]] = []
    for band in (points[0::4], points[1::4], points[2::4]):
        shades = [shade / 255 for shade in band]
        weighed = sum(map(float.__mul__, shades, alphas))
        average = weighed / total if total else 0.0
        colours.append(
            [
                average * (1 - alpha) + alpha * shade
                for shade, alpha in zip(shades, alphas, strict=True)
            ]
        )
    reds, greens, _ = colours
    lightness = [(red + green + blue) / 3 for red, green, blue in zip(*colours, strict=True)]
    first = [(red + green) / 2 - blue for red, green, blue in zip(*colours, strict=True)]
    second = [red - green for red, green in zip(reds, greens, strict=True)]
    return lightness, first, second, alphas


def _parts(channel: Sequence[float], size: tuple[int, int], waves: tuple[int, int]) -> _Parts:
    """The average and the waves of a channel, so many waves across and down. Only those are kept
    that lie in the corner of long waves."""
    width, height = size
    most_across, most_down = waves
    # First along each row, then along each column: the transform of a plane is both in turn.
    across = [_cosines(width, wave) for wave in range(most_across)]
    rows = [
        [_product(channel[at : at + width], cosines) for at in range(0, width * height, width)]
        for cosines in across
    ]
    found = [
        _product(rows[x], _cosines(height, y)) / (width * height)
        for x, y in _kept(most_across, most_down)
    ]
    average, *rest = found
    strength = max(map(abs, rest), default=0.0)
    return _Parts(average, [one / strength if strength else -1.0 for one in rest], strength)


def _kept(most_across: int, most_down: int) -> Iterator[tuple[int, int]]:
    """The waves that are kept, in the order of the form, the average first."""
    for y in range(most_down):
        for x in range(most_across):
            if x * most_down < most_across * (most_down - y):
                yield x, y


def _cosines(length: int, wave: int) -> list[float]:
    return [math.cos(math.pi / length * wave * (at + 0.5)) for at in range(length)]


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(float.__mul__, one, other))


def _whole(value: float) -> int:
    """The nearest whole number, halves upwards, as the published form rounds."""
    return math.floor(value + 0.5)
