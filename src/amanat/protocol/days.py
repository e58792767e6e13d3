"""UTC days, counted from 1970 on, and dates as people write them."""

from __future__ import annotations

from datetime import date, timedelta

_FIRST = date(1970, 1, 1)


def date_of(day: int) -> str:
    """A day as a date (YYYY-MM-DD)."""
    return (_FIRST + timedelta(days=day)).isoformat()


def day_of(text: str) -> int:
    """The day of a date (YYYY-MM-DD). Raises ValueError for any other text."""
    return (date.fromisoformat(text) - _FIRST).days
