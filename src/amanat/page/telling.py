"""How the client tells the page something: the bytes of frames, in JSON."""

from __future__ import annotations

import msgspec


def answer(number: int, value: object) -> bytes:
    """The answer to an ask."""
    return msgspec.json.encode({"id": number, "ok": value})


def refusal(number: int, code: str, detail: str = "") -> bytes:
    """The answer to an ask that could not be done: the code of an error, for which the page has the
    words, and what it is about."""
    return msgspec.json.encode({"id": number, "error": code, "detail": detail})


def told(what: str, **facts: object) -> bytes:
    """A fact for the page."""
    return msgspec.json.encode({"on": what, **facts})
