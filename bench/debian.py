"""Debian's packages of servers to compare with, installed and not started.

python bench/debian.py PACKAGE...
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_NO_SERVICES = Path("/usr/sbin/policy-rc.d")
"""The program that Debian asks whether a package may start its service."""


def install(packages: list[str]) -> None:
    """Install those packages that are missing; none of their services starts, now or later."""
    missing = [one for one in packages if not is_installed(one)]
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid():
        sys.exit(f"install the Debian packages {', '.join(missing)}, or run this as root")
    ours = not _NO_SERVICES.exists()
    if ours:
        _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        _NO_SERVICES.chmod(0o755)
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            subprocess.run(
                ["apt-get", "--quiet", *command],
                check=True,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
            )
    finally:
        if ours:
            _NO_SERVICES.unlink()
    if shutil.which("systemctl"):  # nor at the next start of the machine
        for one in missing:
            # It reports packages that have no service, which is no error.
            subprocess.run(
                ["systemctl", "--quiet", "disable", one],
                check=False,
                stderr=subprocess.DEVNULL,
            )


def is_installed(package: str) -> bool:
    """Whether a package is installed, with all its files."""
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    if not shutil.which("dpkg-query"):
        return False
    shown = subprocess.run(query, check=False, capture_output=True, text=True)
    return shown.stdout == "installed"


if __name__ == "__main__":
    install(sys.argv[1:])
