"""When a profile is locked that nobody looks at."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from amanat import Unlock
from amanat.page import house, protocol, settings
from amanat.page.alone import Alone
from amanat.page.house import House
from pages import in_a_loop, opened, page_of, relay, shown_to, two_friends, until

if TYPE_CHECKING:
    from pathlib import Path

    from amanat.drill.world import World
    from relays import RelayProcess


__all__ = ["relay"]  # a fixture


def test_the_time_counts_from_the_last_tab_that_closed() -> None:
    alone = Alone(now=0)
    alone.tabs(1, now=10)
    assert not alone.is_due(300, now=10_000)  # a tab locks it by itself
    alone.tabs(2, now=20)
    alone.tabs(1, now=30)
    assert not alone.is_due(300, now=10_000)
    alone.tabs(0, now=100)
    alone.tabs(0, now=200)  # told twice, it is still since then
    assert not alone.is_due(300, now=399)
    assert alone.is_due(300, now=400)
    alone.tabs(1, now=401)
    assert not alone.is_due(300, now=402)


def test_it_is_never_locked_unless_the_person_has_set_a_time() -> None:
    assert not Alone(now=0).is_due(None, now=10**9)


@pytest.mark.parametrize(
    ("kept", "idle_s"), [("5", 300.0), ("0", None), ("", None), ("-1", None), ("soon", None)]
)
async def test_only_a_number_of_minutes_is_a_time(
    world: World, kept: str, idle_s: float | None
) -> None:
    alice, _ = await world.friends("alice", "bob")
    settings.keep(alice.client, {"idle": kept})
    assert settings.idle_s(alice.client) == idle_s


def test_a_profile_that_no_tab_opened_has_its_time_from_then_on() -> None:
    alone = Alone(now=0)
    alone.begin(now=1000)
    assert not alone.is_due(300, now=1299)
    assert alone.is_due(300, now=1300)


@pytest.mark.e2e
@in_a_loop
async def test_the_profile_is_locked_after_the_last_tab_and_not_while_one_is_open(
    tmp_path: Path, relay: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "LOOK_S", 0.02)
    monkeypatch.setattr(settings, "MINUTE_S", 0.0)
    async with shown_to(tmp_path, relay) as (alice, maryam, server, context):
        tab, console = await opened(context, server)
        settings.keep(alice, {"idle": "5"})
        maryam.contact("alice").send("hello")
        await tab.locator("chat-list p", has_text="hello").wait_for()
        ask = protocol.Begin(id=1)
        assert json.loads(await server._house.attend(ask))["ok"]["state"] == "open"
        assert console == []
        await tab.close()
        async with asyncio.timeout(30):
            while json.loads(await server._house.attend(ask))["ok"]["state"] == "open":  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.02)
        assert server._house._attendant is None


@pytest.mark.e2e
@in_a_loop
async def test_without_a_time_the_client_goes_on_receiving_with_no_tab(
    tmp_path: Path, relay: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "LOOK_S", 0.0)
    async with (
        two_friends(tmp_path, relay) as (alice, maryam),
        page_of(alice) as server,
    ):
        maryam.contact("alice").send("hello")
        await until(alice, lambda: alice.chat("مریم").count() == 1)
        assert server._house._attendant is not None


@pytest.mark.e2e
@in_a_loop
async def test_a_profile_that_locks_itself_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "nobody would guess this"  # noqa: S105  # of nobody
    monkeypatch.setattr(house, "LOOK_S", 0.02)
    monkeypatch.setattr(settings, "MINUTE_S", 0.0)
    home = House(tmp_path / "alice")
    await home.create(protocol.Create(id=1, name="alice", passphrase=secret))
    settings.keep(home._present().client, {"idle": "5"})
    async with asyncio.timeout(30):
        while home._attendant is not None:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.02)
    assert home._locking is not None
    await home._locking
    home.tabs(1)
    await home.open(Unlock(passphrase=secret))
    assert home._attendant is not None
    await home.close()
