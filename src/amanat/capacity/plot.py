"""The limits of a plan as a picture: a bar for each, as long as the share of it that is needed."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.capacity.model import Limit

NAMES, BARS, VALUES = 300, 420, 90
"""Widths of the three columns, in pixels."""
ROW, HEAD = 26, 56
"""Heights of a row, and of what is above the first one."""
LEAST, MOST = 0.01, 100.0
"""The ends of the axis, which is logarithmic: bars end there that would go further."""

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b2a33}.good{fill:#1d7a5f}.bad{fill:#b3402e}"
    "line{stroke:#1b2a33;stroke-dasharray:4 3}"
)


def picture(limits: Sequence[Limit], title: str) -> str:
    """The picture as SVG. The dashed line is where a limit is reached."""
    height = HEAD + ROW * len(limits) + 10
    width = NAMES + BARS + VALUES
    parts = [f'<text x="10" y="22">{escape(title)}</text>']
    for index, limit in enumerate(limits):
        top = HEAD + ROW * index
        kind = "bad" if limit.share > 1 else "good"
        parts.append(
            f'<text x="{NAMES - 10}" y="{top + 15}" text-anchor="end">{escape(limit.name)}</text>'
            f'<rect class="{kind}" x="{NAMES}" y="{top + 3}" width="{_at(limit.share):.1f}"'
            f' height="{ROW - 8}"/>'
            f'<text x="{NAMES + BARS + 8}" y="{top + 15}">{limit.share:,.3g}</text>'
        )
    line = NAMES + _at(1.0)
    parts.append(
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="{HEAD - 8}" y2="{height - 6}"/>'
        f'<text x="{line:.1f}" y="{HEAD - 10}" text-anchor="middle">1</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img"'
        f' aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fbfaf7"/>{"".join(parts)}</svg>\n'
    )


def _at(share: float) -> float:
    """Where the bar of a share ends, in pixels from the beginning of the axis."""
    part = math.log(max(share, LEAST) / LEAST) / math.log(MOST / LEAST)
    return BARS * min(1.0, part)
