"""History: in whatever order words arrive, everybody comes to the same history."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from amanat.client import folding, history, vault
from amanat.client.events import MessageChanged, TextArrived
from amanat.client.history import History
from amanat.client.profile import Me
from amanat.client.sdk import views
from amanat.client.sdk.views import Message
from amanat.client.transcript import Entry, Quote, Transcript
from amanat.client.vault import Unlock, Vault
from amanat.drill.attacks.device import pages
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    AmbiguousName,
    BadArgument,
    Blocked,
    InvalidMessage,
    MessageTooLarge,
    NotAdmin,
    NotYours,
    ReusedSecret,
    UnknownMessage,
)
from amanat.protocol import codec, wire
from amanat.protocol.messages import (
    Delete,
    Edit,
    Envelope,
    Kind,
    Reaction,
    Text,
    Timer,
    message_id,
)

KEY = bytes(range(32))
GID = b"conversation 001"
ALICE, BOB, CAROL = PEOPLE = (b"alice" + bytes(27), b"bob" + bytes(29), b"carol" + bytes(27))
NOW = 1_600_000_000_000
DAY = 86_400_000


class Said(NamedTuple):
    """An envelope and its author."""

    who: bytes
    envelope: Envelope

    @property
    def id(self) -> bytes:
        return message_id(self.who, self.envelope.id)


class Talk:
    """People who send envelopes, each with a count, all with one clock."""

    def __init__(self) -> None:
        self.clock = 0
        self._seqs = dict.fromkeys(PEOPLE, 0)

    def say(self, who: bytes, kind: Kind, body: codec.Record) -> Said:
        self.clock += 1
        self._seqs[who] += 1
        number = self.clock.to_bytes(16, "big")
        return Said(
            who,
            Envelope(
                number,
                self._seqs[who],
                bytes(32),
                self.clock,
                NOW,
                kind,
                codec.encode(body),
                [],
                {},
            ),
        )

    def text(
        self, who: bytes, text: str, *, reply_to: bytes | None = None, life_s: int = 0
    ) -> Said:
        return self.say(who, Kind.TEXT, Text(text, reply_to, life_s))

    def edit(self, who: bytes, of: Said, text: str) -> Said:
        return self.say(who, Kind.EDIT, Edit(of.id, text))

    def react(self, who: bytes, to: Said, emoji: str) -> Said:
        return self.say(who, Kind.REACTION, Reaction(to.id, emoji))

    def delete(self, who: bytes, *texts: Said) -> Said:
        return self.say(who, Kind.DELETE, Delete([text.id for text in texts]))


class Home:
    """The history of one person, in a vault of its own."""

    def __init__(self, directory: Path, who: bytes = ALICE) -> None:
        vault.create(directory, Unlock(key=KEY), lambda _, __: None, now=0)
        self.who = who
        self.directory = directory
        self.open()
        with self.vault.unit(now=0) as unit:
            unit.db.execute(
                "INSERT INTO conversation (gid, state, sent_hash, sure_seq)"
                " VALUES (?, 'active', x'', 0)",
                (GID,),
            )

    def open(self) -> None:
        self.vault: Vault = vault.open_vault(self.directory, Unlock(key=KEY))
        me = cast("Me", SimpleNamespace(identity=self.who))
        self.history = History(self.vault, me)
        self.transcript = Transcript(self.vault, self.who)

    def take(self, *said: Said, now: int = NOW) -> list[TextArrived | MessageChanged]:
        events: list[TextArrived | MessageChanged] = []
        with self.vault.unit(now=now) as unit:
            for one in said:
                events += self.history.take(unit, GID, one.who, one.who, one.envelope)
        return events

    def hears(self, *said: Said) -> None:
        """Take in each envelope in a unit of its own."""
        for one in said:
            self.take(one)

    def block(self, who: bytes, *, is_blocked: bool = True) -> None:
        with self.vault.unit(now=0) as unit:
            unit.db.execute(
                "INSERT OR IGNORE INTO contact (identity, name, conversation, added_at)"
                " VALUES (?, 'x', ?, 0)",
                (who, who[:16]),
            )
            self.history.set_blocked(unit, who, is_blocked=is_blocked)

    def read(self) -> list[Entry]:
        return self.transcript.everything(GID)

    def texts(self) -> list[str | None]:
        return [entry.text for entry in self.read()]

    def view(self) -> list[object]:
        """Everything that must not depend on the order of arrival."""
        entries = [
            structs.replace(entry, row=0, kept_at=0, expires_at=None) for entry in self.read()
        ]
        return [*entries, self.history.timer(GID)]

    def count(self, table: str) -> int:
        return int(self.vault._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608

    def close(self) -> None:
        self.vault.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Alice's history, empty."""
    made = Home(tmp_path / "alice")
    yield made
    made.close()


@pytest.fixture
def talk() -> Talk:
    """Nobody has said anything yet."""
    return Talk()


# Any order


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """Envelopes of three people: texts, replies, and actions, rightful or not, on each other's
    texts."""
    talk = Talk()
    said: list[Said] = []
    texts: list[Said] = []
    for number in range(draw(st.integers(1, 14))):
        who = draw(st.sampled_from(PEOPLE))
        act = draw(
            st.sampled_from(["text", "edit", "react", "delete", "timer", "reply", "forward"])
        )
        if act == "text" or not texts:
            texts.append(talk.text(who, f"text {number}"))
            said.append(texts[-1])
            continue
        target = draw(st.sampled_from(texts))
        match act:
            case "edit":
                said.append(talk.edit(who, target, f"edit {number}"))
            case "react":
                said.append(talk.react(who, target, draw(st.sampled_from(["👍", "❤️", ""]))))
            case "delete":
                said.append(talk.delete(who, target))
            case "timer":
                said.append(talk.say(who, Kind.TIMER, Timer(number)))
            case "forward":
                body = Text(f"forwarded {number}", None, 0, is_forwarded=True)
                texts.append(talk.say(who, Kind.TEXT, body))
                said.append(texts[-1])
            case _:
                texts.append(talk.text(who, f"reply {number}", reply_to=target.id))
                said.append(texts[-1])
    return said


def expected(said: Sequence[Said]) -> list[tuple[str | None, bool, dict[bytes, str]]]:
    """The history by its own rules, computed in the simplest way: in the order of sending."""
    texts: dict[bytes, tuple[bytes, str | None, bool, dict[bytes, str]]] = {}
    for who, envelope in said:
        body = envelope.body
        match envelope.kind:
            case Kind.TEXT:
                text = codec.decode(history._texts, body, InvalidMessage)
                texts[message_id(who, envelope.id)] = (who, text.text, False, {})
            case Kind.EDIT:
                edit = codec.decode(history._edits, body, InvalidMessage)
                author, words, _, reactions = texts[edit.target]
                if author == who and words is not None:
                    texts[edit.target] = (author, edit.text, True, reactions)
            case Kind.REACTION:
                reaction = codec.decode(history._reactions, body, InvalidMessage)
                author, words, edited, reactions = texts[reaction.target]
                if words is not None:
                    now = {**reactions, who: reaction.emoji}
                    kept = {one: emoji for one, emoji in now.items() if emoji}
                    texts[reaction.target] = (author, words, edited, kept)
            case Kind.DELETE:
                (target,) = codec.decode(history._deletes, body, InvalidMessage).targets
                if texts[target][0] == who:
                    texts[target] = (who, None, False, {})
    return [(text, edited, reactions) for _, text, edited, reactions in texts.values()]


@pytest.mark.long
@settings(max_examples=60)
@given(conversations(), st.randoms(use_true_random=False))
def test_any_order_gives_one_history(
    tmp_path_factory: pytest.TempPathFactory, said: list[Said], chance: random.Random
) -> None:
    first, second = (Home(tmp_path_factory.mktemp("any"), who) for who in (ALICE, BOB))
    first.take(*said)
    shuffled = [*said, *chance.sample(said, k=len(said) // 2)]
    chance.shuffle(shuffled)
    second.take(*shuffled)
    assert first.view() == second.view()
    assert [(e.text, e.is_edited, e.reactions) for e in first.read()] == expected(said)
    for home in (first, second):
        assert not home.count("change WHERE is_pending")
        home.close()


def test_what_was_taken_before_changes_nothing(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "one")
    said = [text, talk.edit(BOB, text, "two"), talk.react(CAROL, text, "👍"), talk.text(BOB, "x")]
    said.append(talk.delete(BOB, said[-1]))
    assert home.take(*said)
    before = home.read()
    assert home.take(*said) == []
    assert home.read() == before


# Texts and answers


def test_texts_are_in_the_order_of_their_clocks(home: Home, talk: Talk) -> None:
    said = [talk.text(who, str(number)) for number, who in enumerate([BOB, CAROL, BOB, ALICE])]
    home.hears(*reversed(said))
    assert home.texts() == ["0", "1", "2", "3"]


def test_answer_shows_what_it_answers_as_it_is_now(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "question")
    answer = talk.text(CAROL, "answer", reply_to=text.id)

    def quote() -> Quote | None:
        return next(e for e in home.read() if e.id == answer.id).quote

    home.take(answer)
    assert quote() == Quote(text.id, None, None)
    home.take(text)
    assert quote() == Quote(text.id, BOB, "question")
    home.take(talk.edit(BOB, text, "better question"))
    assert quote() == Quote(text.id, BOB, "better question")
    home.take(talk.delete(BOB, text))
    assert quote() == Quote(text.id, BOB, None)


def test_nobody_takes_the_name_of_somebody_else_s_text(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "truth")
    copied = Said(CAROL, structs.replace(talk.text(CAROL, "lie").envelope, id=text.envelope.id))
    home.take(copied, text, talk.text(ALICE, "yes", reply_to=text.id))
    assert home.texts() == ["truth", "lie", "yes"]
    quote = home.read()[2].quote
    assert quote is not None
    assert (quote.identity, quote.text) == (BOB, "truth")


def test_body_that_does_not_decode_is_refused(home: Home, talk: Talk) -> None:
    wrong = talk.say(BOB, Kind.EDIT, Timer(5))
    with pytest.raises(InvalidMessage):
        home.take(wrong)
    assert not home.count("change")


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Kind.REACTION, Reaction(bytes(16), "x" * 33)), (Kind.DELETE, Delete([])),
     (Kind.DELETE, Delete([bytes(16)] * 65)), (Kind.TIMER, Timer(-1)),
     (Kind.TIMER, Timer(367 * 86_400)), (Kind.TEXT, Text("x", bytes(15), 0)),
     (Kind.TEXT, Text("", None, 0)),
     (Kind.EDIT, Edit(bytes(16), "")), (Kind.TEXT, Text("x" * 60_001, None, 0))],
)  # fmt: skip
def test_body_out_of_bounds_is_refused(
    home: Home, talk: Talk, kind: Kind, body: codec.Record
) -> None:
    with pytest.raises(InvalidMessage):
        home.take(talk.say(BOB, kind, body))


# Edits, reactions, deletions


def test_last_edit_counts_whenever_it_came(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "one")
    two, three = talk.edit(BOB, text, "two"), talk.edit(BOB, text, "three")
    home.hears(three, text, two)
    assert [(e.text, e.is_edited) for e in home.read()] == [("three", True)]


def test_only_the_author_edits_and_deletes(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "mine")
    meddling = [talk.edit(CAROL, text, "hers"), talk.delete(CAROL, text)]
    home.hears(meddling[0], text, *meddling)
    assert [(e.text, e.is_edited) for e in home.read()] == [("mine", False)]
    assert not home.count("change")


def test_each_person_has_one_reaction(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "news")
    said = [
        talk.react(who, text, emoji)
        for who, emoji in ((ALICE, "👍"), (CAROL, "👎"), (CAROL, "سلام"), (BOB, "x"), (BOB, ""))
    ]
    home.hears(*said[2:], text, *said[:2])
    assert home.read()[0].reactions == {ALICE: "👍", CAROL: "سلام"}


def test_deletion_is_final(home: Home, talk: Talk) -> None:
    text, other = talk.text(BOB, "regret"), talk.text(BOB, "other")
    home.hears(text, talk.react(CAROL, text, "👍"), talk.edit(BOB, text, "less"))
    home.hears(talk.delete(BOB, text, other), other)
    home.hears(text, talk.edit(BOB, text, "back"), talk.react(CAROL, other, "👎"))
    assert [(e.text, e.is_edited, e.reactions) for e in home.read()] == [(None, False, {})] * 2
    assert not home.count("change")


def test_deleted_here_only_does_not_come_back(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "not for me")
    home.take(text)
    with home.vault.unit(now=0) as unit:
        home.history.forget(unit, GID, text.id)
    home.hears(text, talk.edit(BOB, text, "again"), talk.react(BOB, text, "👍"))
    assert home.read() == []
    assert not home.count("change")


def test_pending_changes_of_one_person_are_bounded(home: Home, talk: Talk) -> None:
    texts = [talk.text(ALICE, str(number)) for number in range(history.MAX_PENDING + 10)]
    home.take(talk.react(BOB, texts[0], "first"))
    home.take(*(talk.react(CAROL, text, "👎") for text in texts))
    assert home.count("change") == history.MAX_PENDING + 1
    home.take(*texts)
    reactions = [entry.reactions for entry in home.read()]
    assert reactions[0] == {BOB: "first"}
    assert reactions[1:10] == [{}] * 9
    assert reactions[10:] == [{CAROL: "👎"}] * history.MAX_PENDING


def test_events_tell_what_is_new_and_what_is_changed(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "one")
    assert home.take(talk.edit(BOB, text, "two")) == []
    (arrived,) = home.take(text)
    assert isinstance(arrived, TextArrived)
    changed = [MessageChanged(GID, arrived.row)]
    assert home.take(talk.react(ALICE, text, "👍")) == changed
    assert home.take(talk.delete(CAROL, text)) == []
    assert home.take(talk.delete(BOB, text)) == changed


def test_message_is_found_by_the_beginning_of_its_id(home: Home, talk: Talk) -> None:
    said = [talk.text(BOB, str(number)) for number in range(600)]
    home.take(*said)
    for one in said[:5]:
        assert home.transcript.find(GID, one.id.hex()) == one.id
        assert home.transcript.find(GID, one.id.hex()[:13].upper()) == one.id
    starts = [one.id.hex()[:4] for one in said]
    shared = next(start for start in starts if starts.count(start) > 1)
    with pytest.raises(AmbiguousName):
        home.transcript.find(GID, shared)
    with pytest.raises(UnknownMessage):
        home.transcript.find(GID, bytes(16).hex())
    for wrong in ("", "abc", "xyzw", "0" * 33, "0x12"):
        with pytest.raises(BadArgument):
            home.transcript.find(GID, wrong)


def test_only_own_texts_that_are_there_can_be_changed(home: Home, talk: Talk) -> None:
    mine, theirs, deleted = talk.text(ALICE, "a"), talk.text(BOB, "b"), talk.text(ALICE, "c")
    home.take(mine, theirs, deleted, talk.delete(ALICE, deleted))
    home.history.check_there(GID, [mine.id], own=True)
    home.history.check_there(GID, [mine.id, theirs.id], own=False)
    with pytest.raises(NotYours):
        home.history.check_there(GID, [mine.id, theirs.id], own=True)
    for missing in (deleted.id, bytes(16)):
        with pytest.raises(UnknownMessage):
            home.history.check_there(GID, [missing], own=False)


# Disappearing


def expire(home: Home, now: int) -> int:
    """Expire texts; how many texts' life has ended by then."""
    is_due = home.history.is_due(now)
    with home.vault.unit(now=now) as unit:
        gone = home.history.expire(unit)
    assert bool(gone) == is_due
    return len(gone)


def mark_read(home: Home, now: int) -> None:
    with home.vault.unit(now=now) as unit:
        home.history.mark_read(unit, GID)


def test_own_text_lives_from_when_it_was_sent(home: Home, talk: Talk) -> None:
    home.take(talk.text(ALICE, "short", life_s=60), talk.text(ALICE, "stays"))
    assert expire(home, NOW + 59_999) == 0
    assert expire(home, NOW + 60_000) == 1
    assert home.texts() == ["stays"]


def test_text_lives_from_when_it_was_read(home: Home, talk: Talk) -> None:
    home.take(talk.text(BOB, "short", life_s=60))
    mark_read(home, NOW + DAY)
    mark_read(home, NOW + DAY + 50_000)
    assert expire(home, NOW + DAY + 59_999) == 0
    assert expire(home, NOW + DAY + 60_000) == 1


def test_unread_text_does_not_live_for_ever(home: Home, talk: Talk) -> None:
    home.take(talk.text(BOB, "unread", life_s=60))
    assert expire(home, NOW + history.UNREAD_MS + 59_999) == 0
    assert expire(home, NOW + history.UNREAD_MS + 60_000) == 1


def test_clock_set_back_lengthens_no_life(home: Home, talk: Talk) -> None:
    home.take(talk.text(BOB, "read", life_s=60), talk.text(ALICE, "own", life_s=60))
    mark_read(home, NOW)
    home.take(talk.text(BOB, "unread", life_s=60))
    earlier = NOW - 400 * DAY
    with home.vault.unit(now=earlier) as unit:
        home.history.begin_clock(unit)
    assert expire(home, earlier + 60_000) == 2
    assert expire(home, earlier + history.UNREAD_MS + 60_000) == 1


def test_expired_text_does_not_come_back(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "short", life_s=1)
    home.take(text, talk.edit(BOB, text, "edited"), talk.react(ALICE, text, "👍"))
    mark_read(home, NOW)
    assert expire(home, NOW + 1000) == 1
    home.hears(text, talk.edit(BOB, text, "late"), talk.delete(BOB, text))
    assert home.read() == []
    assert not home.count("change")


def test_a_text_after_an_expired_one_is_unread(home: Home, talk: Talk) -> None:
    home.take(talk.text(BOB, "short", life_s=1))
    mark_read(home, NOW)
    (before,) = home.vault._db.execute("SELECT read_row FROM conversation").fetchone()
    expire(home, NOW + 1000)
    (arrived,) = home.take(talk.text(BOB, "new"))
    assert arrived.row > before


def test_timer_is_the_last_one_set(home: Home, talk: Talk) -> None:
    assert home.history.timer(GID) == 0
    said = [talk.say(who, Kind.TIMER, Timer(s)) for who, s in ((BOB, 5), (CAROL, 7), (BOB, 9))]
    home.take(said[2], said[0])
    assert home.history.timer(GID) == 9
    home.take(said[1])
    assert home.history.timer(GID) == 9
    home.take(talk.say(CAROL, Kind.TIMER, Timer(0)))
    assert home.history.timer(GID) == 0


# Blocking


def test_blocked_person_is_not_heard(home: Home, talk: Talk) -> None:
    before, other = talk.text(BOB, "before"), talk.text(CAROL, "other")
    home.take(before, other)
    home.block(BOB)
    said = [
        talk.text(BOB, "not for your ears"),
        talk.edit(BOB, before, "edited"),
        talk.react(BOB, other, "👎"),
    ]
    assert home.take(*said, *said) == []
    assert home.texts() == ["before", "other"]
    assert home.history.hidden(GID) == 1
    assert found(home, ["not for your ears"]) == []
    home.block(BOB, is_blocked=False)
    home.take(*said, talk.text(BOB, "after"))
    assert home.texts() == ["edited", "other", "after"]


def test_blocked_person_may_still_delete_what_they_said(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "before")
    home.take(text)
    home.block(BOB)
    home.take(talk.delete(BOB, text))
    assert home.texts() == [None]


# Really gone


def found(home: Home, words: Sequence[str]) -> list[str]:
    """Those of these texts that stand anywhere in the vault's files, whole or as most of one word:
    the index leaves out the beginning that a word shares with the one before it."""
    everything = b"\n".join(pages(home.directory, KEY))
    return [
        word
        for word in words
        if any(part.encode() in everything for part in (word, *_endings(word)))
    ]


def _endings(text: str) -> list[str]:
    words = folding.words(text)
    return [word[4:] for word in words if len(word) > 10 and set(word) != {"x"}]


def keep_sent(home: Home, said: Said) -> None:
    """Keep an envelope of ours for repair, as the client does."""
    with home.vault.unit(now=0) as unit:
        unit.db.execute(
            "INSERT INTO sent (gid, seq, id, envelope, said_at, is_quiet)"
            " VALUES (?, ?, ?, ?, ?, 0)",
            (GID, said.envelope.seq, said.envelope.id, codec.encode(said.envelope), NOW),
        )


def test_what_was_kept_is_found_in_the_files(home: Home, talk: Talk) -> None:
    home.take(talk.text(BOB, "a text that stays"))
    assert found(home, ["a text that stays"])


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 300, 9000])
def test_nothing_of_a_deleted_text_stays_in_the_files(home: Home, talk: Talk, size: int) -> None:
    chance = random.Random(size)
    words = [f"{chance.randbytes(8).hex()} " for _ in range(60)]
    texts = [
        talk.text(chance.choice(PEOPLE), word + "x" * chance.randrange(size)) for word in words
    ]
    home.take(*texts[:30])
    home.hears(*texts[30:])
    edits = [f"{chance.randbytes(8).hex()} " for _ in texts]
    home.hears(*(talk.edit(t.who, t, new) for t, new in zip(texts, edits, strict=True)))
    assert found(home, words) == []
    assert found(home, edits) == edits
    order = list(range(60))
    chance.shuffle(order)
    for number in order[:40]:
        home.take(talk.delete(texts[number].who, texts[number]))
    kept = sorted(order[40:])
    assert found(home, edits) == [edits[number] for number in kept]


def test_nothing_of_an_expired_text_stays_in_the_files(home: Home, talk: Talk) -> None:
    texts = [talk.text(ALICE, f"{os.urandom(8).hex()} own", life_s=60) for _ in range(30)]
    edits = [talk.edit(ALICE, text, f"{os.urandom(8).hex()} edit") for text in texts]
    reactions = [talk.react(ALICE, text, os.urandom(8).hex()) for text in texts]
    everything = [*texts, *edits, *reactions]
    for said in everything:
        keep_sent(home, said)
    home.hears(*everything)
    words = [codec.decode(history._texts, t.envelope.body, InvalidMessage).text for t in texts]
    words += [codec.decode(history._edits, e.envelope.body, InvalidMessage).text for e in edits]
    words += [
        codec.decode(history._reactions, r.envelope.body, InvalidMessage).emoji for r in reactions
    ]
    assert found(home, words) == words
    expire(home, NOW + 60_000)
    assert found(home, words) == []
    assert (home.directory / "vault.db-wal").stat().st_size == 0
    with home.vault.unit(now=0) as unit:  # only the place of each in the chain stays
        assert not unit.db.execute(
            "SELECT 1 FROM sent WHERE envelope != x'' OR id != x''"
        ).fetchone()


def test_a_log_left_by_a_dead_process_is_emptied_at_the_next_start(home: Home, talk: Talk) -> None:
    text = talk.text(BOB, "said before the end")
    home.hears(talk.text(BOB, "first"), text)
    with home.vault.unit(now=0) as unit:  # a deletion whose process dies before it empties the log
        unit.db.execute("UPDATE message SET text = NULL WHERE id = ?", (text.id,))
    assert found(home, ["said before the end"])
    history.History(home.vault, home.history._me)
    with home.vault.unit(now=0):
        pass
    assert found(home, ["said before the end"]) == []


# With real clients


def messages(person: Person, where: str) -> list[Message]:
    return person.client.chat(person.gid(where)).messages()


@pytest.mark.long
async def test_everybody_sees_what_was_done_with_a_text(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice.say("family", "when?")
    await world.settle()
    (text,) = messages(bob, "family")
    bob.client.chat(gid).send("at eight", reply_to=text.id[:6])
    await world.settle()
    answer = messages(bob, "family")[-1]
    bob.client.chat(gid).edit(answer.id, "at nine")
    carol.client.chat(gid).react(answer.id, "👍")
    carol.client.chat(gid).react(text.id, "🙂")
    carol.client.chat(gid).react(text.id, "")
    await world.settle()
    for person in people:
        first, second = messages(person, "family")
        assert (first.id, first.text, first.reactions) == (text.id, "when?", {})
        assert (second.id, second.text) == (answer.id, "at nine")
        assert second.is_edited
        assert second.reactions == {"carol": "👍"}
        assert second.reply_to == views.Quote(text.id, "alice", "when?")
    alice.client.chat(gid).delete([text.id])
    await world.settle()
    for person in people:
        first, second = messages(person, "family")
        assert first.is_deleted
        assert first.text == ""
        assert second.reply_to == views.Quote(text.id, "alice", "")
        assert not person.warnings()


async def test_only_what_is_one_s_own_can_be_changed_for_everyone(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "mine")
    await world.settle()
    gid, (text,) = bob.gid("alice"), messages(bob, "alice")
    with pytest.raises(NotYours):
        bob.client.chat(gid).edit(text.id, "his")
    with pytest.raises(NotYours):
        bob.client.chat(gid).delete([text.id])
    for wrong in (lambda: bob.client.chat(gid).react("0" * 32, "x"),
                  lambda: bob.client.chat(gid).send("x", reply_to="0" * 32)):  # fmt: skip
        with pytest.raises(UnknownMessage):
            wrong()
    with pytest.raises(BadArgument):
        bob.client.chat(gid).react(text.id, "x" * 33)
    with pytest.raises(MessageTooLarge):
        alice.client.chat(gid).edit(text.id, "")
    bob.client.chat(gid).delete([text.id], for_everyone=False)
    await world.settle()
    assert messages(bob, "alice") == []
    assert alice.texts("bob") == ["mine"]


async def test_what_was_lost_and_comes_later_changes_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "before")
    await world.settle()
    gid = alice.gid("bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    alice.client.chat(gid).edit(messages(alice, "bob")[-1].id, "two")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.client.chat(gid).edit(messages(alice, "bob")[-1].id, "three")
    await world.settle()
    assert bob.texts("alice") == ["before"]
    await world.pass_time(200)
    await world.settle()
    assert bob.texts("alice") == alice.texts("bob") == ["before", "three"]


async def test_greeting_can_be_answered(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    bob.client.accept(alice.client.invite(), "a greeting")
    await world.settle()
    (greeting,) = messages(alice, "bob")
    alice.client.chat(alice.gid("bob")).react(greeting.id, "👋")
    await world.settle()
    assert [m.reactions for m in messages(bob, "alice")] == [{"alice": "👋"}]


@pytest.mark.long
async def test_texts_disappear_everywhere(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    bob.client.chat(gid).set_timer(3600)
    await world.settle()
    assert alice.client.chat(gid).view().timer == 3600
    alice.say("bob", "for an hour")
    await world.settle()
    bob.client.mark_read(gid)
    await world.pass_time(3500)
    assert bob.texts("alice") == alice.texts("bob") == ["for an hour"]
    await world.pass_time(200)
    for person in (alice, bob):
        assert messages(person, "bob" if person is alice else "alice") == []
        assert person.one("SELECT count(*) FROM sent WHERE NOT is_quiet") == 0
    bob.client.chat(gid).set_timer(0)
    await world.settle()
    alice.say("bob", "for ever")
    await world.settle()
    assert [m.expires_at for m in messages(bob, "alice")] == [None]


async def test_text_whose_life_ended_while_away_is_gone_at_the_next_start(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.client.chat(alice.gid("bob")).set_timer(60)
    alice.say("bob", "for a minute")
    await world.settle()
    await alice.sleep()
    await world.pass_time(100)
    assert alice.texts("bob") == ["for a minute"]
    alice.wake()
    assert alice.texts("bob") == []
    assert bob.texts("alice") == ["for a minute"]  # not read yet


@pytest.mark.long
async def test_the_timer_of_a_group_is_set_by_people_who_may_rename_it(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    with pytest.raises(NotAdmin):
        bob.client.chat(gid).set_timer(60)
    with pytest.raises(BadArgument):
        alice.client.chat(gid).set_timer(10**9)
    alice.client.chat(gid).set_timer(60)
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    assert [person.client.chat(gid).view().timer for person in (alice, bob, carol)] == [60] * 3
    with bob.client._unit() as unit:
        bob.rules.conversations.saying.say(unit, gid, Kind.TIMER, codec.encode(Timer(5)))
    await world.settle()
    for person in (alice, carol):
        assert person.client.chat(gid).view().timer == 60
        assert person.warnings() == ["not-admin"]


@pytest.mark.long
async def test_blocked_person_cannot_tell(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    bob.say("alice", "before")
    await world.settle()
    await world.pass_time(100)
    await world.settle()
    alice.client.contact("bob").block()
    assert [c.is_blocked for c in alice.client.contacts()] == [True, False]
    said = alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", alice.gid("bob"))
    bob.say("alice", "unheard")
    bob.say("family", "unheard too")
    bob.client.create_group("trap", ["alice"])
    await world.settle()
    await world.pass_time(400)
    await world.settle()
    assert alice.texts("bob") == ["before"]
    assert alice.texts("family") == []
    assert carol.texts("family") == ["unheard too"]
    assert alice.client.chat(gid).view().hidden == 1
    assert [view.name for view in alice.client.conversations()] == ["bob", "carol", "family"]
    assert alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", alice.gid("bob")) == said
    assert messages(bob, "alice")[-1].state == "sent"
    assert not bob.warnings()
    with pytest.raises(Blocked):
        alice.say("bob", "x")
    alice.client.contact("bob").unblock()
    bob.say("alice", "after")
    await world.settle()
    assert alice.texts("bob") == ["before", "after"]
    alice.say("bob", "hello again")
    await world.settle()
    assert bob.texts("alice") == ["before", "unheard", "after", "hello again"]


@pytest.mark.long
async def test_blocked_person_gets_nothing_again_and_is_asked_for_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await world.pass_time(200)
    await world.settle()
    world.relay.forgets = lambda *_: True
    alice.say("bob", "lost")
    bob.say("alice", "lost too")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.say("bob", "heard")
    bob.say("alice", "heard too")
    await world.settle()  # both know now that something is missing, and will soon ask for it
    alice.client.contact("bob").block()
    senders: list[str] = []

    def notes(_: wire.Append, who: str) -> bool:
        senders.append(who)
        return False

    world.relay.forgets = notes
    bob.say("alice", "unheard")
    await world.pass_time(600)
    assert "bob" in senders
    assert "alice" not in senders
    alice.client.contact("bob").unblock()
    alice.say("bob", "hello again")
    await world.pass_time(1_500)
    await world.settle()
    assert sorted(bob.texts("alice")) == sorted(
        ["lost", "lost too", "heard", "heard too", "unheard", "hello again"]
    )


async def test_message_that_was_read_cannot_be_decrypted_again(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    with alice.client._unit():
        sealed = alice.rules.engine.encrypt(gid, b"the same bytes")
    with bob.client._unit():
        bob.rules.engine.process(gid, sealed)
    with pytest.raises(ReusedSecret), bob.client._unit():
        bob.rules.engine.process(gid, sealed)


async def test_events_tell_of_changes(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid, events = alice.gid("bob"), bob.client.events()
    alice.client.chat(gid).set_timer(60)
    alice.say("bob", "one")
    await world.settle()
    alice.client.chat(gid).edit(messages(alice, "bob")[0].id, "two")
    await world.settle()
    bob.client.mark_read()
    await world.pass_time(100)
    await bob.sleep()
    changed = MessageChanged(gid, 1)
    of_messages = [e async for e in events if isinstance(e, TextArrived | MessageChanged)]
    assert of_messages == [TextArrived(gid, 1), changed, changed]


@pytest.mark.long
@pytest.mark.parametrize("how", ["left", "was removed"])
async def test_texts_stay_read_when_one_is_let_in_again(world: World, how: str) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    alice.client.contact("bob").block()
    bob.client.chat(gid).send("never shown")
    await world.settle()
    alice.client.contact("bob").unblock()
    bob.client.chat(gid).send("read")
    await world.settle()
    alice.client.mark_read(gid)
    bob.client.chat(gid).send("not read yet")
    await world.settle()
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    if how == "left":
        alice.client.chat(gid).leave()
    else:
        bob.client.chat(gid).remove("alice")
    await world.settle()
    assert not alice.client.chat(gid).view().is_live
    bob.client.chat(gid).add(["alice"])
    await world.settle()
    assert alice.client.chat(gid).view().is_live
    assert [message.text for message, _ in alice.client.unread(gid)] == ["not read yet"]
    assert alice.client.chat(gid).view().hidden == 1
    bob.client.chat(gid).send("welcome back")
    await world.settle()
    assert [m.text for m, _ in alice.client.unread(gid)] == ["not read yet", "welcome back"]
