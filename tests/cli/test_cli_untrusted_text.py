"""Text from a store reaches a terminal only in printable characters, and JSON only in ASCII."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.cli import OPTIONS, Call

from eventstore import Event
from projections.snapshots import Kind, MetaStore
from snapledger.text import format_size, format_time, one_line, parse_time, printable, quoted

if TYPE_CHECKING:
    from pathlib import Path

NASTY = "a\x1b[31m\nb\t\x07\u202e\u200b\x9b[bold]\\x1b"
SHOWN = r"a\x1b[31m\nb\t\x07\u202e\u200b\x9b[bold]\\x1b"


@pytest.fixture
def nasty_store(tmp_path: Path) -> Path:
    path = tmp_path / "nasty"
    with MetaStore.open(path, options=OPTIONS) as store:
        with store.transaction(
            writable=True, actor=NASTY, reason=NASTY, request_id=NASTY
        ) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, NASTY, labels={NASTY: NASTY})
        with store.transaction(writable=True) as transaction:
            transaction.emit(Event(NASTY, {NASTY: NASTY}))
    return path


def assert_harmless(text: str) -> None:
    for line in text.split("\n"):
        for cell in line.split("\t"):
            assert cell.isprintable(), cell


@pytest.mark.parametrize("verb", ["ls", "tree", "log", "info"])
def test_text_is_escaped(verb: str, call: Call, nasty_store: Path) -> None:
    key = ["--", NASTY] if verb == "info" else []
    result = call(verb, nasty_store, *key)
    assert (result.code, result.err) == (0, "")
    assert_harmless(result.out)
    assert SHOWN in result.out
    if verb == "ls":
        assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize("verb", ["ls", "tree", "log", "info"])
def test_json_is_ascii_and_exact(verb: str, call: Call, nasty_store: Path) -> None:
    key = ["--", NASTY] if verb == "info" else []
    result = call(verb, nasty_store, "--json", *key)
    assert (result.code, result.err) == (0, "")
    assert result.out.isascii()
    assert result.out.replace("\n", "").isprintable()
    assert json.dumps(NASTY) in result.out


def test_a_label_is_shown_in_one_way_wherever_it_stands(call: Call, tmp_path: Path) -> None:
    labels = {"spa ce": "line1\nline2", NASTY: "a,b \"q\" 'z'", "back\\slash": "\x1b[31mred"}
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        with store.transaction(writable=True) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, "one", labels=labels)
        with store.transaction(writable=True) as transaction:
            transaction.update_info("one", {"spa ce": "other"}, "labels.spa ce")
    at_first = ("--at", "1")
    _, shown = call("ls", tmp_path / "store", "--columns", "labels", *at_first).out.splitlines()
    assert r'"spa ce"=line1\nline2' in shown
    told = call("info", tmp_path / "store", "one", *at_first).out.splitlines()
    pairs = [line.removeprefix("label").strip() for line in told if line.startswith("label")]
    assert " ".join(pairs) == shown
    sums = call("du", tmp_path / "store", "--by", "label", *at_first).out.splitlines()
    assert sorted(line.split("\t")[-1] for line in sums[1:-1]) == sorted(pairs)
    assert f"labels: {{{shown}}} -> {{" in call("diff", tmp_path / "store", "1..2").out


def test_errors_are_escaped(call: Call, nasty_store: Path) -> None:
    for line in (["info", nasty_store, "\x1b[2J\nx\udcff"], ["ls", "\x1b[2J\n"], ["\x1b\n"]):
        result = call(*line)
        assert result.code in {1, 2, 10}
        assert result.err.count("\n") == 1
        assert_harmless(result.err)


def test_bytes_that_are_no_utf8_are_a_key_that_is_not_there(process: Call, told: Path) -> None:
    result = process("info", told, "\udcff\udcfe")
    assert result.code == 1
    assert r"'\udcff\udcfe'" in result.err


def test_key_that_looks_like_an_option_works_after_two_dashes(call: Call, tmp_path: Path) -> None:
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.create_snapshot(Kind.ACTIVE, "--json")
    result = call("info", tmp_path / "store", "--", "--json")
    assert result.code == 0
    assert "--json" in result.out
    assert call("log", tmp_path / "store", "--key", "--json").code == 0


def test_names_outside_the_encoding_of_the_output_are_escaped(
    process: Call, tmp_path: Path
) -> None:
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.create_snapshot(Kind.ACTIVE, "layer-层")
    listed = process("ls", tmp_path / "store", PYTHONIOENCODING="utf-8")
    assert "layer-层" in listed.out
    listed = process("ls", tmp_path / "store", PYTHONIOENCODING="iso-8859-1")
    assert (listed.code, listed.err) == (0, "")
    assert r"layer-\u5c42" in listed.out


def test_events_of_other_domains_are_shown_whatever_they_hold(call: Call, tmp_path: Path) -> None:
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    data = [b"\xff\x00", float("nan"), {1: 2, b"k": None}, True, 2**63]
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.emit(Event("other", data))
        transaction.emit(Event("other", deep))
        transaction.emit(Event("other", {"id": 5, "time_ns": "soon"}))
    result = call("log", tmp_path / "store", "--json")
    assert (result.code, result.err) == (0, "")
    first, _, last = json.loads(result.out)["events"]
    assert first["data"] == ["/wA=", "nan", {"1": 2, "aw==": None}, True, 2**63]
    assert last["data"] == {"id": 5, "time_ns": "soon"}
    assert call("log", tmp_path / "store").code == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("café 层", "café 层"),
        (NASTY, SHOWN),
        ("\ud800", r"\ud800"),
        ("\u2028\u00a0", r"\u2028\xa0"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_different_texts_are_shown_differently() -> None:
    assert printable("\\n") != printable("\n")
    assert quoted('a "b') == r'"a \"b"'
    assert quoted("") == '""'
    assert quoted("plain") == "plain"


def test_message_keeps_its_backslashes() -> None:
    assert one_line("'a\\x1b'\n\x1b") == r"'a\x1b'\n\x1b"


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1795489830484320627, "2026-11-24T03:10:30.484320627Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_time_is_exact_both_ways(time_ns: int, text: str) -> None:
    assert format_time(time_ns) == text
    assert parse_time(text) == time_ns


def test_time_is_read_in_its_zone_and_with_any_digits() -> None:
    assert parse_time("1970-01-01T01:00:00.5+01:00") == 500_000_000
    assert parse_time("1970-01-01 00:00:01z") == 1_000_000_000


@pytest.mark.parametrize("text", ["", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:60Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|second"):
        parse_time(text)


def test_sizes_are_exact_and_readable() -> None:
    assert format_size(0) == "0 bytes"
    assert format_size(1023) == "1023 bytes"
    assert format_size(688128) == "688128 bytes (672.0 KiB)"
    assert format_size(2**64) == "18446744073709551616 bytes (16.0 EiB)"
