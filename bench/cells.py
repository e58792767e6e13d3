"""How much of real traffic fits a message cell.

    python bench/cells.py [--json] [TRACE ...]

Seals every text of the packaged corpus (and of IRC traces given as arguments) as a client would, in
a conversation of 2 and in a group of 20 with a receipt from everyone, and prints for each power of
two the share of messages whose cell it holds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from amanat import mls
from amanat.drill.traces import read_trace
from amanat.protocol import codec
from amanat.protocol.cells import CELL_OVERHEAD
from amanat.protocol.messages import Ack, Envelope, Kind, Text

SIZES = (256, 512, 1024, 2048, 4096)


def overhead(acks: int) -> int:
    """Bytes of a cell that are not text, for a text of some length, in a group with receipts."""
    engine = mls.Engine(lambda _key: None)
    signer = engine.new_signer()
    engine.create_group(bytes(16), mls.HYBRID_SUITE, signer, b"bench", b"leaf", b"policy")
    text = "x" * 200
    envelope = Envelope(
        id=os.urandom(16),
        seq=100_000,
        previous=os.urandom(32),
        clock=1_000_000,
        sent_at=1_800_000_000_000,
        kind=Kind.TEXT,
        body=codec.encode(Text(text, None, 0)),
        acks=[Ack(os.urandom(8), 100_000, os.urandom(8)) for _ in range(acks)],
        more={},
    )
    sealed = engine.encrypt(bytes(16), codec.encode(envelope))
    return CELL_OVERHEAD + 1 + len(sealed) - len(text)


def main() -> None:
    paths = [Path(a) for a in sys.argv[1:] if not a.startswith("--")]
    texts = {"corpus": read_trace(None, "edges", people=None, messages=None).lines}
    for path in paths:
        texts[path.name] = read_trace(path, "irc", people=None, messages=None).lines
    result = {}
    for people, acks in ((2, 1), (20, 19)):
        extra = overhead(acks)
        for name, lines in texts.items():
            sizes = [len(line.text.encode()) + extra for line in lines]
            shares = {size: sum(s <= size for s in sizes) / len(sizes) for size in SIZES}
            result[f"{name}, {people} people"] = {"overhead": extra, "messages": len(sizes)} | {
                str(size): round(share, 5) for size, share in shares.items()
            }
    if "--json" in sys.argv:
        print(json.dumps(result))
        return
    print(f"{'':34}{'overhead':>9}" + "".join(f"{size:>9}" for size in SIZES))
    for name, row in result.items():
        print(f"{name:34}{row['overhead']:>9}" + "".join(f"{row[str(s)]:>9.2%}" for s in SIZES))


if __name__ == "__main__":
    main()
