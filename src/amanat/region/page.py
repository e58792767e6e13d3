"""The audit's report as one page: English, and below it Persian from right to left.

The page is self-contained: no script, no font, no picture from anywhere. Faults come first, and the
limits of the audit come before its figures.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from amanat.region.audit import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from amanat.region.audit import Report

_STYLE = """
:root{color-scheme:light dark;--ink:#1b2a33;--paper:#fbfaf7;--line:#d8d3c7;--good:#1d7a5f;--bad:#b3402e}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6df;--paper:#12191d;--line:#37424a;--good:#5cc4a0;
--bad:#f08a74}}
body{margin:0 auto;max-width:56rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:1rem/1.6 system-ui,"Vazirmatn","Noto Naskh Arabic",Tahoma,sans-serif}
h1{font-size:1.8rem;line-height:1.25}h2{margin-top:2rem;font-size:1.25rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:start;vertical-align:top}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
code,bdi{overflow-wrap:anywhere}hr{margin:3.5rem 0;border:0;border-top:2px solid var(--line)}
"""


class _Words(NamedTuple):
    """The words of the page in one language."""

    lang: str
    direction: str
    title: str
    lead: str
    clean: str
    wrong: str
    kinds: Mapping[str, str]
    other: str
    cannot: str
    limits: tuple[str, ...]
    walked: str
    facts: dict[str, str]
    running: str
    moves: str
    no_moves: str
    went: str
    came: str
    certified: str
    uncertified: str
    register: str
    countries: str
    processors: str
    nobody: str
    leaves: str
    leaving: tuple[str, ...]
    proofs: str
    proved: tuple[str, ...]
    files: str


_ENGLISH = _Words(
    lang="en",
    direction="ltr",
    title="Where data rests: audit of a relay",
    lead="This page compares the contents of the relay's directory with its ledger and its region."
    " A relay holds cells that look random, without names, so this page can name nobody either.",
    clean="No faults were found.",
    wrong="Faults",
    kinds={
        Fault.FOREIGN_DROP: "drops of another region that came by no move",
        Fault.LEFTOVER: "drops that have gone, or have ended, but still hold cells",
        Fault.KEY_LEFT: "keys of drops that have gone",
        Fault.NOT_IN_LEDGER: "drops that the ledger does not mention, or describes otherwise",
        Fault.MISSING_DROP: "drops that are here according to the ledger, but are missing",
        Fault.WRONG_COUNT: "drops whose cells differ from their record",
        Fault.WRONG_DIGEST: "cells that do not match the drop's digest",
        Fault.DOES_NOT_OPEN: "cells that do not open",
        Fault.CELL_WITHOUT_DROP: "cells that belong to no drop",
        Fault.CELL_WITHOUT_KEY: "cells whose key was destroyed too early",
        Fault.KEY_WITHOUT_DROP: "keys that belong to no drop",
        Fault.WRONG_LABELS: "drops with more, or fewer, labels in the index than cells",
        Fault.OVERDUE: "drops whose cells should have expired",
        Fault.LEDGER: "faults of the ledger",
        Fault.BROKEN_ORDER: "moves without a signed order",
        Fault.BROKEN_CERTIFICATE: "certificates that are not valid",
        Fault.UNKNOWN_FILE: "files that do not belong to a relay",
        Fault.REMAINS: "free pages that are not empty",
        Fault.MISPLACED: "nodes and streams that are not where, or as, they must be",
        Fault.BAD_REPLICA: "replicas that lack messages, or have others",
        Fault.UNREAD_REPLICA: "replicas that could not be read",
        Fault.LOST_MESSAGE: "streams in which no replica has a message as it was",
        Fault.ROOT_LEFT: "keys of days that have ended, or of drops that have gone",
    },
    other="other faults",
    cannot="Limits of this audit",
    limits=(
        (
            "It cannot show that nobody has a copy. The operator of a relay can copy its disk on any"
            " day, and nothing signed shows it. The copy is ciphertext without names; the drill"
            " measures how little it tells."
        ),
        (
            "It cannot show where the machine stands. The region is the operator's statement, bound"
            " into every id."
        ),
        "It cannot see data outside this directory: backups, other machines, memory.",
    ),
    walked="Contents of the directory",
    facts={
        "relay": "relay",
        "operator": "operator",
        "region": "region",
        "hour": "time (UTC)",
        "drops": "drops here",
        "cells": "cells",
        "bytes": "bytes of cells",
        "guests": "of these, drops that moved here from another region",
        "arriving": "drops arriving by a move",
        "gone": "drops that have gone, of which only the destination is kept",
        "opened": "cells opened, in random choice, to compute their digest again",
        "free_pages": "free pages, which must be empty",
        "entries": "entries of the ledger",
        "root": "root of the ledger, signed",
    },
    running="not examined: the relay was writing",
    moves="Moves",
    no_moves="none",
    went="to {other}, in {region}",
    came="from {other}, of {regions}",
    certified="certified by both relays",
    uncertified="no certificate here",
    register="Register of countries and processors (ISO/IEC 27018, 27701)",
    countries="countries where data of this relay may rest, as its operator says",
    processors="others who may have the data, as its operator says",
    nobody="nobody",
    leaves="Data that leaves the region, and may",
    leaving=(
        (
            "Cells that people fetch from elsewhere, and cells that they put here for somebody: they"
            " rest at the recipient's home."
        ),
        "The descriptor and the ledger, which anybody may fetch. They name no person and no drop.",
        (
            "Requests that the relay hands on for people of other relays, if it is a hop: they are"
            " sealed, and kept nowhere."
        ),
    ),
    proofs="Meaning of each proof",
    proved=(
        (
            "The region in each id shows for which region a drop was made. A drop in another region"
            " is recognised anywhere."
        ),
        (
            "The ledger shows that its account of every drop has not changed since it was signed; a"
            " witness shows that everybody saw the same ledger."
        ),
        (
            "A certificate shows that two relays agree on every drop that moved, and that the source"
            " states that it has erased its own copy."
        ),
        "This report shows that the relay's key has signed these figures.",
    ),
    files="Files",
)
_PERSIAN = _Words(
    lang="fa",
    direction="rtl",
    title="داده کجا می‌ماند: حسابرسی یک رله",
    lead="آنچه در پوشهٔ رله یافت شد، در کنار آنچه دفتر و منطقهٔ آن می‌گویند. رله خانه‌هایی بی‌نام و"
    " تصادفی‌نما نگه می‌دارد؛ این صفحه هم از کسی نام نمی‌برد.",
    clean="چیزی که نباید باشد یافت نشد.",
    wrong="آنچه نباید باشد",
    kinds={
        Fault.FOREIGN_DROP: "صندوق‌هایی از منطقه‌ای دیگر که با هیچ جابه‌جایی نیامده‌اند",
        Fault.LEFTOVER: "صندوق‌هایی که رفته یا پایان یافته‌اند و هنوز خانه دارند",
        Fault.KEY_LEFT: "کلیدهای صندوق‌هایی که رفته‌اند",
        Fault.NOT_IN_LEDGER: "صندوق‌هایی که دفتر چیزی، یا همان چیز را، از آن‌ها نمی‌گوید",
        Fault.MISSING_DROP: "صندوق‌هایی که به گفتهٔ دفتر اینجایند و نیستند",
        Fault.WRONG_COUNT: "صندوق‌هایی که خانه‌هایشان با آنچه می‌گویند یکی نیست",
        Fault.WRONG_DIGEST: "خانه‌هایی که با چکیده نمی‌خوانند",
        Fault.DOES_NOT_OPEN: "خانه‌هایی که باز نمی‌شوند",
        Fault.CELL_WITHOUT_DROP: "خانه‌هایی که از آنِ هیچ صندوقی نیستند",
        Fault.CELL_WITHOUT_KEY: "خانه‌هایی که کلیدشان پیش از وقت نابود شده است",
        Fault.KEY_WITHOUT_DROP: "کلیدهایی که از آنِ هیچ صندوقی نیستند",
        Fault.WRONG_LABELS: "صندوق‌هایی که شمار برچسب‌هایشان در نمایه با شمار خانه‌هایشان نمی‌خواند",
        Fault.OVERDUE: "صندوق‌هایی که خانه‌هایشان باید پایان یافته باشند",
        Fault.LEDGER: "خطاهای دفتر",
        Fault.BROKEN_ORDER: "جابه‌جایی‌های بی دستور امضاشده",
        Fault.BROKEN_CERTIFICATE: "گواهی‌هایی که درست نیستند",
        Fault.UNKNOWN_FILE: "پرونده‌هایی که از آنِ رله نیستند",
        Fault.REMAINS: "صفحه‌های آزادی که خالی نیستند",
        Fault.MISPLACED: "گره‌ها و جریان‌هایی که آنجا، یا آن‌گونه، که باید نیستند",
        Fault.BAD_REPLICA: "نسخه‌هایی که پیام‌هایی کم دارند، یا پیام‌هایشان چیز دیگری است",
        Fault.UNREAD_REPLICA: "نسخه‌هایی که خوانده نشدند",
        Fault.LOST_MESSAGE: "جریان‌هایی که پیامی از آن‌ها در هیچ نسخه‌ای چنان‌که بود نیست",
        Fault.ROOT_LEFT: "کلیدهای روزهایی که پایان یافته‌اند، یا صندوق‌هایی که رفته‌اند",
    },
    other="خطاهای دیگر",
    cannot="آنچه این صفحه نمی‌تواند نشان دهد",
    limits=(
        (
            "این‌که کسی رونوشتی ندارد. هر که رله را می‌گرداند هر روز می‌تواند از دیسک آن رونوشت بردارد و هیچ"
            " امضایی آن را نشان نمی‌دهد. آنچه رونوشت می‌شود رمزشده و بی‌نام است؛ این‌که چه اندک می‌گوید با"
            " رزمایش سنجیده می‌شود."
        ),
        "این‌که دستگاه کجاست. منطقه همان است که گرداننده می‌گوید و در هر شناسه بسته شده است.",
        "آنچه بیرون از این پوشه است: پشتیبان‌ها، دستگاه‌های دیگر، حافظه.",
    ),
    walked="آنچه دیده شد",
    facts={
        "relay": "رله",
        "operator": "گرداننده",
        "region": "منطقه",
        "hour": "زمان (UTC)",
        "drops": "صندوق‌های اینجا",
        "cells": "خانه‌ها",
        "bytes": "بایت‌های خانه‌ها",
        "guests": "از این‌ها، صندوق‌هایی که از منطقه‌ای دیگر به اینجا آمده‌اند",
        "arriving": "صندوق‌هایی که با جابه‌جایی در راه‌اند",
        "gone": "صندوق‌هایی که رفته‌اند و تنها راهشان مانده است",
        "opened": "خانه‌هایی که به قرعه باز شدند تا چکیده‌شان از نو حساب شود",
        "free_pages": "صفحه‌های آزاد، که باید خالی باشند",
        "entries": "سطرهای دفتر",
        "root": "ریشهٔ دفتر، امضاشده",
    },
    running="دیده نشد: رله در حال نوشتن بود",
    moves="جابه‌جایی‌ها",
    no_moves="هیچ",
    went="به {other} در {region}",
    came="از {other}، از {regions}",
    certified="با گواهی هر دو رله",
    uncertified="اینجا گواهی ندارد",
    register="فهرست کشورها و پردازندگان (ISO/IEC 27018 و 27701)",
    countries="جاهایی که به گفتهٔ گرداننده دادهٔ این رله می‌تواند بماند",
    processors="کسانی دیگر که به گفتهٔ گرداننده می‌توانند آن را داشته باشند",
    nobody="هیچ‌کس",
    leaves="آنچه از منطقه بیرون می‌رود و رواست",
    leaving=(
        (
            "خانه‌هایی که مردم از جای دیگر برمی‌دارند، و خانه‌هایی که برای کسی می‌گذارند: آن‌ها جایی می‌مانند"
            " که گیرنده در آن خانه دارد."
        ),
        "معرفی‌نامه و دفتر، که هر کس می‌تواند بگیرد. نام هیچ کس و هیچ صندوقی در آن‌ها نیست.",
        (
            "درخواست‌هایی که برای مردم رله‌های دیگر رد می‌شوند، اگر رله میانجی باشد: مهروموم‌شده، و هیچ‌جا"
            " نگه داشته نمی‌شوند."
        ),
    ),
    proofs="هر نشانه چه نشان می‌دهد",
    proved=(
        "منطقه در هر شناسه: این‌که صندوق برای کدام منطقه ساخته شد. بیگانه هر جا باشد شناخته می‌شود.",
        (
            "دفتر: این‌که سرگذشت هر صندوق پس از امضا دگرگون نشده است؛ و با یک شاهد، این‌که به همه همان را"
            " نشان داده‌اند."
        ),
        "گواهی: این‌که دو رله از هر صندوقی که رفت یک چیز می‌گویند، و مبدأ می‌گوید که مال خود را پاک کرده است.",
        "این گزارش: این‌که کلید رله این رقم‌ها را امضا کرده است.",
    ),
    files="پرونده‌ها",
)
_LANGUAGES = (_ENGLISH, _PERSIAN)


def page(report: Report) -> str:
    """The whole page."""
    body = "\n<hr>\n".join(_in(words, report) for words in _LANGUAGES)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    title = " · ".join(words.title for words in _LANGUAGES)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _in(words: _Words, report: Report) -> str:
    files = [(_text(file.name), f"{file.bytes:,}", _text(file.kind)) for file in report.files]
    return (
        f'<section lang="{words.lang}" dir="{words.direction}"><h1>{words.title}</h1>'
        f"<p>{words.lead}</p>{_findings(words, report)}"
        f"<h2>{words.cannot}</h2>{_list(words.limits)}"
        f"<h2>{words.walked}</h2>{_facts(words, report)}"
        f"<h2>{words.moves}</h2>{_moves(words, report)}"
        f"<h2>{words.register}</h2>{_register(words, report)}"
        f"<h2>{words.leaves}</h2>{_list(words.leaving)}"
        f"<h2>{words.proofs}</h2>{_list(words.proved)}"
        f"<h2>{words.files}</h2>{_table(files)}</section>"
    )


def _findings(words: _Words, report: Report) -> str:
    if not report.findings:
        return f'<p class="good">{words.clean}</p>'
    rows = [
        (words.kinds.get(one.kind, words.other), f"{one.count:,}", _text(", ".join(one.examples)))
        for one in report.findings
    ]
    return f'<h2 class="bad">{words.wrong}</h2>{_table(rows)}'


def _facts(words: _Words, report: Report) -> str:
    rows = []
    for name, label in words.facts.items():
        value = getattr(report, name)
        if name == "hour":
            value = datetime.fromtimestamp(3600 * value, UTC).strftime("%Y-%m-%d %H:00")
        elif name == "free_pages" and value < 0:
            value = words.running
        elif isinstance(value, int):
            value = f"{value:,}"
        rows.append((label, _text(str(value))))
    return _table(rows)


def _moves(words: _Words, report: Report) -> str:
    rows = []
    for move in report.moves:
        form = words.went if move.direction == "out" else words.came
        told = form.format(
            other=_text(move.other),
            region=_text(move.region),
            regions=_text(", ".join(move.regions)),
        )
        rows.append((told, words.certified if move.is_certified else words.uncertified))
    return _table(rows) if rows else f"<p>{words.no_moves}</p>"


def _register(words: _Words, report: Report) -> str:
    return _table(
        [
            (words.countries, _text(", ".join(report.countries))),
            (words.processors, _text(", ".join(report.processors)) or words.nobody),
        ]
    )


def _list(lines: tuple[str, ...]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table>{body}</table></div>"


def _text(text: str) -> str:
    """A text from the relay as HTML: escaped, and isolated in its own direction."""
    return f"<bdi>{escape(text)}</bdi>" if text else ""
