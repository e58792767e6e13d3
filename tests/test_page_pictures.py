"""A link is read from a picture of its code: chosen, pasted, dropped, or seen by the camera."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
import segno
from playwright.async_api import expect

from pages import faults, in_a_loop, opened, relay, sheet, shown_to

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
LINK = "amanat:" + "0123456789abcdef" * 28
FRAMES = 4
SIDES = (640, 480)
GIVE = """([kind, picture]) => {
    const bytes = Uint8Array.from(atob(picture), (one) => one.charCodeAt(0));
    const given = new DataTransfer();
    given.items.add(new File([bytes], "code.png", { type: "image/png" }));
    const place = document.querySelector(".drop");
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: given, bubbles: true })
        : new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true });
    (kind === "paste" ? document : place).dispatchEvent(event);
}"""

DRAG_OVER = """() => {
  const data = new DataTransfer();
  data.items.add(new File(["a"], "code.png"));
  Object.defineProperty(data, "dropEffect", { value: "copy", writable: true });
  const over = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector("dialog .drop").dispatchEvent(new DragEvent("dragover", over));
  return data.dropEffect;
}"""
"""Drags a file over the place for pictures, which nothing may forbid there."""
CHANGE_MY_MIND = """document.querySelector('dialog input[type="file"]').dispatchEvent(
    new Event("cancel", { bubbles: true }))"""


def film(path: Path) -> None:
    """A film of a code for the browser's camera, in YUV4MPEG2: shades, and no colour."""
    made = segno.make(LINK, error="l", micro=False)
    rows = [list(row) for row in made.matrix_iter(scale=5, border=4)]
    width, height = SIDES
    assert len(rows) <= height
    assert len(rows[0]) <= width
    shades = bytearray(b"\xff" * (width * height))
    for y, row in enumerate(rows):
        shades[y * width : y * width + len(row)] = bytes(0 if dark else 255 for dark in row)
    frame = b"FRAME\n" + bytes(shades) + b"\x80" * (width * height // 2)
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 C420\n".encode() + frame * FRAMES)


async def read(tab: Page, link: str) -> None:
    """Wait until the field holds the link, and empty it."""
    field = tab.get_by_label("Their link")
    await expect(field).to_have_value(link, timeout=30_000)
    await field.fill("")


@in_a_loop
async def test_a_picture_is_read_however_it_is_given(tmp_path: Path, relay: RelayProcess) -> None:
    picture = tmp_path / "code.png"
    segno.make(LINK, error="l", micro=False).save(str(picture), scale=9, border=4)
    async with shown_to(tmp_path, relay) as (_, _, server, context):
        tab, console = await opened(context, server)
        await sheet(tab, "Begin something new", "New contact", "Use somebody\u2019s link")
        await tab.set_input_files('dialog input[type="file"]', picture)
        await read(tab, LINK)
        assert await tab.evaluate(DRAG_OVER) == "copy"
        for kind in ("paste", "drop"):
            await tab.evaluate(GIVE, [kind, base64.b64encode(picture.read_bytes()).decode()])
            await read(tab, LINK)
        for number, bad in enumerate((b"", b"no picture", picture.read_bytes()[:200])):
            (tmp_path / f"{number}.png").write_bytes(bad)
            await tab.set_input_files('dialog input[type="file"]', tmp_path / f"{number}.png")
            await tab.get_by_role("alert").get_by_text("No code was found").wait_for()
        await tab.evaluate(CHANGE_MY_MIND)
        assert await tab.get_by_label("Their link").is_visible()
        assert await faults(tab) == []
        assert console == []


@in_a_loop
async def test_the_camera_sees_a_code(tmp_path: Path, relay: RelayProcess) -> None:
    film(tmp_path / "code.y4m")
    filmed = f"--use-file-for-fake-video-capture={tmp_path / 'code.y4m'}"
    async with shown_to(tmp_path, relay, "en", filmed) as (_, _, server, context):
        tab, console = await opened(context, server)
        await sheet(tab, "Begin something new", "New contact", "Use somebody\u2019s link")
        await tab.get_by_role("button", name="With the camera").click()
        await read(tab, LINK)
        await tab.locator("video").wait_for(state="detached")
        assert console == []
