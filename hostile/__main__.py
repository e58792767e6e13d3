"""The hostile operator's programs, for drills on this machine.

python -m hostile relay DIRECTORY LOG              run the relay in DIRECTORY and log everything
python -m hostile lines LOG PORT:RELAY_PORT...     carry lines to relays and log byte counts
"""

from __future__ import annotations

import sys
from pathlib import Path

from hostile import lines, relay


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; returns the exit status."""
    match arguments:
        case ["relay", directory, log]:
            relay.run(Path(directory), Path(log), ready=lambda one: print(one, flush=True))
        case ["lines", log, *ports] if ports:
            pairs = [one.split(":") for one in ports]
            lines.run(Path(log), {int(port): int(relay_port) for port, relay_port in pairs})
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
