"""A headless chromium, driven over a pipe by its DevTools protocol, which needs no library."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-extensions", "--no-first-run", "--disable-background-networking"),
)
_SECONDS_MAX = 60


class Browser:
    """One page in a browser of its own: a context manager.

    Attributes:
        asked: the addresses that the page has fetched, its own first.
        complaints: what the browser has said of it: refused scripts, errors that nobody caught.
    """

    def __init__(self, profile: Path, *, width: int = 1200) -> None:
        to_read, self._to_write = os.pipe()
        self._from_read, to_write = os.pipe()
        # The protocol is spoken over descriptors 3 and 4.
        wrapped = f'exec 3<&{to_read} 4>&{to_write}; exec "$@"'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", wrapped, "bash", str(CHROMIUM), *_FLAGS),
                *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._width = width

    def open(self, address: str) -> None:
        """Open a page, and wait until its script is through."""
        [target] = [
            each
            for each in self._call("Target.getTargets")["targetInfos"]
            if each["type"] == "page"
        ]
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=self._width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._call("Page.navigate", url=address)
        self.wait_for("document.documentElement?.dataset.ready")

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        deadline = time.monotonic() + _SECONDS_MAX
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"{expression} stays false"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does.

        It is scrolled to first, and what the page draws anew for that has its frames: else the
        element may be another one when the button is let go of.
        """
        each = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{each}.scrollIntoView({{block: 'center'}})")
        self.value("window.framesSince = 0")
        self.value(
            "requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(() => {"
            " window.framesSince = 3; })))"
        )
        self.wait_for("window.framesSince === 3")
        place = self.value(
            f"(() => {{ const box = {each}.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def press(self, key: str) -> None:
        """Press a key, such as ArrowLeft."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
            code = codes.get(key, ord(key[0].upper()))
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self._call("Input.insertText", text=text)

    def prefer_dark(self) -> None:
        """Have the page shown as to somebody who prefers dark colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from_read], [], [], _SECONDS_MAX)
            assert ready, "the browser does not answer"
            part = os.read(self._from_read, 1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._to_write)
        os.close(self._from_read)
        self._process.terminate()
        self._process.wait()
