"""Voice notes on the page, in a browser whose microphone beeps."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import WebSocketRoute

from amanat.media.voice import TYPE, VoiceNote, voice_note
from amanat.page.handing import part as part_of
from pages import faults_in_both_themes, holds, in_a_loop, relay, until
from recordings import SILENCE, ogg
from talks import talking

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from amanat import Client
    from amanat.client.sdk.files import FileView
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
WAVEFORM = bytes(range(0, 256, 8))
HEARD = "document.querySelector('.level')?.style.getPropertyValue('--level') > 0.2"
KEEP_STREAM = """() => {
    const devices = navigator.mediaDevices, get = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async (wanted) => (window.stream = await get(wanted));
}"""
"""Let a test reach the stream of the microphone."""
DENY = """() => {
    navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("denied", "NotAllowedError"));
}"""
TEN_MINUTES_ON = """() => {
    const now = performance.now.bind(performance);
    performance.now = () => now() + 600_000;
}"""
PLAYED = """() => {
    window.played = [];
    const play = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () {
        window.sound = this;
        window.played.push(document.querySelectorAll(".play[data-on=true]").length);
        return play.call(this);
    };
}"""
"""Let a test reach what plays, and how many played when one began."""


def notes_of(client: Client, who: str) -> list[FileView]:
    """The voice notes that somebody has sent or been sent, in their order."""
    files = [one.file for one in client.chat(who).messages() if one.file]
    return [one for one in files if one.kind == "voice"]


async def has_notes(client: Client, who: str, many: int) -> list[FileView]:
    """Wait until so many are here."""
    await until(client, lambda: sum(one.is_here for one in notes_of(client, who)) == many)
    return notes_of(client, who)


async def record(tab: Page) -> None:
    """Begin to record, and wait until something was heard."""
    await tab.locator(".mic").click()
    await tab.locator(".recording .send:focus").wait_for()
    await holds(tab, HEARD)


def second(many: int = 1) -> VoiceNote:
    """A note of so many seconds."""
    return voice_note(ogg([SILENCE] * 50 * many), WAVEFORM)


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_voice_note_is_recorded_and_arrives_as_its_sound_alone(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab = talk.tab
        await talk.hear("how are you?")
        await tab.keyboard.press("Control+ArrowUp")
        await tab.locator(".answers-to .quote").wait_for()
        await record(tab)
        assert await faults_in_both_themes(tab) == []
        await tab.locator(".recording .send").press("Enter")
        (note,) = await has_notes(talk.maryam, "alice", 1)
        with note.open() as content:
            data = b"".join(content.chunks())
        assert (note.media_type, note.name, data[:4]) == (TYPE, "", b"OggS")
        assert b"hrom" not in data
        assert len(note.waveform) == 2 * len(WAVEFORM)
        assert "f" in note.waveform
        assert 1 <= note.seconds < 60
        (said,) = [one for one in talk.maryam.chat("alice").messages() if one.file]
        assert said.reply_to is not None
        assert said.reply_to.text == "how are you?"
        play = tab.locator("article.own .play")
        await play.wait_for()
        assert await faults_in_both_themes(tab) == []
        assert await tab.locator("textarea").is_visible()
        await tab.evaluate(PLAYED)
        await play.press("Enter")
        await holds(tab, "window.sound?.currentTime > 0")
        assert await tab.evaluate("window.sound.duration") == pytest.approx(note.seconds, abs=0.6)
        await play.press("Enter")
        await holds(tab, "window.sound.paused")


@in_a_loop
async def test_notes_that_came_are_played_one_after_the_other_and_only_once(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        await tab.evaluate(PLAYED)
        for note in (second(), second(), second(3)):
            await chat.send_file(note)
            await talk.maryam.flushed()
        await talk.chat.send_file(second())
        await has_notes(talk.alice, "مریم", 4)
        came = tab.locator("article:not(.own) .voice")
        await came.nth(2).locator(".play").wait_for()
        assert await came.locator(".new").count() == 3
        first = came.nth(0).locator(".play")
        await first.focus()
        await tab.keyboard.press("Enter")
        await until(
            talk.alice, lambda: sum(one.is_played for one in notes_of(talk.alice, "مریم")) == 3
        )
        await holds(tab, "window.sound.ended || !window.sound.src")
        assert await tab.evaluate("window.played") == [0, 0, 0]
        assert await came.locator(".new").count() == 0
        assert await first.evaluate("one => one === document.activeElement")
        await tab.reload()
        await tab.locator("chat-list a").click()
        await came.nth(2).locator(".play").wait_for()
        assert await came.locator(".new").count() == 0
        await tab.evaluate(PLAYED)
        await came.nth(1).locator(".play").click()
        await holds(tab, "window.sound && !window.sound.src")
        assert await tab.evaluate("window.played") == [0]  # what was played does not follow


@pytest.mark.parametrize(("language", "said"), [("en", "0:10 of 0:20"), ("fa", "۰:۱۰ از ۰:۲۰")])
@in_a_loop
async def test_one_goes_to_any_place_in_a_note_and_hears_it_faster(
    tmp_path: Path, relay: RelayProcess, language: str, said: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        await tab.evaluate(PLAYED)
        for _ in range(2):
            await chat.send_file(second(20))
        await has_notes(talk.alice, "مریم", 2)
        voices = tab.locator("article .voice")
        await voices.nth(1).locator(".place").wait_for()
        wave = await voices.nth(0).locator(".wave").bounding_box()
        assert wave is not None
        await tab.mouse.click(wave["x"] + wave["width"] / 2, wave["y"] + wave["height"] / 2)
        place = voices.nth(0).locator(".place")
        plain = (await place.get_attribute("aria-valuetext") or "").translate(
            {0x2068: None, 0x2069: None}
        )
        assert plain == said
        await voices.nth(0).locator(".speed").click()
        await voices.nth(0).locator(".play").click()
        await holds(tab, "window.sound?.currentTime >= 10")
        assert await tab.evaluate("window.sound.playbackRate") == 1.5
        before = await tab.evaluate("window.sound.currentTime")
        await place.press("Home")
        await holds(tab, f"window.sound.currentTime < {before}")
        isolated = "document.dir === 'rtl'" if language == "fa" else "document.dir === 'ltr'"
        assert await tab.evaluate(isolated)
        await place.press("ArrowLeft" if language == "fa" else "ArrowRight")
        await place.press("End")
        await voices.nth(1).locator(".play[data-on=true]").wait_for()
        assert await tab.locator(".play[data-on=true]").count() == 1
        await tab.locator("header .back").evaluate("one => one.click()")
        await holds(tab, "window.sound.paused")  # nothing plays of what is not open


@in_a_loop
async def test_a_recording_is_kept_until_it_is_sent_or_discarded(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, kept = talk.tab, talk.tab.locator(".recording", has_text="not sent yet")
        await record(tab)
        await tab.keyboard.press("Escape")
        await kept.wait_for()
        assert await faults_in_both_themes(tab) == []
        await tab.locator("header .back").evaluate("one => one.click()")
        await tab.locator("chat-list a").click()
        await kept.wait_for()
        talk.alice.files.is_covered = lambda: True
        await kept.locator(".send").click()
        await tab.get_by_role("alert").get_by_text("Switch cover off").wait_for()
        await kept.wait_for()
        talk.alice.files.is_covered = lambda: False
        async with tab.expect_event("dialog") as asked:
            closing = asyncio.ensure_future(tab.close(run_before_unload=True))
        dialog = await asked.value
        assert dialog.type == "beforeunload"
        await dialog.dismiss()
        await closing
        await kept.locator(".send").click()
        await has_notes(talk.maryam, "alice", 1)
        await tab.locator("textarea").wait_for()
        await record(tab)
        await tab.locator(".recording .cancel").click()
        await tab.locator("textarea").wait_for()
        assert await tab.locator(".recording").is_hidden()
        await tab.evaluate(KEEP_STREAM)
        await record(tab)
        await tab.evaluate("for (const one of window.stream.getTracks()) one.stop()")
        await tab.get_by_role("alert").get_by_text("The microphone has gone").wait_for()
        await kept.locator(".send").click()
        await has_notes(talk.maryam, "alice", 2)


@in_a_loop
async def test_a_note_that_is_not_sent_while_the_next_is_recorded_is_kept_with_it(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, held, is_held = talk.tab, list[WebSocketRoute](), [True]

        def join(line: WebSocketRoute) -> None:
            if is_held[0]:
                held.append(line)
            else:
                line.connect_to_server()

        await tab.route_web_socket(re.compile("/bring$"), join)
        await record(tab)
        await tab.locator(".recording .send").click()
        await tab.locator(".carried").get_by_text("Voice note").wait_for()
        await record(tab)
        await held[0].close()
        await tab.get_by_role("alert").get_by_text("does not answer").wait_for()
        assert await tab.locator(".recording .send:focus").count() == 1
        await tab.keyboard.press("Escape")
        is_held[0] = False
        for many in (1, 2):
            await tab.locator(".recording", has_text="not sent yet").locator(".send").click()
            await has_notes(talk.maryam, "alice", many)
        await tab.locator("textarea").wait_for()


@in_a_loop
async def test_a_note_that_is_not_here_is_fetched_by_the_press_that_plays_it(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab = talk.tab
        talk.alice.files.set_auto_bytes(-1)
        await tab.evaluate(PLAYED)
        await talk.maryam.chat("alice").send_file(second())
        play = tab.locator("article .voice .play")
        await play.wait_for()
        assert await tab.locator("article .voice").get_by_text("0:01").is_visible()
        await play.click()
        await holds(tab, "window.sound?.duration === 1")
        (note,) = await has_notes(talk.alice, "مریم", 1)
        await until(talk.alice, lambda: notes_of(talk.alice, "مریم")[0].is_played)
        assert note.seconds == 1


@in_a_loop
async def test_ten_minutes_are_the_most_and_a_microphone_that_is_denied_is_named(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, alert = talk.tab, talk.tab.get_by_role("alert")
        await record(tab)
        await tab.evaluate(TEN_MINUTES_ON)
        await alert.get_by_text("at most ten minutes").wait_for()
        await tab.locator(".recording .send").click()
        await has_notes(talk.maryam, "alice", 1)
        await tab.evaluate(DENY)
        await tab.locator(".mic").click()
        await alert.get_by_text("Allow it beside the address").wait_for()
        assert await tab.locator("textarea").is_visible()
        await tab.evaluate("delete window.MediaRecorder")
        await tab.locator(".mic").click()
        await alert.get_by_text("cannot record voice notes").wait_for()
        await tab.locator("textarea").fill("words")
        assert await tab.locator(".mic").is_hidden()
        assert await tab.locator(".composer > .send").is_visible()


AAC_ALONE = """() => {
  MediaRecorder.isTypeSupported = (type) => type.startsWith("audio/mp4") && !/opus/u.test(type);
  navigator.mediaDevices.getUserMedia = () => { window.hasAsked = true; };
}"""
"""Makes a browser record as Safari did before 18.4."""


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_a_browser_that_records_aac_alone_says_so_before_it_asks_for_the_microphone(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        await talk.tab.evaluate(AAC_ALONE)
        await talk.tab.locator(".mic").click()
        await talk.tab.get_by_role("alert").get_by_text("Safari").wait_for()
        assert await talk.tab.evaluate("window.hasAsked") is None
        assert await talk.tab.locator("textarea").is_visible()
        assert await faults_in_both_themes(talk.tab) == []


@in_a_loop
async def test_a_note_that_is_none_is_not_played_and_a_lie_about_its_length_harms_nothing(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.maryam.chat("alice")
        page = VoiceNote(b"<script>alert(1)</script>", 7, WAVEFORM)
        await chat.send_file(page)
        await chat.send_file(second()._replace(seconds=500, waveform=b""))
        false, lie = await has_notes(talk.alice, "مریم", 2)
        answer = part_of(false, "")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        answer = part_of(lie, "bytes=0-")
        assert (answer.status, answer.headers["Content-Type"]) == (206, TYPE)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        voices = tab.locator("article .voice")
        await voices.nth(1).get_by_text("8:20").wait_for()
        await voices.nth(0).locator(".play").click()
        await tab.get_by_role("alert").get_by_text("cannot play this voice note").wait_for()
        await tab.evaluate(PLAYED)
        await voices.nth(1).locator(".speed").click()
        await voices.nth(1).locator(".play").click()
        await holds(tab, "window.sound?.duration === 1")
        await holds(tab, "!window.sound.src")
