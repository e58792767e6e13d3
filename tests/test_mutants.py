"""The planted bugs of mutants.py still have their places and their tests. (`make mutants` plants
them.)"""

from __future__ import annotations

import ast
import fcntl
from pathlib import Path

import pytest

import mutants
from mutants import MUTANTS, ROOT, BrokenMutant, Mutant, is_caught, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_bug_has_its_place_and_its_tests(mutant: Mutant) -> None:
    text = place(ROOT, mutant).read_text()
    assert mutant.new != mutant.old
    ast.parse(text.replace(mutant.old, mutant.new))
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_bugs_are_known_by_their_names() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20


def planted(tmp_path: Path, old: str, new: str) -> tuple[Path, Mutant]:
    """A program of one line, a test of it, and a bug to put into it."""
    for path, text in (
        ("src/amanat/sums.py", "def add(a, b):\n    return a + b\n"),
        ("tests/test_sums.py", "import sums\ndef test_sum():\n    assert sums.add(2, 3) == 5\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["src/amanat"]\n'),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path, Mutant("a bug", old, new, ["test_sums.py::test_sum"])


@pytest.mark.e2e
@pytest.mark.parametrize(("new", "caught"), [("a - b", True), ("b + a", False)])
def test_bug_is_caught_or_survives(tmp_path: Path, new: str, caught: bool) -> None:
    copy, mutant = planted(tmp_path, "a + b", new)
    assert is_caught(copy, mutant) is caught
    assert "a + b" in (copy / "src" / "amanat" / "sums.py").read_text()


@pytest.mark.e2e
def test_bug_with_which_the_tests_do_not_end_is_caught_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    deaf = (
        "(signal := __import__('signal')).pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals)),"
        " __import__('subprocess').run(['sh', '-c', 'exec 9>held; flock 9; sleep 600'])"
    )
    copy, mutant = planted(tmp_path, "a + b", deaf)
    assert is_caught(copy, mutant, most_s=10)
    with (copy / "held").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # waits for as long as anybody holds it


@pytest.mark.e2e
def test_bug_with_which_nothing_runs_is_no_bug(tmp_path: Path) -> None:
    copy, mutant = planted(tmp_path, "def add", "class add")
    with pytest.raises(BrokenMutant):
        is_caught(copy, mutant)


@pytest.mark.parametrize("old", ["a * b", "a"])
def test_bug_without_one_place_is_refused(tmp_path: Path, old: str) -> None:
    copy, mutant = planted(tmp_path, old, "7")
    with pytest.raises(BrokenMutant):
        is_caught(copy, mutant)


@pytest.mark.long
def test_tests_that_fail_without_any_bug_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, mutant = planted(tmp_path, "a + b", "a - b")
    (copy / "tests" / "test_sums.py").write_text("def test_sum():\n    assert False\n")
    for name in mutants.COPIED:
        (copy / name).mkdir(exist_ok=True)
    monkeypatch.setattr(mutants, "ROOT", copy)
    with pytest.raises(BrokenMutant, match=r"without any bug: FAILED .*test_sum"):
        mutants.try_all([mutant], progress=lambda *_: None)
