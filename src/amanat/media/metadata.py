"""Whether a picture file tells place, time and camera beside its picture.

A file that is sent untouched keeps all of it. We look where cameras and programs write such things:
EXIF with its parts, XMP, IPTC, and texts of PNG. We do not take anything out.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from amanat.media import frames, remaking

PLACE, TIME, CAMERA, READ = 1, 2, 4, 8
"""Bits of the answer."""
_WORDS = {
    PLACE: re.compile(
        rb"gps(?!\w*version)|latitude|longitude|geo:|location|:city|:country", re.IGNORECASE
    ),
    TIME: re.compile(rb"date|timestamp|creation ?time", re.IGNORECASE),
    CAMERA: re.compile(rb"tiff:(make|model)|lens|serialnumber|camera|aux:", re.IGNORECASE),
}
"""Words in XMP, and in the names of a PNG's texts, that tell one of them. A word too many costs a
sentence that is not quite right; a word too few would be a promise that is not kept."""
_TAGS = {
    TIME: {
        *(ExifTags.Base.DateTime, ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized),
        *(ExifTags.Base.OffsetTime, ExifTags.Base.OffsetTimeOriginal),
        ExifTags.Base.PreviewDateTime,
    },
    CAMERA: {
        *(ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.MakerNote),
        *(ExifTags.Base.LensMake, ExifTags.Base.LensModel, ExifTags.Base.LensSerialNumber),
        *(ExifTags.Base.BodySerialNumber, ExifTags.Base.CameraOwnerName),
        *(ExifTags.Base.UniqueCameraModel, ExifTags.Base.CameraSerialNumber),
    },
}
_GPS_TIMES = {ExifTags.GPS.GPSTimeStamp, ExifTags.GPS.GPSDateStamp}
_GPS_VERSION = ExifTags.GPS.GPSVersionID
_IPTC = {
    PLACE: {(2, 26), (2, 27), (2, 90), (2, 92), (2, 95), (2, 100), (2, 101)},
    TIME: {(2, 30), (2, 35), (2, 55), (2, 60), (2, 62), (2, 63)},
}
"""Fields of IPTC's record 2: place and country; days and times."""
_SCAN, _JPEG_END = b"\xda", b"\xff\xd9"
_HEADS = (b"JFIF", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE", b"Adobe", b"Photo")
"""Beginnings of the segments of a JPEG in which we look, or which tell nothing."""
_KNOWN = {
    *_HEADS,
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"pHYs"),
    *(b"bKGD", b"hIST", b"sBIT", b"sPLT", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"),
    *(b"acTL", b"fcTL", b"fdAT", b"cICP"),
    *(b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "),
}
"""Blocks in which we look, or which tell nothing."""
_RAW = "Raw profile type"
"""How some programs write metadata of other formats into a PNG; we read it in part."""
_READABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError)
"""Errors of Pillow for metadata that it cannot read. We then say that we could not."""


def find(file: io.BytesIO) -> bytes:
    """The answer to FIND. Raises remaking.Refused, or whatever Pillow raises for a broken file."""
    found = remaking.opened(file)
    if found.format == "PNG":
        found.load()  # what stands behind the points
    bits = READ
    for look in (_in_exif, _in_xmp, _in_iptc, _in_texts):
        try:
            bits |= look(found)
        except _READABLE:
            bits &= ~READ
    data = file.getvalue()
    names = set(_blocks(data, found.format or ""))
    if b"tIME" in names:
        bits |= TIME
    if names - _KNOWN or any(head.startswith(_RAW) for head in map(str, found.info)):
        bits &= ~READ
    return frames.STATUS.pack(frames.DONE) + frames.FOUND.pack(bits)


def _blocks(data: bytes, form: str) -> Iterator[bytes]:
    """The names of the blocks of a file. One that we do not know has the name of nothing, and so
    have bytes behind the picture."""
    match form:
        case "JPEG" | "MPO":
            yield from _segments(data)
        case "PNG":
            at = 8
            while at < len(data):
                name = data[at + 4 : at + 8]
                yield name
                at += 12 + int.from_bytes(data[at : at + 4], "big")
                if name == b"IEND":
                    break
            if at != len(data):
                yield b""
        case "WEBP":
            at, end = 12, 8 + int.from_bytes(data[4:8], "little")
            while at < end:
                yield data[at : at + 4]
                length = int.from_bytes(data[at + 4 : at + 8], "little")
                at += 8 + length + length % 2
            if at != len(data):
                yield b""
        case _:
            if not data.endswith(b";"):
                yield b""


def _segments(data: bytes) -> Iterator[bytes]:
    """The same of a JPEG: the beginnings of its segments of metadata."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != _SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xE0 <= data[at + 1] <= 0xEF:  # noqa: PLR2004  # APP0 to APP15
            body = data[at + 4 : at + 2 + length]
            yield next((head for head in _HEADS if body.startswith(head)), b"")
        at += 2 + length
    # An end before the last one is that of a picture inside the file, or something follows it.
    if data.find(_JPEG_END, at) != len(data) - len(_JPEG_END):
        yield b""


def _in_exif(found: Image.Image) -> int:
    exif = found.getexif()
    tags = set(exif) | set(exif.get_ifd(ExifTags.IFD.Exif)) | set(exif.get_ifd(ExifTags.IFD.IFD1))
    bits = sum(bit for bit, telling in _TAGS.items() if tags & telling)
    gps = set(exif.get_ifd(ExifTags.IFD.GPSInfo))
    if gps - _GPS_TIMES - {_GPS_VERSION}:
        bits |= PLACE
    return bits | (TIME if gps & _GPS_TIMES else 0)


def _in_xmp(found: Image.Image) -> int:
    blocks = (found.info.get(name) for name in ("xmp", "XML:com.adobe.xmp"))
    return _told_by(one for one in blocks if one)


def _in_iptc(found: Image.Image) -> int:
    fields: set[tuple[int, int]] = set()
    if isinstance(found, ImageFile.ImageFile) and found.format in ("JPEG", "MPO"):
        with contextlib.suppress(KeyError):
            fields = set(IptcImagePlugin.getiptcinfo(found) or {})
    return sum(bit for bit, telling in _IPTC.items() if fields & telling)


def _in_texts(found: Image.Image) -> int:
    """In the texts of a PNG, by their names, and in comments."""
    names = [str(name) for name in getattr(found, "text", {})]
    return _told_by([*names, *(one for one in (found.info.get("comment"),) if one)])


def _told_by(words: Iterable[object]) -> int:
    bits = 0
    for one in words:
        data = one if isinstance(one, bytes) else str(one).encode()
        bits |= sum(bit for bit, word in _WORDS.items() if word.search(data))
    return bits
