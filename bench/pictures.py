"""The cost of making pictures anew: bench/pictures.py [--runs N].

Two photographs that come with scikit-learn, as a camera of 12 megapixels would have them (enlarged,
with noise), and a screenshot of letters. First the encoders that were to choose from, on a picture
as large as one that leaves; then the whole way: a child starts, reads the file, answers and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import resource
import statistics
import time

import numpy as np
from machine import table
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from amanat import media
from amanat.media import frames, remaking

CAMERA = (4_000, 3_000)
LARGEST = (9_200, 6_900)
CHOICES: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG 85": ("JPEG", {"quality": 85}),
    "JPEG 85, progressive": ("JPEG", {"quality": 85, "progressive": True}),
    "WebP 85, method 2": ("WEBP", {"quality": 85, "method": 2}),
    "WebP 85": ("WEBP", {"quality": 85, "method": 4}),
    "WebP, lossless": ("WEBP", {"lossless": True, "method": 0, "quality": 30}),
    "PNG": ("PNG", {}),
}


def photograph(name: str, size: tuple[int, int]) -> Image.Image:
    large = Image.fromarray(load_sample_image(name)).resize(size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(1).normal(0, 4, (size[1], size[0], 1)).astype(np.int16)
    return Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))


def screenshot() -> Image.Image:
    shot = Image.new("RGB", (2_560, 1_440), "white")
    pen, font = ImageDraw.Draw(shot), ImageFont.load_default(20)
    for at in range(0, shot.height, 26):
        pen.text((10, at), f"{at}: the words of a page of letters " * 6, (20, 20, 60), font)
    return shot


def decibels(one: Image.Image, other: Image.Image) -> float:
    apart = np.mean((np.asarray(one, float) - np.asarray(other.convert("RGB"), float)) ** 2)
    return float(10 * np.log10(255**2 / apart)) if apart else float("inf")


def as_file(picture: Image.Image, form: str, **how: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **how)
    return out.getvalue()


def encoders(pictures: dict[str, Image.Image]) -> None:
    rows = []
    for name, picture in pictures.items():
        for choice, (form, how) in CHOICES.items():
            began = time.process_time()
            data = as_file(picture, form, **how)
            took = time.process_time() - began
            quality = decibels(picture, Image.open(io.BytesIO(data)))
            rows.append((name, choice, f"{len(data) / 1000:,.0f}", f"{took:.2f}", f"{quality:.1f}"))
    print(table(("picture", "encoder", "kB", "s", "dB"), rows))


def whole_way(files: dict[str, bytes], runs: int) -> None:
    rows = []
    for name, data in files.items():
        took, worked = [], []
        for _ in range(runs):
            began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            made = asyncio.run(media.picture(data))
            took.append(time.perf_counter() - began)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            worked.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        sizes = (len(data), len(made.data), len(made.preview))
        times = (statistics.median(worked), statistics.median(took))
        rows.append(
            (name, *(f"{one / 1000:,.1f}" for one in sizes), *(f"{one:.2f}" for one in times))
        )
    print(table(("file", "kB", "as it leaves, kB", "preview, kB", "s of a core", "s"), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    taken = {name: photograph(f"{name}.jpg", CAMERA) for name in ("china", "flower")}
    shot = screenshot()
    encoders(
        {name: remaking._scaled(one, frames.MAX_SIDE) for name, one in taken.items()}  # noqa: SLF001
        | {"screenshot": shot}
    )
    files = {name: as_file(one, "JPEG", quality=92) for name, one in taken.items()}
    files["screenshot, PNG"] = as_file(shot, "PNG")
    files["china, 63 megapixels"] = as_file(photograph("china.jpg", LARGEST), "JPEG", quality=92)
    files["black PNG, 64 megapixels"] = as_file(Image.new("RGBA", (8_000, 8_000)), "PNG")
    whole_way(files, args.runs)


if __name__ == "__main__":
    main()
