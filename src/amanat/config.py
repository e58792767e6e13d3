"""Settings: TOML files into frozen structures. Unknown keys and values out of range are errors.

A structure's fields carry their unit and reason as `description`; `template` writes a file with
every setting in it, so that the file is also its own manual.
"""

from __future__ import annotations

import tomllib
import typing
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from msgspec import Meta

from amanat.errors import BadSetting

if TYPE_CHECKING:
    from pathlib import Path

BUCKETS_SHARE = 4
"""One part in this many of the room for cells is for buckets alone, unless the operator says how
much: a flood of files in the rest stops no messages."""
_MIB = 1024 * 1024
_STORE = r"^(nats://[^,@/ ]+(,[^,@/ ]+)*)?$"
_DATE = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"


class RelayLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on how much strangers can make a relay hold. Each bounds memory, disk or time."""

    cells_per_drop: Annotated[
        int,
        Meta(ge=1, le=2**31, description="Cells one drop holds: 32 busy people for 14 days, twice"),
    ] = 250_000
    bytes_per_drop: Annotated[
        int, Meta(ge=1, le=2**50, description="Bytes of cells one drop holds, for file drops")
    ] = 1024 * _MIB
    bytes_total: Annotated[
        int,
        Meta(ge=2**20, le=2**60, description="Bytes of cells in all drops: they take a tenth more"),
    ] = 64 * 1024 * _MIB
    bytes_buckets_reserved: Annotated[
        int,
        Meta(
            ge=0,
            le=2**60,
            description="Bytes of `bytes_total` that are for buckets alone, so that no flood of"
            " files stops messages; 0: a quarter",
        ),
    ] = 0
    drops: Annotated[
        int,
        Meta(ge=1, le=2**24, description="Drops in all: each epoch of each group is one, 180 days"),
    ] = 1_000_000
    drop_creations_per_minute: Annotated[
        int,
        Meta(
            ge=1,
            le=2**22,
            description="Drops created over one connection in a minute: an exit makes one for each"
            " conversation, a picture one",
        ),
    ] = 120
    drop_creations_per_minute_total: Annotated[
        int,
        Meta(
            ge=1,
            le=2**22,
            description="The same of all connections: strangers need half a day to use up `drops`",
        ),
    ] = 1200
    connections: Annotated[
        int, Meta(ge=1, le=2**20, description="Open connections: each may cost half a MiB")
    ] = 2048
    handshakes: Annotated[
        int,
        Meta(ge=1, le=2**16, description="Connections in their handshake, beyond the open ones"),
    ] = 256
    requests_in_flight: Annotated[
        int, Meta(ge=1, le=2**16, description="Unanswered requests of one connection")
    ] = 512
    requests_in_flight_total: Annotated[
        int, Meta(ge=1, le=2**20, description="Unanswered requests of all connections")
    ] = 16_384
    waits: Annotated[
        int,
        Meta(
            ge=1,
            le=2**16,
            description="Requests of one connection that wait by its choice: follows, reads that"
            " wait, and those for the end of a round or for another relay",
        ),
    ] = 128
    waits_total: Annotated[
        int,
        Meta(
            ge=1,
            le=2**20,
            description="The same of all connections: fewer than requests in flight, so that"
            " waiting clients keep nobody from asking",
        ),
    ] = 8192
    bytes_in_flight_total: Annotated[
        int, Meta(ge=2**20, le=2**40, description="Bytes of cells that wait for the disk")
    ] = 64 * _MIB
    bytes_out_per_day: Annotated[
        int,
        Meta(
            ge=0,
            le=2**60,
            description="Bytes of files served in a UTC day, after which files wait for the next;"
            " messages and small files go on; 0: no limit",
        ),
    ] = 0

    def __post_init__(self) -> None:
        """Raise ValueError if buckets leave no room for Commits."""
        if self.bytes_buckets_reserved >= self.bytes_total:
            raise ValueError("bytes_buckets_reserved is not below bytes_total")

    @property
    def reserve(self) -> int:
        """Bytes that are for buckets alone."""
        return self.bytes_buckets_reserved or self.bytes_total // BUCKETS_SHARE


class HopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether people may reach other relays through this one."""

    serve: Annotated[
        str,
        Meta(
            pattern="^(off|listed|open)$",
            description="off: no; listed: to the relays below only; open: to any that proves by its"
            " key to be one, at a public network address",
        ),
    ] = "off"
    relays: Annotated[
        tuple[str, ...],
        Meta(max_length=4096, description="Addresses of relays: these may be anywhere"),
    ] = ()
    destinations: Annotated[
        int,
        Meta(ge=1, le=2**16, description="Relays it is connected to at once"),
    ] = 256
    new_destinations_per_minute: Annotated[
        int,
        Meta(
            ge=1,
            le=2**16,
            description="Connections to relays begun in a minute, so that it cannot be used to"
            " knock at many doors",
        ),
    ] = 60
    by: Annotated[
        tuple[str, ...],
        Meta(
            max_length=4096,
            description="Addresses of hops by way of which many ask this relay: of these limits,"
            " each may take as much as `shares` others",
        ),
    ] = ()
    shares: Annotated[
        int, Meta(ge=1, le=2**16, description="Other clients for which each of those hops counts")
    ] = 16


class ClusterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cluster in which the drops rest, if `store` names one."""

    login: Annotated[
        str,
        Meta(
            description="File with two lines, the user and the password for the cluster; empty: the"
            " certificate below is enough"
        ),
    ] = ""
    authority: Annotated[
        str,
        Meta(
            description="PEM file of the authority that signs the certificates of the cluster's"
            " servers; empty: no TLS, on loopback only"
        ),
    ] = ""
    certificate: Annotated[
        str, Meta(description="PEM file of the relay's certificate for the cluster")
    ] = ""
    private_key: Annotated[str, Meta(description="PEM file of its key")] = ""
    shards: Annotated[
        int,
        Meta(ge=1, le=256, description="Streams among which drops are divided; never changes"),
    ] = 32
    replicas: Annotated[
        int, Meta(ge=1, le=5, description="Nodes that hold each stream; 1 survives no node's end")
    ] = 3
    keepers: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            description="Directories of this relay that must hold a key of the day before it is"
            " used: at least 2 if there are several, since all cells end with the last one",
        ),
    ] = 1


class MovingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The relays whose drops may come here."""

    sources: Annotated[
        tuple[str, ...],
        Meta(
            max_length=4096,
            description="Addresses of relays whose drops this one takes in when their operators"
            " move them (amanat region move)",
        ),
    ] = ()


class PlaceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another place of the relay, at which this machine's network must let callers reach it."""

    host: Annotated[str, Meta(min_length=1, max_length=253, description="Name or IP of the place")]
    port: Annotated[int, Meta(ge=1, le=65_535, description="Its TCP port")]
    tls: Annotated[
        str,
        Meta(pattern="^(pinned|web)$", description="As of the first place"),
    ] = "pinned"
    since: Annotated[
        str,
        Meta(pattern=_DATE, description="First day (UTC) there, as 2027-01-31; empty: already"),
    ] = ""
    until: Annotated[
        str, Meta(pattern=_DATE, description="Last day (UTC) there; empty: no end is known")
    ] = ""


class RegisterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operator's statement of where data may rest besides the relay's own region. The audit
    prints it (ISO/IEC 27018 and 27701 ask for such a register)."""

    countries: Annotated[
        tuple[str, ...],
        Meta(max_length=256, description="Other countries where data of this relay may rest"),
    ] = ()
    processors: Annotated[
        tuple[str, ...],
        Meta(
            max_length=256,
            description="Others who may have the data, such as the owner of the machines",
        ),
    ] = ()


class RelayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that the operator of a relay decides."""

    region: Annotated[
        str,
        Meta(
            pattern="^[A-Z]{2}$",
            description="Where the data rests: ISO 3166-1 alpha-2, or a named set such as EU. It is"
            " in every drop's id and cannot be changed",
        ),
    ]
    operator: Annotated[
        str, Meta(max_length=200, description="Who runs this relay, as people will read it")
    ]
    host: Annotated[
        str,
        Meta(
            min_length=1, max_length=253, description="Name or IP in the address people are given"
        ),
    ]
    port: Annotated[int, Meta(ge=0, le=65_535, description="TCP port; 0 takes any free one")]
    listen: Annotated[
        str,
        Meta(description="Interface to listen on; empty: all, or loopback if `host` is loopback"),
    ] = ""
    tls: Annotated[
        str,
        Meta(
            pattern="^(pinned|web|off)$",
            description="pinned: the address carries the key, no authority needed; web: an ordinary"
            " certificate (below); off: none, on loopback only",
        ),
    ] = "pinned"
    certificate: Annotated[
        str, Meta(description="With tls = web: PEM file of the certificate and its chain")
    ] = ""
    private_key: Annotated[str, Meta(description="With tls = web: PEM file of its key")] = ""
    buckets: Annotated[
        int,
        Meta(ge=1, le=2**20, description="Drops for inbound messages: one per 32 people expected"),
    ] = 1
    people_per_bucket: Annotated[
        int,
        Meta(ge=1, le=2**20, description="People meant to share a bucket: fewer hide each less"),
    ] = 32
    access: Annotated[
        str,
        Meta(
            pattern="^(open|code)$",
            description="open: anyone may have a bucket here; code: anyone who was given the code",
        ),
    ] = "open"
    outbound: Annotated[
        str,
        Meta(
            pattern="^(deposit|hold)$",
            description="Where the words of this relay's people to people of other regions rest:"
            " deposit: with those people; hold: here only, and those people fetch them",
        ),
    ] = "deposit"
    until: Annotated[
        str,
        Meta(
            pattern=_DATE,
            description="Last day (UTC) on which `host` and `port` are right, as 2027-01-31;"
            " empty: no end is known",
        ),
    ] = ""
    places: Annotated[
        tuple[PlaceConfig, ...],
        Meta(
            max_length=3,
            description="Other places where it is or will be reached: a table [[places]] for each,"
            " with host, port, tls, since and until. People's programs learn of them, and pass"
            " them on",
        ),
    ] = ()
    store: Annotated[
        str,
        Meta(
            pattern=_STORE,
            description="Where the drops rest: empty: in this directory; or in a cluster of NATS"
            " JetStream, as nats://HOST:PORT,HOST:PORT (see [cluster])",
        ),
    ] = ""
    metrics_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Loopback port for Prometheus; 0: no metrics")
    ] = 0
    limits: RelayLimits = RelayLimits()
    cluster: ClusterConfig = ClusterConfig()
    hop: HopConfig = HopConfig()
    moving: MovingConfig = MovingConfig()
    register: RegisterConfig = RegisterConfig()


T = TypeVar("T", bound=msgspec.Struct)


def parse(text: str, kind: type[T]) -> T:
    """The settings in a TOML text, as a `kind`. Raises BadSetting, which names the setting."""
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadSetting(str(error)) from None


def load(path: Path, kind: type[T]) -> T:
    """The settings in a TOML file, as a `kind`. Raises BadSetting."""
    try:
        return parse(path.read_text(encoding="utf-8"), kind)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: {error}") from None


def template(settings: msgspec.Struct) -> str:
    """A TOML text of these settings, with the defaults commented out."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    plain, tables = list[str](), list[str]()
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            tables.append(f"[{field.name}]\n{template(value)}")
            continue
        if value and isinstance(value, tuple) and isinstance(value[0], msgspec.Struct):
            tables += [f"[[{field.name}]]\n{template(one)}" for one in value]
            continue
        (meta,) = hints[field.name].__metadata__
        off = "# " if value == field.default else ""
        plain.append(f"# {meta.description}.\n{off}{field.name} = {_toml(value)}\n")
    return "\n".join(plain + tables)


def _toml(value: object) -> str:
    # A JSON string or integer is a TOML string or integer.
    return msgspec.json.encode(value).decode()
