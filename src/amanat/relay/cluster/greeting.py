"""The first words of each node: its version, its cluster and its limits, or the reason why it does
not let us in.

Rules: with TLS, nothing is said to a node before its certificate has been checked. A client that
lets the node ask for TLS would tell its password to anybody who does not ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import nats.errors
from nats.aio.client import Client

from amanat.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

GREET_S = 5
"""Longest that a node may take to let us in, in seconds."""
HANG_UP_S = 1.0
"""Longest that a node may take to hang up, in seconds."""
LEAST_VERSION = (2, 12, 3)
"""The first version that has what the store stands on. Batches that are stored whole or not at all
came with 2.12.0, and earlier versions take their messages one by one without a word. Up to 2.12.2
a change of the nodes could lose acknowledged messages."""
LEAST_PAYLOAD = 1024 * 1024
"""Least size of a message that nodes must take, in bytes, which is what they take if nobody has set
it: a message may hold as many cells as that."""


class Greeting(NamedTuple):
    """The first words of a node that lets us in."""

    server: str
    """The address by which we know it."""
    node: str
    version: str
    cluster: str
    domain: str
    max_payload: int


class Refusal(NamedTuple):
    """A node that does not let us in."""

    server: str
    why: str
    is_login: bool = False
    """Whether it knows us and refuses the login."""


def greet(servers: Sequence[str], **options: Any) -> list[Greeting | Refusal]:  # noqa: ANN401
    """Ask all nodes at once. `options` are nats.connect's."""
    found: list[Greeting | Refusal] = []

    async def ask() -> None:
        found.extend(await asyncio.gather(*(_greet(server, options) for server in servers)))

    # A thread of its own, because the caller's may be that of a loop.
    thread = threading.Thread(target=lambda: asyncio.run(ask()), name="greeting")
    thread.start()
    thread.join()
    return found


async def _greet(server: str, options: dict[str, Any]) -> Greeting | Refusal:
    errors: list[Exception] = []

    async def hear(error: Exception) -> None:
        errors.append(error)

    client = Client()
    try:
        async with asyncio.timeout(GREET_S):
            await client.connect(
                server,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=GREET_S,
                error_cb=hear,
                **options,
            )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        return _refusal(server, errors[0] if errors else error, is_tls="tls" in options)
    else:
        said = client._server_info  # noqa: SLF001  # it has no other name for it
    finally:
        await _hang_up(client)
    return Greeting(
        server,
        str(said.get("server_name", "")),
        str(said.get("version", "")),
        str(said.get("cluster", "")),
        str(said.get("domain", "")),
        int(said.get("max_payload", 0)),
    )


async def _hang_up(client: Client) -> None:
    """Close a connection. The client itself closes none that was refused, and may wait for ever for
    one that has come to nothing."""
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        async with asyncio.timeout(HANG_UP_S):
            if client.is_connected:
                await client.close()
    transport: Any = client._transport  # noqa: SLF001
    if transport is not None:
        transport.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(HANG_UP_S):
                await transport.wait_closed()


def _refusal(server: str, error: Exception, *, is_tls: bool) -> Refusal:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refusal(server, f"its certificate is not right: {error.verify_message}")
    if "authorization" in str(error).lower():
        return Refusal(server, "it refuses the login", is_login=True)
    if isinstance(error, ConnectionRefusedError):
        return Refusal(server, "nobody listens there")
    if is_tls and isinstance(error, OSError):  # as are time-outs, and all faults of TLS
        return Refusal(server, "it does not begin with TLS 1.3 (handshake_first: true)")
    if isinstance(error, TimeoutError):
        return Refusal(server, f"it does not answer within {GREET_S} seconds")
    return Refusal(server, str(error) or type(error).__name__)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, (0,) if it has none."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else (0,)


def admit(servers: Sequence[str], region: str, **options: Any) -> None:  # noqa: ANN401
    """Look whether the nodes of a region let us in. Raises BadSetting if none does, or if one is of
    another region or too old."""
    found = greet(servers, **options)
    greetings = [one for one in found if isinstance(one, Greeting)]
    if not greetings:
        refusals = [one for one in found if isinstance(one, Refusal)]
        if any(one.is_login for one in refusals):
            raise BadSetting("the cluster refuses the relay's login (cluster.login)")
        told = "; ".join(f"{one.server}: {one.why}" for one in refusals)
        raise BadSetting(f"no node of the cluster lets us in: {told}")
    for one in greetings:
        for kind, named in (("cluster", one.cluster), ("JetStream domain", one.domain)):
            if named != region:
                raise BadSetting(
                    f"node {one.node} is of {kind} {named!r}, and the relay of region {region!r}"
                )
        if version_of(one.version) < LEAST_VERSION:
            raise BadSetting(
                f"node {one.node} runs version {one.version} of nats-server, which is too old:"
                f" take {'.'.join(map(str, LEAST_VERSION))} or later"
            )
        if one.max_payload < LEAST_PAYLOAD:
            raise BadSetting(
                f"node {one.node} takes messages of {one.max_payload} bytes at most (max_payload):"
                f" set {LEAST_PAYLOAD}"
            )
