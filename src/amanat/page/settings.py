"""The settings of the page: how it speaks and looks. They rest in the vault, as no browser may.

The page alone gives them a meaning, but for one: after how long the profile is locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client

_KEY = "page"
MINUTE_S = 60.0


def kept(client: Client) -> dict[str, str]:
    """The settings that were kept last."""
    value = client.together().kept(_KEY)
    return {} if value is None else msgspec.json.decode(value, type=dict[str, str])


def keep(client: Client, values: dict[str, str]) -> dict[str, str]:
    """Keep settings in place of the earlier ones; returns them."""
    doing = client.together()
    doing.keep(_KEY, msgspec.json.encode(values))
    doing.carry_out()
    return values


def idle_s(client: Client) -> float | None:
    """After how many seconds in which nothing is done the profile is locked; None: never."""
    minutes = kept(client).get("idle", "")
    is_set = minutes.isascii() and minutes.isdigit() and int(minutes) > 0
    return int(minutes) * MINUTE_S if is_set else None
