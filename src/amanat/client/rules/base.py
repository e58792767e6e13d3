"""The base of every rule: the vault, the MLS engine, and the owners of further tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.blobs import Blobs
from amanat.client.branches import Branches
from amanat.client.claims import Claims
from amanat.client.history import History
from amanat.client.holding import Holding
from amanat.client.lineage import Lineages
from amanat.client.offers import Offers
from amanat.client.pieces import Pieces
from amanat.client.recalled import Recalled
from amanat.client.repeats import Repeats
from amanat.client.rules.chains import Chains
from amanat.client.rules.cursors import Cursors
from amanat.client.rules.gaps import Gaps
from amanat.client.rules.outbox import Outbox
from amanat.client.rules.posting import Posting
from amanat.client.rules.reads import Reads
from amanat.client.rules.sent import Sent
from amanat.client.transfers import Transfers
from amanat.client.whereabouts import Whereabouts

if TYPE_CHECKING:
    from amanat import mls
    from amanat.client.places import Places
    from amanat.client.profile import Me
    from amanat.client.vault import Vault


class Base:
    """The lowest floor of one vault's rules."""

    def __init__(self, vault: Vault, engine: mls.Engine, places: Places, me: Me) -> None:
        self.vault = vault
        self.read = vault.read
        self.engine = engine
        self.places = places
        self.me = me
        self.outbox = Outbox(places)
        self.cursors = Cursors(vault, me)
        self.chains = Chains(vault, me, outbox=self.outbox, cursors=self.cursors)
        self.posting = Posting(self.outbox)
        self.gaps = Gaps(vault)
        self.sent = Sent(vault)
        self.reads = Reads(vault, me)
        self.claims = Claims(vault, self.chains, me)
        self.whereabouts = Whereabouts(vault, me)
        self.history = History(vault, me)
        self.waiting = self.history.waiting
        self.holding = Holding(vault, me)
        self.pieces = Pieces(vault)
        self.repeats = Repeats(vault)
        self.offers = Offers(vault)
        self.recalled = Recalled(vault.read, me.signer)
        self.lineages = Lineages(vault, engine, self.recalled)
        self.blobs = Blobs(vault)
        self.transfers = Transfers(vault)
        self.branches = Branches(vault, engine, self.lineages, me)
