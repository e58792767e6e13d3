"""The records of the SDK as the page gets them: JSON, with the keys that the page uses."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import segno

from amanat.protocol.descriptor import b64

if TYPE_CHECKING:
    from amanat.client.sdk.chat import Chat
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import FileView, Progress
    from amanat.client.sdk.views import Contact, Found, Message, Missing, Stretch, Summary

Record = dict[str, object]


def message(one: Message) -> Record:
    """A message, with its place in its conversation."""
    quote = one.reply_to
    return one.as_json() | {
        "row": one.row,
        "position": str(one.position),
        "quote": None if quote is None else quote._asdict(),
        "file": None if one.file is None else file(one.file),
    }


def file(one: FileView) -> Record:
    """The file of a message, with the stand-in of a picture. A relay that is none of its sender's
    is named, because the person has to see where their client would go."""
    return one.as_json() | {
        "relay": "" if one.is_near else b64(one.relay),
        "hint": base64.b64encode(one.hint).decode() if one.kind == "picture" else "",
    }


def transfer(one: Progress) -> Record:
    """A file on its way, with the key of its conversation."""
    return one.as_json() | {"chat": one.gid.hex(), "tries": one.tries}


UNREAD_ROWS = 200
"""How many rows of unread texts a page gets at once. It gets the next ones once the person has seen
these."""


def unread(chat: Chat) -> Record:
    """The rows of the first unread texts of a conversation. A page marks texts as read up to a row,
    and repaired texts stand far above others that arrived before them: with these rows it knows
    when all texts up to a row were on the screen."""
    return {"unread_rows": chat.unread_rows(many=UNREAD_ROWS)}


def stretch(part: Stretch, chat: Chat) -> Record:
    """A part of a conversation, what of all of it is unread, and the row of what came last: a page
    that is told of a message knows by it whether the message has just come."""
    return unread(chat) | {
        "messages": [message(one) for one in part.messages],
        "before": part.before,
        "total": part.total,
        "unread": chat.first_unread(),
        "newest": part.newest,
    }


def found(one: Found) -> Record:
    """A message that holds the words searched for, with its conversation and the marks."""
    return message(one.message) | {"chat": one.message.gid.hex(), "marks": one.marks}


def summary(one: Summary) -> Record:
    """The line of a conversation, with its key."""
    return one.as_json() | {
        "chat": one.gid.hex(),
        "last": None if one.last is None else message(one.last),
    }


def contact(one: Contact) -> Record:
    """A person we can write to, with the key of the conversation with them."""
    return one.as_json() | {"chat": one.conversation.hex()}


def details(client: Client, chat: Chat) -> Record:
    """A conversation in full: its people, their rights, where its data rests."""
    view = chat.view()
    ids = {one.identity: one.id for one in client.contacts()}
    return view.as_json() | {
        "chat": view.gid.hex(),
        "is_direct": view.is_direct,
        "relay": view.relay,
        "outbound_why": view.outbound_why,
        "contacts": sorted(ids.values()),
        "wished": [ids[one] for one in chat.wished() if one in ids],
        "rejoinable": [one.as_json() for one in chat.rejoinable()],
    }


def status(client: Client) -> Record:
    """How the client stands, and what the cover in force costs."""
    found = client.status()
    return found.as_json() | {
        "cost": client.hopping.cover_cost().as_json(),
        "missing": [missing(one) for one in found.missing],
        "backups": client.backups.status().as_json(),
    }


def missing(one: Missing) -> Record:
    """The messages of somebody that have not arrived, with their place."""
    place = {"chat": one.gid.hex(), "who": one.identity.hex(), "upto": one.upto}
    return one.as_json() | place


def everything(client: Client) -> Record:
    """Everything outside conversations."""
    return {
        "status": status(client),
        "chats": [summary(one) for one in client.summaries()],
        **people(client),
    }


def people(client: Client) -> Record:
    """The contacts, and what waits for the person's answer."""
    return {
        "contacts": [contact(one) for one in client.contacts()],
        "offers": [one.as_json() for one in client.offers.all()],
        "adds": client.offers.adds,
        "visitors": [one.as_json() for one in client.visitors.all()],
        "knocks": client.visitors.knocks,
        "read_marks": client.read_marks.are_told,
    }


def code(text: str) -> list[str]:
    """A QR code: a string of 0 and 1 for each line, without the white border around it."""
    made = segno.make(text, error="l", micro=False)
    return ["".join("1" if dark else "0" for dark in line) for line in made.matrix]
