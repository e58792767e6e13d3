"""Two people in a network of their own that leads to a proxy alone, and what leaves it.

Their network has one cable, to the proxy's network, and another leads on from there to the relay's.
The test reads every packet that comes out of the first, among them those that would lead nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from amanat.client import routes
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from hosts import enter, ip
from relays import PATIENCE_S
from test_moving_networks import Network, two_networks

KEY = Unlock(key=bytes(32))
NAME, RELAY, PORT = "relay.example", "9.9.7.1", 8443
PROXY = ("9.9.9.1", 1080)
RESOLVER = "9.9.5.5"
ETH_IPV4, ETH_IPV6, OUTGOING = 0x0800, 0x86DD, 4
TCP, UDP = 6, 17
SO_RCVBUFFORCE = 33
"""Option of a socket (asm-generic/socket.h), which Python has no name for."""
SOL_PACKET, PACKET_STATISTICS = 263, 6
"""Asks how many packets a socket has had and how many it has lost (linux/if_packet.h)."""
HERE = Path(__file__).parent


class Tap:
    """The packets that come into a network through its cable: protocol, destination and port."""

    def __init__(self, network: Network) -> None:
        opening = threading.Thread(target=self._open, args=(network,))
        opening.start()  # only this thread enters the network; the socket stays there
        opening.join()
        self._socket.settimeout(0.2)

    def _open(self, network: Network) -> None:
        enter(network.name)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024)
        self._socket.bind((network.cable, 3))

    def packets(self) -> set[tuple[int, str, int]]:
        """The packets since the last call, without those by which neighbours find each other."""
        found: set[tuple[int, str, int]] = set()
        while True:
            try:
                data, (_, kind, direction, *_) = self._socket.recvfrom(2048)
            except TimeoutError:
                counts = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
                assert int.from_bytes(counts[4:], sys.byteorder) == 0  # it has seen all
                return found
            if direction == OUTGOING or kind not in (ETH_IPV4, ETH_IPV6):
                continue
            if kind == ETH_IPV6:
                if data[6] not in (0, 58):  # ICMPv6, perhaps behind a hop-by-hop option
                    found.add((data[6], str(ipaddress.ip_address(data[24:40])), 0))
                continue
            start = (data[0] & 15) * 4
            port = int.from_bytes(data[start + 2 : start + 4], "big")
            found.add((data[9], str(ipaddress.ip_address(data[16:20])), port))

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def inside(network: Network, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process in a network."""
    line = ["ip", "netns", "exec", network.name, sys.executable, *map(str, words)]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def proxy_in(network: Network) -> Iterator[IO[str]]:
    """A proxy in a network; the lines that it writes."""
    words = (HERE / "proxies.py", PROXY[0], str(PROXY[1]), f"{NAME}={RELAY}")
    with inside(network, *words) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.stdout


@contextlib.contextmanager
def three_networks() -> Iterator[tuple[Network, Network, Network]]:
    """The people's network, the proxy's and the relay's. Everything that the people's machine does
    not send to the proxy goes the same way, and so past the test."""
    with two_networks(PROXY[0], "9.9.9.2") as (middle, people):
        relays = Network(f"{people.name}r", "9.9.8.2")
        settings = Path("/etc/netns") / people.name
        near = f"{middle.name}r"
        settings.mkdir(parents=True)
        (settings / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1\n")
        try:
            ip("netns", "add", relays.name)
            ip("link", "add", near, "netns", middle.name, "type", "veth",
               "peer", "name", relays.cable, "netns", relays.name)  # fmt: skip
            ip("-n", middle.name, "address", "add", "9.9.8.1/30", "dev", near)
            ip("-n", relays.name, "address", "add", "9.9.8.2/30", "dev", relays.cable)
            ip("-n", relays.name, "address", "add", f"{RELAY}/32", "dev", relays.cable)
            for name, device in (
                (middle.name, near), (relays.name, relays.cable), (relays.name, "lo")
            ):  # fmt: skip
                ip("-n", name, "link", "set", device, "up")
            ip("-n", middle.name, "route", "add", "9.9.7.0/24", "via", "9.9.8.2")
            ip("-n", relays.name, "route", "add", "9.9.9.0/24", "via", "9.9.8.1")
            ip("-n", people.name, "route", "add", "default", "via", PROXY[0])
            yield people, middle, relays
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", relays.name)
            (settings / "resolv.conf").unlink()
            settings.rmdir()


def let_through(network: Network, *, is_open: bool) -> None:
    """Have a network pass packets on, or no longer."""
    setting = f"net.ipv4.ip_forward={int(is_open)}"
    words = ["ip", "netns", "exec", network.name, "sysctl", "-q", "-w", setting]
    subprocess.run(words, check=True)


def make(network: Network, directory: Path) -> str:
    """A relay that people know by its name, and that says itself at which IP address it is."""
    made = network.told(
        *("relay", "init", directory, "--region", "DE", "--operator", "one"),
        *("--host", NAME, "--port", str(PORT)),
    )
    with (directory / "relay.toml").open("a") as settings:
        settings.write(f'\n[[places]]\nhost = "{RELAY}"\nport = {PORT}\n')
    return str(made["address"])


ALONE = {(TCP, *PROXY)}
CALLS = f"import socket; socket.create_connection(({RELAY!r}, {PORT}), 2)"
ASKS = f"import socket; socket.getaddrinfo({NAME!r}, 1)"


def status_of(network: Network, program: str) -> int:
    with inside(network, "-c", program) as process:
        process.communicate(timeout=PATIENCE_S)
        return process.returncode


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks")
def test_two_talk_out_of_a_network_that_leads_to_a_proxy_alone(tmp_path: Path) -> None:
    with three_networks() as (people, middle, relays):
        address = make(relays, tmp_path / "relay")
        with (
            contextlib.closing(Tap(middle)) as tap,
            relays.relay(tmp_path / "relay"),
            inside(people, __file__, tmp_path, address) as process,
        ):
            with proxy_in(middle) as lines:
                told(process, "met")
                assert lines.readline() == f"{NAME}:{PORT}\n"
            assert tap.packets() == ALONE
            # The proxy is away, and the relay could be called at the address that it has signed.
            let_through(middle, is_open=True)
            assert status_of(people, CALLS) == 0
            assert (TCP, RELAY, PORT) in tap.packets()
            tell(process, "speak")
            told(process, "it waits")
            assert tap.packets() == ALONE
            assert status_of(people, ASKS) != 0
            assert (UDP, RESOLVER, 53) in tap.packets()
            let_through(middle, is_open=False)
            with proxy_in(middle):
                tell(process, "wait for it")
                told(process, "it came")
                assert tap.packets() == ALONE
                process.wait(PATIENCE_S)
            assert process.returncode == 0


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


# What the people do, in a process of their own


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def hear() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


async def until(client: Client, is_so: Any) -> None:  # noqa: ANN401  # a function
    async with asyncio.timeout(4 * PATIENCE_S):
        while not is_so():
            await client.changed()


async def live(root: Path, address: str) -> None:
    settings = {"relay": address, "proxy": f"{PROXY[0]}:{PROXY[1]}"}
    async with (
        await Client.create(root / "alice", KEY, name="alice", **settings) as alice,  # type: ignore[arg-type]  # texts
        await Client.create(root / "bob", KEY, name="bob", **settings) as bob,  # type: ignore[arg-type]  # texts
    ):
        bob.accept(alice.invite())
        await until(alice, lambda: alice.contacts() and bob.contacts())
        bob.chat("alice").send("first")
        gid = alice.conversation("bob").gid

        def heard() -> list[str]:
            return [one.text for one in alice.chat(gid).messages()]

        await until(alice, lambda: heard() == ["first"])
        say("met")
        assert await hear() == "speak"
        bob.chat("alice").send("second")
        await until(bob, lambda: bob.status().is_proxy_away and bob.status().away)
        await asyncio.sleep(3)
        assert heard() == ["first"]
        say("it waits")
        assert await hear() == "wait for it"
        await until(alice, lambda: heard() == ["first", "second"])
        assert not bob.status().is_proxy_away
        say("it came")


if __name__ == "__main__":
    vars(routes).update(RETRY_S=(0.2, 1.0))  # nobody waits for half a minute here
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2]))
