"""The command `amanat`, and `python -m amanat`. Loading the program takes a second, in which the
user may press Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from amanat.process import EXIT_INTERRUPTED, hold_standard_descriptors, keep_memory_private


def main() -> NoReturn:
    """Run a command and exit with its status."""
    keep_memory_private()
    hold_standard_descriptors()
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:  # and not ignored, as when a shell has put the command into its background
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    from amanat import cli  # noqa: PLC0415  # an interruption here shows no traceback

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    sys.exit(main())
