"""Two people with a page each, whose processes, relays and homes come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from amanat import Client
from amanat.drill.process import free_port
from pages import UNLOCK, browser, holds, in_a_loop, page_of, relay
from relays import RelayProcess
from ups import RETURN_MS, Window, two

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
NETHERLANDS = {"en": "Netherlands", "fa": "هلند"}
NAMES = {"en": ("Alice", "Babak"), "fa": ("آلیس", "بابک")}


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_two_people_meet_by_a_picture_of_a_code_talk_and_make_a_group(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    names, address = NAMES[language], str(relay.address)
    async with (
        await Client.create(tmp_path / "a", UNLOCK, name=names[0], relay=address) as a,
        await Client.create(tmp_path / "b", UNLOCK, name=names[1], relay=address) as b,
        page_of(a) as hers,
        page_of(b) as his,
        browser(language) as context,
    ):
        alice, babak = await Window.of(context, hers), await Window.of(context, his)

        await alice.press("begin", "newContact", "showCode")
        await alice.tab.locator("svg.code").screenshot(path=tmp_path / "code.png")
        link = await alice.tab.locator(".link code").inner_text()
        await babak.press("begin", "newContact", "useLink")
        await babak.tab.locator("h2").screenshot(path=tmp_path / "none.png")
        await babak.tab.locator('dialog input[type="file"]').set_input_files(tmp_path / "none.png")
        await babak.tab.get_by_role("alert").get_by_text(await babak.fault("no-code")).wait_for()
        async with babak.tab.expect_file_chooser() as chooser:
            await babak.press("fromPicture")
        await (await chooser.value).set_files(tmp_path / "code.png")
        await holds(babak.tab, f"document.querySelector('.field input').value === '{link}'")
        await babak.press("knock", "done")
        await alice.tab.get_by_text(await alice.word("inviteTaken")).wait_for()
        await alice.press("done")

        await alice.open(names[1])
        await babak.open(names[0])
        await alice.say("hello, سلام")
        await babak.bubble("hello, سلام").wait_for()
        await babak.say("درود 👋")
        await alice.bubble("درود 👋").wait_for()
        await alice.marked("hello, سلام", "✓✓")

        await alice.press("begin", "newGroup")
        await alice.tab.get_by_label(await alice.word("groupName")).fill("کوه و Brot")
        await alice.tab.get_by_role("checkbox", name=names[1]).check()
        await alice.press("beginGroup")
        await alice.tab.locator("main h1", has_text="کوه و Brot").wait_for()
        await babak.open("کوه و Brot")
        await babak.say("here I am")
        await alice.bubble("here I am").wait_for()
        await alice.say("و من هم")
        await babak.bubble("و من هم").wait_for()
        assert alice.console == babak.console == []


@pytest.mark.parametrize("language", NAMES)
@in_a_loop
async def test_who_was_offline_gets_everything_on_return_and_the_tab_left_open_says_what_to_do(
    tmp_path: Path, language: str
) -> None:
    async with two(tmp_path, language) as world:
        alice, babak = await world.windows()
        await babak.say("good night")
        await alice.bubble("good night").wait_for()
        await world.babak.stop()
        away = await babak.word("away")
        assert "amanat up" in away
        await babak.tab.get_by_role("status").get_by_text(away).wait_for()
        texts = [f"while you were away {number}" for number in range(40)]
        for text in texts:
            await alice.say(text)
        await alice.marked(texts[-1], "✓")
        assert await babak.closes() == []
        await world.babak.start()
        babak = await Window.of(world.context, world.babak)
        await babak.row("Alice").locator(".unread", has_text=await babak.number(40)).wait_for()
        await babak.open("Alice")
        await babak.tab.locator(".divider").wait_for()
        await babak.tab.locator("chat-history").press("End")
        await babak.bubble(texts[-1]).wait_for()
        await babak.say("good morning")
        await alice.bubble("good morning").wait_for()
        await alice.marked(texts[-1], "✓✓")
        assert alice.console == babak.console == []


@pytest.mark.parametrize("language", NAMES)
@in_a_loop
async def test_texts_wait_while_the_relay_is_dead_and_arrive_once_it_returns(
    tmp_path: Path, language: str
) -> None:
    async with two(tmp_path, language) as world:
        alice, babak = await world.windows()
        world.relay.kill()
        troubled = alice.tab.locator(".me .trouble")
        await troubled.wait_for()
        await alice.say("is anybody there?")
        await babak.say("I write, too")
        await alice.marked("is anybody there?", "◷")
        await alice.press("begin", "newContact", "showCode")  # which needs no relay
        await alice.tab.locator("svg.code").wait_for()
        await alice.tab.keyboard.press("Escape")
        await alice.tab.keyboard.press("Escape")
        world.relay.start()
        await babak.bubble("is anybody there?").wait_for(timeout=RETURN_MS)
        await alice.bubble("I write, too").wait_for(timeout=RETURN_MS)
        await babak.say("it is back")
        await alice.marked("is anybody there?", "✓✓")
        await troubled.wait_for(state="detached")
        for page in (alice, babak):
            assert await page.tab.locator("article").count() == 3
            assert page.console == []


@pytest.mark.parametrize("language", NAMES)
@in_a_loop
async def test_somebody_leaves_for_another_home_and_both_talk_on(
    tmp_path: Path, language: str
) -> None:
    with RelayProcess(tmp_path / "other", region="NL", port=free_port()) as other:
        async with two(tmp_path, language) as world:
            alice, babak = await world.windows()
            # A client calls a relay on this machine only if its person has named it.
            await babak.tab.locator(".me").click()
            await babak.press("anotherPlace")
            field = babak.tab.get_by_label(await babak.word("relayAddress"))
            await field.fill(str(other.address))
            await babak.press("set")
            await field.wait_for(state="detached")
            await babak.tab.keyboard.press("Escape")
            await alice.tab.locator(".me").click()
            await alice.press("exit")
            field = alice.tab.get_by_label(await alice.word("relayAddress"))
            await field.fill(str(other.address))
            await alice.press("exit", "exit")
            at_home = (await alice.word("homeIn")).format(where=NETHERLANDS[language])
            await alice.tab.get_by_text(at_home).wait_for()
            await alice.tab.keyboard.press("Escape")
            await alice.say("I live elsewhere now")
            await babak.bubble("I live elsewhere now").wait_for()
            await babak.say("how is it?")
            await alice.bubble("how is it?").wait_for()
            world.relay.kill()  # nothing for Alice goes there any more
            await babak.tab.locator(".me .trouble").wait_for()
            await babak.say("and the people?")
            await alice.bubble("and the people?").wait_for()
            assert alice.console == babak.console == []
