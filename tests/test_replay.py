"""The main job, end to end: real processes, real sockets, real vaults, and SIGKILL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from amanat.client import vault
from amanat.client.vault import Unlock
from amanat.drill.replay import Report, replay
from amanat.drill.search import Hit, find_texts
from amanat.drill.traces import Line, Script, read_trace
from amanat.drill.transcripts import compare
from amanat.errors import BadArgument, WrongPassphrase
from figures import SOAK, report, rounds, soak_alone

pytestmark = [pytest.mark.long, pytest.mark.timeout(300 * max(1.0, SOAK))]


def silent(phase: str, done: int, total: int) -> None:
    """No progress bar."""


def group_script(people: int, messages: int) -> Script:
    """A group in which everyone speaks in turn, in several scripts."""
    names = [f"p{number:03d}" for number in range(people)]
    words = ("hello", "سلام دوستان", "привет всем", "多谢各位朋友", "שלום לכולם")
    lines = [
        Line(tuple(names), names[n * 7 % people], f"{words[n % len(words)]} {n}")
        for n in range(messages)
    ]
    return Script(names, lines)


def assert_clean(done: Report, *, messages: int) -> None:
    assert done.is_clean
    assert done.transcripts_equal
    assert done.reordered == 0
    assert (done.messages_in, done.delivered) == (messages, messages)


@pytest.mark.e2e
def test_people_of_a_real_network_get_every_message_once_and_the_relay_reads_none() -> None:
    script = read_trace(None, "edges", people=10, messages=150)
    done = replay(script, processes=2, progress=silent)
    assert_clean(done, messages=len(script.lines))
    assert done.relay_disk_bytes > len(script.lines) * 1024


@pytest.mark.e2e
def test_a_group_gets_every_message_in_order() -> None:
    assert_clean(replay(group_script(9, 40), processes=2, progress=silent), messages=40)


@pytest.mark.e2e
@pytest.mark.campaign
@soak_alone
def test_a_group_too_large_for_buckets_speaks_through_its_epoch_drop() -> None:
    assert_clean(replay(group_script(66, 20), processes=2, progress=silent), messages=20)


@pytest.mark.e2e
@pytest.mark.campaign
def test_killing_relay_and_clients_in_the_middle_loses_and_doubles_nothing() -> None:
    kills = rounds(4, 60)
    script = read_trace(None, "edges", people=8, messages=rounds(100, 2_500))
    done = replay(script, processes=2, progress=silent, kills=kills)
    assert_clean(done, messages=len(script.lines))
    report("processes killed while people talk", messages=done.delivered, kills=kills)


@pytest.mark.e2e
@pytest.mark.campaign
def test_killing_relay_and_members_while_a_group_talks_loses_and_doubles_nothing() -> None:
    messages, kills = rounds(30, 600), rounds(3, 40)
    script = group_script(8, messages)
    done = replay(script, processes=2, progress=silent, kills=kills)
    assert_clean(done, messages=messages)
    report("processes killed while a group talks", messages=messages, kills=kills)


@pytest.mark.e2e
def test_a_text_left_in_the_relays_directory_would_be_found(tmp_path: Path) -> None:
    script = group_script(3, 6)
    keep = tmp_path / "kept"
    assert_clean(replay(script, processes=1, progress=silent, keep=keep), messages=6)
    (keep / "relay" / "leak").write_bytes(b"\x00" * 1000 + script.lines[3].text.encode())
    said = {line.text for line in script.lines}
    hits, _ = find_texts(said, [keep / "relay"], unused=[keep / "unused"])
    assert hits == [Hit(script.lines[3].text, "leak", 1000)]


@pytest.mark.e2e
def test_people_may_say_what_every_relay_writes() -> None:
    people = ["a", "b"]
    said = ["sources", "replay", "draining", "limits", "CREATE TABLE", "SQLite format 3"]
    lines = [Line(tuple(people), people[n % 2], word) for n, word in enumerate(said)]
    done = replay(Script(people, lines), processes=1, progress=silent)
    assert_clean(done, messages=len(said))
    assert done.plaintext_hits == []


@pytest.mark.e2e
def test_the_command_prints_the_promised_keys(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("src dst time\n1 2 10\n2 1 20\n1 3 30\n")
    done = subprocess.run(
        [sys.executable, "-m", "amanat", "--json", "replay", "--trace", str(trace)],
        check=True,
        capture_output=True,
    )
    printed = json.loads(done.stdout)
    assert {
        "people", "messages_in", "delivered", "lost", "duplicated", "reordered",
        "transcripts_equal", "relay_plaintext_hits", "seconds", "messages_per_s", "p50_ms",
        "p99_ms", "longest_ms", "plaintext_hits", "bytes_up_per_message",
        "bytes_down_per_message", "relay_disk_bytes",
    } <= set(printed)  # fmt: skip
    assert (printed["people"], printed["messages_in"], printed["delivered"]) == (3, 3, 3)


def test_more_processes_than_people_are_refused() -> None:
    with pytest.raises(BadArgument):
        replay(group_script(3, 3), processes=4, progress=silent)


def test_missing_extra_and_moved_texts_are_counted() -> None:
    expected = [("a", "1"), ("b", "2"), ("a", "3")]
    assert compare(expected, expected) == ([], 0, 0)
    assert compare(expected, [("a", "1"), ("a", "3")]) == ([1], 0, 0)
    assert compare(expected, [*expected, ("b", "2")]) == ([], 1, 0)
    assert compare(expected, [("b", "2"), ("a", "1"), ("a", "3")]) == ([], 0, 1)


@pytest.mark.e2e
def test_a_kept_replay_leaves_vaults_that_open_with_no_other_key(tmp_path: Path) -> None:
    replay(group_script(2, 2), processes=1, progress=silent, keep=tmp_path / "kept")
    profiles = list((tmp_path / "kept" / "people").iterdir())
    assert len(profiles) == 2
    for profile in profiles:
        with pytest.raises(WrongPassphrase):
            vault.open_vault(profile, Unlock(key=bytes(32)))
