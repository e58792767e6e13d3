"""KeyPackages: ours that contacts hold, and theirs by which we add them to groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.errors import (
    InvalidCredential,
    InvalidKeyPackage,
)
from amanat.protocol import codec
from amanat.protocol.identity import (
    decode_leaf,
)
from amanat.protocol.messages import (
    KeyPackages,
    KeyPackagesWanted,
    Kind,
)

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.unit import Unit

MAX_OWN_KEY_PACKAGES = 16
"""The most unused KeyPackages of ours that one contact holds; the oldest go first."""
KEY_PACKAGES_GIVEN = 2
"""The KeyPackages of ours that each contact holds: one in use, one in reserve."""
KEY_PACKAGE_LIFETIME_S = 84 * 86_400
"""How long a KeyPackage may be used, in seconds (12 weeks, as is usual in the field)."""


class Packages:
    """The KeyPackages of one vault."""

    def __init__(self, base: Base, *, roster: Roster, saying: Saying) -> None:
        self._cursors = base.cursors
        self._engine = base.engine
        self._me = base.me
        self._roster = roster
        self._saying = saying

    def give_key_packages(
        self, unit: Unit, gid: bytes, suite: int, count: int, *, joined: bytes | None = None
    ) -> None:
        """Send a contact KeyPackages of ours. `joined` is the group that we have just joined by
        a Welcome of theirs."""
        (them,) = {*self._roster.group(gid).policy.direct} - {self._me.identity}
        made = [self.new_key_package(unit, suite, them) for _ in range(count)]
        self._saying.say(unit, gid, Kind.KEY_PACKAGES, codec.encode(KeyPackages(made, joined)))

    def new_key_package(self, unit: Unit, suite: int, contact: bytes) -> bytes:
        """A KeyPackage of ours for one use by a contact.

        Forgets KeyPackages that are out of date or too many.
        """
        leaf = self._me.new_leaf()
        made = self._engine.new_key_package(
            suite,
            self._me.signer,
            self._me.credential,
            leaf,
            now=unit.now // 1000,
            lifetime_s=KEY_PACKAGE_LIFETIME_S,
        )
        unit.db.execute(
            "INSERT INTO key_package (ref, identity, made_at, bucket_seq, nonce)"
            " VALUES (?, ?, ?, ?, ?)",
            (made.ref, contact, unit.now, self._cursors.read_so_far(), decode_leaf(leaf).nonce),
        )
        unused = unit.db.execute(
            "SELECT ref, made_at FROM key_package WHERE identity = ? ORDER BY rowid DESC",
            (contact,),
        ).fetchall()
        for number, (ref, made_at) in enumerate(unused):
            if number >= MAX_OWN_KEY_PACKAGES or made_at < unit.now - 1000 * KEY_PACKAGE_LIFETIME_S:
                self._engine.delete_key_package(ref)
                unit.db.execute("DELETE FROM key_package WHERE ref = ?", (ref,))
        return made.bytes

    def their_key_package(self, unit: Unit, identity: bytes, suite: int) -> bytes | None:
        """A valid KeyPackage of a contact. If there is none, asks for one and returns None."""
        rows = unit.db.execute(
            "SELECT ref, data FROM their_key_package WHERE identity = ? AND suite = ?"
            " ORDER BY rowid",
            (identity, suite),
        ).fetchall()
        for ref, data in rows:
            try:
                self._roster.person_of(data, now=unit.now)
            except (InvalidKeyPackage, InvalidCredential):
                unit.db.execute("DELETE FROM their_key_package WHERE ref = ?", (ref,))
                continue
            return bytes(data)
        body = codec.encode(KeyPackagesWanted(suite, KEY_PACKAGES_GIVEN))
        self._saying.say(unit, self._roster.direct_with(identity), Kind.KEY_PACKAGES_WANTED, body)
        return None
