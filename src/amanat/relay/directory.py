"""A relay's directory: its settings, its secrets, its lock.

relay.toml         settings, for the operator
identity.pem       the Ed25519 key that the address pins and that signs the descriptor
certificate.pem    the same key, as TLS wants to see it
address.signed     its places, as it has signed them
sealing.keys       private keys for sealed requests: of this week and of the one before
bucket.key         32 bytes from which the buckets are derived; a holder of them has access
access.code        32 bytes for which people with the code get the bucket key
notice.json        the move that its operator has announced, if any
move-*.certificate a statement of the drops that moved from here, signed by both relays
drops.sqlite, keys.sqlite, bodies/
"""

from __future__ import annotations

import fcntl
import os
import secrets
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat import config
from amanat.config import RelayConfig
from amanat.errors import (
    BadSetting,
    DiskFull,
    NoProfile,
    ProfileExists,
    ProfileInUse,
    StoreDamaged,
)
from amanat.protocol import codec, sealing
from amanat.protocol.days import day_of
from amanat.protocol.descriptor import (
    KEY_BYTES,
    MoveNotice,
    NamedAddress,
    RelayAddress,
    Stay,
    decode_address,
    sign_address,
)
from amanat.protocol.drops import SECRET_BYTES
from amanat.protocol.places import Place, is_loopback, one_form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SealingKey: TypeAlias = Annotated[
    bytes,
    msgspec.Meta(min_length=sealing.PRIVATE_KEY_BYTES, max_length=sealing.PRIVATE_KEY_BYTES),
]
_ALWAYS = (datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
"""Validity of the pinned certificate. It needs no end: the address says which key is right, for as
long as people use the address. It is the same for all relays, so it does not tell when this one was
set up."""


ROOTS = "roots.sqlite"
"""The file with the roots of a relay on a cluster."""
SEALING_PERIOD_S = 7 * 86_400
"""How long clients seal requests to one key, in seconds. The relay destroys the key one such period
later, so that nobody who seizes the relay then can open an older request that they have kept."""


class RelayDirectory(msgspec.Struct, frozen=True):
    """The contents of a relay's directory."""

    path: Path
    config: RelayConfig
    identity: Ed25519PrivateKey
    bucket_key: bytes
    access_code: bytes

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The relay in a directory. Raises NoProfile, BadSetting or StoreDamaged."""
        if not (directory / "relay.toml").exists():
            raise NoProfile(str(directory))
        settings = config.load(directory / "relay.toml", RelayConfig)
        _check_places(settings)
        if settings.tls == "off" and not is_loopback(interface(settings)):
            raise BadSetting("tls = off is for loopback only")
        try:
            identity = serialization.load_pem_private_key(
                (directory / "identity.pem").read_bytes(), None
            )
            bucket_key, access_code = (
                (directory / name).read_bytes() for name in ("bucket.key", "access.code")
            )
        except (OSError, ValueError) as error:
            raise StoreDamaged(f"a key in {directory}: {type(error).__name__}") from None
        if (
            not isinstance(identity, Ed25519PrivateKey)
            or len(bucket_key) != SECRET_BYTES
            or len(access_code) != SECRET_BYTES
        ):
            raise StoreDamaged(f"a key in {directory}")
        return cls(directory, settings, identity, bucket_key, access_code)

    @classmethod
    def create(cls, directory: Path, settings: RelayConfig) -> Self:
        """A new relay in a directory. Raises ProfileExists if there is one."""
        # Before writing anything, check the rules of `open` and of the file format.
        text = config.template(settings)
        config.parse(text, RelayConfig)
        _check_places(settings)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ProfileExists(str(directory))
        directory.chmod(0o700)  # it may have been there before
        identity = Ed25519PrivateKey.generate()
        pem = identity.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for name, data in (
            ("identity.pem", pem),
            ("certificate.pem", _certificate(identity)),
            ("bucket.key", secrets.token_bytes(SECRET_BYTES)),
            ("access.code", secrets.token_bytes(SECRET_BYTES)),
            # Last, because this file makes the directory a relay's.
            ("relay.toml", text.encode()),
        ):
            _write(directory / name, data)
        return cls.open(directory)

    def address(self, port: int) -> NamedAddress:
        """The address for people, if the relay listens on `port`."""
        places = (stay.place for stay in _stays(self.config, port))
        return NamedAddress.of(self.identity.public_key().public_bytes_raw(), *places)

    def signed_address(self, port: int, *, now: float) -> RelayAddress:
        """The relay's signed address, if it listens on `port`: the one that it signed before,
        unless its places have changed.

        Raises StoreDamaged or DiskFull.
        """
        stays = tuple(one for one in _stays(self.config, port) if one.place.tls != "off")
        file = self.path / "address.signed"
        issued = int(now)
        try:
            before = decode_address(file.read_bytes(), StoreDamaged)
        except FileNotFoundError:
            pass
        except (OSError, StoreDamaged) as error:
            raise StoreDamaged(f"{file}: {type(error).__name__}") from None
        else:
            if before.key == self.identity.public_key().public_bytes_raw():
                if before.stays == stays:
                    return before
                issued = max(issued, before.issued + 1)  # whatever the clock says
        address = sign_address(stays, self.identity, issued=issued)
        try:
            replace(file, codec.encode(address))
        except OSError as error:
            raise DiskFull(f"{file}: {error.strerror}") from None
        return address

    def tls(self) -> ssl.SSLContext | None:
        """The server's TLS, None if it is off. Raises BadSetting."""
        if self.config.tls == "off":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Tickets would link a client's connections, even from different network addresses.
        context.num_tickets = 0
        certificate, key = self.path / "certificate.pem", self.path / "identity.pem"
        if self.config.tls == "web":
            certificate = self.path / self.config.certificate
            key = self.path / self.config.private_key
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise BadSetting(f"{certificate}, {key}: {error.strerror}") from None
        return context


def read_notice(directory: Path) -> MoveNotice | None:
    """The move that the relay in a directory has announced. Raises StoreDamaged."""
    file = directory / "notice.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=MoveNotice)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StoreDamaged(f"{file}: {type(error).__name__}") from None


def write_notice(directory: Path, notice: MoveNotice | None) -> None:
    """Announce a move, or withdraw its notice. The relay tells clients from now on. Raises
    DiskFull."""
    file = directory / "notice.json"
    try:
        if notice is None:
            file.unlink(missing_ok=True)
        else:
            replace(file, msgspec.json.format(msgspec.json.encode(notice)) + b"\n")
    except OSError as error:
        raise DiskFull(f"{file}: {error.strerror}") from None


class _KeyFile(codec.Record, frozen=True):
    """The file of sealing keys: each with the number of its period, the newest first."""

    keys: Annotated[list[tuple[int, _SealingKey]], msgspec.Meta(max_length=2)]


_key_file = codec.decoder_of(_KeyFile)


def _read_keys(data: bytes) -> dict[int, bytes]:
    return dict(codec.decode(_key_file, data, StoreDamaged).keys)


class SealingKeys:
    """The keys to which requests may be sealed, newest first."""

    def __init__(self, directory: Path, *, now: float) -> None:
        """Raises StoreDamaged or DiskFull."""
        self._file = directory / "sealing.keys"
        self._keys: dict[int, bytes] = {}
        if self._file.exists():
            try:
                self._keys = _read_keys(self._file.read_bytes())
            except OSError as error:
                raise StoreDamaged(f"{self._file}: {error.strerror}") from None
        self.rotate(now=now)

    @property
    def privates(self) -> list[bytes]:
        """The private keys that open requests."""
        return list(self._keys.values())

    @property
    def public(self) -> bytes:
        """The key to which clients seal new requests."""
        return sealing.public_key(self.privates[0])

    def rotate(self, *, now: float) -> None:
        """Make the key of this period, and destroy keys older than the last period. Raises
        DiskFull."""
        period = int(now // SEALING_PERIOD_S)
        keys = {period: self._keys.get(period) or sealing.new_key()}
        keys |= {period - 1: self._keys[period - 1]} if period - 1 in self._keys else {}
        if keys == self._keys:
            return
        try:
            replace(self._file, codec.encode(_KeyFile(list(keys.items()))))
        except OSError as error:
            raise DiskFull(f"{self._file}: {error.strerror}") from None
        self._keys = keys


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the directory for this process, and give only its owner access to it. Raises
    ProfileInUse while another process holds the lock."""
    handle = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ProfileInUse(str(directory)) from None
    try:
        directory.chmod(0o700)
        yield
    finally:
        os.close(handle)


def interface(settings: RelayConfig) -> str:
    """The interface on which to listen. A public name may be forwarded to us from another machine,
    so only a loopback name stands for its own interface."""
    host = one_form(settings.host)
    return settings.listen.strip("[]") or (host if is_loopback(host) else "")


def _stays(settings: RelayConfig, port: int) -> list[Stay]:
    """The relay's present and future places. Raises ValueError for places that no client would
    take."""
    first = Place(one_form(settings.host), port, settings.tls)
    return [Stay(first, 0, _day(settings.until))] + [
        Stay(Place(one_form(one.host), one.port, one.tls), _day(one.since), _day(one.until))
        for one in settings.places
    ]


def _day(text: str) -> int:
    """The UTC day of a date; 0 for an empty text. Raises ValueError for any other text."""
    return day_of(text) if text else 0


def _check_places(settings: RelayConfig) -> None:
    """Raise BadSetting for places that no client would take."""
    try:
        NamedAddress.of(bytes(KEY_BYTES), *(one.place for one in _stays(settings, settings.port)))
    except ValueError as error:
        raise BadSetting(f"host, until, places: {error}") from None


def _certificate(identity: Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(identity.public_key())
        .serial_number(1)
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
        .sign(identity, None)
        .public_bytes(serialization.Encoding.PEM)
    )


def replace(path: Path, data: bytes) -> None:
    """Replace a file's content atomically: after a failure it holds the old one. Raises
    OSError."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    _write(new, data)
    new.replace(path)


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
