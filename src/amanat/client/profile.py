"""The profile of a vault's owner: keys, name and homes. It is read at start."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from amanat.errors import VaultDamaged
from amanat.protocol import codec
from amanat.protocol.descriptor import NamedAddress, RelayAddress, decode_address
from amanat.protocol.drops import Drop, derive_bucket
from amanat.protocol.identity import (
    NONCE_BYTES,
    Address,
    Leaf,
    check_credential,
    issue_credential,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.mls import Engine


ANY_REGION = "any"
"""The word for all regions, in place of the regions that a person allows."""

_BUCKETS = {"home": "bucket", "fallback": "fallback bucket"}


class Home(NamedTuple):
    """A relay and a bucket that receive a person's cells."""

    address: RelayAddress
    """The relay, by its newest signed address."""
    region: str
    bucket: Drop
    operator: str
    """The relay's operator, by its own account."""
    is_hop: bool
    """Whether it hands requests to our other relay."""
    holds: bool = False
    """Whether its operator wants the words of people at home there to rest there
    (client/holding.py)."""

    @property
    def relay(self) -> bytes:
        """The relay's key."""
        return self.address.key


class Me(NamedTuple):
    """The owner of the vault."""

    vault: Vault
    identity: bytes
    identity_key: Ed25519PrivateKey
    delivery_key: bytes
    """X25519 private key, 32 bytes."""
    signer: bytes
    """This device's MLS signature public key; the private one is in the engine."""
    credential: bytes
    generation: int
    """That of the credential."""
    homes: list[Home]
    """The homes to which cells for this person go: the home relay, then the fallback if there is
    one."""
    former: list[Home]
    """The homes that they have left. Cells from people who do not know that may still arrive
    there."""

    @property
    def name(self) -> str:
        """The name by which others know them. It is read each time, because they may change it."""
        return self.vault.get("name").decode()

    @property
    def buckets(self) -> list[Home]:
        """All homes whose buckets are read for them."""
        return self.homes + self.former

    @property
    def home(self) -> Home:
        """The home relay and its bucket."""
        return self.homes[0]

    @property
    def addresses(self) -> list[Address]:
        """The addresses that others need to deposit cells for this person."""
        return [
            Address(
                relay=home.address,
                region=home.region,
                drop_id=home.bucket.drop_id,
                append_token=home.bucket.append_token,
            )
            for home in self.homes
        ]

    def new_leaf(self) -> bytes:
        """The leaf extension of a new KeyPackage or group."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return codec.encode(Leaf(nonce=nonce, name=self.name, addresses=self.addresses))


class NewHome(NamedTuple):
    """The home of a new person: the relay with this key, and the number of the bucket that they
    drew there."""

    relay: bytes
    region: str
    bucket_key: bytes
    bucket: int
    operator: str
    is_hop: bool
    holds: bool = False


def write(unit: Unit, engine: Engine, *, name: str, home: NewHome) -> None:
    """Make the keys of a new person and keep their home."""
    identity = Ed25519PrivateKey.generate()
    delivery = X25519PrivateKey.generate()
    signer = engine.new_signer()
    set_name(unit, name)
    unit.put("identity", identity.private_bytes_raw())
    unit.put("delivery", delivery.private_bytes_raw())
    unit.put("signer", signer)
    unit.put(
        "credential",
        issue_credential(
            identity, delivery=delivery.public_key().public_bytes_raw(), signer=signer
        ),
    )
    write_home(unit, "home", home)


def write_home(unit: Unit, what: str, home: NewHome) -> None:
    """Keep the `home` or the `fallback` of the owner."""
    unit.put(_BUCKETS[what], home.bucket.to_bytes(4, "big"))
    unit.put(what, home.relay)
    unit.db.execute(
        "INSERT OR REPLACE INTO relay (relay, region, bucket_key, operator, is_hop, holds)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (home.relay, home.region, home.bucket_key, home.operator, home.is_hop, home.holds),
    )


def set_name(unit: Unit, name: str) -> None:
    """Keep the name of the owner."""
    unit.put("name", name.encode())


def set_hop(unit: Unit, relay: bytes, operator: str, *, is_hop: bool) -> None:
    """Keep the operator of a relay of ours, and whether the relay hands requests to the other
    one."""
    unit.db.execute(
        "UPDATE relay SET operator = ?, is_hop = ? WHERE relay = ?", (operator, is_hop, relay)
    )


def set_holds(unit: Unit, relay: bytes, *, holds: bool) -> None:
    """Keep whether the operator of a relay of ours wants words held."""
    unit.db.execute("UPDATE relay SET holds = ? WHERE relay = ?", (holds, relay))


def read_hop(vault: Vault) -> bytes:
    """The person's decision about hops: b"auto", b"off" or the key of a relay."""
    try:
        return vault.get("hop")
    except KeyError:
        return b"auto"


def read_period(vault: Vault) -> int:
    """How often a cell leaves, in seconds, if the person wants to be covered; else 0."""
    try:
        return int.from_bytes(vault.get("period"), "big")
    except KeyError:
        return 0


def read_proxy(vault: Vault) -> bytes:
    """The proxy that the person has set, encoded; empty if there is none."""
    try:
        return vault.get("proxy")
    except KeyError:
        return b""


def set_proxy(unit: Unit, proxy: bytes) -> None:
    """Keep a proxy, encoded; empty for none. A vault without one has no row of it."""
    unit.db.execute("DELETE FROM meta WHERE key = 'proxy'")
    if proxy:
        unit.put("proxy", proxy)


def read_allowed(vault: Vault) -> frozenset[str] | None:
    """The regions that the owner allows for their data; None for any. Raises KeyError if they have
    not said."""
    regions = vault.get("allowed regions").decode()
    return None if regions == ANY_REGION else frozenset(regions.split(","))


def write_allowed(unit: Unit, regions: Iterable[str] | None) -> None:
    """Keep the regions that the owner allows."""
    text = ANY_REGION if regions is None else ",".join(sorted(regions))
    unit.put("allowed regions", text.encode())


def is_strict(vault: Vault) -> bool:
    """Whether home and fallback must be in one region."""
    try:
        return vault.get("strict") == b"yes"
    except KeyError:
        return False


def set_strict(unit: Unit, *, is_strict: bool) -> None:
    """Keep whether they must be."""
    unit.put("strict", b"yes" if is_strict else b"no")


def forget_fallback(unit: Unit) -> None:
    """Remove the fallback."""
    unit.db.execute("DELETE FROM meta WHERE key IN ('fallback', 'fallback bucket')")


def read(vault: Vault) -> Me:
    """The owner of an open vault. If a unit fails, its changes to their homes are undone."""
    identity = Ed25519PrivateKey.from_private_bytes(vault.get("identity"))
    signer, credential = vault.get("signer"), vault.get("credential")
    me = Me(
        vault=vault,
        identity=identity.public_key().public_bytes_raw(),
        identity_key=identity,
        delivery_key=vault.get("delivery"),
        signer=signer,
        credential=credential,
        generation=check_credential(credential, signer=signer).generation,
        homes=read_homes(vault),
        former=read_former(vault),
    )

    def read_again() -> None:
        me.homes[:], me.former[:] = read_homes(vault), read_former(vault)

    vault.bind(forget=read_again)
    return me


def read_former(vault: Vault) -> list[Home]:
    """The homes the owner has left whose buckets are still read, the first left first."""
    rows = vault.read.execute(
        "SELECT relay, former.region, drop_id, append_token, read_token, operator"
        " FROM former JOIN relay USING (relay) ORDER BY left_at, drop_id"
    ).fetchall()
    return [
        Home(_address(vault, relay), region, Drop(*drop), operator, is_hop=False)
        for relay, region, *drop, operator in rows
    ]


def read_homes(vault: Vault) -> list[Home]:
    """The homes of the owner, the fallback last."""
    homes = []
    for what, bucket in _BUCKETS.items():
        try:
            relay = vault.get(what)
        except KeyError:
            continue
        region, bucket_key, operator, is_hop, holds = vault.read.execute(
            "SELECT region, bucket_key, operator, is_hop, holds FROM relay WHERE relay = ?",
            (relay,),
        ).fetchone()
        index = int.from_bytes(vault.get(bucket), "big")
        drop = derive_bucket(bucket_key, index, region=region)
        address = _address(vault, relay)
        homes.append(Home(address, region, drop, operator, bool(is_hop), bool(holds)))
    return homes


def _address(vault: Vault, relay: bytes) -> RelayAddress:
    """The address that a relay of the owner has signed; nothing but its key if we have not asked it
    yet."""
    row = vault.read.execute("SELECT signed FROM relay_at WHERE relay = ?", (relay,)).fetchone()
    return decode_address(row[0], VaultDamaged) if row else NamedAddress.of(relay)
