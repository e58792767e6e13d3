"""Every command: its words, its topic, its requirements, and its help.

`amanat --help` loads nothing but this table. The module of a topic is imported only for one of its
commands. It has the function named here and, if the command has arguments, another with the same
name and the suffix `_words` that adds them.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Needs(enum.Enum):
    """The requirements of a command. A background does the commands that need a client, and no
    others."""

    CLIENT = "client"
    """An open client: the background's if one runs, or else one that the command opens."""
    BACKGROUND = "background"
    """Its own process that has the profile: to make it, or to keep it open."""
    OPERATOR = "operator"
    """The directory of a relay or a witness, or a file that came from one; no profile."""
    LAB = "lab"
    """The libraries of `amanat[lab]`; no profile."""


class Command(NamedTuple):
    """A command of the program."""

    words: str
    topic: str
    """The module of this package that contains it."""
    run: str
    """The function there that does it, which takes the arguments and the output."""
    needs: Needs
    help: str
    is_question: bool = False
    """Whether it only asks a question: it has failed if its answer cannot be shown, and the person
    can ask again without harm."""


_CLIENT, _OPERATOR, _LAB = Needs.CLIENT, Needs.OPERATOR, Needs.LAB

GROUPS = {
    "group": ("make and change groups", "ACTION"),
    "backup": ("keep backups, made every day", "ACTION"),
    "relay": ("run a relay", "ACTION"),
    "relay cluster": ("keep a relay's drops on several machines", "ACTION"),
    "region": ("see where data rests", "ACTION"),
    "demo": ("see it work on this machine", "WHAT"),
}
"""The words of commands with several, all but the last, each with its help and the placeholder of
the next word."""

COMMANDS = (
    Command("init", "people", "init", Needs.BACKGROUND, "create a person whose home is a relay"),
    Command(
        "invite",
        "people",
        "invite",
        _CLIENT,
        "make an invite for one person, or withdraw one",
        is_question=True,
    ),
    Command(
        "invites",
        "people",
        "invites",
        _CLIENT,
        "list the invites that can still be used",
        is_question=True,
    ),
    Command("accept", "people", "accept", _CLIENT, "knock on an invite from standard input"),
    Command("knocks", "people", "knocks", _CLIENT, "show or set what happens when somebody knocks"),
    Command(
        "visitors",
        "people",
        "visitors",
        _CLIENT,
        "list the people who knocked and wait, let one in, or turn one away",
        is_question=True,
    ),
    Command("name", "people", "name", _CLIENT, "show or change your name"),
    Command(
        "contacts",
        "people",
        "contacts",
        _CLIENT,
        "list the people you can write to, or remove one",
        is_question=True,
    ),
    Command("send", "talk", "send", _CLIENT, "send the text on standard input, or a file"),
    Command(
        "files",
        "files",
        "list_files",
        _CLIENT,
        "list the files of a conversation, and those on their way",
        is_question=True,
    ),
    Command("save", "files", "save", _CLIENT, "fetch a file and write it to a path"),
    Command(
        "fetch-rules",
        "files",
        "fetch_rules",
        _CLIENT,
        "show or set which files are fetched by themselves, and how much is kept",
    ),
    Command("read", "talk", "read", _CLIENT, "fetch and show new texts", is_question=True),
    Command(
        "search",
        "talk",
        "search",
        _CLIENT,
        "find texts by words on standard input",
        is_question=True,
    ),
    Command("forward", "talk", "forward", _CLIENT, "say a text again in another conversation"),
    Command("edit", "talk", "edit", _CLIENT, "edit one of your texts, from standard input"),
    Command("react", "talk", "react", _CLIENT, "react to a text, from standard input"),
    Command("export", "talk", "export", _CLIENT, "write a conversation into a file"),
    Command("import", "imports", "take", _CLIENT, "bring chats along from another messenger"),
    Command(
        "imported",
        "imports",
        "imported",
        _CLIENT,
        "list imported chats, or show, export or delete one",
    ),
    Command("delete", "talk", "delete", _CLIENT, "delete texts, for everyone or here alone"),
    Command("timer", "talk", "timer", _CLIENT, "show or set how long new texts are kept"),
    Command(
        "read-marks",
        "talk",
        "read_marks",
        _CLIENT,
        "show or set whether others learn what you read",
    ),
    Command("block", "people", "block", _CLIENT, "ignore a contact from now on"),
    Command("unblock", "people", "unblock", _CLIENT, "stop ignoring a contact"),
    Command("group create", "groups", "create", _CLIENT, "start a group"),
    Command("group add", "groups", "add", _CLIENT, "add contacts to a group"),
    Command("group remove", "groups", "remove", _CLIENT, "remove people from a group"),
    Command("group leave", "groups", "leave", _CLIENT, "leave a group"),
    Command("group adds", "groups", "adds", _CLIENT, "show or set what happens when you are added"),
    Command("group offers", "groups", "offers", _CLIENT, "list the groups that you are offered"),
    Command("group accept", "groups", "accept", _CLIENT, "join a group that you are offered"),
    Command("group decline", "groups", "decline", _CLIENT, "decline an offered group"),
    Command("group rename", "groups", "rename", _CLIENT, "rename a group"),
    Command("group admin", "groups", "admin", _CLIENT, "give or withdraw admin rights"),
    Command("group roles", "groups", "roles", _CLIENT, "set who may add, remove and rename"),
    Command(
        "group rejoin",
        "groups",
        "rejoin",
        _CLIENT,
        "show how contacts help with a group that is out of step",
    ),
    Command("group list", "groups", "list_groups", _CLIENT, "list groups", is_question=True),
    Command("verify", "people", "verify", _CLIENT, "compare safety numbers with a contact"),
    Command("backup begin", "backups", "begin", _CLIENT, "make a backup in a folder every day"),
    Command("backup now", "backups", "make", _CLIENT, "make a backup, and restore it for a trial"),
    Command(
        "backup status", "backups", "status", _CLIENT, "show how backups stand", is_question=True
    ),
    Command(
        "backup check",
        "backups",
        "check",
        _CLIENT,
        "read a backup, and restore it for a trial",
        is_question=True,
    ),
    Command("backup phrase", "backups", "phrase", _CLIENT, "show that you have noted the phrase"),
    Command("backup shares", "backups", "shares", _CLIENT, "print five shares of the phrase"),
    Command("backup stop", "backups", "stop", _CLIENT, "stop making backups"),
    Command("restore", "backups", "restore", Needs.BACKGROUND, "make a profile from a backup"),
    Command("wipe", "people", "wipe", Needs.BACKGROUND, "destroy your profile on this machine"),
    Command("passphrase", "people", "passphrase", _CLIENT, "change your passphrase"),
    Command("home", "home", "home", _CLIENT, "show or choose where your data rests"),
    Command("exit", "home", "leave", _CLIENT, "leave for another relay, and tell everybody"),
    Command("place", "home", "place", _CLIENT, "give the present address of any relay"),
    Command("hop", "home", "hop", _CLIENT, "show or set whether relays see your address"),
    Command("cover", "home", "cover", _CLIENT, "show or set cover: one cell in each period"),
    Command("proxy", "home", "proxy", _CLIENT, "show or set the proxy to reach relays through"),
    Command(
        "run", "host", "run", Needs.BACKGROUND, "stay online, and do the work of other commands"
    ),
    Command("up", "host", "up", Needs.BACKGROUND, "open your messenger as a page in your browser"),
    Command(
        "status", "standing", "status", _CLIENT, "show the state of the client", is_question=True
    ),
    Command(
        "doctor",
        "standing",
        "doctor",
        _CLIENT,
        "check this installation, profile and relay",
        is_question=True,
    ),
    Command("relay init", "relay", "init", _OPERATOR, "make a relay"),
    Command("relay run", "relay", "run", _OPERATOR, "run a relay until you stop it"),
    Command(
        "relay cluster try",
        "cluster",
        "attempt",
        _OPERATOR,
        "run a cluster and a relay on this machine",
    ),
    Command(
        "relay cluster check",
        "cluster",
        "check",
        _OPERATOR,
        "check the cluster of a relay",
        is_question=True,
    ),
    Command(
        "relay cluster scrub",
        "cluster",
        "scrub",
        _OPERATOR,
        "compare all replicas of a relay's cluster",
    ),
    Command(
        "region witness",
        "region",
        "witness",
        _OPERATOR,
        "sign a checkpoint of a relay's ledger",
        is_question=True,
    ),
    Command("region notice", "region", "announce", _OPERATOR, "announce that a relay will move"),
    Command("region move", "region", "move", _OPERATOR, "move everything to another relay, live"),
    Command(
        "region audit",
        "region",
        "look_over",
        _OPERATOR,
        "see what rests at a relay, and report",
        is_question=True,
    ),
    Command(
        "region verify",
        "region",
        "verify",
        _OPERATOR,
        "check a move certificate",
        is_question=True,
    ),
    Command(
        "capacity",
        "capacity",
        "compute",
        _OPERATOR,
        "compute what many people take and cost",
        is_question=True,
    ),
    Command("drill", "lab", "attack", _LAB, "attack our own and others' servers, and report"),
    Command("replay", "lab", "play", _LAB, "replay a trace of real people"),
    Command(
        "demo residency", "lab", "residency", _LAB, "a region's data moves while its people talk"
    ),
)
