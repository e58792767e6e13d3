"""Commands about backups: making them, checking them, and restoring from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import session, telling, terminal
from amanat.cli.carrying import size
from amanat.display import shown
from amanat.errors import BadArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from amanat.client.sdk.backups import Backup, Word
    from amanat.client.sdk.client import Client
    from amanat.display import Out

_BAR = 1
"""The number of the one bar that such a command shows."""
_PHASES = {
    "files": "files: {done:,} of {whole:,}",
    "write": "writing: {done:,} of {whole:,} messages",
    "check": "restoring it for a trial: {part} of {all}",
    "restore": "restoring it: {part} of {all}",
}


def begin_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `backup begin`."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="such as one on another disk")
    parser.add_argument(
        "--new-phrase", action="store_true", help="later backups open with a new phrase alone"
    )
    parser.add_argument(
        "--forget-after",
        metavar="DAYS",
        type=int,
        help="each backup removes those that are so many days older (0: none)",
    )


def begin(args: argparse.Namespace, out: Out) -> None:
    """Have a backup made every day, and show the recovery phrase if it is new."""
    folder = terminal.absolute(args, args.folder)

    async def work(client: Client) -> None:
        words = client.backups.begin(
            folder, new_phrase=args.new_phrase, forget_days=args.forget_after
        )
        value = {
            "folder": str(folder),
            "words": [one.word for one in words],
            "numbers": [one.number for one in words],
        }
        out.result(value, _phrase_text(words))
        if words:
            out.note(
                "write these words down now, in this order: nothing shows them again, and without"
                " them no backup opens. Whoever has them and a backup can read everything in it."
                " The numbers say the same in any script"
            )
            out.note("`amanat backup phrase` asks you for some of them, once you have")
        out.note(f"a backup is made in {shown(str(folder))} every day while you are online")

    session.with_client(args, work, is_online=False)


def _phrase_text(words: Sequence[Word]) -> str:
    """Four columns of words, with their numbers."""
    cells = [f"{at:>2}. {one.word:<9}{one.number:>4}" for at, one in enumerate(words, 1)]
    return "\n".join("    ".join(cells[row : row + 4]) for row in range(0, len(cells), 4))


def make(args: argparse.Namespace, out: Out) -> None:
    """Make a backup now."""

    async def work(client: Client) -> None:
        made = await client.backups.make(_told(out))
        out.result(made.as_json(), _backup_text(made))
        if made.without_file:
            out.note(f"{made.without_file} files are without their content, which is damaged here")

    session.with_client(args, work, is_online=False)


def _told(out: Out) -> Callable[[str, int, int], None]:
    """A function that shows how far a backup has got, from the thread that makes it."""
    import asyncio

    loop = asyncio.get_running_loop()

    def told(phase: str, done: int, whole: int) -> None:
        text = _PHASES[phase].format(done=done, whole=whole, part=size(done), all=size(whole))
        loop.call_soon_threadsafe(lambda: out.bar(_BAR, text, done=done, whole=whole))

    return told


def _backup_text(one: Backup) -> str:
    imported = f", {one.imported:,} imported" if one.imported else ""
    unknown = f"; {one.unknown:,} records are of a newer version" if one.unknown else ""
    return (
        f"{shown(one.file)}\n{one.messages:,} messages{imported} and {one.files:,} files, of"
        f" {telling.day(one.made_at)}: it was read back from the disk and restored for a"
        f" trial{unknown}"
    )


def status(args: argparse.Namespace, out: Out) -> None:
    """Show how backups stand."""

    async def work(client: Client) -> None:
        found = client.backups.status()
        lines = []
        if not found.folder:
            lines.append("no backups are made: `amanat backup begin FOLDER`")
        else:
            kept = f"; each is kept for {found.forget_days} days" if found.forget_days else ""
            lines.append(f"every day, in {shown(found.folder)}{kept}")
        if found.last_at:
            hours = max(0, client.now() - found.last_at) // 3_600_000
            lines.append(
                f"the last: {shown(found.file)}, {hours} hours ago, {size(found.bytes)},"
                f" {found.messages:,} messages; it was restored for a trial"
            )
        out.result(found.as_json(), "\n".join([*lines, *telling.backup_troubles(found)]))

    session.with_client(args, work, is_online=False)


def check_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `backup check`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a backup, or a folder of them")


def check(args: argparse.Namespace, out: Out) -> None:
    """Read a backup and restore it for a trial."""
    file = terminal.absolute(args, args.file)

    async def work(client: Client) -> None:
        found = await client.backups.check(file, _told(out))
        out.result(found.as_json(), _backup_text(found))

    session.with_client(args, work, is_online=False)


def phrase_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `backup phrase`."""
    parser.add_argument("--phrase-fd", type=int, metavar="N", help="read all 24 words")


def phrase(args: argparse.Namespace, out: Out) -> None:
    """Ask for some words of the recovery phrase."""
    from amanat.client.backups import ASKED_WORDS, ask_for
    from amanat.protocol.phrase import WORDS

    places = (
        list(range(1, WORDS + 1)) if args.phrase_fd is not None else ask_for(ASKED_WORDS, WORDS)
    )
    given = args.given.read(lambda: terminal.words(args.phrase_fd, places))
    at, _, said = given.partition("\n")

    async def work(client: Client) -> None:
        asked = [int(one) for one in at.split()]
        words = said.split()
        if len(words) != len(asked):
            raise BadArgument(f"{len(asked)} words were asked for")
        client.backups.confirm(dict(zip(asked, words, strict=True)))
        out.result({"is_noted": True}, "these are the words; keep them where you find them again")

    session.with_client(args, work, is_online=False)


def shares_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `backup shares`."""
    parser.add_argument("--phrase-fd", type=int, metavar="N", help="read the recovery phrase")


def shares(args: argparse.Namespace, out: Out) -> None:
    """Print five shares of the recovery phrase, any three of which are as good as the phrase."""
    given = args.given.read(lambda: terminal.phrase(args.phrase_fd))

    async def work(client: Client) -> None:
        made = client.backups.shares(given)
        value = {
            "shares": [[one.word for one in words] for words in made],
            "numbers": [[one.number for one in words] for words in made],
        }
        sheets = [
            f"share {number} of {len(made)}\n{_phrase_text(words)}"
            for number, words in enumerate(made, 1)
        ]
        out.result(value, "\n\n".join(sheets))
        out.note(
            "write each on a sheet of its own: nothing shows them again. Any three of the five open"
            " your backups, as the phrase does; two open nothing. So give no two to people who"
            " would join against you, or who can be made to. Nobody can take a share back: only"
            " `amanat backup begin --new-phrase` makes them useless, and for later backups alone"
        )

    session.with_client(args, work, is_online=False)


def stop(args: argparse.Namespace, out: Out) -> None:
    """Stop making backups."""

    async def work(client: Client) -> None:
        folder = client.backups.status().folder
        client.backups.stop()
        out.result({"folder": folder}, "")
        out.note("Amanat makes no more backups; the existing ones stay, and open with their phrase")

    session.with_client(args, work, is_online=False)


def restore_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore`."""
    parser.add_argument("backup", metavar="FOLDER", type=Path, help="of backups, or one of them")
    parser.add_argument("--phrase-fd", type=int, metavar="N", help="read the recovery phrase")
    parser.add_argument("--shares", action="store_true", help="read three shares in its place")
    parser.add_argument("--keyring", action="store_true", help="keep the key in the system keyring")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def restore(args: argparse.Namespace, out: Out) -> None:
    """Make a profile from a backup."""
    import uvloop

    from amanat.client.sdk.backups import restore as restored
    from amanat.client.sdk.client import Client
    from amanat.client.shares import NEEDED, WORDS
    from amanat.client.vault import Unlock, naming_faults

    out.note(
        "your old device will be out: once this one has come back, the conversations no longer know"
        " it. This does not add a device beside one that works"
    )
    if not args.yes:
        asked = "type restore to go on: "
        if terminal.text(args, None, asked).strip() != "restore":
            raise BadArgument("nothing was done")
    words, parts = "", list[str]()
    if args.shares:
        parts = terminal.shares(args.phrase_fd, NEEDED, WORDS)
    else:
        words = terminal.phrase(args.phrase_fd)
    if args.keyring:
        unlock = Unlock(keyring=True)
    else:
        unlock = Unlock(passphrase=terminal.passphrase(args, is_new=True))

    async def run() -> None:
        await restored(
            args.profile, unlock, backup=args.backup, phrase=words, shares=parts, told=_told(out)
        )
        client = Client.open(args.profile, unlock)
        found, views = client.status(), client.conversations()
        waiting = [view.name for view in views if view.state == "astray"]
        await client.close()
        out.result(
            {"name": found.name, "id": found.identity, "waiting": waiting},
            f"you are {shown(found.name)}; everything said up to the backup is here",
        )
        if waiting:
            out.note(
                f"{len(waiting)} conversations wait for somebody in them to let this device in:"
                " stay online with `amanat run` or `amanat up`"
            )
            out.note(
                f"your home is still {found.relay}: if it was lost with the old device, move to"
                " another relay with `amanat exit --to RELAY`. Contacts cannot answer you at the"
                " old one: let each of them leave the old conversation and send you an invite"
            )

    with naming_faults(args.profile):
        uvloop.run(run())
