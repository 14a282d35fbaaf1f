"""The program: it tells the service manager, drains, logs, counts, and survives being killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from snapshotter.client import Client

from projections.snapshots import MetaStore
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.serving import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 4


@contextmanager
def notified(path: Path) -> Iterator[socket.socket]:
    """A socket as the service manager's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        yield manager


class Program:
    """The program, started and ready."""

    def __init__(self, place: Path, *options: str) -> None:
        self._log = place / "log"
        command = [sys.executable, "-m", "snapledger.snapshotter", "serve"]
        command += ["--root", str(place / "root"), "--socket", str(place / "s"), *options]
        (place / "notify").unlink(missing_ok=True)
        with notified(place / "notify") as self.manager, self._log.open("wb") as log:
            environment = {**os.environ, "NOTIFY_SOCKET": str(place / "notify")}
            self.process = subprocess.Popen(command, stderr=log, env=environment)
            self.told = self.manager.recv(100)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def wakings(process_id: int, thread_name: str) -> int:
    """Return how often the threads of a name have been woken."""
    count = 0
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
        if status["Name"] == thread_name:
            count += int(status["voluntary_ctxt_switches"])
    return count


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_a_call_wakes_no_thread_but_those_of_python(place: Path) -> None:
    calls = 200
    program = Program(place)
    try:
        with Client(place / "s") as client:
            client.prepare("default/1/a")
            before = wakings(program.process.pid, "event_engine")
            for _ in range(calls):
                client.stat("default/1/a")
            woken = wakings(program.process.pid, "event_engine") - before
        assert woken < calls // 2, "gRPC has its own threads read: is its experiment gone?"
    finally:
        program.process.kill()
        program.process.wait()


def test_it_is_ready_counts_and_drains(place: Path) -> None:
    program = Program(place, "--metrics-port", "0", "--log-level", "info")
    try:
        assert program.told == b"READY=1"
        with Client(place / "s") as client:
            client.prepare("default/1/a")
            with pytest.raises(grpc.RpcError):
                client.stat("none")
            [port] = [entry["port"] for entry in program.log() if entry["message"] == "metrics"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            assert 'snapledger_snapshotter_calls_total{call="Prepare",code="OK"} 1' in lines
            assert 'snapledger_snapshotter_calls_total{call="Stat",code="NOT_FOUND"} 1' in lines
            assert "snapledger_store_snapshots 1" in lines
            assert "snapledger_store_has_failed 0" in lines
        assert program.end(signal.SIGTERM) == 0
    finally:
        program.process.kill()
        program.process.wait()
    log = [entry for entry in program.log() if entry["level"] == "info"]
    assert [entry["message"] for entry in log] == [
        "metrics",
        "serving",
        "a call was refused",
        "stopping",
    ]
    refused = log[2]
    assert (refused["call"], refused["key"], refused["code"]) == ("Stat", "none", "NOT_FOUND")
    assert not (place / "s").exists()


def churn(client: Client, name: str, answered: dict[str, str]) -> None:
    """Prepare, commit and remove until the driver is gone; note what was answered last."""
    for number in range(100_000):
        key, layer = f"load/{number}/{name}", f"load/{number}/{name}-layer"
        try:
            client.prepare(key, "base", timeout=5)
            answered[key] = "active"
            client.commit(key, layer)
            del answered[key]
            answered[layer] = "committed"
            if number % 2:
                answered[layer] = "being removed"
                client.remove(layer)
                del answered[layer]
        except grpc.RpcError:
            return


@pytest.mark.parametrize("options", [(), ("--async-remove",)], ids=["at once", "later"])
def test_killed_under_load_it_has_all_that_was_answered(
    place: Path, options: tuple[str, ...], deep: bool
) -> None:
    for number in range(12 if deep else 3):
        program = Program(place, *options, "--log-level", "error")
        answered: dict[str, str] = {}
        with Client(place / "s") as client:
            if number == 0:
                client.prepare("base-active")
                client.commit("base-active", "base")
            threads = [
                threading.Thread(target=churn, args=(client, f"{number}-{each}", answered))
                for each in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 30
            while not answered and time.monotonic() < deadline:
                time.sleep(0.01)
            assert answered
            time.sleep(0.3 + number * 0.05)
            program.end(signal.SIGKILL)
            for thread in threads:
                thread.join()
        with opened(str(place / "root"), "overlay", Options()) as (snapshotter, settled):
            assert settled.missing == ()
            assert settled.unknown == ()
            with snapshotter.store.transaction() as now:
                live = now.id_map()
                kinds = {info.name: str(info.kind) for info in now.walk_info()}
            assert set(os.listdir(place / "root/snapshots")) == live.keys()
        for name, state in answered.items():
            after = f"{name}-layer"  # a commit may have been durable, its answer lost
            assert state == "being removed" or kinds.get(name) == state or after in kinds
    with MetaStore.open(place / "root/metadata") as store:
        assert store.verify().problems == ()


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_a_driver_that_nobody_can_reach_any_more_ends_so_that_it_is_started_again(
    place: Path, is_replaced: bool
) -> None:
    program = Program(place)
    with socket.socket(socket.AF_UNIX) as another:
        try:
            (place / "s").unlink()
            if is_replaced:
                another.bind(str(place / "s"))
            assert program.process.wait(15) == 1
        finally:
            program.process.kill()
            program.process.wait()
    [told] = [entry for entry in program.log() if entry["level"] == "error"]
    assert told["message"].startswith("the socket is not there any more, or is another's")
    assert told["socket"] == str(place / "s")
    again = Program(place)
    assert again.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("serve", "--root", "", "--socket", "s"), 2, "the path is empty"),
        (("serve", "--root", "root", "--socket", ""), 2, "the path is empty"),
        (
            ("rename-snapshotter", "--database", "none", "--from", "a", "--to", "b"),
            1,
            "none: No such file or directory; check the path",
        ),
    ],
)
def test_a_path_that_can_not_be_meant_is_refused_in_words(
    options: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snapledger.snapshotter", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
