"""Addresses: those that people tell us, and those that we tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from amanat.client.profile import read_homes
from amanat.client.rules.roster import Group, decode_new_addresses
from amanat.protocol import codec
from amanat.protocol.messages import (
    Kind,
    NewAddresses,
)

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.unit import Unit
    from amanat.protocol.identity import Address, Leaf


class Addresses:
    """The addresses of others and our own."""

    def __init__(self, base: Base, *, roster: Roster, saying: Saying) -> None:
        self._outbox = base.outbox
        self._cursors = base.cursors
        self._me = base.me
        self._places = base.places
        self._vault = base.vault
        self._history = base.history
        self._whereabouts = base.whereabouts
        self._roster = roster
        self._saying = saying

    def take_addresses(self, unit: Unit, sender: bytes, body: bytes) -> None:
        """Reach a person at new addresses from now on, and send the requests that wait for them
        there. The places of their relays are the relays' own word, and count for everybody
        there."""
        new = decode_new_addresses(body)
        for address in new.addresses:
            self._places.learn(unit, address.relay)
        if unit.db.execute(
            "INSERT INTO new_address VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version ="
            " excluded.version, addresses = excluded.addresses WHERE version < excluded.version"
            " RETURNING 1",
            (sender, new.version, body),
        ).fetchone():
            self._outbox.send_after(unit, sender, new.addresses)

    def learn_address(self, unit: Unit, identity: bytes, addresses: list[Address]) -> bool:
        """Learn a contact's addresses from an invite of theirs; returns False if we knew them.
        Addresses that the contact tells us in a conversation, now or later, take precedence."""
        news = [self._places.learn(unit, address.relay) for address in addresses]
        peers = self._roster.others(self._roster.group(self._roster.direct_with(identity)))
        if any(peer.addresses == addresses for peer in peers if peer.identity == identity):
            return any(news)
        unit.db.execute(
            "INSERT INTO new_address VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET addresses ="
            " excluded.addresses",
            (identity, codec.encode(NewAddresses(1, addresses))),
        )
        self._outbox.send_after(unit, identity, addresses)
        return True

    def tell_addresses(self, unit: Unit) -> None:
        """Tell everybody we talk with where they reach us from now on."""
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            self.tell(unit, gid)
        self._whereabouts.told_all(unit)

    def tell(self, unit: Unit, gid: bytes, *, is_again: bool = False) -> None:
        """Tell the people of a conversation where we are now, if we have ever moved. We tell
        nothing to a person whom we have blocked."""
        body = self._whereabouts.word()
        group = self._roster.group(gid)
        others = group.identities - {self._me.identity}
        if (
            body is None
            or not others
            or not self._roster.is_active(gid)
            or self._history.is_shut(gid)
        ):
            return
        # People who share a relay with us may look for it where it no longer is.
        relays = {home.relay for home in self._me.homes}
        envelope = self._saying.say(
            unit, gid, Kind.ADDRESSES, body, is_again=is_again, rather_not_at=relays
        )
        if not is_again and not group.is_large:  # a large group sends nothing to our buckets
            self._whereabouts.told(unit, gid, others, envelope.seq)

    def see_places(self) -> None:
        """Read our homes again, because relays of ours are elsewhere. Everything that we write from
        now on says so."""
        self._me.homes[:] = read_homes(self._vault)

    def tell_places(self, unit: Unit) -> None:
        """Tell everybody the new places of our relays, as if we had another home."""
        self._places.end_news(unit)
        self._whereabouts.say_anew(unit)
        self.tell_addresses(unit)

    def has_new_addresses_since(self, group: Group) -> bool:
        """Whether our leaf in a group names an old address of ours, or an old place of our
        relay."""
        own = next(p for p in group.people if p.signer == self._me.signer).leaf.addresses
        ours = self._me.addresses
        return own != ours or not all(
            then.relay.says_as(today.relay) for then, today in zip(own, ours, strict=True)
        )

    def new_leaf(self, group: Group) -> Leaf | None:
        """Our leaf in a group with our addresses of today, if it has others."""
        if not self.has_new_addresses_since(group):
            return None
        own = next(p for p in group.people if p.signer == self._me.signer).leaf
        return structs.replace(own, addresses=self._me.addresses)

    def arrived_at(self, unit: Unit, gid: bytes, signer: bytes, drop_id: bytes) -> None:
        """Record that a member's cell arrived in one of our buckets."""
        row = unit.db.execute(
            "SELECT identity FROM heard WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if row is not None:
            self._whereabouts.came(unit, gid, row[0], drop_id)

    def at_home(self, unit: Unit) -> None:
        """Begin with a new home bucket, because positions in the old one no longer count."""
        begin = self._cursors.read_so_far()
        unit.db.execute("UPDATE conversation SET sure_seq = ?", (begin,))
        unit.db.execute("UPDATE key_package SET bucket_seq = ?", (begin,))
        self._cursors.forget_again(unit)
        # Drop words still to be held at the relay that we leave. People who were told of them ask.
        unit.db.execute(
            "DELETE FROM outbox WHERE purpose = 'held' AND relay <> ?", (self._me.home.relay,)
        )

    def tell_unblocked(self, unit: Unit, identity: bytes) -> None:
        """Tell somebody everything that we did not tell them while they were blocked."""
        gid = self._roster.direct_with(identity)
        self.tell(unit, gid)
        self._saying.say_waiting(unit, gid)
