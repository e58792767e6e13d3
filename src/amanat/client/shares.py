"""Shares of a recovery phrase: five sheets of 33 words, any three of which make the phrase
(SLIP-39, "Shamir's Secret-Sharing for Mnemonic Codes").

Two shares open nothing. A person gives them to people, or keeps them in places, that nobody reaches
all at once. A share cannot be taken back: a new phrase makes the old shares useless for later
backups, and they open the earlier ones for ever.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST

from amanat.errors import WrongShares
from amanat.protocol.phrase import KEY_BYTES, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARES = 5
"""The shares that are made of a phrase: as many as a person finds people or places for."""
NEEDED = 3
"""The shares that are as good as the phrase: two may be lost, and two who meet read nothing."""
WORDS = 33
"""The words of a share: 256 bits of the share, 40 that say which it is, and 30 of a checksum."""


def split(key: bytes) -> list[list[str]]:
    """Five new shares of a key, each as its words."""
    (shares,) = generate_mnemonics(1, [(NEEDED, SHARES)], key)
    return [share.split(" ") for share in shares]


def number_of(word: str) -> int:
    """The number of a word of the list of shares, from 1 to 1024."""
    return int(WORDLIST.index(word)) + 1


def key_of(given: Sequence[str]) -> bytes:
    """The key that shares make: three of them or more, each as its words or their numbers.

    If more than three are given, one that was changed does no harm. Raises WrongShares, which says
    which share is wrong, and why, as far as it can be known.
    """
    shares = [_share(number, text) for number, text in enumerate(given, 1)]
    for number, share in enumerate(shares, 1):
        if share.group_parameters() != shares[0].group_parameters():
            raise WrongShares(f"share {number} was not made together with share 1")
    different = list(dict.fromkeys(shares))
    if len({share.index for share in different}) < NEEDED:
        raise WrongShares(f"{NEEDED} different ones are needed; these are {len(different)}")
    for three in combinations(different, NEEDED):
        try:
            key: bytes = combine_mnemonics([share.mnemonic() for share in three])
        except MnemonicError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise WrongShares("one of them was changed")


def _share(number: int, text: str) -> Share:
    """The share that a person has given as the one of this number. Raises WrongShares."""
    said = text.split()
    if len(said) != WORDS:
        raise WrongShares(f"share {number} has {len(said)} words, and not {WORDS}")
    words = []
    for place, one in enumerate(said, 1):
        word = listed(one, WORDLIST)
        if word is None:
            raise WrongShares(f"word {place} of share {number} is not in the list")
        words.append(word)
    try:
        share = Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        raise WrongShares(
            f"a word of share {number} is wrong, or two stand in each other's place"
        ) from None
    if (share.group_count, share.member_threshold) != (1, NEEDED):
        raise WrongShares(f"share {number} is not a share of a recovery phrase of Amanat")
    return share
