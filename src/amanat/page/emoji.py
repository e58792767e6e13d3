"""The emoji and their names in Unicode, by which the page completes a name after a colon.

Python does not know which characters are emoji, so there are some among them that are drawn as
text. The browser knows, and leaves these out.
"""

from __future__ import annotations

import functools
import unicodedata

_BLOCKS = (
    (0x231A, 0x23FF),
    (0x2600, 0x27BF),
    (0x2B05, 0x2B55),
    (0x1F300, 0x1F64F),
    (0x1F680, 0x1F6FF),
    (0x1F900, 0x1F9FF),
    (0x1FA70, 0x1FAFF),
)
"""The blocks in which they stand: technical and miscellaneous symbols, dingbats, arrows,
pictographs, transport, and the supplements of these."""


@functools.cache
def names() -> list[tuple[str, str]]:
    """Each symbol of these blocks with its name, in small letters."""
    symbols = [chr(code) for first, last in _BLOCKS for code in range(first, last + 1)]
    return [
        (one, unicodedata.name(one).lower()) for one in symbols if unicodedata.category(one) == "So"
    ]
