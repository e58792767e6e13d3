"""Chats of other messengers on the page: looked into, brought along, read and deleted."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from amanat.client.sdk import imports
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import NotAnExport
from amanat.importing import source
from amanat.page import protocol
from amanat.page.attendant import Attendant
from amanat.page.typed import path_of
from exports import account, as_bytes, chat, message
from pages import faults, in_a_loop, relay, shown_to
from relays import RelayProcess
from ups import Window

__all__ = ["relay"]
HOSTILE = "</p><script>alert(1)</script>"


def written(folder: Path, many: int) -> Path:
    """An export of an account with two chats, in its folder."""
    folder.mkdir(parents=True)
    first = chat(*(message(number, f"text {number}") for number in range(many)))
    second = chat(message(1, HOSTILE), message(2, "کتاب‌های علی"), id=8, name="سارا")
    (folder / "result.json").write_bytes(as_bytes(account(first, second)))
    return folder


class Page:
    """A page that asks about imports."""

    def __init__(self, person: Person) -> None:
        self.frames: list[Any] = []
        self.attendant = Attendant(person.client, self._hear)

    def _hear(self, frames: list[bytes]) -> None:
        self.frames += [json.loads(one) for one in frames]

    async def ask(self, what: str, **more: object) -> Any:  # noqa: ANN401  # JSON
        ask = protocol.decode_ask(json.dumps({"do": what, "id": 7, **more}).encode())
        assert isinstance(ask, protocol.ClientAsk)
        return await self.attendant.attend(ask)


async def test_page_looks_into_an_export_and_brings_it_along(world: World, tmp_path: Path) -> None:
    page = Page(await world.person("alice"))
    path = str(written(tmp_path / "export", 120))
    survey = await page.ask("preview", path=path)
    assert [(one["key"], one["messages"]) for one in survey["chats"]] == [
        *(("user7", 120), ("user8", 2))
    ]
    assert (await page.ask("imported"))["chats"] == []
    done = await page.ask("import", path=path, without=["user8"])
    assert (done["messages"], done["left_out"]) == (120, ["سارا"])
    assert [one["title"] for one in (await page.ask("imported"))["chats"]] == ["Babak"]
    last = await page.ask("imported messages", chat=1)
    assert [one["text"] for one in last] == [f"text {number}" for number in range(70, 120)]
    before = await page.ask("imported messages", chat=1, before=last[0]["row"], many=200)
    assert [one["text"] for one in before] == [f"text {number}" for number in range(70)]
    after = await page.ask("imported messages", chat=1, after=before[9]["row"], many=2)
    assert [one["text"] for one in after] == ["text 10", "text 11"]
    (hit,) = await page.ask("search imported", words="text 119")
    assert (hit["text"], hit["marks"], hit["verified"]) == ("text 119", [(0, 4), (5, 8)], False)
    await page.ask("delete imported", chat=1)
    assert (await page.ask("imported"))["chats"] == []
    await page.ask("import", path=path)
    await page.ask("delete imported", chat=None)
    assert await page.ask("search imported", words="text") == []


async def test_import_tells_how_far_it_is_and_goes_on_after_it_was_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    page = Page(alice)
    monkeypatch.setattr(imports, "BATCH", 10)
    path = str(written(tmp_path / "export", 200))

    async def stop() -> None:
        while not alice.client.imports.all():  # noqa: ASYNC110  # it is the import's turn
            await asyncio.sleep(0)
        assert (await page.ask("imported"))["under_way"]["percent"] > 0
        await page.ask("stop import")

    answer, _ = await asyncio.gather(page.ask("import", path=path), stop())
    assert answer is None
    assert 0 < alice.client.imports.all()[0].messages < 200
    assert page.frames[-1] == {"on": "import", "under_way": None}
    assert (await page.ask("imported"))["under_way"] is None
    assert (await page.ask("import", path=path))["messages"] == 202
    assert [one.messages for one in alice.client.imports.all()] == [200, 2]


async def test_answered_words_stand_above_their_answer(world: World, tmp_path: Path) -> None:
    page = Page(await world.person("alice"))
    said = [
        message(0, "سلام" * 100),
        message(2, "x", reply_to_message_id=0),
        message(3, "y", reply_to_message_id=77),
    ]
    (tmp_path / "result.json").write_bytes(as_bytes(account(chat(*said), chat(message(77), id=8))))
    await page.ask("import", path=str(tmp_path))
    first, second, third = await page.ask("imported messages", chat=1)
    assert (first["quote"], third["quote"]) == (None, None)  # that one is of another chat
    assert second["quote"] == {"sender": "Babak", "kind": "text", "text": "سلام" * 50}


async def test_names_of_a_chat_are_right_after_every_import(world: World, tmp_path: Path) -> None:
    page = Page(await world.person("alice"))
    file = tmp_path / "result.json"
    for names in (["Bob"], ["Bob", "Babak", "Babak"], ["Bob", "Babak", "Babak", "Bob", "Bob"]):
        said = [message(number, **{"from": name}) for number, name in enumerate(names)]
        file.write_bytes(as_bytes(chat(*said)))
        await page.ask("import", path=str(file))
        (first, *_) = await page.ask("imported messages", chat=1)
        assert first["sender"] == max(names, key=names.count)


@pytest.mark.parametrize("around", ["{}", " {} ", "'{}'", '"{}"', "file://{}"])
def test_place_of_an_export_is_read_as_people_paste_it(around: str) -> None:
    assert path_of(around.format("/home/a/b"), NotAnExport) == Path("/home/a/b")


def test_place_of_an_export_is_a_whole_path() -> None:
    assert path_of("file:///home/a%20b", NotAnExport) == Path("/home/a b")
    assert path_of("~/x", NotAnExport).is_absolute()
    for text in ("a/b", ".", "~nobody-at-all/x", "/a\0b", "file:///a%00b"):
        with pytest.raises(NotAnExport):
            path_of(text, NotAnExport)


def test_exports_in_the_downloads_are_offered_the_newest_first(tmp_path: Path) -> None:
    written(tmp_path / "ChatExport", 1)
    (tmp_path / "WhatsApp Chat with Sara.zip").write_bytes(b"")
    (tmp_path / "holiday.zip").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ChatExport")
    for number, one in enumerate(tmp_path.iterdir()):
        os.utime(one, (number, number), follow_symlinks=False)
    found = source.nearby([tmp_path, tmp_path / "nowhere"])
    assert {one.name for one in found} == {"ChatExport", "WhatsApp Chat with Sara.zip"}
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_person_brings_chats_along_by_the_page_and_reads_them(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with shown_to(tmp_path, relay, language) as (alice, _, server, context):
        window = await Window.of(context, server)
        tab = window.tab
        await tab.evaluate(
            "import(new URL('imports.js', location.href)).then((m) => m.showImports())"
        )
        await window.press("importBegin")
        await tab.locator("dialog[open] input").fill(str(written(tmp_path / "export", 120)))
        await window.press("importLook")
        boxes = tab.locator("dialog[open] input[type=checkbox]")
        await boxes.last.wait_for()
        assert alice.imports.all() == []
        assert await faults(tab) == []
        await boxes.first.uncheck()
        await window.press("importNow", "done")
        await tab.locator("dialog[open] .way", has_text="سارا").click()
        await tab.locator("dialog[open] article", has_text="کتاب‌های علی").wait_for()
        await tab.locator("dialog[open] article", has_text=HOSTILE).wait_for()
        assert await tab.locator("dialog[open] .notice").is_visible()
        assert await faults(tab) == []
        assert [one.title for one in alice.imports.all()] == ["سارا"]
        await tab.evaluate("document.querySelector('dialog[open]').close()")
        await tab.fill("nav input[type=search]", "كتاب")
        await tab.locator("room-find a mark", has_text="کتاب").click()
        await tab.locator("dialog[open] article", has_text="کتاب‌های علی").wait_for()
        await tab.locator("dialog[open] .bad").click()
        await tab.locator(".question .bad").click()
        await tab.locator("dialog[open]").wait_for(state="detached")
        assert alice.imports.all() == []
        assert window.console == []
