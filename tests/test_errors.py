"""Errors are sorted by what the caller does next, and each has its own code and sentence."""

from __future__ import annotations

import re

import pytest

from amanat import errors
from amanat.errors import (
    BY_CODE,
    EXIT_BUG,
    AmanatError,
    PeerError,
    TrustError,
    Unavailable,
    UsageError,
)

FAMILIES = {UsageError: 2, PeerError: 3, Unavailable: 4, TrustError: 5}


@pytest.mark.parametrize("code", BY_CODE)
def test_error_has_a_family_a_text_and_a_plain_code(code: str) -> None:
    kind = BY_CODE[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert [family for family in FAMILIES if issubclass(kind, family)]
    assert kind.text
    assert kind.text[0].islower()
    assert not kind.text.endswith(".")
    assert str(kind()) == kind.text
    assert str(kind("a detail")) == f"{kind.text} (a detail)"


def test_every_error_class_is_known_by_its_code() -> None:
    named = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, AmanatError)
    }
    assert named - set(FAMILIES) - {AmanatError} == set(BY_CODE.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_family_has_its_exit_status(family: type[AmanatError]) -> None:
    kinds = [kind for kind in BY_CODE.values() if issubclass(kind, family)]
    assert len(kinds) > 1
    assert {kind.exit_status for kind in kinds} == {FAMILIES[family]}


def test_bug_has_a_status_of_its_own() -> None:
    assert AmanatError.exit_status == EXIT_BUG
    assert EXIT_BUG not in FAMILIES.values()


def test_code_used_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="used twice"):
        type("Again", (UsageError,), {"code": "no-profile", "text": "again"})
    assert BY_CODE["no-profile"] is errors.NoProfile


def test_retry_after_is_kept() -> None:
    assert errors.RelayBusy(retry_after=1.5).retry_after == 1.5
    assert errors.RelayBusy().retry_after is None
