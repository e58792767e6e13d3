"""`amanat run`: one process stays online, and does the work of commands.

Both sides are real processes without a terminal, so a command that would have to ask for the
passphrase ends with `bad-argument`. If a command works without one, the background did its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import segno
import uvloop
import zxingcpp

from amanat import background, cli, front
from amanat.background import MAX_FRONTS, Front
from amanat.client import vault
from amanat.client.sdk.client import Client
from amanat.errors import (
    BackgroundBusy,
    BackgroundGone,
    BadArgument,
    FrameTooLarge,
    MalformedFrame,
    OtherVersion,
    ProfileInUse,
)
from amanat.front import (
    CODE,
    MAX_COMMAND_BYTES,
    MAX_WORDS,
    NOTE,
    PIECE_CHARS,
    RESULT,
    VERSION,
    Bar,
    Check,
    Command,
    End,
    Greeting,
    Refused,
    Said,
    Shown,
)
from amanat.process import EXIT_INTERRUPTED
from amanat.protocol.descriptor import b64
from relays import PATIENCE_S, RelayProcess, in_loop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSPHRASE = "گذرواژه‌ی آزمایش"  # noqa: S105  # of people who do not exist
HELLO = "سلام، فردا ساعت هشت؟"


class Ran:
    """The outcome of a command."""

    def __init__(self, process: subprocess.Popen[str], text: str = "") -> None:
        self.out, self.err = process.communicate(text, timeout=120)
        self.status = process.returncode

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self) -> Any:  # noqa: ANN401  # any JSON
        assert self.status == 0, (self.out, self.err)
        return self.lines[-1]

    @property
    def error(self) -> object:
        assert self.err.startswith("amanat: ")
        return self.lines[-1]["error"]


def make_profile(directory: Path, passphrase: str, *, name: str, relay: str) -> None:
    """Make a profile in this process, so that its passphrase is cheap to try."""

    async def make() -> None:
        unlock = vault.Unlock(passphrase=passphrase)
        await (await Client.create(directory, unlock, name=name, relay=relay)).close()

    uvloop.run(make())


class Person:
    """A profile, and the processes on it."""

    def __init__(self, name: str, directory: Path, relay: str) -> None:
        self.name, self.directory, self._relay = name, directory, relay

    def init(self) -> None:
        make_profile(self.directory, PASSPHRASE, name=self.name, relay=self._relay)

    def start(
        self,
        *words: str,
        unlocks: bool = False,
        profile: str | None = None,
        access: str = "",
        of: str = "--access-fd",
        **options: Any,  # noqa: ANN401  # of Popen
    ) -> subprocess.Popen[str]:
        """A command; it is given the passphrase only if it `unlocks`."""
        given = [("--passphrase-fd", PASSPHRASE)] if unlocks else []
        fds = [(name, _pipe(secret)) for name, secret in given]
        more = _pipe(access) if access else None
        line = [
            *("--profile", profile or str(self.directory), "--wait", "5"),
            *(part for name, fd in fds for part in (name, str(fd))),
            *words,
            *([of, str(more)] if more is not None else []),
        ]
        handed = [fd for _, fd in fds] + ([more] if more is not None else [])
        process = subprocess.Popen(
            [sys.executable, "-m", "amanat", "--json", *line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=handed,
            start_new_session=True,  # without the terminal of the tests' own caller
            **options,
        )
        for fd in handed:
            os.close(fd)
        return process

    def __call__(self, *words: str, text: str = "", **options: Any) -> Ran:  # noqa: ANN401
        return Ran(self.start(*words, **options), text)

    @contextlib.contextmanager
    def background(self) -> Iterator[subprocess.Popen[str]]:
        """`amanat run`, from its report that it is online until it is told to stop."""
        process = self.start("run", unlocks=True)
        try:
            said = first_line(process)
            assert said == {"running": True, "profile": str(self.directory)}, process
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            _, err = process.communicate(timeout=60)
        assert err == ""

    @contextlib.contextmanager
    def following(self) -> Iterator[subprocess.Popen[str]]:
        """`read --follow`, done by the background."""
        process = self.start("read", "--follow")
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=60)

    def line(self) -> socket.socket:
        """A connection to the background that has been greeted."""
        connected = self.connect()
        assert hear(connected) == Greeting(VERSION)
        return connected

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(PATIENCE_S)
        with front.socket_in(self.directory) as path:
            connected.connect(str(path))
        return connected

    def soon(self, is_so: Callable[[Ran], bool], *words: str) -> Ran:
        """The outcome of a command, repeated until `is_so` holds of it."""
        deadline = time.monotonic() + 60
        while not is_so(ran := self(*words)):
            assert time.monotonic() < deadline, (ran.status, ran.out, ran.err)
            time.sleep(0.1)
        return ran


def _pipe(secret: str) -> int:
    reading, writing = os.pipe()
    os.write(writing, secret.encode() + b"\n")
    os.close(writing)
    return reading


def first_line(process: subprocess.Popen[str]) -> Any:  # noqa: ANN401  # any JSON
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate(timeout=60)
    return json.loads(line)


def hear(connected: socket.socket) -> object:
    """The background's next frame; None if it has hung up."""
    head = read(connected, front.LENGTH.size)
    if not head:
        return None
    (length,) = front.LENGTH.unpack(head)
    return front.decode_answer(read(connected, length))


def read(connected: socket.socket, size: int) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while len(data) < size and (more := connected.recv(size - len(data))):
            data += more
    return data


def say(connected: socket.socket, record: msgspec.Struct) -> None:
    connected.sendall(front.frame(record))


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Restore Ctrl-C for children, who would ignore it if the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with RelayProcess(tmp_path / "relay", port=port) as running:
        yield running


@pytest.fixture
def alice(relay: RelayProcess, tmp_path: Path) -> Person:
    person = Person("آلیس", tmp_path / "alice", str(relay.address))
    person.init()
    return person


@pytest.fixture
def bob(relay: RelayProcess, alice: Person, tmp_path: Path) -> Person:
    """Bob, who has met Alice and has no background."""
    person = Person("Bob", tmp_path / "bob", str(relay.address))
    person.init()
    invite = alice("invite", unlocks=True).value["invite"]
    with alice.background():
        met = person("--wait", "60", "accept", text=invite, unlocks=True)
        assert met.value == {"inviter": "آلیس", "met": True}
        alice.soon(lambda ran: ran.value != [], "contacts")
    return person


def test_sending_works_while_read_follow_runs(alice: Person, bob: Person) -> None:
    with alice.background() as process, alice.following() as follower:
        sent = alice("send", "Bob", text=HELLO).value
        assert (sent["to"], sent["state"]) == ("Bob", "sent")
        assert [one["text"] for one in bob("read", unlocks=True).lines] == [HELLO]
        for text in ("درود\nدو خط", "x" * 60_000, '"' * 59_000):
            assert bob("send", "آلیس", text=text, unlocks=True).status == 0
            assert first_line(follower)["text"] == text
        group = alice("group", "create", "خانواده", "Bob").value
        assert group["admins"] == ["آلیس"]
        assert alice("verify", "Bob", "--confirm").value["verified"] is True
        assert alice("timer", "Bob", "2h").value == {"name": "Bob", "timer": 7200}
        assert alice("block", "Bob").value == {"name": "Bob", "blocked": True}
        assert alice("unblock", "Bob").value == {"name": "Bob", "blocked": False}
        assert alice("hop").value["transport"] == "direct"
        assert alice("status").value["outbox"] == 0
        assert [check["ok"] for check in alice("doctor").value] == [True, True, True]
        assert len('"' * 59_000) * 2 > PIECE_CHARS  # so that one of them came in pieces
        process.terminate()
        assert process.wait(60) == 0
        assert follower.wait(60) == 4  # no background does its work any longer
        assert not (alice.directory / front.OPEN).exists()
    assert alice("read", unlocks=True).lines == []  # the follower has shown all
    assert [check["ok"] for check in alice("doctor", unlocks=True).value] == [True, True, True]


def test_interrupting_a_follower_ends_the_follower_alone(alice: Person, bob: Person) -> None:
    with alice.background() as process, alice.following() as follower:
        bob("send", "آلیس", text="one", unlocks=True)
        assert first_line(follower)["text"] == "one"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == EXIT_INTERRUPTED
        assert alice("status").status == 0
        assert process.poll() is None


def test_texts_that_a_dead_front_did_not_show_are_shown_by_the_next(
    alice: Person, bob: Person
) -> None:
    bob("send", "آلیس", text=HELLO, unlocks=True)
    with alice.background():
        alice.soon(lambda ran: ran.value["conversations"] == 1, "status")
        with alice.following() as follower:  # which dies
            assert first_line(follower)["text"] == HELLO
            follower.send_signal(signal.SIGKILL)
            follower.wait(60)
        # It may have died before it could report that it had shown the text.
        assert [one["text"] for one in alice("read").lines] in ([], [HELLO])
        bob("send", "آلیس", text="دوم", unlocks=True)
        with (
            alice.line() as connected
        ):  # which has it said to it, and does not say that it is shown
            say(connected, Command(("--json", "read", "--follow"), ()))
            heard: list[object] = []
            while not any(isinstance(one, Said) and "دوم" in one.text for one in heard):
                if isinstance(one := hear(connected), Check) and not heard:
                    say(
                        connected, Shown(results=True, notes=True)
                    )  # of the warnings, of which there are none
                else:
                    heard.append(one)
        assert [one["text"] for one in alice("read").lines] == ["دوم"]
        assert alice("read").lines == []


def test_after_a_killed_background_a_command_opens_the_profile_itself(
    alice: Person, bob: Person
) -> None:
    with alice.background() as process:
        with alice.following() as follower:
            bob("send", "آلیس", text="one", unlocks=True)
            assert first_line(follower)["text"] == "one"
            bob("send", "آلیس", text="two", unlocks=True)
            process.kill()
            process.wait(60)
            ran = Ran(follower)
        assert ran.status == 4
        assert ran.lines[-1]["error"] == "background-gone"
    assert (alice.directory / front.OPEN).is_socket()  # stale
    assert alice("contacts").error == "bad-argument"  # no terminal to ask for the passphrase
    shown = [one["text"] for one in [*ran.lines[:-1], *alice("read", unlocks=True).lines]]
    assert shown in (["two"], ["two", "two"])
    with alice.background():
        assert alice("contacts").value[0]["name"] == "Bob"


def test_many_commands_at_once_are_all_done_once(alice: Person, bob: Person) -> None:
    texts = [f"پیام {number}" for number in range(24)]
    with alice.background():
        fronts = [alice.start("send", "Bob") for _ in texts]
        fronts += [alice.start("status") for _ in range(4)]
        for front in fronts[len(texts) :]:
            assert front.stdin is not None
            front.stdin.close()
        for front, text in zip(fronts, texts, strict=False):  # each waits for its text
            assert front.stdin is not None
            front.stdin.write(text)
            front.stdin.close()
        for front in fronts:
            assert front.wait(120) == 0
            for stream in (front.stdout, front.stderr):
                assert stream is not None
                stream.close()
        assert alice("status").value["outbox"] == 0
    assert sorted(one["text"] for one in bob("read", unlocks=True).lines) == sorted(texts)


def test_a_text_sent_while_the_background_is_killed_arrives_at_most_once(
    alice: Person, bob: Person
) -> None:
    """If the command has reported that the text was sent, it arrives exactly once."""
    texts = [f"پیام {number}" for number in range(12)]
    with alice.background() as process:
        fronts = [alice.start("send", "Bob") for _ in texts]
        for front, text in zip(fronts, texts, strict=True):
            assert front.stdin is not None
            front.stdin.write(text)
            front.stdin.close()
            front.stdin = None
        fronts[0].wait(60)
        process.kill()
        ends = [(text, Ran(front)) for front, text in zip(fronts, texts, strict=True)]
    for _, ran in ends:  # a front that came too late finds no background, and has no passphrase
        assert ran.status == 0 or ran.error in ("background-gone", "bad-argument")
    said = [text for text, ran in ends if ran.status == 0]
    assert said
    alice("status", unlocks=True)  # the kept texts leave
    arrived = [one["text"] for one in bob("read", unlocks=True).lines]
    assert len(arrived) == len(set(arrived))
    assert set(said) <= set(arrived) <= set(texts)


def test_two_followers_both_show_what_comes(alice: Person, bob: Person) -> None:
    with alice.background(), alice.following() as one, alice.following() as other:
        alice.soon(lambda ran: ran.value["conversations"] == 1, "status")
        for text in ("یک", "دو", "سه"):
            bob("send", "آلیس", text=text, unlocks=True)
            shown = [first_line(one)["text"], first_line(other)["text"]]
            assert shown == [text, text]


KEYRING = """
import json, pathlib, keyring.backend
FILE = pathlib.Path(__file__).with_name("entries")
class Filed(keyring.backend.KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return json.loads(FILE.read_text()).get(username) if FILE.exists() else None
    def set_password(self, service, username, password):
        FILE.write_text(json.dumps({username: password}))
"""
"""A system keyring in a file."""


def test_a_profile_in_the_keyring_starts_by_itself(relay: RelayProcess, tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    ring.mkdir()
    (ring / "filed.py").write_text(KEYRING)
    path = os.pathsep.join([str(ring), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "PYTHON_KEYRING_BACKEND": "filed.Filed"}
    frank = Person("Frank", tmp_path / "frank", str(relay.address))
    made = frank("init", "--keyring", "--name", "Frank", "--relay", str(relay.address), env=env)
    assert made.status == 0, made.err
    process = frank.start("run", env=env)
    try:
        assert first_line(process)["running"] is True
        assert frank("status").value["name"] == "Frank"  # without the keyring
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_second_background_is_refused(alice: Person) -> None:
    with alice.background() as process:
        second = alice("run")
        assert second.status == 2
        assert second.error == "profile-in-use"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_background_is_refused_where_another_process_has_the_profile(alice: Person) -> None:
    holder = vault.open_vault(alice.directory, vault.Unlock(passphrase=PASSPHRASE))
    assert alice("run", unlocks=True).error == "profile-in-use"
    holder.close()


def test_the_socket_is_the_person_s_alone(alice: Person) -> None:
    with alice.background():
        found = (alice.directory / front.OPEN).stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert stat.S_IMODE(alice.directory.stat().st_mode) == 0o700


STRANGER = """
import os, socket, sys
os.fchdir(int(sys.argv[1]))
os.setgroups([])
os.setresuid(65534, 65534, 65534)
line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
line.connect(sys.argv[2])
print(len(line.recv(100)))
"""
"""Another user's program, which prints how many bytes it is greeted with."""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_listened_to(alice: Person) -> None:
    with alice.background():
        alice.directory.chmod(0o711)  # even then
        (alice.directory / front.OPEN).chmod(0o666)
        handle = os.open(alice.directory, os.O_RDONLY | os.O_DIRECTORY)
        seen = subprocess.run(
            [sys.executable, "-c", STRANGER, str(handle), front.OPEN],
            pass_fds=(handle,), capture_output=True, text=True, check=False,
        )  # fmt: skip
        os.close(handle)
        assert (seen.returncode, seen.stdout) == (0, "0\n"), seen
        assert alice("status").status == 0


JUNK = {
    "nothing but a length": b"\xff\xff\xff\xff",
    "one byte more than a command may have": front.LENGTH.pack(MAX_COMMAND_BYTES + 1),
    "no MessagePack": front.LENGTH.pack(4) + b"junk",
    "another frame": front.frame(Shown(results=True, notes=True)),
    "an answer": front.frame(End(0)),
    "a field too many": front.LENGTH.pack(5) + b"\x94\x03\x90\x90\x00",
    "another encoding": front.LENGTH.pack(6) + b"\xdc\x00\x03\x03\x90\x90",
    "too many words": front.LENGTH.pack(5 + 5000) + b"\x93\x03\xdc\x13\x88" + b"\xa0" * 5000
    + b"\x90",
    "no command": front.frame(Command(("nonsense",), ())),
    "a cry for help": front.frame(Command(("--help",), ())),
    "nothing for a client": front.frame(Command(("replay",), ())),
    "a second background": front.frame(Command(("run",), ())),
    "a text that was not given": front.frame(Command(("send", "Bob"), ())),
}  # fmt: skip


def test_junk_is_refused_by_name_and_harms_nobody(alice: Person) -> None:
    with alice.background() as process, alice.following() as follower:
        for what, junk in JUNK.items():
            with alice.line() as connected:
                connected.sendall(junk)
                answer = hear(connected)
                if isinstance(answer, Said):  # an error of the command itself
                    assert "malformed-frame" not in answer.text
                    assert what == "a text that was not given"
                    continue
                large = "length" in what or "one byte" in what
                expected = FrameTooLarge if large else MalformedFrame
                assert answer == Refused(expected.code), what
                assert hear(connected) is None
        with alice.line() as connected:  # a text that is said twice, and a Shown out of place
            say(connected, Command(("read", "--follow"), ("x", "y")))
            hear(connected)
            say(connected, Shown(results=True, notes=True))
            say(connected, Shown(results=True, notes=True))
            while (answer := hear(connected)) is not None:
                last = answer
            assert last == Refused(MalformedFrame.code)
        with alice.line() as connected:  # hangs up in the middle of its command
            connected.sendall(front.frame(Command(("status",), ()))[:7])
        assert alice("status").status == 0
        assert follower.poll() is None
        assert process.poll() is None


def test_fronts_that_say_or_take_nothing_keep_nobody_out_but_by_their_number(
    alice: Person, bob: Person
) -> None:
    bob("send", "آلیس", text="one", unlocks=True)
    with alice.background(), contextlib.ExitStack() as stack:
        alice.soon(lambda ran: ran.value["conversations"] == 1, "status")
        for number in range(MAX_FRONTS):
            connected = stack.enter_context(alice.line())
            if number % 2:
                say(connected, Command(("--json", "read", "--all", "--follow"), ()))
        refused = alice("status")
        assert (refused.status, refused.error) == (4, "background-busy")
        assert "hint: " in refused.err
        stack.close()
        alice.soon(lambda ran: ran.status == 0, "status")
        assert [one["text"] for one in alice("read").lines] == ["one"]


@contextlib.contextmanager
def impostor(directory: Path, *answers: msgspec.Struct) -> Iterator[None]:
    """A program in the place of a background that sends the test's frames to one front."""
    with (
        front.socket_in(directory) as path,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connected, _ = listener.accept()
            with connected, contextlib.suppress(ConnectionError):  # it need not read everything
                for one in answers:
                    say(connected, one)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            path.unlink()


def all_shown() -> Shown:
    return Shown(results=True, notes=True)


def ask(directory: Path, words: list[str], given: list[str], heard: list[str]) -> int:
    """Run a front with these words and this input; its exit status. `heard` gets its output."""
    line = front.reach(directory)
    assert line is not None
    with contextlib.closing(line):
        return line.ask(
            words,
            given,
            lambda _, text: heard.append(text),
            all_shown,
            lambda one: heard.append(one.text),
        )


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((Greeting("0.0.9"),), OtherVersion),
        ((Greeting(VERSION + "1"), End(0)), OtherVersion),
        ((Refused(BackgroundBusy.code),), BackgroundBusy),
        ((Refused("of-tomorrow"),), MalformedFrame),
        ((), BackgroundGone),
        ((Greeting(VERSION),), BackgroundGone),
        ((Greeting(VERSION), Said(RESULT, "x"), Greeting(VERSION)), MalformedFrame),
        ((Greeting(VERSION), Command(("status",), ())), MalformedFrame),
        ((Greeting(VERSION), Bar(1, "a", 1, 0)), MalformedFrame),
        ((Greeting("0" * 5 * PIECE_CHARS),), FrameTooLarge),
    ],
)
def test_what_a_background_must_not_say_has_its_name(
    tmp_path: Path, answers: tuple[msgspec.Struct, ...], error: type[Exception]
) -> None:
    with impostor(tmp_path, *answers), pytest.raises(error):
        ask(tmp_path, ["status"], [], [])


def test_how_far_long_work_of_a_background_has_got_is_drawn(tmp_path: Path) -> None:
    heard: list[str] = []
    with impostor(tmp_path, Greeting(VERSION), Bar(1, "half", 1, 2), Said(NOTE, "x\n"), End(3)):
        assert ask(tmp_path, ["status"], [], heard) == 3
    assert heard == ["half", "x\n"]


def test_another_version_is_named_with_what_to_do(alice: Person) -> None:
    with impostor(alice.directory, Greeting("0.0.9")):
        ran = alice("contacts")
    assert (ran.status, ran.error) == (2, "other-version")
    assert "hint: end it, and start `amanat run` again" in ran.err


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["send", "\udcff"], []),
        (["send", "Bob"], ["x" * MAX_COMMAND_BYTES]),
        (["delete", *("x" for _ in range(MAX_WORDS))], []),
    ],
)
def test_a_command_that_cannot_be_handed_over_is_a_mistake_of_usage(
    tmp_path: Path, words: list[str], given: list[str]
) -> None:
    with impostor(tmp_path, Greeting(VERSION)), pytest.raises(BadArgument):
        ask(tmp_path, words, given, [])


def test_errors_and_their_statuses_come_through(alice: Person, bob: Person) -> None:
    with alice.background():
        ran = alice("send", "nobody", text="x")
        assert (ran.status, ran.error) == (2, "unknown-conversation")
        assert "hint: see `amanat contacts`" in ran.err
        assert alice("send", "Bob", text="x" * 60_001).error == "message-too-large"
        assert alice("accept", text="amanat-invite:cut").error == "broken-invite"
        assert alice("invite", "--qr", "code.txt").error == "bad-argument"


def test_files_are_those_of_the_front_s_directory(
    alice: Person, relay: RelayProcess, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    carol = Person("Carol", tmp_path / "carol", str(relay.address))
    carol.init()
    with alice.background(), carol.background():
        invite = alice("invite", "--qr", "code.svg", cwd=here, profile="../alice").value["invite"]
        assert (here / "code.svg").read_bytes().startswith(b"<?xml")
        alice("invite", "--qr", "code.png", cwd=here)
        assert (here / "code.png").read_bytes().startswith(b"\x89PNG")
        assert alice("invite", "--qr", "no/code.png", cwd=here).error == "bad-argument"
        (here / "invite").write_text(invite)
        met = carol("--wait", "60", "accept", "--file", "invite", cwd=here).value
        assert met == {"inviter": "آلیس", "met": True}


def test_the_code_of_an_invite_is_drawn_by_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = "amanat-invite:" + "A" * 300
    with impostor(tmp_path, Greeting(VERSION), Said(CODE, link), Said(NOTE, "x\n"), End(3)):
        words = ["--profile", str(tmp_path), "invite", "--qr", str(tmp_path / "code.png")]
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
    assert ended.value.code == 3
    drawn = tmp_path / "expected.png"
    segno.make(link, error="l", micro=False).save(str(drawn), scale=4)
    assert (tmp_path / "code.png").read_bytes() == drawn.read_bytes()
    assert zxingcpp  # the reader of codes is asked in test_invite.py


def test_a_code_is_handed_over_and_never_among_the_words(alice: Person, tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "second", name="others", access="code") as second:
        address, code = str(second.address), b64(second.directory.access_code)
        with alice.background():
            words, of = ("home", "--fallback", address), "--fallback-access-fd"
            wrong = alice(*words, access="no code at all!", of=of)
            assert wrong.error == "bad-argument"
            assert alice(*words, access=code, of=of).value["fallback"] == address
            assert alice("status").value["fallback"] == address


def test_the_background_changes_the_passphrase_for_a_command(alice: Person) -> None:
    with alice.background():
        wrong = alice("passphrase", "--passphrase-fd", "0", access="new", of="--new-fd", text="no")
        assert wrong.error == "wrong-passphrase"
        given = {"access": "new", "of": "--new-fd", "text": PASSPHRASE}
        assert alice("passphrase", "--passphrase-fd", "0", **given).status == 0
        assert alice("contacts").status == 0
    assert alice("contacts", unlocks=True).error == "wrong-passphrase"
    assert alice("contacts", "--passphrase-fd", "0", text="new").status == 0


def test_a_profile_is_not_wiped_while_the_background_has_it(alice: Person) -> None:
    with alice.background():
        assert alice("wipe", "--yes").error == "profile-in-use"
        assert alice("contacts").status == 0
    assert alice("wipe", "--yes").status == 0
    assert not alice.directory.exists()


def test_no_secret_is_among_arguments_or_in_the_environment(
    alice: Person, bob: Person, relay: RelayProcess
) -> None:
    dave = Person("Dave", alice.directory.parent / "dave", str(relay.address))
    dave.init()
    invite = dave("invite", unlocks=True).value["invite"]
    with alice.background() as process:
        alice("send", "Bob", text=HELLO)
        front = alice.start("--wait", "60", "accept")  # Dave is not online: it stays
        assert front.stdin is not None
        front.stdin.write(invite)
        front.stdin.close()
        front.stdin = None
        alice.soon(lambda ran: ran.value["outbox"] == 0, "status")
        seen = b"".join(
            Path(f"/proc/{one.pid}/{file}").read_bytes()
            for one in (process, front)
            for file in ("cmdline", "environ")
        )
        assert b"accept" in seen  # the test looks in the right place
        for secret in (PASSPHRASE, HELLO, invite, invite.removeprefix("amanat-invite:")):
            assert secret.encode() not in seen
        front.kill()
        front.communicate(timeout=60)


def test_a_profile_may_lie_deep(relay: RelayProcess, alice: Person, tmp_path: Path) -> None:
    deep = tmp_path / ("ژرف" * 20) / ("deep" * 20) / "profile"
    assert len(os.fsencode(deep)) > 200
    erin = Person("Erin", deep, str(relay.address))
    erin.init()
    with erin.background():
        assert erin("status").value["name"] == "Erin"


def test_while_the_relay_is_away_the_person_is_told_and_nothing_is_lost(
    alice: Person, bob: Person, relay: RelayProcess
) -> None:
    with alice.background():
        assert alice("read").err == ""
        relay.kill()
        ran = alice.soon(lambda ran: "this is what was known before" in ran.err, "contacts")
        assert [contact["name"] for contact in ran.value] == ["Bob"]
        doctor = alice("doctor")
        assert doctor.status == 1
        assert [check["ok"] for check in doctor.lines[-1]] == [True, True, False]
        ran = alice("--wait", "1", "send", "Bob", text=HELLO)
        assert (ran.status, ran.error) == (4, "relay-unreachable")
        relay.start()
        alice.soon(lambda ran: ran.value["outbox"] == 0 and ran.err == "", "status")
    assert [one["text"] for one in bob("read", unlocks=True).lines] == [HELLO]


# In this process, because it takes long in others


@contextlib.contextmanager
def front_of(directory: Path) -> Iterator[socket.socket]:
    with (
        front.socket_in(directory) as path,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected,
    ):
        connected.setblocking(False)
        connected.connect(str(path))
        yield connected


def performing(
    work: Callable[[Front], Awaitable[int]],
) -> Callable[[Command, Front], Awaitable[int]]:
    async def perform(_: Command, front: Front) -> int:
        return await work(front)

    return perform


@in_loop
async def test_front_that_never_takes_anything_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "STALLED_S", 0.2)
    ended = asyncio.Event()

    async def work(front: Front) -> int:
        try:
            front.say(RESULT, "x" * 10 * 1024 * 1024)
            await front.shown()
        finally:
            ended.set()
        return 0

    async with background.listening(tmp_path, performing(work)):
        with front_of(tmp_path) as connected:
            connected.send(front.frame(Command((), ())))
            await ended.wait()


@in_loop
async def test_work_is_broken_off_with_its_front_and_with_the_background(tmp_path: Path) -> None:
    for hangs_up in (True, False):
        begun, ended = asyncio.Event(), asyncio.Event()

        async def work(_: Front, begun: asyncio.Event = begun, end: asyncio.Event = ended) -> int:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                end.set()
            return 0

        async with background.listening(tmp_path, performing(work)):
            with front_of(tmp_path) as connected:
                connected.send(front.frame(Command((), ())))
                await begun.wait()
                if not hangs_up:
                    break
            await ended.wait()
    assert ended.is_set()
    assert not (tmp_path / front.OPEN).exists()
    assert front.reach(tmp_path) is None


@in_loop
async def test_shown_waits_until_the_front_has_shown_everything(tmp_path: Path) -> None:
    order: list[str] = []

    async def work(front: Front) -> int:
        front.say(NOTE, "first")
        await front.shown()
        order.append("background")
        front.say(RESULT, "second")
        return 7

    async with background.listening(tmp_path, performing(work)):
        assert await asyncio.to_thread(ask, tmp_path, ["x"], ["y"], order) == 7
    assert order == ["first", "background", "second"]


def test_a_background_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 65_534)
    with impostor(tmp_path, Greeting(VERSION)), pytest.raises(ProfileInUse, match="another user"):
        front.reach(tmp_path)


# The unit


def keyring_profile(directory: Path) -> Path:
    directory.mkdir(parents=True)
    settings = {"version": 1, "unlock": "keyring", "entry": "0", "check": "0"}
    (directory / "vault.json").write_text(json.dumps(settings))
    return directory


def verify(unit: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """The result of systemd's check of a user unit."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = directory / "amanat.service"
    file.write_text(unit)
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return subprocess.run(
        [analyze, "verify", "--user", str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_unit_of_a_profile_is_one_that_systemd_takes(tmp_path: Path) -> None:
    profile = keyring_profile(tmp_path / 'my %n "profile" $HOME \\ پوشه‌ی من')
    made = subprocess.run(
        [sys.executable, "-m", "amanat", "--profile", str(profile), "run", "--unit"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (start,) = [line for line in made.stdout.splitlines() if line.startswith("ExecStart=")]
    assert start.endswith(f'--profile "{tmp_path}/my %%n \\"profile\\" $HOME \\\\ پوشه‌ی من" run')
    found = verify(made.stdout, tmp_path)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_unit_s_paths_are_read_by_systemd_as_they_are(tmp_path: Path) -> None:
    place = tmp_path / "my %n $HOME ; پوشه‌ی من"
    place.mkdir()
    executable = place / "amanat"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    unit = background.unit(executable, place)
    assert verify(unit, tmp_path).returncode == 0
    executable.unlink()  # verifying looks for the very file
    assert "is not executable" in verify(unit, tmp_path).stderr


def test_unit_that_cannot_work_is_not_made(alice: Person, tmp_path: Path) -> None:
    ran = alice("run", "--unit")
    assert ran.error == "bad-argument"
    assert "by hand" in ran.err
    assert Person("x", tmp_path / "none", "")("run", "--unit").error == "no-profile"
    for executable, directory in (("/a/b", "/a\nb"), ('/a"b', "/a"), ("/a\\b", "/a")):
        with pytest.raises(BadArgument):
            background.unit(Path(executable), Path(directory))


def test_exit_leaves_a_relay_that_is_gone(
    relay: RelayProcess, alice: Person, bob: Person, tmp_path: Path
) -> None:
    with (
        RelayProcess(tmp_path / "second") as second,
        RelayProcess(tmp_path / "third") as third,
    ):
        # Clients call relays on this machine only if their people have named them.
        assert alice("place", str(second.address), unlocks=True).value["found"]
        assert bob("place", str(third.address), unlocks=True).value["found"]
        assert bob("home", str(second.address), unlocks=True).value["relay"] == str(second.address)
        assert alice("read", unlocks=True).status == 0
        relay.kill()
        left = alice("exit", "--to", str(third.address), unlocks=True).value
        assert left["relay"] == str(third.address)
        assert [former["is_away"] for former in left["former"]] == [True]
        with alice.background():
            sent = bob("send", "آلیس", text=HELLO, unlocks=True)
            assert sent.status == 0
            assert alice.soon(lambda ran: ran.value["unaware"] == [], "home").value["former"]
            shown = alice.soon(lambda ran: bool(ran.lines), "read", "--all", "Bob")
            assert [line["text"] for line in shown.lines] == [HELLO]
