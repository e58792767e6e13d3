"""Does what the page asks, with the SDK, and says what has happened in the client.

It knows no socket and no browser. A page shows nothing that it was not given here, and keeps
nothing: drafts and read marks rest in the vault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from amanat.client import events, transcript
from amanat.errors import AmanatError
from amanat.page import protocol

if TYPE_CHECKING:
    from amanat.client.sdk.chat import Chat
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.views import Message, Summary


class Attendant:
    """Attends to the pages of one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def attend(self, ask: protocol.Ask) -> bytes:
        """Do what a page asks; the frame that answers it."""
        try:
            return protocol.answer(ask.id, self._do(ask))
        except AmanatError as error:
            return protocol.refusal(ask.id, error.code)

    def _do(self, ask: protocol.Ask) -> object:
        client = self._client
        match ask:
            case protocol.Begin():
                return {
                    "status": client.status().as_json(),
                    "chats": [_summary(one) for one in client.summaries()],
                }
            case protocol.History():
                chat = self._chat(ask.chat)
                part = chat.history(_scroll(ask.where), many=ask.many)
                return {
                    "messages": [_message(one) for one in part.messages],
                    "before": part.before,
                    "total": part.total,
                    "unread": chat.first_unread(),
                }
            case protocol.Send():
                chat = self._chat(ask.chat)
                return {"row": chat.send(ask.text, reply_to=ask.reply_to or "")}
            case protocol.Seen():
                self._chat(ask.chat).seen(ask.row)
            case protocol.Draft():
                chat = self._chat(ask.chat)
                chat.set_draft(ask.text, reply_to=ask.reply_to or "")
            case _:
                assert_never(ask)
        return None

    def _chat(self, key: str) -> Chat:
        return self._client.chat(bytes.fromhex(key))

    def tell(self, event: events.Event) -> list[bytes]:
        """The frames that tell a page of an event; none if its conversation has gone meanwhile."""
        try:
            return self._tell(event)
        except AmanatError:
            return []

    def _tell(self, event: events.Event) -> list[bytes]:
        match event:
            case events.TextArrived(gid, row) | events.MessageChanged(gid, row):
                return [*self._tell_message(gid, row), *self._tell_summary(gid)]
            case events.Joined(gid) | events.GroupChanged(gid) | events.Removed(gid):
                return self._tell_summary(gid)
            case events.SummaryChanged(gid):  # the person may have said something elsewhere
                summary = self._client.chat(gid).summary()
                last = summary.last
                own = [] if last is None or not last.is_own else [_told_message(gid, last)]
                return [*own, protocol.told("summary", summary=_summary(summary))]
            case events.StateChanged(gid):
                return [protocol.told("progress", chat=gid.hex()), *self._tell_summary(gid)]
            case (
                events.Offered() | events.Warned() | events.PersonChanged() | events.StatusChanged()
            ):
                return [protocol.told("status", status=self._client.status().as_json())]
            case _:
                assert_never(event)

    def _tell_message(self, gid: bytes, row: int) -> list[bytes]:
        message = self._client.chat(gid).message_at(row)
        if message is None:
            return [protocol.told("gone", chat=gid.hex(), row=row)]
        return [_told_message(gid, message)]

    def _tell_summary(self, gid: bytes) -> list[bytes]:
        summary = self._client.chat(gid).summary()
        return [protocol.told("summary", summary=_summary(summary))]


def _told_message(gid: bytes, message: Message) -> bytes:
    return protocol.told("message", chat=gid.hex(), message=_message(message))


def _message(message: Message) -> dict[str, object]:
    """A message, with what places it."""
    quote = message.reply_to
    return message.as_json() | {
        "row": message.row,
        "position": str(message.position),
        "quote": None if quote is None else quote._asdict(),
    }


def _summary(summary: Summary) -> dict[str, object]:
    """The line of a conversation, with its key."""
    last = summary.last
    return summary.as_json() | {
        "chat": summary.gid.hex(),
        "last": None if last is None else _message(last),
    }


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
        case _:
            assert_never(where)
