"""A child that reads a stranger's bytes has given up everything else before."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from amanat import child

pytestmark = pytest.mark.e2e

TRIES = """
import ctypes, json, os, resource, signal, socket, sys, tempfile
from amanat import confinement
parent = os.getppid()
confinement.limit(cpu_s=5)
listening = socket.socket()
held = tempfile.TemporaryFile()
system = ctypes.CDLL(None, use_errno=True)

def thread():
    import _thread
    _thread.start_new_thread(len, ((),))

tries = {
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "make a file": lambda: os.open("/tmp/amanat-confined", os.O_RDWR | os.O_CREAT),
    "list a directory": lambda: os.listdir("/"),
    "write to a file that is open": lambda: os.write(held.fileno(), b"x"),
    "see a file": lambda: os.stat("/etc/passwd"),
    "make a socket": socket.socket,
    "call somebody": lambda: listening.connect(("127.0.0.1", 9)),
    "listen": lambda: listening.bind(("127.0.0.1", 0)),
    "fork": lambda: os.fork() or os._exit(0),
    "become another program": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(parent, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    "make a pipe": os.pipe,
    "make a file in memory": lambda: os.memfd_create("x"),
}
%s
found = {}
for name, attempt in tries.items():
    try:
        attempt()
        found[name] = ""
    except (OSError, RuntimeError, ValueError) as error:
        found[name] = type(error).__name__
print(json.dumps(found), flush=True)
"""


def tried(how: str) -> dict[str, str]:
    """The error of each try of a child after it has done something; empty if it could."""
    program = f"import sys; sys.path.insert(0, {child._ROOT!r})\n" + TRIES % how
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True, env={}
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter knows x86-64")
def test_a_sealed_child_can_open_nothing_call_nobody_and_start_nothing() -> None:
    found = tried("tries['run a thread'] = thread\nconfinement.seal()")
    assert {name for name, error in found.items() if not error} == set()


def test_without_the_filter_files_and_sockets_are_closed_all_the_same() -> None:
    found = tried("confinement._take_filter = lambda system: None\nconfinement.seal()")
    closed = {name for name, error in found.items() if error}
    assert closed >= {"read a file", "make a file", "list a directory", "make a socket"}
    assert "write to a file that is open" in closed


def test_landlock_closes_files_programs_and_calls() -> None:
    ask = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1), flush=True)"
    if int(subprocess.check_output([sys.executable, "-c", ask])) < 4:
        pytest.skip("the kernel has no Landlock that knows calls")
    found = tried(
        "confinement._take_filter = lambda system: None\n"
        "confinement.SEALED_FILES = 16\nconfinement.seal()"
    )
    for name in ("read a file", "make a file", "list a directory", "become another program"):
        assert found[name] == "PermissionError", name
    assert found["call somebody"] == found["listen"] == "PermissionError"


@pytest.mark.parametrize(
    ("greed", "end"),
    [
        ("bytearray(2**30)", 1),
        ("while True: pass", -9),
        ("import os; [os.dup(0) for _ in range(16)]", 1),
    ],
)
def test_a_child_that_takes_more_than_it_may_ends(greed: str, end: int) -> None:
    program = (
        f"import sys; sys.path.insert(0, {child._ROOT!r})\n"
        f"from amanat import confinement\nconfinement.limit(cpu_s=1)\n{greed}"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True, check=False, env={},
    )  # fmt: skip
    assert done.returncode == end, done.stderr
