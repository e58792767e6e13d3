"""Every decoder of bytes from strangers, against some thousand inputs that are nearly right."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parent.parent / "fuzz" / "decoders.py"
_SPEC = importlib.util.spec_from_file_location("decoders", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
decoders = importlib.util.module_from_spec(_SPEC)
sys.modules["decoders"] = decoders
_SPEC.loader.exec_module(decoders)

ROUNDS = 4000


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few changes such as fuzzers make."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.randbytes(chance.randint(1, 4))
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3 if at < len(data):
                data[at] = chance.choice([0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xCF, 0xDF, 0xFF])
            case 4:
                other = chance.choice(seeds)
                data[at:] = other[chance.randrange(len(other) + 1) :]
            case 5:
                data[at:at] = data[at : at + chance.randint(1, 40)]
    return bytes(data)


@pytest.mark.parametrize("name", decoders.TARGETS)
def test_what_is_nearly_right_keeps_the_invariant(name: str) -> None:
    chance = random.Random(name)
    decode, seeds = decoders.TARGETS[name]
    for data in (*seeds, b"", b"\x00" * 1024):
        decode(data)
    for _ in range(ROUNDS):
        decode(mutated(chance, seeds))
    for _ in range(ROUNDS // 5):
        decode(chance.randbytes(chance.randint(0, 2000)))
