"""The drill's attacks on backups."""

from __future__ import annotations

import pytest

from amanat.drill import stolen

pytestmark = pytest.mark.long


def test_a_thief_of_a_backup_reads_what_is_in_it_and_nothing_later() -> None:
    found = stolen.words_read(1)
    assert found.read_before == found.before > 0  # else the next line proves nothing
    assert found.after == 40
    assert (found.read_after, found.read_without) == (0, 0)


def test_nothing_of_a_spoiled_backup_is_restored() -> None:
    assert stolen.restored(1, 5) == (0, 1)


def test_a_restored_profile_uses_no_key_of_the_old_device_while_both_run() -> None:
    found = stolen.both_live(1)
    assert found.sent > found.said == stolen.ROUNDS
    assert (found.used, found.told) == (0, found.conversations)


def test_cells_of_two_devices_under_one_key_are_found() -> None:
    """Two devices restored from one backup are of one generation."""
    assert stolen.both_live(1, is_twice=True).used > 0
