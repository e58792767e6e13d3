"""A person of the simulated world: a real client with a real vault, who wakes, sleeps and dies."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amanat.client.conversation import Conversations
from amanat.client.parts import Parts, assemble
from amanat.client.pieces import epoch_key
from amanat.client.sdk.client import Client
from amanat.client.surroundings import Surroundings
from amanat.client.vault import Unlock, open_vault
from amanat.drill.death import Connection, Died, Fuse
from amanat.drill.network import WHO, Network
from amanat.protocol import codec
from amanat.protocol.cells import LABEL_BYTES, seal
from amanat.protocol.messages import COMMIT_FRAGMENT, Fragment, FragmentKind, piece_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from amanat.client.pieces import EpochDrop
    from amanat.client.sdk.views import Message
    from amanat.client.vault import Vault


class Person:
    """Somebody with a profile. `client` is another object after every death or sleep."""

    def __init__(
        self, name: str, directory: Path, key: bytes, around: Surroundings, network: Network
    ) -> None:
        self.name = name
        self.directory = directory
        self.fuse = Fuse()
        self.client: Client
        self.vault: Vault
        self.db: Connection
        self.rules: Parts
        """The rules that the client was given."""
        self.is_awake = False
        self.deaths = 0
        self.ahead_ms = 0
        """By how much this person's clock is ahead of the world's, in milliseconds."""
        self._around = around
        self._network = network
        self.key = key

    @property
    def around(self) -> Surroundings:
        """The surroundings of this person's client."""
        return self._around._replace(
            now=lambda: self._around.now() + self.ahead_ms, driver=self._connect
        )

    def _connect(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401  # the driver's
        self.db = Connection(*args, **kwargs)
        self.fuse = self.db.fuse
        return self.db

    def open(self, *, talk: type[Conversations] = Conversations) -> None:
        """Begin a process, whose program's conversations are of this class."""
        self.vault = open_vault(self.directory, Unlock(key=self.key), self.around.driver)
        self.rules = assemble(self.vault, talk=talk)
        self.client = Client(self.rules, self.around)

    def wake(self) -> None:
        """Go online."""
        with self.acting():
            self.client.start()
        self.is_awake = True

    @contextlib.contextmanager
    def acting(self) -> Iterator[Client]:
        """A context in which this person acts: tasks that the client begins in it remember whose
        they are, and so do the connections that these tasks make."""
        before = WHO.set(self.name)
        try:
            yield self.client
        finally:
            WHO.reset(before)

    def wake_to_die(self) -> None:
        """Go online, during which the process may die."""
        self.is_awake = True
        with contextlib.suppress(Died):
            self.wake()

    async def sleep(self) -> None:
        """End the process as a person would, and open the profile again without going online."""
        await self.client.close()
        self.is_awake = False
        self.open()

    @property
    def is_doomed(self) -> bool:
        """Whether a death is arranged."""
        return self.fuse.left is not None

    def die_after(self, steps: int, *, is_coarse: bool = False) -> None:
        """Arrange a death at the n-th statement of units from now, counted from 1; a coarse one
        counts the moments before and after each COMMIT."""
        self.fuse.left, self.fuse.is_coarse = steps, is_coarse

    async def revive(self) -> None:
        """Start again from the files as they were when the process died."""
        self.deaths += 1
        image = shutil.copytree(self.directory, self.directory.with_name(f"life-{self.deaths}"))
        await self.bury()
        shutil.rmtree(self.directory)
        await self.live_on(image)

    def copy(self) -> Path:
        """A copy of the profile as it is now, as a backup would make it; nobody may be online."""
        return Path(shutil.copytree(self.directory, self.directory.with_name(os.urandom(4).hex())))

    async def live_as(self, directory: Path) -> None:
        """Go on from a copy of the profile, as if nothing had happened since it was made."""
        await self.client.close()
        self.is_awake = False
        self.directory = directory
        self.open()
        self.wake()

    async def live_on(self, directory: Path) -> None:
        """Open the profile from a directory, and go online if the last process was."""
        self.directory = directory
        self.open()
        if self.is_awake:
            self.wake()

    async def bury(self) -> None:
        """Take away what a dead process holds, without a word to disk or relay."""
        self.fuse.is_burnt = True
        await self.client.stop()
        self.vault.let_go()

    @property
    def bucket(self) -> bytes:
        """The drop id of the bucket at home."""
        return self.rules.me.home.bucket.drop_id

    def gid(self, where: str) -> bytes:
        return self.client.conversation(where).gid

    def seal_for_epoch(self, gid: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """(drop id, cell) of the current epoch's drop, as anybody who knows that drop can make
        it."""
        place = self.epoch_place(gid)
        once = epoch_key(place.secret, os.urandom(LABEL_BYTES))
        drop_id = place.drop.drop_id
        return drop_id, seal(once, payload, region=place.region, drop_id=drop_id)

    def epoch_place(self, gid: bytes) -> EpochDrop:
        """The current epoch's drop."""
        talk = self.rules.conversations
        return talk.epochs.epoch_place(gid, talk.roster.group(gid).view.epoch)

    def piece(
        self,
        gid: bytes,
        data: bytes,
        *,
        kind: FragmentKind = COMMIT_FRAGMENT,
        of: Sequence[bytes] = (),
        index: int = 0,
        leaf: int | None = None,
    ) -> bytes:
        """The payload of such a cell: a piece that this person has signed. The whole has the pieces
        `of`, or is this one piece. `leaf` is their own unless they lie."""
        own = self.rules.conversations.roster.group(gid).view.own_leaf
        leaf = own if leaf is None else leaf
        pieces = list(of) or [piece_hash(data)]
        unsigned = Fragment(kind, leaf, pieces, index, data, bytes(64))
        engine, signer = self.rules.engine, self.rules.me.signer
        signed = self.epoch_place(gid).signed(unsigned, lambda text: engine.sign(signer, text))
        return codec.encode(signed)

    def say(self, where: str, text: str) -> None:
        self.client.chat(self.gid(where)).send(text)

    def messages(self, where: str) -> list[Message]:
        return self.client.chat(self.gid(where)).messages()

    def texts(self, where: str) -> list[str]:
        return [message.text for message in self.messages(where)]

    def one(self, sql: str, *parameters: object) -> Any:  # noqa: ANN401  # any column
        """The single value that a query finds."""
        return self.db.execute(sql, parameters).fetchone()[0]

    def warnings(self) -> list[str]:
        return [one.code for one in self.client.status().warnings]

    def what_is_left(self) -> str:
        """The work that this person still has to do, in words; empty if none."""
        for table in ("outbox", "attempt", "intent", "early", "comeback", "handed"):
            if count := self.one(f"SELECT count(*) FROM {table}"):  # noqa: S608  # our own names
                return f"{self.name}: {count} rows in {table}"
        rules, cursors = self.rules.conversations, self.rules.cursors
        if rules.sharing.transfers.lanes(now=self._around.now()):
            return f"{self.name}: a file is on its way"
        if rules.joining.awaited():
            return f"{self.name}: a Welcome is to be fetched"
        drops = [("bucket", h.relay, h.bucket.drop_id) for h in self.rules.me.buckets]
        if cursors.again() is not None:
            return f"{self.name}: the bucket is to be read again"
        for drop_id in rules.holding.places():
            held = rules.holding.place(drop_id)
            if held and self._network.relay_with(held.relay).address not in self._network.away:
                return f"{self.name}: a held word is to be fetched"
        for gid, look_due_at in self.db.execute(
            "SELECT gid, look_due_at FROM conversation WHERE state IN ('active', 'leaving')"
        ).fetchall():
            policy = rules.roster.group(gid).policy
            if look_due_at <= self._around.now():
                return f"{self.name}: a look into {policy.name} is due"
            # Cells that late losers of a race put into older drops may wait for the next look.
            epoch, drop = rules.epochs.epoch_drops(gid)[-1]
            drops.append((f"epoch {epoch} of {policy.name}", policy.relay.key, drop.drop_id))
        for what, relay, drop_id in drops:
            if self._network.relay_with(relay).address in self._network.away:
                continue
            shelf = self._network.relay_with(relay).shelves.get(drop_id)
            if shelf is not None and cursors.read_from(drop_id) != len(shelf.cells):
                return f"{self.name}: {what} is not read to its end"
        return ""
