r"""containerd's filter language: what a walk is asked for, parsed into predicates on `Info`.

    filter    := "" | selector ("," selector)*
    selector  := path [operator value]
    path      := field ("." field)*
    field     := quoted | [A-Za-z0-9_]+
    operator  := "==" | "!=" | "~="
    value     := quoted | visible characters but ",", the first none of . = ! ~ / |
    quoted    := a Go string in "…"; after ~= also in /…/ or |…|

All selectors of a filter must match; of several filters any. The empty filter matches
everything. A selector without operator asks whether the field is there. White space may stand
before a field, an operator and a value, but not at the end of a selector. A single quote is a
character like others. Recorded runs of containerd decide these corners and those below;
`tests/snapshots/test_filters.py` replays them.

Fields are `name`, `parent`, `kind` and `labels.KEY`, where KEY is the rest of the path joined
by dots; behind the other three a rest is ignored. `resolve_field` is the one place that knows
this. A field that isn't there counts as "" for `!=` and `~=`, and never equals anything: not
even "".

Values are byte strings in Go, and the escapes `\xHH` and `\NNN` can make them invalid UTF-8.
Such a byte becomes a lone surrogate here (as the error handler `surrogateescape` makes it), so
the value differs from every name and label, which are valid Unicode, as it does in Go.

Regular expressions are unanchored and linear in the text; one that doesn't parse matches nothing.
`regexps.py` has their limits and the differences from Go's.

`quote_filter` makes the quoted string that stands for a text, and `equalities` the selectors that
keyword arguments ask for, which are never text.

Parsing and matching are linear in their input. Filters and selectors are immutable values that
any number of threads may use.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import unicodedata
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar, assert_never

from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.model import Kind
from projections.snapshots.regexps import compile_search, require_readable
from projections.snapshots.validation import checked_mapping, checked_text, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from projections.snapshots.model import Info
    from projections.snapshots.projection import PlainRow

Predicate: TypeAlias = "Callable[[Info], bool]"
PlainPredicate: TypeAlias = "Callable[[tuple[str, PlainRow]], bool]"
Reader: TypeAlias = "Callable[[Info], str | None]"
PlainReader: TypeAlias = "Callable[[tuple[str, PlainRow]], str | None]"

T = TypeVar("T")

_SHOWN_CHARACTERS_MAX = 200


class Column(enum.Enum):
    """The part of an `Info` that a field refers to."""

    NAME = "name"
    PARENT = "parent"
    KIND = "kind"
    LABEL = "labels"


class Reference(NamedTuple):
    """What a field refers to: a column, and in `Column.LABEL` the label's key (else "")."""

    column: Column
    label: str = ""


class Operator(enum.Enum):
    """How a selector compares; the values are as a filter writes them."""

    PRESENT = ""
    EQUAL = "=="
    NOT_EQUAL = "!="
    MATCHES = "~="


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """One condition on one field.

    Attributes:
        field: the path, not empty; `resolve_field` says what it refers to.
        operator: how the field is compared.
        value: what it is compared with, unquoted; "" with `Operator.PRESENT`.
        matches: whether an `Info` meets the condition.
        matches_plain: whether a row does as it is packed: its name, and `PlainRow`.

    Raises:
        InvalidArgumentError: the regular expression is beyond the limits of `regexps.py`.
    """

    field: tuple[str, ...]
    operator: Operator
    value: str = ""
    matches: Predicate = dataclasses.field(init=False, repr=False, compare=False)
    matches_plain: PlainPredicate = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compare = _comparison(self.operator, self.value)
        object.__setattr__(self, "matches", _predicate(field_reader(self.field), compare))
        object.__setattr__(self, "matches_plain", _predicate(_plain_reader(self.field), compare))


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all be met; without any, everything matches.

    Attributes:
        selectors: the conditions, in the order of the text.
        matches: whether an `Info` meets them all.
        matches_plain: whether a row does as it is packed.
    """

    selectors: tuple[Selector, ...]
    matches: Predicate = dataclasses.field(init=False, repr=False, compare=False)
    matches_plain: PlainPredicate = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        predicates = tuple(selector.matches for selector in self.selectors)
        object.__setattr__(self, "matches", _all_of(predicates))
        plain = tuple(selector.matches_plain for selector in self.selectors)
        object.__setattr__(self, "matches_plain", _all_of(plain))


def parse_filters(*filters: str) -> Predicate:
    """Return a predicate that is true where any of the filters matches.

    Without filters it is always true.

    Raises:
        InvalidArgumentError: a filter doesn't parse; names it, the position (in characters,
            from 0) and what was expected there.
    """
    return any_of(tuple(parse_filter(text).matches for text in filters or ("",)))


def parse_filter(text: str, *, is_strict: bool = False) -> Filter:
    """Parse one filter.

    Args:
        text: of the filter.
        is_strict: refuse a regular expression that doesn't parse, as containerd does not.

    Raises:
        InvalidArgumentError: as `parse_filters`.
    """
    text = checked_text(text, "filter")
    return _Parser(text, is_strict=is_strict).parse() if text else Filter(())


def quote_filter(text: str) -> str:
    r"""Return the quoted string, such as `"a\"b"`, that stands for a text in a filter.

    For a value or a field, so that a text from elsewhere can't say more than itself:
    `f"name=={quote_filter(key)}"`, `f"labels.{quote_filter(label)}"`.

    Raises:
        InvalidArgumentError: the text is no `str`, or holds a lone surrogate.
    """
    text = checked_text(text, "text to quote")
    if _SURROGATE.search(text):
        raise InvalidArgumentError(
            f"the text {shown(text)} holds a lone surrogate: no name or label does"
        )
    return '"' + _NEEDS_ESCAPE.sub(_escape, text) + '"'


def equalities(
    *,
    name: str | None = None,
    parent: str | None = None,
    kind: Kind | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[Selector, ...]:
    """Return the selectors that ask for these values, for those that are not None.

    Raises:
        InvalidArgumentError: a name, a parent, a key or a value of a label is no text, the kind
            is none, or the labels are no mapping.
    """
    wanted: list[tuple[tuple[str, ...], str]] = []
    if name is not None:
        wanted.append(((Column.NAME.value,), checked_text(name, "name to filter by")))
    if parent is not None:
        wanted.append(((Column.PARENT.value,), checked_text(parent, "parent to filter by")))
    if kind is not None:
        known = Kind.parse(checked_text(kind, "kind to filter by"))
        wanted.append(((Column.KIND.value,), known.value))
    for key, value in checked_mapping(labels).items():
        label = checked_text(key, "label key to filter by")
        wanted.append(
            ((Column.LABEL.value, label), checked_text(value, "label value to filter by"))
        )
    return tuple(Selector(field, Operator.EQUAL, value) for field, value in wanted)


def resolve_field(path: tuple[str, ...]) -> Reference | None:
    """Return what a field refers to, None for a field that no snapshot has."""
    try:
        column = Column(path[0])
    except ValueError:
        return None
    return Reference(column, ".".join(path[1:]) if column is Column.LABEL else "")


def field_reader(path: tuple[str, ...]) -> Reader:
    """Return a function that gives the field's text in an `Info`, None where it isn't there."""
    reference = resolve_field(path)
    if reference is None:
        return lambda info: None
    if reference.column is Column.LABEL:
        label = reference.label
        return lambda info: info.labels.get(label)
    return attrgetter(reference.column.value)


def _plain_reader(path: tuple[str, ...]) -> PlainReader:
    """Return what `field_reader` does, for a name with its row as that is packed."""
    reference = resolve_field(path)
    if reference is None:
        return lambda row: None
    match reference.column:
        case Column.NAME:
            return itemgetter(0)
        case Column.PARENT:
            return lambda row: row[1][1]
        case Column.KIND:
            return lambda row: row[1][2]
        case Column.LABEL:
            label = reference.label
            return lambda row: row[1][3].get(label)
        case _:
            assert_never(reference.column)


# Predicates. They are closures because a walk calls one a snapshot: what depends on the filter
# alone is decided here, once.


def _all_of(predicates: tuple[Callable[[T], bool], ...]) -> Callable[[T], bool]:
    if len(predicates) == 1:
        return predicates[0]

    def matches(each: T) -> bool:
        for predicate in predicates:  # noqa: SIM110 - a generator would take twice as long
            if not predicate(each):
                return False
        return True

    return matches


def any_of(predicates: tuple[Callable[[T], bool], ...]) -> Callable[[T], bool]:
    """Return a predicate that is true where one of these is."""
    if len(predicates) == 1:
        return predicates[0]

    def matches(each: T) -> bool:
        for predicate in predicates:  # noqa: SIM110 - as above
            if predicate(each):
                return True
        return False

    return matches


def _predicate(
    read: Callable[[T], str | None], compare: Callable[[str | None], bool]
) -> Callable[[T], bool]:
    return lambda each: compare(read(each))


def _comparison(operator: Operator, value: str) -> Callable[[str | None], bool]:
    """Return what says of the text of a field, None where it is not there, whether it is right."""
    match operator:
        case Operator.PRESENT:
            return lambda text: text is not None
        case Operator.EQUAL:
            return lambda text: text == value
        case Operator.NOT_EQUAL:
            return lambda text: (text or "") != value
        case Operator.MATCHES:
            search = compile_search(value)
            return lambda text: search(text or "")
        case _:
            assert_never(operator)


# The parser.

_SPACES = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*")
_FIELD = re.compile("[A-Za-z0-9_]+")
_REST_OF_KEY = re.compile(r"[^\s=!~,\"]+")
_OPERATOR = re.compile("[=!~]=(?![=!~])")
_NEVER_IN_A_FILTER = re.compile("[\0\ufffd\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEEDS_ESCAPE = re.compile('[\0\n\ufffd"\\\\]')
_UNQUOTED = {quote: re.compile(rf"[^\\\n{quote}]*") for quote in '"/|'}
_ESCAPE = re.compile(
    r"""\\(?: (?P<octal> [0-7]{3})
            | x (?P<byte> [0-9A-Fa-f]{2})
            | u (?P<rune> [0-9A-Fa-f]{4})
            | U (?P<long_rune> [0-9A-Fa-f]{8})
            | (?P<letter> .) )""",
    re.VERBOSE,
)
_ESCAPED_LETTERS = {
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
    "\\": b"\\",
}
_VALUE_CATEGORIES = frozenset("LMNPS")
"""First letters of the Unicode categories that an unquoted value is made of, as Go's IsGraphic."""


class _Parser:
    """Recursive descent over one filter that isn't empty; each method consumes what it names."""

    __slots__ = ("_is_strict", "_position", "_text")

    def __init__(self, text: str, *, is_strict: bool) -> None:
        self._text = text
        self._is_strict = is_strict
        self._position = 0

    def parse(self) -> Filter:
        if bad := _NEVER_IN_A_FILTER.search(self._text):
            raise self._expected("valid UTF-8 without NUL and U+FFFD", bad.start())
        selectors = [self._selector()]
        while self._position < len(self._text):
            if self._peek() != ",":
                raise self._expected('"," or the end')
            self._position += 1
            selectors.append(self._selector())
        return Filter(tuple(selectors))

    def _selector(self) -> Selector:
        path = self._path()
        if self._peek() in ("", ","):
            return Selector(path, Operator.PRESENT)
        operator = self._operator(path)
        self._scan(_SPACES)
        start = self._position
        value = self._value(operator)
        try:
            if self._is_strict and operator is Operator.MATCHES:
                require_readable(value)
            return Selector(path, operator, value)
        except InvalidArgumentError as error:
            raise self._error(str(error), start) from None

    def _path(self) -> tuple[str, ...]:
        fields = [self._field()]
        while self._peek() == ".":
            self._position += 1
            fields.append(self._field())
        return tuple(fields)

    def _field(self) -> str:
        self._scan(_SPACES)
        if self._peek() == '"':
            return self._quoted()
        if not (field := self._scan(_FIELD)):
            raise self._expected('a field: letters, digits and "_", or a string in "…"')
        return field

    def _operator(self, path: tuple[str, ...]) -> Operator:
        end = self._position
        self._scan(_SPACES)
        if not (operator := self._scan(_OPERATOR)):
            raise self._expected("an operator: ==, != or ~=" + self._quoting(path, end))
        return Operator(operator)

    def _quoting(self, path: tuple[str, ...], position: int) -> str:
        """Return how to write the key of a label that goes on with characters of no field."""
        found = _REST_OF_KEY.match(self._text, position)
        reference = resolve_field(path)
        if not found or reference is None or reference.column is not Column.LABEL:
            return ""
        return f" (or quotes around the key: labels.{quote_filter(reference.label + found[0])})"

    def _value(self, operator: Operator) -> str:
        start = self._position
        quotes = '"/|' if operator is Operator.MATCHES else '"'
        first = self._peek()
        if first and first in quotes:
            return self._quoted()
        if not first or first in ".,=!~/|":
            raise self._expected(f"a value, or a string in one of the quotes {quotes}")
        self._position += 1  # containerd looks at the others only
        while _is_value_character(self._peek()):
            self._position += 1
        return self._text[start : self._position]

    def _quoted(self) -> str:
        start = self._position
        quote = self._peek()
        self._position += 1
        value = bytearray(self._scan(_UNQUOTED[quote]).encode())
        while self._peek() != quote:
            if self._peek() != "\\":
                raise self._expected(f"a closing {quote} on the line of the opening one", start)
            value += self._escape(quote)
            value += self._scan(_UNQUOTED[quote]).encode()
        self._position += 1
        return value.decode(errors="surrogateescape")

    def _escape(self, quote: str) -> bytes:
        escape = _ESCAPE.match(self._text, self._position)
        unescaped = _unescape(escape, quote) if escape else None
        if escape is None or unescaped is None:
            raise self._expected(rf"an escape of Go's strings, or \{quote}")
        self._position = escape.end()
        return unescaped

    def _peek(self) -> str:
        """Return the next character, "" at the end."""
        return self._text[self._position : self._position + 1]

    def _scan(self, pattern: re.Pattern[str]) -> str:
        """Consume and return what the pattern matches here, "" where it doesn't."""
        found = pattern.match(self._text, self._position)
        if found is None:
            return ""
        self._position = found.end()
        return found[0]

    def _expected(self, expected: str, position: int | None = None) -> InvalidArgumentError:
        if position is None:
            position = self._position
        found = self._text[position : position + 1]
        return self._error(
            f"expected {expected}, found {ascii(found) if found else 'the end'}", position
        )

    def _error(self, what: str, position: int) -> InvalidArgumentError:
        shown = repr(self._text[:_SHOWN_CHARACTERS_MAX])
        if len(self._text) > _SHOWN_CHARACTERS_MAX:
            shown += "…"
        return InvalidArgumentError(f"filter {shown}, position {position}: {what}")


def _escape(character: re.Match[str]) -> str:
    r"""Return a character that can't stand in a quoted string as itself, as an escape."""
    match character[0]:
        case '"' | "\\":
            return "\\" + character[0]
        case "\n":
            return r"\n"
        case other:
            return f"\\u{ord(other):04x}"


def _is_value_character(character: str) -> bool:
    return character not in ("", ",") and unicodedata.category(character)[0] in _VALUE_CATEGORIES


def _unescape(escape: re.Match[str], quote: str) -> bytes | None:
    """Return the bytes that an escape stands for, None if Go refuses it."""
    octal, byte, rune, long_rune, letter = escape.groups()
    if octal:
        return bytes([code]) if (code := int(octal, 8)) <= 0xFF else None
    if byte:
        return bytes.fromhex(byte)
    if rune or long_rune:
        return _encode_rune(int(rune or long_rune, 16))
    return quote.encode() if letter == quote else _ESCAPED_LETTERS.get(letter)


def _encode_rune(code: int) -> bytes | None:
    r"""Return the UTF-8 that containerd makes of \u and \U, None if it refuses the number."""
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd".encode()
    if code <= 0x10FFFF:
        return chr(code).encode()
    # Its rune is an int32: these are negative there, pass for ASCII, and keep their low byte.
    return bytes([code & 0xFF]) if code >= 0x80000000 else None
