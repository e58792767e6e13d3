"""The image that `deploy/oci/build.py` lays out is whole, and a relay runs from its layers."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import amanat

BUILD = Path(__file__).parent.parent / "deploy" / "oci" / "build.py"
DEBIAN = Path("/usr/bin/python3")
LIBRARIES = {
    *(
        "cryptography",
        "idna",
        "msgspec",
        "nats-py",
        "picows",
        "prometheus-client",
        "rich",
        "uvloop",
    ),
}
"""The libraries of a relay: see "Install and start" in docs/operations.md."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("dpkg") is None or not DEBIAN.exists() or os.geteuid() != 0,
        reason="needs a Debian, and root to change into the image",
    ),
]


def with_needs(names: set[str]) -> set[str]:
    """Some libraries, and those that they need."""
    found: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        found.add(name)
        for need in metadata.requires(name) or ():
            if "extra ==" not in need:
                wanted = re.split("[^A-Za-z0-9._-]", need)[0]
                with contextlib.suppress(metadata.PackageNotFoundError):
                    metadata.version(wanted)
                    left |= {wanted} - found
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with this program, installed as pip would."""
    home = tmp_path_factory.mktemp("image")
    tree = home / "tree" / "opt" / "amanat"
    tree.mkdir(parents=True)
    for name in with_needs(LIBRARIES):
        for file in metadata.distribution(name).files or ():
            if ".." not in file.parts:  # its programs
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), tree / file)
    shutil.copytree(Path(amanat.__file__).parent, tree / "amanat")
    ran = subprocess.run(
        [DEBIAN, BUILD, home / "image", home / "tree"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    again = subprocess.run(
        [DEBIAN, BUILD, home / "image", home / "tree"], capture_output=True, text=True, check=False
    )
    assert "name a new directory" in again.stderr
    return home / "image"


def blob(image: Path, told: dict[str, Any]) -> bytes:
    """A blob, after a look at its digest and its size."""
    name = str(told["digest"]).removeprefix("sha256:")
    data = (image / "blobs" / "sha256" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == name
    assert len(data) == told["size"]
    return data


def test_each_digest_is_right_and_nothing_else_is_there(image: Path) -> None:
    assert json.loads((image / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (told,) = json.loads((image / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(image, told))
    config = json.loads(blob(image, manifest["config"]))
    layers = [gzip.decompress(blob(image, one)) for one in manifest["layers"]]
    digests = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    assert config["rootfs"]["diff_ids"] == digests
    assert config["os"] == "linux"
    assert len(list((image / "blobs" / "sha256").iterdir())) == 4
    assert len(list(image.iterdir())) == 3


def test_a_relay_runs_from_the_layers_alone(image: Path, tmp_path: Path) -> None:
    if f"{sys.version_info.major}.{sys.version_info.minor}" != debians():
        pytest.skip("the libraries here are for another version than Debian's Python")
    (told,) = json.loads((image / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(image, told))
    config = json.loads(blob(image, manifest["config"]))["config"]
    root = tmp_path / "root"
    for one in manifest["layers"]:
        path = tmp_path / "layer.tar.gz"
        path.write_bytes(blob(image, one))
        with tarfile.open(path) as archive:
            archive.extractall(root, filter="tar")
    home = root / "srv"
    home.mkdir()
    user, group = map(int, config["User"].split(":"))
    os.chown(home, user, group)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "/usr/sbin/chroot",
                f"--userspec={config['User']}",
                root,
                *config["Entrypoint"],
                *words,
            ],
            env=dict(one.split("=", 1) for one in config["Env"]),
            input="",  # it has ended, so the relay drains as soon as it serves
            capture_output=True,
            text=True,
            check=False,
        )

    settings = ("--region", "DE", "--operator", "test", "--host", "127.0.0.1", "--port", "0")
    made = run("relay", "init", "/srv/amanat", *settings)
    assert made.returncode == 0, made.stderr
    ran = run("relay", "run", "/srv/amanat", "--until-eof")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("amanat://127.0.0.1:")
    assert (home / "amanat" / "drops.sqlite").stat().st_uid == user


def debians() -> str:
    told = subprocess.run([DEBIAN, "--version"], capture_output=True, text=True, check=True).stdout
    return ".".join(told.split()[1].split(".")[:2])
