"""Amanat: a messenger whose relay may be put anywhere and still betrays no one.

    from amanat import Client, Unlock

This module names everything that programs use (docs/sdk.md) and loads each name when it is first
used, so a relay or a command that needs no client loads none. Type checkers read `__init__.pyi`.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"
__all__ = [
    "Chat",
    "Client",
    "Contact",
    "Event",
    "Message",
    "Unlock",
    "opens_with",
    "restore",
    "wipe",
]

_HOMES = {
    "Chat": "amanat.client.sdk.chat",
    "Client": "amanat.client.sdk.client",
    "Contact": "amanat.client.sdk.views",
    "Event": "amanat.client.events",
    "Message": "amanat.client.sdk.views",
    "Unlock": "amanat.client.vault",
    "opens_with": "amanat.client.vault",
    "restore": "amanat.client.sdk.backups",
    "wipe": "amanat.client.wiping",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
