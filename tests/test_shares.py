"""Shares of a recovery phrase: any three of five are the phrase, two are nothing, and whatever is
wrong with them is named."""

from __future__ import annotations

import dataclasses
import random
import secrets
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shamir_mnemonic import Share, decode_mnemonics, generate_mnemonics, recover_ems
from shamir_mnemonic.wordlist import WORDLIST

from amanat.client.sdk.backups import restore as restored
from amanat.client.shares import NEEDED, SHARES, WORDS, key_of, number_of, split
from amanat.client.vault import Unlock
from amanat.drill.world import World
from amanat.errors import WrongPhrase, WrongShares
from amanat.protocol import phrase
from test_backup import begin, folder

KEY = bytes(range(32))
MADE = [" ".join(words) for words in split(KEY)]
SECRET = 255
"""The place of the secret on a polynomial of SLIP-39."""


def product(one: int, other: int) -> int:
    """In the field of SLIP-39, by its definition: polynomials modulo x^8 + x^4 + x^3 + x + 1."""
    found = 0
    for bit in range(8):
        if other >> bit & 1:
            found ^= one << bit
    for bit in range(14, 7, -1):
        if found >> bit & 1:
            found ^= 0x11B << (bit - 8)
    return found


INVERSE = {
    one: other for one in range(1, 256) for other in range(1, 256) if product(one, other) == 1
}


def value_at(place: int, points: dict[int, bytes]) -> bytes:
    """The polynomial through these points, at another place (Lagrange)."""
    found = bytearray(32)
    for at, value in points.items():
        factor = 1
        for other in points:
            if other != at:
                factor = product(factor, product(place ^ other, INVERSE[at ^ other]))
        for number, byte in enumerate(value):
            found[number] ^= product(factor, byte)
    return bytes(found)


def refused(shares: list[str], why: str) -> None:
    with pytest.raises(WrongShares, match=why):
        key_of(shares)


def test_any_three_are_the_key() -> None:
    assert {len(share.split()) for share in MADE} == {WORDS}
    for many in (NEEDED, SHARES):
        for some in combinations(MADE, many):
            assert key_of(some) == KEY
            assert key_of(some[::-1]) == KEY
    assert split(KEY) != split(KEY)


def test_shares_may_be_given_by_numbers_and_first_letters() -> None:
    persian = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
    numbers = " ".join(str(number_of(word)) for word in MADE[0].split()).translate(persian)
    letters = " ".join(word[:4].upper() for word in MADE[3].split())
    assert key_of([numbers, letters, MADE[1]]) == KEY
    assert len({word[:4] for word in WORDLIST}) == len(WORDLIST)


def test_the_library_shares_by_the_polynomial_of_the_standard() -> None:
    """Reckoned here anew, from the definition of the field."""
    shares = [Share.from_mnemonic(one) for one in MADE]
    secret = recover_ems(decode_mnemonics(MADE[:NEEDED])).ciphertext
    for three in combinations(shares, NEEDED):
        points = {share.index: share.value for share in three}
        assert value_at(SECRET, points) == secret
        for share in shares:
            assert value_at(share.index, {**points, share.index: share.value}) == share.value


@given(st.binary(min_size=32, max_size=32), st.integers(0, 9))
def test_two_shares_fit_every_key(guess: bytes, which: int) -> None:
    """Whatever the secret is taken to be, there is a third share with which they make it. So two
    shares only tell whether a guess of all 256 bits passes a check of 32 bits (decision 0050)."""
    two = list(combinations([Share.from_mnemonic(one) for one in MADE], 2))[which]
    points = {share.index: share.value for share in two}
    place = next(at for at in range(SHARES) if at not in points)
    third = value_at(place, {**points, SECRET: guess})
    assert value_at(SECRET, {**points, place: third}) == guess


def test_too_few_are_named() -> None:
    refused([], "3 different ones are needed; these are 0")
    refused(MADE[:2], "3 different ones are needed; these are 2")
    refused([MADE[0], MADE[1], MADE[1]], "3 different ones are needed; these are 2")


def test_shares_of_two_phrases_are_named() -> None:
    other = [" ".join(words) for words in split(KEY)]  # the same phrase, split once more
    refused([MADE[0], MADE[1], other[2]], "share 3 was not made together with share 1")
    refused([*MADE[:3], other[2]], "share 4 was not made together")


def test_slips_are_named_by_share_and_word() -> None:
    words = MADE[1].split()
    rng = random.Random(1)
    for _ in range(50):
        place = rng.randrange(WORDS)
        wrong = rng.choice([word for word in WORDLIST if word != words[place]])
        slip = " ".join([*words[:place], wrong, *words[place + 1 :]])
        refused([MADE[0], slip, MADE[2]], "share 2")
    swapped = " ".join([words[1], words[0], *words[2:]])
    refused([MADE[0], swapped, MADE[2]], "share 2")
    unknown = " ".join([*words[:7], "xyzzy", *words[8:]])
    refused([MADE[0], unknown, MADE[2]], "word 8 of share 2")
    refused([MADE[0], " ".join(words[:-1]), MADE[2]], "share 2 has 32 words, and not 33")
    refused([MADE[0], "0 " + " ".join(words[1:]), MADE[2]], "word 1 of share 2")


def forged(share: str) -> str:
    """A share that its holder has changed, with a right checksum."""
    found = Share.from_mnemonic(share)
    value = bytes([found.value[0] ^ 1]) + found.value[1:]
    return str(dataclasses.replace(found, value=value).mnemonic())


def test_a_share_that_its_holder_has_changed_is_noticed_and_does_no_harm_beside_three() -> None:
    refused([MADE[0], forged(MADE[1]), MADE[2]], "one of them was changed")
    assert key_of([forged(MADE[1]), MADE[0], MADE[2], MADE[4]]) == KEY
    assert key_of([forged(MADE[1]), MADE[0], MADE[1], MADE[2], forged(MADE[3])]) == KEY


def test_shares_of_something_else_are_named() -> None:
    """Such as those of a wallet, two of which are enough."""
    (wallet,) = generate_mnemonics(1, [(2, 3)], secrets.token_bytes(32))
    refused(wallet, "share 1 is not a share of a recovery phrase")
    (short,) = generate_mnemonics(1, [(3, 5)], secrets.token_bytes(16))
    refused(short, "share 1 has 20 words, and not 33")


async def test_a_profile_is_restored_by_three_shares(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    alice.say("bob", "hello")
    words = begin(alice, folder(tmp_path))
    await alice.client.backups.make()
    with pytest.raises(WrongPhrase):  # nothing gives the phrase out again, in any form
        alice.client.backups.shares(" ".join(phrase.words_of(KEY)))
    made = alice.client.backups.shares(words)
    shares = [" ".join(str(word.number) for word in share) for share in made]
    unlock = Unlock(key=alice.key)
    with pytest.raises(WrongShares):
        await restored(
            tmp_path / "new",
            unlock,
            backup=folder(tmp_path),
            shares=shares[:2],
            around=alice.around,
        )
    assert not (tmp_path / "new" / "vault.db").exists()
    found = await restored(
        tmp_path / "new", unlock, backup=folder(tmp_path), shares=shares[2:], around=alice.around
    )
    assert (found.name, found.messages) == ("alice", 1)
