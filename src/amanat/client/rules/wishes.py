"""Wishes: the changes that a person wants in a group, each kept until some Commit has made it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from amanat.client import rights
from amanat.client.events import (
    Removed,
)
from amanat.client.rights import Deed
from amanat.client.rules.commits import LEAVE_TURN_MS, Wish, decode_leave
from amanat.client.rules.entering import REFRESH_MS, REFRESH_PEOPLE
from amanat.client.state import State
from amanat.errors import (
    BadArgument,
    GroupTooLarge,
    IdentityChanged,
    NotAMember,
)
from amanat.protocol import codec
from amanat.protocol.identity import (
    check_name,
    check_signature,
    leave_text,
)
from amanat.protocol.messages import (
    Declined,
    Kind,
    Leave,
    Who,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amanat.client.rules.base import Base
    from amanat.client.rules.commits import Commits
    from amanat.client.rules.entering import Entering
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.unit import Unit


class Wishes:
    """The wishes of one vault."""

    def __init__(
        self, base: Base, *, roster: Roster, saying: Saying, entering: Entering, commits: Commits
    ) -> None:
        self._me = base.me
        self._engine = base.engine
        self._branches = base.branches
        self._gaps = base.gaps
        self._sent = base.sent
        self._history = base.history
        self._offers = base.offers
        self._repeats = base.repeats
        self._roster = roster
        self._saying = saying
        self._entering = entering
        self._commits = commits

    def add(self, unit: Unit, gid: bytes, identities: Sequence[bytes]) -> None:
        """Add contacts to a group. Raises NotAMember, NotAdmin or GroupTooLarge."""
        group = self._roster.require(gid, Deed.ADD)
        most = rights.most_leaves(group.view.suite)
        if len(group.identities | set(identities)) > most:
            raise GroupTooLarge(f"at most {most} with this ciphersuite")
        for identity in identities:
            if identity not in group.identities:
                self._commits.wish(unit, gid, Wish.ADD, identity, due_at=unit.now)
        self._commits.attempt(unit, gid)

    def remove(self, unit: Unit, gid: bytes, identity: bytes) -> None:
        """Remove a person from a group. Raises NotAMember or NotAdmin."""
        group = self._roster.require(gid, Deed.REMOVE, identity)
        if identity not in group.identities:
            raise NotAMember("they are not in this group")
        if identity == self._me.identity:
            raise BadArgument("to go yourself, leave")
        self._commits.wish(unit, gid, Wish.REMOVE, identity, due_at=unit.now)
        self._commits.attempt(unit, gid)

    def rename(self, unit: Unit, gid: bytes, name: str) -> None:
        """Rename a group. Raises NotAMember, NotAdmin or BadArgument."""
        self._roster.require(gid, Deed.RENAME)
        self._commits.wish(unit, gid, Wish.RENAME, check_name(name).encode(), due_at=unit.now)
        self._commits.attempt(unit, gid)

    def set_admin(self, unit: Unit, gid: bytes, identity: bytes, *, is_admin: bool) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        group = self._roster.require(gid, Deed.ADMINISTER)
        if identity not in group.identities:
            raise NotAMember("they are not in this group")
        if not is_admin and set(group.policy.admins) & group.identities == {identity}:
            raise BadArgument("a group keeps at least one admin")
        self._commits.wish(
            unit, gid, Wish.ADMIN if is_admin else Wish.NO_ADMIN, identity, due_at=unit.now
        )
        self._commits.attempt(unit, gid)

    def set_roles(self, unit: Unit, gid: bytes, roles: dict[str, str]) -> None:
        """Set the people who may add, remove and rename: `may_add`, `may_remove` and `may_rename`,
        each "admins" or "members". Raises NotAMember, NotAdmin or BadArgument."""
        self._roster.require(gid, Deed.ADMINISTER)
        if set(roles) - {"may_add", "may_remove", "may_rename"} or set(roles.values()) - set(Who):
            raise BadArgument("add, remove and rename are for admins or members")
        self._commits.wish(
            unit, gid, Wish.ROLES, json.dumps(roles, sort_keys=True).encode(), due_at=unit.now
        )
        self._commits.attempt(unit, gid)

    def bring_along(self, unit: Unit, left: Iterable[bytes]) -> None:
        """Move the Commits of groups from relays with these keys to our home, where we may decide
        that. Elsewhere our leaf says at once that we are no longer there, so that the last to go
        takes the group along."""
        home, relays = self._me.home, set(left)
        place = json.dumps([codec.encode(home.address).hex(), home.region]).encode()
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            group = self._roster.group(gid)
            if group.policy.relay.key not in relays:
                continue
            if rights.may(group.policy, group.people, self._me.identity, Deed.PLACE):
                unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'place'", (gid,))
                self._commits.wish(unit, gid, Wish.PLACE, place, due_at=unit.now)
            else:
                self._commits.wish(unit, gid, Wish.REFRESH, b"", due_at=unit.now)
            self._commits.attempt(unit, gid)

    def refresh(self, unit: Unit, gid: bytes) -> None:
        """Refresh the keys of our leaf, if somebody spoke since the last time."""
        (before,) = unit.db.execute(
            "SELECT refreshed_at FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        spoken = unit.db.execute(
            "SELECT 1 FROM message WHERE gid = ? AND kept_at >= ? LIMIT 1", (gid, before)
        ).fetchone()
        self._entering.plan_refresh(unit, gid, REFRESH_MS[1])
        if (
            self._roster.is_active(gid)
            and len(self._roster.group(gid).people) > 1
            and (spoken or before == 0)
        ):
            self._commits.wish(unit, gid, Wish.REFRESH, b"", due_at=unit.now)
            self._commits.attempt(unit, gid)

    def _schedule_leave(self, unit: Unit, gid: bytes, wish: Leave) -> None:
        others = [p.signer for p in self._roster.group(gid).people if p.leaf.nonce != wish.nonce]
        if self._me.signer not in others:
            return
        turn = others.index(self._me.signer)
        due_at = unit.now + turn * LEAVE_TURN_MS
        self._commits.wish(unit, gid, Wish.LET_GO, codec.encode(wish), due_at=due_at)
        self._commits.attempt(unit, gid)

    def take_leave(self, unit: Unit, gid: bytes, sender: bytes, body: bytes) -> None:
        """Let a member go who says that they leave, when our turn comes."""
        wish = decode_leave(body)
        check_signature(wish.identity, wish.signature, leave_text(gid, wish.nonce))
        if wish.identity == sender:
            self._schedule_leave(unit, gid, wish)

    def take_no(self, unit: Unit, sender: bytes, no: Declined) -> None:
        """Let somebody go who does not want to be in a group to which we have added them."""
        wish = no.leave
        check_signature(wish.identity, wish.signature, leave_text(no.group, wish.nonce))
        self._repeats.has_come(unit, no.group, sender)
        if wish.identity == sender and self._roster.is_followed(no.group):
            self._schedule_leave(unit, no.group, wish)

    def leave(self, unit: Unit, gid: bytes) -> None:
        """Tell the members that we leave; one of them commits it. Raises NotAMember."""
        self._roster.require_active(gid)
        group = self._roster.group(gid)
        own = next(p for p in group.people if p.signer == self._me.signer)
        if group.identities == {self._me.identity}:
            self._entering.go(unit, gid)
        else:
            wish = self.wish_to_leave(gid, own.leaf.nonce)
            self._saying.say(unit, gid, Kind.LEAVE, codec.encode(wish))
            unit.db.execute("UPDATE conversation SET state = 'leaving' WHERE gid = ?", (gid,))
        unit.events.append(Removed(gid))

    def wish_to_leave(self, gid: bytes, nonce: bytes) -> Leave:
        """Our signed request that our leaf with this nonce be removed."""
        signature = self._me.identity_key.sign(leave_text(gid, nonce))
        return Leave(identity=self._me.identity, nonce=nonce, signature=signature)

    def leave_and_block(self, unit: Unit, gid: bytes) -> bytes:
        """Leave a group, and block the person who added us to it; returns their identity. Raises
        NotAMember or BadArgument."""
        self._roster.require_active(gid)
        by = self._roster.added_by(gid)
        if not by:
            raise BadArgument("nobody has added you to this group")
        self.leave(unit, gid)
        self.block(unit, by)
        return by

    def block(self, unit: Unit, identity: bytes) -> None:
        """Block a contact, and leave their offers unanswered."""
        self._history.set_blocked(unit, identity, is_blocked=True)
        self._forget_offers(unit, identity)

    def _forget_offers(self, unit: Unit, identity: bytes) -> None:
        """Follow somebody into no group that they have offered us, or already let us into."""
        self._offers.forget_of(unit, identity)
        unit.db.execute("DELETE FROM joining WHERE inviter = ?", (identity,))

    def part(self, unit: Unit, identity: bytes) -> bytes:
        """Leave the 1:1 conversation with a contact, who is none from now on; returns its gid. We
        neither add them to groups nor follow them into any, and they stay blocked if they are.

        Raises UnknownConversation if they are no contact.
        """
        gid = self._roster.direct_with(identity)
        if self._history.is_blocked(identity):
            unit.db.execute("INSERT OR IGNORE INTO shut_out VALUES (?)", (identity,))
        if self._roster.is_active(gid):
            try:
                self.leave(unit, gid)
            except IdentityChanged:  # we say nothing there
                self._entering.go(unit, gid)
        elif self._roster.state(gid) is State.ASTRAY:
            self._entering.go(unit, gid)
        self._forget_offers(unit, identity)
        unit.db.execute("DELETE FROM intent WHERE kind = ? AND data = ?", (Wish.ADD, identity))
        unit.db.execute("DELETE FROM their_key_package WHERE identity = ?", (identity,))
        for (ref,) in unit.db.execute(
            "DELETE FROM key_package WHERE identity = ? RETURNING ref", (identity,)
        ).fetchall():
            self._engine.delete_key_package(ref)
        unit.db.execute("DELETE FROM contact WHERE identity = ?", (identity,))
        return gid

    def begin_clock(self, unit: Unit) -> None:
        """Let nothing wait longer than if it had been postponed now, because the clock may have
        been set back."""
        self._gaps.begin_clock(unit)
        self._sent.begin_clock(unit)
        self._branches.begin_clock(unit)
        unit.db.execute("UPDATE early SET kept_at = min(kept_at, ?)", (unit.now,))
        self._repeats.begin_clock(unit)
        unit.db.execute("UPDATE conversation SET refreshed_at = min(refreshed_at, ?)", (unit.now,))
        for gid, due_at in unit.db.execute(
            "SELECT gid, refresh_due_at FROM conversation WHERE state = 'active'"
        ).fetchall():
            longest = (
                2 * REFRESH_MS[1] * max(1, len(self._roster.group(gid).people) // REFRESH_PEOPLE)
            )
            if due_at is not None and due_at > unit.now + longest:
                self._entering.plan_refresh(unit, gid, REFRESH_MS[1])
