"""A server as a process that ends with us, on a port of loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_S = 60.0
"""Longest a server may take until it listens, and until it has ended, in seconds."""
POLL_S = 0.05
SHOWN_CHARS = 2_000
"""How much is shown of what a server printed that did not start."""


@contextmanager
def running(
    command: Sequence[str], port: int, output: Path, environment: Mapping[str, str]
) -> Iterator[int]:
    """The id of a process that listens; what it prints is added to a file.

    Raises RuntimeError if it does not listen in time.
    """
    with output.open("ab") as printed:
        process = subprocess.Popen(  # noqa: S603  # a program that was asked for by name
            command, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
        )
    try:
        _wait_for(process, port, output)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(POLL_S)
        else:
            return
    raise RuntimeError(output.read_text(errors="replace")[-SHOWN_CHARS:])


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
