"""People: their shown names.

A contact has the name by which the person knows them, which follows the name that the contact says
(rules/naming.py). Anyone else has the name they give themselves, with an id if it looks like
somebody else's name. A person who is no longer a member has only their id.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from amanat.client.names import looks
from amanat.client.vault import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.profile import Me
    from amanat.client.rights import Person
    from amanat.client.vault import Vault


class Names(dict[bytes, str]):
    """Names by identity. Anyone who is not in it goes by their id."""

    def __missing__(self, identity: bytes) -> str:
        return f"({fingerprint(identity)})"


class Known:
    """The people whom the person knows, and the looks of their names; and the names that anybody
    has said since they made their leaf."""

    def __init__(self, names: dict[bytes, str], said: dict[bytes, str]) -> None:
        self.names = names
        self.said = said
        self.looks = frozenset(look for name in names.values() for look in looks(name))


class People:
    """The shown names of the people in one vault's conversations.

    Names are remembered together with the data they came from (the contacts, and the members of the
    conversation), so they are never older than these.
    """

    def __init__(self, vault: Vault, me: Me) -> None:
        self._read = vault.read
        self._me = me
        self._known = Known({}, {})
        self._names: dict[bytes, tuple[Known, Sequence[Person], Names]] = {}

    def known(self) -> Known:
        """Our contacts and ourselves."""
        rows = self._read.execute("SELECT identity, name FROM contact").fetchall()
        names = {**dict(rows), self._me.identity: self._me.name}
        said = dict(self._read.execute("SELECT identity, name FROM new_name").fetchall())
        if (names, said) != (self._known.names, self._known.said):
            self._known = Known(names, said)
        return self._known

    def of(self, gid: bytes, members: Sequence[Person], known: Known | None = None) -> Names:
        """The names of a conversation's people, given its members."""
        known = known or self.known()
        found = self._names.get(gid)
        if found is None or found[0] is not known or found[1] is not members:
            found = known, members, _names(members, known)
            self._names[gid] = found
        return found[2]


def _names(members: Sequence[Person], known: Known) -> Names:
    said = {
        person.identity: known.said.get(person.identity, person.leaf.name) for person in members
    }
    often = Counter(look for name in said.values() for look in looks(name))
    names = Names(known.names)
    for identity in set(said) - set(names):
        name = said[identity]
        is_free = name and all(often[one] == 1 and one not in known.looks for one in looks(name))
        names[identity] = name if is_free else f"{name} {names[identity]}".strip()
    return names
