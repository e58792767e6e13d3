"""Search: words are found however they were typed, and nothing of a deleted text is kept."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.client import folding, search
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.drill.world import World
from amanat.errors import BadArgument

KEY = Unlock(key=bytes(32))


@pytest.mark.parametrize(
    ("typed", "searched"),
    [
        ("كتاب علي", "کتاب علی"),  # an Arabic keyboard, and a Persian one
        ("می‌روم", "می روم"),
        ("خانهٔ ما", "خانه ما"),
        ("مدرسة", "مدرسه"),
        ("مَدرَسه", "مدرسه"),
        ("آب أمروز إيران", "اب امروز ایران"),
        ("سـلام", "سلام"),
        ("مسئول مؤمن", "مسیول مومن"),
        ("۱۴۰۵ ٢٠٢٦", "1405 2026"),
        ("CAFÉ Straße", "cafe strasse"),
        ("ＡＢＣ ﬁn", "abc fin"),
        ("don't, stop: now!", "don t stop now"),
    ],
)
def test_a_word_typed_in_other_characters_is_the_same_word(typed: str, searched: str) -> None:
    assert folding.words(typed) == searched.split()
    assert folding.words(searched) == folding.words(typed)


@given(st.text(max_size=60))
def test_words_are_folded_once_and_hold_nothing_that_parts_them(text: str) -> None:
    words = folding.words(text)
    assert folding.words(" ".join(words)) == words or not unicodedata.is_normalized("NFKC", text)
    assert all(word and not set(word) & set(' "*\n\0') for word in words)


@given(st.text(max_size=60))
def test_every_word_has_its_place_in_the_text(text: str) -> None:
    found = folding.places(text)
    assert [word for *_, word in found] == folding.words(text)
    for begin, end, word in found:
        assert word in "".join(folding.words(text[begin:end]))


def test_an_index_of_another_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(opened: Vault, text: str) -> None:
        with opened.unit(now=0) as unit:
            unit.db.execute(
                "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
                " kept_at, text) VALUES (x'', ?, x'', x'', x'', 0, 0, 0, 0, ?)",
                (text.encode(), text),
            )

    def rows(opened: Vault, words: str) -> list[int]:
        found = search.Search(opened).find(words, gid=None, before=None, many=9)
        return [row for _, row in found]

    create(tmp_path / "a", KEY, lambda *_: None, now=0)
    opened = open_vault(tmp_path / "a", KEY)
    fill(opened, "one tree")
    assert rows(opened, "tree") == [1]
    opened.close()
    monkeypatch.setattr(folding, "FOLD", folding.FOLD + 1)
    monkeypatch.setattr(folding, "words", lambda text: [one[::-1] for one in text.split()])
    opened = open_vault(tmp_path / "a", KEY)
    assert rows(opened, "tree") == [1]
    with opened.unit(now=0) as unit:  # the index forgets a text by its words
        unit.db.execute("DELETE FROM message")
    assert rows(opened, "tree") == []
    assert not opened.damage()
    opened.close()


async def test_messages_are_found_by_all_words_and_the_beginning_of_the_last(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    for text in ("the weather is nice", "nice house", "هوای خوب می‌خواهم"):
        bob.say("alice", text)
        await world.settle()
    bob.client.chat(gid).send("a nice wedding")
    await world.settle()

    def texts(words: str, **options: object) -> list[str]:
        found = alice.client.search(words, **options)  # type: ignore[arg-type]
        return [one.message.text for one in found]

    assert texts("nice") == ["a nice wedding", "nice house", "the weather is nice"]
    assert texts("NICE we") == ["a nice wedding", "the weather is nice"]
    assert texts("we nice") == []  # only the last may be a beginning
    assert texts("هوا") == texts("هواي") == ["هوای خوب می‌خواهم"]
    assert texts("nice", gid=gid) == ["a nice wedding"]
    newest = alice.client.search("nice", many=1)[0].message
    assert texts("nice", before=newest.row, many=1) == ["nice house"]
    assert texts("absent") == []
    with pytest.raises(BadArgument):
        alice.client.search(" !* ")
    (found,) = alice.client.search("خوب مي خوا")
    text = found.message.text
    assert [text[begin:end] for begin, end in found.marks] == ["خوب", "می", "خواهم"]


async def test_edited_and_deleted_words_are_no_longer_found(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    bob.say("alice", "first words")
    await world.settle()
    gid = bob.gid("alice")
    message = bob.client.chat(gid).messages()[-1].id
    bob.client.chat(gid).edit(message, "second thoughts")
    await world.settle()
    assert [alice.client.search(one) != [] for one in ("first", "second")] == [False, True]
    bob.client.chat(gid).delete([message])
    await world.settle()
    assert alice.client.search("second") == []
    assert bob.client.search("second") == []
