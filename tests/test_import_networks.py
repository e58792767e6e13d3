"""An import in a network of its own, and every packet that comes out of it: none."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from exports import account, as_bytes, chat, html_message, message, page
from hosts import ip
from relays import RelayProcess
from test_moving_networks import Network, two_networks
from test_proxy_networks import Tap, inside

SECRET = "nobody would guess this"  # noqa: S105  # of nobody
ASKS = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('9.9.5.5', 53))"
FEEDS = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
FAR = "https://far.example/a.jpg"


def exports(folder: Path) -> list[Path]:
    """Exports of each kind, which name places on the network."""
    pages, archive = folder / "pages", folder / "WhatsApp Chat with Sara.zip"
    pages.mkdir(parents=True)
    picture = f'<a class="photo_wrap" href="{FAR}"><img src="{FAR}"></a>'
    (pages / "messages.html").write_text(page(html_message(1, FAR, name="B", rest=picture)))
    link = {"type": "text_link", "text": "here", "href": FAR}
    said = [message(number, [link], photo=FAR) for number in range(2000)]
    (folder / "result.json").write_bytes(as_bytes(account(chat(*said))))
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("_chat.txt", f"[31/12/2022, 11:40:26] Sara: {FAR}\n")
    return [folder / "result.json", pages, archive]


def done(network: Network, profile: Path, *words: str) -> Any:  # noqa: ANN401  # JSON
    """The result of a command in a network."""
    process = network.run(
        "--profile", profile, "--passphrase-fd", "0", *words, stdin=subprocess.PIPE
    )
    out, err = process.communicate(f"{SECRET}\n".encode(), timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


def looped(network: Network) -> int:
    """The packets that the loopback of a network has carried."""
    shown = subprocess.run(
        ["ip", "-n", network.name, "-s", "-j", "link", "show", "lo"],  # noqa: S607  # as in hosts
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: int = json.loads(shown.stdout)[0]["stats64"]["tx"]["packets"]
    return found


def send(network: Network, program: str) -> None:
    """Run a program in a network that sends a packet."""
    with inside(network, "-c", program) as process:
        process.wait(30)


async def profile(folder: Path) -> Path:
    """A profile whose relay has gone."""
    with RelayProcess(folder / "relay") as relay:
        unlock, address = Unlock(passphrase=SECRET), str(relay.address)
        client = await Client.create(folder / "alice", unlock, name="alice", relay=address)
        await client.close()
    return folder / "alice"


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks")
def test_no_packet_leaves_during_previews_and_imports(tmp_path: Path) -> None:
    alice = asyncio.run(profile(tmp_path))
    with two_networks() as (outside, home):
        # Whatever leaves goes past the test, also what would lead nowhere.
        ip("-n", home.name, "route", "add", "default", "via", outside.address)
        tap = Tap(outside)
        tap.packets()
        before = looped(home)
        for path in exports(tmp_path / "exports"):
            preview = done(home, alice, "import", "--preview", str(path), "--day-first")
            many = preview["chats"][0]["messages"]
            assert done(home, alice, "import", str(path), "--day-first")["messages"] == many > 0
        assert len(done(home, alice, "imported")) == 3
        assert tap.packets() == set()
        assert looped(home) == before
        send(home, ASKS)
        send(home, FEEDS)
        assert tap.packets() == {(17, "9.9.5.5", 53)}  # the test would have seen them
        assert looped(home) > before
        tap.close()
