"""The recorder of a hostile operator sees everything there is; our relay does not hold it."""

from __future__ import annotations

import gc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amanat.drill import logged, recorded, records
from amanat.drill.logged import Logs
from amanat.drill.recorded import Talk

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    # The library warns, when it collects them, of TLS connections that end with a busy loop.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TALK = Talk(
    6,
    [(0, 1), (2, 3), (4, 5)],
    [(0.3 * number, number % 6, (number % 6) ^ 1) for number in range(24)],
    8.0,
)
RELAY = "127.0.0.1"
"""The address from which relays connect to each other; people have lines of their own."""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect the remains of connections here, and not in the middle of other tests."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def hopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    root = tmp_path_factory.mktemp("hopped")
    yield recorded.record(TALK, root, mode="hopped", rng=np.random.default_rng(0))
    # An ordinary relay's directory and output, after the same talk, hold no record.
    for relay in recorded.OPERATORS:
        names = {file.name for file in (root / relay).iterdir()}
        assert not {name for name in names if "record" in name}


def test_home_sees_no_line_of_those_who_are_hopped(hopped: Logs) -> None:
    asked = [row for row in logged.asked_at_home(hopped) if row.kind in ("append", "read")]
    assert len(asked) > 50
    assert {row.frame.peer for row in asked} == {RELAY}
    assert all(row.frame.is_sealed for row in asked)


def test_every_cell_is_seen_once_under_a_label_of_its_own(hopped: Logs) -> None:
    labels = [row.frame.fields["label"] for row in logged.asked_at_home(hopped)
              if row.kind == "append"]  # fmt: skip
    assert len(labels) == len(set(labels))
    assert len(labels) >= len(TALK.said)


def test_hop_sees_lines_and_never_a_drop(hopped: Logs) -> None:
    asked = logged.asked_at_hop(hopped)
    assert {row.frame.peer for row in asked} == set(hopped.lines)
    passed = [row.frame for row in asked if row.frame.verb == "forward"]
    assert len(passed) > 50
    assert not any({"drop_id", "label", "cell size"} & set(frame.fields) for frame in passed)


def test_isp_sees_bytes_of_every_line_and_their_times(hopped: Logs) -> None:
    assert {one.line for one in hopped.carried} == set(hopped.lines)
    assert all(one.size > 0 for one in hopped.carried)


def test_fields_that_are_a_name_tell_it_and_others_do_not(hopped: Logs) -> None:
    rng = np.random.default_rng(1)
    at_hop = logged.bits(logged.asked_at_hop(hopped), rng)
    assert at_hop["peer"] > 0.9 * np.log2(6)
    reads = [row for row in logged.asked_at_home(hopped) if row.kind == "read"]
    # All share one bucket, so no logged field of a read tells whose it is.
    assert max(logged.bits(reads, rng).values(), default=0.0) < 0.5


def test_direct_the_home_sees_every_line(tmp_path: Path) -> None:
    logs = recorded.record(TALK, tmp_path, mode="direct", rng=np.random.default_rng(0))
    asked = [row for row in logged.asked_at_home(logs) if row.kind == "append"]
    assert {row.frame.peer for row in asked} == set(logs.lines)


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "records"
    written: list[records.Record] = [
        records.Opened(1, 2, RELAY, 3),
        records.Closed(4, 2),
        records.Carried(5, RELAY, 6, "up", 7),
    ]
    file.write_bytes(b"".join(records.encode(one) for one in written))
    assert list(records.read(file)) == written


def test_no_wheel_holds_the_recorder() -> None:
    wheels = Path(__file__).parent.parent / "pyproject.toml"
    assert 'python-source = "src"' in wheels.read_text()
    assert not (recorded.CLONE / "src" / "hostile").exists()
    for wheel in (recorded.CLONE / "rust" / "target" / "wheels").glob("*.whl"):
        assert not [name for name in zipfile.ZipFile(wheel).namelist() if "hostile" in name]
