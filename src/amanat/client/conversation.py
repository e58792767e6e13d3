"""Conversations: MLS groups (RFC 9420) over drops.

A group changes by Commits. A committer appends a Commit to the epoch drop of the epoch that it
ends. The first valid Commit in that drop's order wins, and every member judges it alike
(rights.py). A committer merges its own Commit only after reading it back as the winner. Until then
it is an *attempt*, and the person's *intents* stay until some Commit has made them true. A lost
race, a crash or a lying relay therefore costs a retry, never a fork.

Nothing here touches a socket: requests to relays go into the outbox, and everything that a person
should see goes into the events of the unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from amanat.client.rules.addresses import Addresses
from amanat.client.rules.asking import Asking
from amanat.client.rules.astray import Astray
from amanat.client.rules.base import Base
from amanat.client.rules.comebacks import Comebacks
from amanat.client.rules.commits import Commits
from amanat.client.rules.entering import Entering
from amanat.client.rules.epochs import Epochs
from amanat.client.rules.files import Files
from amanat.client.rules.gossip import Gossip
from amanat.client.rules.hearing import Hearing
from amanat.client.rules.helping import Helping
from amanat.client.rules.joining import Joining
from amanat.client.rules.key_packages import Packages
from amanat.client.rules.naming import Naming
from amanat.client.rules.rejoining import Rejoining
from amanat.client.rules.repair import Repairs
from amanat.client.rules.roster import Roster
from amanat.client.rules.saying import Saying
from amanat.client.rules.sharing import Sharing
from amanat.client.rules.warnings import Warnings
from amanat.client.rules.wishes import Wishes

if TYPE_CHECKING:
    from amanat import mls
    from amanat.client.places import Places
    from amanat.client.profile import Me
    from amanat.client.vault import Vault


class Conversations:
    """All conversations of one vault: its rules, from the lowest floor up. Each rule knows only
    those made before it."""

    astray_rule: ClassVar[type[Astray]] = Astray
    """The rule for being out of step, which a drill's thief replaces by one that does nothing."""

    def __init__(self, vault: Vault, engine: mls.Engine, places: Places, me: Me) -> None:
        base = Base(vault, engine, places, me)
        self.outbox = base.outbox
        self.cursors = base.cursors
        self.chains = base.chains
        self.posting = base.posting
        self.gaps = base.gaps
        self.sent = base.sent
        self.reads = base.reads
        self.claims = base.claims
        self.whereabouts = base.whereabouts
        self.history = base.history
        self.waiting = base.waiting
        self.holding = base.holding
        self.pieces = base.pieces
        self.repeats = base.repeats
        self.offers = base.offers
        self.blobs = base.blobs
        self.lineages = base.lineages
        self.branches = base.branches
        self.warnings = Warnings()
        self.roster = Roster(base)
        self.epochs = Epochs(base, roster=self.roster)
        self.saying = Saying(base, roster=self.roster, epochs=self.epochs)
        self.addresses = Addresses(base, roster=self.roster, saying=self.saying)
        self.naming = Naming(base, warnings=self.warnings, roster=self.roster, saying=self.saying)
        self.files = Files(base, epochs=self.epochs)
        self.sharing = Sharing(base, roster=self.roster, epochs=self.epochs, saying=self.saying)
        self.key_packages = Packages(base, roster=self.roster, saying=self.saying)
        self.astray = self.astray_rule(
            base, warnings=self.warnings, roster=self.roster, epochs=self.epochs, saying=self.saying
        )
        self.gossip = Gossip(
            base,
            warnings=self.warnings,
            roster=self.roster,
            epochs=self.epochs,
            saying=self.saying,
            astray=self.astray,
        )
        self.repair = Repairs(
            base,
            warnings=self.warnings,
            roster=self.roster,
            saying=self.saying,
            addresses=self.addresses,
            astray=self.astray,
        )
        self.entering = Entering(
            base,
            warnings=self.warnings,
            roster=self.roster,
            epochs=self.epochs,
            saying=self.saying,
            naming=self.naming,
            addresses=self.addresses,
            astray=self.astray,
        )
        self.commits = Commits(
            base,
            warnings=self.warnings,
            roster=self.roster,
            epochs=self.epochs,
            saying=self.saying,
            naming=self.naming,
            addresses=self.addresses,
            files=self.files,
            key_packages=self.key_packages,
            astray=self.astray,
            gossip=self.gossip,
            entering=self.entering,
        )
        self.wishes = Wishes(
            base,
            roster=self.roster,
            saying=self.saying,
            entering=self.entering,
            commits=self.commits,
        )
        self.joining = Joining(
            base,
            warnings=self.warnings,
            roster=self.roster,
            saying=self.saying,
            naming=self.naming,
            key_packages=self.key_packages,
            entering=self.entering,
            wishes=self.wishes,
        )
        self.asking = Asking(base, warnings=self.warnings, roster=self.roster)
        self.helping = Helping(
            base, roster=self.roster, epochs=self.epochs, files=self.files, astray=self.astray
        )
        self.rejoining = Rejoining(
            base,
            warnings=self.warnings,
            roster=self.roster,
            epochs=self.epochs,
            astray=self.astray,
            entering=self.entering,
            commits=self.commits,
            asking=self.asking,
        )
        self.comebacks = Comebacks(
            base,
            warnings=self.warnings,
            roster=self.roster,
            astray=self.astray,
            gossip=self.gossip,
            asking=self.asking,
            rejoining=self.rejoining,
        )
        self.hearing = Hearing(
            base,
            warnings=self.warnings,
            roster=self.roster,
            epochs=self.epochs,
            saying=self.saying,
            naming=self.naming,
            addresses=self.addresses,
            key_packages=self.key_packages,
            astray=self.astray,
            gossip=self.gossip,
            repair=self.repair,
            commits=self.commits,
            wishes=self.wishes,
            joining=self.joining,
            sharing=self.sharing,
        )
        vault.bind(drain=self.hearing.drain)
