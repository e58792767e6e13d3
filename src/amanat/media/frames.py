"""The words between a program and its child about a picture file, with all limits.

An ask is a verb and a file. An answer is a status; after DONE a record of fixed length follows, and
after REMADE the three pieces whose lengths it names.
"""

from __future__ import annotations

import struct

MAX_FILE_BYTES = 64 * 2**20
"""Largest picture file: a camera's largest JPEG has some 40 MB."""
MAX_POINTS = 64_000_000
"""Most points of a picture that is read, as RGBA a quarter of the child's memory. Cameras of 48 and
50 megapixels are common. Of a transparent WebP the library keeps several copies: there the child's
memory ends below this limit, and the picture is refused by that name."""
MAX_SIDE = 2_560
"""Longest side of a picture that leaves, in points: what a large screen shows."""
MAX_REMADE_BYTES = 32 * 2**20
"""Largest picture that leaves: more than four bytes for each point."""
PREVIEW_SIDE = 320
"""Longest side of a preview, in points."""
MAX_PREVIEW_BYTES = 40_000
"""Largest preview: it goes with the head of a file, in one cell."""
MAX_HINT_BYTES = 25
"""Longest ThumbHash."""
CPU_S = 20
"""Most processor time of a child, in seconds; a picture of MAX_POINTS takes three."""

ASK = struct.Struct(">BI")
"""A verb, and the length of the file that follows."""
REMAKE, FIND = 1, 2
"""The verbs: make a picture anew, find traces."""
STATUS = struct.Struct(">B")
DONE, BROKEN, TOO_LARGE, MOVING, TOO_HARD = range(5)
REMADE = struct.Struct(">HHBIIB")
"""Width, height, type, and the lengths of the picture, of its preview and of its hint."""
FOUND = struct.Struct(">B")
"""A bit for each field of Traces, the first field lowest."""
JPEG, WEBP = 1, 2
TYPES = {JPEG: "image/jpeg", WEBP: "image/webp"}
PREVIEW_TYPE = TYPES[WEBP]
