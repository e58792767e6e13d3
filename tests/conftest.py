"""Fixtures of the client's tests. A test that is a coroutine runs in its world's own time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlcipher3

from amanat.client.api import Client
from world import Connection, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty world; clients made in it live by its clock, its network and its fuses."""
    created = World(tmp_path)
    monkeypatch.setattr(Client, "_now", staticmethod(created.now))
    for module in ("api", "routes"):
        monkeypatch.setattr(f"amanat.client.{module}.connect", created.network.connect)
    connect = functools.partial(sqlcipher3.connect, factory=Connection)
    monkeypatch.setattr(sqlcipher3, "connect", connect)
    yield created
    created.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in the loop of the world it asked for."""
    found = pyfuncitem.funcargs.get("world")
    if not isinstance(found, World) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    found.loop.run_until_complete(
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    )
    return True
