"""Traces are read as they are written, and other files are refused by name."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from amanat.drill import traces
from amanat.drill.traces import LANGUAGES, Line, Script, read_trace
from amanat.errors import BadArgument


def script(
    tmp_path: Path,
    text: str | bytes,
    form: str = "edges",
    people: int | None = None,
    messages: int | None = None,
) -> Script:
    path = tmp_path / "trace"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_trace(path, form, people=people, messages=messages)


def who(read: Script) -> list[tuple[str, tuple[str, ...]]]:
    return [(line.sender, line.conversation) for line in read.lines]


@pytest.mark.parametrize("header", ["", "SRC DST UNIXTS\n", "\n", "src\tdst\ttime\n\n"])
def test_edges_are_read_with_or_without_a_header(tmp_path: Path, header: str) -> None:
    read = script(tmp_path, header + "b a 100\na b 101\nb c 102\n")
    assert who(read) == [("b", ("a", "b")), ("a", ("a", "b")), ("b", ("b", "c"))]
    assert read.people == ["a", "b", "c"]


def test_edges_are_put_in_order_of_time_and_kept_within_one_second(tmp_path: Path) -> None:
    read = script(tmp_path, "a b 5\nb a 3\nc a 3\na c -1\n")
    assert [line.sender for line in read.lines] == ["a", "b", "c", "a"]


def test_letters_to_oneself_are_left_out(tmp_path: Path) -> None:
    assert who(script(tmp_path, "a a 1\na b 2\n")) == [("a", ("a", "b"))]


@pytest.mark.parametrize(
    "line",
    [
        "a b",
        "a b c d",
        "a b soon",
        "a b 1.5",
        "a b 1 2",
        "a b -",
        "a b 1-2",
        "a b ²",
        "a b --3",
        "a b " + "9" * 5000,
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadArgument, match="line 2"):
        script(tmp_path, f"a b 1\n{line}\n")


@pytest.mark.parametrize("text", ["", "\n\n", "src dst time\n", "a a 1\n"])
@pytest.mark.parametrize("form", ["edges", "irc"])
def test_trace_without_a_conversation_is_refused(tmp_path: Path, text: str, form: str) -> None:
    with pytest.raises(BadArgument):
        script(tmp_path, text, form)


def test_busiest_people_and_first_messages_are_chosen(tmp_path: Path) -> None:
    text = "a b 1\nb a 2\na c 3\nc a 4\nd a 5\nb c 6\n"
    assert script(tmp_path, text, people=3).people == ["a", "b", "c"]
    assert len(script(tmp_path, text, people=3).lines) == 5
    assert len(script(tmp_path, text, messages=2).lines) == 2


def test_each_pair_speaks_one_language_and_every_other_pair_persian(tmp_path: Path) -> None:
    read = script(tmp_path, "".join(f"a p{n % 8} {n}\n" for n in range(40)))
    corpus = traces._dialogue()
    spoken = [
        {name for name in LANGUAGES if {line.text for line in lines} <= set(corpus[name])}
        for lines in read.conversations.values()
    ]
    assert all(spoken)
    assert all("persian" in languages for languages in spoken[1::2])
    assert all(text.strip() for line in read.lines for text in [line.text])


def test_same_trace_gives_the_same_script(tmp_path: Path) -> None:
    text = "a b 1\nb c 2\na b 3\n"
    assert script(tmp_path, text) == script(tmp_path, text)


@pytest.mark.long
def test_packaged_network_is_read() -> None:
    read = read_trace(None, "edges", people=60, messages=3000)
    assert (len(read.people), len(read.lines)) == (60, 3000)
    assert all(line.sender in line.conversation for line in read.lines)
    assert all(len(pair) == 2 for pair in read.conversations)


IRC = """[00:01] <ann> hello all
[00:02] <bob> hi <ann>: [what] a day
[00:03]  * ann waves
=== cat joined the channel
[00:04] <cat>
[00:05] <ann>   two  spaces
"""


def test_irc_is_one_group_of_all_who_speak(tmp_path: Path) -> None:
    read = script(tmp_path, IRC, "irc")
    group = ("ann", "bob")
    assert read.people == list(group)
    assert read.lines == [
        Line(group, "ann", "hello all"),
        Line(group, "bob", "hi <ann>: [what] a day"),
        Line(group, "ann", "  two  spaces"),
    ]


def test_irc_is_cut_to_the_busiest(tmp_path: Path) -> None:
    text = "".join(f"[00:00] <n{n % 5}> line {n}\n" for n in range(23))
    read = script(tmp_path, text, "irc", people=3, messages=4)
    assert read.people == ["n0", "n1", "n2"]
    assert [line.text for line in read.lines] == ["line 0", "line 1", "line 2", "line 5"]


def test_irc_of_one_person_is_no_conversation(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="two people"):
        script(tmp_path, "[00:00] <ann> hello\n[00:01] <ann> anyone?\n", "irc")


def test_bytes_that_are_not_text_do_not_stop_a_trace(tmp_path: Path) -> None:
    read = script(tmp_path, b"[00:00] <ann> caf\xe9\n[00:01] <bob> ok\n", "irc")
    assert [line.text for line in read.lines] == ["caf\ufffd", "ok"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadArgument, match=path.name):
            read_trace(path, "edges", people=None, messages=None)


def test_too_large_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_TRACE_BYTES", 10)
    with pytest.raises(BadArgument, match="longer than 10"):
        script(tmp_path, "a b 1\na b 22\n")


@pytest.mark.parametrize(
    ("form", "people", "messages"),
    [("mbox", None, None), ("irc", None, None), ("edges", 1, None), ("edges", None, 0)],
)
def test_argument_out_of_range_is_refused(
    form: str, people: int | None, messages: int | None
) -> None:
    with pytest.raises(BadArgument):
        read_trace(None, form, people=people, messages=messages)


@pytest.mark.parametrize("form", ["edges", "irc"])
@pytest.mark.long
def test_any_bytes_are_a_trace_or_refused(tmp_path: Path, form: str) -> None:
    rng = random.Random(form)
    pieces = [b"a b 1\n", b"[00:01] <ann> x\n", b"[", b"<b> ", b"\x00", b"\xff", b" ", b"\n", b"7"]
    for _ in range(300):
        text = b"".join(rng.choices(pieces, k=rng.randrange(12)))
        try:
            read = script(tmp_path, text, form)
        except BadArgument:
            continue
        assert all(line.sender in line.conversation for line in read.lines)
