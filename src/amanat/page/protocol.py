"""The messages between the page and the client: JSON, strictly decoded.

The page *asks*, with a number, and is answered under that number. The client *tells*, unasked. It
tells facts and never changes: a whole message or a whole summary, by its key. So a fact told twice,
late, or after a gap does no harm, and a page that comes back asks again for what it shows.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from amanat.errors import MalformedFrame

MAX_ASK_BYTES = 64 * 1024
"""A text of the longest kind, and what stands around it."""
MAX_MESSAGES = 200
"""Most messages in an answer."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A whole number that JavaScript represents exactly."""
ChatKey = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,64}$")]
"""The gid of a conversation, in hex."""
MessageId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
PositionText = Annotated[str, msgspec.Meta(max_length=400)]
Many = Annotated[int, msgspec.Meta(ge=1, le=MAX_MESSAGES)]


class _Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="at"):
    """A place in a conversation."""


class Newest(_Where, frozen=True, tag="newest"):
    """Its end."""


class Unread(_Where, frozen=True, tag="unread"):
    """The first message that the person has not read."""


class Before(_Where, frozen=True, tag="before"):
    """The messages before a position."""

    position: PositionText


class After(_Where, frozen=True, tag="after"):
    """The messages after a position."""

    position: PositionText


class Around(_Where, frozen=True, tag="around"):
    """A message, with those on both sides of it."""

    message: MessageId


class Share(_Where, frozen=True, tag="share"):
    """As far into the conversation as the scroll bar was drawn: from 0 to 1."""

    of: Annotated[float, msgspec.Meta(ge=0, le=1)]


Where: TypeAlias = Newest | Unread | Before | After | Around | Share


class _Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do"):
    """Something that the page asks."""

    id: Number


class Begin(_Ask, frozen=True, tag="begin"):
    """Everything that stands outside conversations."""


class History(_Ask, frozen=True, tag="history"):
    """A part of a conversation."""

    chat: ChatKey
    where: Where
    many: Many = 30


class Send(_Ask, frozen=True, tag="send"):
    """Say a text."""

    chat: ChatKey
    text: str
    reply_to: MessageId | None = None


class Seen(_Ask, frozen=True, tag="seen"):
    """The messages that arrived up to a row were on the screen."""

    chat: ChatKey
    row: Number


class Draft(_Ask, frozen=True, tag="draft"):
    """Keep what is being written."""

    chat: ChatKey
    text: str
    reply_to: MessageId | None = None


Ask: TypeAlias = Begin | History | Send | Seen | Draft

_DECODER = msgspec.json.Decoder(Ask)


def decode_ask(data: bytes) -> Ask:
    """The ask of a page. Raises MalformedFrame."""
    if len(data) > MAX_ASK_BYTES:
        raise MalformedFrame
    try:
        ask: Ask = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedFrame from None
    return ask


def answer(number: int, value: object) -> bytes:
    """The answer to an ask."""
    return msgspec.json.encode({"id": number, "ok": value})


def refusal(number: int, code: str) -> bytes:
    """The answer to an ask that could not be done: the code of an error. The page has the words."""
    return msgspec.json.encode({"id": number, "error": code})


def told(what: str, **facts: object) -> bytes:
    """A fact for the page."""
    return msgspec.json.encode({"on": what, **facts})
