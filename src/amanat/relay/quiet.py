"""The log lines of libraries, without any part that may hold a network address."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("amanat.relay")


class _Scrubbed(logging.Handler):
    """Logs the kind and place of a bug in a library, whose own words may hold an address."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            _log_bug(record.exc_info[1])


def scrub_logs() -> None:
    """Reduce the log lines of libraries to the kind and place of a bug."""
    for name in ("asyncio", "aiofastnet", "picows"):
        library = logging.getLogger(name)
        library.setLevel(logging.ERROR)
        library.handlers = [_Scrubbed()]
        library.propagate = False


def log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:  # noqa: ARG001
    """Log the kind and place of an error that no code has handled."""
    error = context.get("exception")
    # A connection that breaks, or that never spoke TLS, is no news.
    if isinstance(error, BaseException) and not isinstance(error, OSError):
        _log_bug(error)


def _log_bug(error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    logger.error("internal: %s%s", type(error).__name__, where)
