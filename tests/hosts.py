"""Hosts of a test: each has a network namespace of its own, and one switch joins them all.

The switch is a thread of the test. It delivers frames (IEEE 802.3) between the hosts' network
devices, and delays them, loses them or keeps them as the test says. A host that is cut off notices
nothing: nobody refuses its connections, as nobody does when a cable is pulled.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

CLONE_NEWNET = 0x40000000
"""Flag of setns(2): a network namespace."""
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
"""A request of /dev/net/tun, and its flags: a device of frames, which bring nothing before them."""
FRAME_BYTES = 65_536
TO_ALL = 0x01
"""The bit of a frame's first byte that says that it is for more than one host."""


class Line(NamedTuple):
    """How frames go to and from a host."""

    delay_s: float = 0.0
    lost: float = 0.0
    """The share of frames that are lost, from 0 to 1."""


CUT = Line(lost=1.0)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)  # noqa: S607  # wherever the system has it


def enter(network: str) -> None:
    """Move the calling thread to a network namespace: the sockets that it opens are there."""
    handle = os.open(f"/run/netns/{network}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)


class Host:
    """A network namespace with loopback, and one device with one address."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.line = Line()
        self._device = f"{name}t"
        self.port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        wanted = struct.pack("16sH14x", self._device.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(self.port, TUNSETIFF, wanted)
        ip("netns", "add", name)
        ip("link", "set", self._device, "netns", name)
        ip("-n", name, "address", "add", f"{address}/24", "dev", self._device)
        for device in ("lo", self._device):
            ip("-n", name, "link", "set", device, "up")

    def close(self) -> None:
        os.close(self.port)
        ip("netns", "delete", self.name)

    def within(self, *words: str) -> list[str]:
        """The command line of a program that runs on the host."""
        return ["ip", "netns", "exec", self.name, *words]


class Switch(threading.Thread):
    """Joins hosts, until `close`."""

    def __init__(self, hosts: Sequence[Host], chance: random.Random) -> None:
        super().__init__(name="switch", daemon=True)
        self._hosts, self._chance = hosts, chance
        self._ports: dict[bytes, Host] = {}
        """The hosts by the addresses of their devices, which their frames have shown."""
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._is_over = False

    def run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for host in self._hosts:
                ready.register(host.port, selectors.EVENT_READ, host)
            while not self._is_over:
                wait = self._due[0][0] - time.monotonic() if self._due else 0.1
                for key, _ in ready.select(min(max(wait, 0), 0.1)):
                    self._take(key.data)
                while self._due and self._due[0][0] <= time.monotonic():
                    _, _, port, frame = heapq.heappop(self._due)
                    _write(port, frame)

    def _take(self, host: Host) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            for _ in range(64):  # then the others have a turn
                frame = os.read(host.port, FRAME_BYTES)
                self._ports[frame[6:12]] = host
                known = self._ports.get(frame[:6])
                if known is not None and not frame[0] & TO_ALL:
                    self._deliver(frame, host, known)
                else:
                    for other in self._hosts:
                        if other is not host:
                            self._deliver(frame, host, other)

    def _deliver(self, frame: bytes, source: Host, to: Host) -> None:
        for line in (source.line, to.line):
            if line.lost and self._chance.random() < line.lost:
                return
        delay = source.line.delay_s + to.line.delay_s
        if not delay:
            _write(to.port, frame)
            return
        self._count += 1  # frames that are due at one time keep their order
        heapq.heappush(self._due, (time.monotonic() + delay, self._count, to.port, frame))

    def close(self) -> None:
        self._is_over = True
        self.join()


def _write(port: int, frame: bytes) -> None:
    with contextlib.suppress(BlockingIOError, OSError):  # its queue is full: the frame is lost
        os.write(port, frame)


class Lan(NamedTuple):
    """Some hosts that can reach each other, and nobody else."""

    hosts: list[Host]

    @classmethod
    @contextlib.contextmanager
    def of(cls, stem: str, net: int, count: int, chance: random.Random) -> Iterator[Self]:
        """`count` hosts with the addresses 10.80.`net`.1 and so on."""
        with contextlib.ExitStack() as made:
            hosts = []
            for number in range(1, count + 1):
                host = Host(f"{stem}{number}", f"10.80.{net}.{number}")
                made.callback(host.close)
                hosts.append(host)
            switch = Switch(hosts, chance)
            switch.start()
            made.callback(switch.close)
            yield cls(hosts)
