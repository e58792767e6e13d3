"""Others do nothing to the page, by pages of theirs in the same browser, or by names and texts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from amanat import Client
from pages import UNLOCK, browser, in_a_loop, opened, page_of, relay, show_sheet, two_friends, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
ATTACK = """
async ([origin, path]) => {
    const got = {};
    const fetched = async (name, address, how) => {
        try {
            const answer = await fetch(address, how);
            got[name] = answer.type === "opaque" ? "opaque" : await answer.text();
        } catch { got[name] = "refused"; }
    };
    const page = origin + path;
    await fetched("page", page, { credentials: "include" });
    await fetched("module", `${page}main.js`, { credentials: "include" });
    await fetched("blind", page, { credentials: "include", mode: "no-cors" });
    await fetched("root", `${origin}/?guess`, { credentials: "include" });
    await fetched("post", `${page}live`, { method: "POST", credentials: "include", body: "{}" });
    const called = (name, address, asks) => new Promise((done) => {
        const line = new WebSocket(address);
        line.onopen = () => line.send('{"do": "begin", "id": 1}');
        line.onmessage = ({ data }) => done(got[name] = data);
        line.onclose = () => done(got[name] ??= "refused");
    });
    await called("socket", `${page}live`.replace("http", "ws"));
    await called("other name", `${page}live`.replace("http://127.0.0.1", "ws://localhost"));
    await new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.src = page;
        frame.onload = () => {
            try { got.frame = frame.contentDocument?.body.textContent ?? "refused"; }
            catch { got.frame = "refused"; }
            done();
        };
        document.body.append(frame);
    });
    const loaded = (name, tag, more) => new Promise((done) => {
        const one = Object.assign(document.createElement(tag), more);
        one.onload = () => done(got[name] = "loaded");
        one.onerror = () => done(got[name] = "refused");
        document.head.append(one);
    });
    await loaded("script", "script", { src: `${page}words.js`, type: "module" });
    await loaded("classic", "script", { src: `${page}words.js` });
    await loaded("style", "link", { href: `${page}style.css`, rel: "stylesheet" });
    await loaded("image", "img", { src: `${page}icon.svg` });
    document.cookie = "amanat=planted; path=/";
    document.cookie = `amanat=planted; path=${path}`;
    return got;
}
"""
"""All that a page which even knows the path of ours can try; gives what it got of each."""
FORM = """
([page, method]) => {
    const form = document.createElement("form");
    Object.assign(form, { action: page, method, target: "theirs" });
    document.body.append(form);
    form.submit();
}
"""


class Stranger:
    """A web server on another port, and the requests that it got."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            self.heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
                b'<!doctype html><link rel="icon" href="data:,"><body>mine</body>'
            )
        writer.close()


@contextlib.asynccontextmanager
async def stranger() -> AsyncIterator[tuple[str, Stranger]]:
    """The origin of a web server of somebody else on this machine."""
    one = Stranger()
    async with await asyncio.start_server(one.answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", one


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_page_of_another_port_reads_nothing_and_does_nothing(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with (
        two_friends(tmp_path, relay) as (alice, maryam),
        page_of(alice) as server,
        stranger() as (theirs, heard),
        browser(language) as context,
    ):
        alice.chat("مریم").send("a secret")
        tab, console = await opened(context, server)
        await tab.locator("chat-list a").click()
        await tab.get_by_role("log").get_by_text("a secret").wait_for()
        page = server._doors.origin + server._doors.path  # more than any stranger knows
        evil = await context.new_page()
        await evil.goto(theirs)
        got = await evil.evaluate(ATTACK, [server._doors.origin, server._doors.path])
        assert set(got.pop("blind")) <= set("opaque refused")
        assert got == dict.fromkeys(got, "refused")
        assert len(got) == 11
        assert len(server._tabs) == 1

        async with context.expect_page() as opening:
            await evil.evaluate("(page) => { globalThis.one = window.open(page); }", page)
        window = await opening.value
        await window.wait_for_load_state()
        assert await window.locator("chat-list a").count() == 0
        assert await evil.evaluate("one.closed")  # it has lost hold of it
        for method in ("GET", "POST"):
            async with context.expect_page() as opening:
                await evil.evaluate(FORM, [f"{page}live", method])
            sent = await opening.value
            await sent.wait_for_load_state()
            assert "a secret" not in await sent.content()
            await sent.close()
        await window.close()
        assert len(server._tabs) == 1
        assert "amanat=" not in "".join(heard.heard)

        # The cookies that it planted do not shut out the person either.
        await tab.reload()
        await tab.locator("[data-usable]").wait_for()
        await tab.locator("chat-list a").click()
        await tab.fill("main textarea", "still here")
        await tab.keyboard.press("Enter")
        await until(maryam, lambda: maryam.chat("alice").count() == 2)
        assert [one.text for one in alice.chat("مریم").messages()] == ["a secret", "still here"]
        assert console == []


MARKUP = '<img src=x onerror=alert(1)>"</bdi>'
TEXTS = (
    f"{MARKUP}<script>alert(2)</script>",
    "\u202egpj.exe \u2066\u2067\u2068 never closed",
    "W" * 4_000,
    "ي" * 4_000,
    "Z\u0335\u0321\u0353" * 400,
    "\n" * 100 + "far below",
    "[a](javascript:alert(3)) javascript:alert(3) data:text/html,<script>alert(3)</script>",
    "https://ex\u202eample.org/@127.0.0.1/\u2066",
    "\u200b\u2060\ufeff",
    "👨\u200d👩\u200d👧" * 100,
)


CUT = """
    () => [...document.querySelectorAll("chat-history, article p, dialog[open] .body, main h1")]
        .filter((one) => one.checkVisibility())
        .filter((one) => {
            const box = one.getBoundingClientRect();
            const isWide = one.scrollWidth > one.clientWidth + 1 && !one.matches("h1");
            return isWide || box.left < 0 || box.right > innerWidth;
        })
        .map((one) => `${one.localName}: ${one.textContent.slice(0, 40)}`)
"""
"""The shown things that do not fit their places; a title may be cut."""


async def is_whole(tab: Page, width: int) -> None:
    """Nothing of what is shown is markup of others, cut, or beside the window."""
    assert await tab.locator("img, iframe, object, embed, body script, [onerror]").count() == 0
    assert await tab.locator('a[href^="javascript:"], a[href^="data:"]').count() == 0
    assert await tab.evaluate("document.documentElement.scrollWidth") == width
    assert await tab.evaluate(CUT) == []


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_names_and_texts_of_others_are_never_markup_and_push_nothing_away(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    address = str(relay.address)
    async with (
        await Client.create(tmp_path / "a", UNLOCK, name="alice", relay=address) as alice,
        await Client.create(tmp_path / "m", UNLOCK, name=MARKUP, relay=address) as mallory,
        page_of(alice) as server,
        browser(language) as context,
    ):
        mallory.accept(alice.invite())
        await until(alice, lambda: bool(alice.contacts() and mallory.contacts()))
        group = mallory.create_group(f"{MARKUP} group", ["alice"])
        await until(alice, lambda: len(alice.conversations()) == 2)
        hers = next(one for one in alice.conversations() if one.is_direct)
        for chat in (mallory.contact("alice"), mallory.chat(group.gid)):
            for text in TEXTS:
                chat.send(text)
        await until(
            alice,
            lambda: all(alice.chat(one.gid).count() >= len(TEXTS) for one in alice.conversations()),
        )
        tab, console = await opened(context, server)
        asked = list[str]()
        context.on("request", lambda request: asked.append(request.url))
        tab.on("dialog", lambda dialog: asked.append(dialog.message))
        for width in (1200, 390):
            await tab.set_viewport_size({"width": width, "height": 844})
            for one in alice.conversations():
                if not await tab.locator("chat-list").is_visible():
                    await tab.locator("button.back").click()
                await tab.locator(f'chat-list a[href="#{one.gid.hex()}"]').click()
                for text in ("<script>alert(2)", "far below", "javascript:"):
                    bubble = tab.locator("article", has_text=text)
                    await bubble.scroll_into_view_if_needed()
                    await is_whole(tab, width)
                await bubble.first.click(button="right")
                await tab.locator("[role=menu]").wait_for()
                await is_whole(tab, width)
                await tab.keyboard.press("Escape")
                await tab.fill("main textarea", "@<img")
                await is_whole(tab, width)
                await tab.fill("main textarea", "")
                await show_sheet(tab, f"details.showDetails('{one.gid.hex()}')")
                await is_whole(tab, width)
                await tab.keyboard.press("Escape")
        assert hers.name == MARKUP
        assert [one for one in asked if not one.startswith(server._doors.origin)] == []
        assert console == []
