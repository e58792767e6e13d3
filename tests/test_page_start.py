"""The page before there is a profile, and while it is locked: in a browser, as a person starts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.async_playwright import Axe

from amanat import Client, Unlock, background, cli, page
from amanat.errors import BadArgument, EngineFailed
from amanat.page import local
from pages import browser, in_a_loop, relay
from proxies import Socks
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from amanat.page.server import Server

__all__ = ["relay"]
pytestmark = pytest.mark.e2e
SECRET = "nobody would guess this"  # noqa: S105  # of nobody


@contextlib.asynccontextmanager
async def house_in(directory: Path) -> AsyncIterator[tuple[page.House, Server]]:
    house = page.House(directory)
    async with page.serving(house, port=0) as server:
        yield house, server
        await house.close()


async def come(tab: Page, server: Server) -> list[str]:
    """Open a link in a tab; all that its console says."""
    said = list[str]()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    await tab.goto(server.link())
    await tab.wait_for_selector("[data-usable]")
    return said


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_one_command_is_enough_to_try_it_and_a_friend_answers(
    tmp_path: Path, language: str
) -> None:
    async with house_in(tmp_path / "alice") as (house, server), browser(language) as context:
        tab = await context.new_page()
        console = await come(tab, server)
        name, first, second = (tab.locator("start-page input:visible").nth(one) for one in range(3))
        assert (await Axe().run(tab)).violations_count == 0
        await name.fill("آلیس")
        await first.fill(SECRET)
        await second.fill("another")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text=".").wait_for()
        await second.fill(SECRET)
        await tab.keyboard.press("Enter")
        await tab.locator("chat-list a", has_text=local.FRIEND).click(timeout=60_000)
        await tab.get_by_role("log").get_by_text("سلام!").wait_for()
        await tab.fill("textarea", "is anybody there?")
        await tab.keyboard.press("Enter")
        answer = tab.locator("article:not(.own)", has_text="is anybody there?")
        await answer.wait_for(timeout=30_000)
        await house.close()
        await tab.locator("start-page input:visible").wait_for()
        assert await tab.locator("chat-list a").count() == 0
        assert not await tab.get_by_role("log").is_visible()
        await tab.locator("start-page input:visible").fill("wrong")
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text=".").wait_for(timeout=30_000)
        await tab.locator("start-page input:visible").fill(SECRET)
        await tab.keyboard.press("Enter")
        await tab.locator("chat-list a", has_text=local.FRIEND).wait_for(timeout=60_000)
        assert console == []


@in_a_loop
async def test_a_person_begins_at_a_relay_that_somebody_else_runs(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with house_in(tmp_path / "alice") as (_, server), browser("en") as context:
        tab = await context.new_page()
        console = await come(tab, server)
        await tab.get_by_label("Your name").fill("alice")
        await tab.get_by_label("A passphrase").fill(SECRET)
        await tab.get_by_label("The same passphrase").fill(SECRET)
        await tab.get_by_text("Relay and proxy", exact=True).click()
        await tab.get_by_label("Address of the relay").fill("amanat://nowhere")
        await tab.get_by_role("button", name="Begin").click()
        await tab.get_by_role("alert").filter(has_text="amanat://").wait_for()
        await tab.get_by_label("Address of the relay").fill(str(relay.address))
        await tab.get_by_role("button", name="Begin").click()
        await tab.get_by_text("You have no conversations yet.").wait_for(timeout=30_000)
        assert not (tmp_path / "alice-local").exists()
        assert console == []


@in_a_loop
async def test_a_person_begins_through_a_proxy_and_changes_it_later(tmp_path: Path) -> None:
    name, login = "relay.example", (b"somebody", b"sesame-opens")
    away = RelayProcess(tmp_path / "relay", tls="pinned", host=name, listen="127.0.0.1")
    async with (
        house_in(tmp_path / "alice") as (house, server),
        browser("en") as context,
        Socks({name: "127.0.0.1"}, login) as socks,
    ):
        with away as relay:
            tab = await context.new_page()
            console = await come(tab, server)
            await tab.get_by_label("Your name").fill("alice")
            await tab.get_by_label("A passphrase").fill(SECRET)
            await tab.get_by_label("The same passphrase").fill(SECRET)
            await tab.get_by_text("Relay and proxy", exact=True).click()
            await tab.get_by_label("Address of the relay").fill(str(relay.address))
            await tab.get_by_label("Address of a SOCKS5 proxy").fill(socks.address)
            await tab.get_by_role("button", name="Begin").click()
            await tab.get_by_role("alert").filter(has_text="nothing goes around it").wait_for()
            await tab.get_by_label("User name and password").fill("somebody:sesame-opens")
            assert (await Axe().run(tab)).violations_count == 0
            await tab.get_by_role("button", name="Begin").click()
            await tab.get_by_text("You have no conversations yet.").wait_for(timeout=30_000)
            assert {host for host, _ in socks.asked} == {name}
            await tab.evaluate("import('./home.js').then(({ showHome }) => showHome())")
            sheet = tab.locator("section", has=tab.get_by_role("heading", name="Proxy"))
            await sheet.get_by_text(socks.address).wait_for()
            await sheet.get_by_role("button", name="Use a proxy").click()
            await tab.get_by_label("Address of a SOCKS5 proxy").fill("nonsense")
            await tab.get_by_role("button", name="Set", exact=True).click()
            await tab.get_by_role("alert").filter(has_text=".").wait_for()
            await tab.get_by_label("Address of a SOCKS5 proxy").fill("127.0.0.1:9")
            await tab.get_by_role("button", name="Set", exact=True).click()
            await sheet.get_by_text("127.0.0.1:9 alone").wait_for()
            await sheet.get_by_text("does not answer just now").wait_for(timeout=30_000)
            await sheet.get_by_role("button", name="Use no proxy").click()
            await tab.get_by_role("button", name="Use no proxy").last.click()
            await sheet.get_by_text("without a proxy").wait_for()
            begun = json.loads(await house.attend(page.protocol.Begin(id=1)))["ok"]
            assert begun["status"]["proxy"] == ""
            assert "sesame" not in json.dumps(begun)
            assert console == []


@in_a_loop
async def test_the_friend_goes_by_the_proxy_of_the_person(tmp_path: Path) -> None:
    name = "relay.example"
    elsewhere = RelayProcess(tmp_path / "relay", tls="pinned", host=name, listen="127.0.0.1")
    async with house_in(tmp_path / "alice") as (house, _), Socks({name: "127.0.0.1"}) as socks:
        ask = page.protocol.Create(id=1, name="alice", passphrase=SECRET, proxy=socks.address)
        await house.create(ask)
        alice = house._present().client
        async with asyncio.timeout(60):
            while not alice.contacts():
                await alice.changed()
            assert not socks.asked  # the relay and the friend are on this machine
            with elsewhere as relay:
                await alice.home.exit(str(relay.address))
                gid = alice.contacts()[0].conversation
                alice.chat(gid).send("is anybody there?")

                def answers() -> list[str]:
                    texts = alice.chat(gid).messages()
                    return [one.text for one in texts if not one.is_own]

                while "is anybody there?" not in answers():  # by a way to a name of the proxy's
                    await alice.changed()


@in_a_loop
async def test_a_profile_opens_although_its_relay_on_this_machine_does_not_start(
    tmp_path: Path,
) -> None:
    async with house_in(tmp_path / "alice") as (house, _):
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
    taken = (tmp_path / "alice-local" / "relay" / "relay.toml").read_text()
    (tmp_path / "alice-local" / "relay" / "relay.toml").write_text(f"{taken}\nbroken")
    async with house_in(tmp_path / "alice") as (house, _):
        await house.open(Unlock(passphrase=SECRET))
        begun = json.loads(await house.attend(page.protocol.Begin(id=1)))["ok"]
        assert begun["state"] == "open"


@in_a_loop
async def test_a_locked_profile_answers_nothing_but_the_secret(tmp_path: Path) -> None:
    async with house_in(tmp_path / "alice") as (house, _):
        ask = page.protocol.ClearWarnings(id=1)
        assert json.loads(await house.attend(ask))["error"] == "profile-locked"
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
        assert "ok" in json.loads(await house.attend(ask))
        await house.attend(page.protocol.Lock(id=2))
        assert json.loads(await house.attend(ask))["error"] == "profile-locked"
        wrong = page.protocol.Unlock(id=3, passphrase="wrong")
        assert json.loads(await house.attend(wrong))["error"] == "wrong-passphrase"
        (tmp_path / "alice-local").rename(tmp_path / "elsewhere")
        again = page.protocol.Create(id=4, name="mallory", passphrase="x")
        assert json.loads(await house.attend(again))["error"] == "profile-exists"
        assert not (tmp_path / "alice-local").exists()  # no relay is made for nobody


@in_a_loop
async def test_every_ask_is_answered_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = page.protocol.ClearWarnings(id=1)
    failing: list[Exception] = [
        OSError(errno.ENOSPC, "no room"),
        OSError(errno.EPROTO, "strange"),
        RuntimeError("a mistake"),
        EngineFailed(),
    ]

    async def fail(*_: object) -> object:
        raise failing[0]

    async with house_in(tmp_path / "alice") as (house, _):
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
        monkeypatch.setattr("amanat.page.attendant.Attendant.attend", fail)
        codes = []
        while failing:
            codes.append(json.loads(await house.attend(ask))["error"])
            del failing[0]
        assert codes == ["disk-full", "bug", "bug", "engine-failed"]
        with pytest.raises(EngineFailed):
            await house.over()


@in_a_loop
async def test_the_relay_on_this_machine_ends_with_the_process_that_started_it(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "alice"
    async with house_in(profile) as (house, _):
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom amanat.page.local import Local\n"
        "async def main():\n"
        "    async with Local(Path(sys.argv[1])).running() as address:\n"
        "        print(address, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(profile), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    port = int((await starter.stdout.readline()).decode().split(":")[2].split("/")[0])
    starter.kill()
    await starter.wait()
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                break
            writer.close()
            await asyncio.sleep(0.05)


@in_a_loop
async def test_the_secret_changes_and_the_profile_is_wiped_with_all_beside_it(
    tmp_path: Path,
) -> None:
    async with house_in(tmp_path / "alice") as (house, _):

        async def ask(what: page.protocol.Ask) -> str:
            return str(json.loads(await house.attend(what)).get("error", ""))

        change = page.protocol.Passphrase(id=1, old=SECRET, new="quite another")
        assert await ask(change) == "profile-locked"
        assert await ask(page.protocol.Wipe(id=1, name="alice")) == "profile-locked"
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
        assert await ask(change) == ""
        assert await ask(change) == "wrong-passphrase"
        assert await ask(page.protocol.Wipe(id=1, name="babak")) == "bad-argument"
        await house.close()
        assert await ask(page.protocol.Unlock(id=1, passphrase=SECRET)) == "wrong-passphrase"
        assert await ask(page.protocol.Unlock(id=1, passphrase="quite another")) == ""
        await ask(page.protocol.Wipe(id=1, name="alice"))
        await house.over()
    left = [one for one in ("alice", "alice-local") if (tmp_path / one).exists()]
    assert left == []


@pytest.mark.parametrize("is_locked", [False, True])
@in_a_loop
async def test_the_process_of_a_page_opens_it_again_when_asked(
    tmp_path: Path, is_locked: bool
) -> None:
    profile = tmp_path / "alice"
    async with house_in(profile) as (house, _):
        await house.create(page.protocol.Create(id=1, name="alice", passphrase=SECRET))
    words = [sys.executable, "-m", "amanat", "--profile", str(profile), "--json"]
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with secret.open() as file:
        given = [] if is_locked else ["--passphrase-fd", str(file.fileno())]
        up = await asyncio.create_subprocess_exec(
            *(*words, *given, "up", "--no-open"),
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[file.fileno()],
        )
    assert up.stdout is not None
    async with asyncio.timeout(60):
        first = json.loads(await up.stdout.readline())["page"]
    again = await asyncio.create_subprocess_exec(
        *(*words, "up", "--no-open"), stdout=asyncio.subprocess.PIPE
    )
    second = json.loads((await again.communicate())[0])["page"]
    assert again.returncode == 0
    assert first != second
    assert first.partition("?")[0] == second.partition("?")[0]
    up.terminate()
    assert await up.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(first.split(":")[2].split("/")[0]))
    await Client.open(profile, Unlock(passphrase=SECRET)).close()  # nobody has it open


def argument(written: str) -> str:
    """The argument that a desktop reads from a quoted one in an entry."""
    value = written.replace("\\\\", "\\")
    assert value[0] == value[-1] == '"'
    return re.sub(r"\\(.)", r"\1", value[1:-1]).replace("%%", "%")


def test_the_page_is_put_into_the_menu_of_a_desktop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    profile = tmp_path / 'my %n "own" $HOME \\ `profile` پوشه'
    with pytest.raises(SystemExit) as ended:
        cli.main(["--json", "--profile", str(profile), "up", "--install"])
    assert ended.value.code == 0
    icon, entry, unit = map(Path, json.loads(capsys.readouterr().out)["installed"])
    assert icon.read_text().startswith("<svg")
    (command,) = [line for line in entry.read_text().splitlines() if line.startswith("Exec=")]
    program, rest = command.removeprefix("Exec=").split(" --profile ")
    assert argument(program).endswith("/amanat")
    assert argument(rest.removesuffix(" up")) == str(profile)
    assert "up --no-open" in unit.read_text()
    with pytest.raises(BadArgument):
        background.desktop_entry(Path("/a\nb"), profile)
