"""Everything that a command can do for a person, the page can do."""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple, get_args

import pytest

from amanat.cli.commands import COMMANDS, Command, Needs
from amanat.page import protocol
from test_commands import parser_of

EVERYWHERE = {"--json", "--profile", "--passphrase-fd", "--wait"}
"""The options of all commands: how the answer looks, and whose it is. A page is one person's."""
SECRETS = "a field of the page holds what a command reads from a descriptor"
BROUGHT = "the page brings the file over a socket of its own"
LATER = "on the page it is added at home, once there is one"
SHOWN = "the page shows it unasked"


class Done(NamedTuple):
    """How the page does what a command does."""

    asks: tuple[str, ...]
    """The asks of the page."""
    otherwise: dict[str, str] = {}  # noqa: RUF012  # never changed
    """Options that no ask stands for, each with the reason."""


def by(*asks: str, **otherwise: str) -> Done:
    """The asks, and what is said of options by their names."""
    return Done(asks, {f"--{name.replace('_', '-')}": why for name, why in otherwise.items()})


PAGE = {
    "init": by(
        "create", "fallback", fallback=LATER, fallback_access_fd=LATER, access_fd=SECRETS,
        proxy_login_fd=SECRETS,
    ),
    "invite": by("invite", "withdraw invite", qr=SHOWN),
    "invites": by("invites"),
    "accept": by("accept", "read picture", file="the page reads a picture of the code"),
    "knocks": by("knocks"),
    "visitors": by("begin", "let in", "turn away"),
    "name": by("name"),
    "contacts": by("begin", "remove contact"),
    "send": by("send", "notes", file=BROUGHT, caption=BROUGHT, as_file=BROUGHT, voice=BROUGHT),
    "files": by("transfers", "carry", "ask again", "notes"),
    "fetch-rules": by("file rules"),
    "save": by("fetch", "ticket", "notes"),
    "read": by("history", "notes", follow=SHOWN, all="a conversation holds all of it"),
    "search": by("search", notes="it searches what is open", many="it scrolls"),
    "forward": by("forward", "notes"),
    "edit": by("edit", "notes"),
    "react": by("react", "notes"),
    "export": by("export", "notes"),
    "delete": by("delete", "clear", "notes"),
    "timer": by("timer"),
    "read-marks": by("read marks"),
    "block": by("block"),
    "unblock": by("block"),
    "group create": by("create group"),
    "group add": by("add"),
    "group remove": by("remove"),
    "group leave": by("leave"),
    "group adds": by("adds"),
    "group offers": by("begin"),
    "group accept": by("accept offer"),
    "group decline": by("decline offer"),
    "group rename": by("rename"),
    "group admin": by("admin"),
    "group roles": by("roles"),
    "group rejoin": by("details", "rejoin"),
    "group list": by("begin"),
    "verify": by("safety number", "verify"),
    "wipe": by("wipe"),
    "passphrase": by("passphrase", new_fd=SECRETS),
    "home": by(
        "status", "regions", "strict", "outbound", "fallback", "place", access_fd=SECRETS,
        fallback_access_fd=SECRETS,
    ),
    "exit": by("exit", "fallback", access_fd=SECRETS, fallback_access_fd=SECRETS),
    "place": by("place"),
    "hop": by("hop"),
    "cover": by("cover"),
    "proxy": by("proxy", login_fd=SECRETS),
    "status": by("status", "clear warnings"),
    "doctor": by("health", "status"),
    "import": by("exports", "preview", "import", "stop import", preview="it is an ask of its own"),
    "imported": by(
        "imported", "imported messages", "search imported", "export imported", "delete imported",
        export="the page chooses the file", many="it loads more", delete="it is an ask of its own",
    ),
    "backup begin": by("begin backups"),
    "backup now": by("back up"),
    "backup status": by("begin", "status"),
    "backup check": by("check backup"),
    "backup phrase": by("asked words", "give words", phrase_fd=SECRETS),
    "backup stop": by("stop backups"),
    "restore": by(
        "restore", phrase_fd=SECRETS, yes="it stands beside the button",
        shares="shares are read by the command line alone",
    ),
}  # fmt: skip
"""The asks of the page that do what each command does."""
NOT_ON_A_PAGE = {
    "run": "the page's process does it, as long as it runs",
    "up": "it is what opens the page",
    "backup shares": "shares are printed by the command line alone",
}
PERSONAL = [one for one in COMMANDS if one.needs in (Needs.CLIENT, Needs.BACKGROUND)]
FIELDS = {
    "--auto": "auto_bytes", "--room": "room_bytes",
    "--all": "", "--allow-regions": "regions", "--block": "is_blocked", "--confirm": "is_verified",
    "--everything": "chat", "--fallback": "relay", "--greeting": "greeting", "--keyring": "",
    "--new-phrase": "new_phrase", "--forget-after": "forget_days",
    "--let-in": "visitor", "--life": "life_s", "--name": "name", "--new-fd": "new",
    "--notes": "chat", "--of": "helper",
    "--off": "proxy", "--only-here": "for_everyone", "--outbound": "policy", "--proxy": "proxy",
    "--relay": "relay", "--remove": "contact may_remove", "--reply-to": "reply_to",
    "--again": "message", "--cancel": "what", "--pause": "what", "--resume": "what",
    "--add": "may_add", "--rename": "may_rename", "--strict": "is_strict", "--to": "relay",
    "--turn-away": "visitor",
    "--day-first": "day_first", "--month-first": "day_first", "--me": "me", "--without": "without",
    "--zone": "zone",
    "--withdraw": "invite emoji is_admin is_verified", "--yes": "name chat",
}  # fmt: skip
"""The fields of asks that stand for options; empty: a field that may hold nothing."""
ASKS = {one.__struct_config__.tag: one for one in get_args(protocol.Ask)}


def test_every_command_for_a_person_has_its_place_on_the_page() -> None:
    assert PAGE.keys() | NOT_ON_A_PAGE.keys() == {one.words for one in PERSONAL}
    assert not PAGE.keys() & NOT_ON_A_PAGE.keys()


@pytest.mark.parametrize(
    "command", [one for one in PERSONAL if one.words in PAGE], ids=lambda one: one.words
)
def test_the_page_asks_for_everything_that_a_command_does(command: Command) -> None:
    done = PAGE[command.words]
    fields = {field for ask in done.asks for field in ASKS[str(ask)].__struct_fields__}
    options = {
        option
        for action in parser_of(command)._actions
        for option in action.option_strings[:1]
        if option not in EVERYWHERE and action.dest != "help"
    }
    assert done.otherwise.keys() <= options  # no reason outlives its option
    for option in options - done.otherwise.keys():
        known = FIELDS[option].split()
        assert not known or fields & set(known), option


def test_the_page_uses_every_ask_and_every_field_of_it() -> None:
    web = resources.files("amanat.page") / "web"
    scripts = "\n".join(one.read_text() for one in web.iterdir() if one.name.endswith(".js"))
    asked = set(re.findall(r'(?:ask|last|do)\(\s*"([a-z ]+)"', scripts))
    assert set(ASKS) - asked == set()
    fields = {field for one in ASKS.values() for field in one.__struct_fields__}
    assert {one for one in fields if not re.search(rf"\b{one}\b", scripts)} == set()
