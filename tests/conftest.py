"""Fixtures of the client's tests. A test that is a coroutine runs in its world's own time."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from amanat.client import unlock_file
from amanat.drill.world import World
from clusters import Cluster
from figures import SOAK

# How long a case takes is the machine's business: speed lives in bench/.
settings.register_profile("amanat", deadline=None)
settings.load_profile("amanat")


@pytest.fixture(scope="session", autouse=True)
def cheap() -> Iterator[None]:
    """Profiles that a test makes in its own process are cheap to open with a passphrase, in any
    process: the vault keeps the cost."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(unlock_file, "ARGON2_MEMORY_KIB", 64)
        patched.setattr(unlock_file, "ARGON2_PASSES", 1)
        yield


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster without streams, as long as the test lasts."""
    yield running_cluster
    running_cluster.start_all()
    running_cluster.wipe()


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers of the cluster's engine, which start for the first test that asks."""
    nodes = Cluster(tmp_path_factory.mktemp("cluster"), region="DE")
    nodes.start()
    try:
        nodes.wait()
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty world; clients made in it use its clock, its network and its fuses."""
    created = World(tmp_path)
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give campaigns more time in a soak, unless they say how much."""
    for item in items if SOAK > 1 else []:
        if item.get_closest_marker("campaign") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(120 * SOAK))


def pytest_collection_finish() -> None:
    """Spare the collector all that tests and libraries are, and let it look less often: each saves
    a twentieth of the time that tests take."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
