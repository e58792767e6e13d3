"""How steady the machine was while a benchmark ran, and figures as a table."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

HASHES = 200_000
"""A fixed piece of work for one core, about 0.1 s."""


class Noise:
    """The same piece of work, timed again and again."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self._times_ms: list[float] = []

    def sample(self) -> None:
        """Do the work once."""
        began = time.perf_counter()
        digest = b""
        for _ in range(HASHES):
            digest = hashlib.sha256(digest).digest()
        self._times_ms.append(1000 * (time.perf_counter() - began))

    def summary(self) -> dict[str, float]:
        """Load average before the first and milliseconds of the work."""
        low, median, high = spread(self._times_ms)
        return {"load_average": self.load, "min_ms": low, "median_ms": median, "max_ms": high}

    def __str__(self) -> str:
        low, median, high = spread(self._times_ms)
        return (
            f"Machine: load average {self.load:.1f} at the start; a fixed piece of work for one"
            f" core took {low:.0f} / {median:.0f} / {high:.0f} ms (min / median / max)."
        )


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def resident_kib(pid: int) -> int:
    """The memory that a process holds."""
    return _kib(pid, "VmRSS")


def clear_peak(pid: int) -> None:
    """Let `peak_kib` tell of what comes from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # as proc(5) says


def peak_kib(pid: int) -> int:
    """The most memory that a process has held, since it began or its peak was cleared."""
    return _kib(pid, "VmHWM")


def _kib(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """The least, the median and the most."""
    ordered = sorted(values)
    return ordered[0], statistics.median(ordered), ordered[-1]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
