"""`report`: a page that holds everything, fetches nothing, runs nothing of what it shows, works.

What the page does is seen in a real browser; without one these tests are skipped.
"""

from __future__ import annotations

import html.parser
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import CHROMIUM, Browser
from support.cli import OPTIONS, Call

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISO_TICK = re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d(:\d\d(\.\d{3})?)?")
SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
HOSTILE = (
    *(SCRIPT, "{{DATA}}", "{{report.js}}", "<!-- <script>", "]]>", "__proto__", "constructor"),
    *("a\u202eb\u2066c", "\u2028\u2029", "bell\x07", "&lt;b&gt;", "\\u003c", "x'\"`${1}"),
)


def build(path: Path) -> None:
    """Make a store with a chain of three, a removed view, and hostile texts wherever they fit."""
    with MetaStore.open(path, options=OPTIONS) as store:
        for number, (name, parent) in enumerate((("base", ""), ("mid", "base"), ("top", "mid"))):
            with store.transaction(writable=True, actor="puller", reason="unpack") as tx:
                tx.create_snapshot(Kind.ACTIVE, f"work-{number}", parent)
                tx.commit_active(f"work-{number}", name, Usage(1, 1000 << number))
        with store.transaction(writable=True, actor="runtime") as tx:
            tx.create_snapshot(Kind.VIEW, "look", "top")
        with store.transaction(writable=True, actor="gc", reason="unused") as tx:
            tx.remove("look")
        for text in HOSTILE:
            with store.transaction(writable=True, actor=text, reason=text) as tx:
                tx.create_snapshot(Kind.ACTIVE, text, "base", {text: text})


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "store"
    build(path)
    return path


class Scripts(html.parser.HTMLParser):
    """The texts of a page's scripts, and everything that it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, str] = {}
        self.fetched: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        self._inside = (given.get("id") or tag) if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data


def report(call: Call, store: Path, page: Path) -> str:
    result = call("report", store, "-o", page)
    assert (result.code, result.err) == (0, "")
    return page.read_text()


def test_page_is_one_file_that_fetches_nothing(call: Call, hostile: Path, tmp_path: Path) -> None:
    page = report(call, hostile, tmp_path / "page.html")
    found = Scripts(page)
    assert found.tags.count("script") == 3
    assert found.tags.count("img") == found.tags.count("link") == 0
    assert found.fetched == []
    assert "default-src 'none'" in page
    assert "unsafe" not in page.partition("<title>")[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


def test_hostile_texts_are_data_only(call: Call, hostile: Path, tmp_path: Path) -> None:
    page = report(call, hostile, tmp_path / "page.html")
    data = Scripts(page).texts["data"]
    assert data.isascii()
    assert not set("<>&") & set(data)
    document: dict[str, Any] = json.loads(data)
    assert set(HOSTILE) <= set(document["strings"])


def test_page_tells_of_all_batches_and_events(call: Call, hostile: Path, tmp_path: Path) -> None:
    data = json.loads(Scripts(report(call, hostile, tmp_path / "page.html")).texts["data"])
    assert len(data["batches"]["time"]) == data["revision"] == 5 + len(HOSTILE)
    done = [data["operations"][number] for number in data["events"]["op"]]
    assert done[:8] == [*["created active", "committed"] * 3, "created view", "removed"]
    assert data["events"]["size"][1:6:2] == [1000, 2000, 4000]


def test_page_of_a_store_that_has_dropped_batches_begins_where_they_end(
    call: Call, tmp_path: Path
) -> None:
    retention = Retention(revisions=5)
    options = StoreOptions(segment_bytes=8192, background=False, retention=retention)
    with MetaStore.open(tmp_path / "store", options=options) as store:
        for number in range(40):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 900})
            if number % 13 == 12:
                store.compact()
        assert store.event_store.oldest_revision() > 1
        newest = store.event_store.stats()["revision"]  # of creations, and of what was dropped
    path = tmp_path / "store"
    result = call("report", path, "-o", tmp_path / "page")
    data = json.loads(Scripts((tmp_path / "page").read_text()).texts["data"])
    gone = f"what was before revision {data['first_revision']} is no longer kept, nor on the page"
    assert (result.code, result.err) == (0, f"note: {path}: {gone}\n")
    batches = len(data["batches"]["time"])
    assert data["first_revision"] > 1
    assert data["first_revision"] + batches == newest + 1
    assert newest >= 40 >= len(data["start"]) > 0


def test_json_tells_what_was_written(call: Call, hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("an older one")
    result = call("report", hostile, "-o", page, "--json")
    assert json.loads(result.out) == {
        "file": str(page),
        "bytes": page.stat().st_size,
        "first_revision": 1,
        "revision": 5 + len(HOSTILE),
        "batches": 5 + len(HOSTILE),
        "snapshots": 3 + len(HOSTILE),
    }


def test_page_is_not_written_into_a_store_or_where_it_can_not_be(
    call: Call, story: Path, tmp_path: Path
) -> None:
    before = sorted(story.rglob("*"))
    assert call("report", story, "-o", story / "page.html").code == 1
    assert sorted(story.rglob("*")) == before
    missing = call("report", story, "-o", tmp_path / "gone/page.html")
    assert (missing.code, f"{tmp_path}/gone/page.html: " in missing.err) == (1, True)
    assert call("report", story).code == 2


def test_page_begins_with_the_first_state_that_is_left(call: Call, tmp_path: Path) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    with MetaStore.open(tmp_path / "store", options=options) as store:
        for number in range(1, 41):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"n": "x" * 100})
            if number in (17, 30):
                store.compact()
        oldest, newest = store.event_store.oldest_revision(), store.stats()["revision"]
    assert 1 < oldest < 18
    page = tmp_path / "page.html"
    result = call("report", tmp_path / "store", "-o", page)
    assert (result.code, "what was before revision 18 is no longer kept" in result.err) == (0, True)
    data = json.loads(Scripts(page.read_text()).texts["data"])
    assert (data["first_revision"], data["revision"]) == (18, newest)
    assert len(data["batches"]["time"]) == newest - 17
    assert len(data["start"]) == 17


def test_page_replaces_a_file_alone_and_is_for_its_owner(
    call: Call, story: Path, tmp_path: Path
) -> None:
    link, pipe, page = tmp_path / "link", tmp_path / "pipe", tmp_path / "page.html"
    (tmp_path / "old").write_text("old")
    link.symlink_to(tmp_path / "old")
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path):
        before = path.lstat()
        result = call("report", story, "-o", path)
        assert (result.code, result.out) == (1, "")
        assert "no regular file is there" in result.err
        assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert (tmp_path / "old").read_text() == "old"
    report(call, story, page)
    assert page.stat().st_mode & 0o777 == 0o600
    page.chmod(0o640)
    report(call, story, page)
    assert page.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir() if "page" in path.name) == ["page.html"]


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def browser(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from snapledger.program import main  # noqa: PLC0415 - the fixture `call` lives shorter

    place = tmp_path_factory.mktemp("browser")
    assert main(["report", str(hostile), "-o", str(place / "page.html")]) == 0
    with Browser(place / "profile") as started:
        started.open((place / "page.html").as_uri())
        yield started


MOMENT = "document.getElementById('moment').textContent"
STORY = "document.getElementById('story').textContent"
ROWS = "[...document.querySelectorAll('#tree .row .name')].map((each) => each.textContent)"


def to_revision(browser: Browser, revision: int) -> None:
    browser.value(
        "(() => { const slider = document.getElementById('slider');"
        f"slider.value = {revision}; slider.dispatchEvent(new Event('input')); }})()"
    )
    browser.wait_for(f"{MOMENT}.startsWith('revision {revision} ')")


def wait_for_rows(browser: Browser, names: list[str]) -> None:
    """Return once the tree shows just these: it is drawn with the next frame."""
    browser.wait_for(
        f"JSON.stringify({ROWS}) === {json.dumps(json.dumps(names).replace(', ', ','))}"
    )


def wait_for_story(browser: Browser, part: str) -> None:
    """Return once the story has a passage."""
    browser.wait_for(f"{STORY}.includes({json.dumps(part)})")


@needs_browser
def test_slider_shows_the_tree_at_any_revision(browser: Browser) -> None:
    to_revision(browser, 0)
    wait_for_rows(browser, [])
    to_revision(browser, 2)
    wait_for_rows(browser, ["base", "mid"])
    to_revision(browser, 4)
    wait_for_rows(browser, ["base", "mid", "top", "look"])
    browser.wait_for(f"{MOMENT}.includes('by runtime')")
    browser.click("#forth")
    browser.wait_for(f"{MOMENT}.startsWith('revision 5 ')")
    wait_for_rows(browser, ["base", "mid", "top"])
    browser.wait_for(f"{MOMENT}.includes('3 snapshots')")
    browser.value("document.getElementById('slider').focus()")
    browser.press("ArrowLeft")
    browser.wait_for(f"{MOMENT}.startsWith('revision 4 ')")


@needs_browser
def test_click_and_keys_tell_the_story_of_a_snapshot(browser: Browser) -> None:
    to_revision(browser, 4)
    wait_for_rows(browser, ["base", "mid", "top", "look"])
    browser.click("#tree .row:nth-child(2)")
    wait_for_story(browser, "created active work-1")
    wait_for_story(browser, "2,000 bytes")
    wait_for_story(browser, "by puller, because unpack")
    browser.value("document.getElementById('tree').focus()")
    browser.press("ArrowDown")
    wait_for_story(browser, "4,000 bytes")
    browser.press("ArrowUp")
    browser.press("ArrowLeft")
    wait_for_rows(browser, ["base", "mid"])
    browser.press("ArrowRight")
    wait_for_rows(browser, ["base", "mid", "top", "look"])
    browser.click("#story button")
    browser.wait_for(f"{MOMENT}.startsWith('revision 2 ')")


@needs_browser
def test_search_finds_what_was_removed_and_who_did_it(browser: Browser) -> None:
    to_revision(browser, 5)
    browser.press("/")
    browser.write("unused")
    browser.wait_for("document.querySelectorAll('#found button').length === 1")
    browser.click("#found button")
    browser.wait_for(f"{STORY}.includes('by gc, because unused')")
    browser.wait_for(f"{ROWS}.includes('look')")  # the tree is drawn with the next frame
    browser.value("document.getElementById('search').value = ''")


@needs_browser
def test_charts_are_drawn_and_a_click_goes_there(browser: Browser) -> None:
    for chart in ("counts", "sizes"):
        assert browser.value(f"document.querySelectorAll('#{chart} path.line').length") == 1
        ticks = f"[...document.querySelectorAll('#{chart} g:first-of-type .tick text')]"
        times = browser.value(f"{ticks}.map((tick) => tick.textContent).join(' ')").split(" ")
        assert times
        assert all(ISO_TICK.fullmatch(time) for time in times), times
    assert browser.value("document.querySelectorAll('#actors .bar').length") >= 3
    to_revision(browser, 1)
    browser.value(
        "(() => { const hit = document.querySelector('#counts .hit');"
        "const box = hit.getBoundingClientRect();"
        "hit.dispatchEvent(new MouseEvent('click', {clientX: box.right - 1, clientY: box.y + 9,"
        "bubbles: true})); })()"
    )
    browser.wait_for(f"!{MOMENT}.startsWith('revision 1 ')")


@needs_browser
def test_hostile_texts_are_shown_and_do_nothing(browser: Browser) -> None:
    to_revision(browser, 5 + len(HOSTILE))
    browser.wait_for(f"{ROWS}.length >= {len(HOSTILE)}")
    for number in range(len(HOSTILE)):
        browser.value(f"document.querySelectorAll('#tree .row')[{number}].click()")
    shown = browser.value(ROWS)
    assert "a\\u{202e}b\\u{2066}c" in shown
    assert SCRIPT in shown
    assert browser.value("typeof window.hacked") == "undefined"
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.querySelectorAll('script').length") == 3
    assert not any(letter in "".join(shown) for letter in "\u202e\u2066\u2028\x07")
    assert browser.complaints == []
    assert [address.partition(":")[0] for address in browser.asked] == ["file"]


@needs_browser
def test_print_shows_every_row_and_dark_is_dark(browser: Browser) -> None:
    to_revision(browser, 4)
    browser.value("dispatchEvent(new Event('beforeprint'))")
    browser.wait_for(f"{ROWS}.length === 4")
    light = browser.value("getComputedStyle(document.body).backgroundColor")
    browser.prefer_dark()
    assert browser.value("getComputedStyle(document.body).backgroundColor") != light


OUTSIDE = """(() => {
    const outside = [];
    for (const svg of document.querySelectorAll("svg")) {
        const frame = svg.getBoundingClientRect();
        for (const text of svg.querySelectorAll("text")) {
            const box = text.getBoundingClientRect();
            if (!box.width) outside.push(`${svg.id}: ${text.textContent} is not shown`);
            if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5
                || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5)
                outside.push(`${svg.id}: ${text.textContent}`);
        }
    }
    return outside;
})()"""
OVERLAPPING = """(() => {
    const overlapping = [];
    for (const axis of document.querySelectorAll("svg > g")) {
        const texts = [...axis.querySelectorAll("text")];
        const boxes = texts.map((text) => text.getBoundingClientRect());
        boxes.forEach((one, i) => boxes.slice(i + 1).forEach((other) => {
            if (one.left < other.right && other.left < one.right && one.top < other.bottom
                && other.top < one.bottom) overlapping.push(axis.textContent);
        }));
    }
    return overlapping;
})()"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page about a store of petabytes, with long names and many commits."""
    from snapledger.program import main  # noqa: PLC0415 - the fixture `call` lives shorter

    place = tmp_path_factory.mktemp("huge")
    with MetaStore.open(place / "store", options=OPTIONS) as store:
        for number, actor in enumerate(("W" * 40, "\u5c42" * 40, "a", "\N{PILE OF POO}" * 30)):
            with store.transaction(writable=True, actor=actor) as tx:
                for each in range(400):
                    tx.create_snapshot(Kind.ACTIVE, "work")
                    tx.commit_active("work", f"{number} {each}", Usage(1, 999 << 40))
    assert main(["report", str(place / "store"), "-o", str(place / "page.html")]) == 0
    return place / "page.html"


@needs_browser
@pytest.mark.parametrize("width", [360, 800, 1200, 2400])
def test_labels_of_charts_are_inside_and_apart_whatever_they_say(
    width: int, huge: Path, tmp_path: Path
) -> None:
    with Browser(tmp_path / "profile", width=width) as started:
        started.open(huge.as_uri())
        assert started.value("innerWidth") == width
        ticks = "[...document.querySelectorAll('#sizes > g:nth-of-type(2) text')]"
        shown = started.value(f"{ticks}.map((tick) => tick.textContent)")
        assert any(re.fullmatch(r"\d+\.\d [TP]iB", label) for label in shown), shown
        assert started.value(OUTSIDE) == []
        assert started.value(OVERLAPPING) == []
        assert started.complaints == []


@needs_browser
def test_search_scrolls_to_what_is_shown_at_another_revision_only(
    huge: Path, tmp_path: Path
) -> None:
    with Browser(tmp_path / "profile") as started:
        started.open(huge.as_uri())
        to_revision(started, 1)
        started.press("/")
        started.write("3 399")
        started.wait_for("document.querySelectorAll('#found button').length === 1")
        started.click("#found button")
        started.wait_for(f"{ROWS}.includes('3 399')")
        chosen = "document.querySelector('#tree .row.chosen .name').textContent"
        assert started.value(chosen) == "3 399"
        to_revision(started, 4)
        started.value("document.getElementById('tree').scrollTop = 0")
        to_revision(started, 3)
        to_revision(started, 4)
        assert started.value("document.getElementById('tree').scrollTop") == 0
