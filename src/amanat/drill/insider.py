"""A member who lies with valid keys, in the simulated world.

Mallory is in a group with three honest people, holds every key that a member holds, and runs a
program of her own. In each *history* she sends any well-formed record of any kind, to anybody and
at any time. She withholds, repeats and mixes her own client's messages, and makes Commits that she
has no right to, in public or for herself alone. In some histories the relay does what she asks. The
records are generated from the types in `protocol.messages`, so a new kind is attacked from the day
it is written. After each history the honest people must be in the state that their own deeds have
led to.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
from msgspec import inspect, structs

from amanat.client.vault import fingerprint
from amanat.drill.integrity import in_a_world
from amanat.errors import (
    AmanatError,
    BrokenChain,
    CopiedVault,
    IdentityChanged,
    LabelTaken,
    MessageLost,
    NameChanged,
    OutOfStep,
    RelayLied,
)
from amanat.protocol import codec, messages, wire
from amanat.protocol.kinds import CELL_KINDS, KINDS
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
    HELD_FRAGMENT,
    MESSAGE_FRAGMENT,
    CellKind,
    CommitInfo,
    Envelope,
    Kind,
    Policy,
    envelope_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from amanat.client.conversation import Conversations
    from amanat.client.rules.chains import Peer
    from amanat.client.unit import Unit
    from amanat.drill.person import Person
    from amanat.drill.world import World

DEEDS = (3, 8)
"""Least and most deeds of a history, honest ones among them."""
PAUSE_S = 40.0
"""Longest pause between two deeds, in seconds of the world's time."""
BOUND_S = 3_600.0
"""How soon after the last lie everybody is in step and has read all words of honest people, in
seconds (an hour: the longest pause between two requests for help)."""
LOOK_S = 15.0
"""How often the town checks whether all is well, in seconds."""
COLLUDES = 0.25
"""Share of histories in which the relay does what the member asks of it."""
MAX_ROWS = 20_000
"""Most rows that an honest vault may grow to: lies cost bounded room."""
FLOOD = 48
"""Cells of one flood."""
LONG_BYTES = 3_000
"""Length of the longest invented bytes if no length is given: a record may not fill its cell."""
HONEST = ("alice", "bob", "carol")

T = TypeVar("T")


class Found(NamedTuple):
    """The number of histories, and for each promise the number of them in which it was broken."""

    histories: int
    broken: dict[str, int]
    first: str = ""
    """The first broken promise, in words, and the deeds before it."""


def histories(seed: int, count: int) -> Found:
    """The results of `count` histories in one world."""

    async def work(world: World) -> Found:
        return await _Town(world, seed).live(count)

    return in_a_world(work, seed)


def _tables(person: Person) -> list[str]:
    """The tables of a vault, without the index of words, whose rows are in tables of their own."""
    rows = person.db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    return [name for (name,) in rows]


class _Knowledge:
    """Everything in a vault, by type: the values that its owner can fill a record with."""

    def __init__(self, person: Person, rng: random.Random) -> None:
        self._rng = rng
        self.bytes_: dict[int, list[bytes]] = {}
        self.blobs: list[bytes] = []
        self.ints = [0, 1, 2, 3, 2**20, 2**31, 2**40, 2**53 - 1]
        self.words = ["", "hello", "mallory", "alice", "\u202eecila", "DE", "IR"]
        for table in _tables(person):
            for row in person.db.execute(f'SELECT * FROM "{table}" LIMIT 200').fetchall():  # noqa: S608  # names of our own tables
                for value in row:
                    self._learn(value)
        self.ints.sort()

    def _learn(self, value: object) -> None:
        if isinstance(value, bytes):
            for piece in {value, value[:8], value[:4]}:
                self.bytes_.setdefault(len(piece), []).append(piece)
            if len(value) > 64:  # longer than any key: a record or a message
                self.blobs.append(value)
        elif isinstance(value, int):
            self.ints += [value, value + 1, max(0, value - 1)]
        elif isinstance(value, str):
            self.words.append(value)

    def of_length(self, low: int, high: int | None) -> bytes:
        rng = self._rng
        lengths = [n for n in self.bytes_ if n >= low and (high is None or n <= high)]
        if lengths and rng.random() < 0.8:
            return rng.choice(self.bytes_[rng.choice(lengths)])
        most = low + LONG_BYTES if high is None else min(high, low + LONG_BYTES)
        return rng.randbytes(rng.choice([low, most, rng.randint(low, most)]))

    def number(self, low: int, high: int) -> int:
        rng = self._rng
        if rng.random() >= 0.8:
            return rng.randint(low, high)
        first, end = bisect.bisect_left(self.ints, low), bisect.bisect_right(self.ints, high)
        chosen = rng.randrange(first - 2, end)
        return (low, high)[chosen - first + 2] if chosen < first else self.ints[chosen]


@functools.cache
def _records() -> list[type[codec.Record]]:
    """Every record that members send to each other."""
    found = (one for one in vars(messages).values() if isinstance(one, type))
    return [one for one in found if issubclass(one, codec.Record) and one is not codec.Record]


def _record_of(kind: Kind | CellKind) -> type[codec.Record] | None:
    """The record that a kind carries, if there is one."""
    return KINDS[kind].record if isinstance(kind, Kind) else CELL_KINDS[kind].record


class _Inventor:
    """Makes values of any type of a record, from somebody's knowledge."""

    def __init__(self, knows: _Knowledge, rng: random.Random) -> None:
        self._knows = knows
        self._rng = rng

    def record(self, kind: type[codec.Record]) -> codec.Record | None:
        """A record of a type; None if the type's own checks refused every attempt."""
        for _ in range(8):
            values = [self._value(f.type) for f in _fields(kind)]
            with contextlib.suppress(msgspec.ValidationError, ValueError, AmanatError):
                made = msgspec.convert(values, kind)
                return msgspec.msgpack.decode(codec.encode(made), type=kind)
        return None

    def payload(self, kind: Kind | CellKind | None) -> bytes:
        """A payload for a kind: mostly a record of its own, sometimes any other, or none."""
        own = _record_of(kind) if kind is not None else None
        if self._rng.random() < 0.15:
            return self._knows.of_length(0, None)
        record = own if own is not None and self._rng.random() < 0.8 else None
        made = self.record(record or self._rng.choice(_records()))
        return codec.encode(made) if made is not None else b""

    def changed(self, data: bytes) -> bytes:
        """A record of any type with another value in one field; the unchanged bytes if they encode
        no record."""
        for kind in _records():
            try:
                made = codec.decode(codec.decoder_of(kind), data, AmanatError)
            except AmanatError:
                continue
            field = self._rng.choice(_fields(kind))
            with contextlib.suppress(msgspec.ValidationError, ValueError, AmanatError, TypeError):
                other = structs.replace(made, **{field.name: self._value(field.type)})
                return codec.encode(msgspec.msgpack.decode(codec.encode(other), type=kind))
            return data
        return data

    def _value(self, of: inspect.Type) -> object:  # one case for each type there is
        rng, knows = self._rng, self._knows
        match of:
            case inspect.BytesType(min_length=low, max_length=high):
                if low is None and high is None and knows.blobs and rng.random() < 0.5:
                    return rng.choice(knows.blobs)
                return knows.of_length(low or 0, high)
            case inspect.IntType(ge=ge, gt=gt, le=le, lt=lt):
                low = ge if ge is not None else gt + 1 if gt is not None else 0
                high = le if le is not None else lt - 1 if lt is not None else 2**53 - 1
                return knows.number(low, high)
            case inspect.StrType(min_length=low, max_length=high):
                word = rng.choice(knows.words)[: high or None]
                return word if len(word) >= (low or 0) else "x" * (low or 0)
            case inspect.ListType(item_type=item, min_length=low, max_length=high):
                most = min(high if high is not None else 4, 4)
                return [
                    self._value(item) for _ in range(rng.randint(low or 0, max(most, low or 0)))
                ]
            case inspect.DictType():
                return {}
            case inspect.UnionType(types=types):
                return self._value(rng.choice(types))
            case inspect.LiteralType(values=values):
                return rng.choice(values)
            case inspect.BoolType():
                return rng.random() < 0.5
            case inspect.StructType(cls=kind):
                made = self.record(kind) if issubclass(kind, codec.Record) else None
                return msgspec.to_builtins(made) if made is not None else None
            case inspect.EnumType(cls=kind):
                return rng.choice(list(kind)).value
            case _:
                return None


@functools.cache
def _fields(kind: type[codec.Record]) -> Sequence[inspect.Field]:
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError(kind)
    return info.fields


class _Mallory:
    """The member who lies, and everything she can do."""

    def __init__(self, world: World, person: Person, gid: bytes, rng: random.Random) -> None:
        self._world, self._rng, self.gid = world, rng, gid
        self.person = person
        self._commits: list[bytes] = []
        self.lies_in_passing()

    @property
    def _talk(self) -> Conversations:
        return self.person.rules.conversations

    def _inventor(self) -> _Inventor:
        return _Inventor(_Knowledge(self.person, self._rng), self._rng)

    def deeds(self) -> list[Callable[[], None]]:
        """Everything that she can do by herself."""
        return [
            self.speaks,
            self.speaks,
            self.posts,
            self.posts,
            self.commits,
            self.commits_alone,
            self.floods,
            self.repeats,
            self.comes_back,
            self.leaves,
        ]

    def lies_in_passing(self) -> None:
        """From now on her client changes or withholds some of the messages that it sends."""
        client, rng = self.person.client, self._rng
        honest, keeps_file = client._run.parts.outbox.deposit, self._talk.files.put_file

        def deposit(
            unit: Unit, addresses: object, secret: bytes, payload: bytes, **more: object
        ) -> None:
            lot = rng.random()
            if lot < 0.1:  # withheld
                return
            if lot < 0.3:
                payload = self._inventor().changed(payload)
            honest(unit, addresses, secret, payload, **more)  # type: ignore[arg-type]

        def put_file(unit: Unit, data: bytes) -> messages.FileRef:
            return keeps_file(unit, self._inventor().changed(data) if rng.random() < 0.5 else data)

        client._run.parts.outbox.deposit = deposit  # type: ignore[method-assign]
        self._talk.files.put_file = put_file  # type: ignore[method-assign]

    def speaks(self) -> None:
        """An envelope of any kind, to all or to some."""
        rng, talk, client = self._rng, self._talk, self.person.client
        kind, inventor = rng.choice(list(Kind)), self._inventor()
        made = inventor.record(Envelope)
        if not isinstance(made, Envelope):
            return
        seq, previous, clock = self.person.db.execute(
            "SELECT sent_seq, sent_hash, clock FROM conversation WHERE gid = ?", (self.gid,)
        ).fetchone()
        made = structs.replace(made, kind=kind, body=inventor.payload(kind))
        follows_on = rng.random() < 0.7
        if follows_on:
            made = structs.replace(made, seq=seq + 1, previous=previous)
        if rng.random() < 0.7:
            made = structs.replace(made, clock=clock + 1)
        data = codec.encode(made)
        sealed = client._run.parts.engine.encrypt(self.gid, data)
        if follows_on:
            self.person.db.execute(
                "UPDATE conversation SET sent_seq = ?, sent_hash = ? WHERE gid = ?",
                (seq + 1, envelope_hash(data), self.gid),
            )
        for peer in self._some_peers():
            talk.saying.post(self._unit, self.gid, peer, CellKind.MLS, sealed)

    def posts(self) -> None:
        """A pair cell of any kind, to one member."""
        kind = self._rng.choice([k for k in CellKind if k != CellKind.MLS])
        for peer in self._some_peers()[:1]:
            payload = self._inventor().payload(kind)
            self._talk.saying.post(self._unit, self.gid, peer, kind, payload)

    def _commit(self) -> bytes:
        """A Commit with any changes."""
        rng, talk, client = self._rng, self._talk, self.person.client
        group = talk.roster.group(self.gid)
        policy, removes = None, []
        if rng.random() < 0.6:
            made = self._inventor().record(Policy)
            own = client._me.identity
            options = [
                structs.replace(group.policy, admins=[own], name="taken"),
                structs.replace(group.policy, admins=sorted({*group.policy.admins, own})),
                structs.replace(group.policy, name="renamed"),
                structs.replace(group.policy, may_add="members", may_remove="members"),
                made if isinstance(made, Policy) else group.policy,
            ]
            policy = codec.encode(rng.choice(options))
        if rng.random() < 0.4:
            others = [p for p in group.people if p.identity != client._me.identity]
            removes = [rng.choice(others).leaf_index]
        return client._run.parts.engine.commit(
            self.gid,
            adds=[],
            removes=removes,
            policy=policy,
            update=rng.random() < 0.5 or bool(removes),
            aad=codec.encode(CommitInfo(leaves=[])),
        ).commit

    def commits(self) -> None:
        """A Commit, rightful or not, in the epoch drop; she does not follow it herself."""
        client, talk = self.person.client, self._talk
        with contextlib.suppress(_UndoneError), client._unit() as unit:
            commit = self._commit()
            self._commits.append(commit)
            before = self.person.one("SELECT ifnull(max(id), 0) FROM outbox")
            talk.epochs.append_to_epoch(
                unit, self.gid, talk.roster.group(self.gid), COMMIT_FRAGMENT, commit
            )
            self._append_now(before)
            raise _UndoneError

    def commits_alone(self) -> None:
        """A Commit that she alone merges: from then on she is in an epoch of her own."""
        client, talk = self.person.client, self._talk
        bundle_commit = self._commit()
        client._run.parts.engine.merge_pending(self.gid, hashlib.sha256(bundle_commit).digest())
        talk.roster._groups.clear()
        talk.entering.enter_epoch(self._unit, self.gid)

    def floods(self) -> None:
        """Append her junk to the epoch drop: pieces of Commits and messages that never end."""
        talk, rng = self._talk, self._rng
        kind = rng.choice([COMMIT_FRAGMENT, MESSAGE_FRAGMENT, HELD_FRAGMENT])
        makers: list[Callable[[], bytes]] = [
            *(functools.partial(bytes, commit) for commit in self._commits),
            functools.partial(rng.randbytes, 64),
            functools.partial(self._inventor().payload, None),
        ]
        for _ in range(FLOOD):
            data = rng.choice(makers)()
            group = talk.roster.group(self.gid)
            talk.epochs.append_to_epoch(self._unit, self.gid, group, kind, data or b"x")

    def repeats(self) -> None:
        """Send cells again that were sent before, also to other drops."""
        cells = list(self._world.network.sent.values())
        for cell in self._rng.sample(cells, min(8, len(cells))):
            drop_id = self._rng.choice(list(self._world.relay.shelves))
            shelf = self._world.relay.shelves[drop_id]
            if all(cell[:16] != other[:16] for other in shelf.cells):
                shelf.add(cell)

    def comes_back(self) -> None:
        """She says that she is out of step, and asks for help."""
        is_restart = self._rng.random() < 0.5
        self._talk.astray.go_astray(self._unit, self.gid, CopiedVault.code, is_restart=is_restart)

    def leaves(self) -> None:
        """She says that she leaves, and stays."""
        if self._rng.random() < 0.2:
            self._talk.wishes.leave(self._unit, self.gid)

    def _some_peers(self) -> list[Peer]:
        peers = self._talk.roster.others(self._talk.roster.group(self.gid))
        return self._rng.sample(peers, self._rng.randint(1, len(peers))) if peers else []

    def _append_now(self, before: int) -> None:
        """Send the rows queued since then to the relay, past her own program."""
        rows = self.person.db.execute("SELECT request FROM outbox WHERE id > ?", (before,))
        for (data,) in rows.fetchall():
            self._world.relay.answer(wire.decode_request(data), "mallory")

    def does(self, deed: Callable[[], None]) -> None:
        """Do something inside a unit; if her own engine refuses it, nothing is done."""
        with contextlib.suppress(AmanatError, IndexError, TypeError, StopIteration):
            if deed == self.commits:
                deed()
                return
            with self.person.client._unit() as self._unit:
                deed()
        self.person.client._run.wake()


class _UndoneError(Exception):
    """Ends a unit so that it leaves nothing in the vault."""


class _Town:
    """The people of one world, and the state that they may expect."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)  # the liar's choices
        self._name = "garden"
        self._said: dict[str, str] = {}
        """The author of each text."""
        self._may_be_in = True
        """Whether mallory is in the group as far as the rights are concerned."""
        self._log: list[str] = []

    async def live(self, count: int) -> Found:
        world = self._world
        people = await world.friends(*HONEST, "mallory")
        self._people = people[:3]
        self._gid = await world.group("garden", *people)
        await world.settle()
        self._mallory = _Mallory(world, people[3], self._gid, self._rng)
        world.people.pop("mallory")  # her fate is no concern of the world's
        world.network.copied.add("mallory")
        broken: Counter[str] = Counter()
        first = ""
        try:
            for number in range(count):
                self._log = []
                found = await self._history(number)
                broken.update(set(found))
                if found and not first:
                    first = f"history {number}: {found}; deeds: {self._log}"
                if found:
                    count = number + 1
                    break
        finally:
            await self._mallory.person.bury()
        return Found(count, dict(broken), first)

    async def _history(self, number: int) -> dict[str, str]:
        rng, world = self._rng, self._world
        colludes = rng.random() < COLLUDES
        broken: dict[str, str] = {}
        for turn in range(rng.randint(*DEEDS)):
            lot = rng.random()
            if lot < 0.35:
                broken |= self._say(f"{number} {turn}")
            elif lot < 0.4:
                self._rename(f"garden {number}")
            elif colludes and lot < 0.55:
                self._relay_lies()
            else:
                deed = rng.choice(self._mallory.deeds())
                self._log.append(deed.__name__)
                self._mallory.does(deed)
            await world.pass_time(rng.uniform(0, PAUSE_S))
        self._relay_is_honest()
        is_put_out = rng.random() < 0.15
        if is_put_out and self._mallory_is_in():
            self._log.append("alice puts her out")
            self._may_be_in = False
            self._people[0].client.chat(self._gid).remove(self._her_id)
        broken |= self._say(f"{number} last")
        broken |= await self._until_well(colludes=colludes)
        if is_put_out and not broken:
            self._may_be_in = True
            with contextlib.suppress(AmanatError):
                self._people[0].client.chat(self._gid).add([self._her_id])
            await world.pass_time(120)
        return broken

    def _mallory_is_in(self) -> bool:
        alice = self._people[0]
        return self._her_name(alice) in alice.client.chat(self._gid).view().people

    @property
    def _her_id(self) -> str:
        return fingerprint(self._mallory.person.rules.me.identity)

    def _her_name(self, one: Person) -> str:
        """The name under which somebody sees mallory, who may give herself any."""
        return one.client.contact(self._her_id).name

    def _say(self, text: str) -> dict[str, str]:
        one = self._rng.choice(self._people)
        self._log.append(f"{one.name} says {text}")
        try:
            one.client.chat(self._gid).send(text)
        except OutOfStep:
            return {"silencing": f"{one.name} cannot say {text}"}
        self._said[text] = one.name
        return {}

    def _rename(self, name: str) -> None:
        self._log.append(f"alice renames to {name}")
        with contextlib.suppress(OutOfStep):
            self._people[0].client.chat(self._gid).rename(name)
            self._name = name

    def _relay_lies(self) -> None:
        relay, rng = self._world.relay, self._rng
        kind = rng.choice(["label-taken", "forgets"])
        self._log.append(f"the relay: {kind}")
        if kind == "label-taken":
            relay.refuses = LabelTaken()
        else:
            relay.forgets = lambda _request, who: who == "alice"

    def _relay_is_honest(self) -> None:
        self._world.relay.refuses = None
        self._world.relay.forgets = lambda *_: False

    async def _until_well(self, *, colludes: bool) -> dict[str, str]:
        """Wait until every promise holds, or BOUND_S have passed; the promises still broken then,
        and how."""
        waited, step = 0.0, LOOK_S
        never: dict[str, str] = {}
        while True:
            never |= self._accused(colludes=colludes)
            broken = dict(self._broken())
            if never or not broken or waited >= BOUND_S:
                return {**broken, **never}
            await self._world.pass_time(step)
            waited += step
            step = min(step * 1.5, 300.0)

    def _broken(self) -> Iterator[tuple[str, str]]:
        """The promises that do not hold now, and how."""
        epochs = {}
        for one in self._people:
            view = one.client.chat(self._gid).view()
            epochs[one.name] = view.epoch
            if view.state != "active":
                yield "stranding", f"{one.name} is {view.state}"
            if (view.name, view.admins) != (self._name, ["alice"]):
                yield "takeover", f"{one.name} sees {view.name}, admins {view.admins}"
            hers = self._her_name(one)
            if {*view.people} - {hers} != {*HONEST} or hers in HONEST:
                yield "takeover", f"{one.name} sees {view.people}"
            if hers in view.people and not self._may_be_in:
                yield "unremovable", f"{one.name} sees {view.people}"
            rows = sum(
                one.one(f'SELECT count(*) FROM "{table}"')  # noqa: S608  # names of our own tables
                for table in _tables(one)
            )
            if rows > MAX_ROWS:
                yield "room", f"{one.name} keeps {rows} rows"
            yield from self._unread(one)
        if len(set(epochs.values())) > 1:
            yield "stranding", f"epochs {epochs}"

    def _unread(self, one: Person) -> Iterator[tuple[str, str]]:
        shown = one.client.chat(self._gid).messages()
        texts = Counter((m.sender, m.text) for m in shown)
        for text, author in self._said.items():
            if author != one.name and not texts[author, text]:
                own = next(p for p in self._people if p.name == author)
                state = next(
                    (m.state for m in own.client.chat(self._gid).messages() if m.text == text),
                    "gone",
                )
                if state != "undelivered":
                    yield "lost message", f"{one.name} lacks {text} of {author}: {state}"
        for (sender, text), many in texts.items():
            if sender in HONEST and (many > 1 or self._said.get(text) != sender):
                yield "forged word", f"{one.name} reads {many} x {text} of {sender}"

    def _accused(self, *, colludes: bool) -> dict[str, str]:
        """The people, or the relay, that were accused and had done nothing."""
        found: dict[str, str] = {}
        honest = [fingerprint(p.rules.me.identity) for p in self._people]
        for one in self._people:
            for warning in one.client.status().warnings:
                code, detail = warning.code, f"{warning.whom} {warning.detail}"
                is_of_her = warning.whom == self._her_name(one)
                names_honest = any(mark in detail for mark in (*honest, *HONEST))
                is_false = (
                    code == CopiedVault.code
                    or (code in (IdentityChanged.code, NameChanged.code) and not is_of_her)
                    or (code == RelayLied.code and not colludes)
                    or (code in (BrokenChain.code, MessageLost.code) and names_honest)
                )
                if is_false:
                    found["false accusation"] = f"{one.name} is told {code}: {detail}"
            one.client.clear_warnings()
        return found
