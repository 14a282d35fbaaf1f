"""containerd's filter language: recorded runs of containerd, and what they can't show."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.filters import (
    Column,
    Filter,
    Operator,
    Reference,
    Selector,
    field_reader,
    parse_filter,
    parse_filters,
    resolve_field,
)
from projections.snapshots.model import KEY_BYTES_MAX, Info, Kind
from projections.snapshots.regexps import PATTERN_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED_RUNS = Path(__file__).parent.parent / "data" / "conformance" / "filters.jsonl"


def make_info(
    name: str = "name",
    parent: str = "",
    kind: Kind = Kind.COMMITTED,
    labels: dict[str, str] | None = None,
) -> Info:
    return Info(name, parent, kind, MappingProxyType(labels or {}), 0, 0)


def load_recorded_runs() -> tuple[list[Info], list[dict[str, object]]]:
    first, *runs = map(json.loads, RECORDED_RUNS.read_text(encoding="utf-8").splitlines())
    infos = [
        make_info(row["name"], row["parent"], Kind.parse(row["kind"]), row["labels"])
        for row in first["infos"]
    ]
    return infos, runs


INFOS, RUNS = load_recorded_runs()
ACCEPTED = [str(run["filter"]) for run in RUNS if "matches" in run]


def names_matching(*filters: str, infos: list[Info] = INFOS) -> list[str]:
    matches = parse_filters(*filters)
    return [info.name for info in infos if matches(info)]


def outcome(text: str) -> dict[str, object]:
    """Stretch a filter and describe the result as the recorded runs do."""
    try:
        return {"filter": text, "matches": names_matching(text)}
    except InvalidArgumentError:
        return {"filter": text, "error": "invalid_argument"}


# The language.


def test_recorded_runs_of_containerd_replay_without_divergence() -> None:
    assert len(RUNS) == 1695
    assert [run for run in RUNS if outcome(str(run["filter"])) != run] == []


def test_no_filter_and_the_empty_filter_match_everything() -> None:
    everything = [info.name for info in INFOS]
    assert names_matching() == everything
    assert names_matching("") == everything
    assert names_matching("name==foo", "") == everything
    assert parse_filter("") == Filter(())


def test_every_filter_is_parsed_though_an_earlier_one_matches_everything() -> None:
    with pytest.raises(InvalidArgumentError, match="position 4"):
        parse_filters("", "name=")


@pytest.mark.parametrize(
    ("text", "selectors"),
    [
        ("name==foo", [(("name",), Operator.EQUAL, "foo")]),
        (
            "kind!=view,labels.a.b",
            [
                (("kind",), Operator.NOT_EQUAL, "view"),
                (("labels", "a", "b"), Operator.PRESENT, ""),
            ],
        ),
        ('labels."a.b"~=/x\\/y/', [(("labels", "a.b"), Operator.MATCHES, "x/y")]),
        ("name~=|a,b|", [(("name",), Operator.MATCHES, "a,b")]),
        (
            "\u2003name\t==\u00a0x,\nparent",
            [(("name",), Operator.EQUAL, "x"), (("parent",), Operator.PRESENT, "")],
        ),
        ("name=='x'", [(("name",), Operator.EQUAL, "'x'")]),
        ("name==a.b=c/d|e!~", [(("name",), Operator.EQUAL, "a.b=c/d|e!~")]),
        ('name=="a,b c"', [(("name",), Operator.EQUAL, "a,b c")]),
        ("name==\x01", [(("name",), Operator.EQUAL, "\x01")]),
        ('""', [(("",), Operator.PRESENT, "")]),
    ],
)
def test_parsed_filter_is_a_value(
    text: str, selectors: list[tuple[tuple[str, ...], Operator, str]]
) -> None:
    expected = Filter(tuple(Selector(*selector) for selector in selectors))
    assert parse_filter(text) == expected
    assert hash(parse_filter(text)) == hash(expected)


def test_selector_and_filter_are_immutable() -> None:
    parsed = parse_filter("name==foo")
    with pytest.raises(AttributeError):
        parsed.selectors = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        parsed.selectors[0].value = "bar"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "reference", "text"),
    [
        (("name",), Reference(Column.NAME), "n"),
        (("name", "rest"), Reference(Column.NAME), "n"),
        (("parent",), Reference(Column.PARENT), ""),
        (("kind",), Reference(Column.KIND), "view"),
        (("labels", "a", "b"), Reference(Column.LABEL, "a.b"), "1"),
        (("labels", "a.b"), Reference(Column.LABEL, "a.b"), "1"),
        (("labels", "empty"), Reference(Column.LABEL, "empty"), ""),
        (("labels", "none"), Reference(Column.LABEL, "none"), None),
        (("labels",), Reference(Column.LABEL, ""), None),
        (("created",), None, None),
        (("",), None, None),
    ],
)
def test_field_resolves(
    path: tuple[str, ...], reference: Reference | None, text: str | None
) -> None:
    info = make_info("n", "", Kind.VIEW, {"a.b": "1", "empty": ""})
    assert resolve_field(path) == reference
    assert field_reader(path)(info) == text


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("labels.none", False),
        ('labels.none==""', False),
        ('labels.none!=""', False),
        ("labels.none!=x", True),
        ("labels.none~=^$", True),
        ("labels.none~=x", False),
        ("parent", True),
        ('parent==""', True),
        ("labels.empty", True),
        ('labels.empty==""', True),
        ("unknown!=x", True),
    ],
)
def test_absent_field_counts_as_empty_but_equals_nothing(text: str, matches: bool) -> None:
    assert parse_filter(text).matches(make_info(labels={"empty": ""})) is matches


# Errors.


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        (" ", 1, "a field"),
        ("name,", 5, "a field"),
        ("na-me", 2, "an operator"),
        ("name.", 5, "a field"),
        ("name=x", 4, "an operator"),
        ("name===x", 4, "an operator"),
        ("name ", 5, "an operator"),
        ("name ,kind", 5, "an operator"),
        ("name==", 6, "a value"),
        ("name==.x", 6, "a value"),
        ("name==/x/", 6, "a value"),
        ("name==x ", 7, '"," or the end'),
        ('name=="x"y', 9, '"," or the end'),
        ("name==x\u200dy", 7, '"," or the end'),
        ("/name/", 0, "a field"),
        ('name=="x', 6, 'a closing "'),
        ('name=="x\ny"', 6, 'a closing "'),
        ('name=="x\\q"', 8, "an escape"),
        ('name=="\\xg0"', 7, "an escape"),
        ('name=="\\400"', 7, "an escape"),
        ('name=="\\U00110000"', 7, "an escape"),
        ('name=="\\/"', 7, "an escape"),
        ('name=="x\\', 8, "an escape"),
        ("name\0", 4, "valid UTF-8"),
        ("name==\ufffd", 6, "valid UTF-8"),
        ("name==x\udcff", 7, "valid UTF-8"),
        pytest.param(
            f"name~={'x' * (PATTERN_BYTES_MAX + 1)}", 6, "a regular expression", id="long pattern"
        ),
    ],
)
def test_error_names_filter_position_and_expectation(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filters("name", text)
    message = str(caught.value)
    assert f"filter {text!r}"[:100] in message
    assert f"position {position}: expected {expected}" in message
    message.encode()  # printable, whatever was in the filter


def test_error_does_not_repeat_a_long_filter_whole() -> None:
    with pytest.raises(InvalidArgumentError, match="position 100004") as caught:
        parse_filter(f"name{' ' * 100_000}")
    assert len(str(caught.value)) < 400


# Quoted strings.


def backslash_u(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else backslash_long_u(character)


def backslash_long_u(character: str) -> str:
    return f"\\U{ord(character):08X}"


def backslash_x(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def backslash_octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def verbatim(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return backslash_u(character) if character in "\n\0\ufffd" else character


SPELLINGS: list[Callable[[str], str]] = [
    verbatim,
    backslash_u,
    backslash_long_u,
    backslash_x,
    backslash_octal,
]


@st.composite
def texts_and_quoted(draw: st.DrawFn) -> tuple[str, str]:
    text = draw(st.text(st.characters(exclude_categories=["Cs"])))
    spelled = [draw(st.sampled_from(SPELLINGS))(character) for character in text]
    return text, f'"{"".join(spelled)}"'


@given(texts_and_quoted(), st.text())
@example(("тест", '"\\xd1\\202\\u0435\\U00000441т"'), "")
def test_quoted_string_equals_exactly_itself(pair: tuple[str, str], other: str) -> None:
    text, quoted = pair
    infos = [make_info("same", labels={"k": text}), make_info("other", labels={"k": other})]
    expected = ["same", "other"] if text == other else ["same"]
    assert names_matching(f"labels.k=={quoted}", infos=infos) == expected


@given(texts_and_quoted())
def test_quoted_field_names_exactly_that_label(pair: tuple[str, str]) -> None:
    text, quoted = pair
    infos = [make_info("same", labels={text: ""}), make_info("other", labels={text + "x": ""})]
    assert names_matching(f"labels.{quoted}", infos=infos) == ["same"]


@pytest.mark.parametrize(
    ("quoted", "value"),
    [
        (r'"\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"'),
        (r'"\101\x42C\U00000044"', "ABCD"),
        (r'"\ud800"', "\ufffd"),
        (r'"\U80000041"', "A"),
        (r'"\x00"', "\0"),
        ('"/|\'"', "/|'"),
        ('""', ""),
    ],
)
def test_escapes_are_those_of_go(quoted: str, value: str) -> None:
    assert parse_filter(f"name=={quoted}").selectors[0].value == value


@pytest.mark.parametrize("quoted", [r'"\xff"', r'"\377"', r'"\xd1"', r'"\xed\xa0\x80"'])
def test_value_that_is_not_utf8_differs_from_every_text(quoted: str) -> None:
    infos = [make_info("ÿ"), make_info("\ufffd"), make_info("Ñ"), make_info("\xed\xa0\x80")]
    assert names_matching(f"name=={quoted}", infos=infos) == []
    assert names_matching(f"name!={quoted}", infos=infos) == [info.name for info in infos]
    assert names_matching(f"name~={quoted}", infos=infos) == []
    assert names_matching(f"labels.{quoted}", infos=infos) == []


# Regular expressions.


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("o", "foo", True),
        ("^o", "foo", False),
        ("o$", "foo", True),
        ("o$", "foo\n", False),
        ("f.o", "f\no", False),
        ("(?s)f.o", "f\no", True),
        ("(?i)FOO", "foo", True),
        ("(?P<n>o+)", "foo", True),
        ("(?<n>o+)", "foo", True),
        (r"\pL", "т", True),
        (r"^\p{Cyrillic}+$", "тест", True),
        ("^т.ст$", "тест", True),
        (r"\Qa.b\E+$", "a.bb", True),
        (r"\Q\C\E$", "\\C", True),
        ("a\0b?", "a\0", True),
        ("a\0", "xa\0", True),
        ("", "", True),
        (r"\\C", "\\C", True),
    ],
)
def test_regular_expression_is_an_unanchored_search(pattern: str, text: str, matches: bool) -> None:
    selector = Selector(("name",), Operator.MATCHES, pattern)
    assert selector.matches(make_info(text)) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "*",
        "a**",
        "a{2,1}",
        "[z-a]",
        "\\",
        r"\1",
        r"\Z",
        "(?=x)",
        "x{1001}",
        r"\C",
        r"x\Q\\E\C",
        "(?P<é>x)",
        "\udcff",
        "x+\ud800",
    ],
)
def test_bad_regular_expression_matches_nothing_and_is_logged(
    pattern: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING, "projections.snapshots"):
        selector = Selector(("name",), Operator.MATCHES, pattern)
    assert [repr(pattern) in record.getMessage() for record in caplog.records] == [True]
    assert caplog.records[0].name == "projections.snapshots"
    assert not any(selector.matches(make_info(text)) for text in ("", "x", pattern))
    assert capfd.readouterr() == ("", "")


def test_whoever_asks_for_it_has_a_bad_regular_expression_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert parse_filter("name~=a(").matches(make_info("a(")) is False
    [logged] = caplog.messages
    with pytest.raises(InvalidArgumentError) as refused:
        parse_filter("name~=a(", is_strict=True)
    assert str(refused.value) == f"filter 'name~=a(', position 6: {logged}"
    assert parse_filter("name~=a.,kind==view", is_strict=True) == parse_filter(
        "name~=a.,kind==view"
    )
    assert caplog.messages == [logged]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        pytest.param("x" * (PATTERN_BYTES_MAX + 1), "4097 bytes", id="ASCII"),
        pytest.param("т" * (PATTERN_BYTES_MAX // 2 + 1), "4098 bytes", id="two bytes each"),
        pytest.param("[ab]{0,990}" * 80, "too large", id="repetition"),
        (r"\p{Letter}", r"\\p\{Letter\}"),
        (r"[\P{greek}]", r"\\P\{greek\}"),
    ],
)
def test_regular_expression_beyond_the_limits_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        Selector(("name",), Operator.MATCHES, pattern)
    with pytest.raises(InvalidArgumentError, match=f"position 6: .*{problem}"):
        parse_filter(f"name~={pattern}" if "," not in pattern else f'name~="{pattern}"')


def test_regular_expression_at_the_limit_is_accepted() -> None:
    assert names_matching(f"name~=^{'x' * (PATTERN_BYTES_MAX - 1)}") == []


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "(.*a){20}b"])
def test_catastrophic_regular_expression_is_fast(pattern: str) -> None:
    matches = parse_filter(f"name~=/{pattern}/").matches
    info = make_info("a" * (KEY_BYTES_MAX - 1) + "!")
    started = time.perf_counter()
    assert not matches(info)
    assert time.perf_counter() - started < 1  # a backtracking engine takes longer than we live


@given(st.text("ab-тx", max_size=3), st.text("ab-тx"))
def test_plain_text_is_searched_as_the_same_regular_expression(piece: str, text: str) -> None:
    plain = Selector(("name",), Operator.MATCHES, piece)
    compiled = Selector(("name",), Operator.MATCHES, f"(?:{piece})")
    assert plain.matches(make_info(text)) is compiled.matches(make_info(text)) is (piece in text)


# Any text, any combination.

WORDS = ["name", "kind", "labels", "x", "т", "[a-z]+", "(", "+", "\n", "\0", "\udcff"]
SYNTAX = [*"., =\"/|'\\", "==", "!=", "~=", "\\x4", "\\u00e9", "\\377", "\\U0011"]
FRAGMENTS = st.sampled_from(WORDS + SYNTAX)


@given(st.text(st.characters(exclude_categories=[])) | st.lists(FRAGMENTS).map("".join))
@example("name~=\\C")
@example('name=="\\xff"')
def test_any_text_parses_or_is_an_invalid_argument(text: str) -> None:
    assert outcome(text).keys() - {"filter"} in ({"matches"}, {"error"})


@given(st.sampled_from(ACCEPTED), st.data())
def test_damaged_filter_parses_or_is_an_invalid_argument(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    inserted = data.draw(FRAGMENTS)
    for damaged in (text[:cut], text[:cut] + inserted + text[cut:]):
        outcome(damaged)


@given(st.lists(st.sampled_from(ACCEPTED), min_size=1, max_size=4))
def test_several_filters_match_what_any_of_them_matches(filters: list[str]) -> None:
    each = {name for text in filters for name in names_matching(text)}
    assert names_matching(*filters) == [info.name for info in INFOS if info.name in each]


@given(st.lists(st.sampled_from([text for text in ACCEPTED if text]), min_size=1, max_size=4))
def test_joined_selectors_match_what_all_of_them_match(filters: list[str]) -> None:
    expected = [
        info.name for info in INFOS if all(info.name in names_matching(text) for text in filters)
    ]
    assert names_matching(",".join(filters)) == expected
