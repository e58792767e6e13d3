"""The documents say what the code does: codes, settings, commands, limits, examples, names."""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from amanat import errors
from amanat.cli.words import parser as parser_of_all
from amanat.config import RelayConfig
from amanat.protocol import cells, codec, drops, identity, labels, ledger, sealing, tlog, wire
from amanat.protocol.descriptor import NamedAddress, Stay, open_descriptor, sign_address
from amanat.protocol.places import Place
from amanat.relay.metrics import Metrics
from mutants import MUTANTS

ROOT = Path(__file__).parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

INSTEAD = {
    "server": "relay",
    "servers": "relay",
    "mailbox": "bucket",
    "mailboxes": "bucket",
    "inbox": "bucket",
    "backend": "relay",
}
"""Words that we avoid, and ours. Decisions may name rejected words, and code is not prose."""


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next heading of the same level."""
    level = heading.split(" ", 1)[0]
    rest = text.split(f"\n{heading}\n", 1)[1]
    return rest.split(f"\n{level} ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without heads and rules."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]


def name(cell: str) -> str:
    return cell.strip("| `")


def prose(text: str) -> str:
    """The text without code and quotations."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r'"[^"]*"', "", text)


# Errors


def test_every_error_code_is_in_the_protocol_and_the_reverse() -> None:
    table = rows(section(PROTOCOL, "## 14. Errors"))
    codes = [name(row[0]) for row in table]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(errors.BY_CODE)


def test_the_protocol_gives_each_code_its_family() -> None:
    families = {
        "Usage": errors.UsageError,
        "Peer": errors.PeerError,
        "Unavailable": errors.Unavailable,
        "Trust": errors.TrustError,
    }
    for row in rows(section(PROTOCOL, "## 14. Errors")):
        assert issubclass(errors.BY_CODE[name(row[0])], families[row[1]]), row


def test_error_codes_in_the_documents_exist() -> None:
    codes = set(errors.BY_CODE)
    shapes = {code.split("-")[0] for code in codes}
    for path in DOCS:
        for word in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", path.read_text(encoding="utf-8")):
            if word.split("-")[0] in shapes and word != "store-sqlite":
                assert word in codes, f"{path.name}: {word}"


# Settings


def number(text: str) -> object:
    """The value that a person reads in `1 GiB`, `250,000`, `"pinned"` or `none`."""
    text = text.strip("`")
    if text == "none":
        return msgspec.NODEFAULT
    if text == "[]":
        return ()
    if text.startswith('"'):
        return ast.literal_eval(text)
    amount, _, unit = text.replace(",", "").partition(" ")
    return int(amount) * {"": 1, "MiB": 2**20, "GiB": 2**30}[unit]


def test_every_setting_is_in_operations_with_its_default_and_the_reverse() -> None:
    expected: dict[str, object] = {
        field.name: field.default
        for field in msgspec.structs.fields(RelayConfig)
        if not isinstance(field.default, msgspec.Struct)
    }
    for table in msgspec.structs.fields(RelayConfig):
        if isinstance(table.default, msgspec.Struct):
            for field in msgspec.structs.fields(table.default):
                expected[f"{table.name}.{field.name}"] = field.default
    found = {name(row[0]): number(row[1]) for row in rows(section(OPERATIONS, "## Settings"))}
    assert found == expected


def test_every_metric_is_in_operations() -> None:
    for family in Metrics().registry.collect():
        assert f"`{family.name}`" in OPERATIONS, family.name


# Commands


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command, such as `group add`, with its parser."""
    found: dict[str, argparse.ArgumentParser] = {}

    def walk(parser: argparse.ArgumentParser, path: str) -> None:
        nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in nested:
            for word, below in action.choices.items():
                below.fill()
                walk(below, f"{path} {word}".strip())
        if not nested:
            found[path] = parser

    walk(parser_of_all(), "")
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {
        option
        for action in parser._actions
        for option in action.option_strings
        if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
    }


def test_every_command_and_option_is_in_the_cli_document_and_the_reverse() -> None:
    found = rows(section(CLI, "## Commands"))
    table = {name(row[0]): row for row in found}
    assert len(table) == len(found)
    assert set(table) == set(commands())
    for command, parser in commands().items():
        assert set(re.findall(r"--[a-z-]+", table[command][1])) == options(parser), command


def test_the_general_options_are_in_the_cli_document() -> None:
    table = {name(row[0]).split()[0] for row in rows(CLI.split("\n## ", 1)[0])}
    assert table == options(parser_of_all())


def test_every_command_is_in_the_readme_or_the_cli_document() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8") + CLI
    assert [command for command in commands() if command not in text] == []


def shown_commands() -> list[tuple[str, str]]:
    """Every command line of ours in a shell example: (document, line)."""
    found = []
    for path in DOCS:
        for block in re.findall(
            r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        ):
            for line in block.splitlines():
                for part in line.split(" | "):
                    words = part.split("#", 1)[0].strip() if " #" in part else part.strip()
                    if re.match(r"(alice|bob|amanat|\.venv/bin/amanat) ", words):
                        found.append((path.name, words))
    return found


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_shown_commands_parse(document: str, line: str) -> None:
    words = [w for w in shlex.split(line) if not re.match(r"\d?[<>]", w)]
    assert callable(parser_of_all().parse_args(words[1:]).run), document


# The protocol's figures and examples


def limit(constant: str) -> int:
    """The value of a constant of the code, Python's or Rust's."""
    if constant.startswith("rules.rs "):
        source = (ROOT / "rust" / "src" / "rules.rs").read_text(encoding="utf-8")
        match = re.search(rf"const {constant.split()[1]}: \w+ = ([^;]+);", source)
        assert match is not None, constant
        return eval_integer(match[1])
    module, attribute = constant.rsplit(".", 1)
    value = getattr(importlib.import_module(f"amanat.{module}"), attribute)
    assert isinstance(value, int)
    return value


def eval_integer(expression: str) -> int:
    """An integer expression of products and shifts."""
    result = 1
    for factor in expression.split("*"):
        base, _, shift = factor.strip().strip("()").partition("<<")
        result *= int(base.replace("_", "")) << int(shift or 0)
    return result


@pytest.mark.parametrize("row", rows(section(PROTOCOL, "## 15. Limits")), ids=lambda row: row[0])
def test_limits_are_those_of_the_code(row: list[str]) -> None:
    assert int(row[1]) == limit(name(row[0]))


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)\n```", PROTOCOL, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", blocks("hex request"))
def test_example_requests_are_frames(example: str) -> None:
    data = bytes.fromhex(example)
    assert wire.encode(wire.decode_request(data)) == data


@pytest.mark.parametrize("example", blocks("hex reply"))
def test_example_replies_are_frames(example: str) -> None:
    data = bytes.fromhex(example)
    assert wire.encode(wire.decode_reply(data)) == data


def test_every_frame_has_an_example() -> None:
    requests = {type(wire.decode_request(bytes.fromhex(e))) for e in blocks("hex request")}
    replies = {type(wire.decode_reply(bytes.fromhex(e))) for e in blocks("hex reply")}
    # The document gives replies that hold a cell by their start and hash.
    assert requests | {wire.Append, wire.Publish} == set(wire.Request.__args__)
    assert replies == set(wire.Reply.__args__)


def r(start: int) -> bytes:
    """The inputs of the examples."""
    return bytes(range(start, start + 32))


def vectors() -> dict[str, str]:
    """The right values of the protocol's examples, computed again."""
    bucket = drops.derive_bucket(r(0), 0, region="DE")
    once = cells.one_time(r(32), region="DE", drop_id=bucket.drop_id)
    payload = bytes.fromhex("0173616cc3a26d")
    cell = cells.seal(once, payload, region="DE", drop_id=bucket.drop_id)
    assert cells.open_cell(once, cell, region="DE", drop_id=bucket.drop_id) == payload
    digest = drops.first_digest(bucket.drop_id)
    append = wire.encode(wire.Append(3, bucket.drop_id, bucket.append_token, cell))
    publish = wire.encode(wire.Publish(11, bucket.drop_id, bucket.append_token, cell))
    theirs = X25519PrivateKey.from_private_bytes(r(160)).public_key().public_bytes_raw()
    pair = labels.pair_secret(r(128), theirs)
    chain_of = functools.partial(
        labels.chain_root, pair, r(96), group=bytes(range(16)), signer=r(192), to=r(224)
    )
    root = chain_of(labels.Lane.WORDS)
    first, chain = labels.step(root)
    second, chain = labels.step(chain)
    key = Ed25519PrivateKey.from_private_bytes(r(64))
    stays = Stay(Place("relay.example", 8443), 0, 20_848), Stay(Place("192.0.2.1", 443), 20_820)
    signed = sign_address(stays, key, issued=1_800_000_000)
    public = key.public_key().public_bytes_raw()
    delivery = X25519PrivateKey.from_private_bytes(r(128)).public_key().public_bytes_raw()
    hashed = ledger.drop_hash(bucket.drop_id)
    entries: list[ledger.Entry] = [
        ledger.Created(hashed, 500_000),
        ledger.Expired(hashed, 500_360, 1, len(cell)),
    ]
    written = [ledger.encode_entry(entry) for entry in entries]
    checkpoint = tlog.Checkpoint(ledger.origin(public), 2, tlog.root_of(written))
    found = {
        "bucket.secret": drops.expand(r(0), b"amanat bucket", bytes(4)),
        "bucket.drop_id": bucket.drop_id,
        "bucket.append": bucket.append_token,
        "bucket.read": bucket.read_token,
        "bucket.append_hash": drops.token_hash(bucket.drop_id, bucket.append_token),
        "bucket.read_hash": drops.token_hash(bucket.drop_id, bucket.read_token),
        "bucket.digest_0": digest,
        "bucket.digest_1": drops.next_digest(digest, cell),
        "cell.label": once.label,
        "cell.key": once.key,
        "cell.start": cell[:48],
        "cell.sha256": hashlib.sha256(cell).digest(),
        "append.start": append[: -len(cell)],
        "append.sha256": hashlib.sha256(append).digest(),
        "publish.start": publish[: -len(cell)],
        "publish.sha256": hashlib.sha256(publish).digest(),
        "chain.pair": pair,
        "chain.root": root,
        "chain.calls": chain_of(labels.Lane.CALLS),
        "chain.secret_0": first,
        "chain.secret_1": second,
        "chain.next_2": chain,
        "relay.key": public,
        "sealing.sha256": hashlib.sha256(sealing.public_key(r(0) + r(32) + r(64))).digest(),
        "ledger.drop": hashed,
        "ledger.created": written[0],
        "ledger.expired": written[1],
        "ledger.root": checkpoint.root,
        "ledger.checkpoint": tlog.sign_checkpoint(checkpoint, key),
        "relay.signed": codec.encode(signed),
        "credential": identity.issue_credential(key, delivery=delivery, signer=r(192)),
    }
    return {label: value.hex() for label, value in found.items()} | {
        "relay.address": str(NamedAddress.of(public, Place("relay.example", 8443))),
        "ledger.origin": ledger.origin(public),
        "safety_number": identity.safety_number(r(0), r(32)),
    }


def test_example_values_are_what_the_code_computes() -> None:
    written = {}
    for block in blocks("vector"):
        for line in block.splitlines():
            label, value = line.split("=", 1)
            written[label.strip()] = value.strip()
    assert written == vectors()


def test_the_example_descriptor_is_signed_by_the_example_key() -> None:
    frames = [wire.decode_reply(bytes.fromhex(example)) for example in blocks("hex reply")]
    (described,) = [frame for frame in frames if isinstance(frame, wire.Described)]
    key = bytes.fromhex(vectors()["relay.key"])
    assert open_descriptor(described.descriptor, key).region == "DE"


def test_the_example_ledger_is_under_the_example_checkpoint() -> None:
    found = {label: value for label, value in vectors().items() if label.startswith("ledger.")}
    key = bytes.fromhex(vectors()["relay.key"])
    note = bytes.fromhex(found["ledger.checkpoint"])
    checkpoint = tlog.open_checkpoint(note, found["ledger.origin"], key)
    requests = [wire.decode_request(bytes.fromhex(example)) for example in blocks("hex request")]
    replies = [wire.decode_reply(bytes.fromhex(example)) for example in blocks("hex reply")]
    (asked,) = [frame for frame in requests if isinstance(frame, wire.Consult)]
    (given,) = [frame for frame in replies if isinstance(frame, wire.Consulted)]
    assert tlog.parse_tile(asked.path) == tlog.tile_at(0, 0, checkpoint.size)
    node = tlog.nodes_from(checkpoint.size, lambda _: given.part)
    assert tlog.root(checkpoint.size, node) == checkpoint.root


def points(kind: str) -> set[str]:
    """The characters of a kind that the protocol lists, such as `U+0000-001F`."""
    (listed,) = re.findall(rf"^{kind}: (.+?)$(?=\n\w+:|\n```)", PROTOCOL, re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for first, last in re.findall(r"U\+([0-9A-F]+)(?:-([0-9A-F]+))?", listed):
        found |= {chr(point) for point in range(int(first, 16), int(last or first, 16) + 1)}
    return found


def test_names_hold_what_the_protocol_says() -> None:
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    for kind, pattern in (("unfit", identity._UNFIT), ("blank", identity._BLANK)):
        assert set(re.findall(f"[{pattern}]", every)) == points(kind)


# Words, links and names


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_documents_keep_to_our_words(path: Path) -> None:
    if path.name in ("glossary.md", "drill.md") or path.parent.name == "decisions":
        return  # the drill speaks of others' designs in their words
    text = prose(path.read_text(encoding="utf-8"))
    used = {word for word in re.findall(r"[a-z]+", text.lower()) if word in INSTEAD}
    assert used == set(), {word: INSTEAD[word] for word in used}


HEADLESS = re.compile(r"(?:^|[.:;] |\| |\*\* )((?:Who|What|Whoever)\b[^.?!|]*[.!|])")
"""A sentence whose subject is a bare relative clause; a question is not one."""

CRABBED = re.compile(
    r"\b(?:the|an) own\b|\bfor else\b|\b(?:is|are|was|were|signs) no more\b", re.IGNORECASE
)
"""Phrases for which English has a plain one: our own, otherwise, no longer."""

PLAIN = ("bench", "examples", "fuzz", "hostile", "src", "tests")
"""Directories whose docstrings and comments have no such sentence."""


def crabbed(text: str) -> list[str]:
    """The sentences and phrases of a text that a native speaker would not write."""
    flat = " ".join(text.split())
    around = [flat[max(0, m.start() - 30) : m.end() + 30] for m in CRABBED.finditer(flat)]
    return [m[1] for m in HEADLESS.finditer(flat)] + around


def comments(source: str) -> str:
    """The docstrings and the comments of a module, a paragraph each."""
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    runs = re.findall(r"(?:^ *# .*\n)+", source, flags=re.MULTILINE)
    return "\n".join([*strings, *(re.sub(r"^ *# ", "", run, flags=re.MULTILINE) for run in runs)])


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_documents_name_the_subject_of_each_sentence(path: Path) -> None:
    assert crabbed(prose(path.read_text(encoding="utf-8"))) == []


@pytest.mark.long
@pytest.mark.parametrize("part", PLAIN)
def test_docstrings_and_comments_name_the_subject_of_each_sentence(part: str) -> None:
    paths = sorted((ROOT / part).rglob("*.py"))
    assert paths
    for path in paths:
        found = [
            fault
            for paragraph in comments(path.read_text(encoding="utf-8")).split("\n\n")
            for fault in crabbed(prose(paragraph))
        ]
        assert found == [], path.name


@pytest.mark.parametrize(
    "text",
    [
        "A relay waits. Who asks is told.",
        "What is left goes.",
        "It is read from the own bucket.",
        "A cell is no more there.",
    ],
)
def test_a_sentence_without_a_named_subject_is_found(text: str) -> None:
    assert crabbed(text)


def test_a_question_is_a_sentence() -> None:
    assert crabbed("Who reads this? A relay does.") == []


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    words = [line.split("|")[1].strip() for line in lines[1:]]
    assert len(words) == len(set(words))
    assert words == sorted(words, key=str.lower)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_tests_named_in_documents_exist(path: Path) -> None:
    sources = {file.name: file.read_text(encoding="utf-8") for file in ROOT.glob("tests/*.py")}
    everything = "\n".join(sources.values())
    for word in set(re.findall(r"`(?:tests/)?(test_\w+(?:\.py)?)`", path.read_text("utf-8"))):
        assert word in sources or re.search(rf"def {word}\b", everything), word


def test_contracts_named_in_the_architecture_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r'contract "([^"]+)"', text)
    assert len(named) == len(contracts)
    for start in named:
        assert any(contract.startswith(start) for contract in contracts), start


def test_every_module_is_in_the_code_map_and_the_reverse() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    chapters = re.split(r"^### `amanat([.\w]*)`$", section(text, "## Code map"), flags=re.MULTILINE)
    found = {
        f"{package.strip('.').replace('.', '/')}/{name(row[0])}".strip("/")
        for package, chapter in zip(chapters[1::2], chapters[2::2], strict=True)
        for row in rows(chapter)
    }
    source = ROOT / "src" / "amanat"
    modules = {
        str(path.relative_to(source).with_suffix(""))
        for path in source.rglob("*.py")
        if not path.stem.startswith("__") and path.parent.name != "attacks"
    }
    assert found == modules


def test_files_named_in_the_architecture_exist() -> None:
    text = section((ROOT / "ARCHITECTURE.md").read_text("utf-8"), "## To change X, start in Y")
    for file in set(re.findall(r"`([\w/]+\.(?:py|rs|md|toml))`", text)):
        assert any((ROOT / base / file).exists() for base in (".", "src/amanat", "rust/src")), file


def test_sections_named_in_docstrings_exist() -> None:
    sections = set(re.findall(r"^## (\d+)\.", PROTOCOL, flags=re.MULTILINE))
    for path in (ROOT / "src").rglob("*.py"):
        text = " ".join(path.read_text(encoding="utf-8").split())
        for one in re.findall(r"docs/protocol\.md, section (\d+)", text):
            assert one in sections, path.name


def test_decisions_have_a_number_each_and_are_named_by_it() -> None:
    paths = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len({path.name[:4] for path in paths}) == len(paths)
    for path in paths:
        assert path.read_text(encoding="utf-8").startswith(f"# {path.name[:4]}: ")


def test_the_planted_bugs_are_as_many_as_is_said() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"each of {len(MUTANTS)} bugs is put into a copy" in text
    assert f"| {len(MUTANTS)} | each caught by a test |" in text
