"""Forwarded words are marked, name nobody, and are a text of the person who forwards them."""

from __future__ import annotations

import pytest

from amanat.drill.world import World
from amanat.errors import Blocked, NotAMember, UnknownMessage


@pytest.mark.long
async def test_a_forwarded_text_is_marked_for_everybody_and_names_nobody(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    gid = await world.group("garden", bob, carol)
    alice.say("babak", "the garden is open")
    await world.settle()
    (heard,) = bob.messages("alice")
    assert not heard.is_forwarded
    row = heard.forward(gid)
    await world.settle()
    (own,) = bob.client.chat(gid).messages()
    (shown,) = carol.client.chat(gid).messages()
    assert own.row == row
    assert (own.is_own, own.sender, own.id) == (True, "babak", shown.id)
    assert own.id != heard.id
    assert (shown.text, shown.sender, shown.is_forwarded) == ("the garden is open", "babak", True)
    assert shown.reply_to is None
    assert "alice" not in str(shown.as_json())
    assert shown.as_json()["forwarded"] is True
    own.edit("the garden is shut")
    await world.settle()
    for one in (bob, carol):
        (shown,) = one.client.chat(gid).messages()
        assert (shown.text, shown.is_edited, shown.is_forwarded) == (
            "the garden is shut",
            True,
            True,
        )
    bob.client.chat(gid).delete([own.id])
    await world.settle()
    for one in (bob, carol):
        (shown,) = one.client.chat(gid).messages()
        assert (shown.is_deleted, shown.is_forwarded) == (True, False)
    assert [one.text for one in alice.messages("babak")] == ["the garden is open"]


@pytest.mark.long
async def test_the_present_words_are_forwarded_and_those_of_a_deleted_text_are_not(
    world: World,
) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    chat = alice.client.chat(alice.gid("babak"))
    chat.send("first")
    message = chat.messages()[0].id
    chat.edit(message, "second")
    chat.forward(message[:8], alice.gid("carol"))
    await world.settle()
    assert carol.texts("alice") == ["second"]
    chat.delete([message])
    with pytest.raises(UnknownMessage):
        chat.forward(message, alice.gid("carol"))
    with pytest.raises(UnknownMessage):
        alice.client.notes().forward(message, alice.gid("carol"))
    await world.settle()
    with pytest.raises(UnknownMessage):
        bob.messages("alice")[0].forward(bob.gid("carol"))
    assert carol.texts("alice") == ["second"]


@pytest.mark.long
async def test_a_forwarded_text_lives_as_long_as_others_where_it_is_said(world: World) -> None:
    alice, bob, _ = await world.friends("alice", "babak", "carol")
    alice.client.chat(alice.gid("babak")).set_timer(60)
    alice.say("babak", "soon gone")
    await world.settle()
    (heard,) = bob.messages("alice")
    heard.forward(bob.client.notes().gid)
    bob.client.chat(bob.gid("carol")).set_timer(3_600)
    row = heard.forward(bob.gid("carol"))
    there = bob.client.chat(bob.gid("carol")).message_at(row)
    assert there is not None
    assert there.expires_at == there.kept_at + 3_600_000
    bob.client.mark_read()
    await world.pass_time(120)
    assert bob.texts("alice") == []
    (note,) = bob.client.notes().messages()
    assert (note.text, note.expires_at, note.is_forwarded) == ("soon gone", None, True)


@pytest.mark.long
async def test_a_text_is_forwarded_only_to_where_a_person_may_speak(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    gid = await world.group("garden", alice, bob)
    alice.say("babak", "words")
    await world.settle()
    (heard,) = bob.messages("alice")
    bob.client.contact("carol").block()
    with pytest.raises(Blocked):
        heard.forward(bob.gid("carol"))
    bob.client.chat(gid).leave()
    await world.settle()
    for away in (gid, bytes(16)):
        with pytest.raises(NotAMember):
            heard.forward(away)
    assert carol.texts("babak") == []
