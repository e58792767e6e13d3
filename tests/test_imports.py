"""Imported chats rest in the vault, apart from all conversations, and come in once."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from amanat.client.folding import words as words_of
from amanat.client.sdk import imports
from amanat.client.sdk.imports import ImportedMessage
from amanat.drill.attacks.device import pages
from amanat.drill.death import Died
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    AmanatError,
    BadArgument,
    BrokenExport,
    ExportUnfinished,
    NotAnExport,
    UnknownImport,
)
from amanat.export import export_imported
from amanat.importing import source
from exports import account, as_bytes, chat, message, service


def written(folder: Path, *chats: dict[str, Any]) -> Path:
    """An export of an account, in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(as_bytes(account(*chats)))
    return folder


def many(count: int, **fields: object) -> dict[str, Any]:
    """A chat of so many messages."""
    return chat(*(message(number, f"text {number}") for number in range(count)), **fields)


def texts(person: Person, which: int = 1) -> list[str]:
    return [one.text for one in person.client.imports.messages(which)]


async def test_imported_chat_is_there_as_the_export_says(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    folder = written(
        tmp_path / "export",
        chat(
            message(1, "سلام علی", **{"from": "Bob"}),
            message(2, "خوبم", **{"from": "Ali", "from_id": "user1"}),
            message(3, **{"from": "Babak"}),
            message(4, **{"from": "Babak"}, reply_to_message_id=2),
        ),
    )
    result = await alice.client.imports.take(folder)
    assert result.as_json() == {
        "messages": 4,
        "skipped": {},
        "cut_off": "",
        "is_cut": False,
        "left_out": [],
        "unknown": [],
    }
    (found,) = alice.client.imports.all()
    assert (found.title, found.kind, found.messages) == ("Babak", "personal_chat", 4)
    assert (found.me, found.people) == ("Ali", ["Ali", "Babak"])
    assert found.as_json()["verified"] is False
    first, second, _, last = alice.client.imports.messages(found.id)
    assert (first.sender, first.name, first.is_own) == ("Babak", "Bob", False)
    assert second.is_own
    assert last.reply_to == second.number
    assert alice.client.imports.last(found.id, many=1) == [last]


async def test_preview_changes_nothing(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    folder = written(tmp_path / "export", many(3), many(0, id=8, name="Dara"))
    before = alice.vault._db.total_changes
    found = await alice.client.imports.preview(folder)
    assert alice.vault._db.total_changes == before
    assert alice.client.imports.all() == []
    assert (found.app, found.me) == ("telegram", "user1")
    assert [(one.title, one.messages) for one in found.chats] == [("Babak", 3)]


async def test_importing_again_adds_what_is_new_and_nothing_twice(
    world: World, tmp_path: Path
) -> None:
    alice = await world.person("alice")
    folder = written(tmp_path / "export", many(3))
    for count in (3, 3, 5, 4):
        written(folder, many(count))
        await alice.client.imports.take(folder)
    assert texts(alice) == [f"text {number}" for number in range(5)]
    assert len(alice.client.imports.search("text")) == 5


@pytest.mark.long
async def test_import_that_dies_at_any_statement_goes_on_where_it_was(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    monkeypatch.setattr(imports, "BATCH", 2)
    folder = written(tmp_path / "export", many(5), many(3, id=8, name="Dara"))
    for steps in range(1, 200):
        alice.die_after(steps)
        try:
            await alice.client.imports.take(folder)
        except Died:
            await alice.revive()
        else:
            alice.fuse.left = None
            break
        before = len(alice.client.imports.search("text")) if alice.client.imports.all() else 0
        await alice.client.imports.take(folder)
        assert len(alice.client.imports.search("text")) == 8 >= before
        assert [one.messages for one in alice.client.imports.all()] == [5, 3]
        alice.client.imports.delete_all()
    assert steps > 20


async def test_import_goes_on_behind_what_it_has_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    monkeypatch.setattr(imports, "BATCH", 10)
    folder = written(tmp_path / "export", many(50))
    kept: list[int] = []

    def stop(_done: int, _size: int) -> None:
        many = alice.one("SELECT count(*) FROM imported_message")
        kept.extend([many] if not kept or many > kept[-1] else [])
        if len(kept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await alice.client.imports.take(folder, told=stop)
    assert kept[0] < kept[1] < kept[2] < 50
    assert alice.one("SELECT done FROM import_run") > kept[2]  # the chat is a record, too
    await alice.client.imports.take(folder)
    assert texts(alice) == [f"text {number}" for number in range(50)]
    assert alice.one("SELECT count(*) FROM import_run") == 0


async def test_chats_that_the_person_names_are_left_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    monkeypatch.setattr(imports, "BATCH", 2)
    folder = written(
        tmp_path / "export",
        many(3),
        many(7, id=8, name="کتاب‌های علی"),
        many(2, id=9, name="🌹"),
        many(1, id=10, name="🌷"),
    )
    told: list[int] = []
    done = await alice.client.imports.take(
        folder,
        without=["كتابهاي", "كتاب‌هاي علي", "user9", "Dara", ""],
        told=lambda at, _: told.append(at),
    )
    assert (done.messages, done.left_out) == (4, ["کتاب‌های علی", "🌹"])
    assert done.unknown == ["كتابهاي", "Dara"]
    assert [one.title for one in alice.client.imports.all()] == ["Babak", "🌷"]
    assert len(told) > 5  # also while it passes over what it leaves out
    await alice.client.imports.take(folder)
    assert [one.messages for one in alice.client.imports.all()] == [3, 1, 7, 2]


async def test_import_without_a_chat_does_not_go_on_where_another_one_ended(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    monkeypatch.setattr(imports, "BATCH", 10)
    folder = written(tmp_path / "export", many(20), many(30, id=8, name="Dara"))

    def stop(_done: int, _size: int) -> None:
        if alice.one("SELECT count(*) FROM imported_message"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await alice.client.imports.take(folder, without=["Babak"], told=stop)
    await alice.client.imports.take(folder)
    assert [one.messages for one in alice.client.imports.all()] == [30, 20]


async def test_chat_that_is_deleted_during_an_import_comes_back_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    monkeypatch.setattr(imports, "BATCH", 10)
    folder = written(tmp_path / "export", many(50))

    def stop(_done: int, _size: int) -> None:
        if alice.client.imports.all():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await alice.client.imports.take(folder, told=stop)
    alice.client.imports.delete(1)
    await alice.client.imports.take(folder)
    assert texts(alice, 2) == [f"text {number}" for number in range(50)]


async def test_words_of_a_deleted_chat_stay_in_no_file(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    secrets = [os.urandom(8).hex() for _ in range(40)]
    folder = written(
        tmp_path / "export",
        chat(*(message(number, secret, name=secret) for number, secret in enumerate(secrets))),
        chat(service(1, "edit_group_title", title=secrets[0] + "title"), id=8, name="Dara"),
    )
    await alice.client.imports.take(folder)

    def found() -> list[str]:
        everything = b"\n".join(pages(alice.directory, alice.key))
        parts = {secret: [word[4:].encode() for word in words_of(secret)] for secret in secrets}
        return [one for one in secrets if any(part in everything for part in parts[one])]

    assert found() == secrets
    first, second = alice.client.imports.all()
    alice.client.imports.delete(first.id)
    assert found() == secrets[:1]
    alice.client.imports.delete(second.id)
    assert found() == []
    assert alice.client.imports.all() == []


async def test_imported_words_are_found_however_they_were_typed(
    world: World, tmp_path: Path
) -> None:
    alice = await world.person("alice")
    folder = written(
        tmp_path / "export",
        chat(message(1, "کتاب‌های علی"), message(2, "other"), service(3, "x", title="کتابخانه")),
        chat(message(1, "كتاب"), id=8),
    )
    await alice.client.imports.take(folder)
    found = alice.client.imports.search("كتاب")
    assert [(one.message.chat, one.message.number) for one in found] == [(2, 1), (1, 3), (1, 1)]
    assert found[-1].marks == [(0, 4)]
    assert [one.message.number for one in alice.client.imports.search("كتاب", chat=1)] == [3, 1]
    assert alice.client.imports.search("كتاب", before=found[-1].message.row) == []
    assert alice.client.search("کتاب") == []  # they are no messages of ours
    with pytest.raises(BadArgument):
        alice.client.imports.search("!")


async def test_nothing_of_an_import_goes_anywhere(world: World, tmp_path: Path) -> None:
    alice, bob = await world.friends("alice", "bob")
    await world.settle()
    rows = alice.one("SELECT count(*) FROM message")
    before = alice.client.traffic
    await alice.client.imports.take(written(tmp_path / "export", many(20)))
    assert alice.one("SELECT count(*) FROM outbox") == 0
    assert alice.client.traffic == before
    assert alice.one("SELECT count(*) FROM message") == rows
    assert len(alice.client.conversations()) == 1
    assert bob.texts("alice") == []


async def test_group_and_its_supergroup_are_shown_as_one_after_the_other(
    world: World, tmp_path: Path
) -> None:
    alice = await world.person("alice")
    old = chat(service(1, "migrate_to_supergroup"), name="سفر", id=3, type="private_group")
    new = chat(
        service(1, "migrate_from_group", title="سفر"), id=4, type="private_supergroup", name="سفر"
    )
    await alice.client.imports.take(written(tmp_path / "export", old, new))
    first, second = alice.client.imports.all()
    assert (first.goes_on_from, second.goes_on_from) == (0, first.id)


async def test_chat_of_whatsapp_is_imported_from_its_archive(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    archive = tmp_path / "WhatsApp Chat - بابک.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("_chat.txt", "[31/12/2022, 11:40:26] Ali: سلام\n" * 3)
        opened.writestr("../evil.txt", "x")
    for _ in range(2):
        await alice.client.imports.take(archive, me="ali")
    (found,) = alice.client.imports.all()
    assert (found.app, found.title, found.messages, found.me) == ("whatsapp", "بابک", 3, "Ali")
    assert not (tmp_path.parent / "evil.txt").exists()


async def test_imported_chat_is_written_as_data_and_as_a_page(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    hostile = "</p><script>alert(1)</script>"
    await alice.client.imports.take(
        written(tmp_path / "export", chat(message(1, hostile, **{"from": hostile}), message(2)))
    )
    assert export_imported(alice.client.imports, 1, tmp_path / "chat.json") == 2
    data = json.loads((tmp_path / "chat.json").read_text())
    assert data["imported"]["verified"] is False
    assert [one["text"] for one in data["messages"]] == [hostile, "سلام"]
    assert export_imported(alice.client.imports, 1, tmp_path / "chat.html") == 2
    page = (tmp_path / "chat.html").read_text()
    assert "<script" not in page
    assert "nobody has verified" in page
    with pytest.raises(UnknownImport):
        export_imported(alice.client.imports, 2, tmp_path / "none.json")


async def test_vault_of_another_version_of_unicode_finds_imported_words(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    await alice.client.imports.take(written(tmp_path / "export", many(3)))
    monkeypatch.setattr("amanat.client.folding.FOLD", 2)
    await alice.sleep()
    assert len(alice.client.imports.search("text 1")) == 1
    alice.client.imports.delete(1)
    assert alice.one("SELECT count(*) FROM imported_said_idx") <= 1


# Files


def told(path: Path) -> type[AmanatError] | None:
    """The error with which a path is refused."""
    try:
        with source.open_export(path) as export:
            list(export.records(None, day_first=True))
    except AmanatError as error:
        return type(error)
    return None


def test_only_a_file_in_the_folder_is_opened(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", many(1)) / "result.json"
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "result.json").symlink_to(outside)
    assert told(folder) is NotAnExport
    (folder / "result.json").unlink()
    os.mkfifo(folder / "result.json")
    assert told(folder) is NotAnExport
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert told(tmp_path / "link") is None  # the person has named it


def test_what_is_no_export_is_refused_by_name(tmp_path: Path) -> None:
    assert told(tmp_path) is NotAnExport
    assert told(tmp_path / "nowhere") is NotAnExport
    for name in ("a.exe", "a.txt", "a.html", "messages.html"):
        (tmp_path / name).write_text("hello")
        assert told(tmp_path / name) is NotAnExport
    assert told(tmp_path) is NotAnExport
    for number in "12":
        (tmp_path / f"WhatsApp Chat with {number}.txt").write_text("31/12/22, 11:40 - A: x")
    assert told(tmp_path) is NotAnExport
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 no archive")
    assert told(tmp_path / "a.zip") is BrokenExport


def test_archive_that_is_a_trap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("_chat.txt", "[31/12/2022, 11:40:26] Ali: x" + "x" * 10**7)
    assert told(archive) is BrokenExport
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("_chat.txt", "[31/12/2022, 11:40:26] Ali: x")
        opened.writestr("b", "")
    assert told(archive) is None
    monkeypatch.setattr(source, "MAX_MEMBERS", 1)
    assert told(archive) is BrokenExport
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a/b/result.json", "{}")
    assert told(archive) is NotAnExport


def test_archive_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("_chat.txt", "[31/12/2022, 11:40:26] Ali: x\n" * 100)
    data = bytearray(archive.read_bytes())
    data[500] ^= 1
    archive.write_bytes(data)
    assert told(archive) is BrokenExport


@pytest.mark.parametrize("more", [b" ", b" " * (1 << 20)])
def test_export_that_grows_while_it_is_read_is_refused_by_name(tmp_path: Path, more: bytes) -> None:
    folder = written(tmp_path / "export", many(3000))
    with source.open_export(folder) as export:
        records = export.records(None)
        next(records)
        with (folder / "result.json").open("ab") as file:
            file.write(more)
        with pytest.raises(ExportUnfinished):
            list(records)


def test_export_that_changes_while_it_is_read_is_refused_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path / "export", many(3000))
    with source.open_export(folder) as export:
        records = export.records(None)
        next(records)
        with (folder / "result.json").open("r+b") as file:
            file.write(b"{")
        with pytest.raises(ExportUnfinished):
            list(records)


def test_imported_message_says_that_nobody_has_verified_it() -> None:
    assert "verified" not in ImportedMessage._fields  # it is never true
