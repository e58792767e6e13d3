"""Files on the page, in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image

from amanat import media
from amanat.client.blobs import DIRECTORY
from amanat.client.rules import roster
from amanat.media import thumbhash
from amanat.page.bringing import WINDOW_BYTES, Incoming
from amanat.page.handing import part as part_of
from amanat.protocol import codec
from amanat.protocol.descriptor import b64
from amanat.protocol.files import decode_file
from pages import (
    faults_in_both_themes,
    holds,
    in_a_loop,
    page_of,
    relay,
    show_sheet,
    two_friends,
    until,
)
from talks import talking
from test_page_served import ask_raw, entered, part, upgrade
from test_thumbhash import draw as stand_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from amanat import Client
    from amanat.client.sdk.files import FileView
    from amanat.page.server import Server
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DROP = """([name, type]) => {
    const data = new DataTransfer();
    data.items.add(new File(["dropped"], name));
    const how = { bubbles: true, cancelable: true };
    const event = type === "paste"
        ? new ClipboardEvent(type, { ...how, clipboardData: data })
        : new DragEvent(type, { ...how, dataTransfer: data });
    document.querySelector("textarea").dispatchEvent(event);
}"""
"""Let a file be dropped into the conversation, or pasted."""


def files_of(client: Client, who: str) -> list[FileView]:
    """The files that somebody has sent or been sent, in their order."""
    return [one.file for one in client.chat(who).messages() if one.file is not None]


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_file_goes_up_from_the_page_and_one_that_came_is_fetched_and_saved(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, data = talk.tab, os.urandom(700_000)
        talk.alice.files.set_auto_bytes(-1)
        (tmp_path / "to send.bin").write_bytes(data)
        async with tab.expect_file_chooser() as chooser:
            await tab.locator("button.attach").click()
        await (await chooser.value).set_files(tmp_path / "to send.bin")
        bubble = tab.locator("article.own", has_text="to send.bin")
        await bubble.locator(".mark").wait_for()
        await until(talk.maryam, lambda: len(files_of(talk.maryam, "alice")) == 1)
        (sent,) = files_of(talk.maryam, "alice")
        saved = await sent.save(tmp_path / "saved")
        assert saved.read_bytes() == data
        assert await tab.locator(".carried section").count() == 0
        chat = talk.maryam.chat("alice")
        await chat.send_file(io.BytesIO(data), name="../\u202efdp.exe")
        came = tab.locator("article:not(.own)", has=tab.locator(".file"))
        await came.wait_for()
        assert await came.locator(".file-name").inner_text() == "fdp.exe"
        assert await faults_in_both_themes(tab) == []
        await came.locator("button[data-deed=fetch]").click()
        save = came.locator("button[data-deed=save]")
        await save.wait_for()
        async with tab.expect_download() as download:
            await save.click()
        found = await download.value
        assert found.suggested_filename == "fdp.exe"
        assert (await found.path()).read_bytes() == data
        line = tab.locator("chat-list a p")
        assert "fdp.exe" in await line.inner_text()


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_picture_of_the_camera_is_sent_once_one_is_content_with_it(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, asked = talk.tab, talk.tab.locator("dialog.question[open]")
        await tab.locator("button.camera").click()
        await asked.locator("video").wait_for()
        assert await faults_in_both_themes(tab) == []
        await asked.locator(".good").click()  # take it,
        await asked.locator(".answers button").nth(2).click()  # and another,
        await asked.locator(".answers button").nth(1).click()
        await asked.locator(".answers button").nth(2).wait_for()
        assert not files_of(talk.maryam, "alice")
        await asked.locator(".good").click()  # and send that
        await tab.locator("article.own .picture").wait_for()
        await until(talk.maryam, lambda: len(files_of(talk.maryam, "alice")) == 1)
        (sent,) = files_of(talk.maryam, "alice")
        assert sent.kind == "picture"
        with Image.open(await sent.save(tmp_path / "saved")) as image:
            assert image.getextrema() != ((0, 0), (0, 0), (0, 0))  # it shows something
        await tab.locator("button.camera").click()
        await asked.locator("video").wait_for()
        await tab.keyboard.press("Escape")
        await asked.wait_for(state="hidden")
        assert len(files_of(talk.alice, "مریم")) == 1


@in_a_loop
async def test_files_are_dropped_and_pasted_and_an_empty_one_is_a_file_too(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab = talk.tab
        await tab.evaluate(DROP, ["pasted.txt", "paste"])
        await tab.evaluate(DROP, ["dropped.txt", "drop"])
        (tmp_path / "empty").touch()
        await tab.locator("input[type=file]").set_input_files(tmp_path / "empty")
        for name in ("pasted.txt", "dropped.txt", "empty"):
            await tab.locator("article.own .file-name").get_by_text(name, exact=True).wait_for()
        empty = tab.locator("article.own", has_text="empty")
        async with tab.expect_download() as download:
            await empty.locator("button[data-deed=save]").click()
        assert (await (await download.value).path()).read_bytes() == b""


@in_a_loop
async def test_a_file_that_goes_up_is_paused_and_given_up(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab = talk.tab
        relay.kill()
        (tmp_path / "long.bin").write_bytes(os.urandom(300_000))
        await tab.locator("input[type=file]").set_input_files(tmp_path / "long.bin")
        going = tab.locator(".carried section", has_text="long.bin")
        await going.locator("button[data-deed=pause]").click()
        await going.get_by_text("paused").wait_for()
        assert await faults_in_both_themes(tab) == []
        await tab.reload()
        await tab.locator("chat-list a").click()
        await going.locator("button[data-deed=cancel]").click()
        await going.wait_for(state="hidden")
        assert not talk.alice.files.transfers()


async def brought(
    server: Server, offer: bytes, frames: list[bytes]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket over which a page has brought this."""
    port, path, cookie = await entered(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = upgrade(port, path, cookie, "Upgrade").replace("/live ", "/bring ")
    writer.write(head.encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(part(1, offer, is_last=True) + b"".join(frames))
    return reader, writer


def offer_of(client: Client, size: int) -> bytes:
    chat = client.chat("مریم").gid.hex()
    return json.dumps({"chat": chat, "name": "a", "size": size}).encode()


@pytest.mark.parametrize(
    ("size", "frames"),
    [
        (None, []),
        (5, [(1, b"words")]),
        (5, [(2, b"longer")]),
        (5, [(2, b"wo"), (1, b"{}")]),
    ],
    ids=["no offer", "text", "more than was offered", "two offers"],
)
@in_a_loop
async def test_a_page_that_brings_anything_but_its_offer_is_hung_up_on(
    tmp_path: Path, relay: RelayProcess, size: int | None, frames: list[tuple[int, bytes]]
) -> None:
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        offer = b"{}" if size is None else offer_of(alice, size)
        parts = [part(opcode, payload, is_last=True) for opcode, payload in frames]
        reader, writer = await brought(server, offer, parts)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert b'"ok"' not in await reader.read()
        writer.close()
        assert not alice.files.transfers()
        assert not list((tmp_path / "alice" / DIRECTORY).glob("*/*"))


@in_a_loop
async def test_a_page_that_hangs_up_leaves_nothing_of_its_file(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, maryam), page_of(alice) as server:
        reader, writer = await brought(server, offer_of(alice, 10**9 + 1), [])
        async with asyncio.timeout(10):
            assert b"file-over-limit" in await reader.read()
        writer.close()
        piece = part(2, bytes(300_000), is_last=True)
        reader, writer = await brought(server, offer_of(alice, 900_000), [piece])
        async with asyncio.timeout(10):
            await reader.readuntil(b'"taken"')
            writer.close()
            while list((tmp_path / "alice" / DIRECTORY).glob("*/*")):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.05)
        halves = [part(2, b"wo", is_last=False), part(0, b"rds", is_last=True)]
        reader, writer = await brought(server, offer_of(alice, 5), halves)
        async with asyncio.timeout(10):
            await reader.readuntil(b'"ok"')
        writer.close()
        await until(maryam, lambda: len(files_of(maryam, "alice")) == 1)
        assert files_of(maryam, "alice")[0].size == len("words")


@given(st.binary(max_size=2000), st.data())
def test_bytes_are_read_as_they_came_in_whatever_pieces(data: bytes, draw: st.DataObject) -> None:
    taken = list[int]()
    incoming = Incoming(len(data), taken.append)

    async def read() -> bytes:
        found, at = b"", 0
        while at < len(data) or found != data:
            piece = data[at : at + draw.draw(st.integers(0, 700))]
            at += len(piece)
            assert incoming.feed(piece)
            if at > len(found):
                found += await incoming.read(draw.draw(st.integers(1, 700)))
        assert await incoming.read(1) == b""
        return found

    assert asyncio.run(read()) == data
    assert not incoming.feed(b"x")
    assert taken == ([len(data)] if data else [])


def test_a_page_is_no_further_ahead_than_its_window() -> None:
    incoming = Incoming(10 * WINDOW_BYTES, lambda _: None)
    assert incoming.feed(bytes(WINDOW_BYTES))
    assert not incoming.feed(b"x")
    assert len(asyncio.run(incoming.read(5))) == len(b"fives")
    assert incoming.feed(b"x")


@in_a_loop
async def test_a_file_is_handed_out_for_a_ticket_of_the_page_alone_and_as_bytes(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, maryam), page_of(alice) as server:
        page = b"<script>alert(1)</script>" * 1000
        await maryam.chat("alice").send_file(io.BytesIO(page), name="page.html")
        await until(alice, lambda: any(one.is_here for one in files_of(alice, "مریم")))
        port, path, cookie = await entered(server)
        chat = alice.chat("مریم")
        (message,) = [one for one in chat.messages() if one.file]
        attendant = server._house._present()
        ticket = attendant._tickets.give(chat.gid, message.id)
        host = f"Host: 127.0.0.1:{port}\r\n"

        async def get(name: str, more: str = f"Cookie: {cookie}\r\n") -> tuple[bytes, bytes]:
            answer = await ask_raw(port, f"GET {path}{name} HTTP/1.1\r\n{host}{more}\r\n")
            return answer.partition(b"\r\n\r\n")[::2]

        head, body = await get(f"media/{ticket}")
        assert (head.split()[1], body) == (b"200", page)
        for line in (
            "Content-Security-Policy: sandbox; default-src 'none'",
            "Content-Type: application/octet-stream",
            "Content-Disposition: attachment; filename*=UTF-8''page.html",
            "X-Content-Type-Options: nosniff",
            "Cross-Origin-Resource-Policy: same-origin",
        ):
            assert line.encode() in head.split(b"\r\n")
        ranged = f"Cookie: {cookie}\r\nRange: bytes=%s\r\n"
        head, body = await get(f"media/{ticket}", ranged % "5-9")
        assert (head.split()[1], body) == (b"206", page[5:10])
        assert f"Content-Range: bytes 5-9/{len(page)}".encode() in head
        head, _ = await get(f"media/{ticket}", ranged % "9-5")
        assert head.split()[1] == b"416"
        for name, more in (
            (f"media/{ticket}x", f"Cookie: {cookie}\r\n"),
            (f"media/{message.id}", f"Cookie: {cookie}\r\n"),
            (f"media/{ticket}", ""),
            (f"media/{ticket}", f"Cookie: {cookie}\r\nSec-Fetch-Site: cross-site\r\n"),
        ):
            head, body = await get(name, more)
            assert head.split()[1] in (b"403", b"404")
            assert page not in body
        chat.delete([message.id], for_everyone=False)
        head, _ = await get(f"media/{ticket}")
        assert head.split()[1] == b"404"


async def has_files(maryam: Client, many: int) -> None:
    """Wait until she has so many files of Alice's."""
    await until(maryam, lambda: len(files_of(maryam, "alice")) == many)


def photograph() -> bytes:
    """A picture that tells where and when it was taken, and by which camera."""
    exif = Image.Exif()
    exif[0x0110] = "planted camera"
    exif.get_ifd(0x8769)[0x9003] = "2025:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    made = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(made, "JPEG", exif=exif)
    return made.getvalue()


@pytest.mark.parametrize(("language", "told"), [("en", "where it was taken"), ("fa", "کجا")])
@in_a_loop
async def test_a_picture_leaves_without_what_it_tells_or_as_a_file_if_one_wants(
    tmp_path: Path, relay: RelayProcess, language: str, told: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, photo = talk.tab, photograph()
        (tmp_path / "IMG_20250102.jpg").write_bytes(photo)
        for number in range(2):
            await tab.locator("input[type=file]").set_input_files(tmp_path / "IMG_20250102.jpg")
            dialog = tab.get_by_role("dialog")
            await dialog.get_by_text(told).wait_for()
            if not number:
                assert await faults_in_both_themes(tab) == []
            await dialog.get_by_role("button").nth(1 + number).click()
            await has_files(talk.maryam, number + 1)
        picture, file = files_of(talk.maryam, "alice")
        assert (picture.kind, picture.name, picture.sides) == ("picture", "", (256, 256))
        assert (file.kind, file.name) == ("file", "IMG_20250102.jpg")
        sent = await picture.save(tmp_path / "picture")
        assert b"planted" not in sent.read_bytes()
        assert (await file.save(tmp_path / "file")).read_bytes() == photo
        with picture.open() as content:
            assert (content.preview_type, content.preview[:4]) == ("image/webp", b"RIFF")


@in_a_loop
async def test_a_picture_that_came_is_shown_and_anything_else_that_says_so_is_not(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        made = await media.picture(photograph())
        await chat.send_file(made, text="a grey slope")
        shown = tab.get_by_role("img", name="a grey slope")
        await shown.wait_for()
        await holds(tab, "document.querySelector('article img').naturalWidth === 256")
        assert await faults_in_both_themes(tab) == []
        await shown.click()
        large = tab.get_by_role("dialog").locator("img")
        await large.wait_for()
        await tab.keyboard.press("Escape")
        await large.wait_for(state="hidden")
        article = tab.locator("article", has=shown)
        async with tab.expect_download() as download:
            await article.locator("button[data-deed=save]").click()
        found = await download.value
        assert re.fullmatch(r"picture-[0-9a-f]{8}\.jpg", found.suggested_filename)
        assert (await found.path()).read_bytes() == made.data
        lie = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
        await chat.send_file(made._replace(data=lie, type="image/svg+xml"), text="a lie")
        await tab.get_by_role("img", name="a lie").wait_for()
        await until(talk.alice, lambda: files_of(talk.alice, "مریم")[-1].is_here)
        answer = part_of(files_of(talk.alice, "مریم")[-1], "")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        await holds(tab, "document.querySelectorAll('article img')[1].complete")
        assert await tab.evaluate("document.querySelectorAll('article img')[1].naturalWidth") == 0


def colour(hue: int) -> bytes:
    """A picture of one colour."""
    made = io.BytesIO()
    Image.new("HSV", (320, 200), (hue, 200, 200)).convert("RGB").save(made, "PNG")
    return made.getvalue()


PLACES = """() => [...document.querySelectorAll("article .picture")].map((one) => {
    const { x, y, width } = one.getBoundingClientRect();
    return [Math.round(x), Math.round(y), Math.round(width)];
})"""
"""Where the pictures stand, and how wide they are."""


@pytest.mark.parametrize(
    ("language", "choose", "delete"),
    [
        ("en", "As a picture", "Delete for everyone"),
        ("fa", "به شکل تصویر", "پاک کردن برای همه"),
    ],
)
@in_a_loop
async def test_pictures_that_are_picked_at_once_are_an_album_in_one_grid(
    tmp_path: Path, relay: RelayProcess, language: str, choose: str, delete: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, paths = talk.tab, [tmp_path / f"{number}.png" for number in range(5)]
        for number, path in enumerate(paths):
            path.write_bytes(colour(40 * number))
        await tab.locator("textarea").fill("the market")
        await tab.locator("input[type=file]").set_input_files(paths)
        await tab.get_by_role("dialog").get_by_role("button", name=choose).click()
        await has_files(talk.maryam, 5)
        said = [one for one in talk.maryam.chat("alice").messages() if one.file]
        (album,) = {one.file.album for one in said if one.file}
        assert len(album) == 16
        assert [one.text for one in said] == ["the market", "", "", "", ""]
        shown = tab.locator("article .picture")
        await shown.nth(4).wait_for()
        (x0, _, wide), (x1, y1, half), (x2, y2, _), (_, y3, _), (_, y4, _) = await tab.evaluate(
            PLACES
        )
        assert wide > 1.9 * half
        assert (y1, y3) == (y2, y4)
        assert y1 < y3
        assert abs(x0 - min(x1, x2)) < 3
        assert (x1 < x2) == (language == "en")
        assert await faults_in_both_themes(tab) == []
        await shown.nth(4).click(button="right")
        await tab.get_by_role("menuitem", name=delete).click()
        await tab.get_by_role("dialog").get_by_role("button").last.click()
        await has_files(talk.maryam, 4)
        await shown.nth(4).wait_for(state="detached")
        places = await tab.evaluate(PLACES)
        assert [width > 1.9 * half for _, _, width in places] == [True, False, False, True]
        await talk.maryam.files.send_album(
            talk.maryam.chat("alice").gid,
            [await media.picture(path.read_bytes()) for path in paths[:2]],
            reply_to=said[0].id,
        )
        await shown.nth(5).wait_for()
        hers = tab.locator("article:not(.own)")
        await hers.first.locator(".quote", has_text="the market").wait_for()
        assert await faults_in_both_themes(tab) == []


def copy_files(client: Client, gid: bytes, *, many: int) -> None:
    """Let very many files of the same kind have been said before, none of which is here."""
    with client._run.unit() as unit:
        (row,) = unit.db.execute(
            "SELECT max(row) FROM message AS m JOIN file USING (gid, id) WHERE m.gid = ?", (gid,)
        ).fetchone()
        unit.db.executemany(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at, text) SELECT gid, ?, x'', identity, signer, seq, -?, sent_at, kept_at, ''"
            " FROM message WHERE row = ?",
            ((os.urandom(16), number, row) for number in range(1, many + 1)),
        )
        unit.db.execute(
            "INSERT INTO file (gid, id, body, is_near) SELECT m.gid, m.id, (SELECT body FROM file"
            " JOIN message USING (gid, id) WHERE row = ?), 1 FROM message AS m WHERE clock < 0",
            (row,),
        )


LEFT = "ones => ones.map(one => one.getBoundingClientRect().x)"
TILES = "document.querySelectorAll('dialog .gallery > *').length"


@in_a_loop
async def test_an_empty_gallery_says_once_that_it_is_empty(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, "en") as talk:
        await show_sheet(talk.tab, f"gallery.showGallery('{talk.chat.gid.hex()}')")
        empty = talk.tab.get_by_role("dialog").get_by_text("There is no picture")
        await empty.first.wait_for()
        await talk.tab.wait_for_timeout(500)  # the end of the list was seen, and asked for more
        assert await empty.count() == 1


@pytest.mark.parametrize(
    ("language", "gallery", "older", "newer"),
    [
        ("en", "Pictures and files", "ArrowLeft", "ArrowRight"),
        ("fa", "تصویرها و پرونده‌ها", "ArrowRight", "ArrowLeft"),
    ],
)
@in_a_loop
async def test_the_gallery_has_all_files_of_a_conversation_and_leads_from_picture_to_picture(
    tmp_path: Path,
    relay: RelayProcess,
    language: str,
    gallery: str,
    older: str,
    newer: str,
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        for number in range(3):
            picture = await media.picture(colour(80 * number))
            await chat.send_file(picture, text=f"picture {number}")
            await chat.send_file(io.BytesIO(b"words"), name=f"file {number}.txt")
        await until(talk.alice, lambda: sum(f.is_here for f in files_of(talk.alice, "مریم")) == 6)
        copy_files(talk.alice, talk.chat.gid, many=10_000)
        await show_sheet(tab, f"gallery.showGallery('{talk.chat.gid.hex()}')")
        dialog, tiles = tab.get_by_role("dialog"), tab.locator("dialog .gallery > *")
        assert await dialog.get_by_role("heading", name=gallery).is_visible()
        await tiles.nth(29).wait_for()
        assert await tiles.nth(0).get_by_text("file 2.txt").is_visible()
        size, at = await tiles.nth(0).locator("small bdi").evaluate_all(LEFT)
        assert (size < at) == (language == "en")  # the time stands behind the size
        await holds(tab, "document.querySelector('.tile img').naturalWidth > 0")
        assert await faults_in_both_themes(tab) == []
        before = await tab.evaluate(TILES)
        assert before < 1000
        await tab.locator("dialog .body").evaluate("one => one.scrollTo(0, one.scrollHeight)")
        await holds(tab, f"{TILES} > {before}")
        await tab.locator("dialog .body").evaluate("one => one.scrollTo(0, 0)")
        await tab.locator(".tile").first.click()
        large = tab.locator("dialog.large")
        await large.get_by_role("img", name="picture 2").wait_for()
        await holds(tab, "document.querySelector('.large img').naturalWidth === 320")
        assert await faults_in_both_themes(tab) == []
        await large.get_by_role("button").nth(1).and_(tab.locator(":disabled")).wait_for()
        await tab.locator(".large button:not(:disabled)").first.wait_for()
        await tab.keyboard.press(newer)
        await tab.keyboard.press(older)
        await large.get_by_role("img", name="picture 1").wait_for()
        await large.locator("button.round:not(:disabled)").nth(1).click()
        await large.get_by_role("img", name="picture 2").wait_for()
        await tab.keyboard.press("Escape")
        await large.wait_for(state="detached")
        await tiles.nth(0).click()
        await dialog.wait_for(state="hidden")
        await tab.locator("article .file-name", has_text="file 2.txt").last.wait_for()


def say_often(client: Client, gid: bytes, text: str, *, many: int) -> None:
    """Let a text have been said very often before."""
    with client._run.unit() as unit:
        unit.db.executemany(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at, text) SELECT gid, ?, x'', identity, signer, seq, -?, sent_at, kept_at, ?"
            " FROM message WHERE row = (SELECT max(row) FROM message WHERE gid = ?)",
            ((os.urandom(16), number, text, gid) for number in range(1, many + 1)),
        )


LINKS = "document.querySelectorAll('dialog .gallery > .way').length"


@pytest.mark.parametrize(
    ("language", "links", "none"),
    [("en", "Links", "There is no link"), ("fa", "پیوندها", "پیوندی نیست")],
)
@in_a_loop
async def test_the_gallery_has_the_links_of_a_conversation_and_each_leads_to_its_message(
    tmp_path: Path, relay: RelayProcess, language: str, links: str, none: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, asked = talk.tab, list[str]()
        tab.on("request", lambda one: asked.append(one.url))
        show = f"gallery.showGallery('{talk.chat.gid.hex()}')"
        await show_sheet(tab, show)
        dialog, rows = tab.get_by_role("dialog"), tab.locator("dialog .gallery > .way")
        await dialog.get_by_role("button", name=links).click()
        await dialog.get_by_text(none).wait_for()
        await tab.keyboard.press("Escape")
        await tab.keyboard.press("Escape")
        await talk.hear("ftp://nobody.example and file://x", "early", "then https://a.example/x.")
        say_often(talk.alice, talk.chat.gid, "once http://old.example/", many=100)
        say_often(talk.alice, talk.chat.gid, "a word", many=10_000)
        await talk.hear("two: http://b.example https://c.example/\u202egpj http://b.example")
        talk.chat.send("gone: https://gone.example")
        mine = talk.chat.send("mine: https://d.example/")
        talk.chat.delete([one.id for one in talk.chat.messages() if one.text.startswith("gone")])
        assert mine
        await show_sheet(tab, show)
        await dialog.get_by_role("button", name=links).click()
        await rows.nth(3).wait_for()
        found = await rows.locator("> bdi").all_inner_texts()
        assert found[:5] == [
            "https://d.example/",
            "http://b.example",
            "https://c.example/",
            "https://a.example/x",
            "http://old.example/",
        ]
        assert "مریم" in await rows.nth(1).locator("small").inner_text()
        assert await faults_in_both_themes(tab) == []
        before = await tab.evaluate(LINKS)
        assert before < 100
        await tab.locator("dialog .body").evaluate("one => one.scrollTo(0, one.scrollHeight)")
        await holds(tab, f"{LINKS} > {before}")
        await rows.nth(3).click()
        await dialog.wait_for(state="hidden")
        await talk.bubble("then https://a.example/x.").wait_for()
        assert not [one for one in asked if "example" in one]


def change_files(client: Client, **fields: object) -> None:
    """Let what others have said of their files be something else."""
    with client._run.unit() as unit:
        rows = unit.db.execute("SELECT gid, id, body FROM file").fetchall()
        unit.db.executemany(
            "UPDATE file SET body = ? WHERE gid = ? AND id = ?",
            [
                (codec.encode(structs.replace(decode_file(body), **fields)), gid, mid)
                for gid, mid, body in rows
            ],
        )


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_relay_that_no_sender_has_named_is_shown_before_anything_goes_there(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab = talk.tab
        talk.alice.files.set_auto_bytes(-1)
        await talk.maryam.chat("alice").send_file(io.BytesIO(b"words"), name="a.txt")
        await tab.locator("article .file-name", has_text="a.txt").wait_for()
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE file SET is_near = 0")
        await tab.reload()
        await tab.locator("chat-list a").click()
        fetch, key = tab.locator("article button[data-deed=fetch]"), b64(relay.address.key)
        for number in range(2):
            await fetch.click()
            dialog = tab.get_by_role("dialog")
            assert await dialog.locator(".address").inner_text() == key
            assert await dialog.locator("bdi", has_text="مریم").is_visible()
            assert await faults_in_both_themes(tab) == []
            assert not talk.alice.files.transfers()
            await dialog.get_by_role("button").nth(number).click()
            await dialog.wait_for(state="detached")
        await tab.locator("article button[data-deed=save]").wait_for()


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_file_that_has_gone_is_asked_for_again_and_comes_once_it_is_there(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab = talk.tab
        talk.alice.files.set_auto_bytes(-1)
        await talk.maryam.chat("alice").send_file(io.BytesIO(b"words"), name="a.txt")
        await tab.locator("article .file-name", has_text="a.txt").wait_for()
        change_files(talk.alice, until=20_000)
        await tab.reload()
        await tab.locator("chat-list a").click()
        await tab.locator("article button[data-deed=again]").click()
        await tab.locator(".refusal").wait_for()
        assert await faults_in_both_themes(tab) == []
        await tab.locator("article button[data-deed=save]").wait_for()
        assert files_of(talk.alice, "مریم")[0].is_here


DECODE = """(all) => import(new URL("hint.js", location.href)).then(({ decode }) =>
    all.map((one) => {
        const { width, height, points } = decode(Uint8Array.from(one));
        return [width, height, [...points]];
    }))"""
"""The stand-ins of pictures as the page draws them."""
BUBBLE = """() => {
    const { top, height, width } = document.querySelector("article:has(.picture)")
        .getBoundingClientRect();
    const picture = document.querySelector(".picture").getBoundingClientRect();
    return [top, height, picture.width, picture.height].map(Math.round);
}"""
"""Where the bubble of a picture is, and how large its picture."""


@in_a_loop
async def test_a_picture_is_blurred_until_it_is_here_and_keeps_its_place(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        talk.alice.files.set_auto_bytes(-1)
        for number in range(20):
            chat.send(f"line {number}")
        made = await media.picture(photograph())
        sides = [(20, 30), (48, 8), (9, 90), (40, 40)]
        codes = [thumbhash.encode(x, y, os.urandom(4 * x * y)) for x, y in sides]
        codes += [thumbhash.encode(x, y, b"\x10\xf0\x80\xff" * x * y) for x, y in sides]
        for code, (width, height, points) in zip(
            codes, await tab.evaluate(DECODE, [list(one) for one in codes]), strict=True
        ):
            wanted = stand_in(code).points
            assert wanted.shape == (height, width, 4)
            assert max(map(abs, (wanted.flatten() - points).tolist())) <= 1
        for broken in (b"", b"\0", b"\xff" * 32):
            ((width, height, points),) = await tab.evaluate(DECODE, [list(broken)])
            assert len(points) == 4 * width * height > 0
        await chat.send_file(made, text="a grey slope")
        blurred = tab.get_by_role("img", name="a grey slope")
        await blurred.wait_for()
        await holds(tab, "document.querySelector('.picture canvas').width === 32")
        assert await faults_in_both_themes(tab) == []
        before = await tab.evaluate(BUBBLE)
        assert before[2:] == [256, 256]
        await tab.locator("article button[data-deed=fetch]").click()
        await holds(tab, "document.querySelector('.picture img').naturalWidth === 256")
        assert await tab.evaluate(BUBBLE) == before


def noise(width: int, height: int) -> bytes:
    """A picture that takes more room than an outline has."""
    made, file = (
        Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)),
        io.BytesIO(),
    )
    made.save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_in_a_large_group_a_preview_is_shown_and_a_press_fetches_the_picture(
    tmp_path: Path, relay: RelayProcess, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 1)
    async with talking(tmp_path, relay, language) as talk:
        tab = talk.tab
        made = await media.picture(noise(800, 400))
        await talk.maryam.chat("alice").send_file(made, text="a grey slope")
        picture = tab.locator("article .picture")
        await picture.wait_for()
        await tab.locator("article button[data-deed=fetch]").wait_for()
        (one,) = talk.alice.files.transfers()
        assert one.is_outline  # it is not due yet, and nothing says that a file is on its way
        assert await tab.locator("article progress").count() == 0
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE transfer SET due_at = 0")
        await holds(tab, "document.querySelector('.picture img')?.naturalWidth === 320")
        assert not files_of(talk.alice, "مریم")[0].is_here
        assert await faults_in_both_themes(tab) == []
        before = await tab.evaluate(BUBBLE)
        await show_sheet(tab, f"gallery.showGallery('{talk.chat.gid.hex()}')")
        await holds(tab, "document.querySelector('.tile img')?.naturalWidth === 320")
        await tab.locator(".tile").click()  # which leads to its message
        await tab.get_by_role("dialog").wait_for(state="hidden")
        await picture.click()
        await holds(tab, "document.querySelector('.picture img')?.naturalWidth === 800")
        assert await tab.evaluate(BUBBLE) == before
        await tab.locator("button.picture[data-deed=show]").click()
        await tab.locator("dialog.large").get_by_role("img", name="a grey slope").wait_for()


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_preview_that_lies_is_told_and_the_person_may_try_the_file(
    tmp_path: Path, relay: RelayProcess, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 1)
    async with talking(tmp_path, relay, language) as talk:
        made = await media.picture(noise(800, 400))
        await talk.maryam.chat("alice").send_file(made)
        await talk.tab.locator("article .picture").wait_for()
        with talk.alice._run.unit() as unit:
            (body,) = unit.db.execute("SELECT body FROM transfer").fetchone()
            lie = codec.encode(structs.replace(decode_file(body), outline=bytes(32)))
            unit.db.execute("UPDATE transfer SET body = ?, due_at = 0", (lie,))
        resume = talk.tab.locator("article button[data-deed=resume]")
        await resume.wait_for()
        (one,) = talk.alice.files.transfers()
        assert (one.error, one.is_outline) == ("invalid-file", True)
        assert "invalid-file" not in await talk.tab.locator("article small").first.inner_text()
        assert await faults_in_both_themes(talk.tab) == []
        await talk.tab.locator("article button[data-deed=cancel]").click()
        await talk.tab.locator("article button[data-deed=fetch]").click()
        await holds(talk.tab, "document.querySelector('.picture img')?.naturalWidth === 800")


@in_a_loop
async def test_words_and_the_text_they_answer_go_with_a_file_and_come_back_if_it_does_not(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, box = talk.tab, talk.tab.locator("textarea")
        await talk.hear("where is it?")
        (tmp_path / "map.txt").write_text("here")
        await talk.bubble("where is it?").wait_for()
        await talk.choose("where is it?", "Reply")
        await box.fill("there it is")
        await tab.locator("input[type=file]").set_input_files(tmp_path / "map.txt")
        await until(talk.maryam, lambda: len(files_of(talk.maryam, "alice")) == 1)
        said = [one for one in talk.maryam.chat("alice").messages() if one.file]
        assert [one.text for one in said] == ["there it is"]
        assert said[0].reply_to is not None
        assert said[0].reply_to.text == "where is it?"
        await talk.bubble("there it is").locator(".quote", has_text="where is it?").wait_for()
        assert await box.input_value() == ""
        (tmp_path / "broken.png").write_text("no picture")
        await box.fill("a picture of it")
        await tab.locator("input[type=file]").set_input_files(tmp_path / "broken.png")
        await tab.get_by_role("dialog").get_by_text("may tell more").wait_for()
        await tab.get_by_role("button", name="As a picture", exact=True).click()
        await tab.get_by_role("alert").get_by_text("not a whole picture").wait_for()
        assert await box.input_value() == "a picture of it"
        await until(talk.alice, lambda: talk.chat.summary().draft == "a picture of it")
        message = talk.bubble("there it is")
        await talk.choose("there it is", "Delete for everyone")
        await tab.get_by_role("dialog").get_by_role("button").last.click()
        await message.wait_for(state="hidden")
        await until(talk.maryam, lambda: not files_of(talk.maryam, "alice"))


@in_a_loop
async def test_a_person_sets_what_is_fetched_by_itself_and_how_much_is_kept(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, "fa") as talk:
        tab, files = talk.tab, talk.alice.files
        files.set_room_bytes(7 * 1024**3)
        await show_sheet(tab, "keeping.showKeeping()")
        auto, room = (tab.locator("dialog select").nth(one) for one in range(2))
        assert await room.input_value() == str(7 * 1024**3)
        assert await faults_in_both_themes(tab) == []
        await auto.select_option("-1")
        await room.select_option(str(1024**3))
        await until_so(lambda: (files.auto_bytes, files.room_bytes) == (-1, 1024**3))


async def until_so(is_so: Callable[[], bool]) -> None:
    """Wait until something is so of which no event tells."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)
