"""Debian's ejabberd in a directory of its own, and a client's connection to it.

It listens on loopback only, and talks to no other server.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import re
import ssl
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HOST = "localhost"
LOGIN_S = 30.0
"""Longest time that a server may take to answer a step, in seconds."""
STANZA_BYTES = 262_144
"""Longest stanza, as Debian sets it."""
BARE = ("ping", "roster")
"""The modules that are needed to write to anybody."""
DEBIAN = (
    *BARE, "adhoc", "admin_extra", "announce", "avatar", "blocking", "bosh", "caps",
    "carboncopy", "client_state", "configure", "disco", "fail2ban", "http_api", "last", "mqtt",
    "muc", "muc_admin", "pres_counter", "privacy", "private", "pubsub", "push", "push_keepalive",
    "s2s_dialback", "shared_roster", "sic", "stream_mgmt", "stun_disco", "vcard", "vcard_xupdate",
    "version",
)  # fmt: skip
"""The modules that Debian enables."""
FEATURES = re.compile(rb"</stream:features>")
RESULT = re.compile(rb"<iq [^>]*type=['\"](?:result|error)['\"]")
_BOUND = re.compile(rb"<jid>")
_SUCCESS = re.compile(rb"<success")
_PRESENT = re.compile(rb"<presence")


def prepare(
    root: Path, port: int, *, tls: bool, modules: Mapping[str, object], more: Mapping[str, object]
) -> tuple[list[str], dict[str, str]]:
    """(command, environment) of an ejabberd that keeps everything in a directory.

    Everybody may register, and neither rates nor users are limited. `modules` maps modules to their
    options, and `more` are further settings.
    """
    settings: dict[str, Any] = {
        "hosts": [HOST],
        "log_rotate_count": 0,
        "registration_timeout": "infinity",
        "listen": [
            {
                "port": port,
                "ip": "127.0.0.1",
                "module": "ejabberd_c2s",
                "max_stanza_size": STANZA_BYTES,
                "tls": tls,
            }
        ],
        "s2s_access": "none",
        "access_rules": {"c2s": {"allow": "all"}},
        "shaper_rules": {"max_user_sessions": "infinity", "max_user_offline_messages": "infinity"},
        "modules": {
            "mod_offline": {"access_max_user_messages": "max_user_offline_messages"},
            "mod_register": {"ip_access": "all"},
            **{f"mod_{name}": options for name, options in modules.items()},
        },
        **more,
    }
    # JSON is YAML.
    (root / "ejabberd.yml").write_text(json.dumps(settings, indent=1))
    # Without a node name there is no Erlang port mapper, which would outlive us.
    command = [
        "erl", "-noinput", "+K", "true", "+P", "250000",
        "-mnesia", "dir", json.dumps(str(root / "mnesia")),
        "-s", "ejabberd",
    ]  # fmt: skip
    return command, os.environ | {
        "EJABBERD_CONFIG_PATH": str(root / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(root / "ejabberd.log"),
        "ERL_CRASH_DUMP_BYTES": "0",
        "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
        "ERL_MAX_PORTS": "32000",
        "HOME": str(root),
    }


class Line(asyncio.Protocol):
    """A connection, which keeps the server's words for `expect` until somebody takes them."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.kept = b""
        self.take: Callable[[bytes], None] = self._keep
        self._came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self.take(data)

    def _keep(self, data: bytes) -> None:
        self.kept += data
        self._came.set()

    async def expect(self, pattern: re.Pattern[bytes]) -> bytes:
        """Wait for a pattern; everything up to its end, which the connection then forgets."""
        async with asyncio.timeout(LOGIN_S):
            while (match := pattern.search(self.kept)) is None:
                self._came.clear()
                await self._came.wait()
        taken, self.kept = self.kept[: match.end()], self.kept[match.end() :]
        return taken

    async def ask(self, request: str, pattern: re.Pattern[bytes]) -> bytes:
        """Send something and wait for a pattern."""
        self.transport.write(request.encode())
        return await self.expect(pattern)

    def give_to(self, taker: Callable[[bytes], None]) -> None:
        """From now on, hand over everything that comes."""
        kept, self.kept, self.take = self.kept, b"", taker
        if kept:
            taker(kept)


async def connect(port: int, *, tls: bool, source: str = "127.0.0.1") -> Line:
    """A connection to a port of loopback, from an address of loopback."""
    _, line = await asyncio.get_running_loop().create_connection(
        Line, "127.0.0.1", port, ssl=client_tls() if tls else None, local_addr=(source, 0)
    )
    return line


@functools.cache
def client_tls() -> ssl.SSLContext:
    """TLS settings of a client that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def log_in(line: Line, user: str, password: str, *, resource: str, present: bool) -> None:
    """Log a user in on the connection, after registering them if necessary."""
    stream = (
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{HOST}' version='1.0'>"
    )
    await line.ask(stream, FEATURES)
    await line.ask(
        "<iq type='set' id='register'><query xmlns='jabber:iq:register'>"
        f"<username>{user}</username><password>{password}</password></query></iq>",
        RESULT,
    )
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    await line.ask(
        f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>",
        _SUCCESS,
    )
    await line.ask(stream, FEATURES)
    await line.ask(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        f"<resource>{resource}</resource></bind></iq>",
        _BOUND,
    )
    if present:
        await line.ask("<presence/>", _PRESENT)
