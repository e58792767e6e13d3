"""Naming: the names that people give themselves, and our own.

A person says their name in the conversations that they are in, where their leaf proves who speaks.
So a name is always its owner's word, and never anybody else's. A contact is shown under the name
that they said last, however many came and in whatever order. The person is told of the change once,
under the name that they knew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import profile
from amanat.client.events import PersonChanged
from amanat.client.names import alike, distinct
from amanat.errors import IdentityChanged, InvalidMessage, NameChanged
from amanat.protocol import codec
from amanat.protocol.identity import check_name
from amanat.protocol.messages import Kind, NewName

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Unit

_VERSION = "name version"


class Naming:
    """The names of others and our own."""

    def __init__(self, base: Base, *, warnings: Warnings, roster: Roster, saying: Saying) -> None:
        self._me = base.me
        self._vault = base.vault
        self._read = base.read
        self._history = base.history
        self._warnings = warnings
        self._roster = roster
        self._saying = saying

    # Ours

    def rename(self, unit: Unit, name: str) -> None:
        """Give ourselves another name, and tell everybody we talk with. Raises BadArgument."""
        name = check_name(name)
        if name == self._me.name:
            return
        profile.set_name(unit, name)
        # Above any version that an older copy of this vault can have told, if the clock is right.
        version = max(self._version() + 1, unit.now)
        unit.put(_VERSION, version.to_bytes(8, "big"))
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            self.tell(unit, gid)
        unit.events.append(PersonChanged(self._me.identity))

    def tell(self, unit: Unit, gid: bytes) -> None:
        """Tell the people of a conversation our name, if we have ever had another one. We tell
        nothing to a person whom we have blocked."""
        version = self._version()
        if (
            version
            and self._roster.is_active(gid)
            and len(self._roster.group(gid).identities) > 1
            and not self._history.is_shut(gid)
        ):
            body = codec.encode(NewName(version, self._me.name))
            self._saying.say(unit, gid, Kind.NAME, body)

    def _version(self) -> int:
        try:
            return int.from_bytes(self._vault.get(_VERSION), "big")
        except KeyError:
            return 0

    # Theirs

    def take_name(self, unit: Unit, gid: bytes, sender: bytes, body: bytes) -> None:
        """Call a person by the name that they have said in a conversation, if it is their newest.
        Raises InvalidMessage."""
        new = codec.decode(_new_names, body, InvalidMessage)
        if self._history.is_blocked(sender):
            return
        earlier = unit.db.execute(
            "SELECT version, name FROM new_name WHERE identity = ?", (sender,)
        ).fetchone()
        if earlier is not None and earlier >= (new.version, new.name):
            return
        unit.db.execute(
            "INSERT OR REPLACE INTO new_name VALUES (?, ?, ?)", (sender, new.version, new.name)
        )
        contact = unit.db.execute(
            "SELECT name, conversation FROM contact WHERE identity = ?", (sender,)
        ).fetchone()
        if contact is None:
            self._rename_stranger(unit, gid, sender, earlier[1] if earlier else "", new.name)
            return
        before, direct = contact
        name, known = self._fit(sender, new.name)
        if name != before:
            unit.db.execute("UPDATE contact SET name = ? WHERE identity = ?", (name, sender))
            self._warn_of(unit, direct, sender, known)
            self._tell_person(unit, direct, sender, before)

    def called(self, unit: Unit, gid: bytes, identity: bytes, name: str) -> str:
        """The name under which to show a new contact who calls themselves this, or who has told us
        another name in a group. Their conversation is `gid`."""
        shown, known = self._fit(identity, self._said(identity) or name)
        self._warn_of(unit, gid, identity, known)
        return shown

    def called_once_met(self, identity: bytes, name: str) -> str:
        """The name under which to show a stranger who calls themselves this: the one that they
        would have as a contact."""
        return self._fit(identity, self._said(identity) or name)[0]

    def _said(self, identity: bytes) -> str:
        """The name that somebody has told us in a conversation; empty if they have told none."""
        said = self._read.execute(
            "SELECT name FROM new_name WHERE identity = ?", (identity,)
        ).fetchone()
        return str(said[0]) if said else ""

    def _fit(self, identity: bytes, name: str) -> tuple[str, str]:
        """The name under which to show a contact who calls themselves this, and the name of another
        contact that it looks like; empty if there is none.

        If it looks like another contact's name, or ours, we add a number, so that nobody slips into
        a known name. They are another person, or the same person with another key.
        """
        rows = self._read.execute(
            "SELECT name FROM contact WHERE identity != ? ORDER BY name", (identity,)
        ).fetchall()
        taken = [row[0] for row in rows]
        known = alike(name, taken)
        return distinct(name, [*taken, self._me.name]), known

    def _warn_of(self, unit: Unit, gid: bytes, identity: bytes, known: str) -> None:
        if known:
            self._warnings.warn(unit, gid, IdentityChanged.code, known, whom=identity)

    def _rename_stranger(
        self, unit: Unit, gid: bytes, sender: bytes, before: str, name: str
    ) -> None:
        """Show a member who is no contact under another name. The person need not be told if they
        have read no word of theirs under the earlier one, because a newcomer hears the names of
        members who have long had them."""
        people = self._roster.group(gid).people
        before = before or next((p.leaf.name for p in people if p.identity == sender), name)
        has_spoken = unit.db.execute(
            "SELECT 1 FROM message WHERE gid = ? AND identity = ? LIMIT 1", (gid, sender)
        ).fetchone()
        if name != before and has_spoken:
            self._tell_person(unit, gid, sender, before)
        elif name != before:
            unit.events.append(PersonChanged(sender))

    def _tell_person(self, unit: Unit, gid: bytes, identity: bytes, before: str) -> None:
        """Tell the person that somebody has another name than `before`. Until they have read it,
        further changes only count, and the name stays that by which they knew them."""
        unread = unit.db.execute(
            "SELECT detail FROM warning WHERE code = ? AND gid = ? AND whom = ?",
            (NameChanged.code, gid, identity),
        ).fetchone()
        before = unread[0] if unread else before
        self._warnings.warn(unit, gid, NameChanged.code, before, whom=identity)
        unit.events.append(PersonChanged(identity))


_new_names = codec.decoder_of(NewName)
