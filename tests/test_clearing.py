"""A cleared conversation leaves no word in the vault, and loses nothing for others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amanat.drill.attacks.device import pages
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import UnknownConversation
from test_history import ALICE, BOB, GID, Home, Talk, found, keep_sent


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def clear(home: Home, *, is_over: bool = False) -> None:
    with home.vault.unit(now=0) as unit:
        home.history.clear(unit, GID, is_over=is_over)


def test_no_word_of_a_cleared_conversation_stays_in_the_files(home: Home) -> None:
    talk = Talk()
    words = [os.urandom(8).hex() for _ in range(80)]
    texts = [talk.text((ALICE, BOB)[number % 2], word) for number, word in enumerate(words[:40])]
    edits = [talk.edit(t.who, t, word) for t, word in zip(texts, words[40:60], strict=False)]
    reactions = [talk.react(ALICE, t, word) for t, word in zip(texts, words[60:], strict=False)]
    said = [*texts, *edits, *reactions]
    for one in said:
        if one.who == ALICE:
            keep_sent(home, one)
    home.hears(*said)
    assert found(home, words[20:]) == words[20:]
    clear(home)
    assert found(home, words) == []
    assert home.read() == []
    assert (home.directory / "vault.db-wal").stat().st_size == 0
    assert home.count("sent") == sum(one.who == ALICE for one in said)  # their places stay
    assert home.count("change") == 0
    home.close()


def test_a_cleared_text_that_comes_again_is_not_shown(home: Home) -> None:
    talk = Talk()
    text = talk.text(BOB, "said once")
    home.hears(text)
    clear(home)
    home.hears(text, talk.edit(BOB, text, "said twice"), talk.text(BOB, "later"))
    assert home.texts() == ["later"]
    assert found(home, ["said once", "said twice"]) == []
    home.close()


def test_a_change_of_a_text_that_is_not_here_waits_for_it(home: Home) -> None:
    talk = Talk()
    text, deleted = talk.text(BOB, "before"), talk.text(BOB, "never")
    home.hears(talk.edit(BOB, text, "after"), talk.delete(BOB, deleted))
    clear(home)
    home.hears(text, deleted)
    assert home.texts() == ["after", None]
    clear(home, is_over=True)
    assert home.count("change") == 0
    home.close()


# With real clients


def words_of(person: Person, *words: str) -> list[str]:
    """Those of these words that stand in a person's files."""
    everything = b"\n".join(pages(person.directory, person.key))
    return [word for word in words if word.encode() in everything]


async def test_what_was_on_its_way_reaches_the_other_and_nothing_stays_here(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    alice.say("bob", "said and come")
    await world.settle()
    bob.say("alice", "said by bob")
    await world.settle()
    bob.client.chat(gid).react(bob.messages("alice")[0].id, "bobs-face")
    await world.settle()
    await alice.sleep()
    with alice.acting() as client:
        chat = client.chat(gid)
        chat.send("on its way")
        chat.set_draft("an unfinished thought", reply_to=chat.messages()[0].id)
        chat.set_pinned()
        chat.clear()
        (line,) = client.summaries()
        assert (line.last, line.unread, line.draft, line.draft_reply_to) == (None, 0, "", "")
        assert line.pinned_at is not None
        assert client.search("said") == []
    words = ("said and come", "said by bob", "on its way", "an unfinished thought", "bobs-face")
    assert words_of(alice, *words) == []
    alice.wake()
    await world.settle()
    assert bob.texts("alice") == ["said and come", "said by bob", "on its way"]
    bob.say("alice", "afterwards")
    await world.settle()
    alice.say("bob", "answered")
    await world.settle()
    assert alice.texts("bob") == ["afterwards", "answered"]
    assert bob.messages("alice")[-1].text == "answered"
    await world.pass_time(100)
    await world.settle()
    assert alice.messages("bob")[-1].state == "delivered"
    for person in (alice, bob):
        assert not person.warnings()
        assert person.client.status().missing == []


async def test_a_cleared_text_that_a_relay_loses_is_no_gap_for_the_other(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "lost on the way")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.client.chat(alice.gid("bob")).clear()
    alice.say("bob", "afterwards")
    await world.settle()
    await world.pass_time(200)
    await world.settle()
    assert bob.texts("alice") == ["afterwards"]
    assert bob.warnings() == ["relay-doubted"]  # and no message is said to be lost
    assert bob.client.status().missing == []


async def test_a_text_that_arrives_after_the_clearing_is_shown(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "bob"
    bob.say("alice", "late")
    await world.settle()
    world.relay.forgets = lambda *_: False
    bob.say("alice", "early")
    await world.settle()
    alice.client.chat(alice.gid("bob")).clear()
    await world.pass_time(200)
    await world.settle()
    assert alice.texts("bob") == ["late"]


@pytest.mark.long
async def test_a_cleared_group_that_we_left_is_listed_again_once_we_are_let_in(
    world: World,
) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    bob.say("family", "before")
    await world.settle()
    carol.client.chat(gid).clear()
    assert carol.client.conversation("family").state == "active"
    carol.client.chat(gid).leave()
    await world.settle()
    assert carol.client.chat(gid).view().state == "left"
    assert "family" in [line.name for line in carol.client.summaries()]
    carol.client.chat(gid).clear()
    names = [line.name for line in carol.client.summaries()]
    assert "family" not in names
    assert names == [view.name for view in carol.client.conversations()]
    assert carol.client.status().conversations == 2
    with pytest.raises(UnknownConversation):
        carol.client.conversation("family")
    with pytest.raises(UnknownConversation):
        carol.client.chat(gid).summary()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    assert carol.client.conversation("family").state == "active"
    bob.say("family", "after")
    await world.settle()
    assert carol.texts("family") == ["after"]
    with pytest.raises(UnknownConversation):
        carol.client.chat(b"elsewhere").clear()
