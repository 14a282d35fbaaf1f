"""A scheduler that owns the schedule of real Python threads.

Exactly one thread runs at a time: the one that holds the baton. At every *preemption point* it may
hand the baton to another one, as a strategy says. A preemption point is

- each line of the traced modules, seen by a trace function (`sys.settrace`), in every thread but
  the one that began the run, and
- each operation of a lock or an event, each start and join of a thread, and each sleep.

For that, the modules under test are shown other `threading`, `queue`, `time` and `secrets` modules
while a run goes on: their locks know who waits for them, their time is simulated, and their random
bytes are those of a seed. So a run is a pure function of the strategy and of what it runs, a wait
for time takes none, and a deadlock is seen: no thread is ready, and none waits for time.

The names are patched wherever a traced module has the module, or the class or function itself,
under any name. What the replaced modules lack (barriers, timers, queues with a bound) raises
AttributeError, so that a new use is noticed.

An interrupt may be planned for a thread: KeyboardInterrupt at the n-th *distinct* line that it
reaches, so that a line which is reached once counts as much as one in a loop. As in CPython, none
comes between taking a lock by `with` and its block, or between the block and the release.

Nothing else switches threads: what the modules under test call (the simulated file system,
sortedcontainers) runs in one step.
"""

from __future__ import annotations

import functools
import gc
import linecache
import queue
import secrets
import sys
import threading
import time
import traceback
import types
from _thread import allocate_lock
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from schedules.strategies import Strategy

STEPS_MAX = 300_000
"""A run that takes more preemption points has a thread that waits in a loop for ever."""

_ABANDONED_STEPS = 5_000
_HUNG_SECONDS = 60
_EPOCH_NS = 1_700_000_000_000_000_000
_TRACED = ("eventstore.", "projections.", "schedules.example.")
_NOT_TRACED = ("eventstore.testing",)
# Pure functions and values: no other thread can see what they do.
_STEPLESS = {
    *("format", "codec", "errors", "event", "options", "packed", "forwarding", "reports"),
    *("model", "events", "filters", "validation", "regexps"),
}

# A signal is looked at after a call and where a loop or a function begins: not on these lines,
# whose exception would get past the release of a lock.
_NOT_INTERRUPTED = ("with ", "try:")

TraceFunction = Any
"""Of `sys.settrace`."""


class ScheduleError(AssertionError):
    """A run that can't end: a deadlock, a thread that spins, a thread that was left behind."""


class Abandoned(BaseException):
    """Ends a thread of a run that has failed."""


@dataclass
class Interrupt:
    """Where KeyboardInterrupt comes into a thread.

    Attributes:
        at: the nth distinct line, from 1 on.
        files: only lines of files with one of these endings count; all traced ones if empty.
        again: a second one comes so many distinct lines later; 0 for none.
        came_at: where they came.
    """

    at: int
    files: tuple[str, ...] = ()
    again: int = 0
    came_at: list[str] = field(default_factory=list)

    def counts(self, path: str) -> bool:
        """Say whether lines of a file count, and one may still come."""
        has_come = len(self.came_at) > bool(self.again)
        return not has_come and (not self.files or path.endswith(self.files))

    def come(self, lines: int, place: str) -> None:
        """Raise it if so many distinct lines were reached."""
        if lines == self.at or (self.again and lines == self.at + self.again):
            self.came_at.append(place)
            raise KeyboardInterrupt


class Switch(NamedTuple):
    """The baton went to another thread.

    Attributes:
        step: of the preemption point.
        source: the thread that ran.
        target: the thread that runs now.
        place: where the first one is.
    """

    step: int
    source: str
    target: str
    place: str


@dataclass(eq=False)
class Task:
    """A thread as the scheduler sees it.

    Attributes:
        number: 0 for the thread that began the run, then in the order of the starts.
        name: of the thread.
        ready: says whether what it waits for has come; None while it waits for nothing.
        deadline: simulated time at which it goes on anyway.
        done: whether it has ended.
        error: what it has raised.
        interrupt: planned for it.
    """

    number: int
    name: str
    gate: Any = field(default_factory=allocate_lock)
    ready: Callable[[], bool] | None = None
    deadline: float | None = None
    timed_out: bool = False
    done: bool = False
    error: BaseException | None = None
    interrupt: Interrupt | None = None
    lines: set[tuple[CodeType, int]] = field(default_factory=set)
    tracer: TraceFunction = None
    thread: threading.Thread | None = None
    ident: int = 0

    @property
    def can_run(self) -> bool:
        """Whether it needs nothing but the baton."""
        return not self.done and (self.ready is None or self.ready())

    @property
    def sleeps(self) -> bool:
        """Whether time alone would let it go on."""
        return not self.done and self.deadline is not None


class Scheduler:
    """Runs one function, and the threads that it starts, under one schedule.

    Attributes:
        step: how many preemption points there were.
        switches: where the baton went, in order.
        preemptions: switches away from a thread that could have gone on.
    """

    def __init__(self, strategy: Strategy, *, seed: int = 0, lines: bool = True) -> None:
        """Make one for a single run.

        Args:
            strategy: says who runs.
            seed: of the random bytes that the run draws.
            lines: whether the lines of traced modules are preemption points.
        """
        self.step = 0
        self.now = 0.0
        self.switches: list[Switch] = []
        self.preemptions = 0
        self._strategy = strategy
        self._lines = lines
        self._random = Random(seed)
        self._look_at = 0
        self._failure: ScheduleError | None = None
        self._abandoned_steps = 0
        self._ending = False
        root = Task(0, "main", ident=threading.get_ident())
        root.gate.acquire()
        self.tasks = [root]
        self.current = root

    # A run.

    def run(self, main: Callable[[], Any]) -> Any:
        """Return what a function returns, once all threads have ended.

        Raises:
            ScheduleError: they can't end.
            BaseException: what the function, or else the first of the threads, has raised.
        """
        with _installed(self):
            try:
                result = main()
                left = [task.name for task in self.tasks[1:] if not task.done]
                if left:
                    raise ScheduleError(f"threads were left behind: {', '.join(left)}")
            except BaseException:
                self._end_all()
                if self._failure is not None:
                    raise self._failure from None
                raise
            for task in self.tasks[1:]:
                if task.error is not None:
                    raise task.error
            return result

    def spawn(
        self, work: Callable[[], object], name: str, *, interrupt: Interrupt | None = None
    ) -> Thread:
        """Start a thread."""
        thread = Thread(target=work, name=name)
        thread.interrupt = interrupt
        thread.start()
        return thread

    # Preemption points.

    def operation(self) -> None:
        """Pass a preemption point that may have changed who can run."""
        self._require_baton()
        self.step += 1
        self._rearm()
        self._choose()

    def wait(self, ready: Callable[[], bool] | None, seconds: float | None) -> bool:
        """Wait until something is so, or for a time; say which: False when the time is over."""
        self._require_baton()
        if self._failure is not None:
            raise Abandoned
        self._interrupt_wait()
        self.step += 1
        task = self.current
        task.ready = ready or (lambda: False)
        task.deadline = None if seconds is None else self.now + max(0.0, seconds)
        task.timed_out = False
        try:
            self._choose()
        finally:
            task.ready = task.deadline = None
        return not task.timed_out

    def _require_baton(self) -> None:
        if threading.get_ident() != self.current.ident:
            raise ScheduleError("a thread that the scheduler did not start uses a lock of the run")

    def draw_bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return self._random.randbytes(count)

    def _choose(self) -> None:
        if self._failure is not None:
            self._abandon()
            return
        current = self.current
        able = [task for task in self.tasks if task.can_run]
        asleep = [task for task in self.tasks if task.sleeps and task not in able]
        if not able and not asleep:
            self._fail(f"deadlock: no thread can go on\n{self._stacks()}")
        if self.step > STEPS_MAX:
            self._fail(f"no end after {self.step} steps\n{self._stacks()}")
        chosen = self._strategy.pick(self.step, current if current in able else None, able, asleep)
        # One that spins must be noticed even if the strategy is not interested.
        self._look_at = min(self._strategy.look_at, STEPS_MAX + 1)
        if chosen not in able:
            assert chosen.deadline is not None
            self.now = max(self.now, chosen.deadline)
            chosen.timed_out = True
        # From here on it waits for nothing, whatever the others do before it gets to run.
        chosen.ready = chosen.deadline = None
        if chosen is not current:
            self.preemptions += current in able
            self.switches.append(Switch(self.step, current.name, chosen.name, _place()))
            self._hand_over(chosen)

    def _hand_over(self, chosen: Task) -> None:
        current = self.current
        self.current = chosen
        chosen.gate.release()
        if not current.done:
            self._await_baton(current)

    def _await_baton(self, task: Task) -> None:
        # Only the thread that began the run looks at the clock: the others end with it.
        if not task.gate.acquire(timeout=_HUNG_SECONDS if task.number == 0 else -1):
            raise ScheduleError(f"a thread waits outside the schedule\n{self._stacks()}")
        if self._failure is not None and task.number:
            raise Abandoned
        if self._failure is not None and not self._ending:
            raise self._failure

    # The trace function.

    def trace(self, task: Task) -> None:
        """Trace the thread that calls this, as a task."""
        if not self._lines and task.interrupt is None:
            return
        count = task.interrupt is not None

        def line(frame: FrameType, event: str, arg: object) -> TraceFunction:
            _ = arg
            if event == "line":
                if count:
                    self._count_line(task, frame)
                if self._lines:
                    step = self.step = self.step + 1
                    if step >= self._look_at:
                        self._choose()
            return line

        def call(frame: FrameType, event: str, arg: object) -> TraceFunction:
            _ = event, arg
            code = frame.f_code
            traced = _traced_codes.get(code)
            if traced is None:
                traced = _traced_codes[code] = _is_traced(code, frame.f_globals.get("__name__"))
            return line if traced else None

        task.tracer = call
        sys.settrace(call)

    def _rearm(self) -> None:
        """Trace again after an interrupt, which ends the tracing of its thread."""
        tracer = self.current.tracer
        if tracer is not None and sys.gettrace() is None:
            sys.settrace(tracer)

    def _count_line(self, task: Task, frame: FrameType) -> None:
        interrupt = task.interrupt
        path, line = frame.f_code.co_filename, (frame.f_code, frame.f_lineno)
        if interrupt is None or self._failure is not None or line in task.lines:
            return
        if not interrupt.counts(path):
            return
        if linecache.getline(path, frame.f_lineno).strip().startswith(_NOT_INTERRUPTED):
            return
        task.lines.add(line)
        interrupt.come(len(task.lines), f"{path}:{frame.f_lineno}")

    def _interrupt_wait(self) -> None:
        """Let a planned interrupt come while the thread would wait, as one may into `acquire`."""
        task, interrupt = self.current, self.current.interrupt
        if interrupt is None:
            return
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        # A line of its own: the wait comes after the line has begun.
        path, line = frame.f_code.co_filename, (frame.f_code, -frame.f_lineno)
        if interrupt.counts(path) and line not in task.lines:
            task.lines.add(line)
            interrupt.come(len(task.lines), f"{path}:{frame.f_lineno} (waiting)")

    # Threads begin and end.

    def register(self, thread: Thread) -> Task:
        """Return the task of a thread that is being started."""
        task = Task(len(self.tasks), thread.name, interrupt=thread.interrupt, thread=thread)
        task.gate.acquire()
        self.tasks.append(task)
        return task

    def begin(self, task: Task) -> None:
        """Wait for the baton for the first time."""
        task.ident = threading.get_ident()
        self._await_baton(task)
        self.trace(task)

    def finish(self, task: Task) -> None:
        """Hand the baton on for the last time."""
        task.done = True
        task.ready = None
        if self._failure is not None:
            self._hand_over(self.tasks[0])
            return
        try:
            self.step += 1
            self._choose()
        except Abandoned:
            return

    def _fail(self, reason: str) -> None:
        """End the run: the thread that began it raises the reason."""
        self._failure = ScheduleError(reason)
        self._look_at = 0
        if self.current.number == 0:
            raise self._failure
        self._hand_over(self.tasks[0])
        raise Abandoned

    def _end_all(self) -> None:
        """Raise `Abandoned` in every thread that is left, one after the other."""
        self._failure = self._failure or ScheduleError("the run has ended")
        is_own = self._failure.args == ("the run has ended",)
        self._ending = True
        self._look_at = 0
        for task in list(self.tasks[1:]):
            if not task.done:
                self._abandoned_steps = 0
                self._hand_over(task)
        if is_own:
            self._failure = None

    def _abandon(self) -> None:
        """In a failed run: let a thread unwind, but not for ever."""
        if self.current.number == 0:
            return
        self._abandoned_steps += 1
        if self._abandoned_steps > _ABANDONED_STEPS:
            # It won't end. It waits for ever, and the process does not wait for it.
            self._hand_over(self.tasks[0])

    def _stacks(self) -> str:
        frames = sys._current_frames()
        parts = []
        for task in self.tasks:
            if task.done or task.ident not in frames:
                continue
            stack = traceback.extract_stack(frames[task.ident])
            shown = [entry for entry in stack if entry.filename != __file__][-12:]
            parts.append(f"{task.name}:\n{''.join(traceback.format_list(shown))}")
        return "\n".join(parts)


_traced_codes: dict[CodeType, bool] = {}
_active: list[Scheduler] = []


def _is_traced_module(name: str) -> bool:
    return f"{name}.".startswith(_TRACED) and not name.startswith(_NOT_TRACED)


def _is_traced(code: CodeType, module: Any) -> bool:
    if not isinstance(module, str) or code.co_name == "<module>":
        return False
    return _is_traced_module(module) and _STEPLESS.isdisjoint(module.split("."))


def _place() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _scheduler() -> Scheduler | None:
    return _active[-1] if _active else None


# What the modules under test see.


class Lock:
    """`threading.Lock`, as far as the schedule goes."""

    __slots__ = ("__weakref__", "_is_locked")

    def __init__(self) -> None:
        self._is_locked = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; see `threading.Lock`."""
        scheduler = _scheduler()
        if scheduler is not None:
            scheduler.operation()
        if not self._is_locked:
            self._is_locked = True
            return True
        if not blocking or timeout == 0:
            return False
        if scheduler is None:
            raise ScheduleError("a lock that was held when its run ended would never be free")
        if not scheduler.wait(self._is_free, None if timeout < 0 else timeout):
            return False
        self._is_locked = True
        return True

    def release(self) -> None:
        """Let it go."""
        if not self._is_locked:
            raise RuntimeError("release unlocked lock")
        self._is_locked = False
        scheduler = _scheduler()
        if scheduler is not None:
            scheduler.operation()

    def locked(self) -> bool:
        """Say whether somebody has it."""
        return self._is_locked

    def _is_free(self) -> bool:
        return not self._is_locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class RLock(Lock):
    """`threading.RLock`."""

    __slots__ = ("_count", "_owner")

    def __init__(self) -> None:
        super().__init__()
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more if this thread has it."""
        me = threading.get_ident()
        if self._owner == me or super().acquire(blocking, timeout):
            self._owner = me
            self._count += 1
            return True
        return False

    def release(self) -> None:
        """Let it go once."""
        if self._owner != threading.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            super().release()

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._flag = False

    def is_set(self) -> bool:
        """Say whether it has been set."""
        return self._flag

    def set(self) -> None:
        """Let all through."""
        self._flag = True
        scheduler = _scheduler()
        if scheduler is not None:
            scheduler.operation()

    def clear(self) -> None:
        """Let nobody through any more."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        scheduler = _scheduler()
        if scheduler is not None and not self._flag:
            scheduler.wait(self.is_set, timeout)
        return self._flag


class Condition:
    """`threading.Condition`."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or RLock()
        self._waiters: list[Event] = []
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the lock go, wait to be notified, take it again; a lock held twice is refused."""
        waiter = Event()
        self._waiters.append(waiter)
        self._lock.release()
        try:
            return waiter.wait(timeout)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until a predicate holds."""
        scheduler = _scheduler()
        end = None if timeout is None or scheduler is None else scheduler.now + timeout
        while not (result := predicate()):
            left = None if end is None or scheduler is None else end - scheduler.now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """Let some through."""
        for waiter in self._waiters[:n]:
            self._waiters.remove(waiter)
            waiter.set()

    def notify_all(self) -> None:
        """Let all through."""
        self.notify(len(self._waiters))


class SimpleQueue:
    """`queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add something; there is always room."""
        _ = block, timeout
        self._items.append(item)
        scheduler = _scheduler()
        if scheduler is not None:
            scheduler.operation()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest, or wait for one."""
        scheduler = _scheduler()
        if scheduler is not None:
            scheduler.operation()
            if block and not self._items:
                scheduler.wait(lambda: bool(self._items), timeout)
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def empty(self) -> bool:
        """Say whether there is nothing to take."""
        return not self._items


class Thread(threading.Thread):
    """`threading.Thread`: a real one, which runs when it has the baton."""

    interrupt: Interrupt | None = None
    _task: Task | None = None

    def start(self) -> None:
        """Start it; it waits for its turn."""
        scheduler = _scheduler()
        if scheduler is None:
            raise ScheduleError("a thread was started after its run had ended")
        self._scheduler = scheduler
        # The process does not wait for those that a failed run leaves.
        self.daemon = True
        self._task = scheduler.register(self)
        super().start()
        scheduler.operation()

    def run(self) -> None:
        """Run the target under the schedule."""
        task, scheduler = self._task, self._scheduler
        assert task is not None
        try:
            scheduler.begin(task)
            super().run()
        except Abandoned:
            pass
        except BaseException as error:
            task.error = error
        finally:
            sys.settrace(None)
            scheduler.finish(task)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        scheduler = _scheduler()
        task = self._task
        if task is None:
            raise RuntimeError("cannot join thread before it is started")
        if scheduler is not None and not task.done:
            scheduler.wait(lambda: task.done, timeout)

    def is_alive(self) -> bool:
        """Say whether it has not ended."""
        return self._task is not None and not self._task.done


def virtual_sleep(seconds: float) -> None:
    """Sleep by the scheduler's clock."""
    scheduler = _scheduler()
    if scheduler is not None:
        scheduler.wait(None, seconds)


def _now() -> float:
    scheduler = _scheduler()
    return scheduler.now if scheduler is not None else 0.0


def _time_ns() -> int:
    scheduler = _scheduler()
    steps = scheduler.step if scheduler is not None else 0
    return _EPOCH_NS + int(_now() * 1e9) + steps * 1_000


def _token_bytes(count: int = 32) -> bytes:
    scheduler = _scheduler()
    return scheduler.draw_bytes(count) if scheduler is not None else secrets.token_bytes(count)


def _facade(module: types.ModuleType, taken: tuple[str, ...], **given: Any) -> types.ModuleType:
    facade = types.ModuleType(module.__name__)
    facade.__dict__.update({name: getattr(module, name) for name in taken}, **given)
    return facade


_THREADING = _facade(
    threading,
    ("current_thread", "get_ident", "get_native_id", "main_thread", "local", "excepthook"),
    Lock=Lock,
    RLock=RLock,
    Event=Event,
    Condition=Condition,
    Thread=Thread,
    TIMEOUT_MAX=threading.TIMEOUT_MAX,
)
_TIME = _facade(
    time,
    ("gmtime", "strftime", "localtime"),
    sleep=virtual_sleep,
    monotonic=_now,
    perf_counter=_now,
    monotonic_ns=lambda: int(_now() * 1e9),
    time=lambda: _time_ns() / 1e9,
    time_ns=_time_ns,
)
_SECRETS = _facade(secrets, (), token_bytes=_token_bytes)
_QUEUE = _facade(queue, ("Empty",), SimpleQueue=SimpleQueue)

_REPLACED: list[tuple[object, object]] = [
    (threading, _THREADING),
    (time, _TIME),
    (secrets, _SECRETS),
    (queue, _QUEUE),
    (queue.SimpleQueue, SimpleQueue),
    (threading.Lock, Lock),
    (threading.RLock, RLock),
    (threading.Event, Event),
    (threading.Condition, Condition),
    (threading.Thread, Thread),
    (time.sleep, virtual_sleep),
    (time.monotonic, _now),
    (time.time_ns, _time_ns),
    (secrets.token_bytes, _token_bytes),
]


@functools.lru_cache(maxsize=1)
def _patches(module_count: int) -> list[tuple[dict[str, Any], str, object, object]]:
    """Return what is replaced: in which names, under which key, what, and by what."""
    _ = module_count  # looked for again when modules were imported
    replaced = {id(real): (real, other) for real, other in _REPLACED}
    patches = []
    for name, module in list(sys.modules.items()):
        if _is_traced_module(name):
            names = vars(module)
            patches += [
                (names, key, *replaced[id(value)])
                for key, value in names.items()
                if id(value) in replaced
            ]
    return patches


@contextmanager
def _installed(scheduler: Scheduler) -> Iterator[None]:
    """Show the modules under test the replaced names, while this scheduler is in charge."""
    patches = _patches(len(sys.modules))
    for names, key, _, other in patches:
        names[key] = other
    was_collecting = gc.isenabled()
    # What a collection finalizes, and when, depends on what ran before.
    gc.disable()
    _active.append(scheduler)
    try:
        yield
    finally:
        _active.pop()
        for names, key, real, _ in patches:
            names[key] = real
        if was_collecting:
            gc.enable()
