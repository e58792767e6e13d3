"""`amanat up` opens the page in the person's browser, and no list of processes holds a secret."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amanat import Client, Unlock
from pages import browser, in_a_loop, relay
from ups import SECRET

if TYPE_CHECKING:
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
BROWSER = """#!{python}
import json, os, sys
seen = {{"argv": sys.argv, "environment": dict(os.environ)}}
with open({into!r} + ".part", "w") as out:
    json.dump(seen, out)
os.rename({into!r} + ".part", {into!r})
"""
"""A browser that writes down how it was started, and ends."""


def family(first: int) -> set[int]:
    """A process and all that it has started, by their ids."""
    found, parents = {first}, dict[int, int]()
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = one.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(one.parent.name)] = int(fields[1])
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def told_to_all(first: int) -> str:
    """Arguments and environments of a process and all that it has started, as others see them."""
    shown = []
    for one in family(first):
        for what in ("cmdline", "environ"):
            try:
                shown.append(Path("/proc", str(one), what).read_text(errors="replace"))
            except OSError:
                continue
    return "\n".join(shown)


async def read_when_there(file: Path) -> Any:  # noqa: ANN401  # JSON
    async with asyncio.timeout(60):
        while not file.exists():  # noqa: ASYNC110, ASYNC240  # nothing tells of it
            await asyncio.sleep(0.05)
    return json.loads(file.read_text())  # noqa: ASYNC240  # it is short


@pytest.mark.long
@in_a_loop
async def test_the_browser_is_given_a_file_and_no_process_shows_a_secret(
    tmp_path: Path, relay: RelayProcess
) -> None:
    profile, seen, program = tmp_path / "alice", tmp_path / "seen", tmp_path / "browser"
    unlock = Unlock(passphrase=SECRET)
    await (await Client.create(profile, unlock, name="alice", relay=str(relay.address))).close()
    program.write_text(BROWSER.format(python=sys.executable, into=str(seen)))
    program.chmod(0o700)
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    os.close(write)
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "amanat", "--profile", str(profile)),
        *("--passphrase-fd", str(read), "up", "--json"),
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[read],
        env=os.environ | {"BROWSER": shlex.quote(str(program))},
    )
    os.close(read)
    assert up.stdout is not None
    async with asyncio.timeout(60):
        printed = json.loads(await up.stdout.readline())
    assert list(printed) == ["page"]
    started, token = await read_when_there(seen), printed["page"].partition("?")[2]
    assert len(token) > 16
    file = profile / "open.html"
    assert started["argv"] == [str(program), file.as_uri()]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token in file.read_text()

    async with browser("en") as context:
        tab = await context.new_page()
        await tab.goto(file.as_uri())  # as a browser would that does more than write things down
        await tab.locator("[data-usable]").wait_for()
        (cookie,) = await context.cookies()
        path = tab.url.split("/")[3]
        assert cookie["path"] == f"/{path}/"
        everywhere = told_to_all(up.pid) + json.dumps(started)
        assert str(profile) in everywhere
        for secret in (SECRET, token, path, cookie["value"]):
            assert secret not in everywhere

    up.terminate()
    assert await up.stdout.read() == b""  # one line, and no more
    assert await up.wait() == 0
    assert not file.exists()


@in_a_loop
async def test_up_with_json_says_as_json_why_it_cannot_be(tmp_path: Path) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        up = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "amanat", "--profile", str(tmp_path / "alice")),
            *("up", "--json", "--no-open", "--port", str(port)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, _ = await up.communicate()
    told = json.loads(said)
    assert told["error"] == "port-taken"
    assert told["detail"].startswith(f"127.0.0.1:{port}")
    assert up.returncode != 0
