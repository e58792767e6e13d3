"""The drill's attacks on files: they find what is planted, and nothing where nothing is shown."""

from __future__ import annotations

import numpy as np
import pytest

from amanat.client.rules.sharing import Sharing
from amanat.drill import files
from amanat.drill.attacks import announcements, files_ledger, files_line, lure, plaintext
from amanat.drill.figures import Settings
from amanat.drill.sample import draw
from amanat.drill.scores import rank
from amanat.drill.sent_files import OURS, PADDINGS, SentFiles, draw_files, seen_sizes
from amanat.drill.traces import Said, read_said
from amanat.protocol.cells import MESSAGE_CELL

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def said() -> list[Said]:
    return read_said(None, "edges")


@pytest.fixture(scope="module")
def sent(said: list[Said]) -> SentFiles:
    sample = draw(said, people=100, days=10, seed=1)
    return draw_files(sample, np.random.default_rng(1))


@pytest.mark.parametrize("mode", lure.MODES)
def test_no_file_makes_a_client_call_a_relay_before_its_person_names_it(mode: str) -> None:
    assert files.lure_people(mode, 1, 1) == files.Lured(4, 0, 4)


def test_a_lure_that_a_client_follows_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def anywhere(*_: object) -> set[bytes]:
        return {bytes(key) for key in keys}

    keys: list[bytes] = []
    relay = files.Bait.__init__

    def init(self: files.Bait, region: str = "IR", port: int = 1, buckets: int = 1) -> None:
        relay(self, region, port, buckets)
        keys.append(self.address.key)

    monkeypatch.setattr(files.Bait, "__init__", init)
    monkeypatch.setattr(lure, "HOW", ("known",))
    real = Sharing._relays_of
    monkeypatch.setattr(Sharing, "_relays_of", lambda *args: real(*args) | anywhere())
    assert files.lure_people("direct", 1, 2).called == 2


def test_files_are_announced_in_cells_like_those_of_texts_after_an_upload() -> None:
    seen = files.announce(1, 40)
    assert {len(cell) for cell in seen.cells} == {MESSAGE_CELL}
    assert len(set(seen.cells)) == 40
    rng = np.random.default_rng(0)
    # The same attack finds them by what is sealed, and a relay that has the file by the times.
    assert plaintext.measure(seen.bodies, seen.is_file, rng)[0] >= announcements.CONTROL
    assert rank(-seen.since_s, seen.is_file, rng).auc > 0.9


def test_coarser_padding_names_fewer_lines_and_fewer_leaflets(sent: SentFiles) -> None:
    rng = np.random.default_rng(2)
    seen = [seen_sizes(sent, padding) for padding in PADDINGS]
    assert list(PADDINGS)[2] == OURS
    named = [files_line.measure(sent, one, 100, rng) for one in seen]
    assert named[0].average_precision > 0.99  # the control: each length is a name
    assert named[0].first > 0.99
    found = [one.average_precision for one in named]
    assert found == sorted(set(found), reverse=True)
    assert found[-1] > 10 * named[-1].base  # padding makes candidates, not safety
    known = [files_ledger.measure(sent, one, rng) for one in seen]
    for figures in ([one.precision for one in known], [one.alone for one in known]):
        assert figures == sorted(figures, reverse=True)
    assert known[-1].precision > known[-1].guess


def test_a_fetch_before_the_file_was_sent_names_nobody() -> None:
    sent = SentFiles(
        at=np.array([10.0, 20.0]),
        sender=np.array([0, 1]),
        size=np.array([5, 5]),
        fetched=np.array([0, 1]),
        fetched_at=np.array([15.0, 30.0]),
        fetcher=np.array([2, 3]),
    )
    alike = files_line.measure(sent, np.array([5, 5]), 4, np.random.default_rng(0))
    assert (alike.first, alike.base) == (1.0, 2 / 6)
    assert alike.average_precision == 1
    apart = files_line.measure(sent, np.array([5, 6]), 4, np.random.default_rng(0))
    assert apart.average_precision == 1


def test_rows_on_files_are_judged_by_what_we_do_now(
    said: list[Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SEEDS", 1)
    settings = Settings(None, "edges", 64, 5, 1, (), ("amanat",))
    rows = [
        row
        for attack in (files_line.NAME, files_ledger.NAME)
        for row in files.ON_FILES[attack](settings, said)
    ]
    judged = [row.metric for row in rows if row.verdict != "shown"]
    assert judged == [f"average precision, {OURS}", f"precision, {OURS}"]
    assert len(rows) == 4 * len(PADDINGS)
