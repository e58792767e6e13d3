"""Exports that are nearly right give records or a named error, and no path outside the folder."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable

import pytest

from amanat.errors import AmanatError
from amanat.importing import whatsapp
from amanat.importing.records import Record, Said, inside
from exports import (
    account,
    as_bytes,
    chat,
    day_name,
    html_message,
    message,
    of_html,
    of_telegram,
    page,
    service,
)
from figures import SOAK, report, rounds
from test_fuzz import mutated

pytestmark = [pytest.mark.long, pytest.mark.timeout(200 * max(1.0, SOAK) + 20)]

ROUNDS = rounds(400, 50_000)
_LINK = {"type": "text_link", "text": "اینجا", "href": "https://a.example"}
_EMOJI = {"type": "custom_emoji", "text": "*", "document_id": "video_files/sticker (2).webm"}
_POLL = {"question": "کی؟", "answers": [{"text": ["فر", "دا"], "voters": 2}]}
_PLACE = {"latitude": 35.7, "longitude": 51.4}
TELEGRAM = [
    as_bytes(chat(message(1, ["به ", _LINK, _EMOJI]), message(2, photo="photos/../../a.jpg"))),
    as_bytes(account(chat(message(1, "a\\x01b"), message(2, poll=_POLL)), chat(message(3), id=8))),
    as_bytes(
        account(
            chat(
                service(1, "topic_created", title="خبر"),
                message(2, reply_to_message_id=1, file="/etc/passwd", media_type="voice_message"),
                message(3, location_information=_PLACE, reactions=[{"emoji": "👍", "count": 3}]),
                service(4, "migrate_from_group", title="سفر"),
            )
        )
    ),
]
WHATSAPP = [
    text.encode()
    for text in (
        "[31/12/2022, 11:40:26] علی: سلام\nخوبی؟\n[31/12/2022, 11:41:26] Ali: <attached: ../a.jpg>",
        "31/12/22, 11:40 PM - Ali: x\n12/1/23, 1:00 AM - Babak added Dara\n",
        "۱۴۰۱/۱۰/۱۰،\u200f ۱۱:۴۰ - علی: سند.pdf (پرونده پیوست شد)\n",
    )
]


PAGES = [
    page(
        day_name(-1, "1 January 2024"),
        html_message(1, '<b>x</b> <a href="https://a.example">اینجا</a>', name="علی"),
        html_message(2, "two<br>lines", rest='<a class="photo_wrap" href="../a.jpg"></a>'),
        day_name(3, "علی pinned this message"),
    ).encode()
]


def whatsapp_of(data: bytes) -> list[Record]:
    return list(whatsapp.read(lambda: [data[:20], data[20:]], "Ali", None, day_first=None))


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("read", "seeds"),
    [(of_telegram, TELEGRAM), (whatsapp_of, WHATSAPP), (of_html, PAGES)],
    ids=["json", "text", "html"],
)
def test_export_that_is_nearly_right_is_read_or_refused_by_name(
    read: Callable[[bytes], list[Record]], seeds: list[bytes]
) -> None:
    chance = random.Random(len(seeds[0]))
    for data in seeds:
        assert any(isinstance(record, Said) for record in read(data))
    db = sqlite3.connect(":memory:")
    refused = taken = 0
    for _ in range(ROUNDS):
        try:
            records = read(mutated(chance, seeds))
        except AmanatError:
            refused += 1
            continue
        for record in records:
            if isinstance(record, Said):
                taken += 1
                assert record.file == inside(record.file)
                values = [*record]
                holes = ", ".join("?" * len(values))
                assert list(db.execute(f"SELECT {holes}", values).fetchone()) == values
    db.close()
    assert taken > ROUNDS // 2
    report("exports fuzzed", inputs=ROUNDS, refused=refused, messages=taken)
