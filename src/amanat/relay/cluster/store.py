"""The store of one relay process on a cluster."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import nats.errors

from amanat.errors import BadSetting, RelayBusy
from amanat.protocol import sealing
from amanat.protocol.drops import SECRET_BYTES, expand
from amanat.protocol.places import is_loopback
from amanat.relay.cluster.engine import RETRY_S, Engine
from amanat.relay.cluster.greeting import admit
from amanat.relay.cluster.layout import Layout, prepare
from amanat.relay.cluster.messages import GENERATION_BYTES, Sealer
from amanat.relay.cluster.moves import MoveTable
from amanat.relay.cluster.processes import Processes
from amanat.relay.cluster.reading import Means
from amanat.relay.cluster.roots import Roots
from amanat.relay.directory import ROOTS, SEALING_PERIOD_S
from amanat.relay.drops import DAY_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from amanat.config import ClusterConfig, RelayConfig
    from amanat.relay.directory import RelayDirectory


SEALING = b"sealing"
"""Begins the names of the generations of roots for sealing keys."""


class Access(NamedTuple):
    """The way into a relay's cluster."""

    servers: list[str]
    options: dict[str, Any]
    """Those of nats.connect."""

    @classmethod
    def of(cls, config: RelayConfig) -> Self:
        """The way that a relay's settings name. Raises BadSetting."""
        cluster = config.cluster
        servers = [
            f"nats://{place}" for place in config.store.removeprefix("nats://").split(",") if place
        ]
        options: dict[str, Any] = {}
        if cluster.login:
            options["user"], options["password"] = login_of(Path(cluster.login))
        if cluster.authority:
            # First of all TLS: by itself the client says its password in clear if it is not asked
            # for TLS, so anybody between it and a node could have the password.
            options |= {"tls": _tls(cluster), "tls_handshake_first": True}
        elif not all(is_loopback(urlsplit(server).hostname or "") for server in servers):
            raise BadSetting("cluster.authority is missing: without TLS, on loopback only")
        return cls(servers, options)

    def with_login(self, file: Path | None) -> Self:
        """The same nodes with another login, or with none. Raises BadSetting."""
        options = {
            key: value for key, value in self.options.items() if key not in ("user", "password")
        }
        if file is not None:
            options["user"], options["password"] = login_of(file)
        return self._replace(options=options)


def layout_of(directory: RelayDirectory) -> Layout:
    """Where the messages of a relay lie, as its settings say."""
    config = directory.config
    key = directory.identity.public_key().public_bytes_raw()
    return Layout(config.region, key, config.cluster.shards, config.cluster.replicas)


def open_cluster(directory: RelayDirectory, kind: type[ClusterStore] | None = None) -> ClusterStore:
    """The store in the cluster that a relay's settings name. Raises as ClusterStore."""
    config = directory.config
    access = Access.of(config)
    admit(access.servers, config.region, **access.options)
    return (kind or ClusterStore)(
        directory.path,
        access.servers,
        identity=directory.identity,
        region=config.region,
        shards=config.cluster.shards,
        replicas=config.cluster.replicas,
        keepers=config.cluster.keepers,
        **access.options,
    )


def login_of(path: Path) -> tuple[str, str]:
    """The user and the password in a file of two lines. Raises BadSetting."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: {error}") from None
    if len(lines) != 2:  # noqa: PLR2004  # user and password
        raise BadSetting(f"{path}: not two lines, a user and a password")
    return lines[0], lines[1]


def _tls(cluster: ClusterConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=cluster.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if cluster.certificate:
            context.load_cert_chain(cluster.certificate, cluster.private_key)
    except OSError as error:
        raise BadSetting(f"the cluster's certificates: {error}") from None
    return context


class ClusterStore(MoveTable):
    """A `records.Store` in a cluster; it also stores moves and the ledger."""

    waits = True
    creates = True
    """Whether streams that do not exist are created, and all of them checked."""

    def __init__(
        self,
        path: Path,
        servers: Sequence[str],
        *,
        identity: Ed25519PrivateKey,
        region: str,
        shards: int,
        replicas: int,
        keepers: int,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Connect, and create the streams that do not exist. The roots are in the directory `path`.

        Raises BadSetting, which names what is wrong with the cluster, StoreTooNew, StoreTooOld,
        RelayBusy, StoreDamaged or DiskFull.
        """
        secret = identity.private_bytes_raw()
        layout = Layout(region, identity.public_key().public_bytes_raw(), shards, replicas)
        try:
            engine = Engine(servers, region, **options)
        except (nats.errors.Error, OSError) as error:
            raise BadSetting(f"no server of the cluster lets us in: {error}") from None
        with contextlib.ExitStack() as opened:
            opened.callback(engine.close)
            if self.creates:
                prepare(engine, layout)
            key = expand(secret, b"amanat cluster processes")
            roots = Roots(path / ROOTS, engine, layout, key=key, keepers=keepers)
            opened.callback(roots.close)
            processes = Processes(engine, region, key=key)
            super().__init__(Means(engine, layout, roots, Sealer.of(identity), processes))
            self.total()
            opened.pop_all()

    def sealing_root(self, period: int, last_day: int, *, make: bool) -> bytes | None:
        """The root of the sealing key of a period, which ends with a day; None if there is none and
        it is not to be made. Raises RelayBusy."""
        generation = SEALING + period.to_bytes(GENERATION_BYTES - len(SEALING), "big")
        if make:
            return self._roots.root(generation, last_day)
        return self._roots.find(generation, last_day)

    def close(self) -> None:
        """Leave the cluster. The staged batch is lost."""
        self._engine.close()
        self._roots.close()


class SharedSealingKeys:
    """The keys to which requests may be sealed, of all processes of a relay: each is derived from a
    root, and ends with it."""

    def __init__(self, store: ClusterStore) -> None:
        self._store = store
        self._keys: dict[int, bytes] = {}

    @property
    def privates(self) -> list[bytes]:
        """The private keys that open requests."""
        return list(self._keys.values())

    @property
    def public(self) -> bytes:
        """The key to which clients seal new requests. Raises RelayBusy if there is none yet."""
        if not self._keys:
            raise RelayBusy("no sealing key yet", retry_after=RETRY_S)
        return sealing.public_key(self.privates[0])

    def rotate(self, *, now: float) -> None:
        """Make the key of this period if it is missing, and forget keys older than the last period:
        their roots are destroyed then. Raises RelayBusy."""
        period = int(now // SEALING_PERIOD_S)
        keys: dict[int, bytes] = {}
        for one in (period, period - 1):
            last_day = (one + 2) * SEALING_PERIOD_S // DAY_S - 1
            root = self._store.sealing_root(one, last_day, make=one == period)
            if root is not None:
                keys[one] = b"".join(
                    expand(root, b"amanat cluster sealing", bytes([part]))
                    for part in range(sealing.PRIVATE_KEY_BYTES // SECRET_BYTES)
                )
        self._keys = keys
