"""Reads what a person has typed or pasted into a field of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from amanat.errors import AmanatError

_FILE = "file://"


def path_of(text: str, refusal: type[AmanatError]) -> Path:
    """The whole path of a file or folder of this machine, also as file managers copy it. Raises
    `refusal`."""
    typed = text.strip().strip("'\"")
    path = Path(unquote(typed.removeprefix(_FILE)) if typed.startswith(_FILE) else typed)
    try:
        path = path.expanduser()
    except RuntimeError:  # there is no such user
        raise refusal(text) from None
    if "\0" in str(path) or not path.is_absolute():
        raise refusal(f"{text}: give its whole path")
    return path
