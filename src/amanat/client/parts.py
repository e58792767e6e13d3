"""The rules of one person, assembled over their open vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.client import profile
from amanat.client.conversation import Conversations
from amanat.client.invite import Invites
from amanat.client.ledgers import Ledgers
from amanat.client.moves import Moves
from amanat.client.places import Places
from amanat.client.rules.homes import Homes
from amanat.client.rules.sending import Sending

if TYPE_CHECKING:
    from amanat.client.profile import Me
    from amanat.client.rules.chains import Chains
    from amanat.client.rules.cursors import Cursors
    from amanat.client.rules.outbox import Outbox
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault


class Parts(NamedTuple):
    """All rules that share a vault. A client is given them, and their maker may look on."""

    vault: Vault
    engine: mls.Engine
    me: Me
    places: Places
    outbox: Outbox
    cursors: Cursors
    chains: Chains
    conversations: Conversations
    ledgers: Ledgers
    invites: Invites
    moves: Moves
    homes: Homes
    sending: Sending


def assemble(vault: Vault, *, talk: type[Conversations] = Conversations) -> Parts:
    """The rules over a vault, whose units of work keep their memory in step from now on.

    `talk` is the class of the conversations. A program that needs different behaviour passes its
    own.
    """

    def fetch(key: bytes) -> bytes | None:
        row = vault.read.execute("SELECT value FROM mls WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    engine = mls.Engine(fetch)
    vault.bind(
        before_commit=lambda unit: store_delta(unit, engine),
        after_commit=engine.committed,
        forget=engine.abort,
    )
    me = profile.read(vault)
    places = Places(vault)
    conversations = talk(vault, engine, places, me)
    invites = Invites(vault, conversations, places, me)
    return Parts(
        vault,
        engine,
        me,
        places,
        conversations.outbox,
        conversations.cursors,
        conversations.chains,
        conversations,
        Ledgers(vault),
        invites,
        Moves(vault),
        Homes(vault, conversations, places, me),
        Sending(vault, conversations, invites),
    )


def store_delta(unit: Unit, engine: mls.Engine) -> None:
    """Write the engine's changes."""
    for key, value in engine.take_delta():
        if value is None:
            unit.db.execute("DELETE FROM mls WHERE key = ?", (key,))
        else:
            unit.db.execute("INSERT OR REPLACE INTO mls VALUES (?, ?)", (key, value))
