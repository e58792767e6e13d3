"""A program that runs as a process on a loopback port and ends with ours."""

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
"""Longest time until a server listens, and until it has ended, in seconds."""
POLL_S = 0.05
SHOWN_CHARS = 2_000
"""Most characters shown of the output of a server that did not start."""


@contextmanager
def running(
    command: Sequence[str], port: int, output: Path, environment: Mapping[str, str]
) -> Iterator[int]:
    """The id of a process that listens; its output is added to a file.

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
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
