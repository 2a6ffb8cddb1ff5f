"""The calls of a chunk, in a worker process."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._map.ordered import Done
from .transport.pickling import pickle_whole
from .wire import ParentGoneError, ToParent, sendable, tell, teller

# Seconds after which the calls of a chunk that have not begun go to other workers, and between two looks.
_LONGEST_S: Final = 0.05
_STEP_S: Final = 0.01


class _Watch:
    """A thread that hands calls back, for as long as there are chunks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.chunk: _Chunk | None = None
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="nicefutures-hand-back", daemon=True).start()

    def begin(self, chunk: "_Chunk") -> None:
        with self.lock:
            self.chunk = chunk
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_STEP_S)
            with self.lock:
                chunk = self.chunk
                if chunk is None:
                    self._wake.clear()
                elif time.perf_counter() - chunk.began > _LONGEST_S:
                    with contextlib.suppress(ParentGoneError):  # the worker ends with its task
                        chunk.hand_back()


class _Chunk:
    """Calls that are being made: from the left, and handed back from the right."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.began = time.perf_counter()
        self.pending = deque(calls)
        self._count = len(calls)
        self._say = teller()

    def hand_back(self) -> None:
        """Let others make what has not begun."""
        first = self._count
        with contextlib.suppress(IndexError):
            while True:
                self.pending.pop()
                first -= 1
        if first < self._count:
            self._say(ToParent.REST, first)


class _Here(threading.local):
    """Of the worker that this thread is."""

    watch: _Watch | None = None


_here: Final = _Here()


def forget_watch() -> None:
    """Have no thread yet, in a worker that a worker has forked."""
    _here.watch = None


def run_chunk(
    fn: Callable[..., Any], calls: list[tuple[Any, ...]], *, hands_back: bool = True, tells: bool = False
) -> Done:
    """Make calls, until there is an error.

    Parameters
    ----------
    fn, calls
        What to call, with what.
    hands_back : bool
        Whether others make the calls that have not begun after a while.
    tells : bool
        Whether each result goes to the parent as soon as it is there: it is not lost with those that follow.
    """
    results: list[Any] = []
    chunk = _Chunk(calls)
    watch: _Watch | None = None
    if hands_back and len(calls) > 1:
        watch = _here.watch = _here.watch or _Watch()
        watch.begin(chunk)
    error: Any = None
    try:
        while True:
            try:
                args = chunk.pending.popleft()
            except IndexError:
                break
            result = fn(*args)
            if tells:
                tell(ToParent.PART, result)
            else:
                results.append(result)
    except BaseException as reason:  # noqa: BLE001, as the stdlib's worker; also of a signal's handler
        error = sendable(reason)
    finally:
        if watch is not None:
            with watch.lock:
                watch.chunk = None
    seconds = time.perf_counter() - chunk.began
    return Done(results, error, (not tells and len(results)) + (error is not None), seconds)


def rescue(value: Any, failure: BaseException) -> Done | None:
    """Return what can be sent of a chunk whose results cannot be pickled, with what that raises; None if it is none."""
    if not isinstance(value, Done):
        return None
    for count, result in enumerate(value.results):
        error = sending_error(result)
        if error is not None:
            return value._replace(results=value.results[:count], error=sendable(error))
    return value._replace(results=[], error=sendable(failure))  # each for itself can be pickled


def sending_error(obj: Any) -> BaseException | None:
    """Return what pickling an object raises, or None."""
    try:
        pickle_whole(obj)
    except BaseException as error:  # noqa: BLE001, as the stdlib's worker
        return error
    return None
