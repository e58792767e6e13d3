"""Picture files as cameras and programs write them: with everything beside the picture.

Each file holds canaries, texts that stand nowhere else: in every block of its format into which a
camera, an editor or a careless program writes something, with and without compression, and behind
the picture. Its place is in EXIF as numbers, too.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

STYLES = ("JPEG", "MPO", "PNG", "WEBP", "GIF")
SIDES = ((640, 480), (480, 640), (301, 200), (64, 64), (1200, 90))
_SECOND = 48
"""Side of the second picture of an MPO, in points."""
_THUMBNAIL = 40
_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7
"""Types of a TIFF's fields."""
_SIZES = {_SHORT: "H", _LONG: "I"}


class Photograph(NamedTuple):
    """A picture file, and all that it tells beside the picture."""

    style: str
    data: bytes
    orientation: int
    canaries: tuple[str, ...]
    place: bytes
    """The numbers of its place, as they stand in EXIF."""


class _Canaries:
    """Texts that stand nowhere else."""

    def __init__(self, chances: np.random.Generator) -> None:
        self._chances = chances
        self.made: list[str] = []

    def new(self, of: str) -> str:
        """A text that says where it was planted."""
        self.made.append(f"{of}-{self._chances.bytes(8).hex()}")
        return self.made[-1]


def photograph(number: int, chances: np.random.Generator) -> Photograph:
    """One file; the number decides its style, its sides, its orientation and its byte order."""
    style = STYLES[number % len(STYLES)]
    orientation = 1 + number % 8
    canaries = _Canaries(chances)
    place = b"".join(
        # So large and so odd that no picture holds these bytes by chance.
        struct.pack("<II" if number % 2 else ">II", int(chances.integers(2**28, 2**31)), 2**24 + 1)
        for _ in range(3)
    )
    exif = _exif(canaries, place, orientation, order="<" if number % 2 else ">")
    picture = scene(*SIDES[number // len(STYLES) % len(SIDES)], chances)
    make = {"JPEG": _jpeg, "MPO": _mpo, "PNG": _png, "WEBP": _webp, "GIF": _gif}[style]
    data = make(picture, exif, canaries) + canaries.new("behind").encode()
    return Photograph(style, data, orientation, tuple(canaries.made), place)


def scene(width: int, height: int, chances: np.random.Generator) -> Image.Image:
    """A picture with soft colours and some noise, as a camera's."""
    bands = [
        Image.linear_gradient("L").rotate(90 * int(turn)).resize((width, height))
        for turn in chances.integers(0, 4, 3)
    ]
    noise = chances.normal(128, 40, (height, width)).clip(0, 255).astype(np.uint8)
    return Image.blend(Image.merge("RGB", bands), Image.fromarray(noise).convert("RGB"), 0.2)


# EXIF, written by hand: no library writes a thumbnail with metadata of its own


def _exif(canaries: _Canaries, place: bytes, orientation: int, *, order: str) -> bytes:
    """A TIFF with two pictures' fields, those of a camera, those of a place, and a thumbnail."""
    thumbnail = io.BytesIO()
    Image.new("RGB", (_THUMBNAIL, _THUMBNAIL), "teal").save(
        thumbnail, "JPEG", comment=canaries.new("thumbnail")
    )

    def text(of: str) -> tuple[int, bytes]:
        return _ASCII, canaries.new(of).encode() + b"\0"

    date = (_ASCII, b"2026:10:03 04:05:06\0")
    base, gps = ExifTags.Base, ExifTags.GPS
    camera: dict[int, tuple[int, bytes]] = {
        base.DateTimeOriginal: date,
        base.MakerNote: (_UNDEFINED, canaries.new("maker").encode()),
        base.UserComment: (_UNDEFINED, b"ASCII\0\0\0" + canaries.new("comment").encode()),
        base.CameraOwnerName: text("owner"),
        base.BodySerialNumber: text("serial"),
        base.LensModel: text("lens"),
        base.ImageUniqueID: text("unique"),
    }
    where: dict[int, tuple[int, bytes]] = {
        gps.GPSLatitudeRef: (_ASCII, b"N\0"),
        gps.GPSLatitude: (_RATIONAL, place),
        gps.GPSLongitudeRef: (_ASCII, b"E\0"),
        gps.GPSLongitude: (_RATIONAL, place),
        gps.GPSMapDatum: text("gps"),
        gps.GPSDateStamp: (_ASCII, b"2026:10:03\0"),
    }
    fields: dict[int, tuple[int, bytes]] = {
        base.ImageDescription: text("description"),
        base.Make: text("make"),
        base.Model: text("model"),
        base.Orientation: (_SHORT, struct.pack(order + "H", orientation)),
        base.Software: text("software"),
        base.DateTime: date,
        base.Artist: text("artist"),
        base.Copyright: text("copyright"),
        base.ExifOffset: (_LONG, bytes(4)),
        base.GPSInfo: (_LONG, bytes(4)),
    }
    second: dict[int, tuple[int, bytes]] = {
        base.Compression: (_SHORT, struct.pack(order + "H", 6)),
        base.Make: text("second"),
        base.JpegIFOffset: (_LONG, bytes(4)),
        base.JpegIFByteCount: (_LONG, struct.pack(order + "I", len(thumbnail.getvalue()))),
    }
    begin = 8
    ends = [begin]
    for one in (fields, camera, where, second):
        ends.append(ends[-1] + len(_directory(one, 0, 0, order)))
    fields[base.ExifOffset] = (_LONG, struct.pack(order + "I", ends[1]))
    fields[base.GPSInfo] = (_LONG, struct.pack(order + "I", ends[2]))
    second[base.JpegIFOffset] = (_LONG, struct.pack(order + "I", ends[4]))
    following = (ends[3], 0, 0, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, begin)
    parts = [
        _directory(one, at, then, order)
        for one, at, then in zip((fields, camera, where, second), ends, following, strict=False)
    ]
    return b"Exif\0\0" + head + b"".join(parts) + thumbnail.getvalue()


def _directory(fields: dict[int, tuple[int, bytes]], at: int, then: int, order: str) -> bytes:
    """A directory of a TIFF that begins at an offset, with its values behind it."""
    rows, values = b"", b""
    behind = at + 2 + 12 * len(fields) + 4
    for tag, (kind, data) in sorted(fields.items()):
        count = len(data) // {_SHORT: 2, _LONG: 4, _RATIONAL: 8}.get(kind, 1)
        rows += struct.pack(order + "HHI", tag, kind, count)
        if len(data) <= 4:  # noqa: PLR2004  # such values stand in the row
            rows += data.ljust(4, b"\0")
        else:
            rows += struct.pack(order + "I", behind + len(values))
            values += data + bytes(len(data) % 2)
    return struct.pack(order + "H", len(fields)) + rows + struct.pack(order + "I", then) + values


# Other blocks


def _xmp(canaries: _Canaries) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" exif:GPSLatitude="35,41.5N"'
        f' xmp:CreateDate="2026-10-03T04:05:06" tiff:Model="{canaries.new("xmp")}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def _iptc(canaries: _Canaries) -> bytes:
    """A Photoshop resource with an IPTC record: a city, a day, a headline."""
    fields = b""
    for number, value in (
        (90, canaries.new("city").encode()),
        (55, b"20261003"),
        (105, canaries.new("headline").encode()),
    ):
        fields += struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value
    fields += bytes(len(fields) % 2)
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(fields)) + fields


def _profile(canaries: _Canaries) -> bytes:
    """sRGB, with a text behind the tables, as some programs leave one."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(made + canaries.new("profile").encode().ljust(64, b"\0"))
    data[:4] = len(data).to_bytes(4, "big")
    return bytes(data)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _with_segments(jpeg: bytes, canaries: _Canaries) -> bytes:
    """A JPEG with further segments before its picture."""
    extension = b"http://ns.adobe.com/xmp/extension/\0" + canaries.new("extension").encode()
    segments = [
        _segment(0xED, _iptc(canaries)),
        _segment(0xE1, extension),
        _segment(0xE5, b"Camera\0" + canaries.new("app5").encode()),
        _segment(0xEC, b"Ducky\0" + canaries.new("app12").encode()),
        _segment(0xFE, canaries.new("remark").encode()),
    ]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def _jpeg(picture: Image.Image, exif: bytes, canaries: _Canaries) -> bytes:
    out = io.BytesIO()
    picture.save(
        out, "JPEG", exif=exif, xmp=_xmp(canaries), icc_profile=_profile(canaries), quality=92
    )
    return _with_segments(out.getvalue(), canaries)


def _mpo(picture: Image.Image, exif: bytes, canaries: _Canaries) -> bytes:
    """Two pictures in one file (MPF), as phones write them: the second with metadata of its own."""
    out = io.BytesIO()
    second = picture.resize((_SECOND, _SECOND))
    second.encoderinfo = {"comment": canaries.new("other")}
    picture.save(
        out, "MPO", save_all=True, append_images=[second], exif=exif, xmp=_xmp(canaries),
        icc_profile=_profile(canaries), quality=92,
    )  # fmt: skip
    return out.getvalue()


def _png(picture: Image.Image, exif: bytes, canaries: _Canaries) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", canaries.new("text"))
    info.add_text("Author", canaries.new("packed"), zip=True)
    info.add_itxt("Location", canaries.new("international"), "fa", "مکان")
    info.add_itxt("XML:com.adobe.xmp", _xmp(canaries).decode())
    info.add(b"tIME", struct.pack(">HBBBBB", 2026, 10, 3, 4, 5, 6))
    info.add(b"caNb", canaries.new("private").encode())
    info.add(b"caNb", zlib.compress(canaries.new("deflated").encode()), after_idat=True)
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=info, exif=exif[6:], icc_profile=_profile(canaries))
    return out.getvalue()


def _webp(picture: Image.Image, exif: bytes, canaries: _Canaries) -> bytes:
    out = io.BytesIO()
    picture.save(
        out, "WEBP", exif=exif, xmp=_xmp(canaries), icc_profile=_profile(canaries), quality=80
    )
    text = canaries.new("chunk").encode()
    data = out.getvalue() + b"caNb" + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _gif(picture: Image.Image, exif: bytes, canaries: _Canaries) -> bytes:
    """GIF has no EXIF. Programs that convert pictures put the same facts into other blocks."""
    out = io.BytesIO()
    picture.quantize(64).save(out, "GIF", comment=canaries.new("gif").encode())
    data = out.getvalue()
    blocks = [exif[at : at + 255] for at in range(0, len(exif), 255)]
    extension = b"!\xff\x0bXMP DataXMP" + b"".join(
        bytes((len(block),)) + block for block in (*blocks, _xmp(canaries)[:255])
    )
    return data[:-1] + extension + b"\0;"
