"""The command line: results on stdout, all else on stderr, the status of the error's family.

The relay is in memory and time is real; everything else is what a person would run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from amanat import cli
from amanat.cli import terminal, words
from amanat.client import vault
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.network import Network
from amanat.drill.shelves import Relay
from amanat.errors import EXIT_BUG
from amanat.link import Internet
from amanat.process import EXIT_INTERRUPTED
from amanat.protocol.descriptor import b64
from exports import as_bytes, chat, message
from recordings import SILENCE, webm

COMMANDS = (
    "init", "invite", "invites", "accept", "knocks", "visitors", "name", "contacts", "send", "read",
    "edit", "react", "forward", "delete", "export", "search", "timer", "block", "unblock", "group",
    "import", "imported", "backup", "backup begin", "backup now", "backup status", "backup check",
    "backup phrase", "backup shares", "backup stop", "restore",
    "group create", "group add", "group remove", "group leave", "group adds", "group offers",
    "group accept", "group decline", "group rename", "group admin", "group rejoin", "group list",
    "verify", "run", "passphrase", "wipe", "proxy", "status", "doctor", "relay", "relay init",
    "relay run", "relay cluster", "relay cluster try",
    "relay cluster check", "relay cluster scrub", "capacity", "replay",
)  # fmt: skip


RIGHT = "open sesame"
"""Everybody's passphrase."""


class Ran(NamedTuple):
    """The outcome of a command."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:  # noqa: ANN401  # any JSON
        """The one JSON value on stdout."""
        return json.loads(self.out)


class Shell:
    """Runs commands of one person."""

    def __init__(self, profile: Path, relay: Relay, run: Callable[..., Ran]) -> None:
        self.profile = profile
        self._relay = relay
        self._run = run

    def __call__(self, *arguments: str, given: str = "", passphrase: str = RIGHT) -> Ran:
        reading, writing = os.pipe()
        os.write(writing, passphrase.encode() + b"\n")
        os.close(writing)
        options = ["--profile", str(self.profile), "--passphrase-fd", str(reading), "--wait", "5"]
        ran = self._run([*options, *arguments], given)
        with contextlib.suppress(OSError):  # unless the command has read it
            os.close(reading)
        return ran

    def json(self, *arguments: str, given: str = "") -> Any:  # noqa: ANN401  # any JSON
        ran = self("--json", *arguments, given=given)
        assert ran.status == 0, ran.err
        return ran.value

    def knock(self, *arguments: str, given: str = "") -> None:
        """Knock on an invite of somebody who is not there. On a busy machine the relay may not have
        answered so soon; then the knock leaves with another command."""
        ran = self("--json", "--wait", "0.3", "accept", *arguments, given=given)
        if ran.status == 4:
            self.json("contacts")
        else:
            assert ran.value["met"] is False

    def json_error(self, *arguments: str) -> object:
        ran = self("--json", *arguments)
        assert ran.status != 0
        return ran.value["error"]

    def init(self, name: str) -> Ran:
        return self("init", "--name", name, "--relay", str(self._relay.address))


class Town:
    """A relay and the people on it."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.network = Network(random.Random(0))
        self.relay = Relay()
        self.network.relays[self.relay.address] = self.relay
        self._root, self._monkeypatch, self._capfd = root, monkeypatch, capfd
        for name in ("resolve", "dial"):
            monkeypatch.setattr(Internet, name, staticmethod(getattr(self.network, name)))

    def shell(self, name: str) -> Shell:
        return Shell(self._root / name, self.relay, self.run)

    def person(self, name: str) -> Shell:
        shell = self.shell(name)
        assert shell.init(name).status == 0
        return shell

    def friends(self) -> tuple[Shell, Shell]:
        alice, bob = self.person("alice"), self.person("bob")
        link = alice.json("invite")["invite"]
        bob.knock(given=link)
        alice.json("contacts")
        bob.json("contacts")
        return alice, bob

    def run(self, arguments: list[str], given: str = "") -> Ran:
        self._capfd.readouterr()
        stdin = io.TextIOWrapper(io.BytesIO(given.encode("utf-8", "surrogateescape")))
        self._monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        out, err = self._capfd.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)


@pytest.fixture
def town(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Town:
    return Town(tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(town: Town, command: str) -> None:
    ran = town.run([*command.split(), "--help"])
    assert ran.status == 0
    assert ran.out.startswith(f"usage: amanat {command}")
    assert not ran.err


@pytest.mark.parametrize(
    "line", ["", "nonsense", "send", "group", "verify", "--wait soon contacts", "relay run",
             "replay --format mbox"],
)  # fmt: skip
def test_a_line_that_is_no_command_is_a_mistake_of_usage(town: Town, line: str) -> None:
    ran = town.run(line.split())
    assert ran.status == 2
    assert not ran.out
    assert ran.err.startswith("usage: ")


def test_no_option_takes_a_secret() -> None:
    text = words.parser().format_help().lower()
    assert "--passphrase-fd" in text
    for word in ("--passphrase ", "--passphrase=", "--password", "--key", "--access "):
        assert word not in text


@pytest.mark.long
def test_two_people_meet_and_talk(town: Town) -> None:
    alice, bob = town.friends()
    (contact,) = alice.json("contacts")
    assert contact["name"] == "bob"
    assert contact["verified"] is False
    assert len(contact["id"]) == 8
    sent = bob.json("send", "alice", given="سلام\n")
    assert sent == {"to": "alice", "id": sent["id"], "state": "sent"}
    ran = alice("--json", "read")
    (line,) = (json.loads(text) for text in ran.out.splitlines())
    assert line["text"] == "سلام"
    assert line["sender"] == line["conversation"] == "bob"
    assert line["own"] is False
    assert set(line) == {
        "conversation", "conversation_id", "id", "sender", "own", "text", "reply_to", "edited",
        "forwarded", "deleted", "reactions", "sent_at", "kept_at", "expires_at", "state",
        "read_by", "read_of", "file",
    }  # fmt: skip
    assert alice("--json", "read").out == ""
    assert "سلام" in alice("read", "--all").out
    assert "سلام" in alice("read", "bob", "--all").out
    assert alice.json("search", "bob", given="سلا\n") == line
    assert alice.json("search", "--many", "1", given="سلام")["id"] == line["id"]
    assert alice("search", given="absent").out == ""


@pytest.mark.long
def test_messages_are_answered_edited_and_deleted(town: Town) -> None:
    alice, bob = town.friends()
    asked = bob.json("send", "alice", given="when?\nwhere?")["id"]
    answered = alice.json("send", "bob", "--reply-to", asked[:8], given="at eight")["id"]
    assert alice.json("edit", "bob", answered[:8], given="سلام") == {"to": "bob", "id": answered}
    reacted = bob.json("react", "alice", answered[:4], given="👍\n")
    assert reacted == {"to": "alice", "id": answered, "reactions": {"bob": "👍"}}
    shown = alice("read", "--all").out
    assert asked[:8] in shown
    assert f"in answer to {asked[:8]}  \u2068bob\u2069: \u2068when?\u2069\n" in shown
    assert f"\u2068{'سلام'}\u2069  (edited)" in shown
    assert "\u2068👍\u2069 \u2068bob\u2069" in shown
    assert bob.json("react", "alice", answered, "--withdraw")["reactions"] == {}
    exported = bob.json("export", "alice", str(file := bob.profile.with_name("talk.json")))
    assert exported == {"file": str(file), "messages": 2}
    assert bob.json("delete", "alice", asked[:8]) == {"to": "alice", "ids": [asked]}
    lines = [json.loads(line) for line in alice("--json", "read", "--all").out.splitlines()]
    assert [(m["text"], m["deleted"], m["edited"], m["reply_to"]) for m in lines] == [
        ("", True, False, None), ("سلام", False, True, asked),
    ]  # fmt: skip
    assert "(deleted)" in alice("read", "--all").out
    alice.json("delete", "bob", asked, answered, "--only-here")
    assert alice("read", "--all").out == ""
    assert "سلام" in bob("read", "--all").out


@pytest.mark.long
def test_an_answer_to_a_text_that_is_not_here_says_so(town: Town) -> None:
    alice, bob = town.friends()
    asked = alice.json("send", "bob", given="when?")["id"]
    bob.json("send", "alice", "--reply-to", asked, given="at eight")
    alice.json("delete", "bob", asked, "--only-here")
    assert f"in answer to {asked[:8]}  something that is not here" in alice("read").out


@pytest.mark.long
def test_timer(town: Town) -> None:
    alice, bob = town.friends()
    assert alice.json("timer", "bob") == {"name": "bob", "timer": 0}
    assert alice.json("timer", "bob", "2h") == {"name": "bob", "timer": 7200}
    assert bob("timer", "alice").out == "\u2068alice\u2069: new texts disappear after 2h\n"
    bob.json("send", "alice", given="for two hours")
    assert "    disappears " in alice("read").out
    assert alice.json("timer", "bob", "off")["timer"] == 0
    assert alice("timer", "bob").out == "\u2068bob\u2069: new texts stay\n"
    for wrong in ("2", "h", "2y", "\uff12h", "two"):
        assert alice("timer", "bob", wrong).status == 2


@pytest.mark.long
def test_blocking(town: Town) -> None:
    alice, bob = town.friends()
    assert alice.json("block", "bob") == {"name": "bob", "blocked": True}
    bob.json("send", "alice", given="unheard")
    assert alice("read").out == ""
    assert "of blocked people that were not kept: 1" in alice("read", "bob").err
    assert alice.json("contacts")[0]["blocked"] is True
    ran = alice("--json", "send", "bob", given="x")
    assert (ran.status, ran.value["error"]) == (2, "blocked")
    assert alice.json("unblock", "bob") == {"name": "bob", "blocked": False}
    bob.json("send", "alice", given="heard")
    assert "heard" in alice("read").out


@pytest.mark.long
def test_a_text_is_forwarded(town: Town) -> None:
    alice, bob = town.friends()
    said = alice.json("send", "bob", given="the garden is open")["id"]
    bob.json("group", "create", "family")
    sent = bob.json("forward", "alice", said[:8], "family")
    assert sent == {"to": "family", "id": sent["id"], "state": "sent"}
    assert "\u2068the garden is open\u2069  (forwarded)" in bob("read", "family", "--all").out
    back = bob.json("forward", "family", sent["id"], "alice")["id"]
    line = json.loads(alice("--json", "read").out)
    assert (line["id"], line["text"], line["forwarded"]) == (back, "the garden is open", True)
    kept = alice.json("forward", "bob", back, "--notes")
    assert kept == {"to": "alice", "id": kept["id"], "state": "kept"}
    alice.json("delete", "bob", said)
    ran = alice("--json", "forward", "bob", said, "--notes")
    assert (ran.status, ran.value["error"]) == (2, "unknown-message")
    assert alice("forward", "bob", back).status == 2


@pytest.mark.long
def test_notes_to_oneself(town: Town) -> None:
    alice, _ = town.friends()
    town.network.away.add(town.relay.address)  # no relay is needed
    kept = alice.json("send", "--notes", given="buy dates")
    assert kept == {"to": "alice", "id": kept["id"], "state": "kept"}
    answer = alice.json("send", "--notes", "--reply-to", kept["id"], given="and tea")["id"]
    assert alice.json("edit", "--notes", kept["id"], given="buy figs")["id"] == kept["id"]
    reacted = alice.json("react", kept["id"], "--notes", given="👍")
    assert reacted["reactions"] == {"alice": "👍"}
    assert alice.json("search", "--notes", given="figs")["state"] == "kept"
    assert alice("search", "bob", given="figs").out == ""
    for line in ("send bob --notes", f"edit {kept['id']}", f"react bob {kept['id']} --notes"):
        ran = alice(*line.split(), given="x")
        assert ran.status == 2
        assert ran.err.startswith("usage: ")
    assert alice("delete", kept["id"]).status == 2
    town.network.away.clear()
    shown = alice("read", "--notes").out
    assert "\u2068alice\u2069 in your notes: \u2068buy figs\u2069" in shown
    assert alice("read").out == ""
    assert alice.json("group", "list") == []
    deleted = alice.json("delete", "--notes", kept["id"], answer, "--only-here")
    assert deleted["ids"] == [kept["id"], answer]
    assert alice("read", "--notes").out == ""


@pytest.mark.long
def test_a_person_changes_their_name(town: Town) -> None:
    alice, bob = town.friends()
    assert bob.json("name") == {"name": "bob"}
    assert bob.json("name", " babak ") == {"name": "babak"}
    assert bob("name").out == "\u2068babak\u2069\n"
    assert bob("name", "two\nlines").status == 2
    assert bob("name", "").status == 2
    assert [one["name"] for one in alice.json("contacts")] == ["babak"]
    ran = alice("read")
    assert "name-changed: somebody has given themselves another name" in ran.err
    assert "(\u2068babak\u2069 was \u2068bob\u2069)" in ran.err
    assert alice("read").err == ""


@pytest.mark.long
def test_verifying(town: Town) -> None:
    alice, bob = town.friends()
    seen = alice.json("verify", "bob")
    assert seen["safety_number"] == bob.json("verify", "alice")["safety_number"]
    assert seen["verified"] is False
    assert alice.json("verify", "bob", "--confirm")["verified"] is True
    assert alice.json("contacts")[0]["verified"] is True
    assert alice.json("verify", "bob", "--withdraw")["verified"] is False


@pytest.mark.long
def test_a_group_from_its_making_to_its_leaving(town: Town) -> None:
    alice, bob = town.friends()
    made = alice.json("group", "create", "family", "bob")
    assert set(made) == {
        "name", "id", "state", "people", "admins", "roles", "region", "inbound_region",
        "outbound_regions", "outbound", "outbound_why", "held_by", "epoch", "timer", "hidden",
        "added_by",
    }  # fmt: skip
    assert made["admins"] == ["alice"]
    (seen,) = bob.json("group", "list")
    assert seen["people"] == ["alice", "bob"]
    bob.json("send", "family", given="hello all")
    assert "hello all" in alice("read").out
    assert alice.json("group", "rename", "family", "friends")["name"] == "friends"
    assert alice.json("group", "rejoin", "friends") == []  # nothing is amiss
    assert '"unknown-help"' in alice("--json", "group", "rejoin", "friends", "--yes").out
    assert alice.json("group", "admin", "friends", "bob")["admins"] == ["alice", "bob"]
    assert bob.json("group", "list")[0]["name"] == "friends"
    assert bob.json("group", "leave", "friends")["state"] in ("leaving", "left")
    alice("read")  # lets bob go
    assert alice.json("group", "list")[0]["people"] == ["alice"]


def test_status_and_doctor(town: Town) -> None:
    alice = town.person("alice")
    status = alice.json("status")
    assert status["name"] == "alice"
    assert status["region"] == "IR"
    assert status["outbox"] == status["contacts"] == 0
    assert status["warnings"] == []
    assert [check["ok"] for check in alice.json("doctor")] == [True, True, True]
    town.network.is_up = False
    ran = alice("--json", "--wait", "0.2", "doctor")
    assert ran.status == 1
    assert [check["ok"] for check in ran.value] == [True, True, False]


def test_an_invite_is_written_as_a_picture(town: Town, tmp_path: Path) -> None:
    alice = town.person("alice")
    for name, start in (("code.png", b"\x89PNG"), ("code.svg", b"<?xml")):
        assert alice.json("invite", "--qr", str(tmp_path / name))["invite"]
        assert (tmp_path / name).read_bytes().startswith(start)
    assert alice("invite", "--qr", str(tmp_path / "code.txt")).status == 2
    assert alice("invite", "--qr", str(tmp_path / "no" / "code.png")).status == 2


@pytest.mark.long
def test_invites_are_listed_with_their_time_and_withdrawn_by_their_id(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    first = alice.json("invite", "--life", "1h")
    ran = alice("invite")
    listed = alice.json("invites")
    assert [set(one) for one in listed] == [{"id", "made_at", "expires_at", "is_lost"}] * 2
    assert [listed[0][key] for key in ("id", "expires_at")] == [first["id"], first["expires_at"]]
    assert 0 < first["expires_at"] - listed[0]["made_at"] <= 3_600_000
    assert listed[1]["id"] in ran.err
    assert listed[1]["id"] in alice("invites").out
    assert alice.json("invite", "--withdraw", first["id"]) == {"withdrawn": first["id"]}
    assert alice.json("invites") == listed[1:]
    ran = alice("--json", "invite", "--withdraw", first["id"])
    assert (ran.status, ran.value["error"]) == (2, "unknown-invite")
    bob.knock(given=first["invite"])
    assert alice.json("contacts") == []
    for life in ("off", "0s", "1000d", "soon"):
        assert alice("invite", "--life", life).status == 2


@pytest.mark.long
def test_a_text_said_out_of_step_is_kept_and_the_person_told(town: Town) -> None:
    alice, _ = town.friends()
    client = Client.open(alice.profile, Unlock(passphrase=RIGHT))
    gid = client.conversation("bob").gid
    with client._unit() as unit:
        client._conversations.astray.go_astray(unit, gid, "copied-vault", is_restart=True)
    client._vault.close()
    ran = alice("--json", "send", "bob", given="later, then")
    assert (ran.status, ran.value["state"]) == (0, "waiting")
    assert "goes out by itself" in ran.err
    shown = alice.json("read", "bob", "--all")
    assert (shown["text"], shown["state"]) == ("later, then", "waiting")
    ran = alice("react", "bob", shown["id"], given="🎈")
    assert ran.status == 0
    assert "goes out by itself" in ran.err


@pytest.mark.long
def test_groups_are_offered_accepted_declined_and_left_with_the_person_who_added_us(
    town: Town,
) -> None:
    alice, bob = town.friends()
    assert bob.json("group", "adds") == {"adds": "join"}
    assert bob.json("group", "adds", "ask") == {"adds": "ask"}
    for name in ("book club", "nonsense"):
        alice.json("group", "create", name, "bob")
    offered = bob.json("group", "offers")
    assert [(one["name"], one["by"]) for one in offered] == [
        ("book club", "alice"), ("nonsense", "alice"),
    ]  # fmt: skip
    assert {set(one) == {"id", "name", "by", "asked_at", "expires_at"} for one in offered} == {True}
    assert bob.json("group", "list") == []
    assert "book club" in bob("read").err
    assert bob.json("group", "decline", offered[1]["id"])["name"] == "nonsense"
    assert bob.json("group", "accept", "book club")["id"] == offered[0]["id"]
    assert bob.json("group", "offers") == []
    (joined,) = bob.json("group", "list")
    assert (joined["name"], joined["added_by"]) == ("book club", "alice")
    ran = bob("group", "leave", "book club", "--block")
    assert ran.status == 0
    assert "is blocked" in ran.err
    assert [one["blocked"] for one in bob.json("contacts")] == [True]
    alice("read")  # makes the Commits by which bob goes
    states = {one["name"]: one["people"] for one in alice.json("group", "list")}
    assert states == {"book club": ["alice"], "nonsense": ["alice"]}
    ran = bob("--json", "group", "accept", "nonsense")
    assert (ran.status, ran.value["error"]) == (2, "unknown-conversation")


@pytest.mark.long
def test_people_who_knock_wait_and_are_let_in_or_turned_away(town: Town) -> None:
    alice, bob, eve = [town.person(name) for name in ("alice", "bob", "eve")]
    assert alice.json("knocks") == {"knocks": "let-in"}
    assert alice.json("knocks", "ask") == {"knocks": "ask"}
    made = []
    for other, greeting in ((bob, "it is me\nbob"), (eve, "me too")):
        made.append(alice.json("invite"))
        other.knock("--greeting", greeting, given=made[-1]["invite"])
    found = {one["name"]: one for one in alice.json("visitors")}
    keys = {"id", "name", "greeting", "blocked", "knocked_at", "expires_at"}
    assert {name: one.keys() for name, one in found.items()} == {"bob": keys, "eve": keys}
    assert {one["id"] for one in found.values()} == {one["id"] for one in made}
    assert found["bob"]["greeting"] == "it is me\nbob"
    assert "    \u2068it is me\u2069\n    | \u2068bob\u2069\n" in alice("visitors").out
    assert "\u2068eve\u2069 wants to meet you" in alice("read").err
    assert alice("visitors", "--let-in", "bob", "--turn-away", "eve").status == 2
    assert alice.json("visitors", "--turn-away", found["eve"]["id"]) == found["eve"]
    assert alice.json("visitors", "--let-in", "bob") == found["bob"]
    assert alice.json("visitors") == []
    assert [one["name"] for one in alice.json("contacts")] == ["bob"]
    assert [one["name"] for one in bob.json("contacts")] == ["alice"]
    assert eve.json("contacts") == []
    ran = alice("--json", "visitors", "--let-in", "eve")
    assert (ran.status, ran.value["error"]) == (2, "unknown-visitor")


@pytest.mark.long
def test_an_invite_is_read_from_a_file(town: Town, tmp_path: Path) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    file = tmp_path / "invite"
    file.write_text(alice("invite").out)
    bob.knock("--file", str(file), "--greeting", "hi")
    assert "hi" in alice("read").out
    assert bob("accept", "--file", str(tmp_path / "none")).status == 2


MISTAKES: dict[str, tuple[list[str], str, int, str]] = {
    "unknown contact": (["verify", "nobody"], "", 2, "unknown-contact"),
    "unknown conversation": (["send", "nobody"], "x", 2, "unknown-conversation"),
    "nothing to say": (["send", "bob"], "", 2, "message-too-large"),
    "too long a text": (["send", "bob"], "x" * 60_001, 2, "message-too-large"),
    "more than anybody can say": (["send", "bob"], "x" * 1_100_000, 2, "bad-argument"),
    "no text": (["send", "bob"], "\udcff", 2, "bad-argument"),
    "broken invite": (["accept"], "amanat-invite:xyz", 2, "broken-invite"),
    "not a group": (["group", "rename", "bob", "x"], "", 2, "not-a-member"),
    "no such group": (["group", "leave", "nothing"], "", 2, "unknown-conversation"),
    "unknown message": (["react", "bob", "00000000"], "x", 2, "unknown-message"),
    "no id": (["react", "bob", "xyz"], "x", 2, "bad-argument"),
    "no reaction": (["react", "bob", "00000000"], "", 2, "bad-argument"),
    "no trace": (["replay", "--trace", "/nowhere"], "", 2, "bad-argument"),
}


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_its_name_and_the_status_of_its_family(town: Town, mistake: str) -> None:
    arguments, given, status, code = MISTAKES[mistake]
    alice, _ = town.friends()
    ran = alice("--json", *arguments, given=given)
    assert (ran.status, ran.value["error"]) == (status, code)
    assert ran.err.startswith("amanat: ")
    ran = alice(*arguments, given=given)
    assert ran.status == status
    assert not ran.out


def test_profile_mistakes_are_named(town: Town) -> None:
    alice = town.shell("alice")
    assert alice("contacts").status == 2
    assert alice("--json", "contacts").value["error"] == "no-profile"
    assert not alice.profile.exists()
    assert "hint: make one with `amanat init`" in alice("contacts").err
    alice.init("alice")
    assert alice.init("eve").status == 2
    ran = alice("--json", "contacts", passphrase="sesame")
    assert (ran.status, ran.value["error"]) == (2, "wrong-passphrase")
    assert "sesame" not in ran.out + ran.err
    holder = vault.open_vault(alice.profile, vault.Unlock(passphrase=RIGHT))
    assert alice("--json", "contacts").value["error"] == "profile-in-use"
    holder.close()
    whole = (alice.profile / "vault.db").read_bytes()
    (alice.profile / "vault.db").write_bytes(whole[:100] + b"x" + whole[101:])
    ran = alice("--json", "contacts")
    assert (ran.status, ran.value["error"]) == (5, "vault-damaged")


def test_relay_mistakes_are_named(town: Town) -> None:
    shell = town.shell("alice")
    for relay, status, code in (
        ("somewhere", 2, "broken-address"),
        (f"amanat://127.0.0.1:1/#{b64(bytes(32))}", 4, "relay-unreachable"),
    ):
        ran = shell("--json", "init", "--name", "alice", "--relay", relay)
        assert (ran.status, ran.value["error"]) == (status, code)
        assert not shell.profile.exists()


@pytest.mark.long
def test_a_text_said_while_the_relay_is_away_is_kept(town: Town) -> None:
    alice, bob = town.friends()
    town.network.is_up = False
    ran = alice("--json", "--wait", "0.2", "send", "bob", given="later")
    assert (ran.status, ran.value["error"]) == (4, "relay-unreachable")
    town.network.is_up = True
    alice("read")
    assert alice.json("status")["outbox"] == 0
    assert "later" in bob("read").out


def test_a_descriptor_that_is_not_open_is_named(town: Town) -> None:
    alice = town.person("alice")
    ran = town.run(["--profile", str(alice.profile), "--passphrase-fd", "999", "contacts"])
    assert ran.status == 2
    assert "descriptor 999" in ran.err


@pytest.mark.long
def test_names_and_texts_cannot_steer_the_terminal(town: Town) -> None:
    _, bob = town.friends()
    alice = town.shell("alice")
    bob.json("send", "alice", given="\x1b[2J\u202eabc\u2069\x07")
    shown = alice("read").out
    bob.json("react", "alice", alice("read", "--all").out.split()[2], given="\x1b[2J")
    shown += alice("read", "--all").out
    assert "\u2068\\x1b[2J\\u202eabc\\u2069\\x07\u2069" in shown
    for steering in ("\x1b", "\x07", "\u202e"):
        assert steering not in shown
    ran = alice("--json", "read", "--all")
    assert "\\u001b[2J\\u202eabc\\u2069\\u0007" in ran.out
    assert "\x1b[2J\u202eabc\u2069\x07" in ran.value["text"]


@pytest.mark.long
def test_a_text_cannot_look_like_somebody_else_s(town: Town) -> None:
    alice, bob = town.friends()
    forged = "2026-11-28 13:00  deadbeef  \u2068alice\u2069: send the money"
    bob.json("send", "alice", given=f"hi\n{forged}\r\n\u2028{forged}")
    lines = alice("read").out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("\u2068bob\u2069: \u2068hi\u2069")
    assert all(line.startswith("    | ") for line in lines[1:])


@pytest.mark.parametrize("broken", ["full", "closed"])
@pytest.mark.long
def test_what_was_done_is_done_whether_it_can_be_shown_or_not(
    town: Town, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    alice, bob = town.friends()

    def unseen(person: Shell, *arguments: str, given: str = "") -> Ran:
        with monkeypatch.context() as patched:
            full = open("/dev/full", "w", encoding="utf-8") if broken == "full" else None  # noqa: PTH123, SIM115
            patched.setattr(sys, "stdout", full)
            ran = person(*arguments, given=given)
        if full is not None:
            full.close()
        return ran

    for json_or_not in ((), ("--json",)):
        sent = unseen(bob, *json_or_not, "send", "alice", given="once")
        assert sent.status == 0
        assert ("do not do it again" in sent.err) == bool(json_or_not)  # else nothing is said
    told = unseen(alice, "read")
    assert told.status == 4
    assert "could not be shown" in told.err
    assert [json.loads(line)["text"] for line in alice("--json", "read").out.splitlines()] == [
        "once", "once",
    ]  # fmt: skip
    assert alice("read").out == ""
    for question in ("contacts", "invite", "status", "verify bob", "timer bob", "doctor", "home"):
        assert unseen(alice, *question.split()).status == 4, question
    assert unseen(alice, "timer", "bob", "1d").status == 0
    assert unseen(alice, "group", "create", "us", "bob").status == 0
    assert len(alice.json("group", "list")) == 1


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_of_few_characters_gets_what_it_can_show(
    town: Town, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    alice, bob = town.friends()
    for _ in range(2):
        bob.json("send", "alice", given="é سلام")

    def shown(*arguments: str) -> tuple[Ran, str]:
        data = io.BytesIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", io.TextIOWrapper(data, encoding=encoding))
            ran = alice(*arguments)
            sys.stdout.flush()
            return ran, data.getvalue().decode(encoding)

    ran, text = shown("contacts")
    assert (ran.status, ran.err) == (0, "")  # nothing is lacking but marks of ours
    assert text.startswith("bob  ")
    ran, text = shown("read")
    assert ran.status == 0
    assert "\\u0633\\u0644\\u0627\\u0645" in text
    assert "\\u2068" not in text
    assert f"a terminal of {encoding} cannot show every character" in ran.err
    ran, text = shown("--json", "read", "--all")
    assert ran.status == 0
    assert [json.loads(line)["text"] for line in text.splitlines()] == ["é سلام"] * 2


@pytest.mark.parametrize(
    "secret",
    ["", "\n", "\ufeff", "\ufeff\n", "p\0w\0"],
    ids=["nothing", "line", "mark", "both", "utf-16"],
)
def test_a_passphrase_that_is_none_is_refused_by_every_way_in(town: Town, secret: str) -> None:
    shell = town.shell("alice")
    made = shell("init", "--name", "Alice", "--relay", str(shell._relay.address), passphrase=secret)
    assert made.status == 2
    assert not (shell.profile / "vault.db").exists()
    town.person("alice")
    assert shell("contacts", passphrase=secret).status == 2


def test_a_passphrase_is_the_same_however_it_was_typed(town: Town) -> None:
    shell = town.shell("alice")
    address = str(shell._relay.address)
    assert shell("init", "--name", "A", "--relay", address, passphrase="é 1").status == 0
    for same in ("e\u0301 1", "\ufeffé\u00a01", "é\u30001\r"):
        assert shell("contacts", passphrase=same).status == 0
    assert shell("contacts", passphrase="e 1").status == 2


@pytest.mark.long
def test_a_conversation_is_deleted_here_alone(town: Town) -> None:
    alice, bob = town.friends()
    bob.json("send", "alice", given="a text")
    alice.json("send", "bob", given="an answer")
    for wrong in (("--everything",), ("--only-here",), ("--everything", "--only-here", "abcd"), ()):
        assert alice("delete", "bob", *wrong).status == 2
    assert alice("delete", "carol", "--only-here", "--everything").status == 2
    cleared = alice.json("delete", "bob", "--only-here", "--everything")
    assert cleared == {"to": "bob", "everything": True}
    assert alice("read", "--all").out == ""
    assert "a text" in bob("read", "--all").out
    assert "an answer" in bob("read", "--all").out


@pytest.mark.long
def test_a_contact_is_removed_and_met_again(town: Town) -> None:
    alice, bob = town.friends()
    bob.json("send", "alice", given="a text")
    (contact,) = alice.json("contacts")
    assert alice("contacts", "--remove", "carol").status == 2
    assert alice.json("contacts", "--remove", "bob") == {"removed": "bob", "id": contact["id"]}
    assert alice.json("contacts") == []
    assert alice("read", "--all").out == ""
    assert alice("send", "bob", given="too late").status == 2
    assert bob("read").status == 0
    alice.json("contacts")
    bob.knock(given=alice.json("invite")["invite"])
    (again,) = alice.json("contacts")
    assert again["id"] == contact["id"]
    bob("read")
    assert bob("send", "alice", given="here again").status == 0
    assert "here again" in alice("read").out


def test_a_profile_is_wiped_once_its_name_was_typed(town: Town) -> None:
    alice = town.person("alice")
    (alice.profile / "notes.txt").write_text("not the profile's")
    assert alice("wipe", given="bob\n").status == 2
    assert alice("wipe", given="").status == 2
    assert alice("contacts").status == 0
    holder = vault.open_vault(alice.profile, Unlock(passphrase=RIGHT))
    assert alice.json_error("wipe", "--yes") == "profile-in-use"
    holder.close()
    gone = {"wiped": str(alice.profile), "keyring_cleared": True}
    assert alice.json("wipe", given="alice\n") == gone
    assert [path.name for path in alice.profile.iterdir()] == ["notes.txt"]
    assert alice.json_error("wipe", "--yes") == "no-profile"
    bob = town.person("bob")
    wiped = bob("wipe", "--yes")
    assert wiped.status == 0
    assert "backups that were made of it stay in their folder" in wiped.err
    assert not bob.profile.exists()
    assert bob("contacts").status == 2
    assert bob.init("bob").status == 0


def given_on(secret: str) -> str:
    """The number of a descriptor that gives a secret."""
    reading, writing = os.pipe()
    os.write(writing, secret.encode() + b"\n")
    os.close(writing)
    return str(reading)


def test_a_passphrase_is_changed_and_the_old_one_opens_nothing(town: Town) -> None:
    alice = town.person("alice")
    for wrong, status in (("open", 2), ("", 2)):
        asked = ("passphrase", "--new-fd", given_on("new"))
        assert alice(*asked, passphrase=wrong).status == status
    assert alice("passphrase", "--new-fd", given_on("")).status == 2
    assert alice("passphrase", "--keyring", "--new-fd", "9").status == 2
    assert alice.json("passphrase", "--new-fd", given_on("e\u0301")) == {"unlock": "passphrase"}
    assert alice("contacts").status == 2
    assert alice("contacts", passphrase="é").status == 0


@pytest.mark.long
def test_bytes_that_are_not_utf_8_are_a_mistake_of_usage(town: Town) -> None:
    alice, bob = town.friends()
    reading, writing = os.pipe()
    os.write(writing, "pässwörd\n".encode("latin-1"))
    os.close(writing)
    ran = town.run(["--profile", str(alice.profile), "--passphrase-fd", str(reading), "contacts"])
    assert ran.status == 2
    assert "not UTF-8" in ran.err
    assert bob("send", "alice", given="\udce4").status == 2
    assert bob("group", "create", "\udce4").status == 2
    assert bob("send", "\udce4", given="x").status == 2


@pytest.mark.long
def test_a_text_and_a_passphrase_do_not_come_by_one_descriptor(town: Town) -> None:
    alice, _ = town.friends()
    ran = alice("--passphrase-fd", "0", "send", "bob", given="a text")
    assert ran.status == 2
    assert "standard input" in ran.err


def test_a_bug_says_so(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = town.person("alice")
    monkeypatch.setattr(terminal, "unlock", lambda _: 1 / 0)
    ran = alice("contacts")
    assert ran.status == EXIT_BUG
    assert ran.err == "amanat: a bug: ZeroDivisionError: division by zero\n"


def test_an_interrupt_has_its_own_status(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "unlock", interrupt)
    assert town.shell("alice")("contacts").status == EXIT_INTERRUPTED


def test_a_relay_is_made(town: Town, tmp_path: Path) -> None:
    arguments = ["relay", "init", str(tmp_path / "relay"), "--region", "IR", "--operator", "me"]
    made = town.run(["--json", *arguments])
    assert made.value["address"].startswith("amanat://127.0.0.1:8443/#")
    assert town.run(arguments).status == 2
    assert town.run([*arguments[:2], str(tmp_path / "x"), *arguments[3:4], "Iran"]).status == 2


def test_general_options_stand_before_a_command_or_behind_it(town: Town) -> None:
    alice = town.person("alice")
    before = alice("--json", "--wait", "3", "status").value
    behind = alice("status", "--json", "--wait", "3").value
    assert before == behind
    assert before["name"] == "alice"
    assert alice("group", "list", "--json").value == []
    assert not alice("status").out.startswith("{")


@pytest.mark.long
def test_a_file_is_sent_listed_and_saved(town: Town, tmp_path: Path) -> None:
    alice, bob = town.friends()
    data = bytes(range(256)) * 1_000
    source = tmp_path / "notes.txt"
    source.write_bytes(data)
    sent = alice.json("send", "bob", "--file", str(source), "--caption", given="look\n")
    listed = json.loads(bob("--json", "files", "alice").out.splitlines()[0])
    assert listed["id"] == sent["id"]
    assert (listed["text"], listed["file"]["name"]) == ("look", "notes.txt")
    saved = bob.json("save", "alice", sent["id"], str(tmp_path / "saved"))
    assert Path(saved["file"]).read_bytes() == data
    assert bob.json("files", "alice")["file"]["here"]

    assert bob.json_error("save", "alice", sent["id"], str(tmp_path / "saved")) is not None
    (again,) = [bob.json("forward", "alice", sent["id"], "--notes")]
    assert again["state"] == "kept"
    assert bob.json("files", "--notes")["forwarded"]
    shown = bob("read", "alice", "--all")
    assert "[\u2068notes.txt\u2069, 250.0 KiB] \u2068look\u2069" in shown.out


@pytest.mark.long
def test_a_picture_is_sent_made_anew_or_as_it_is_with_what_it_tells(
    town: Town, tmp_path: Path
) -> None:
    alice, bob = town.friends()
    source = tmp_path / "IMG_2025.jpg"
    Image.linear_gradient("L").save(source, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    assert "place" not in alice("send", "bob", "--file", str(source)).err
    told = alice("send", "bob", "--file", str(source), "--as-file").err
    assert "no place, time or camera was found" in told
    lines = [json.loads(line) for line in bob("--json", "files", "alice").out.splitlines()]
    listed = [one["file"] for one in lines if "file" in one]
    assert [(one["kind"], one["name"]) for one in listed] == [
        ("picture", ""),
        ("file", "IMG_2025.jpg"),
    ]


@pytest.mark.long
def test_several_files_are_one_album_and_one_that_is_none_sends_nothing(
    town: Town, tmp_path: Path
) -> None:
    alice, bob = town.friends()
    files = [tmp_path / name for name in ("one.txt", "two.txt", "three.txt")]
    for file in files[:2]:
        file.write_text(file.name)
    words = [word for file in files for word in ("--file", str(file))]
    assert alice.json_error("send", "bob", *words) == "bad-argument"
    files[2].write_text("three")
    assert not [one for one in bob("--json", "files", "alice").out.splitlines() if one]
    sent = alice.json("send", "bob", *words, "--caption", given="look\n")
    lines = [json.loads(line) for line in bob("--json", "files", "alice").out.splitlines()]
    listed = [one for one in lines if "file" in one]
    assert [one["id"] for one in listed] == [one["id"] for one in sent]
    assert [one["file"]["name"] for one in listed] == [one.name for one in files]
    assert [one["text"] for one in listed] == ["look", "", ""]
    (album,) = {one["file"]["album"] for one in listed}
    assert len(album) == 16


@pytest.mark.long
def test_a_file_at_a_relay_that_its_sender_has_not_named_is_fetched_where_the_person_says(
    town: Town, tmp_path: Path
) -> None:
    alice, bob = town.friends()
    source = tmp_path / "notes.txt"
    source.write_bytes(bytes(100_000))
    assert bob.json("fetch-rules", "--auto", "none")["auto_bytes"] == -1
    sent = alice.json("send", "bob", "--file", str(source))
    bob("read")
    client = Client.open(bob.profile, Unlock(passphrase=RIGHT))
    with client._run.unit() as unit:
        unit.db.execute("UPDATE file SET is_near = 0")
    client._run.parts.vault.close()
    key = b64(town.relay.address.key)
    words = ("save", "alice", sent["id"], str(tmp_path / "saved"))
    ran = bob(*words)
    assert ran.status == 2
    assert f"--relay={key}" in ran.err
    assert bob.json_error(*words, f"--relay={b64(bytes(32))}") == "file-elsewhere"
    assert bob(*words, "--relay=key").status == 2
    saved = bob.json(*words, f"--relay={key}")
    assert Path(saved["file"]).read_bytes() == source.read_bytes()


def test_what_is_fetched_by_itself_and_kept_is_set_by_a_command(town: Town) -> None:
    alice = town.person("alice")
    before = alice.json("fetch-rules")
    assert before == {"auto_bytes": 10 * 1024**2, "room_bytes": 10 * 1024**3}
    assert "10.0 GiB" in alice("fetch-rules").out
    set_ = alice.json("fetch-rules", "--auto", "100M", "--room", "5G")
    assert set_ == alice.json("fetch-rules")
    assert set_ == {"auto_bytes": 100 * 1024**2, "room_bytes": 5 * 1024**3}
    assert "none" in alice("fetch-rules", "--auto", "none").out
    for wrong in ("--auto=many", "--room=none", "--room=-1"):
        assert alice("fetch-rules", wrong).status == 2
    assert alice.json_error("fetch-rules", "--auto", "2G") == "bad-argument"


@pytest.mark.long
def test_a_recording_is_sent_as_a_voice_note_and_listed_with_its_length(
    town: Town, tmp_path: Path
) -> None:
    alice, bob = town.friends()
    source = tmp_path / "REC_2026.webm"
    source.write_bytes(webm([SILENCE] * 50 * 75))
    alice.json("send", "bob", "--file", str(source), "--voice")
    listed = json.loads(bob("--json", "files", "alice").out.splitlines()[0])["file"]
    assert (listed["kind"], listed["name"], listed["seconds"]) == ("voice", "", 75)
    assert (listed["waveform"], listed["played"]) == ("", False)
    assert "[a voice note of 1:15, " in bob("read", "alice", "--all").out
    source.write_bytes(b"no recording")
    for given, code in (
        (("--file", str(source), "--voice"), "broken-recording"),
        (("--file", str(tmp_path), "--voice"), "bad-argument"),
        (("--voice",), "bad-argument"),
    ):
        assert alice.json_error("send", "bob", *given) == code


@pytest.mark.long
def test_a_file_that_no_relay_takes_is_kept_and_goes_on_when_it_is_resumed(
    town: Town, tmp_path: Path
) -> None:
    alice, bob = town.friends()
    source = tmp_path / "notes.txt"
    source.write_bytes(bytes(100_000))
    town.network.is_up = False
    ran = alice("--wait", "0.3", "send", "bob", "--file", str(source))
    assert (ran.status, "relay" in ran.err) == (4, True)
    source.unlink()
    town.network.is_up = True
    shown = alice("--json", "files", "bob", "--pause", "1").out.splitlines()
    assert [json.loads(line)["phase"] for line in shown if "phase" in line] == ["paused"]
    assert alice("files", "bob", "--resume", "2").status == 2
    assert alice("files", "bob", "--resume", "1").status == 0
    assert (
        json.loads(bob("--json", "files", "alice").out.splitlines()[0])["file"]["size"] == 100_000
    )


@pytest.mark.long
def test_chat_of_another_messenger_is_brought_along_and_marked(town: Town, tmp_path: Path) -> None:
    alice = town.person("alice")
    (tmp_path / "result.json").write_bytes(
        as_bytes(chat(message(1, "سلام علی"), message(2, "bye", **{"from": "Ali", "from_id": "x"})))
    )
    preview = alice("import", "--preview", str(tmp_path))
    assert "2 messages of 2 people" in preview.out
    assert "nothing was changed" in preview.out
    assert alice.json("imported") == []
    ran = alice("import", str(tmp_path), "--me", "Ali")
    assert ran.status == 0
    assert "nobody has verified" in ran.err
    (found,) = alice.json("imported")
    assert (found["title"], found["messages"], found["me"], found["verified"]) == (
        "Babak", 2, "Ali", False,
    )  # fmt: skip
    assert "[imported, unverified]" in alice("search", given="سلام").out
    assert alice.json("search", given="سلام")["imported"] == "telegram"
    assert "[imported, unverified]: \u2068bye\u2069" in alice("imported", "1", "--many", "1").out
    file = tmp_path / "chat.html"
    assert alice.json("imported", "1", "--export", str(file))["messages"] == 2
    assert alice.json_error("imported", "2") == "unknown-import"
    assert alice.json_error("imported", "--delete") == "bad-argument"
    assert alice.json_error("import", str(tmp_path / "chat.html")) == "not-an-export"
    assert alice.json_error("import", str(tmp_path), "--zone", "Nowhere/City") == "bad-argument"
    assert alice.json("imported", "1", "--delete") == {"deleted": [1]}
    assert alice("search", given="سلام").out == ""
    assert alice.json("imported", "--everything") == {"deleted": []}


def given_by(text: str) -> str:
    """A descriptor with this text."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return str(reading)


@pytest.mark.long
def test_profile_is_backed_up_and_restored(town: Town, tmp_path: Path) -> None:
    alice, bob = town.friends()
    alice.json("send", "bob", given="hello")
    assert bob("read").status == 0
    stick = tmp_path / "stick"
    assert alice.json_error("backup", "begin", str(stick)) == "folder-away"
    assert alice.json_error("backup", "now") == "no-backup"
    assert "no backups are made" in alice("backup", "status").out
    stick.mkdir()
    begun = alice("backup", "begin", str(stick))
    assert "write these words down" in begun.err
    assert alice.json("backup", "begin", str(stick))["words"] == []
    found = alice.json("backup", "begin", str(stick), "--new-phrase")
    phrase = " ".join(found["words"])
    made = alice("backup", "now")
    assert "1 messages and 0 files" in made.out
    file = alice.json("backup", "now")["file"]
    assert alice.json("backup", "check", file)["messages"] == 1
    assert "restored for a trial" in alice("backup", "check", str(stick)).out
    assert alice.json("backup", "begin", str(stick), "--forget-after", "30")["words"] == []
    ran = alice("backup", "status")
    assert "kept for 30 days" in ran.out
    assert str(stick) in ran.out
    assert "backup phrase" in ran.out
    wrong = " ".join([*found["words"][:23], "zoo" if found["words"][23] != "zoo" else "art"])
    assert alice("backup", "phrase", "--phrase-fd", given_by(wrong)).status == 2
    assert "backup phrase" in alice("status").out
    assert alice.json("backup", "phrase", "--phrase-fd", given_by(phrase)) == {"is_noted": True}
    numbers = " ".join(map(str, found["numbers"]))
    new = town.shell("new")
    no = new("restore", str(stick), "--phrase-fd", given_by(numbers), given="no\n")
    assert no.status == 2
    assert "your old device will be out" in no.err
    assert new("restore", str(stick), "--yes", "--phrase-fd", given_by(wrong)).status == 2
    assert not (new.profile / "vault.db").exists()
    value = new.json("restore", str(stick), "--yes", "--phrase-fd", given_by(numbers))
    assert (value["name"], value["waiting"]) == ("alice", ["bob"])
    assert "hello" in new("read", "bob", "--all").out
    assert new.json("backup", "status")["folder"] == str(stick)
    assert new.json("backup", "stop") == {"folder": str(stick)}
    assert alice("backup", "shares", "--phrase-fd", given_by(wrong)).status == 2
    ran = alice("backup", "shares", "--phrase-fd", given_by(phrase))
    assert "share 5 of 5\n 1. " in ran.out
    assert "two open nothing" in ran.err
    value = alice.json("backup", "shares", "--phrase-fd", given_by(phrase))
    three = [" ".join(words) for words in value["shares"][1:4]]
    newer = town.shell("newer")
    asked = ("restore", str(stick), "--yes", "--shares", "--phrase-fd")
    assert newer.json_error(*asked, given_by(" ".join(three[:2]))) == "wrong-shares"
    assert newer.json(*asked, given_by(" ".join(three)))["name"] == "alice"
