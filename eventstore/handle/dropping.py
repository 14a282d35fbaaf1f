"""A handle that is dropped without a close lets go of its store, and a `ResourceWarning` says so.

Nothing that a handle's own threads run refers to the handle, so it is collected like any object.
Then nobody is left who could close it, and its lock would be held, and its threads would run, for
as long as the process lives. To let go waits for these threads; but a finalizer may run anywhere,
in one of them too, or where the thread that it has interrupted holds what they wait for. So where
there are threads another one does it, for which the finalizer waits a moment and no longer.

It takes nothing back and saves nothing: for the store the handle was killed. When the interpreter
ends nothing is done: the end of the process lets go of all there is.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.handle.closing import Closing

_WAIT_SECONDS = 1.0

_logger = logging.getLogger("eventstore")


def let_go_when_dropped(
    handle: object,
    path: str,
    closing: Closing,
    let_go: Callable[[], object],
    has_threads: Callable[[], bool],
) -> weakref.finalize[Any, Any]:
    """Have a handle's store let go of when the handle is collected, until that is detached.

    Args:
        handle: to which the functions do not refer.
        path: of its store.
        closing: of the handle; it tells whoever still reads by a part of it.
        let_go: releases everything; it may wait.
        has_threads: says whether there is anything that it may wait for.
    """
    finalizer = weakref.finalize(handle, _dropped, path, closing, let_go, has_threads)
    finalizer.atexit = False
    return finalizer


def _dropped(
    path: str, closing: Closing, let_go: Callable[[], object], has_threads: Callable[[], bool]
) -> None:
    if sys.is_finalizing():
        return
    closing.reason = f"{path}: the store's handle was dropped without a close: open it again"
    if has_threads():
        _let_go_in_thread(path, let_go)
    else:
        _let_go(path, let_go)
    warnings.warn(
        f"{path}: the store was dropped without a close, and is let go of; close it, or use a "
        "with statement",
        ResourceWarning,
        stacklevel=3,
    )


def _let_go_in_thread(path: str, let_go: Callable[[], object]) -> None:
    thread = threading.Thread(
        target=_let_go, args=(path, let_go), name="eventstore-let-go", daemon=True
    )
    try:
        thread.start()
    except RuntimeError as error:
        _logger.warning(
            "%s: the store was dropped without a close, and is held until this process ends: %s",
            path,
            error,
        )
    else:
        thread.join(_WAIT_SECONDS)


def _let_go(path: str, let_go: Callable[[], object]) -> None:
    try:
        let_go()
    except Exception:
        _logger.exception("%s: could not let go of a store that was dropped", path)
