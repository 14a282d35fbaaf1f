"""A value on the command line that can't be meant is a usage error: exit code 2, one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Call

DIGITS = "9" * 5000
WHOLE = {"log": ["-n", "--limit", "--from", "--to"]}
AT = {"ls": [], "tree": [], "info": ["view-1"]}


def short(text: str) -> str:
    return ascii(text)[:20]


def assert_usage_error(code: int, out: str, err: str) -> None:
    assert code == 2, err
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("snapledger: ")
    assert "--help" in line


@pytest.mark.parametrize("option", WHOLE["log"])
@pytest.mark.parametrize(
    "text",
    ["-1", "99999999999999999999", DIGITS, "1.5", "1e3", "nan", "inf", "true", "x", "", "\udcff"],
    ids=short,
)
def test_a_count_or_revision_out_of_range_is_a_usage_error(
    call: Call, told: Path, option: str, text: str
) -> None:
    assert_usage_error(*call("log", told, option, text))


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_revisions_begin_at_one(call: Call, told: Path, option: str) -> None:
    assert_usage_error(*call("log", told, option, "0"))


def test_the_largest_numbers_are_taken(call: Call, told: Path) -> None:
    whole = call("log", told)
    assert whole.code == 0
    assert call("log", told, "-n", str(2**63 - 1)) == whole
    assert call("log", told, "--to", str(2**63 - 1)) == whole
    assert call("log", told, "--from", str(2**63 - 1)).out == ""
    assert call("log", told, "-n", "0").out == ""
    assert call("ls", told, "--at", "0" * 5000 + "5") == call("ls", told, "--at", "5")


@pytest.mark.parametrize("verb", AT)
@pytest.mark.parametrize(
    "text",
    [
        "-1",
        str(2**63),
        DIGITS,
        "1.5",
        "nan",
        "",
        "٣",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00+99:99",
        "\udcff",
    ],
    ids=short,
)
def test_a_moment_that_is_none_is_a_usage_error(
    call: Call, told: Path, verb: str, text: str
) -> None:
    assert_usage_error(*call(verb, told, *AT[verb], "--at", text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59.999999999-23:59", 0),
        ("1969-12-31T23:59:59Z", 0),
        (str(2**63 - 1), 1),
    ],
)
def test_any_time_and_any_revision_can_be_asked_for(
    call: Call, told: Path, text: str, code: int
) -> None:
    result = call("ls", told, "--at", text)
    assert result.code == code, result.err


@pytest.mark.parametrize(
    "text", ["-1", "nan", "-nan", "inf", "-inf", "1e300", "x", "", "\udcff"], ids=short
)
def test_a_time_to_wait_that_is_none_is_a_usage_error(call: Call, told: Path, text: str) -> None:
    assert_usage_error(*call("compact", told, "--wait", text))


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"], ids=short)
def test_a_path_that_no_file_can_have_is_a_usage_error(
    call: Call, told: Path, tmp_path: Path, path: str
) -> None:
    for verb in ("ls", "tree", "log", "check", "compact", "stats"):
        assert_usage_error(*call(verb, path))
    assert_usage_error(*call("info", path, "key"))
    assert_usage_error(*call("import-bolt", path, tmp_path / "new"))
    assert_usage_error(*call("import-bolt", DATABASE, path))
    assert_usage_error(*call("repair", path, "--output", tmp_path / "new"))
    assert_usage_error(*call("repair", told, "--output", path))
    assert not list(tmp_path.iterdir())


def test_an_actor_that_is_no_text_is_a_usage_error_and_makes_no_store(
    call: Call, tmp_path: Path
) -> None:
    assert_usage_error(*call("import-bolt", DATABASE, tmp_path / "new", "--actor", "\udcff"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["", "\udcff", "a\0b", "x" * 100_000], ids=short)
def test_a_key_that_no_snapshot_can_have_is_not_found(call: Call, told: Path, key: str) -> None:
    for arguments in (("info", told, key), ("log", told, "--key", key)):
        result = call(*arguments)
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
