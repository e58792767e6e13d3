"""Every decoder of bytes from strangers, against some thousand inputs that are nearly right."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

import amanat
from amanat.errors import AmanatError
from amanat.protocol import codec, identity, wire
from figures import SOAK, report, rounds

T = TypeVar("T")

pytestmark = [pytest.mark.long, pytest.mark.timeout(100 * max(1.0, SOAK) + 20)]

_PATH = Path(__file__).parent.parent / "fuzz" / "decoders.py"
_SPEC = importlib.util.spec_from_file_location("decoders", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
decoders = importlib.util.module_from_spec(_SPEC)
sys.modules["decoders"] = decoders
_SPEC.loader.exec_module(decoders)

ROUNDS = rounds(1500, 40_000)


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few changes of the kind that fuzzers make."""
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


def test_each_frame_is_among_the_seeds() -> None:
    assert {type(frame) for frame in decoders._REQUESTS} == set(wire.Request.__args__)
    assert {type(frame) for frame in decoders._REPLIES} == set(wire.Reply.__args__)


@pytest.mark.campaign
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
    report("decoders fuzzed", decoders=1, inputs=ROUNDS + ROUNDS // 5)


def decoders_of_the_program() -> Iterator[tuple[str, msgspec.msgpack.Decoder[object]]]:
    """Every decoder that stands in a module, alone or among others, with its name."""
    for module in pkgutil.walk_packages(amanat.__path__, "amanat."):
        if module.name != "amanat.__main__":
            for name, value in vars(importlib.import_module(module.name)).items():
                for one in value.values() if isinstance(value, dict) else [value]:
                    if isinstance(one, msgspec.msgpack.Decoder):
                        yield f"{module.name}.{name}", one


def test_no_decoder_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()
    decode = codec.decode

    def noted(decoder: msgspec.msgpack.Decoder[T], data: bytes, refusal: type[AmanatError]) -> T:
        used.add(id(decoder))
        return decode(decoder, data, refusal)

    monkeypatch.setattr(codec, "decode", noted)
    identity.check_credential.cache_clear()
    for target, seeds in decoders.TARGETS.values():
        for data in seeds:
            target(data)
    found = list(decoders_of_the_program())
    assert len(found) >= 30
    assert not [name for name, decoder in found if id(decoder) not in used]


def test_decoders_are_made_where_they_are_found() -> None:
    for path in Path(amanat.__path__[0]).rglob("*.py"):
        if path.name == "insider.py":  # a liar of the drill, who changes records it made itself
            continue
        text = path.read_text()
        for line in text.splitlines():
            if "decoder_of(" in line and not line.startswith("def "):
                assert line.startswith("_"), f"{path}: {line}"
        if path.name not in ("codec.py", "wire.py", "descriptor.py", "front.py"):
            assert "msgpack.d" not in text.lower(), path  # decode, Decoder
