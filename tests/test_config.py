"""Settings: right ones are accepted, and wrong ones are refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from amanat.config import RelayConfig, RelayLimits, load, parse, template
from amanat.errors import BadSetting

LEAST = 'region = "DE"\noperator = "Example e.V."\nhost = "relay.example"\nport = 8443\n'


def test_defaults_fill_what_is_not_set() -> None:
    assert parse(LEAST, RelayConfig) == RelayConfig("DE", "Example e.V.", "relay.example", 8443)


def test_a_table_is_a_structure_of_its_own() -> None:
    settings = parse(f"{LEAST}[limits]\nconnections = 7\n", RelayConfig)
    assert settings.limits == RelayLimits(connections=7)


def test_a_quarter_of_the_room_is_for_buckets_unless_the_operator_says_how_much() -> None:
    assert RelayLimits(bytes_total=2**20).reserve == 2**18
    assert RelayLimits(bytes_total=2**20, bytes_buckets_reserved=7).reserve == 7


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (LEAST + 'colour = "red"', "colour"),
        (LEAST + "[limits]\nconections = 7", "conections"),
        (LEAST + "[limits]\nconnections = 0", "$.limits.connections"),
        (LEAST + 'buckets = "many"', "$.buckets"),
        (LEAST + 'tls = "maybe"', "$.tls"),
        (LEAST.replace("DE", "Germany"), "$.region"),
        (LEAST.replace('region = "DE"\n', ""), "region"),
        (LEAST.replace("8443", "70000"), "$.port"),
        (LEAST + "[limits]\nbytes_total = 1048576\nbytes_buckets_reserved = 1048576", "reserved"),
        ("region = ?", "line 1"),
    ],
)
def test_a_bad_setting_is_named(text: str, named: str) -> None:
    with pytest.raises(BadSetting) as raised:
        parse(text, RelayConfig)
    assert named in raised.value.detail


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("missing", "binary"):
        with pytest.raises(BadSetting) as raised:
            load(tmp_path / name, RelayConfig)
        assert name in raised.value.detail


def test_a_template_reads_back(tmp_path: Path) -> None:
    settings = RelayConfig(
        region="IR",
        operator='امانت "quoted" \\ \n',
        host="::1",
        port=0,
        buckets=3,
        limits=RelayLimits(drops=5),
    )
    path = tmp_path / "relay.toml"
    path.write_text(template(settings), encoding="utf-8")
    assert load(path, RelayConfig) == settings


def test_a_template_shows_every_setting_and_comments_out_the_defaults() -> None:
    text = template(RelayConfig("DE", "", "h", 1, buckets=2))
    assert set(tomllib.loads(text)) == {
        *("region", "operator", "host", "port", "buckets", "limits", "cluster", "hop", "moving"),
        "register",
    }
    for kind in (RelayConfig, RelayLimits):
        for field in msgspec.structs.fields(kind):
            assert f"{field.name} = " in text or f"[{field.name}]" in text
