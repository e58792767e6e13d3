"""Sending: which rows of the outbox may leave now, and what a relay's answer to one means.

Rows leave in the order in which they were put there. If a relay does not take a row now, we try
again after longer and longer pauses; if the relay is away for long, the row goes to the recipient's
other address. Only an answer ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from msgspec import structs

from amanat.client.claims import SUSPENSE_MS
from amanat.client.events import StateChanged
from amanat.client.rules.outbox import Purpose
from amanat.client.rules.posting import MAX_SKIPPED
from amanat.errors import (
    InviteUsed,
    LabelTaken,
    NoSuchDrop,
    PeerError,
    RelayUnreachable,
    Unavailable,
    UnexpectedReply,
)
from amanat.protocol import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.conversation import Conversations
    from amanat.client.invite import Invites
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault


RETRY_MS = (1_000, 300_000)
"""The first and the longest pause before an outbox row that was refused for now goes out again, in
milliseconds."""

FAIL_OVER_MS = 20_000
"""How long a relay may be away before its rows go to the recipients' other addresses, in
milliseconds."""

ENDED_TRIES = 3
"""After so many tries we take an epoch drop that we had made to have ended, and make it again. A
relay forgets drops that nobody has used for long."""

_MAY_GO = (
    "(row.purpose IN ('claim', 'question') OR NOT (?2 OR EXISTS (SELECT 1 FROM outbox AS claim"
    " WHERE claim.purpose = 'claim' AND claim.tries = 0)))"
    " AND NOT (row.purpose = 'cell' AND EXISTS (SELECT 1 FROM outbox AS reply"
    " WHERE reply.purpose = 'reply' AND reply.about = row.about))"
    " AND NOT (row.purpose = 'file' AND EXISTS (SELECT 1 FROM outbox AS made"
    " WHERE made.purpose = 'create' AND made.about = row.about))"
)
"""The condition under which a row may leave. Nothing leaves for a 1:1 conversation before the relay
has the Welcome into it, so that the person who joins finds everything behind the Welcome in their
bucket. The pieces of a file wait until its drop is made. And nothing but claims leaves while a
claim is unanswered that may show that another copy of this vault has used the same keys, or, with
`?2`, while we wait for that claim to come back."""


class Row(NamedTuple):
    """A row of the outbox."""

    id: int
    relay: bytes
    request: bytes
    purpose: Purpose
    tries: int
    about: bytes
    recipient: bytes | None


class Lane(NamedTuple):
    """The requests that go to one relay in their order. Files have a lane of their own, so that
    nothing else waits behind them."""

    relay: bytes
    is_file: bool


class Sending:
    """The requests that leave one vault."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        invites: Invites,
    ) -> None:
        self._read = vault.read
        self._outbox = conversations.outbox
        self._conversations = conversations
        self._invites = invites
        self._asking = conversations.asking
        self._rejoining = conversations.rejoining
        self._suspense_until = 0
        """Until when our envelopes wait for a claim to come back to us, in Unix milliseconds."""
        self._down_since: dict[bytes, int] = {}
        """By relay: since when we cannot reach it, in Unix milliseconds."""

    def lanes(self) -> list[Lane]:
        """All lanes in which rows wait, due or not."""
        rows = self._read.all("SELECT DISTINCT relay, purpose = 'file' FROM outbox")
        return [Lane(relay, bool(is_file)) for relay, is_file in rows]

    def due(self, lane: Lane, most: int, *, now: int) -> list[Row]:
        """The rows of a lane that may leave now, in their order."""
        found = self._read.execute(
            f"SELECT id, relay, request, purpose, tries, about, recipient"  # noqa: S608
            f" FROM outbox AS row"
            f" WHERE relay = ?1 AND due_at <= ?3 AND (purpose = 'file') = ?4 AND {_MAY_GO}"
            f" ORDER BY id LIMIT ?5",
            (lane.relay, self.is_in_suspense(now), now, lane.is_file, most),
        ).fetchall()
        rows = [
            Row(number, relay, request, Purpose(purpose), tries, about, recipient)
            for number, relay, request, purpose, tries, about, recipient in found
        ]
        # The rows after a `create` may need its drop, so it goes alone.
        cut = next((i for i, row in enumerate(rows) if row.purpose is Purpose.CREATE), len(rows))
        return rows[: max(cut, 1)]

    def next_due(self, lane: Lane, *, now: int) -> int | None:
        """The time at which the next row of a lane may leave, in Unix milliseconds; None if no row
        waits."""
        is_in_suspense = self.is_in_suspense(now)
        (due_at,) = self._read.execute(
            f"SELECT min(due_at) FROM outbox AS row"  # noqa: S608
            f" WHERE relay = ?1 AND (purpose = 'file') = ?3 AND {_MAY_GO}",
            (lane.relay, is_in_suspense, lane.is_file),
        ).fetchone()
        if is_in_suspense:
            return min(due_at or self._suspense_until, self._suspense_until)
        return None if due_at is None else int(due_at)

    @property
    def away(self) -> set[bytes]:
        """The relays that we could not reach when a request last had to go there."""
        return set(self._down_since)

    def note_reached(self, relay: bytes) -> bool:
        """Note that a relay was reached; returns whether it could not be before."""
        return self._down_since.pop(relay, None) is not None

    def note_missed(self, relay: bytes, *, now: int) -> bool:
        """Note that a relay cannot be reached; returns whether it could be before."""
        is_news = relay not in self._down_since
        self._down_since.setdefault(relay, now)
        return is_news

    def fail_over(self, unit: Unit, relay: bytes) -> None:
        """Use the recipients' other addresses for a relay that has been away for long, unless these
        cannot be reached either."""
        down = [each for each in self._down_since if self.is_down(each, now=unit.now)]
        if relay in down:
            self._outbox.fail_over(unit, relay, but_not_to=down)

    def is_down(self, relay: bytes, *, now: int) -> bool:
        """Whether a relay has been away for so long that we use other addresses."""
        since = self._down_since.get(relay)
        return since is not None and not 0 <= now - since < FAIL_OVER_MS

    def holds_any(self) -> bool:
        """Whether any row waits."""
        return self._read.execute("SELECT 1 FROM outbox").fetchone() is not None

    def is_in_suspense(self, now: int) -> bool:
        """Whether we are about to learn if another copy of this vault is in use. This is never true
        for longer than SUSPENSE_MS, however the clock changes."""
        left = self._suspense_until - now
        return 0 < left <= SUSPENSE_MS and not self._conversations.claims.is_answered()

    def settle(self, unit: Unit, wave: list[Row], answers: Sequence[object]) -> None:
        """Take the answers to a wave of outbox rows: done, again later, or never."""
        for row, answer in zip(wave, answers, strict=True):
            if isinstance(answer, RelayUnreachable):
                continue  # not answered: it goes out again over the next link
            if not self._awaits(unit, row):
                continue  # it was given up meanwhile, and its number may be another row's
            if isinstance(answer, LabelTaken) and self._make_again(unit, row):
                continue
            if isinstance(answer, Unavailable | NoSuchDrop | UnexpectedReply):
                # An epoch drop that another member has yet to make looks like a wrong token. A
                # relay in trouble (with a damaged store) gives an unexpected reply.
                self._send_later(unit, row, answer.retry_after)
                if isinstance(answer, NoSuchDrop) and row.tries >= ENDED_TRIES:
                    self._conversations.epochs.drop_ended(unit, row.about, row.request)
                continue
            if isinstance(answer, BaseException) and not isinstance(answer, PeerError):
                raise answer
            self._done(unit, row, answer)
        for gid in {row.about for row in wave if row.purpose in (Purpose.CELL, Purpose.HELD)}:
            if not self._conversations.sent.is_saying(gid):
                unit.events.append(StateChanged(gid))

    @staticmethod
    def _awaits(unit: Unit, row: Row) -> bool:
        """Whether the outbox still holds the answered request, for the relay that answered or for
        the recipient's other one."""
        (found,) = unit.db.execute(
            "SELECT count(*) FROM outbox WHERE id = ?1 AND ?2 IN (request, other_request)",
            (row.id, row.request),
        ).fetchone()
        return bool(found)

    def _send_later(self, unit: Unit, row: Row, retry_after: float | None) -> None:
        """Send a request again later, or to another address, because a relay does not take it
        now."""
        pause = min(RETRY_MS[0] << min(row.tries, 16), RETRY_MS[1])
        wait = max(pause, int(1000 * (retry_after or 0)))
        unit.db.execute(
            "UPDATE outbox SET due_at = ?, tries = tries + 1 WHERE id = ?",
            (unit.now + wait, row.id),
        )
        if wait >= FAIL_OVER_MS:
            self._outbox.fail_over(unit, row.relay, row=row.id)

    def _make_again(self, unit: Unit, row: Row) -> bool:
        """Handle a relay's word that a label is taken; returns False if `_done` has to handle it.

        The content leaves under another label, either from here or when its recipient asks for it.
        No cell leaves under the same label again and again without a warning to the person.
        """
        talk = self._conversations
        match row.purpose:
            case Purpose.CELL | Purpose.COMMIT | Purpose.HANDED:
                if row.recipient is not None:
                    # Only we can have taken it, so ask whether a copy of this vault has.
                    if talk.claims.question(unit):
                        self._suspense_until = unit.now + SUSPENSE_MS
                    if talk.saying.seal_again(unit, row.id, row.about, row.recipient):
                        return True
                elif not self._label_again(unit, row):
                    unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                    return True  # it was for an epoch that nobody reads any more
                if row.tries == MAX_SKIPPED:
                    self._conversations.warnings.warn_of(
                        unit, row.relay, LabelTaken.code, f"of each label of a {row.purpose}"
                    )
                self._send_later(unit, row, None)
                return True
            case Purpose.HELD:
                # Its notice names the label. People who miss the word ask, and we hold it for them
                # again.
                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                self._conversations.warnings.warn_of(
                    unit, row.relay, LabelTaken.code, "of a held word, which is held anew"
                )
                return True
            case Purpose.FILE:
                # A Welcome's file is appended again when `repeats` says so; contacts ask for help
                # again.
                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                self._conversations.warnings.warn_of(
                    unit, row.relay, LabelTaken.code, "of a file, which is sent again later"
                )
                return True
            case Purpose.ASK:
                return row.recipient is not None and self._asking.ask_again(
                    unit, row.id, row.about, row.recipient
                )
            case (
                Purpose.CLAIM | Purpose.QUESTION | Purpose.HELP
                | Purpose.KNOCK | Purpose.REPLY | Purpose.CREATE
            ):  # fmt: skip
                return False
            case _:
                assert_never(row.purpose)

    def _label_again(self, unit: Unit, row: Row) -> bool:
        """Seal a cell of an epoch drop under another random label. Returns False if we no longer
        read the drop."""
        request = wire.decode_request(row.request)
        if not isinstance(request, wire.Append):
            return False
        places = [one.place for one in self._rejoining.tries() if one.gid == row.about]
        places += self._conversations.epochs.epoch_places(row.about)
        place = next((one for one in places if one.drop.drop_id == request.drop_id), None)
        if place is None:
            return False
        again = structs.replace(request, cell=place.seal(place.open(request.cell)))
        unit.db.execute("UPDATE outbox SET request = ? WHERE id = ?", (wire.encode(again), row.id))
        return True

    def _done(self, unit: Unit, row: Row, answer: object) -> None:
        """End a row whose request a relay has taken, or refused for good."""
        unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
        if row.purpose is Purpose.CLAIM and isinstance(answer, wire.Appended | LabelTaken):
            self._suspense_until = unit.now + SUSPENSE_MS  # until we have read that cell
        if isinstance(answer, LabelTaken):
            self._label_taken(unit, row, answer)
        elif isinstance(answer, PeerError):
            self._refused(unit, row, answer)
        elif isinstance(answer, wire.Created) and row.about is not None:
            self._conversations.repeats.made(unit, row.about, answer.head)
        elif row.purpose is Purpose.COMMIT:
            self._conversations.roster.look_soon(unit, row.about, at=unit.now)
        elif isinstance(answer, wire.Appended) and row.recipient is not None:
            request = wire.decode_request(row.request)
            if isinstance(request, wire.Append):
                self._outbox.saw(unit, row.recipient, request.drop_id, answer.seq, answer.digest)

    def _label_taken(self, unit: Unit, row: Row, answer: LabelTaken) -> None:
        """Handle a relay's word that a label is taken, for content that does not leave again."""
        match row.purpose:
            case Purpose.CLAIM | Purpose.QUESTION:
                self._conversations.claims.refused(unit)
            case Purpose.ASK | Purpose.HELP:
                pass  # all labels for help hold requests of ours, or the answer is there already
            case Purpose.KNOCK:
                self._conversations.warnings.warn(unit, None, InviteUsed.code, "")
                self._invites.withdraw_knock(unit, row.about)
            case (
                Purpose.CELL | Purpose.COMMIT | Purpose.HANDED | Purpose.CREATE | Purpose.HELD
                | Purpose.FILE | Purpose.REPLY
            ):  # fmt: skip
                self._refused(unit, row, answer)
            case _:
                assert_never(row.purpose)

    def _refused(self, unit: Unit, row: Row, answer: PeerError) -> None:
        """Handle a relay's refusal of a request for good."""
        self._conversations.warnings.warn(unit, None, answer.code, f"a {row.purpose} was refused")
        match row.purpose:
            case Purpose.COMMIT:
                self._conversations.commits.give_up_attempt(unit, row.about)
            case Purpose.KNOCK | Purpose.REPLY | Purpose.FILE:
                self._conversations.repeats.end(unit, row.about)  # it would be refused again
            case (
                Purpose.CELL | Purpose.HANDED | Purpose.CREATE | Purpose.HELD | Purpose.ASK
                | Purpose.HELP | Purpose.CLAIM | Purpose.QUESTION
            ):  # fmt: skip
                pass  # the people who need it ask for it, or send it again
            case _:
                assert_never(row.purpose)
