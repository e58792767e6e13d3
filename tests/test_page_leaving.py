"""Somebody leaves for another home and sees on the page how far the news of it has come."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from amanat import Client
from pages import UNLOCK, browser, faults_in_both_themes, in_a_loop, page_of, until
from relays import RelayProcess
from ups import Window

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.long]


async def begins(root: Path, name: str, relay: RelayProcess) -> Client:
    return await Client.create(root / name, UNLOCK, name=name, relay=str(relay.address))


async def shows(window: Window, key: str, **gaps: int) -> None:
    """Wait until a sentence with these numbers is shown."""
    sentence = await window.word(key)
    for gap, number in gaps.items():
        sentence = sentence.replace(f"{{{gap}}}", await window.number(number))
    await window.tab.get_by_text(sentence, exact=True).wait_for()


async def talk(alice: Client, friend: Client) -> None:
    """Let a friend hear where Alice is, and answer: the answer comes to her new home."""
    name = friend.status().name
    alice.contact(name).send("can you hear me?")
    await until(friend, lambda: bool(friend.chat("alice").messages()))
    friend.contact("alice").send("I can")
    await until(alice, lambda: name not in alice.status().unaware)


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_an_exit_goes_on_without_the_tab_and_shows_who_knows_and_what_waits(
    tmp_path: Path, language: str
) -> None:
    with (
        RelayProcess(tmp_path / "relay") as relay,
        RelayProcess(tmp_path / "other", region="NL") as other,
    ):
        async with (
            await begins(tmp_path, "alice", relay) as alice,
            await begins(tmp_path, "babak", relay) as babak,
            page_of(alice) as server,
            browser(language) as context,
        ):
            async with await begins(tmp_path, "carol", relay) as carol:
                for one in (babak, carol):
                    one.accept(alice.invite())
                    # A client calls a relay on this machine only if its person has named it.
                    await one.home.set_place(str(other.address))
                await until(alice, lambda: len(alice.contacts()) == 2)
                await until(carol, lambda: len(carol.contacts()) == 1)
                await until(babak, lambda: len(babak.contacts()) == 1)

            first = await Window.of(context, server)
            await first.tab.locator(".me").click()
            assert await first.tab.get_by_role("progressbar").count() == 0
            await first.press("exit")
            await first.tab.get_by_label(await first.word("relayAddress")).fill(str(other.address))
            other.signal(signal.SIGSTOP)
            await first.press("exit", "exit")
            await first.tab.get_by_role("progressbar").wait_for()
            await shows(first, "exitGoing")
            await shows(first, "goesOn")
            assert await faults_in_both_themes(first.tab) == []
            assert alice.status().region == "DE"
            assert first.console == []
            await first.tab.close()
            other.signal(signal.SIGCONT)
            await until(alice, lambda: alice.status().region == "NL")

            alice.contact("carol").send("I live elsewhere now")
            await talk(alice, babak)
            page = await Window.of(context, server)
            await page.tab.locator(".me").click()
            await shows(page, "knowing", n=1, m=2)
            await shows(page, "goesOn")
            bar = page.tab.get_by_role("progressbar")
            assert await bar.evaluate("(one) => [one.value, one.max]") == [1, 2]
            await page.tab.get_by_text(await page.word("unawareOne")).click()
            await page.tab.locator("dialog details bdi", has_text="carol").wait_for()
            assert await faults_in_both_themes(page.tab) == []

            relay.signal(signal.SIGSTOP)
            for number in range(3):
                alice.contact("babak").send(f"it waits {number}")
            await shows(page, "outboxOther", n=alice.status().outbox)
            relay.signal(signal.SIGCONT)
            async with Client.open(tmp_path / "carol", UNLOCK) as carol:
                await talk(alice, carol)
                await bar.wait_for(state="detached")
                assert alice.status().unaware == []
                await until(babak, lambda: babak.chat("alice").count() == 5)
            assert page.console == []
