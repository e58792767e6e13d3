"""Firefox ESR without a window, driven by WebDriver BiDi alone (W3C, WebDriver BiDi)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import picows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SWITCHES = ("--headless", "--no-remote", "--remote-debugging-port", "0")
SETTINGS = """\
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
"""
"""It asks nobody for anything: a test stays on this machine."""
LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://127\.0\.0\.1:\d+)")
START_S = 60.0
ANSWER_S = 30.0


class NoAnswerError(Exception):
    """Firefox could not do what it was asked, perhaps because the tab goes to another page."""


class Firefox(picows.WSListener):
    """One session with one tab. `said` is all that the tab's console has said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._transport: picows.WSTransport | None = None
        self._tab = ""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: ARG002
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        said = json.loads(frame.get_payload_as_bytes())
        if said["type"] == "event":
            self.said.append(str(said["params"].get("text")))
        elif (asked := self._asked.pop(said["id"], None)) is not None:
            asked.set_result(said)

    async def begin(self) -> None:
        """Begin the session, and listen to the console."""
        await self._ask("session.new", capabilities={})
        await self._ask("session.subscribe", events=["log.entryAdded"])
        tree = await self._ask("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]

    async def _ask(self, method: str, **params: object) -> dict[str, Any]:
        assert self._transport is not None
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        ask = json.dumps({"id": number, "method": method, "params": params})
        self._transport.send(picows.WSMsgType.TEXT, ask.encode())
        async with asyncio.timeout(ANSWER_S):
            said = await asked
        if said["type"] != "success":
            raise NoAnswerError(said)
        found: dict[str, Any] = said["result"]
        return found

    async def go(self, link: str) -> None:
        await self._ask("browsingContext.navigate", context=self._tab, url=link, wait="complete")

    async def value(self, expression: str) -> str | int | bool | None:
        """The value of an expression of JavaScript in the tab."""
        found = await self._ask(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
        )
        if found["type"] != "success":
            raise NoAnswerError(found)
        worth: str | int | bool | None = found["result"].get("value")
        return worth

    async def holds(self, expression: str) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                with contextlib.suppress(NoAnswerError):
                    if await self.value(f"Boolean({expression})"):
                        return
                await asyncio.sleep(0.05)

    async def click(self, selector: str) -> None:
        """Press the first such element with the mouse."""
        element, *_ = (
            await self._ask(
                "browsingContext.locateNodes",
                context=self._tab,
                locator={"type": "css", "value": selector},
            )
        )["nodes"]
        where = {"type": "element", "element": {"sharedId": element["sharedId"]}}
        await self._act(
            "pointer",
            {"type": "pointerMove", "x": 0, "y": 0, "origin": where},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        )

    async def type(self, text: str) -> None:
        """Type where the focus is; a new line is the Enter key."""
        keys = [one.replace("\n", "\ue007") for one in text]
        presses = [(kind, key) for key in keys for kind in ("keyDown", "keyUp")]
        await self._act("key", *({"type": kind, "value": key} for kind, key in presses))

    async def _act(self, kind: str, *actions: Mapping[str, object]) -> None:
        await self._ask(
            "input.performActions",
            context=self._tab,
            actions=[{"type": kind, "id": kind, "actions": list(actions)}],
        )


@contextlib.asynccontextmanager
async def firefox(directory: Path) -> AsyncIterator[Firefox]:
    """A Firefox with a new profile in a directory that is there."""
    (directory / "user.js").write_text(SETTINGS)
    program = shutil.which("firefox-esr")
    assert program is not None, "`make system` installs it"
    process = await asyncio.create_subprocess_exec(
        *(program, *SWITCHES, "--profile", str(directory)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin", "MOZ_HEADLESS": "1"},
    )
    try:
        async with asyncio.timeout(START_S):
            where = await _where(process)
        transport, session = await picows.ws_connect(Firefox, f"{where}/session")
        assert isinstance(session, Firefox)
        await session.begin()
        yield session
        transport.disconnect()
    finally:
        process.terminate()
        await process.wait()


async def _where(process: asyncio.subprocess.Process) -> str:
    """The address at which it listens, which it says on its standard error."""
    assert process.stderr is not None
    async for line in process.stderr:
        if found := LISTENING.search(line):
            return found[1].decode()
    raise AssertionError(await process.wait())
