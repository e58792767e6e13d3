"""The maker: the child that makes or checks one backup, at the lowest priority.

It is a Python of its own with standard input and output, and no environment (`amanat.child`). An
ask comes in, with the secrets; answers go out. It ends when its input ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from amanat.client import backing, vault
from amanat.client.apart import (
    LENGTH,
    Answer,
    Ask,
    Checked,
    Failed,
    MadeApart,
    Told,
    asks,
    encode,
)
from amanat.client.folders import Folder
from amanat.errors import AmanatError
from amanat.process import keep_memory_private

NICE = 19
"""The priority of the child (setpriority(2)): the lowest. It takes what nobody else wants."""


def _say(answer: Answer) -> None:
    data = encode(answer)
    sys.stdout.buffer.write(LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()


def main() -> None:
    """The child: makes or checks the one backup that it is asked for."""
    keep_memory_private()
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    given = sys.stdin.buffer
    (length,) = LENGTH.unpack(given.read(LENGTH.size))
    ask = asks.decode(given.read(length))

    def end_with_client() -> None:
        os.read(given.fileno(), 1)
        os._exit(1)

    threading.Thread(target=end_with_client, daemon=True).start()
    _say(_do(ask, lambda *far: _say(Told(*far))))


def _do(ask: Ask, told: backing.Told) -> MadeApart | Checked | Failed:
    folder = Folder(Path(os.fsdecode(ask.place)), ask.key, forget_days=ask.forget_days)
    try:
        if ask.checked:
            path = Path(os.fsdecode(ask.checked))
            return Checked(backing.check(path, folder, ask.key, now=ask.now, told=told))
        with vault.beside(Path(os.fsdecode(ask.profile)), ask.vault_key) as opened:
            made = backing.make(opened, folder, ask.key, now=ask.now, told=told)
    except AmanatError as error:
        return Failed(error.code, error.detail)
    return MadeApart(os.fsencode(made.path), made.size, made.found, made.new_blobs, made.damaged)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the client has gone
        main()
