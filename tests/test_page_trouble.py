"""When something goes wrong around a page, the person is told what to do, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from amanat import Client, Unlock, page
from amanat.client import schema
from amanat.client.vault import open_vault
from amanat.drill.process import free_port
from disks import small_disk, stuff
from pages import (
    SWITCHES,
    UNLOCK,
    browser,
    faults_in_both_themes,
    in_a_loop,
    opened,
    page_of,
    relay,
    shown_to,
    two_friends,
    until,
)
from relays import RelayProcess
from ups import RETURN_MS, SECRET, Window, two

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import BrowserContext

    from amanat.page.server import Server

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")


@contextlib.asynccontextmanager
async def doomed_browser(root: Path) -> AsyncIterator[tuple[BrowserContext, int]]:
    """A browser that somebody kills, and the group of its processes."""
    program = shutil.which("chromium")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        *(program, *SWITCHES, "--headless", "--remote-debugging-port=0"),
        f"--user-data-dir={root / 'doomed'}",
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60), async_playwright() as driver:
            while (found := LISTENING.search(await process.stderr.readline())) is None:
                pass
            chromium = await driver.chromium.connect_over_cdp(found[1].decode())
            yield chromium.contexts[0], process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@contextlib.asynccontextmanager
async def house_in(directory: Path) -> AsyncIterator[Server]:
    """The page of a directory, in which there may be a profile."""
    house = page.House(directory)
    async with page.serving(house, port=0) as server:
        yield server
        await house.close()


# Nothing is lost


@in_a_loop
async def test_a_draft_survives_a_killed_browser_and_a_closed_tab(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        chat = alice.chat("مریم")
        async with doomed_browser(tmp_path) as (context, group):
            tab = await Window.of(context, server)
            await tab.open("مریم")
            await tab.tab.fill("main textarea", "half a sentence")
            await until(alice, lambda: chat.summary().draft == "half a sentence")
            os.killpg(group, signal.SIGKILL)
        async with browser("en") as context:
            tab = await Window.of(context, server)
            await tab.open("مریم")
            assert await tab.tab.input_value("main textarea") == "half a sentence"
            await tab.tab.fill("main textarea", "half a sentence, and more")
            await tab.tab.close(run_before_unload=True)
            await until(alice, lambda: chat.summary().draft == "half a sentence, and more")
            assert chat.count() == 0
            assert tab.console == []


@in_a_loop
async def test_a_killed_client_loses_neither_a_draft_nor_a_text_that_was_shown(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as world:
        alice, babak = await world.windows()
        world.relay.kill()
        await alice.say("last words")
        await alice.tab.fill("main textarea", "half a sentence")
        await alice.row("Babak").get_by_text("half a sentence").wait_for()
        await world.alice.kill()
        await alice.tab.locator(".away").wait_for()
        assert await alice.tab.input_value("main textarea") == "half a sentence"
        assert await alice.closes() == []
        world.relay.start()
        await world.alice.start()
        alice = await Window.of(world.context, world.alice)
        await alice.open("Babak")
        assert await alice.tab.input_value("main textarea") == "half a sentence"
        await alice.bubble("last words").wait_for()
        await babak.bubble("last words").wait_for(timeout=RETURN_MS)
        await alice.say("half a sentence, and the rest")
        await babak.bubble("half a sentence, and the rest").wait_for()
        assert await babak.bubble("last words").count() == 1
        assert alice.console == babak.console == []


@in_a_loop
async def test_a_full_disk_costs_no_text_and_is_named(tmp_path: Path, relay: RelayProcess) -> None:
    address, long = str(relay.address), "much to say " * 2_000
    with small_disk(tmp_path / "disk", 8) as disk:
        async with (
            await Client.create(disk / "alice", UNLOCK, name="alice", relay=address) as alice,
            await Client.create(tmp_path / "b", UNLOCK, name="Babak", relay=address) as babak,
        ):
            babak.accept(alice.invite())
            await until(alice, lambda: bool(alice.contacts() and babak.contacts()))
            async with page_of(alice) as server, browser("en") as context:
                tab = await Window.of(context, server)
                await tab.open("Babak")
                box, full = tab.tab.locator("main textarea"), await tab.fault("disk-full")
                ballast = stuff(disk)
                await box.fill(long)
                await box.press("Enter")
                await tab.tab.get_by_role("alert").get_by_text(full).wait_for()
                assert await box.input_value() == long.strip()
                babak.contact("alice").send(long)  # which finds no room either
                said = babak.chat("alice")
                await until(babak, lambda: said.messages()[0].state == "sent")
                ballast.unlink()
                await box.press("Enter")
                await tab.tab.locator("article.own").wait_for()
                await tab.tab.locator("article:not(.own)").wait_for()
                await until(babak, lambda: said.count() == 2)
                assert alice.chat("Babak").count() == 2
                assert not alice.check_vault()
                assert tab.console == []


# Sentences


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_profile_that_does_not_open_says_why_and_opens_when_that_is_over(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    profile, secret = tmp_path / "alice", Unlock(passphrase=SECRET)
    await (await Client.create(profile, secret, name="alice", relay=str(relay.address))).close()

    def write(version: int) -> None:
        """Let a program of that version have written it; today's, if it is ours."""
        (profile / "vault.db").write_bytes(whole)
        with contextlib.closing(open_vault(profile, secret)) as vault:
            vault._db.execute(f"PRAGMA user_version = {version}")

    whole = await asyncio.to_thread((profile / "vault.db").read_bytes)
    async with house_in(profile) as server, browser(language) as context:
        window = Window(*await opened(context, server))
        field = window.tab.locator("start-page input:visible")

        async def is_refused(typed: str, code: str) -> None:
            sentence = await window.fault(code)
            assert code not in sentence
            await field.fill(typed)
            await field.press("Enter")
            await window.tab.get_by_role("alert").get_by_text(sentence).wait_for()

        assert await faults_in_both_themes(window.tab) == []
        await is_refused("a guess", "wrong-passphrase")
        assert await faults_in_both_themes(window.tab) == []
        async with Client.open(profile, secret):
            await is_refused(SECRET, "profile-in-use")
        write(schema.VERSION + 1)
        await is_refused(SECRET, "vault-too-new")
        write(schema.BASE - 1)
        await is_refused(SECRET, "vault-too-old")
        write(schema.VERSION)
        await field.press("Enter")
        await window.tab.locator(".bar .me", has_text="alice").wait_for()
        assert window.console == []


@in_a_loop
async def test_a_relay_that_does_not_answer_costs_nothing_that_was_typed(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay", port=free_port()) as relay:
        relay.kill()
        async with house_in(tmp_path / "alice") as server, browser("en") as context:
            window = Window(*await opened(context, server))
            tab, address = window.tab, str(relay.address)
            assert await faults_in_both_themes(tab) == []
            await tab.get_by_label(await window.word("yourName")).fill("alice")
            for key in ("newPassphrase", "again"):
                await tab.get_by_label(await window.word(key), exact=True).fill(SECRET)
            await tab.get_by_text(await window.word("otherRelay"), exact=True).click()
            await tab.get_by_label(await window.word("relayAddress")).fill(address)
            await window.press("startNow")
            unreachable = await window.fault("relay-unreachable")
            await tab.get_by_role("alert").get_by_text(unreachable).wait_for()
            relay.start()
            await window.press("startNow")
            await tab.get_by_text(await window.word("nobody")).wait_for()
            assert window.console == []


@in_a_loop
async def test_an_invite_that_somebody_else_used_is_explained_at_home(
    tmp_path: Path, relay: RelayProcess
) -> None:
    address = str(relay.address)
    async with (
        two_friends(tmp_path, relay) as (alice, _),
        await Client.create(tmp_path / "b", UNLOCK, name="Babak", relay=address) as babak,
        page_of(babak) as server,
        browser("en") as context,
    ):
        link = alice.invite()
        async with await Client.create(tmp_path / "c", UNLOCK, name="c", relay=address) as faster:
            faster.accept(link)
            await until(alice, lambda: len(alice.contacts()) == 2)
        tab = await Window.of(context, server)
        await tab.press("begin", "newContact", "useLink")
        await tab.tab.get_by_label(await tab.word("pasteLink")).fill(link)
        await tab.press("knock", "done")
        await tab.tab.locator(".me .trouble").wait_for()
        await tab.tab.locator(".me").click()
        await tab.tab.get_by_text("Somebody else used the invite before you").wait_for()
        assert babak.contacts() == []
        assert tab.console == []


@in_a_loop
async def test_a_link_that_no_longer_works_says_how_to_get_another(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with shown_to(tmp_path, relay) as (_, _, server, context):
        link = server.link()
        tab, _ = await opened(context, link)
        other = await context.new_page()
        unknown = tab.url.replace(server._doors.path, "/of/before/")
        for dead in (link, link.replace("?", "?x"), link.partition("?")[0], unknown):
            answer = await other.goto(dead)
            assert answer is not None
            assert answer.status == 403
            await other.get_by_text("Run “amanat up” again").wait_for()
            await other.locator("[lang=fa]", has_text="amanat up").wait_for()
            assert await faults_in_both_themes(other) == []


async def run(*words: str) -> tuple[int | None, str]:
    """The exit status of a command, and what it says to a person."""
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "amanat", *words), stderr=asyncio.subprocess.PIPE
    )
    said = (await ran.communicate())[1].decode()
    return ran.returncode, said


@in_a_loop
async def test_a_port_that_is_taken_is_named_and_what_to_do(
    tmp_path: Path, relay: RelayProcess
) -> None:
    port = str(relay.address.places[0].port)
    words = ("--profile", str(tmp_path / "alice"), "up", "--no-open", "--port", port)
    status, said = await run(*words)
    assert status == 2
    assert f"another program listens on this port (127.0.0.1:{port}" in said
    assert "stop that program, or give this one another port" in said
