"""Homes, second relays, hops and cover, set on the page in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from amanat.config import HopConfig
from amanat.drill.process import free_port
from pages import in_a_loop, page_of_alice, relay, sheet, until
from relays import RelayProcess

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Locator, Page

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
ADDRESS = "Address of the relay"


def part(tab: Page, heading: str) -> Locator:
    """A part of the sheet, by its heading."""
    return tab.locator("dialog section", has=tab.get_by_role("heading", name=heading, exact=True))


def second(root: Path, relay: RelayProcess) -> RelayProcess:
    """A relay of another operator, which passes requests on to the first."""
    hop = HopConfig(serve="listed", relays=(str(relay.address),))
    return RelayProcess(root / "second", name="Hut e.V.", hop=hop, port=free_port())


@in_a_loop
async def test_a_second_relay_is_added_receives_while_the_home_is_away_and_is_done_without(
    tmp_path: Path, relay: RelayProcess
) -> None:
    with second(tmp_path, relay) as other:
        async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
            # A client calls a relay on this machine only if its person has named it.
            await maryam.home.set_place(str(other.address))
            await tab.locator(".me").click()
            shown = part(tab, "Second relay")
            await shown.get_by_text("You have none.").wait_for()
            await sheet(tab, "Add a second relay")
            await tab.get_by_label(ADDRESS).fill("amanat://nowhere")
            await sheet(tab, "Use this relay")
            await tab.get_by_role("alert").get_by_text("not a whole relay address").wait_for()
            await tab.get_by_label(ADDRESS).fill(str(other.address))
            await sheet(tab, "Use this relay")
            await shown.get_by_text("you are reached at Hut e.V. in Germany").wait_for()
            assert alice.status().fallback == str(other.address)
            alice.contact("مریم").send("I have two homes now")  # which tells where they are
            await until(maryam, lambda: maryam.chat("alice").count() == 1)
            relay.kill()
            maryam.contact("alice").send("are you there?")
            await tab.keyboard.press("Escape")
            await tab.locator("chat-list a", has_text="are you there?").wait_for(timeout=60_000)
            await tab.locator(".me").click()
            await part(tab, "Your home").get_by_text("cannot be reached just now").wait_for()
            await shown.get_by_text("Your client reaches it.").wait_for()
            relay.start()
            await sheet(tab, "Do without it", "Do without it")
            await shown.get_by_text("You have none.").wait_for()
            assert alice.status().fallback == ""


@in_a_loop
async def test_a_person_hides_from_the_relay_who_asks_and_when_they_write(
    tmp_path: Path, relay: RelayProcess
) -> None:
    with second(tmp_path, relay) as other:
        async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
            await tab.locator(".me").click()
            ways, cover = part(tab, "Who sees that it is you"), part(tab, "Hide when you write")
            await ways.get_by_text("Your relay sees your network address").wait_for()
            await ways.get_by_text("you need a second relay of another operator").wait_for()
            await cover.get_by_role("combobox").select_option("60")
            await tab.get_by_role("alert").get_by_text("you need a second relay").wait_for()
            await cover.get_by_text("This takes about").wait_for(state="detached")

            await sheet(tab, "Use a certain relay in between")
            await tab.get_by_label(ADDRESS).fill(str(relay.address))
            await sheet(tab, "Set")
            await tab.get_by_role("alert").get_by_text("does not pass requests on").wait_for()
            await tab.get_by_label(ADDRESS).fill(str(other.address))
            await sheet(tab, "Set")
            await ways.get_by_text("another relay hands it over").wait_for()
            port = other.address.places[0].port
            await ways.get_by_text(f"The relay in between: 127.0.0.1:{port}").wait_for()
            assert alice.status().transport == "hopped"

            await cover.get_by_role("combobox").select_option("30")
            await cover.get_by_text("This takes about").wait_for()
            await ways.get_by_text("Something leaves at an even pace").wait_for()
            assert (alice.status().transport, alice.status().period) == ("covered", 30)
            await cover.get_by_role("combobox").select_option("0")
            await ways.get_by_text("another relay hands it over").wait_for()

            await sheet(tab, "Ask relays directly", "Ask relays directly")
            await ways.get_by_text("You have switched this off").wait_for()
            assert alice.status().transport == "direct"
            await sheet(tab, "Hide it if possible")
            await ways.get_by_text("you need a second relay of another operator").wait_for()
            await sheet(tab, "Add a second relay")
            await tab.get_by_label(ADDRESS).fill(str(other.address))
            await sheet(tab, "Use this relay")
            await ways.get_by_text("another relay hands it over").wait_for()
            maryam.contact("alice").send("I see you, and nobody else does")
            await tab.keyboard.press("Escape")
            await tab.locator("chat-list a", has_text="I see you").wait_for()
