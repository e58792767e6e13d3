"""A conversation as a file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from amanat.errors import BadArgument, DiskFull
from amanat.export import export, export_to_downloads

if TYPE_CHECKING:
    from amanat.drill.world import World

HOSTILE = "</p><script>alert(1)</script>\u202e&amp; \"'"


def full(_: int) -> None:
    """A disk without room."""
    raise OSError(errno.ENOSPC, "no room")


async def test_a_conversation_is_written_as_data_and_as_a_page(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amanat.export.MAX_STRETCH", 3)
    alice, bob = await world.friends("alice", "bob")
    chat = alice.client.chat(alice.gid("bob"))
    said = [HOSTILE, *(f"number {one}" for one in range(10))]
    for text in said:
        bob.say("alice", text)
    await world.settle()
    first = chat.messages()[0]
    first.react("❤")
    chat.send("سلام", reply_to=first.id)
    assert export(chat, tmp_path / "talk.json") == 12
    data = json.loads((tmp_path / "talk.json").read_text())
    assert data["conversation"] == "bob"
    assert [one["text"] for one in data["messages"]] == [*said, "سلام"]
    assert export(chat, tmp_path / "talk.html") == 12
    page = (tmp_path / "talk.html").read_text()
    assert "<script" not in page
    assert len(re.findall("<article>", page)) == 12
    assert "❤" in page
    assert (tmp_path / "talk.html").stat().st_mode & 0o777 == 0o600


async def test_an_export_replaces_nothing_and_is_whole_or_not_there(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = await world.friends("alice", "bob")
    chat = alice.client.chat(alice.gid("bob"))
    assert export(chat, tmp_path / "empty.json") == 0
    for file in ("empty.json", "talk.txt"):
        with pytest.raises(BadArgument):
            export(chat, tmp_path / file)
    chat.send("one")
    monkeypatch.setattr("amanat.export.os.fsync", full)
    with pytest.raises(DiskFull):
        export(chat, tmp_path / "talk.json")
    left = [name for name in os.listdir(tmp_path) if "talk" in name]  # noqa: PTH208  # it is short
    assert left == []


async def test_an_export_to_the_downloads_is_named_after_the_conversation(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("../../خانواده?", alice, bob)
    chat = alice.client.chat(gid)
    names = [export_to_downloads(chat, "html").name for _ in range(2)]
    assert names == ["______خانواده_.html", "______خانواده_ 2.html"]
    (tmp_path / "Downloads").mkdir()
    assert export_to_downloads(chat, "html").parent == tmp_path / "Downloads"
    shutil.rmtree(tmp_path / "Downloads")
