"""Amanat's relay, ejabberd and Prosody as processes of a benchmark, each in a directory of its own.

They listen on loopback only and end with the benchmark. Neither ejabberd nor Prosody limits rates
or users here, and both keep passwords as they are, so that a login costs nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from amanat.config import RelayConfig
from amanat.drill import process, xmpp
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay.directory import RelayDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "DE"
PACKAGES = ("ejabberd", "prosody")

_PROSODY = """
run_as_root = true
pidfile = "{root}/prosody.pid"
data_path = "{root}/data"
log = {{ warn = "{root}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {plain_port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
ssl = {{ certificate = "{root}/certificate.pem", key = "{root}/certificate.pem" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
allow_registration = true
registration_invite_only = false
authentication = "internal_plain"
storage = "internal"
storage_archive_item_limit = 1000000000
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s" }}
VirtualHost "localhost"
"""
_PROSODY_BARE = ("offline", "ping", "register", "roster", "saslauth", "tls")
_PROSODY_DEBIAN = (
    *_PROSODY_BARE, "admin_adhoc", "admin_shell", "blocklist", "bookmarks", "carbons", "csi_simple",
    "disco", "invites", "invites_adhoc", "invites_register", "pep", "posix", "private",
    "smacks", "time", "uptime", "vcard4", "vcard_legacy", "version",
)  # fmt: skip


class Server(NamedTuple):
    """A running server."""

    name: str
    pid: int
    port: int
    tls: bool
    drops: list[Drop]
    """Amanat's buckets."""

    def cpu_s(self) -> float:
        """Seconds of processor time it has had."""
        return machine.cpu_s(self.pid)

    def resident_kib(self) -> int:
        """Memory it holds."""
        return machine.resident_kib(self.pid)


def versions() -> dict[str, str]:
    """The packages' versions."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *PACKAGES]
    shown = subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True)
    return dict(line.split() for line in shown.stdout.splitlines())


@contextmanager
def running(name: str, root: Path, *, tls: bool, buckets: int = 1) -> Iterator[Server]:
    """A server in a directory, which may be one it has run in before.

    ejabberd and Prosody have the modules that Debian enables, or `bare`, only those they need here.
    """
    new = not root.exists()
    root.mkdir(exist_ok=True)
    port = process.free_port()
    environment = dict(os.environ)
    drops: list[Drop] = []
    if name == "amanat":
        command, drops, port = _amanat(root / "relay", port, tls=tls, buckets=buckets)
    else:
        if new:
            write_certificate(root / "certificate.pem")
        bare = name.endswith("bare")
        if name.startswith("ejabberd"):
            modules = xmpp.BARE if bare else xmpp.DEBIAN
            command, environment = xmpp.prepare(
                root,
                port,
                tls=tls,
                modules={module: {} for module in modules},
                more={
                    "loglevel": "error",
                    "certfiles": [str(root / "certificate.pem")],
                    "auth_password_format": "plain",
                },
            )
        else:
            command = _prosody(root, port, tls=tls, bare=bare)
    with process.running(command, port, root / "output", environment) as pid:
        yield Server(name, pid, port, tls, drops)


def _amanat(
    directory: Path, port: int, *, tls: bool, buckets: int
) -> tuple[list[str], list[Drop], int]:
    if directory.exists():
        made = RelayDirectory.open(directory)
    else:
        settings = RelayConfig(
            region=REGION,
            operator="bench",
            host="127.0.0.1",
            port=port,
            tls="pinned" if tls else "off",
            buckets=buckets,
        )
        made = RelayDirectory.create(directory, settings)
    drops = [derive_bucket(made.bucket_key, index, region=REGION) for index in range(buckets)]
    command = [sys.executable, "-m", "amanat", "relay", "run", str(directory)]
    return command, drops, made.config.port


def _prosody(root: Path, port: int, *, tls: bool, bare: bool) -> list[str]:
    (root / "data").mkdir(exist_ok=True)
    modules = _PROSODY_BARE if bare else _PROSODY_DEBIAN
    settings = _PROSODY.format(
        root=root,
        plain_port="" if tls else port,
        tls_port=port if tls else "",
        modules=", ".join(map(json.dumps, modules)),
    )
    (root / "prosody.cfg.lua").write_text(settings)
    return ["prosody", "-F", "--config", str(root / "prosody.cfg.lua")]


def write_certificate(path: Path) -> None:
    """A certificate and its key, for servers that want them in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
