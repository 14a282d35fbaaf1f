"""What the example driver is made to do while it is killed: by one caller, or by several at once.

    python driver_work.py kill ROOTS FIRST STEP
    python driver_work.py churn ROOT

`kill` forks a process for each of the driver's lines that the work of one caller runs, FIRST, FIRST
+ STEP and so on, in a directory ROOTS/LINE each; it is killed as it comes to that line. `churn`
goes on until it is killed from outside.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventstore import StoreOptions
from tools.examples import driver

if TYPE_CHECKING:
    from types import FrameType

    from tools.examples.driver import Root

OPTIONS = StoreOptions(segment_bytes=64 * 1024, background=False)
CALLERS = 4

Say = Callable[[str], object]


def calls(root: Root) -> list[Callable[[], object]]:
    """Return what one caller does, call by call; each may be repeated until it is answered."""

    def unpack(key: str, request_id: str, parent: str = "") -> None:
        directory = driver.prepare(root, key, parent, request_id=request_id)
        (directory / "etc").mkdir(exist_ok=True)
        (directory / "etc" / key).write_text(key)

    return [
        lambda: unpack("base", "r1"),
        lambda: driver.commit(root, "base", "layer-1", request_id="r2"),
        lambda: unpack("top", "r3", parent="layer-1"),
        lambda: driver.commit(root, "top", "layer-2", request_id="r4"),
        lambda: unpack("scratch", "r5", parent="layer-2"),
        lambda: driver.remove(root, "scratch", request_id="r6"),
    ]


def work(path: Path, first: int, say: Say) -> None:
    """Make the calls from one on, and say which were answered."""
    with driver.open_root(path, OPTIONS) as root:
        for number, call in enumerate(calls(root)[first:], first + 1):
            call()
            say(str(number))


def churn(path: Path, say: Say) -> None:
    """Have several callers make, commit and remove snapshots, for ever."""

    def caller(root: Root, number: int) -> None:
        chance = random.Random(number)
        for turn in range(10_000_000):
            name = f"{number}-{turn}"
            kept = f"{number}-{turn - 1}" if turn and chance.random() < 0.5 else ""
            directory = driver.prepare(root, f"key-{name}", kept, request_id=f"p-{name}")
            (directory / name).write_text(name)
            driver.commit(root, f"key-{name}", name, request_id=f"c-{name}")
            say(f"committed {name} {kept}")
            if turn and not kept:
                say(f"removing {number}-{turn - 1}")
                driver.remove(root, f"{number}-{turn - 1}", request_id=f"r-{name}")

    with driver.open_root(path, OPTIONS) as root:
        threads = [threading.Thread(target=caller, args=(root, n)) for n in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def kill_at_line(number: int) -> None:
    """Have this process killed when it comes to the nth line of the driver."""
    left = number

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != driver.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def kill_at_each(roots: Path, first: int, step: int) -> None:
    """Kill the work at one line after another until it comes to its end; print where."""
    line, status = first, -1
    while status != 0:
        child = os.fork()
        if child == 0:
            with (roots / f"{line}.answers").open("w") as answers:
                kill_at_line(line)
                work(roots / str(line), 0, lambda answer: print(answer, file=answers, flush=True))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        line += step


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kill", roots, first, step]:
            kill_at_each(Path(roots), int(first), int(step))
        case ["churn", root]:
            churn(Path(root), lambda text: os.write(1, f"{text}\n".encode()))
