"""Drawing a bucket of a relay, through another relay if that serves as a hop."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from amanat.client import profile
from amanat.client.holding import HOLD
from amanat.client.routes import AUTO, OFF, Proposed, Routes, inquire, meet
from amanat.client.rules.homes import NewHome
from amanat.errors import BadArgument, HopRefused, NoAccess
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor
from amanat.protocol.drops import derive_bucket

if TYPE_CHECKING:
    from amanat.client.routes import Where
    from amanat.client.surroundings import Surroundings
    from amanat.link import Link
    from amanat.protocol.descriptor import NamedAddress


async def draw_first(
    relay: NamedAddress,
    access: bytes,
    fallback: NamedAddress | None,
    fallback_access: bytes,
    around: Surroundings,
) -> list[NewHome]:
    """Draw a bucket of each relay, through the other one if it serves as a hop. Then neither relay
    sees who draws which bucket."""
    where = Proposed(relay, is_named=True, around=around)
    if fallback is None:
        return [await _draw_by(where, relay.key, access)]
    check_fallback(relay.key, fallback.key)
    where = Proposed(fallback, is_named=True, behind=where)
    home, _ = await draw(where, relay.key, access, fallback.key)
    second, _ = await draw(where, fallback.key, fallback_access, relay.key)
    return [home, second]


async def draw(
    where: Proposed, relay: bytes, access: bytes, beside: bytes, setting: bytes = AUTO
) -> tuple[NewHome, bool]:
    """Draw a bucket of a relay; returns it, and whether the person's other relay `beside` serves as
    a hop to it. The request goes through `beside` if that serves, or through the chosen hop if
    there is no `beside`."""
    if not beside:
        is_chosen = setting not in (AUTO, OFF, relay)
        return await _draw_by(where, relay, access, via=setting if is_chosen else OFF), False
    goes, is_hop = await serves(where, beside, relay), await serves(where, relay, beside)
    drawn = await _draw_by(where, relay, access, via=beside if goes else OFF, is_hop=is_hop)
    return drawn, goes


def check_fallback(relay: bytes, fallback: bytes) -> None:
    """Raises BadArgument if both are one relay."""
    if relay == fallback:
        raise BadArgument("the fallback is another relay than the home")


async def _draw_by(
    where: Proposed, relay: bytes, access: bytes, *, via: bytes = OFF, is_hop: bool = False
) -> NewHome:
    """Draw a bucket of a relay, through a hop if one is given."""
    routes = Routes((), via, where, clock=lambda: where.around.now() / 1000)
    try:
        way = await routes.to(relay)
        described = await way.request(wire.Describe(0, access), wire.Described)
        descriptor = open_descriptor(described.descriptor, relay)
        if not described.bucket_key:
            raise NoAccess
        # The person draws, not the relay: one that assigned buckets could surround a target.
        number = secrets.randbelow(descriptor.buckets)
        bucket = derive_bucket(described.bucket_key, number, region=descriptor.region)
        end = await way.request(
            wire.Read(0, bucket.drop_id, bucket.read_token, 2**53 - 1, 1, 0), wire.Cells
        )
    finally:
        routes.close()
    home = profile.NewHome(
        relay,
        descriptor.region,
        described.bucket_key,
        number,
        descriptor.operator,
        is_hop,
        descriptor.outbound == HOLD,
    )
    return NewHome(home, bucket, end, descriptor.address, where.named(relay))


async def serves(where: Where, hop: bytes, relay: bytes) -> bool:
    """Whether a relay serves as a hop to another. Raises RelayUnreachable, RelayKeyChanged or
    BrokenDescriptor."""
    link = await meet(where, hop)
    try:
        return await serves_over(where, link, relay)
    finally:
        link.close()


async def serves_over(where: Where, link: Link, relay: bytes) -> bool:
    """The same as `serves`, over a given link to the hop."""
    if link.is_around:
        return False  # it would hand requests on around the proxy
    try:
        await link.request(wire.Locate(0, relay, where.signed(relay)), wire.Located)
        return bool((await inquire(link, relay, where.where(relay))).sealing)
    except HopRefused:
        return False
