"""Commands that report the client's state: status and doctor."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from amanat.cli import session, telling
from amanat.display import shown
from amanat.errors import AmanatError, ProfileReplaced, RelayUnreachable

if TYPE_CHECKING:
    import argparse

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.views import Status
    from amanat.display import Out


def status(args: argparse.Namespace, out: Out) -> None:
    """Show the state of the client."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        with contextlib.suppress(RelayUnreachable):
            await session.flush(args, out, client)
        await session.look_back(args, client)
        status = client.status()
        troubles = "".join(f"{one}\n" for one in telling.backup_troubles(client.backups.status()))
        out.result(
            status.as_json(),
            f"{status.name}  {status.identity}\n"
            f"{telling.rest_text(status)}"
            f"{_troubles(status)}{troubles}"
            f"transport: {status.transport}: {status.means}\n"
            f"{telling.ways(status)}"
            f"contacts: {status.contacts}, conversations: {status.conversations},"
            f" requests waiting to leave: {status.outbox}",
        )
        await telling.warn(client, out)

    session.with_client(args, work)


def _troubles(status: Status) -> str:
    lines = [f"{ProfileReplaced.text}: {ProfileReplaced.hint}"] if status.is_replaced else []
    lines += [f"cannot be reached now: {relay}" for relay in status.away]
    if status.is_homeless:
        lines.append(
            "no home of yours answers: if it is gone for good, move to another relay with"
            " `amanat exit --to RELAY`"
        )
    lines += [
        f"missing: {one.many} of {shown(one.sender)} in {shown(one.conversation)};"
        " they are asked to send it again"
        for one in status.missing
    ]
    return "".join(f"{line}\n" for line in lines)


def doctor(args: argparse.Namespace, out: Out) -> None:
    """Check installation, profile and relay."""
    checks: list[tuple[str, bool, str]] = []

    async def look(client: Client) -> int:
        checks.append(("profile", True, str(args.profile)))
        damage = client.check_vault()
        checks.append(("vault", not damage, damage or "every page is whole"))
        if args.hand_over is None:  # not before the check: nothing may write to a damaged vault
            client.start()
        try:
            await session.caught_up(args, client)
            checks.append(("relay", True, client.status().relay))
        except AmanatError as error:
            checks.append(("relay", False, str(error)))
        return _tell_checks(checks, out)

    try:
        session.with_client(args, look, is_online=False)
    except AmanatError as error:
        checks.append(("profile", False, f"{error}"))
        sys.exit(_tell_checks(checks, out))


def _tell_checks(checks: list[tuple[str, bool, str]], out: Out) -> int:
    """Tell the results of the checks; returns the exit status."""
    out.result(
        [{"check": name, "ok": good, "detail": detail} for name, good, detail in checks],
        "\n".join(
            f"{'ok  ' if good else 'FAIL'} {name}: {detail}" for name, good, detail in checks
        ),
    )
    return 0 if all(good for _, good, _ in checks) else 1
