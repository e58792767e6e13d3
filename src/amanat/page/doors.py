"""The doors of the page: which requests to 127.0.0.1 are the person's own browser's.

Any program of this machine, and any web page that the person has open, can connect to a port of
loopback. A request is let in only if all of these hold:

- Host is ours, to the letter: a name that somebody has pointed at 127.0.0.1 is not.
- It was begun by the person or by the page itself (Sec-Fetch-Site), not by another page.
- It brings the cookie. The cookie is given once, for the token of a link that nobody else has seen
  and that works for a minute. Cookies know no ports (RFC 6265, section 8.5), so its path is random:
  another server of 127.0.0.1 is neither sent it nor able to plant one in its place.
- A socket is opened by the page itself (Origin).

The shell adds one more (`server`): the process at the other end is the same user's.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK_S = 60.0
"""How long a link works, in seconds: a browser opens it at once."""
SECRET_BYTES = 24
"""Bytes of a token, of the cookie and of the path."""
MAX_LINKS = 16
"""Links that may be open at once."""
COOKIE = "amanat"
MEDIA = "media/"
"""Where files that somebody has sent are, below the page's path: a ticket names each."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing is loaded from elsewhere, no page frames ours, and no string becomes markup or code."""
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",
}
"""Of every answer: opened by itself, nothing runs in it. Some fifty of them are a first load."""
DOCUMENT_HEADERS = HEADERS | {
    "Content-Security-Policy": POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
}
"""Of the page, and of what a browser shows in its place."""


class Entrance(NamedTuple):
    """A link was opened: the browser gets the cookie and goes on to the page."""

    headers: dict[str, str]
    body: bytes


class File(NamedTuple):
    """A file of the page is wanted."""

    name: str


class Live(NamedTuple):
    """The page wants its socket."""


class Bringing(NamedTuple):
    """The page wants a socket over which it brings a file."""


class Media(NamedTuple):
    """The page wants a part of a file that somebody has sent."""

    ticket: str


class Refused(NamedTuple):
    """The request is not let in."""

    status: int


class Doors:
    """The doors of one process. Times are seconds of any clock that runs evenly."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self.origin = f"http://{self._host}"
        self.path = f"/{secrets.token_urlsafe(SECRET_BYTES)}/"
        self._cookie = secrets.token_urlsafe(SECRET_BYTES)
        self._links: dict[str, float] = {}
        """Until when each token works."""

    def link(self, *, now: float) -> str:
        """A link for the person's browser. It works once, within LINK_S."""
        self._links = {one: until for one, until in self._links.items() if until > now}
        while len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        token = secrets.token_urlsafe(SECRET_BYTES)
        self._links[token] = now + LINK_S
        return f"{self.origin}/?{token}"

    def knock(
        self, method: str, target: str, headers: Mapping[str, str], *, now: float
    ) -> Entrance | File | Live | Bringing | Media | Refused:
        """Decide where a request is let in, or refuse it."""
        if headers.get("Host") != self._host:
            return Refused(421)
        if method != "GET":
            return Refused(405)
        path, _, query = target.partition("?")
        if path == "/":
            return self._enter(query, now)
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return Refused(403)
        if not self._has_cookie(headers.get("Cookie", "")) or not path.startswith(self.path):
            return Refused(403)
        name = path.removeprefix(self.path)
        if name.startswith(MEDIA):
            return Media(name.removeprefix(MEDIA))
        if name not in ("live", "bring"):
            return File(name or "index.html")
        if headers.get("Origin") != self.origin:
            return Refused(403)
        return Live() if name == "live" else Bringing()

    def _enter(self, token: str, now: float) -> Entrance | Refused:
        found = None
        for one in self._links:  # all of them, whichever it is: the time says nothing
            if hmac.compare_digest(one.encode(), token.encode()):
                found = one
        if found is None or self._links.pop(found) <= now:
            return Refused(403)
        # A page and no redirect: where the way here began in a file, a Strict cookie does not come
        # along on a redirect.
        return Entrance(
            DOCUMENT_HEADERS
            | {
                "Refresh": f"0; url={self.path}",
                "Set-Cookie": f"{COOKIE}={self._cookie}; HttpOnly; SameSite=Strict;"
                f" Path={self.path}",
            },
            # Without it a browser asks for an icon at the root, and is refused.
            f'<!doctype html><link rel="icon" href="{self.path}icon.svg">'.encode(),
        )

    def _has_cookie(self, header: str) -> bool:
        # Anything that a server of another port has planted may stand beside ours, even under our
        # name: it must not shut the person out.
        given = (one.strip().partition("=") for one in header.split(";"))
        return any(
            hmac.compare_digest(value.encode(errors="replace"), self._cookie.encode())
            for name, _, value in given
            if name == COOKIE
        )
