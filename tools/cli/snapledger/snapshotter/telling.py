"""What the driver tells: logs as JSON lines, counts of calls, and the service manager."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

_PLAIN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Each record is one line: time, level, logger, message, what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: v for name, v in vars(record).items() if name not in _PLAIN_FIELDS}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


def log_to_stderr(level: str) -> None:
    """Send all logs to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Counts:
    """Calls by name and code, and the seconds that they took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, call: str, code: str, seconds: float) -> None:
        """Count one call."""
        with self._lock:
            self._calls[call, code] += 1
            self._seconds[call] += seconds

    def lines(self) -> list[str]:
        """Return them in the text format of Prometheus."""
        with self._lock:
            calls, seconds = sorted(self._calls.items()), sorted(self._seconds.items())
        name = "snapledger_snapshotter_call"
        return [
            f"# TYPE {name}s_total counter",
            *(f'{name}s_total{{call="{call}",code="{code}"}} {n}' for (call, code), n in calls),
            f"# TYPE {name}_seconds_total counter",
            *(f'{name}_seconds_total{{call="{call}"}} {spent:.6f}' for call, spent in seconds),
        ]


def store_lines(stats: Mapping[str, Any]) -> list[str]:
    """Return the numbers of a store's stats in the text format of Prometheus."""
    numbers = {name: value for name, value in stats.items() if type(value) in {int, float}}
    numbers["snapshots"] = stats["rows"]["snapshots"]
    numbers["has_failed"] = int(stats["failed"] is not None)
    return [f"snapledger_store_{name} {value}" for name, value in sorted(numbers.items())]


class MetricsServer:
    """Answers every GET with the lines of metrics, on a port of the loopback only."""

    def __init__(self, port: int, lines: Callable[[], list[str]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = ("\n".join(lines()) + "\n").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                _ = format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def notify(state: str) -> None:
    """Tell the service manager, if there is one that wants to know; see sd_notify(3).

    That it can't be told is logged: containers matter more.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.sendto(state.encode(), name)
    except OSError as error:
        _log.warning("the service manager can't be told", extra={"error": str(error)})
