"""The page in Firefox ESR: one walk through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firefoxes import firefox
from pages import in_a_loop, page_of, relay, two_friends, until

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
LAST = "[...document.querySelectorAll('article p')].at(-1)?.textContent"


@in_a_loop
async def test_firefox_opens_a_conversation_sends_and_receives_without_a_complaint(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with (
        two_friends(tmp_path, relay) as (alice, maryam),
        page_of(alice) as server,
        firefox(tmp_path) as tab,
    ):
        for number in range(100):
            maryam.contact("alice").send(f"line {number}")
        chat = alice.chat("مریم")
        await until(alice, lambda: chat.count() == 100)
        chat.mark_read()
        await tab.go(server.link())
        await tab.holds("document.documentElement.dataset.usable === '1'")
        await tab.click("chat-list a")
        await tab.holds(f"{LAST} === 'line 99'")
        await tab.click("main textarea")  # without a window, there is no fine pointer
        await tab.type("سلام from Firefox\n")
        await tab.holds(f"{LAST} === 'سلام from Firefox'")
        await until(
            maryam,
            lambda: "سلام from Firefox" in [one.text for one in maryam.chat("alice").messages()],
        )
        maryam.contact("alice").send("<img src=x onerror=alert(1)>")
        await tab.holds(f"{LAST} === '<img src=x onerror=alert(1)>'")
        assert await tab.value("document.querySelectorAll('chat-history img').length") == 0
        await tab.value("document.querySelector('chat-history').focus()")
        await tab.type("\ue011")  # Home
        await tab.holds("document.querySelector('article p').textContent === 'line 0'")
        await tab.type("\ue010")  # End
        await tab.holds(f"{LAST} === '<img src=x onerror=alert(1)>'")
        await tab.click(".bar .round")
        await tab.holds("document.querySelector('[role=menu]')")
        await tab.click("[role=menu] button")
        await tab.holds("document.querySelector('dialog[open] .body button')")
        await tab.click("dialog[open] .body button:first-child")
        await tab.holds("document.querySelector('svg.code')")
        await tab.value("location.reload()")
        await tab.holds("document.documentElement.dataset.usable === '1'")
        assert tab.said == []
