#!/usr/bin/python3
"""Lays out an OCI image of a relay in a directory, with nothing but Debian's Python.

It needs no daemon, no root and no network. On a machine of the Debian release and architecture that
the image is to have:

    pip install --target tree/opt/amanat amanat-*.whl
    deploy/oci/build.py image tree

`image` is then an OCI image layout of two layers: Debian's Python with the libraries that it needs,
copied from the packages of this machine, and the tree. Tools that read such a directory are podman
(`podman run oci:image`), skopeo and containerd. The same trees give the same bytes.

The relay runs as the user 65532, with the directory /srv/amanat of a volume. Its clock and its
disks are the machine's.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from pathlib import Path

PACKAGES = ("python3", "libgcc-s1", "libstdc++6")
"""Packages of Debian that the program needs, besides those that they depend on."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LEVEL = 3
"""The level of compression: beyond it, an image takes far longer and gets little smaller."""
USER = "65532:65532"
"""Nobody's number on any Debian."""
LEFT_OUT = re.compile(r"^/usr/share/(doc|man|locale|lintian|info)/|/__pycache__/|^/\.$")


def needed(packages: tuple[str, ...]) -> list[str]:
    """The installed packages that some packages need, these included, in alphabetical order."""
    found: set[str] = set()
    left = list(packages)
    while left:
        name = left.pop()
        if name in found:
            continue
        told = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status}\n${Depends}, ${Pre-Depends}", name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not told.stdout.startswith("installed\n"):
            continue  # one of several alternatives, or a name that several packages provide
        found.add(name)
        left += re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]*)", told.stdout.split("\n", 1)[1])
    return sorted(found)


def files_of(packages: list[str]) -> dict[str, Path]:
    """The files of some packages: the path of each in the image, and here."""
    told = subprocess.run(["dpkg", "-L", *packages], capture_output=True, text=True, check=True)
    places: dict[str, Path] = {}
    for line in told.stdout.splitlines():
        if not line.startswith("/") or LEFT_OUT.search(line):
            continue
        # Debian's /lib and /bin are links to /usr; a package may say either.
        here = Path(line).parent.resolve() / Path(line).name
        if here.exists() or here.is_symlink():
            places[str(here)] = here
    for link in ("/bin", "/lib", "/lib64", "/sbin"):
        if Path(link).is_symlink():
            places[link] = Path(link)
    return places


def files_under(tree: Path) -> dict[str, Path]:
    """The same of all files under a directory."""
    return {f"/{path.relative_to(tree)}": path for path in tree.rglob("*")}


def layer(places: dict[str, Path]) -> bytes:
    """A tar archive of some files, whose owner is root and whose time is 1970."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(places.items()):
            if "/__pycache__" in name:
                continue
            info = archive.gettarinfo(path, arcname=name.lstrip("/"))
            if info.islnk():  # two names of one file here
                info.type, info.size = tarfile.REGTYPE, path.stat().st_size
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            if info.isreg():
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
    return packed.getvalue()


class Image:
    """An OCI image layout in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)

    def put(self, data: bytes, kind: str) -> dict[str, object]:
        """Keep a blob. Returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def finish(self, layers: list[bytes]) -> None:
        """Write the image of some layers, the lowest first."""
        machine = platform.machine()
        config = {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {
                "User": USER,
                "Env": [
                    "PATH=/usr/bin",
                    "HOME=/srv",
                    "PYTHONPATH=/opt/amanat",
                    "PYTHONDONTWRITEBYTECODE=1",
                ],
                "Entrypoint": ["/usr/bin/python3", "-m", "amanat"],
                "Cmd": ["relay", "run", "/srv/amanat"],
                "Volumes": {"/srv/amanat": {}},
                "StopSignal": "SIGTERM",
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
            },
        }
        kind = "application/vnd.oci.image"
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": self.put(json.dumps(config).encode(), f"{kind}.config.v1+json"),
            "layers": [
                self.put(gzip.compress(one, LEVEL, mtime=0), f"{kind}.layer.v1.tar+gzip")
                for one in layers
            ],
        }
        told = self.put(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
        index = {"schemaVersion": 2, "manifests": [told]}
        (self.directory / "index.json").write_text(json.dumps(index))
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def main() -> None:
    """Lay out the image that the command line names."""
    parser = argparse.ArgumentParser(description="lay out an OCI image of a relay")
    parser.add_argument("image", type=Path, help="a new directory")
    parser.add_argument("tree", type=Path, help="opt/amanat below it has the installed program")
    args = parser.parse_args()
    if args.image.exists():
        parser.error(f"{args.image} exists: name a new directory")
    if not (args.tree / "opt" / "amanat" / "amanat").is_dir():
        parser.error(f"there is no program in {args.tree}/opt/amanat")
    system, program = files_of(needed(PACKAGES)), files_under(args.tree)
    Image(args.image).finish([layer(system), layer(program)])


if __name__ == "__main__":
    main()
