"""The transparency log against the definitions of RFC 9162 written out, against every change of a
proof, and against what C2SP gives as examples."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from amanat.errors import BrokenLedger, NotInLedger
from amanat.protocol import tlog
from amanat.protocol.tlog import Checkpoint, Note, Signature, Tile

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME = "example.com/log"


# RFC 9162, section 2.1, as it is written there


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if not d:
        return hashlib.sha256(b"").digest()
    if len(d) == 1:
        return hashlib.sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return hashlib.sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % n for n in range(count)]


class Nodes:
    """Nodes of some entries, by definition."""

    def __init__(self, d: list[bytes]) -> None:
        self.d = d

    def __call__(self, level: int, index: int) -> bytes:
        part = self.d[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "a node that is not whole"
        return mth(part)


def tiles(d: list[bytes]) -> dict[Tile, bytes]:
    """All tiles of a log, by the formula of C2SP tlog-tiles."""
    found: dict[Tile, bytes] = {}
    level = 0
    while count := len(d) // 256**level:
        hashes = [mth(d[i * 256**level : (i + 1) * 256**level]) for i in range(count)]
        for n in range(-(-count // 256)):
            part = hashes[n * 256 : (n + 1) * 256]
            found[Tile(level, n, len(part))] = b"".join(part)
        level += 1
    return found


# The tree

sizes = st.integers(0, 300)


@given(sizes)
def test_the_root_is_the_merkle_tree_hash(size: int) -> None:
    d = entries(size)
    assert tlog.root(size, Nodes(d)) == tlog.root_of(d) == mth(d)


def test_roots_of_the_first_sizes_are_those_of_rfc_6962() -> None:
    assert tlog.root(0, Nodes([])) == hashlib.sha256().digest()
    assert tlog.leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    a, b, c = (tlog.leaf_hash(bytes([n])) for n in range(3))
    d = [bytes([n]) for n in range(3)]
    inner = hashlib.sha256(b"\x01" + a + b).digest()
    assert tlog.root(3, Nodes(d)) == hashlib.sha256(b"\x01" + inner + c).digest()


@given(sizes.filter(bool), st.data())
def test_inclusion_proofs_are_those_of_the_rfc_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    d = entries(size)
    proof = tlog.inclusion_proof(index, size, Nodes(d))
    assert proof == path(index, d)
    assert tlog.is_included(tlog.leaf_hash(d[index]), index, size, mth(d), proof)


@given(sizes, st.data())
def test_consistency_proofs_are_those_of_the_rfc_and_verify(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    d = entries(size)
    proof = tlog.consistency_proof(old, size, Nodes(d))
    assert proof == ([] if old in (0, size) else subproof(old, d, True))
    assert tlog.is_consistent(old, mth(d[:old]), size, mth(d), proof)


def changed(proof: list[bytes], chance: random.Random) -> list[list[bytes]]:
    """Proofs that are nearly this one."""
    found = [[*proof, bytes(32)], [*proof, *proof[:1]]]
    for at in range(len(proof)):
        found.append(proof[:at] + proof[at + 1 :])
        flipped = bytearray(proof[at])
        flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
        found.append([*proof[:at], bytes(flipped), *proof[at + 1 :]])
        found.append([*proof[:at], proof[at][:-1], *proof[at + 1 :]])
    if len(set(proof)) > 1:
        found.append(proof[::-1])
    return [one for one in found if one != proof]


@pytest.mark.long
def test_no_other_proof_of_inclusion_is_taken() -> None:
    chance = random.Random(1)
    for size in [*range(1, 20), 64, 100]:
        d = entries(size)
        for index in range(size):
            leaf, proof = tlog.leaf_hash(d[index]), path(index, d)
            for other in changed(proof, chance):
                assert not tlog.is_included(leaf, index, size, mth(d), other)
            for wrong in {-1, 0, index - 1, index + 1, size - 1, size, size + 1} - {index}:
                assert not tlog.is_included(leaf, wrong, size, mth(d), proof)
            assert not tlog.is_included(tlog.leaf_hash(b"x"), index, size, mth(d), proof)
            assert not tlog.is_included(leaf, index, size, mth([*d, b"x"]), proof)


@pytest.mark.long
def test_no_other_log_is_taken_for_a_longer_one() -> None:
    chance = random.Random(2)
    for new in [*range(1, 20), 64, 70]:
        d = entries(new)
        for old in range(new + 1):
            proof = tlog.consistency_proof(old, new, Nodes(d))
            for other in changed(proof, chance):
                assert not tlog.is_consistent(old, mth(d[:old]), new, mth(d), other)
            if not old:
                continue
            at = chance.randrange(old)
            for rewritten in (
                [*d[:at], b"edited", *d[at + 1 :]],
                [*d[:at], *d[at + 1 :]],
                [*d[:at], b"put in", *d[at:]],
                [*d[:at], *d[at : at + 2][::-1], *d[at + 2 :]],
            ):
                size = len(rewritten)
                if size < old or rewritten[:old] == d[:old]:
                    continue
                honest = tlog.consistency_proof(old, size, Nodes(rewritten))
                root = mth(rewritten)
                assert not tlog.is_consistent(old, mth(d[:old]), size, root, honest)
                assert not tlog.is_consistent(old, mth(d[:old]), size, root, proof)
    assert not tlog.is_consistent(2, mth(entries(2)), 1, mth(entries(1)), [])
    assert not tlog.is_consistent(0, bytes(32), 1, mth(entries(1)), [])


# Tiles


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(2, 1234067, 256), "tile/2/x001/x234/067"),
        (Tile(63, 999, 1), "tile/63/999.p/1"),
        (Tile(0, 1000, 255), "tile/0/x001/000.p/255"),
        (Tile(None, 123456789, 256), "tile/entries/x123/x456/789"),
        (Tile(None, 2**53 - 1, 255), "tile/entries/x009/x007/x199/x254/x740/991.p/255"),
    ],
)
def test_a_tile_has_one_path(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tlog.parse_tile(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",  # digits of another script
        "tile/entries/x010/x000/x000/x000/x000/000",
        "tile/0/" + "x999/" * 20 + "999",
        "tile/../0/000",
    ],
)
def test_another_path_is_no_tile(path: str) -> None:
    with pytest.raises(NotInLedger):
        tlog.parse_tile(path)


def test_the_tiles_of_a_size_are_those_of_the_standard() -> None:
    # The example of C2SP tlog-tiles.
    size = 70_000
    assert tlog.tile_at(0, 272, size) == Tile(0, 272, 256)
    assert tlog.tile_at(0, 273, size) == Tile(0, 273, 112)
    assert tlog.tile_at(0, 274, size).width == 0
    assert tlog.tile_at(1, 0, size) == Tile(1, 0, 256)
    assert tlog.tile_at(1, 1, size) == Tile(1, 1, 17)
    assert tlog.tile_at(2, 0, size) == Tile(2, 0, 1)
    assert tlog.tile_at(3, 0, size).width == 0
    assert tlog.tile_at(None, 273, size) == Tile(None, 273, 112)
    assert tlog.tile_at(1, 0, 256) == Tile(1, 0, 1)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000, 66_000])
@pytest.mark.long
def test_roots_and_proofs_follow_from_tiles(size: int) -> None:
    d = entries(size)
    by_tile = tiles(d)
    asked: set[Tile] = set()

    def fetch(tile: Tile) -> bytes:
        asked.add(tile)
        return by_tile[tile]

    node = tlog.nodes_from(size, fetch)
    whole = tlog.root(size, node)
    assert whole == mth(d)
    chance = random.Random(size)
    for old in {1, size // 2, size - 1, size, *(chance.randint(0, size) for _ in range(20))}:
        asked.clear()
        proof = tlog.consistency_proof(old, size, node)
        assert tlog.is_consistent(old, mth(d[:old]), size, whole, proof)
        assert len(asked) <= 5
        index = min(old, size - 1)
        leaf = tlog.leaf_hash(d[index])
        included = tlog.inclusion_proof(index, size, node)
        assert tlog.is_included(leaf, index, size, whole, included)


def test_the_wanted_tiles_show_whether_a_log_goes_on() -> None:
    d = entries(900)

    def at(size: int, origin: str = NAME) -> Checkpoint:
        return Checkpoint(origin, size, mth(d[:size]))

    for old, new in ((0, 0), (0, 5), (5, 5), (1, 900), (255, 256), (256, 300), (600, 777)):
        by_tile = tiles(d[:new])
        wanted = {tile: by_tile[tile] for tile in tlog.wanted_tiles(at(old), at(new))}
        assert tlog.goes_on(at(old), at(new), wanted)
        assert not tlog.goes_on(at(old)._replace(root=bytes(32)), at(new), wanted)
        assert not tlog.goes_on(at(old), at(new, "another"), wanted)
        assert bool(wanted) == (0 < old < new)
        if wanted:
            assert not tlog.goes_on(at(old), at(new), {})
            assert not tlog.goes_on(at(old), at(new), dict.fromkeys(wanted, b""))
            assert not tlog.goes_on(at(new), at(old), wanted)
            assert tlog.wanted_tiles(at(new), at(old)) == []


def test_a_tile_of_another_length_is_refused() -> None:
    for size in (0, 31, 96, 256 * 32):
        with pytest.raises(BrokenLedger):
            tlog.root(2, tlog.nodes_from(2, lambda _, size=size: bytes(size)))  # type: ignore[misc]


@given(st.lists(st.binary(max_size=20), max_size=256))
def test_a_bundle_gives_back_its_entries(held: list[bytes]) -> None:
    bundle = tlog.join_bundle(held)
    assert tlog.split_bundle(bundle, len(held)) == held
    for broken, count in (
        (bundle + b"\x00", len(held)),
        (bundle + b"\x00\x00", len(held)),
        (bundle, len(held) + 1),
        (bundle[:-1], len(held)),
    ):
        if (broken, count) != (bundle, len(held)):
            with pytest.raises(BrokenLedger):
                tlog.split_bundle(broken, count)


# Notes and checkpoints

# The examples of C2SP signed-note, tlog-checkpoint and tlog-cosignature.
EXAMPLE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()  # noqa: E501  # as it is given
EXAMPLE_KEY = base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")[1:]
COSIGNED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()  # noqa: E501  # same


def test_the_example_note_is_signed_by_the_example_key() -> None:
    note = tlog.parse_note(EXAMPLE)
    tlog.verify(note, "example.com/foo", EXAMPLE_KEY)
    assert note.text == "This is an example message.\n"
    assert note.signatures[0].key_id.hex() == "530d903a"
    assert tlog.format_note(note) == EXAMPLE


def test_the_example_checkpoint_is_read() -> None:
    note = tlog.parse_note(COSIGNED)
    assert tlog.format_note(note) == COSIGNED
    checkpoint = tlog.parse_checkpoint(note.text)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20_852_163
    assert tlog.format_checkpoint(checkpoint) == note.text
    stamp = note.signatures[1].signature
    assert int.from_bytes(stamp[:8], "big") == 1679315147
    assert len(stamp) == 72


def signed(text: str = "a\n1\nb\n", *more: Signature) -> bytes:
    return tlog.format_note(Note(text, [tlog.sign(text, NAME, KEY), *more]))


def test_a_note_is_signed_by_the_key_of_its_name_or_refused() -> None:
    data = signed()
    tlog.verify(tlog.parse_note(data), NAME, PUBLIC)
    for name, key in ((NAME + "2", PUBLIC), (NAME, OTHER.public_key().public_bytes_raw())):
        with pytest.raises(BrokenLedger):
            tlog.verify(tlog.parse_note(data), name, key)


def test_signatures_of_strangers_are_ignored_and_a_wrong_one_spoils_the_note() -> None:
    text = "a\n1\nb\n"
    stranger = tlog.sign(text, "example.com/stranger", OTHER)
    tlog.verify(tlog.parse_note(signed(text, stranger)), NAME, PUBLIC)
    good = tlog.sign(text, NAME, KEY)
    wrong = good._replace(signature=bytes(64))
    for pair in ([good, wrong], [wrong, good], [wrong]):
        with pytest.raises(BrokenLedger):
            tlog.verify(tlog.parse_note(tlog.format_note(Note(text, pair))), NAME, PUBLIC)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_note_is_refused(at: int, change: int) -> None:
    data = bytearray(signed())
    data[at % len(data)] ^= change
    with pytest.raises(BrokenLedger):
        tlog.verify(tlog.parse_note(bytes(data)), NAME, PUBLIC)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAA=",  # no newline at the end
        b"text\n\n\xe2\x80\x94 name AAAA\n",  # no signature behind the key id
        b"text\n\n\xe2\x80\x94 name AAAAAAB=\n",  # not the one encoding
        b"text\n\n\xe2\x80\x94 name AAAAAAA\n",
        b"text\n\n\xe2\x80\x94 na+me AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 na\xc2\xa0me AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94  AAAAAAA=\n",
        b"text\n\n- name AAAAAAA=\n",
        b"te\txt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"text\n\n" + b"\xe2\x80\x94 name AAAAAAA=\n" * 17,
        b"x" * tlog.MAX_NOTE_BYTES + b"\n\n\xe2\x80\x94 name AAAAAAA=\n",
    ],
)
def test_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenLedger):
        tlog.parse_note(data)


def test_a_note_may_have_sixteen_signatures_and_empty_lines() -> None:
    data = b"one\n\ntwo\n\n" + b"\xe2\x80\x94 name AAAAAAA=\n" * 16
    note = tlog.parse_note(data)
    assert (note.text, len(note.signatures)) == ("one\n\ntwo\n", 16)
    assert tlog.format_note(note) == data


@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_is_opened_by_its_log_and_key_only(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(NAME, size, root if size else hashlib.sha256().digest())
    data = tlog.sign_checkpoint(checkpoint, KEY)
    assert tlog.open_checkpoint(data, NAME, PUBLIC) == checkpoint
    foreign = tlog.format_note(
        Note(
            text := tlog.format_checkpoint(checkpoint._replace(origin="other")),
            [tlog.sign(text, NAME, KEY)],
        )
    )
    with pytest.raises(BrokenLedger):
        tlog.open_checkpoint(foreign, NAME, PUBLIC)


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"a\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"a\n01\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n+1\n{ROOT}\n",
        f"a\n١\n{ROOT}\n",  # a digit of another script
        f"a\n1\n{ROOT[:-1]}\n",
        f"a\n1\n{ROOT[4:]}\n",
        f"a\n1\n{ROOT}\n\n",
        f"a\n1\n{ROOT}\n\nmore\n",
        f"a\n{2**53}\n{ROOT}\n",
        f"a\n0\n{ROOT}\n",  # the empty tree has one root
    ],
)
def test_a_note_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BrokenLedger):
        tlog.parse_checkpoint(text)


def test_lines_that_a_later_version_adds_to_a_checkpoint_are_ignored() -> None:
    assert tlog.parse_checkpoint(f"a\n1\n{ROOT}\nmore\n") == Checkpoint("a", 1, bytes(32))


# Cosignatures


def test_a_cosignature_says_who_and_when() -> None:
    text = tlog.format_checkpoint(Checkpoint("example.com/log", 5, bytes(32)))
    public = OTHER.public_key().public_bytes_raw()
    one, later = (
        tlog.cosign(text, "witness", OTHER, now=now) for now in (1679315147.9, 1679315200)
    )
    note = tlog.parse_note(signed(text, one, later))
    tlog.verify(note, NAME, PUBLIC)
    assert tlog.verify_cosignature(note, "witness", public) == 1679315200
    message = f"cosignature/v1\ntime 1679315147\n{text}".encode()
    OTHER.public_key().verify(one.signature[8:], message)
    assert one.key_id == hashlib.sha256(b"witness\n\x04" + public).digest()[:4]
    for name, key in (("witness2", public), ("witness", PUBLIC), (NAME, PUBLIC)):
        with pytest.raises(BrokenLedger):
            tlog.verify_cosignature(note, name, key)
    with pytest.raises(BrokenLedger):
        tlog.verify(note, "witness", public)


@pytest.mark.long
@given(st.integers(0, 71), st.integers(1, 255))
def test_a_changed_cosignature_is_refused(at: int, change: int) -> None:
    text = tlog.format_checkpoint(Checkpoint("example.com/log", 5, bytes(32)))
    one = tlog.cosign(text, "witness", OTHER, now=0)
    stamped = bytearray(one.signature)
    stamped[at] ^= change
    note = tlog.parse_note(signed(text, one._replace(signature=bytes(stamped))))
    with pytest.raises(BrokenLedger):
        tlog.verify_cosignature(note, "witness", OTHER.public_key().public_bytes_raw())
