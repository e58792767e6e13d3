"""Does what the page asks, with the SDK, and says what has happened in the client.

It knows no socket and no browser. A page shows nothing that it was not given here, and keeps
nothing: drafts and read marks rest in the vault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from amanat import __version__, qr
from amanat.client import events
from amanat.errors import UnknownConversation
from amanat.page import carrying, emoji, protocol, records, settings, telling
from amanat.page.backing import Backing
from amanat.page.backups import BackupAsk
from amanat.page.dwelling import dwell
from amanat.page.handing import PREVIEW, Part, Tickets, part, preview
from amanat.page.histories import HistoryAsk
from amanat.page.importing import Importing
from amanat.page.meeting import answer, gather, invite, meet
from amanat.page.talking import arrange, talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import ByteStream
    from amanat.client.sdk.views import Missing, Summary


class Attendant:
    """Attends to the pages of one open client."""

    def __init__(self, client: Client, tell: Callable[[list[bytes]], None]) -> None:
        """`tell` tells every page of work that takes long."""
        self.client = client
        self._importing = Importing(client, tell)
        self._backing = Backing(client, tell)
        self._tickets = Tickets()
        self._missing: dict[bytes, list[Missing]] = {}
        """The gaps of each conversation that the pages know."""
        if client.status().missing:
            for one in client.summaries():
                self._missing[one.gid] = client.chat(one.gid).missing()

    def begin(self) -> dict[str, object]:
        """Everything that a page shows outside conversations."""
        page = {"settings": settings.kept(self.client), "version": __version__}
        backup = {"backup": self._backing.under_way.is_at}
        return records.everything(self.client) | page | backup

    async def attend(self, ask: protocol.ClientAsk) -> object:
        """Do what a page asks; the answer. Everything but asks about homes, pictures, imports and
        backups is done before the first wait, so asks are done in their order. Raises the errors of
        the SDK's calls."""
        client = self.client
        if isinstance(ask, protocol.TalkAsk):
            return talk(client, ask)
        if isinstance(ask, protocol.ChatAsk):
            return arrange(client, ask)
        if isinstance(ask, protocol.InviteAsk):
            return invite(client, ask)
        if isinstance(ask, protocol.PeopleAsk):
            return meet(client, ask)
        if isinstance(ask, protocol.AnswerAsk):
            return answer(client, ask)
        if isinstance(ask, protocol.GroupAsk):
            return gather(client, ask)
        if isinstance(ask, protocol.FileAsk):
            return carrying.carry(client, self._tickets, ask)
        if isinstance(ask, HistoryAsk):
            return await self._importing.attend(ask)
        if isinstance(ask, BackupAsk):
            return await self._backing.attend(ask)
        if isinstance(ask, protocol.Settings):
            return {"settings": settings.keep(client, ask.values)}
        if isinstance(ask, protocol.Emoji):
            return emoji.names()
        if isinstance(ask, protocol.ReadPicture):
            return {"text": await qr.read(ask.width, ask.height, ask.shades)}
        return await dwell(client, ask)

    async def send_file(self, offer: protocol.Offer, source: ByteStream) -> object:
        """Have a file sent that a page brings; the answer. Raises the errors of the SDK's calls."""
        return await carrying.send(self.client, offer, source)

    def media(self, ticket: str, wanted: str) -> Part | None:
        """The part of a file that a browser wants; None for a ticket that we did not give. Raises
        the errors of the SDK's calls."""
        ticket, _, what = ticket.partition("/")
        found = self._tickets.file(ticket)
        if found is None:
            return None
        file = carrying.file(self.client, *found)
        return preview(file) if what == PREVIEW else part(file, wanted)

    def share(self, ask: protocol.ClientAsk) -> list[bytes]:
        """The frames that tell other pages what an ask has changed, where no event tells them."""
        match ask:
            case protocol.Settings():
                return [telling.told("settings", settings=settings.kept(self.client))]
            case _ if isinstance(ask, protocol.AnswerAsk):
                return self._tell_people()
            case protocol.Status() | protocol.Health():
                return []
            case _:
                return self._tell_status() if isinstance(ask, protocol.HomeAsk) else []

    def tell(self, event: events.Event) -> list[bytes]:
        """The frames that tell a page of an event, perhaps that its conversation is gone."""
        try:
            return self._tell(event)
        except UnknownConversation:
            gid = getattr(event, "gid", b"") or b""
            return [telling.told("gone", chat=gid.hex()), *self._tell_people()]

    def _tell(self, event: events.Event) -> list[bytes]:
        match event:
            case events.TextArrived(gid, row) | events.MessageChanged(gid, row):
                message = self._tell_message(gid, row)
                return [*message, *self._tell_summary(gid), *self._tell_missing(gid)]
            case events.Joined(gid) | events.GroupChanged(gid) | events.Removed(gid):
                return [*self._tell_summary(gid), *self._tell_people()]
            case events.SummaryChanged(gid):
                return self._tell_summary(gid)
            case events.StateChanged(gid):
                return [telling.told("progress", chat=gid.hex()), *self._tell_summary(gid)]
            case events.PersonChanged(identity):
                theirs = {c.conversation for c in self.client.contacts() if c.identity == identity}
                lines = [
                    _line(one)
                    for one in self.client.summaries()
                    if one.gid in theirs or (one.last and one.last.position.identity == identity)
                ]
                return [*self._tell_status(), *self._tell_people(), *lines]
            case events.Offered() | events.Knocked():
                return [*self._tell_status(), *self._tell_people()]
            case events.Warned() | events.StatusChanged():
                return self._tell_status()
            case events.TransferChanged(gid, transfer):
                return self._tell_transfer(gid, transfer)
            case _:
                assert_never(event)

    def _tell_message(self, gid: bytes, row: int) -> list[bytes]:
        message = self.client.chat(gid).message_at(row)
        if message is None:
            return [telling.told("gone", chat=gid.hex(), row=row)]
        return [telling.told("message", chat=gid.hex(), message=records.message(message))]

    def _tell_transfer(self, gid: bytes, number: int) -> list[bytes]:
        one = self.client.files.transfer(number)
        record = None if one is None else records.transfer(one)
        return [telling.told("transfer", chat=gid.hex(), number=number, transfer=record)]

    def _tell_summary(self, gid: bytes) -> list[bytes]:
        return [_line(self.client.chat(gid).summary())]

    def _tell_missing(self, gid: bytes) -> list[bytes]:
        """A message may show that others are missing, or be the last of these. A status costs far
        more than a message, so it is told only then."""
        missing = self.client.chat(gid).missing()
        before, self._missing[gid] = self._missing.get(gid, []), missing
        return [] if missing == before else self._tell_status()

    def _tell_status(self) -> list[bytes]:
        return [telling.told("status", status=records.status(self.client))]

    def _tell_people(self) -> list[bytes]:
        return [telling.told("people", **records.people(self.client))]


def _line(summary: Summary) -> bytes:
    return telling.told("summary", summary=records.summary(summary))
