"""Amanat's relay, ejabberd and Prosody as processes of a benchmark, each in a directory of its own.

They listen on loopback only and end with the benchmark. Neither ejabberd nor Prosody limits rates
or users here, and both keep passwords as they are, so that a login costs nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from amanat.config import RelayConfig
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay import home

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "DE"
START_S = 60.0
"""Longest a server may take until it listens, and until it has ended, in seconds."""
POLL_S = 0.05
PACKAGES = ("ejabberd", "prosody")

_NO_SERVICES = Path("/usr/sbin/policy-rc.d")
"""Where Debian asks whether a package may start its service."""

_EJABBERD = """
hosts: [localhost]
loglevel: error
log_rotate_count: 0
certfiles: ["{root}/certificate.pem"]
auth_password_format: plain
registration_timeout: infinity
listen:
  -
    port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    tls: {tls}
access_rules:
  c2s:
    allow: all
shaper_rules:
  max_user_sessions: infinity
  max_user_offline_messages: infinity
modules:
  mod_offline:
    access_max_user_messages: max_user_offline_messages
  mod_register:
    ip_access: all
{modules}
"""
_EJABBERD_BARE = ("ping", "roster")
_EJABBERD_DEBIAN = (
    *_EJABBERD_BARE, "adhoc", "admin_extra", "announce", "avatar", "blocking", "bosh", "caps",
    "carboncopy", "client_state", "configure", "disco", "fail2ban", "http_api", "last", "mqtt",
    "muc", "muc_admin", "pres_counter", "privacy", "private", "pubsub", "push", "push_keepalive",
    "s2s_dialback", "shared_roster", "sic", "stream_mgmt", "stun_disco", "vcard", "vcard_xupdate",
    "version",
)  # fmt: skip

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
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        """Memory it holds."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


def install() -> None:
    """Install ejabberd and Prosody from Debian if they are missing; neither is started."""
    if all(shutil.which(name) for name in ("ejabberdctl", "prosody", "erl")):
        return
    if not shutil.which("apt-get") or os.geteuid():
        sys.exit("bench-peers: install the Debian packages ejabberd and prosody, or run as root")
    ours = not _NO_SERVICES.exists()
    if ours:
        _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        _NO_SERVICES.chmod(0o755)
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(  # noqa: S603
                ["apt-get", "--quiet", *command],  # noqa: S607
                check=True,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
            )
    finally:
        if ours:
            _NO_SERVICES.unlink()
    if shutil.which("systemctl"):  # nor at the next start of the machine
        subprocess.run(["systemctl", "--quiet", "disable", *PACKAGES], check=False)  # noqa: S603, S607


def versions() -> dict[str, str]:
    """The packages' versions."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *PACKAGES]
    shown = subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return dict(line.split() for line in shown.stdout.splitlines())


@contextmanager
def running(name: str, root: Path, *, tls: bool, buckets: int = 1) -> Iterator[Server]:
    """A server in a directory, which may be one it has run in before.

    ejabberd and Prosody have the modules that Debian enables, or `bare`, only those they need here.
    """
    new = not root.exists()
    root.mkdir(exist_ok=True)
    port = free_port()
    environment = dict(os.environ)
    drops: list[Drop] = []
    if name == "amanat":
        command, drops, port = _amanat(root / "relay", port, tls=tls, buckets=buckets)
    else:
        if new:
            _write_certificate(root / "certificate.pem")
        bare = name.endswith("bare")
        if name.startswith("ejabberd"):
            command = _ejabberd(root, port, tls=tls, bare=bare)
            environment |= _ejabberd_environment(root)
        else:
            command = _prosody(root, port, tls=tls, bare=bare)
    with (root / "output").open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_for(process, port, root)
        yield Server(name, process.pid, port, tls, drops)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _amanat(
    directory: Path, port: int, *, tls: bool, buckets: int
) -> tuple[list[str], list[Drop], int]:
    if directory.exists():
        made = home.Home.open(directory)
    else:
        settings = RelayConfig(
            region=REGION,
            operator="bench",
            host="127.0.0.1",
            port=port,
            tls="pinned" if tls else "off",
            buckets=buckets,
        )
        made = home.init(directory, settings)
    drops = [derive_bucket(made.bucket_key, index, region=REGION) for index in range(buckets)]
    command = [sys.executable, "-m", "amanat", "relay", "run", str(directory)]
    return command, drops, made.config.port


def _ejabberd(root: Path, port: int, *, tls: bool, bare: bool) -> list[str]:
    modules = _EJABBERD_BARE if bare else _EJABBERD_DEBIAN
    settings = _EJABBERD.format(
        root=root,
        port=port,
        tls=json.dumps(tls),
        modules="\n".join(f"  mod_{module}: {{}}" for module in modules),
    )
    (root / "ejabberd.yml").write_text(settings)
    # Without a node name there is no Erlang port mapper, which would outlive us.
    return [
        "erl", "-noinput", "+K", "true", "+P", "250000",
        "-mnesia", "dir", json.dumps(str(root / "mnesia")),
        "-s", "ejabberd",
    ]  # fmt: skip


def _ejabberd_environment(root: Path) -> dict[str, str]:
    return {
        "EJABBERD_CONFIG_PATH": str(root / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(root / "ejabberd.log"),
        "ERL_CRASH_DUMP_BYTES": "0",
        "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
        "ERL_MAX_PORTS": "32000",
        "HOME": str(root),
    }


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


def _wait_for(process: subprocess.Popen[bytes], port: int, root: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(POLL_S)
        else:
            return
    raise RuntimeError((root / "output").read_text(errors="replace")[-2000:])


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_certificate(path: Path) -> None:
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
