"""The drill's report as one page, for a person who reads and for a person who checks.

It is self-contained, without script, font or picture from anywhere: in English, and below it in
Persian, from right to left. The attacks that Amanat loses come first.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from amanat.drill.words import ENGLISH, PERSIAN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.drill.figures import Report, Result
    from amanat.drill.words import Words

COLUMNS = (
    ("cloud", None),
    ("federated", None),
    ("ejabberd", None),
    ("synapse", None),
    ("sealed", None),
    ("perqueue", None),
    ("amanat", "direct"),
    ("amanat", "hopped"),
    ("amanat", "covered"),
)
BAR_WIDTH = 220
"""Width of a full bar in a plot, in pixels."""
_STYLE = """
:root{color-scheme:light dark;--ink:#1b2a33;--paper:#fbfaf7;--line:#d8d3c7;--good:#1d7a5f;
--bad:#b3402e;--bar:#7f93a0;--mark:#c08a1e}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6df;--paper:#12191d;--line:#37424a;
--good:#5cc4a0;--bad:#f08a74;--bar:#6d828f;--mark:#e6b95a}}
body{margin:0 auto;max-width:62rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:1rem/1.6 system-ui,"Vazirmatn","Noto Naskh Arabic",Tahoma,sans-serif}
h1{font-size:1.9rem;line-height:1.25}h2{margin-top:2.4rem;font-size:1.3rem}
h3{margin:1.6rem 0 .2rem;font-size:1.05rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .7rem;border-bottom:1px solid var(--line);text-align:start}
td.n{text-align:end;direction:ltr}.holds{color:var(--good)}.fails{color:var(--bad);font-weight:600}
svg{display:block;max-width:100%}svg text{fill:var(--ink);font-size:12px}
p.how{margin:.1rem 0 .5rem;opacity:.8;font-size:.92rem}hr{margin:4rem 0;border:0;
border-top:2px solid var(--line)}nav a{color:inherit}code{direction:ltr;unicode-bidi:isolate}
"""


_ASKS_OF_TABLE = (("contacts", "average precision"), ("groups", "average precision"))
_REAL = "ejabberd"
"""One of the real servers, since all are loaded alike."""


def page(report: Report) -> str:
    """The whole page."""
    body = "\n<hr>\n".join(_in(words, report) for words in (ENGLISH, PERSIAN))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{ENGLISH.title} · {PERSIAN.title}</title><style>{_STYLE}</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    )


def _in(words: Words, report: Report) -> str:
    ours = [one for one in report.results if one.design == "amanat"]
    lost = [one for one in ours if one.verdict == "fails"]
    held = [one for one in ours if one.verdict == "holds"]
    settings = report.settings
    told = words.settings.format(
        people=settings.people,
        days=settings.days,
        seeds=settings.seeds,
        trace=f"<code>{escape(settings.trace or 'CollegeMsg')}</code>",
    )
    control = ""
    if report.positive_control is not None:
        control = f"<p>{words.control} <b>{_number(report.positive_control)}</b>.</p>"
    return (
        f'<section id="{words.lang}" lang="{words.lang}" dir="{words.direction}">'
        f"<nav>{words.other}</nav><h1>{words.title}</h1><p>{words.lead}</p><p>{told}</p>{control}"
        f"<h2>{words.loses}</h2>{_list(words, lost) or f'<p>{words.loses_none}</p>'}"
        f"<h2>{words.wins}</h2>{_list(words, held)}"
        f"<h2>{words.table}</h2><p>{words.table_lead}</p>{_table(words, report.results)}"
        f"{_real(words, report)}"
        f"<h2>{words.details}</h2><p>{words.how}</p>{_details(words, report.results)}</section>"
    )


def _list(words: Words, results: Iterable[Result]) -> str:
    rows = "".join(
        f'<li class="{one.verdict}">{words.names[one.attack]} ({_who(words, one)}){words.comma}'
        f"<span dir=ltr>{escape(one.metric)}</span>: <b dir=ltr>{_number(one.value)}</b>"
        f"{_against(words, one)}</li>"
        for one in results
    )
    return f"<ul>{rows}</ul>" if rows else ""


def _against(words: Words, one: Result) -> str:
    if one.base is not None:
        return f"{words.semicolon}{words.base} <span dir=ltr>{_number(one.base)}</span>"
    if one.random is not None:
        return f"{words.semicolon}{words.guess} <span dir=ltr>{_number(one.random)}</span>"
    return ""


def _who(words: Words, one: Result) -> str:
    return words.designs[one.mode or one.design]


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and value > 1 else f"{value:.3g}"


def _table(words: Words, results: list[Result]) -> str:
    seen = [key for key in COLUMNS if any((one.design, one.mode) == key for one in results)]
    heads = "".join(f"<th>{words.designs[mode or design]}</th>" for design, mode in seen)
    rows = ""
    for attack, metric in _ASKS_OF_TABLE:
        cells = {
            (one.design, one.mode): one
            for one in results
            if (one.attack, one.metric) == (attack, metric)
        }
        if cells:
            base = next(iter(cells.values())).base
            rows += f"<tr><th>{words.names[attack]}</th><td class=n>{_number(base or 0)}</td>"
            rows += "".join(
                f'<td class="n {cells[key].verdict}">{_number(cells[key].value)}</td>'
                if key in cells
                else "<td></td>"
                for key in seen
            )
            rows += "</tr>"
    return (
        f"<div class=wide><table><tr><th></th><th>{words.base}</th>{heads}</tr>{rows}</table></div>"
    )


def _real(words: Words, report: Report) -> str:
    """The sentences on the load of the real servers, whose base rates differ."""
    bases = [
        f"{words.names[one.attack]} <span dir=ltr>{_number(one.base or 0)}</span>"
        for one in report.results
        if one.design == _REAL and (one.attack, one.metric) in _ASKS_OF_TABLE
    ]
    if not bases:
        return ""
    messages = f"<span dir=ltr>{_number(report.settings.real)}</span>"
    return f"<p>{words.real.format(messages=messages, bases=words.comma.join(bases))}</p>"


def _details(words: Words, results: list[Result]) -> str:
    kinds = dict.fromkeys((one.attack, _metric(one)) for one in results)
    parts, last = [], ""
    for attack, metric in kinds:
        shown = [one for one in results if (one.attack, _metric(one)) == (attack, metric)]
        if attack != last:
            parts.append(f"<h3>{words.names[attack]}</h3><p class=how>{words.asks[attack]}</p>")
        parts.append(f"<p class=how dir=ltr>{escape(metric)}</p>{_plot(words, shown)}")
        last = attack
    return "".join(parts)


def _metric(one: Result) -> str:
    return "bits of the most telling field" if one.attack == "identifiers" else one.metric


def _plot(words: Words, shown: list[Result]) -> str:
    """Bars for each design, with their intervals and a mark at the figure of a guess."""
    height, left = 22, 170
    most = max([one.high for one in shown] + [one.random or 0 for one in shown] + [1e-9])
    parts = []
    for row, one in enumerate(shown):
        y, scale = 4 + row * height, BAR_WIDTH / most
        colour = {"holds": "good", "fails": "bad"}.get(one.verdict, "bar")
        field = f" ({one.metric.removeprefix('bits of ')})" if one.attack == "identifiers" else ""
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{_who(words, one)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{max(1.0, one.value * scale):.1f}" height="11"'
            f' fill="var(--{colour})"/>'
            f'<line x1="{left + one.low * scale:.1f}" x2="{left + one.high * scale:.1f}"'
            f' y1="{y + 8.5}" y2="{y + 8.5}" stroke="var(--ink)"/>'
            f'<text x="{left + BAR_WIDTH + 10}" y="{y + 13}">{_number(one.value)}'
            f"{escape(field)} {words.verdicts[one.verdict]}</text>"
        )
        if one.random is not None:
            x = left + one.random * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 17}"'
                ' stroke="var(--mark)" stroke-width="2"/>'
            )
    size = f"{left + BAR_WIDTH + 330} {8 + len(shown) * height}"
    label = escape(f"{shown[0].attack}: {shown[0].metric}")
    return (
        f'<div class=wide><svg viewBox="0 0 {size}" width="{left + BAR_WIDTH + 330}"'
        f' direction="ltr" role="img" aria-label="{label}">{"".join(parts)}</svg></div>'
    )
