"""Two people at two command lines, as in docs/first-steps.md, and everything that can go wrong.

There are real processes: a relay, and one `amanat` for each command.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from test_background import make_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


class Relay:
    """`amanat relay run`, to be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made = amanat(
            "relay", "init", str(directory), "--region", "IR", "--operator", "us",
            "--port", str(port),
        )  # fmt: skip
        self.address = json.loads(made.stdout)["address"]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "amanat", "--json", "relay", "run", str(self.directory)],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())["address"] == self.address

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Person:
    """A profile and its passphrase."""

    def __init__(self, directory: Path, passphrase: str) -> None:
        self.directory = directory
        self.passphrase = passphrase

    def run(
        self, *words: str, text: str = "", status: int = 0, passphrase: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; its exit status must be as expected."""
        reader, writer = os.pipe()
        os.write(writer, (passphrase or self.passphrase).encode() + b"\n")
        os.close(writer)
        try:
            return amanat(
                "--profile", str(self.directory), "--passphrase-fd", str(reader), *words,
                text=text, status=status, pass_fds=(reader,),
            )  # fmt: skip
        finally:
            os.close(reader)


def amanat(
    *words: str, text: str = "", status: int = 0, pass_fds: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "amanat", "--json", *words],
        input=text,
        capture_output=True,
        text=True,
        pass_fds=pass_fds,
        check=False,
    )
    assert done.returncode == status, done
    return done


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    running = Relay(tmp_path / "relay")
    yield running
    if running.process.poll() is None:
        running.stop()


def test_two_people_meet_talk_make_a_group_verify_and_go_on_after_restarts(
    relay: Relay, tmp_path: Path
) -> None:
    alice = Person(tmp_path / "alice", "correct horse")
    babak = Person(tmp_path / "babak", "گذرواژه‌ی بابک")
    alice.run("init", "--name", "Alice", "--relay", relay.address)
    babak.run("init", "--name", "بابک", "--relay", relay.address)
    (invite,) = lines(alice.run("invite"))
    knocked = babak.run("--wait", "2", "accept", "--greeting", "سلام", text=str(invite["invite"]))
    assert lines(knocked) == [{"inviter": "Alice", "met": False}]
    assert [c["name"] for c in json.loads(alice.run("contacts").stdout)] == ["بابک"]
    (said,) = lines(alice.run("send", "بابک", text="hello بابک"))
    assert (said["to"], said["state"]) == ("بابک", "sent")
    assert [(m["sender"], m["text"]) for m in lines(babak.run("read"))] == [("Alice", "hello بابک")]
    babak.run("send", "Alice", text="درود\nدو خط")
    assert [m["text"] for m in lines(alice.run("read"))] == ["سلام", "درود\nدو خط"]

    assert relay.stop() == 0
    refused = alice.run("--wait", "1", "send", "بابک", text="while it is away", status=4)
    assert json.loads(refused.stdout.splitlines()[-1])["error"] == "relay-unreachable"
    relay.start()

    group = json.loads(alice.run("group", "create", "خانواده", "بابک").stdout)
    assert (group["people"], group["region"]) == (["Alice", "بابک"], "IR")
    assert [m["text"] for m in lines(babak.run("read"))] == ["while it is away"]
    babak.run("send", "خانواده", text="in the group")
    assert [(m["conversation"], m["text"]) for m in lines(alice.run("read"))] == [
        ("خانواده", "in the group")
    ]
    theirs = json.loads(babak.run("verify", "Alice").stdout)
    ours = json.loads(alice.run("verify", "بابک", "--confirm").stdout)
    assert theirs["safety_number"] == ours["safety_number"]
    assert (theirs["verified"], ours["verified"]) == (False, True)
    assert json.loads(alice.run("status").stdout)["transport"] == "direct"
    assert all(check["ok"] for check in json.loads(alice.run("doctor").stdout))


def test_each_mistake_gets_its_name_and_its_status(relay: Relay, tmp_path: Path) -> None:
    def error(done: subprocess.CompletedProcess[str]) -> object:
        assert done.stderr.startswith("amanat: ")
        return json.loads(done.stdout.splitlines()[-1])["error"]

    alice = Person(tmp_path / "alice", "correct horse")
    assert error(alice.run("contacts", status=2)) == "no-profile"
    broken = relay.address[:-3]
    assert error(alice.run("init", "--name", "A", "--relay", broken, status=2)) == "broken-address"
    other_key = relay.address.replace("#" + relay.address.split("#")[1][:4], "#AAAA")
    assert (
        error(alice.run("init", "--name", "A", "--relay", other_key, status=5))
        == "relay-key-changed"
    )
    assert not (tmp_path / "alice" / "vault.db").exists()
    alice.run("init", "--name", "Alice", "--relay", relay.address)
    assert (
        error(alice.run("init", "--name", "Alice", "--relay", relay.address, status=2))
        == "profile-exists"
    )
    assert error(alice.run("contacts", status=2, passphrase="wrong")) == "wrong-passphrase"
    assert error(alice.run("accept", text="amanat-invite:cut", status=2)) == "broken-invite"
    own = str(lines(alice.run("invite"))[0]["invite"])
    assert error(alice.run("accept", text=own, status=2)) == "own-invite"
    assert error(alice.run("send", "nobody", text="x", status=2)) == "unknown-conversation"
    assert error(alice.run("group", "leave", "none", status=2)) == "unknown-conversation"


def test_a_second_process_on_a_profile_is_refused_and_the_first_goes_on(
    relay: Relay, tmp_path: Path
) -> None:
    alice = Person(tmp_path / "alice", "correct horse")
    alice.run("init", "--name", "Alice", "--relay", relay.address)
    reader, writer = os.pipe()
    os.write(writer, b"correct horse\n")
    os.close(writer)
    first = subprocess.Popen(
        [
            sys.executable, "-m", "amanat", "--profile", str(alice.directory),
            "--passphrase-fd", str(reader), "read", "--follow",
        ],
        pass_fds=(reader,),
    )  # fmt: skip
    os.close(reader)
    try:
        lock = alice.directory / "lock"
        deadline = time.monotonic() + 60
        while f":{lock.stat().st_ino} " not in Path("/proc/locks").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused = alice.run("invite", status=2)
        assert json.loads(refused.stdout)["error"] == "profile-in-use"
        assert first.poll() is None
    finally:
        first.kill()
        first.wait(30)
    alice.run("status")


def test_one_invite_lets_in_one_person(relay: Relay, tmp_path: Path) -> None:
    people = [Person(tmp_path / name, name) for name in ("alice", "babak", "carol")]
    for person in people:
        make_profile(
            person.directory, person.passphrase, name=person.passphrase, relay=relay.address
        )
    alice, babak, carol = people
    invite = str(lines(alice.run("invite"))[0]["invite"])
    babak.run("--wait", "1", "accept", text=invite)
    second = carol.run("--wait", "3", "accept", text=invite)
    assert "invite-used" in second.stderr
    assert [c["name"] for c in json.loads(alice.run("contacts").stdout)] == ["babak"]
    assert json.loads(carol.run("contacts").stdout) == []
