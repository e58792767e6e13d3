"""Exports of other messengers are read as they are, with all their faults."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amanat.errors import BrokenExport, NewerExport, NotAnExport, OpenDates
from amanat.importing import telegram
from amanat.importing.cutting import MAX_DEPTH, MAX_PIECE_BYTES
from amanat.importing.records import (
    Chat,
    CutOff,
    Joint,
    Kind,
    Me,
    Record,
    Said,
    Skipped,
    Why,
    inside,
)
from exports import (
    AT_S,
    account,
    as_bytes,
    chat,
    message,
    of_telegram,
    of_whatsapp,
    said,
    service,
    survey,
)


def one(fields: dict[str, Any]) -> Said:
    """The record of a message."""
    (found,) = said(of_telegram(as_bytes(chat(fields))))
    return found


def heads(records: list[Record]) -> list[Record]:
    return [record for record in records if not isinstance(record, Said)]


# Telegram


def test_chat_is_read_with_its_messages() -> None:
    first, second = message(1), message(2, "خوبی؟", edited_unixtime=str(AT_S + 9), edited="x")
    records = of_telegram(as_bytes(chat(first, second)))
    assert records == [
        Chat("user7", "Babak", "personal_chat"),
        Said(1, 1, "user7", "Babak", 1000 * (AT_S + 1), "سلام"),
        Said(2, 2, "user7", "Babak", 1000 * (AT_S + 2), "خوبی؟", edited_at=1000 * (AT_S + 9)),
    ]


def test_account_is_read_with_all_its_chats_and_says_whose_it_is() -> None:
    whole = account(chat(message(1)), chat(message(1), id=8, type="private_supergroup"))
    whole["left_chats"] = {"list": [chat(message(3), id=9, type="public_channel")]}
    assert heads(of_telegram(as_bytes(whole))) == [
        Me("user1"),
        Chat("user7", "Babak", "personal_chat"),
        Chat("channel8", "Babak", "private_supergroup"),
        Chat("channel9", "Babak", "public_channel"),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5),
    st.integers(1, 60),
    st.sampled_from([None, 1, 4]),
)
def test_every_text_is_read_wherever_the_file_is_cut_into_chunks(
    texts: list[str], step: int, indent: int | None
) -> None:
    messages = [message(number, text) for number, text in enumerate(texts)]
    data = json.dumps(account(chat(*messages)), ensure_ascii=False, indent=indent).encode()
    assert [found.text for found in said(of_telegram(data, step))] == texts


def test_control_characters_that_are_no_json_are_mended() -> None:
    data = as_bytes(chat(message(1, "aXb"), message(2))).replace(b"aXb", rb"a\x01\\\\x02 b\"\x1f")
    first, second = said(of_telegram(data))
    assert first.text == 'a\x01\\\\x02 b"\x1f'
    assert second.text == "سلام"


def test_paths_without_quotes_are_mended() -> None:
    entity = {"type": "custom_emoji", "text": "*", "document_id": "PATH"}
    data = as_bytes(chat(message(1, ["a", entity]), message(2)))
    for path in (b"video_files/sticker (2).webm", b"stickers/a}b.webp", b'stickers/a"b.webp'):
        found = said(of_telegram(data.replace(b'"PATH"', path)))
        assert found[-1].number == 2  # whatever becomes of the first
    (first, _) = said(of_telegram(data.replace(b'"PATH"', b"video_files/sticker (2).webm")))
    assert first.text == "a*"
    assert json.loads(first.marks) == [[1, 1, "custom_emoji", "video_files/sticker (2).webm"]]


def test_of_a_key_that_stands_twice_the_first_with_words_counts() -> None:
    data = as_bytes(chat(message(1, "words"), message(2, "")))
    data = data.replace(b'"text": "words",', b'"text": "words",\n   "text": "",')
    assert [found.text for found in said(of_telegram(data))] == ["words", ""]


def test_file_that_ends_in_the_middle_gives_what_it_has() -> None:
    data = as_bytes(account(chat(message(1), message(2)), chat(message(3), name="Dara", id=8)))
    whole = of_telegram(data)
    for end in range(data.index(b'"messages"') + 300, len(data) - 1, 7):
        records = of_telegram(data[:end])
        assert records[-1] == CutOff()
        assert records[:-1] == whole[: len(records) - 1]
    cut = survey(of_telegram(data[: data.rindex(b'"text"')]))
    assert (cut.is_cut, cut.cut_off) == (True, "Babak")


def test_group_that_became_a_supergroup_is_two_chats_that_belong_together() -> None:
    old = chat(service(1, "migrate_to_supergroup"), name="سفر", id=3, type="private_group")
    new = chat(
        service(1, "migrate_from_group", title="سفر"), message(2),
        name="سفر ۲", id=4, type="private_supergroup",
    )  # fmt: skip
    records = of_telegram(as_bytes(account(old, new)))
    assert [record for record in records if isinstance(record, Joint)] == [Joint(""), Joint("سفر")]


def test_messages_have_their_place_by_number_and_not_by_date() -> None:
    data = as_bytes(chat(message(5, date_unixtime="9"), message(3, date_unixtime="10")))
    assert [(found.place, found.at) for found in said(of_telegram(data))] == [(5, 9000), (3, 10000)]


def test_time_without_a_zone_is_of_the_zone_that_the_person_names() -> None:
    fields = message(1, date="2020-07-01T12:00:00")
    del fields["date_unixtime"]
    data = as_bytes(chat(fields))
    (found,) = said(list(telegram.read([data], UTC)))
    assert found.at == 1000 * datetime(2020, 7, 1, 12, tzinfo=UTC).timestamp()
    assert not found.is_zoned
    assert not survey(of_telegram(data)).is_zoned


def test_topic_of_a_forum_is_the_root_of_the_replies() -> None:
    records = of_telegram(
        as_bytes(
            chat(
                service(10, "topic_created", title="خبر"),
                message(11, reply_to_message_id=10),
                message(12, reply_to_message_id=11),
                message(13),
                message(14, reply_to_message_id=13),
            )
        )
    )
    assert [found.topic for found in said(records)] == [10, 10, 10, None, None]


def test_people_are_known_by_their_ids_and_not_by_their_names() -> None:
    people = [
        message(1, **{"from": "Bob", "from_id": "user2"}),
        message(2, **{"from": "Bob Smith", "from_id": "user2"}),
        message(3, **{"from": "Bob", "from_id": 3}),
        message(4, **{"from": None, "from_id": "user4"}),
    ]
    found = said(of_telegram(as_bytes(chat(*people))))
    assert [(each.author, each.name) for each in found] == [
        ("user2", "Bob"), ("user2", "Bob Smith"), ("user3", "Bob"), ("user4", ""),
    ]  # fmt: skip


def test_names_are_kept_as_written_without_what_steers_the_words_around_them() -> None:
    name = "\u202eعلي\u200cرضا ۱۲\u2066\nكريمی"
    assert one(message(1, **{"from": name})).name == "علي\u200cرضا ۱۲ كريمی"


def test_person_who_exported_one_chat_is_only_proposed() -> None:
    records = of_telegram(as_bytes(chat(message(1), message(2, from_id="user1"))))
    found = survey(records)
    assert (found.me, found.maybe_me) == ("", "user1")
    found = survey(of_telegram(as_bytes(account(chat(message(1))))))
    assert (found.me, found.maybe_me) == ("user1", "")


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../b", "/etc/passwd", "\\\\host\\x", "C:/x", "a\\..\\b", "a\0b", "",
     "(File not included. Change data exporting settings to download.)", None, 7, ["a"]],
)  # fmt: skip
def test_path_that_is_none_or_leaves_the_folder_is_not_taken(path: object) -> None:
    assert inside(path) == ""
    assert one(message(1, photo=path)).file == ""
    assert one(message(1, photo=path)).kind is Kind.PHOTO


def test_path_in_the_folder_is_kept() -> None:
    assert one(message(1, photo="photos/photo_1.jpg")).file == "photos/photo_1.jpg"
    assert one(message(1, file="files/a..b.pdf", file_name="a.pdf")).file == "files/a..b.pdf"


def test_restricted_group_and_an_empty_left_one_are_read() -> None:
    whole = account(chat(message(1, from_id="user1"), type="private_group"))
    whole["left_chats"] = {"about": "", "list": [chat(name=None, id=5, type="private_group")]}
    assert len(said(of_telegram(as_bytes(whole)))) == 1


def test_sticker_is_shown_by_its_emoji() -> None:
    sticker = message(1, "", file="stickers/a.tgs", media_type="sticker", sticker_emoji="🌹")
    assert one(sticker)[5:7] == ("", Kind.STICKER)
    assert one(sticker).extra == "🌹"


def test_text_of_parts_becomes_one_text_with_marks() -> None:
    parts = ["به ", {"type": "text_link", "text": "اینجا", "href": "https://a.example"}, " برو"]
    found = one(message(1, parts))
    assert found.text == "به اینجا برو"
    assert json.loads(found.marks) == [[3, 5, "text_link", "https://a.example"]]


def test_what_stands_beside_a_text_becomes_lines() -> None:
    poll = {"question": "کی؟", "answers": [{"text": ["فر", "دا"], "voters": 2, "chosen": True}]}
    found = one(message(1, "", poll=poll, reactions=[{"type": "emoji", "count": 3, "emoji": "👍"}]))
    assert (found.kind, found.extra) == (Kind.POLL, "کی؟\n- فردا: 2\n👍 3")
    place = {"latitude": 35.7, "longitude": 51.4}
    assert one(message(1, "", location_information=place, place_name="خانه")).extra == (
        "خانه, 35.7, 51.4"
    )
    contact = {"first_name": "Dara", "last_name": "", "phone_number": "+98"}
    assert one(message(1, "", contact_information=contact)).extra == "Dara"
    assert one(message(1, forwarded_from=None)).forwarded_from == "?"
    event = one(service(1, "invite_members", members=["Dara", None, "Ali"]))
    assert (event.kind, event.extra) == (Kind.SERVICE, "invite_members Dara Ali")


def test_messages_that_cannot_be_taken_are_counted_by_the_reason() -> None:
    strange: list[dict[str, Any]] = [
        {"id": 1, "type": "unsupported"},
        {"id": 2, "type": "telepathy"},
        {"type": "message"},
        message(3, date="nonsense", date_unixtime="-"),
        message(4, date_unixtime=str(10**30)),
        message(5),
    ]
    records = of_telegram(as_bytes(chat(*strange)))
    assert survey(records).skipped == {"unsupported": 1, "unknown": 1, "broken": 3}
    assert [found.number for found in said(records)] == [5]


def test_message_without_an_end_costs_itself_alone() -> None:
    data = as_bytes(account(chat(message(1), message(2, "X"), message(3)), chat(message(4), id=8)))
    whole = [1, 2, 3, 4]
    for fault in (b'"X', b"[[[", b"}}]", b'"' + b"a" * (MAX_PIECE_BYTES + 9) + b'"', b"[" * 40):
        records = of_telegram(data.replace(b'"X"', fault))
        assert [found.number for found in said(records)] == [1, 3, 4], fault[:9]
        assert Skipped(Why.BROKEN) in records
        assert [each.key for each in records if isinstance(each, Chat)] == ["user7", "user8"]
    assert [found.number for found in said(of_telegram(data))] == whole


def test_message_that_seems_to_hold_the_next_one_costs_itself_alone() -> None:
    data = as_bytes(chat(*(message(number) for number in range(1, 5))))
    first, second, third, fourth = data.split(b"\n  },")
    broken = b"\n  },".join((first, second + b"\n  ," + third + b"\n  }", fourth))
    assert [found.number for found in said(of_telegram(broken))] == [1, 3, 4]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnExport), (b"hello", NotAnExport), (b"[]", NotAnExport), (b"{}", NotAnExport),
        (b'{"a": 1}', NotAnExport), (b'"' + b"a" * 3 * MAX_PIECE_BYTES, BrokenExport),
        (b'{"type": "personal_chat", "messages": [', BrokenExport),
        (b'{"a":' * (MAX_DEPTH + 1), BrokenExport), (b'{"type": ]', BrokenExport),
        (as_bytes(chat({"id": 1, "type": "telepathy"})), NewerExport),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_by_name(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        of_telegram(data)


def test_value_without_a_key_is_passed_over() -> None:
    assert of_telegram(b'{[7], "type": "personal_chat"}') == []


# WhatsApp


@pytest.mark.parametrize(
    ("head", "year", "hour"),
    [
        ("[31/12/2022, 11:40:26] ", 2022, 11),
        ("\u200e[31/12/22, 11:40:26\u202fPM] ", 2022, 23),
        ("[2022-12-31, 23:40:26] ", 2022, 23),
        ("31/12/22, 11:40 - ", 2022, 11),
        ("12/31/22, 9:15\u202fPM - ", 2022, 21),
        ("12/31/22, 12:15 AM - ", 2022, 0),
        ("31.12.22, 11:40 - ", 2022, 11),
        ("31-12-2022 11:40 - ", 2022, 11),
        ("31/12/2022 11:40 p. m. - ", 2022, 23),
        ("31/12/22, 11:40 a.m. \u2013 ", 2022, 11),
        ("31/12/22, 11.40 - ", 2022, 11),
        ("2022. 12. 31. 오후 11:40 - ", 2022, 23),
        ("2022/12/31 下午11:40 - ", 2022, 23),
        ("\u200f٣١\u200f/١٢\u200f/٢٠٢٢، ١١:٤٠ م - ", 2022, 23),
        ("۲۰۲۲/۱۲/۳۱،\u200f ۱۱:۴۰ - ", 2022, 11),
        ("۱۴۰۱/۱۰/۱۰،\u200f ۱۱:۴۰ ب.ظ. - ", 2022, 23),
    ],
)
def test_date_is_read_however_a_phone_writes_it(head: str, year: int, hour: int) -> None:
    (found,) = said(of_whatsapp(f"{head}علی: سلام"))
    at = datetime.fromtimestamp(found.at / 1000)  # noqa: DTZ006  # this machine's, as was said
    assert (at.year, at.month, at.day, at.hour) == (year, 12, 31, hour)
    assert (found.name, found.text) == ("علی", "سلام")


def test_line_without_a_date_goes_on_with_the_message_before_it() -> None:
    text = "31/12/22, 11:40 - Ali: one\n\n two: three\r\n31/12/22, 11:41 - Babak: four\n"
    assert [found.text for found in said(of_whatsapp(text))] == ["one\n\n two: three", "four"]


def test_order_of_a_date_shows_in_the_whole_chat() -> None:
    def days(*dates: str) -> list[int]:
        records = of_whatsapp("\n".join(f"{one}/22, 11:40 - A: x" for one in dates))
        return [datetime.fromtimestamp(one.at / 1000).day for one in said(records)]  # noqa: DTZ006

    assert days("3/4", "13/4") == [3, 13]
    assert days("3/4", "4/13") == [4, 13]
    assert days("3/4", "4/4", "5/4", "1/5") == [3, 4, 5, 1]
    assert days("3/4", "3/5", "4/1") == [4, 5, 1]


def test_date_that_can_be_read_in_two_ways_is_asked_for() -> None:
    text = "3/4/22, 11:40 - A: x"
    with pytest.raises(OpenDates):
        of_whatsapp(text)
    (first,) = said(of_whatsapp(text, day_first=True))
    (second,) = said(of_whatsapp(text, day_first=False))
    assert second.at < first.at  # March, April


def test_lines_of_the_program_have_no_author() -> None:
    (found,) = said(of_whatsapp("31/12/22, 11:40 - Ali added Babak"))
    assert (found.author, found.kind, found.extra) == ("", Kind.SERVICE, "Ali added Babak")


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("\u200e<attached: 0001-PHOTO.jpg>", Kind.PHOTO, ""),
        ("نگاه کن \u200e<پیوست: 0001-AUDIO.opus>", Kind.VOICE, "نگاه کن"),
        ("IMG-2022.jpg (file attached)\nلبخند", Kind.PHOTO, "لبخند"),
        ("\u200eسند.pdf (پرونده پیوست شد)", Kind.FILE, ""),
        ("<Media omitted>", Kind.TEXT, "<Media omitted>"),
        ("\u200e<attached: ../../0001.jpg>", Kind.PHOTO, ""),
    ],
)
def test_attached_file_is_known_in_any_language(text: str, kind: Kind, rest: str) -> None:
    (found,) = said(of_whatsapp(f"[31/12/22, 11:40:26] ~\u202fAli: {text}"))
    assert (found.name, found.kind, found.text) == ("Ali", kind, rest)
    assert ".." not in found.file


def test_message_has_the_same_number_in_every_export_of_its_chat() -> None:
    lines = [
        f"31/12/22, 11:4{minute} - A: {text}" for minute, text in ((1, "x"), (1, "x"), (2, "y"))
    ]
    first = [found.number for found in said(of_whatsapp("\n".join(lines)))]
    later = [found.number for found in said(of_whatsapp("\n".join([*lines, lines[2]])))]
    assert len(set(first)) == 3
    assert later[:3] == first
    assert len(set(later)) == 4
    assert [found.number for found in said(of_whatsapp("\n".join(lines[2:])))] == first[2:]


def test_text_that_is_no_chat_is_refused() -> None:
    for text in ("", "hello\n" * 50, "31/12/22 - no time"):
        with pytest.raises(NotAnExport):
            of_whatsapp(text)
    with pytest.raises(BrokenExport):
        of_whatsapp("31/12/22, 11:40 - A: " + "x" * (1 << 21))
    with pytest.raises(NotAnExport):
        of_whatsapp("\u200e" * 100_000)


def test_message_that_is_too_long_costs_itself_alone() -> None:
    lines = ["31/12/22, 11:40 - A: x", *["y" * 999] * 300, "31/12/22, 11:41 - A: z"]
    records = of_whatsapp("\n".join(lines))
    assert [found.text for found in said(records)] == ["z"]
    assert Skipped(Why.BROKEN) in records
