"""The built program as a shell runs it: its own process, and its exit status."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amanat.client import vault
from amanat.process import EXIT_INTERRUPTED
from relays import RelayProcess
from test_background import PASSPHRASE, Person, ctrl_c

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

__all__ = ["ctrl_c"]


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person at home at a real relay."""
    root = tmp_path_factory.mktemp("alice")
    with RelayProcess(root / "relay") as relay:
        person = Person("Alice", root / "profile", str(relay.address))
        person.init()
        yield person


def amanat(line: str, profile: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command line of a shell, in which `amanat` is the program."""
    program = f"{sys.executable} -m amanat --profile {profile} --wait 5"
    return subprocess.run(
        ["/bin/bash", "-c", f"umask 022; {line}".replace("amanat", program)],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_passphrase_by_standard_input_opens_the_profile(alice: Person) -> None:
    ran = amanat("amanat --passphrase-fd 0 --json contacts", alice.directory, PASSPHRASE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("0<&-", 0), ("1>&-", 4), ("2>&-", 0), ("0<&- 1>&- 2>&-", 4),
        (">/dev/full", 4), ("2>/dev/full", 0), ("> >(exec <&-; sleep 9)", 4),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_shown_has_a_status(
    alice: Person, where: str, status: int
) -> None:
    ran = amanat(
        f"exec 3<<<'{PASSPHRASE}'; amanat --passphrase-fd 3 invite {where}", alice.directory
    )
    assert ran.returncode == status, ran
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr
    unlock = vault.Unlock(passphrase=PASSPHRASE)
    with contextlib.closing(vault.open_vault(alice.directory, unlock)) as opened:
        assert not opened.damage()


TYPES = """
import pty, sys, os
words = [word.encode() + b"\\n" for word in sys.argv[2:]]
pid, terminal = pty.fork()
if pid == 0:
    words = ["-m", "amanat", "--profile", sys.argv[1], "passphrase"]
    os.execv(sys.executable, [sys.executable, *words])
shown = b""
try:
    while data := os.read(terminal, 1024):
        shown += data
        if data.rstrip().endswith(b":"):
            os.write(terminal, words.pop(0))
except OSError:
    pass
print(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""Types words, one at each question of a terminal."""


def test_the_terminal_asks_for_the_old_passphrase_and_twice_for_the_new_one(
    alice: Person,
) -> None:
    def typing(*words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-c", TYPES, str(alice.directory), *words]
        return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)

    differ = typing(PASSPHRASE, "one", "another")
    assert differ.returncode == 2, differ
    assert "the two passphrases differ" in differ.stdout
    ran = typing(PASSPHRASE, "another", "another")
    assert ran.returncode == 0, ran
    assert [ran.stdout.count(one) for one in ("new passphrase: ", "again: ")] == [1, 1]
    assert "another" not in ran.stdout  # nothing that is typed is shown
    assert amanat("amanat --passphrase-fd 0 contacts", alice.directory, "another").returncode == 0
    assert typing("another", PASSPHRASE, PASSPHRASE).returncode == 0


DRAWS = """
import os, pty, sys
from amanat import display, front
from amanat.cli.terminal import Bars

pid, terminal = pty.fork()
if pid == 0:
    screen = display.Screen(is_json=False, draw=lambda _: None, bars=Bars())
    for done in range(3):
        screen.bar(front.Bar(1, "[b]map.txt", done, 3))
    screen.say(front.NOTE, "amanat: done\\n")
    os._exit(screen.close(0, is_question=False))
shown = b""
try:
    while data := os.read(terminal, 1024):
        shown += data
except OSError:
    pass
print(ascii(shown.decode()))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""Long work on a terminal, of which the person is told in between."""


def test_a_bar_on_a_terminal_shows_the_name_as_it_is_and_goes_before_a_note() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DRAWS], capture_output=True, text=True, timeout=60, check=True
    )
    before, _, after = ran.stdout.partition("amanat: done")
    assert "[b]map.txt" in before
    assert before.endswith(r"\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line empty
    assert "map.txt" not in after


SEES_ITSELF = """
import ctypes, resource
from amanat import __main__, cli
PR_GET_DUMPABLE = 3
cli.main = lambda: print(
    ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)
)
__main__.main()
"""
"""The program, with a command that prints what the system may do with its memory."""


def test_nothing_of_a_process_is_left_in_a_core_dump(alice: Person) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SEES_ITSELF], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "0 (0, 0)\n"
    with alice.background() as process:
        assert process.pid
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)


STARTS = """
import runpy, signal, sys, threading

def watch():
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        pass
    print(end=".", flush=True)

threading.Thread(target=watch, daemon=True).start()
sys.argv = ["amanat", "read"]
runpy.run_module("amanat", run_name="__main__")
"""
"""Prints a line once the program, and no longer Python itself, handles interrupts."""


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6])
def test_a_person_who_interrupts_the_start_sees_no_traceback(
    after_s: float, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(1)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    # If the start was over, the program has found that there is no profile, or was at its end.
    assert process.returncode in (EXIT_INTERRUPTED, 2, -signal.SIGINT)


def test_a_profile_s_directory_is_its_owner_s_alone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir(mode=0o755)
    unlock = vault.Unlock(key=bytes(32))
    vault.create(made, unlock, lambda _, __: None, now=0)
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    vault.open_vault(made, unlock).close()
    assert made.stat().st_mode & 0o777 == 0o700
