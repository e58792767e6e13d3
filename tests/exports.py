"""Exports of other messengers, as their programs write them."""

from __future__ import annotations

import json
from typing import Any

from amanat.importing import telegram, telegram_html, whatsapp
from amanat.importing.records import Record, Said
from amanat.importing.survey import Survey, Surveyor

AT_S = 1_704_067_200
"""When the first message of an export was said: the first second of 2024, in UTC."""


def message(number: int, text: object = "سلام", **fields: object) -> dict[str, Any]:
    """A message of a Telegram export."""
    return {
        "id": number,
        "type": "message",
        "date": "2024-01-01T00:00:00",
        "date_unixtime": str(AT_S + number),
        "from": "Babak",
        "from_id": "user7",
        "text": text,
        "text_entities": [],
        **fields,
    }


def service(number: int, action: str, **fields: object) -> dict[str, Any]:
    """An event of a Telegram export."""
    about = {"actor": "Babak", "actor_id": "user7", "action": action}
    return {**message(number, ""), "type": "service", **about, **fields}


def chat(*messages: dict[str, Any], **fields: object) -> dict[str, Any]:
    """A chat of a Telegram export."""
    head = {"name": "Babak", "type": "personal_chat", "id": 7}
    return {**head, **fields, "messages": list(messages)}


def account(*chats: dict[str, Any], me: int = 1) -> dict[str, Any]:
    """An export of a whole account of Telegram."""
    return {
        "about": "Here is the data you requested.",
        "personal_information": {"user_id": me, "first_name": "Ali"},
        "contacts": {"about": "", "list": [{"first_name": "Babak", "phone_number": "+98"}]},
        "chats": {"about": "", "list": list(chats)},
    }


def as_bytes(export: dict[str, Any]) -> bytes:
    """An export as Telegram Desktop writes it."""
    return json.dumps(export, ensure_ascii=False, indent=1).encode()


def of_telegram(data: bytes, step: int = 1 << 18) -> list[Record]:
    """The records of a Telegram export that comes in chunks of a size."""
    return list(telegram.read([data[at : at + step] for at in range(0, len(data), step)], None))


def of_whatsapp(text: str, *, day_first: bool | None = None) -> list[Record]:
    """The records of a WhatsApp export."""
    data = text.encode()
    return list(whatsapp.read(lambda: [data[:10], data[10:]], "Babak", None, day_first=day_first))


def survey(records: list[Record]) -> Survey:
    """The survey of records."""
    surveyor = Surveyor("telegram")
    for record in records:
        surveyor.take(record)
    return surveyor.survey()


def said(records: list[Record]) -> list[Said]:
    """The messages among records."""
    return [one for one in records if isinstance(one, Said)]


def page(*messages: str, title: str = "Babak") -> str:
    """A page of an HTML export of Telegram."""
    return (
        '<!DOCTYPE html>\n<html>\n <head>\n  <meta charset="utf-8"/>\n'
        "<title>Exported Data</title>\n"
        '  <script src="js/script.js" type="text/javascript">\n\n  </script>\n </head>\n'
        ' <body onload="CheckLocation();">\n  <div class="page_wrap">\n'
        '   <div class="page_header">\n    <div class="content">\n     <div class="text bold">\n'
        f"{title}\n     </div>\n    </div>\n   </div>\n"
        '   <div class="page_body chat_page">\n    <div class="history">\n'
        f"{''.join(messages)}\n    </div>\n   </div>\n  </div>\n </body>\n</html>\n"
    )


def day_name(number: int, words: str) -> str:
    """A day's name, or another message of the program, on such a page."""
    return (
        f'<div class="message service" id="message{number}">\n'
        f'<div class="body details">\n{words}\n</div>\n</div>\n'
    )


def html_message(
    number: int, text: str, *, name: str = "", rest: str = "", zone: str = "UTC+03:30"
) -> str:
    """A message on such a page; without a name it goes on with the author of the one before."""
    body = f'<div class="text">\n{text}\n</div>\n' if text else ""
    head = f'<div class="from_name">\n{name} \n</div>\n' if name else ""
    picture = (
        '<div class="pull_left userpic_wrap"><div class="userpic userpic1">'
        '<div class="initials" title="B">\nB\n</div></div></div>\n'
    )
    return (
        f'<div class="message default clearfix{"" if name else " joined"}" id="message{number}">\n'
        f'{picture if name else ""}<div class="body">\n'
        f'<div class="pull_right date details" title="01.01.2024 03:30:{number % 60:02} {zone}">\n'
        f"03:30\n</div>\n{head}{rest}{body}</div>\n</div>\n"
    )


def of_html(*pages: str | bytes, step: int = 1 << 18) -> list[Record]:
    """The records of such an export of one chat, whose pages come in chunks of a size."""
    data = [one.encode() if isinstance(one, str) else one for one in pages]
    chunks = [[one[at : at + step] for at in range(0, len(one), step)] for one in data]
    return list(telegram_html.read([telegram_html.Folder("", chunks)], None))
