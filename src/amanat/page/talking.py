"""Does what the page asks about conversations and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from amanat.client import transcript
from amanat.export import export_to_downloads
from amanat.page import protocol, records

if TYPE_CHECKING:
    from amanat.client.sdk.chat import Chat
    from amanat.client.sdk.client import Client


def talk(client: Client, ask: protocol.TalkAsk) -> object:
    """Do it; the answer. Raises the errors of the SDK's calls."""
    if isinstance(ask, protocol.Search):
        gid = None if ask.chat is None else bytes.fromhex(ask.chat)
        found = client.search(ask.words, gid=gid, before=ask.before, many=ask.many)
        return [records.found(one) for one in found]
    chat = client.chat(bytes.fromhex(ask.chat))
    match ask:
        case protocol.History():
            part = chat.history(_scroll(ask.where), many=ask.many)
            return records.stretch(part, chat)
        case protocol.Send():
            return {"row": chat.send(ask.text, reply_to=ask.reply_to or "")}
        case protocol.Forward():
            return _forward(chat, ask.message, bytes.fromhex(ask.to))
        case protocol.Edit():
            chat.edit(ask.message, ask.text)
        case protocol.React():
            chat.react(ask.message, ask.emoji)
        case protocol.Delete():
            chat.delete(ask.messages, for_everyone=ask.for_everyone)
        case protocol.Seen():
            chat.seen(ask.row)
            return records.unread(chat)
        case protocol.Draft():
            chat.set_draft(ask.text, reply_to=ask.reply_to or "")
        case _:
            assert_never(ask)
    return None


def _forward(chat: Chat, message: str, to: bytes) -> object:
    if chat.message(message).file is not None:
        return {"transfer": chat.forward_file(message, to)}
    return {"row": chat.forward(message, to)}


def arrange(client: Client, ask: protocol.ChatAsk) -> object:
    """Do what is about a conversation as a whole; the answer. Raises the errors of the SDK's
    calls."""
    chat = client.chat(bytes.fromhex(ask.chat))
    match ask:
        case protocol.Clear():
            chat.clear()
        case protocol.Timer():
            chat.set_timer(ask.seconds)
        case protocol.Pin():
            chat.set_pinned(is_pinned=ask.is_pinned)
        case protocol.Mute():
            chat.set_muted(ask.until)
        case protocol.Archive():
            chat.set_archived(is_archived=ask.is_archived)
        case protocol.Export():
            return {"file": str(export_to_downloads(chat, ask.form))}
        case protocol.Details():
            return records.details(client, chat)
        case _:
            assert_never(ask)
    return None


def _scroll(where: protocol.Where) -> transcript.Scroll:
    match where:
        case protocol.Newest():
            return transcript.Newest()
        case protocol.Unread():
            return transcript.Unread()
        case protocol.Before(position):
            return transcript.Before(transcript.Position.parse(position))
        case protocol.After(position):
            return transcript.After(transcript.Position.parse(position))
        case protocol.Around(message):
            return transcript.Around(message)
        case protocol.Share(of):
            return transcript.Share(of)
        case protocol.Day(since):
            return transcript.Day(since)
        case _:
            assert_never(where)
