"""Backups on the page: begun, made, checked and restored, and the phrase that opens them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from amanat import Client, page
from amanat.client import backing
from amanat.client.events import StatusChanged
from amanat.errors import (
    BrokenArchive,
    DiskFull,
    FolderAway,
    MalformedFrame,
    NewerArchive,
    OtherWord,
    WrongPhrase,
)
from amanat.page import protocol
from amanat.protocol import phrase
from pages import (
    UNLOCK,
    browser,
    faults_in_both_themes,
    in_a_loop,
    opened,
    relay,
    shown_to,
    until,
)
from talks import hide
from test_page_imports import Page
from ups import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from amanat.drill.world import World
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
SECRET = "nobody would guess this"  # noqa: S105  # of nobody
OTHERS = " ".join(phrase.words_of(bytes(32)))
"""The phrase of somebody else."""


def folder(tmp_path: Path) -> Path:
    place = tmp_path / "disk"
    place.mkdir()
    return place


async def test_page_has_backups_made_checked_and_stopped(world: World, tmp_path: Path) -> None:
    alice, _ = await world.friends("alice", "bob")
    alice.say("bob", "hello")
    await world.settle()
    asking, place = Page(alice), folder(tmp_path)
    for wrong in ("disk", str(place / "nowhere"), "~nobody-at-all/x"):
        with pytest.raises(FolderAway):
            await asking.ask("begin backups", folder=wrong)
    words = (await asking.ask("begin backups", folder=f" {place} "))["words"]
    assert len({one["word"] for one in words}) > 20
    assert (await asking.ask("begin backups", folder=str(place)))["words"] == []
    made = await asking.ask("back up")
    assert (made["messages"], made["without_file"]) == (1, 0)
    assert asking.frames[0] == {"on": "backup", "under_way": {"phase": "write", "percent": 0}}
    assert asking.frames[-1] == {"on": "backup", "under_way": None}
    for what in (str(place), made["file"]):
        assert (await asking.ask("check backup", backup=what))["messages"] == 1
    status = (await asking.ask("status"))["status"]["backups"]
    assert (status["folder"], status["messages"], status["error"]) == (str(place), 1, "")
    assert (status["is_asked"], status["is_late"]) == (True, False)
    await asking.ask("stop backups")
    assert (await asking.ask("status"))["status"]["backups"]["folder"] == ""


async def test_page_asks_for_words_of_the_phrase(world: World, tmp_path: Path) -> None:
    asking = Page(await world.person("alice"))
    words = (await asking.ask("begin backups", folder=str(folder(tmp_path))))["words"]
    places = (await asking.ask("asked words"))["places"]
    right = {str(at): words[at - 1]["word"] for at in places}
    with pytest.raises(OtherWord) as why:
        await asking.ask("give words", given=right | {str(places[1]): "2049"[:3]})
    assert why.value.detail == f"word {places[1]}"
    assert (await asking.ask("status"))["status"]["backups"]["is_asked"]
    await asking.ask("give words", given={at: str(phrase.number_of(w)) for at, w in right.items()})
    assert not (await asking.ask("status"))["status"]["backups"]["is_asked"]
    again = await asking.ask("begin backups", folder=str(tmp_path), new_phrase=True)
    assert again["words"] != words


async def test_page_that_comes_meanwhile_sees_how_far_a_backup_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.person("alice")
    asking = Page(alice)
    await asking.ask("begin backups", folder=str(folder(tmp_path)))
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(*_: object, told: backing.Told, **__: object) -> object:
        told("check", 1, 2)
        asyncio.run_coroutine_threadsafe(seen.wait(), loop).result(60)
        raise DiskFull

    monkeypatch.setattr(backing, "make", slowly)
    making = asyncio.create_task(asking.ask("back up"))
    half = {"phase": "check", "percent": 50}
    while asking.attendant.begin()["backup"] != half:  # noqa: ASYNC110  # it is the thread's turn
        await asyncio.sleep(0.01)
    seen.set()
    with pytest.raises(DiskFull):
        await making
    assert asking.attendant.begin()["backup"] is None
    assert (await asking.ask("status"))["status"]["backups"]["error"] == "disk-full"


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "give words", "given": {"0": "zoo"}},
        {"do": "give words", "given": {"25": "zoo"}},
        {"do": "give words", "given": {"1": "z" * 41}},
        {"do": "begin backups", "folder": ""},
        {"do": "begin backups", "folder": "/" * 4097},
        {"do": "restore", "backup": "/a", "phrase": "z" * 1001, "passphrase": None},
    ],
)
def test_fields_of_asks_about_backups_are_bounded(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedFrame):
        protocol.decode_ask(json.dumps({"id": 1} | fields).encode())


async def begin(window: Window, place: Path) -> list[str]:
    """Begin backups on the page, as far as the words of the phrase, which are given back."""
    field = window.tab.get_by_label(await window.word("backupFolder"), exact=True)
    await field.fill(str(place))
    await window.press("backupBegin")
    await window.tab.locator(".question").wait_for()
    await window.press("phraseShow")
    await window.tab.locator(".phrase li").last.wait_for()
    return await window.tab.locator(".phrase bdi").all_inner_texts()


async def give(window: Window, words: list[str]) -> None:
    """Give the words back that the page asks for."""
    fields = window.tab.locator("dialog[open] input")
    await fields.last.wait_for()
    for at in range(await fields.count()):
        label = await fields.nth(at).get_attribute("data-key") or ""
        place = int(re.findall(r"\d+", label)[0])  # also in Persian digits
        await fields.nth(at).fill(words[place - 1])
    await window.press("phraseGiven")


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_person_backs_up_by_the_page_and_gives_words_back(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    place = folder(tmp_path)
    async with shown_to(tmp_path, relay, language) as (alice, _, server, context):
        window = await Window.of(context, server)
        tab = window.tab
        await window.press("settings")
        await tab.get_by_text(await window.word("backupsNone")).wait_for()
        await window.press("backupBegin")
        nowhere = tab.get_by_label(await window.word("backupFolder"), exact=True)
        await nowhere.fill(str(place / "nowhere"))
        await window.press("backupBegin", "phraseShow")
        await tab.get_by_role("alert").get_by_text(await window.fault("folder-away")).wait_for()
        words = await begin(window, place)
        assert phrase.key_of(" ".join(words)) == alice.backups._rules.key
        assert await faults_in_both_themes(tab) == []
        await hide(tab, is_hidden=True)
        await tab.get_by_text(await window.word("phraseHidden")).wait_for()
        content = await tab.content()
        assert not [word for word in words if f">{word}<" in content]
        await hide(tab, is_hidden=False)
        assert not await tab.locator(".phrase li").count()
        await window.press("phraseShow")
        await tab.locator(".phrase li").last.wait_for()
        await window.press("phraseWritten")
        await give(window, words[1:] + words[:1])
        await tab.locator("dialog[open] [aria-invalid=true]").first.wait_for()
        assert await faults_in_both_themes(tab) == []
        assert alice.backups.status().is_asked
        await give(window, words)
        await tab.get_by_text(await window.word("phraseNoted")).wait_for()
        await window.press("done")
        assert not alice.backups.status().is_asked
        await window.press("backupNow")
        await tab.get_by_text(await window.word("backupMade")).wait_for()
        assert await faults_in_both_themes(tab) == []
        forget = await window.word("backupForget")
        await tab.get_by_role("combobox", name=forget, exact=True).select_option("30")
        await until(alice, lambda: alice.backups.status().forget_days == 30)
        await window.press("backupCheck", "backupCheckNow")
        await tab.locator("dialog[open] [role=status]:not(:empty)").last.wait_for()
        await tab.locator("dialog[open] input").fill(str(tmp_path / "alice"))
        await window.press("backupCheckNow")
        await tab.get_by_role("alert").get_by_text(await window.fault("no-backup")).wait_for()
        assert alice.backups.status().messages == 0
        assert window.console == []


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_person_is_told_of_a_backup_that_failed_and_asked_for_words_again(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with shown_to(tmp_path, relay, language) as (alice, _, server, context):
        words = [one.word for one in alice.backups.begin(folder(tmp_path))]
        alice.backups.confirm(dict(enumerate(words, 1)))
        await alice.backups.make()  # none comes by itself meanwhile
        window = await Window.of(context, server)
        tab = window.tab
        await window.row("مریم").wait_for()
        assert not await tab.locator(".trouble").count()
        with alice._run.unit() as unit:
            alice.backups._rules.has_failed(unit, "disk-full")
            unit.put("backup ask at", bytes(8))
            unit.events.append(StatusChanged())
        await tab.locator(".plain .trouble").click()
        await tab.get_by_text(await window.fault("disk-full")).wait_for()
        await tab.get_by_text(await window.word("phraseAskedAgain")).wait_for()
        await window.press("phraseGive")
        await give(window, words)
        await window.press("done")
        await tab.get_by_text(await window.word("phraseAskedAgain")).wait_for(state="detached")
        await window.press("backupsMore", "backupStop")
        await tab.locator(".question").wait_for()
        await window.press("backupStop")
        await tab.get_by_text(await window.word("backupsNone")).wait_for()
        assert alice.backups.status().folder == ""
        label = await window.word("backupFolder")
        await tab.get_by_label(label, exact=True).fill(str(tmp_path / "disk"))
        await window.press("backupBegin")  # the phrase is noted, and stays
        await tab.get_by_role("button", name=await window.word("backupNow")).wait_for()
        assert phrase.words_of(alice.backups._rules.key) == words
        assert window.console == []


async def lost(tmp_path: Path, relay: RelayProcess, maryam: Client) -> str:
    """Alice, who has talked with مریم and made a backup, loses her device; her phrase."""
    async with await Client.create(
        tmp_path / "alice", UNLOCK, name="alice", relay=str(relay.address)
    ) as alice:
        maryam.accept(alice.invite())
        await until(alice, lambda: bool(alice.contacts()))
        await until(maryam, lambda: bool(maryam.contacts()))
        alice.chat("مریم").send("before the loss")
        await until(maryam, lambda: maryam.chat("alice").count() == 1)
        words = " ".join(one.word for one in alice.backups.begin(folder(tmp_path)))
        await alice.backups.make()
    return words


@contextlib.asynccontextmanager
async def nobody(tmp_path: Path, language: str) -> AsyncIterator[tuple[page.House, Window]]:
    """A page without a profile."""
    house = page.House(tmp_path / "new")
    async with page.serving(house, port=0) as server, browser(language) as context:
        yield house, Window(*await opened(context, server))
        await house.close()


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_person_restores_their_profile_on_the_first_page(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with await Client.create(
        tmp_path / "maryam", UNLOCK, name="مریم", relay=str(relay.address)
    ) as maryam:
        words = await lost(tmp_path, relay, maryam)
        async with nobody(tmp_path, language) as (house, window):
            tab = window.tab
            await window.press("restore")
            said = tab.locator("start-page textarea")
            await said.wait_for()
            assert await faults_in_both_themes(tab) == []
            place = tab.get_by_label(await window.word("backupPlace"), exact=True)
            await place.fill(str(tmp_path / "disk"))
            secrets = tab.locator("start-page input[type=password]")
            for number in range(2):
                await secrets.nth(number).fill(SECRET)

            async def refused(code: str, detail: str = "") -> None:
                await tab.locator("start-page .go").click()
                sentence = await window.fault(code, detail)
                await tab.get_by_role("alert").get_by_text(sentence).wait_for()

            first, _, *rest = words.split()
            await said.fill(" ".join(rest))
            await refused("word-count", "22")
            await said.fill(" ".join([first, "abandom", *rest]))
            await refused("unknown-word", "2")
            await said.fill(f"{OTHERS.removesuffix(' art')} zoo")
            await refused("phrase-slip")
            await said.fill(OTHERS)
            await refused("wrong-phrase")
            await place.fill(str(tmp_path / "nowhere"))
            await refused("folder-away")
            assert not list((tmp_path / "new").glob("vault*"))
            await place.fill(str(tmp_path / "disk"))
            await said.fill("\n".join(one.upper() for one in words.split()))
            await tab.locator("start-page .go").click()
            await tab.get_by_text(await window.word("restoredOut")).wait_for()
            assert await faults_in_both_themes(tab) == []
            await window.press("done")
            await window.open("مریم")
            await window.bubble("before the loss").wait_for()
            restored = house._present().client
            await until(restored, lambda: restored.conversations()[0].state == "active")
            await window.say("I am back")
            await until(maryam, lambda: maryam.chat("alice").count() == 2)
            assert restored.backups.status().folder == str(tmp_path / "disk")
            await tab.reload()
            await tab.wait_for_selector("[data-usable]")
            assert not await tab.locator("dialog[open]").count()
            assert window.console == []


@pytest.mark.e2e
@pytest.mark.long
@in_a_loop
async def test_archives_that_cannot_be_restored_leave_no_profile_and_are_named(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with await Client.create(
        tmp_path / "maryam", UNLOCK, name="مریم", relay=str(relay.address)
    ) as maryam:
        words = await lost(tmp_path, relay, maryam)
    (file,) = (tmp_path / "disk").glob("*/*.archive")
    whole = file.read_bytes()
    house = page.House(tmp_path / "new")

    async def restored(backup: Path, said: str) -> str:
        ask = protocol.decode_ask(
            json.dumps(
                {"do": "restore", "id": 1, "backup": str(backup), "phrase": said, "passphrase": "x"}
            ).encode()
        )
        return str(json.loads(await house.attend(ask)).get("error", ""))

    assert await restored(file, OTHERS) == WrongPhrase.code
    file.write_bytes(whole[:-1000])
    assert await restored(file, words) == BrokenArchive.code
    file.write_bytes(whole.replace(b"ARCHIVE-1", b"ARCHIVE-2", 1))
    assert await restored(file, words) == NewerArchive.code
    file.unlink()
    assert await restored(tmp_path / "disk", words) == "no-backup"
    assert not list((tmp_path / "new").glob("vault.db"))
    file.write_bytes(whole)
    assert await restored(tmp_path / "disk", words) == ""
    assert await restored(tmp_path / "disk", words) == "profile-in-use"
    await house.close()
    assert await restored(tmp_path / "disk", words) == "profile-exists"
