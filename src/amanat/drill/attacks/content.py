"""Finding the words of messages in clear.

Method: real clients send a thousand canaries (texts that occur nowhere else, in several scripts)
through a real relay, which is then seized: its directory with free pages and write-ahead logs, all
it printed, its memory. Everything is searched in UTF-8, UTF-16, hexadecimal and base64. For other
designs, the search covers the database that their server needs.
Source: forensic practice; the search is `amanat.drill.search`.
Metric: how many of the canaries are found.
"""

from __future__ import annotations

import secrets

NAME = "content"
CANARIES = 1_000
_WORDS = (
    ("نامه", "دوستی", "باران", "خیابان", "فردا", "خانواده"),
    ("letter", "friendship", "rain", "street", "tomorrow", "family"),
    ("письмо", "дружба", "дождь", "улица", "завтра", "семья"),
    ("信件", "友谊", "下雨", "街道", "明天", "家庭"),
)


def canaries() -> list[str]:
    """Texts that nobody has ever written, a quarter of them in each script."""
    texts = []
    for number in range(CANARIES):
        words = _WORDS[number % len(_WORDS)]
        said = " ".join(secrets.choice(words) for _ in range(4))
        texts.append(f"{said} {secrets.token_hex(6)}")
    return texts
