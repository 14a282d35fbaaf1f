"""A dump says everything, and a load of it is the same history; a changed line is refused."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, add, balance, open_store, tree
from support.ledger import Ledger, Totals

from eventstore import (
    DumpError,
    Event,
    Retention,
    StoreExistsError,
    StoreOptions,
    load_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEDGER = (Ledger(), Totals())
ODD_NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000abc"))[0]
VALUES: tuple[Any, ...] = (
    None,
    True,
    -(2**63),
    2**64 - 1,
    0.1,
    -0.0,
    5e-324,
    math.inf,
    -math.inf,
    math.nan,
    ODD_NAN,
    "",
    '\0\u2028\ud7ff\U0010ffff"\\',
    b"",
    bytes(range(256)),
    [[], {}, [b"\xff"]],
    {"$bytes": "x", "$": 1},
    {1: 2, b"k": {None: [1.5]}, "t": True},
    {math.nan: 1},
)


def dumped(path: Path) -> bytes:
    with open_store(path, read_only=True) as store:
        return b"".join(store.dump())


def load(data: bytes, path: Path, **options: Any) -> None:
    load_store(io.BytesIO(data), path, LEDGER, options=replace(SMALL, **options))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with three batches of the ledger and one of every kind of value."""
    with open_store(tmp_path / "store") as opened:
        add(opened, 3)
        with opened.transaction(writable=True, actor="ä", reason="r\n", request_id="") as tx:
            for value in VALUES:
                tx.emit(Event("of another domain", value, 7))
    return tmp_path / "store"


def test_loaded_store_has_an_equal_history(store: Path, tmp_path: Path) -> None:
    data = dumped(store)
    report = load_store(io.BytesIO(data), tmp_path / "loaded", LEDGER, options=SMALL)
    assert report.revision == 4
    with open_store(tmp_path / "loaded") as loaded, open_store(store) as old:
        assert loaded.store_id == old.store_id == report.store_id
        assert repr(list(loaded.batches())) == repr(list(old.batches()))
        assert loaded.tree_head() == old.tree_head()
        assert balance(loaded) == 3
        assert loaded.verify().is_sound
    assert dumped(tmp_path / "loaded") == data


def test_lines_are_json_that_a_person_can_read(store: Path) -> None:
    header, first, *_, last = dumped(store).splitlines()
    fields = json.loads(header)
    assert fields.pop("store_id")
    assert fields == {
        "format": "snapledger-dump",
        "version": 1,
        "first_revision": 1,
        "revision": 4,
    }
    batch = json.loads(first)
    assert batch["revision"] == 1
    assert batch["events"][1] == {
        "type": "money.deposited",
        "version": 1,
        "data": {"account": "a", "amount": 1, "note": ""},
    }
    assert list(json.loads(last)) == [
        "revision",
        "time_ns",
        "durable_revision",
        "digest",
        "payload",
    ]


def test_data_without_nan_needs_no_payload(tmp_path: Path) -> None:
    values = [value for value in VALUES if "nan" not in repr(value)]
    with open_store(tmp_path / "store") as opened, opened.transaction(writable=True) as tx:
        tx.emit(Event("of another domain", values))
    data = dumped(tmp_path / "store")
    assert b'"payload"' not in data
    load(data, tmp_path / "loaded")
    with open_store(tmp_path / "loaded") as loaded:
        [batch] = loaded.batches()
        assert repr(batch.events[0].data) == repr(values)


def test_data_nested_to_the_limit_comes_back(tmp_path: Path) -> None:
    data: Any = b"x"
    for _ in range(128):
        data = [{1: data}]
    with open_store(tmp_path / "store") as opened, opened.transaction(writable=True) as tx:
        tx.emit(Event("of another domain", data))
    load(dumped(tmp_path / "store"), tmp_path / "loaded")
    assert dumped(tmp_path / "loaded") == dumped(tmp_path / "store")


def test_store_without_a_batch_comes_back(tmp_path: Path) -> None:
    open_store(tmp_path / "store").close()
    load(dumped(tmp_path / "store"), tmp_path / "loaded")
    assert dumped(tmp_path / "loaded") == dumped(tmp_path / "store")


def test_dump_of_a_cut_store_is_refused_by_a_load(tmp_path: Path) -> None:
    options = replace(SMALL, retention=Retention.none())
    with open_store(tmp_path / "store", options=options) as opened:
        for _ in range(4):
            add(opened, 40)
            opened.compact()
        oldest, newest = opened.oldest_revision(), opened.stats()["revision"]
    data = dumped(tmp_path / "store")
    assert len(data.splitlines()) == 1 + newest - oldest + 1
    with pytest.raises(DumpError, match=f"line 1: the history begins at revision {oldest}"):
        load(data, tmp_path / "loaded")
    assert not (tmp_path / "loaded").exists()


def test_load_never_goes_over_something(store: Path) -> None:
    data, before = dumped(store), tree(store)
    with pytest.raises(StoreExistsError):
        load(data, store)
    assert tree(store) == before


def _changed(number: int, change: Callable[[dict[str, Any]], object]) -> Callable[..., None]:
    """Return what changes the fields of a line."""

    def on(lines: list[bytes]) -> None:
        fields = json.loads(lines[number - 1])
        change(fields)
        lines[number - 1] = json.dumps(fields).encode() + b"\n"

    return on


def _replaced(number: int, old: bytes, new: bytes) -> Callable[..., None]:
    def on(lines: list[bytes]) -> None:
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)

    return on


HOSTILE: dict[str, tuple[Callable[[list[bytes]], object], str]] = {
    "empty": (list.clear, "line 1: the dump is empty"),
    "no header": (lambda lines: lines.pop(0), "line 1: not the first line of a dump"),
    "newer": (_replaced(1, b'"version":1', b'"version":2'), "line 1: not the first .* version 1"),
    "version as a truth": (
        _replaced(1, b'"version":1', b'"version":true'),
        "line 1: not the first",
    ),
    "no version": (_replaced(1, b'"version":1,', b""), "line 1: not the first line"),
    "header field": (_replaced(1, b"{", b'{"x":1,'), "line 1: an unknown field 'x'"),
    "store id": (
        _changed(1, lambda f: f.update(store_id="00")),
        "line 1: 'store_id' is not in hex",
    ),
    "other store": (
        _changed(1, lambda f: f.update(store_id="00" * 16)),
        "line 2: the digest is not",
    ),
    "revision -1": (
        _changed(1, lambda f: f.update(revision=-1)),
        "line 1: 'revision' is not a whole",
    ),
    "revision true": (_changed(1, lambda f: f.update(revision=True)), "line 1: 'revision' is not"),
    "huge revision": (
        _changed(1, lambda f: f.update(revision=2**62)),
        "line 6: the dump ends before",
    ),
    "gap": (lambda lines: lines.pop(2), "line 3: revision 3, where 2 must stand"),
    "twice": (lambda lines: lines.insert(2, lines[1]), "line 3: revision 1, where 2 must stand"),
    "order": (lambda lines: lines.insert(1, lines.pop(2)), "line 2: revision 2, where 1"),
    "cut at a line": (lambda lines: lines.pop(), "line 5: the dump ends before revision 4"),
    "cut in a line": (_replaced(5, b"}\n", b"}"), "line 5: the line was cut short"),
    "more": (lambda lines: lines.append(b"{}\n"), "line 6: more after revision 4"),
    "blank": (lambda lines: lines.insert(1, b"\n"), "line 2: not JSON"),
    "not an object": (lambda lines: lines.insert(1, b"[1]\n"), "line 2: not a JSON object"),
    "byte order mark": (_replaced(1, b"{", b"\xef\xbb\xbf{"), "line 1: a byte order mark"),
    "not utf-8": (_replaced(3, b"money.", b"\xff\xfe"), "line 3: not UTF-8"),
    "surrogate": (_replaced(3, b"money.", b"\\ud800"), "line 3: event .* can't be logged"),
    "nan": (_replaced(3, b'"amount":1', b'"amount":NaN'), "line 3: NaN is no number"),
    "infinity": (_replaced(3, b'"amount":1', b'"amount":-Infinity'), "line 3: -Infinity is no"),
    "overflow": (_replaced(3, b'"amount":1', b'"amount":1e999'), "line 3: the number 1e999 is out"),
    "digits": (
        _replaced(3, b'"amount":1', b'"amount":' + b"9" * 9999),
        "line 3: not JSON: Exceeds",
    ),
    "65 bits": (
        _replaced(3, b'"amount":1', b'"amount":18446744073709551616'),
        "line 3: event .* can",
    ),
    "deep lists": (
        _replaced(3, b'"amount":1', b'"amount":' + b"[" * 10**5),
        "line 3: nested too deep",
    ),
    "deep objects": (
        _replaced(3, b'"amount":1', b'"amount":' + b'{"a":' * 50_000),
        "line 3: nested",
    ),
    "levels": (
        _replaced(3, b'"amount":1', b'"amount":' + b"[" * 300 + b"]" * 300),
        "line 3: .* nested deeper than 256 levels",
    ),
    "a field twice": (_replaced(3, b'"amount":1', b'"amount":1,"amount":1'), "line 3: .* twice"),
    "a key twice": (
        _replaced(3, b'"amount":1', b'"amount":{"$dict":[1,2,1,2]}'),
        "line 3: .* twice",
    ),
    "an odd $dict": (
        _replaced(3, b'"amount":1', b'"amount":{"$dict":[1]}'),
        "line 3: '.dict' with",
    ),
    "a $dict by a list": (
        _replaced(3, b'"amount":1', b'"amount":{"$dict":[[],1]}'),
        "line 3: a key that can be none",
    ),
    "an unknown $": (_replaced(3, b'"amount":1', b'"amount":{"$run":1}'), "line 3: '.run' with"),
    "beside a $": (_replaced(3, b'"amount":1', b'"amount":{"$bytes":"","a":1}'), "line 3: a field"),
    "not base64": (_replaced(3, b'"amount":1', b'"amount":{"$bytes":"?"}'), "line 3: not base64"),
    "a $float": (_replaced(3, b'"amount":1', b'"amount":{"$float":"1"}'), "line 3: '.float' with"),
    "changed data": (_replaced(3, b'"amount":1', b'"amount":2'), "line 3: the digest is not that"),
    "changed type": (
        _replaced(3, b'"amount":1', b'"amount":1.0'),
        "line 3: the digest is not that",
    ),
    "changed actor": (_changed(3, lambda f: f.update(actor="x")), "line 3: the digest is not that"),
    "changed time": (_changed(3, lambda f: f.update(time_ns=2**62)), "line 3: the digest is not"),
    "changed digest": (_changed(3, lambda f: f.update(digest="00" * 32)), "line 3: the digest is"),
    "older": (_changed(3, lambda f: f.update(time_ns=0)), "line 3: the batch is older than"),
    "durable early": (
        _changed(3, lambda f: f.update(durable_revision=2)),
        "line 3: .* been durable",
    ),
    "no field": (_changed(3, lambda f: f.pop("actor")), "line 3: no field 'actor'"),
    "unknown field": (_changed(3, lambda f: f.update(x=1)), "line 3: an unknown field 'x'"),
    "both": (_changed(3, lambda f: f.update(payload="")), "line 3: an unknown field 'actor'"),
    "actor": (
        _changed(3, lambda f: f.update(actor=1)),
        "line 3: the actor of a transaction must be",
    ),
    "events": (_changed(3, lambda f: f.update(events={})), "line 3: 'events' is not a list"),
    "event": (_changed(3, lambda f: f.update(events=[1])), "line 3: an event is not an object"),
    "event field": (_changed(3, lambda f: f["events"][0].pop("type")), "line 3: no field 'type'"),
    "event type": (_changed(3, lambda f: f["events"][0].update(type=1)), "line 3: event 1 can't"),
    "payload": (_changed(5, lambda f: f.update(payload="wA==")), "line 5: 'payload' is no batch"),
    "payload type": (_changed(5, lambda f: f.update(payload=1)), "line 5: 'payload' is no batch"),
    "huge": (lambda lines: lines.insert(1, b" " * 10**6), "line 2: longer than 327680 bytes"),
    "no end": (lambda lines: lines.insert(0, b"{" * 10**6), "line 1: longer than 4096 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_line_is_refused_by_its_number_and_nothing_is_left(
    name: str, store: Path, tmp_path: Path
) -> None:
    change, reason = HOSTILE[name]
    lines = dumped(store).splitlines(keepends=True)
    change(lines)
    with pytest.raises(DumpError, match=f"^{reason}"):
        load(b"".join(lines), tmp_path / "loaded", batch_bytes_max=64 * 1024)
    assert not (tmp_path / "loaded").exists()


def test_every_cut_of_a_dump_is_refused(store: Path, tmp_path: Path) -> None:
    data = dumped(store)
    ends = [at for at in range(1, len(data)) if data[at - 1 : at] == b"\n"]
    for end in {*ends, *range(0, len(data), 97)} - {len(data)}:
        with pytest.raises(DumpError):
            load(data[:end], tmp_path / "loaded")
    assert not (tmp_path / "loaded").exists()


def test_larger_batches_are_loaded_with_a_larger_cap(tmp_path: Path) -> None:
    large = StoreOptions(segment_bytes=65536, background=False, batch_bytes_max=2 * 1024 * 1024)
    with (
        open_store(tmp_path / "store", options=large) as opened,
        opened.transaction(writable=True) as tx,
    ):
        tx.emit(Event("of another domain", "x" * 1024 * 1024))
    data = dumped(tmp_path / "store")
    with pytest.raises(DumpError, match="line 2: longer than"):
        load(data, tmp_path / "loaded", batch_bytes_max=64 * 1024)
    load(data, tmp_path / "loaded", batch_bytes_max=2 * 1024 * 1024)
    assert dumped(tmp_path / "loaded") == data
