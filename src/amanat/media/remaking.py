"""Making a picture anew: its points alone, upright, in sRGB, no larger than a screen.

Taking metadata out of a file means to know every place where a camera may write some, and leaves
colours and orientation that rest on what was taken out. So nothing is taken out: the picture is
decoded, and its points are encoded as a new file.
"""

from __future__ import annotations

import contextlib
import io
from typing import BinaryIO

from PIL import (
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from amanat.media import frames, thumbhash

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""The formats that are read. Pillow can read many more, and most of its faults were in those."""
JPEG_QUALITY = 85
WEBP_QUALITY = 85
"""Of pictures that leave: decision 0042 has the sizes and times of others."""
DRAWN_COLOURS = 2**15
"""Most colours of a picture that we also try without loss; a photograph has more."""
LOSSLESS_EFFORT = 30
"""Effort of that encoder, of 100: more takes longer and gains nothing on screenshots."""
_OPAQUE = 255
PREVIEW_QUALITIES = (75, 50, 25, 5, 0)
"""Qualities of a preview, tried until it is small enough; noise of the largest size fits with 5."""
HINT_SIDE = 48
"""Longest side of the picture from which a hint is made: it holds waves no shorter than a seventh
of it, and its making is arithmetic in Python."""
LEAST_HINT_SIDE = 8
_REDUCING_GAP = 3.0
"""How much larger than its end a picture is when the slow, sharp step of scaling begins."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn that makes a picture upright, for each value of EXIF's tag Orientation."""
_ORIENTATION = 0x0112
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_LOADED = (GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
"""Plugins that Pillow would load later, when the child can open no file."""
Image.MAX_IMAGE_PIXELS = frames.MAX_POINTS


class Refused(Exception):  # noqa: N818  # what happened, as all our errors
    """A file that cannot be made anew, with the status that says why."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def opened(file: BinaryIO) -> Image.Image:
    """A picture whose points are not decoded yet. Raises Refused."""
    try:
        found = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(frames.TOO_LARGE) from None
    if found.width * found.height > frames.MAX_POINTS:
        raise Refused(frames.TOO_LARGE)
    return found


def remake(file: BinaryIO) -> bytes:
    """The answer to REMAKE. Raises Refused, or whatever Pillow raises for a broken file."""
    found = opened(file)
    # A camera's JPEG may hold further pictures behind the first (MPO): those do not leave.
    if found.format not in ("JPEG", "MPO") and getattr(found, "is_animated", False):
        raise Refused(frames.MOVING)
    profile = found.info.get("icc_profile")
    if isinstance(found, JpegImagePlugin.JpegImageFile):
        found.draft(None, (2 * frames.MAX_SIDE, 2 * frames.MAX_SIDE))
    found.load()
    turn = _TURNS.get(_orientation(found))
    made = _scaled(_plain(found), frames.MAX_SIDE)
    if turn is not None:
        made = made.transpose(turn)
    made = _without_info(_in_srgb(made, profile))
    kind, data = _encoded(made)
    small = _scaled(made, frames.PREVIEW_SIDE)
    preview = _preview(small)
    tiny = _scaled(small, HINT_SIDE).convert("RGBA")
    # A wave needs some points: a line as thin as one point has none across it.
    tiny = tiny.resize((max(LEAST_HINT_SIDE, tiny.width), max(LEAST_HINT_SIDE, tiny.height)))
    hint = thumbhash.encode(tiny.width, tiny.height, tiny.tobytes())
    head = frames.REMADE.pack(made.width, made.height, kind, len(data), len(preview), len(hint))
    return frames.STATUS.pack(frames.DONE) + head + data + preview + hint


def _orientation(found: Image.Image) -> int:
    """The value of EXIF's Orientation; 1 where there is none, or none that can be read."""
    with contextlib.suppress(OSError, SyntaxError, ValueError, TypeError, LookupError):
        return int(found.getexif().get(_ORIENTATION, 1))
    return 1


def _plain(found: Image.Image) -> Image.Image:
    """The picture in a mode that scales well: no palette, no 16 bits, transparency as a band."""
    if found.mode.startswith("I") or found.mode == "F":
        # 16 bits of grey: Pillow would cut off what is brighter than 255.
        return found.convert("I").point(lambda shade: shade / 256).convert("L")
    if found.has_transparency_data:
        return found.convert("RGBA")
    if found.mode in ("RGB", "L", "CMYK", "LAB"):
        return found
    return found.convert("RGB")


def _scaled(found: Image.Image, side: int) -> Image.Image:
    """The picture with sides of at most so many points, in its own proportions as far as a side of
    one point allows."""
    longest = max(found.size)
    if longest <= side:
        return found
    width, height = (max(1, round(one * side / longest)) for one in found.size)
    return found.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _in_srgb(found: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, as RGB or RGBA. A profile that cannot be used counts as none."""
    alpha = found.getchannel("A") if found.mode == "RGBA" else None
    flat = found.convert("RGB") if alpha is not None else found
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            flat = (
                ImageCms.profileToProfile(
                    flat,
                    ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                    _SRGB,
                    renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                    outputMode="RGB",
                )
                or flat
            )
    flat = flat.convert("RGB")
    if alpha is not None:
        flat.putalpha(alpha)
    return flat


def _without_info(found: Image.Image) -> Image.Image:
    """The same points in a picture that knows nothing of its file. Pillow keeps what it has read
    beside the points, and writes some of it into the next file."""
    new = Image.new(found.mode, found.size)
    new.paste(found)
    return new


def _encoded(made: Image.Image) -> tuple[int, bytes]:
    """The type and the bytes of a picture that leaves. A photograph becomes a JPEG, or a WebP where
    something is transparent. A picture of few colours, such as a screenshot, becomes a lossless
    WebP if that is smaller: it keeps letters sharp."""
    if made.mode == "RGBA" and made.getchannel("A").getextrema() == (_OPAQUE, _OPAQUE):
        made = made.convert("RGB")
    if made.mode == "RGBA":
        lossy = (frames.WEBP, _webp(made, WEBP_QUALITY))
    else:
        out = io.BytesIO()
        made.save(out, "JPEG", quality=JPEG_QUALITY, progressive=True)
        lossy = (frames.JPEG, out.getvalue())
    if made.getcolors(DRAWN_COLOURS) is None:
        return lossy
    out = io.BytesIO()
    made.save(out, "WEBP", lossless=True, method=0, quality=LOSSLESS_EFFORT)
    return min(lossy, (frames.WEBP, out.getvalue()), key=lambda one: len(one[1]))


def _preview(small: Image.Image) -> bytes:
    """The WebP of a small picture, as good as its limit allows. Raises Refused if none fits."""
    for quality in PREVIEW_QUALITIES:
        preview = _webp(small, quality)
        if len(preview) <= frames.MAX_PREVIEW_BYTES:
            return preview
    raise Refused(frames.TOO_HARD)


def _webp(made: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    # Transparency is kept without loss where it is 100: of noise that is as large as the noise.
    made.save(out, "WEBP", quality=quality, alpha_quality=quality, method=4)
    return out.getvalue()


def sample(form: str = "JPEG", mode: str = "RGB") -> io.BytesIO:
    """A picture file of ours, with metadata and a profile."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    profile = b"" if mode == "P" else _SRGB.tobytes()
    size = (frames.PREVIEW_SIDE + 1, 2)
    Image.new(mode, size).save(out, form, exif=exif, icc_profile=profile)
    out.seek(0)
    return out


def rehearse() -> None:
    """Do once everything that `remake` does, so that everything it needs is loaded."""
    for form, mode in (("JPEG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGBA"), ("GIF", "P")):
        remake(sample(form, mode))
    with contextlib.suppress(OSError):
        Image.open(io.BytesIO(b"no picture"), formats=FORMATS)
