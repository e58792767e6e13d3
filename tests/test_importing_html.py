"""The HTML that Telegram Desktop exports: its pages become messages, and nothing else gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amanat.drill.world import World
from amanat.errors import AmanatError, BrokenExport, ExportUnfinished, NotAnExport
from amanat.importing import source
from amanat.importing.records import Chat, CutOff, Kind, Record, Skipped, Why
from amanat.importing.telegram_html import MAX_MESSAGE_CHARS
from exports import AT_S, day_name, html_message, of_html, page, said

PHOTO = '<a class="photo_wrap clearfix pull_left" href="photos/a.jpg"><img class="photo"></a>'
REPLY = (
    '<div class="reply_to details">\nIn reply to <a href="messages2.html#go_to_message7"'
    ' onclick="return GoToMessage(7)">this message</a>\n</div>'
)
FORWARDED = (
    '<div class="pull_left forwarded userpic_wrap"><div class="userpic"></div></div>'
    '<div class="forwarded body"><div class="from_name">\nDara <span class="date details"'
    ' title="01.01.2020 00:00:00"> 01.01.2020 00:00:00</span>\n</div>'
    '<div class="text">\nold words\n</div></div>'
)
REACTIONS = (
    '<span class="reactions"><span class="reaction"><span class="emoji">\n👍\n</span>'
    '<span class="userpics"><div class="userpic"><div class="initials">\nD\n</div></div></span>'
    '</span><span class="reaction"><span class="emoji">\n🌹\n</span>'
    '<span class="count">\n3\n</span></span></span>'
)

POLL = (
    '<div class="media_wrap"><div class="media_poll"><div class="question bold">When?</div>'
    '<div class="answer">\n- now\n</div><div class="total details">2</div></div></div>'
)


def media(kind: str, title: str, *, href: str = "", more: str = "") -> str:
    """A thing beside a text."""
    return (
        '<div class="media_wrap clearfix">'
        f'<a class="media clearfix pull_left {kind}" href="{href}">'
        f'<div class="fill pull_left"></div><div class="body"><div class="title bold">\n{title}\n'
        f'</div>{more}<div class="status details">\n1.0 KB\n</div></div></a></div>'
    )


@pytest.mark.parametrize("step", [1, 7, 1 << 18])
def test_page_is_read_wherever_it_is_cut_into_chunks(step: int) -> None:
    found = of_html(
        page(
            day_name(-1, "1 January 2024"),
            html_message(1, "سلام &amp; درود", name="Babak"),
            html_message(2, "two<br>lines"),
            title="کتاب‌ها",
        ),
        step=step,
    )
    assert found[0] == Chat("html کتاب‌ها", "کتاب‌ها", "chat")
    first, second = said(found)
    assert (first.number, first.name, first.author, first.text) == (
        1,
        "Babak",
        "Babak",
        "سلام & درود",
    )
    assert (first.at, first.is_zoned) == (1000 * (AT_S + 1), True)
    assert (second.name, second.text) == ("Babak", "two\nlines")
    assert len(found) == 3


def test_author_goes_on_across_pages_and_a_forwarded_one_is_not_taken_for_them() -> None:
    first = page(html_message(1, "a", name="Babak", rest=FORWARDED))
    one, two = said(of_html(first, page(html_message(2, "b", rest=REPLY))))
    assert (one.name, one.forwarded_from) == ("Babak", "Dara")
    assert "old words" in one.text
    assert one.at == 1000 * (AT_S + 1)
    assert (two.name, two.reply_to, two.text) == ("Babak", 7, "b")


def test_tags_in_a_text_become_marks() -> None:
    text = (
        '<strong>به</strong> <a href="https://a.example">اینجا</a> <span class="spoiler">x</span>'
    )
    (one,) = said(of_html(page(html_message(1, text, name="B"))))
    assert one.text == "به اینجا x"
    assert json.loads(one.marks) == [
        [0, 2, "bold", ""],
        [3, 5, "text_link", "https://a.example"],
        [9, 1, "spoiler", ""],
    ]


@pytest.mark.parametrize(
    ("rest", "kind", "extra", "file"),
    [
        (PHOTO, Kind.PHOTO, "", "photos/a.jpg"),
        (PHOTO.replace("photos/", "../"), Kind.PHOTO, "", ""),
        (media("media_photo", "Photo"), Kind.PHOTO, "", ""),
        (media("media_voice_message", "Voice message", href="v.ogg"), Kind.VOICE, "", "v.ogg"),
        (media("media_file", "map.pdf", href="/etc/passwd"), Kind.FILE, "map.pdf", ""),
        (media("media_contact", "Dara"), Kind.CONTACT, "Dara", ""),
        (
            POLL,
            *(Kind.POLL, "When?\n- now", ""),
        ),
        (REACTIONS, Kind.TEXT, "👍  🌹 3", ""),
    ],
)
def test_what_stands_beside_a_text_is_known(rest: str, kind: Kind, extra: str, file: str) -> None:
    (one,) = said(of_html(page(html_message(1, "words", name="B", rest=rest))))
    assert (one.kind, one.extra, one.file, one.text) == (kind, extra, file, "words")


def test_message_of_the_program_gets_the_time_before_it() -> None:
    found = said(
        of_html(
            page(
                day_name(-1, "2 January 2024"),
                day_name(4, "Babak joined the group"),
                html_message(5, "x", name="B"),
                day_name(6, "B pinned this message"),
            )
        )
    )
    assert [one.kind for one in found] == [Kind.SERVICE, Kind.TEXT, Kind.SERVICE]
    assert found[0].extra == "Babak joined the group"
    assert abs(found[0].at - 1000 * (AT_S + 86_400)) <= 14 * 3_600_000  # of this machine's zone
    assert found[2].at == found[1].at


def test_message_without_a_time_or_too_long_costs_itself_alone() -> None:
    undated = html_message(1, "x", name="B").replace("title=", "data-x=")
    found = of_html(
        page(undated, html_message(2, "x" * (MAX_MESSAGE_CHARS + 1)), html_message(3, "y"))
    )
    assert [one.why for one in found if isinstance(one, Skipped)] == [Why.BROKEN] * 2
    assert [(one.name, one.text) for one in said(found)] == [("B", "y")]


def test_page_that_ends_in_the_middle_gives_what_it_has() -> None:
    whole = page(html_message(1, "a", name="B"), html_message(2, "b", name="C"))
    found = of_html(whole[: whole.index("03:30:02")])
    assert [one.text for one in said(found)] == ["a"]
    assert found[-1] == CutOff()
    assert CutOff() not in of_html(whole)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        page(),
        "<html><body>x</body></html>",
        "<div " + "a " * (1 << 17),
        "<div>" * 200,
        "<!" * 10_000,
        "<![x[" + page(),
    ],
)
def test_what_is_no_page_of_telegram_is_refused_by_name(text: str) -> None:
    with pytest.raises((NotAnExport, BrokenExport)):
        of_html(text)


# Files


def told(path: Path) -> type[AmanatError] | list[Record]:
    """The records at a path, or the error with which it is refused."""
    try:
        with source.open_export(path) as export:
            found = list(export.records(None))
            assert export.done == export.size
            return found
    except AmanatError as error:
        return type(error)


def written(folder: Path, **pages: str) -> Path:
    """A folder with pages, by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_pages_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    pages = {
        f"messages{number if number > 1 else ''}": page(html_message(number, str(number), name="B"))
        for number in range(1, 12)
    }
    written(tmp_path, **pages)
    for path in (tmp_path, tmp_path / "messages.html"):
        found = told(path)
        assert isinstance(found, list)
        assert [one.number for one in said(found)] == list(range(1, 12))


def test_account_is_read_with_all_its_chats(tmp_path: Path) -> None:
    (tmp_path / "export_results.html").write_text("<html></html>")
    for number, title in ((1, "Sara"), (2, "Sara"), (10, "علی")):
        written(
            tmp_path / "chats" / f"chat_{number:03}",
            messages=page(html_message(1, "x", name="B", rest=PHOTO), title=title),
        )
    found = told(tmp_path)
    assert isinstance(found, list)
    keys = [one.key for one in found if isinstance(one, Chat)]
    assert keys == ["html Sara", "html Sara 2", "html علی"]
    assert said(found)[0].file == "chats/chat_001/photos/a.jpg"


def test_no_link_is_followed_to_a_page(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", messages=page(html_message(1, "secret", name="B")))
    folder = written(tmp_path / "export", messages=page(html_message(1, "x", name="B")))
    (folder / "messages2.html").symlink_to(outside / "messages.html")
    found = told(folder)
    assert isinstance(found, list)
    assert [one.text for one in said(found)] == ["x"]
    (folder / "messages.html").unlink()
    (folder / "messages.html").symlink_to(outside / "messages.html")
    assert told(folder) is NotAnExport
    (folder / "export_results.html").write_text("<html></html>")
    (folder / "messages.html").unlink()
    (folder / "messages2.html").unlink()
    (folder / "chats").symlink_to(tmp_path)
    assert told(folder) is NotAnExport
    (folder / "chats").unlink()
    (folder / "chats").mkdir()
    (folder / "chats" / "chat_001").symlink_to(outside)
    assert told(folder) is NotAnExport


def test_page_that_becomes_a_link_while_it_is_read_is_refused(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside", messages=page(html_message(2, "z", name="B")))
    first, second = page(html_message(1, "x", name="B")), page(html_message(2, "y", name="B"))
    folder = written(tmp_path / "export", messages=first, messages2=second)
    with source.open_export(folder) as export:
        found = [next(records := export.records(None))]
        (folder / "messages2.html").unlink()
        (folder / "messages2.html").symlink_to(outside / "messages.html")
        with pytest.raises(ExportUnfinished):
            found.extend(records)  # one by one
        assert [one.text for one in said(found)] == ["x"]


async def test_chat_of_pages_is_imported_once(world: World, tmp_path: Path) -> None:
    alice = await world.person("alice")
    folder = written(
        tmp_path, messages=page(html_message(1, "سلام", name="علی"), html_message(2, "x"))
    )
    for _ in range(2):
        await alice.client.imports.take(folder, me="علي")
    (found,) = alice.client.imports.all()
    assert (found.app, found.messages, found.me) == ("telegram", 2, "علی")
