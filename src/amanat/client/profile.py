"""Who the owner of a vault is: keys, name, home. Written once by `create`, read at start."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from amanat.protocol import codec
from amanat.protocol.drops import Drop, derive_bucket
from amanat.protocol.identity import NONCE_BYTES, Address, Leaf, issue_credential

if TYPE_CHECKING:
    from amanat.client.vault import Vault
    from amanat.mls import Engine


class Home(NamedTuple):
    """Where a person's inbound cells rest."""

    relay: str
    region: str
    bucket: Drop


class Me(NamedTuple):
    """The owner of the vault."""

    name: str
    identity: bytes
    identity_key: Ed25519PrivateKey
    delivery_key: bytes
    """X25519 private key, 32 bytes."""
    signer: bytes
    """This device's MLS signature public key; the private one is in the engine."""
    credential: bytes
    home: Home

    @property
    def address(self) -> Address:
        """What others need to deposit cells for this person."""
        return Address(
            relay=self.home.relay,
            region=self.home.region,
            drop_id=self.home.bucket.drop_id,
            append_token=self.home.bucket.append_token,
        )

    def new_leaf(self) -> bytes:
        """The leaf extension of a new KeyPackage or group."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return codec.encode(Leaf(nonce=nonce, name=self.name, addresses=[self.address]))


class NewHome(NamedTuple):
    """Where a new person is at home: the bucket number they drew, of the relay with this key."""

    relay: str
    region: str
    bucket_key: bytes
    bucket: int


def write(vault: Vault, engine: Engine, *, name: str, home: NewHome) -> None:
    """Make the keys of a new person and keep their home; inside a unit."""
    identity = Ed25519PrivateKey.generate()
    delivery = X25519PrivateKey.generate()
    signer = engine.new_signer()
    vault.put("name", name.encode())
    vault.put("identity", identity.private_bytes_raw())
    vault.put("delivery", delivery.private_bytes_raw())
    vault.put("signer", signer)
    vault.put(
        "credential",
        issue_credential(
            identity, delivery=delivery.public_key().public_bytes_raw(), signer=signer
        ),
    )
    vault.put("bucket", home.bucket.to_bytes(4, "big"))
    vault.put("home", home.relay.encode())
    vault.db.execute(
        "INSERT INTO relay VALUES (?, ?, ?)", (home.relay, home.region, home.bucket_key)
    )


def read(vault: Vault) -> Me:
    """The owner of an open vault."""
    identity = Ed25519PrivateKey.from_private_bytes(vault.get("identity"))
    relay = vault.get("home").decode()
    region, bucket_key = vault.db.execute(
        "SELECT region, bucket_key FROM relay WHERE address = ?", (relay,)
    ).fetchone()
    index = int.from_bytes(vault.get("bucket"), "big")
    return Me(
        name=vault.get("name").decode(),
        identity=identity.public_key().public_bytes_raw(),
        identity_key=identity,
        delivery_key=vault.get("delivery"),
        signer=vault.get("signer"),
        credential=vault.get("credential"),
        home=Home(relay, region, derive_bucket(bucket_key, index, region=region)),
    )
