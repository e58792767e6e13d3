"""Does what the page asks about where a person's data rests and how requests go there."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from amanat.errors import BadArgument
from amanat.page import protocol, records
from amanat.protocol.descriptor import unb64

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client


async def dwell(client: Client, ask: protocol.HomeAsk) -> object:  # a table
    """Do it; the status that came of it. Raises the errors of the SDK's calls."""
    match ask:
        case protocol.Status():
            pass
        case protocol.Exit():
            await client.home.exit(ask.relay, access(ask.access))
        case protocol.Fallback():
            await client.home.set_fallback(ask.relay, access(ask.access))
        case protocol.Place():
            await client.home.set_place(ask.relay)
        case protocol.Regions():
            client.home.set_allowed_regions(ask.regions)
        case protocol.Strict():
            client.home.set_strict(is_strict=ask.is_strict)
        case protocol.Outbound():
            client.home.set_outbound(ask.policy)
        case protocol.Hop():
            await client.hopping.set_hop(ask.hop)
        case protocol.Cover():
            await client.hopping.set_cover(ask.period_s)
        case protocol.Proxy():
            await client.hopping.set_proxy(ask.proxy.strip(), ask.login)
        case protocol.ClearWarnings():
            client.clear_warnings()
        case protocol.Health():
            return {"damage": client.check_vault()}
        case _:
            assert_never(ask)
    return {"status": records.status(client)}


def access(code: str) -> bytes:
    """A relay's access code as the person typed it; empty if there is none. Raises BadArgument."""
    try:
        return unb64(code.strip())
    except ValueError:
        raise BadArgument("the access code is not whole") from None
