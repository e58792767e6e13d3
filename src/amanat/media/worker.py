"""The child that reads picture files: `python -I`, standard input and output, and nothing else.

It loads Pillow under limits, tries everything that it will need once (a library loads parts of
itself when they are first used), gives up files, sockets and processes, and only then reads.
"""

from __future__ import annotations

import io
import sys
import warnings

from amanat import confinement
from amanat.media import frames


def main() -> None:
    """Answer asks until the input ends."""
    confinement.limit(cpu_s=frames.CPU_S)
    from amanat.media import metadata, remaking  # noqa: PLC0415  # Pillow, under the limits

    warnings.simplefilter("error")
    remaking.rehearse()
    metadata.find(remaking.sample())
    confinement.seal()
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    while len(head := given.read(frames.ASK.size)) == frames.ASK.size:
        verb, length = frames.ASK.unpack(head)
        if length > frames.MAX_FILE_BYTES:
            return
        file = io.BytesIO(given.read(length))
        try:
            answer = metadata.find(file) if verb == frames.FIND else remaking.remake(file)
        except remaking.Refused as refused:
            answer = frames.STATUS.pack(refused.status)
        except MemoryError:
            answer = frames.STATUS.pack(frames.TOO_HARD)
        except Exception:  # noqa: BLE001  # a library that reads nonsense may raise anything
            answer = frames.STATUS.pack(frames.BROKEN)
        taken.write(answer)
        taken.flush()


if __name__ == "__main__":
    main()
