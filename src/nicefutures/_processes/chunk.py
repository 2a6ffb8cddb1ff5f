"""Make the calls of a chunk in a worker process."""

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._map.ordered import Done
from .._originals import now, os
from .interrupts import put_off
from .transport.pickling import pickle_whole
from .wire import ParentGoneError, ToParent, here, sendable

# Seconds after which a chunk's calls that have not begun go to other workers, and seconds between two checks.
_LONGEST_S: Final = 0.05
_STEP_S: Final = 0.01


class _Chunk:
    """A chunk in progress: its calls are made from the left, and handed back from the right."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.began = now()
        self.pending = deque(calls)
        self._count = len(calls)
        self._say = here.say

    def hand_back(self) -> None:
        """Let other workers make the calls that have not begun."""
        first = self._count
        with contextlib.suppress(IndexError):
            while True:
                self.pending.pop()
                first -= 1
        if first < self._count:
            self._say(ToParent.REST, first)


class _Watch:
    """A thread that hands back the calls of chunks that take long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunk: _Chunk | None = None
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="nicefutures-hand-back", daemon=True).start()

    def watch(self, chunk: _Chunk | None) -> None:
        """Watch this chunk from now on; None: no chunk."""
        with self._lock:
            self._chunk = chunk
            if chunk is not None:
                self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_STEP_S)
            with self._lock:
                if self._chunk is None:
                    self._wake.clear()
                elif now() - self._chunk.began > _LONGEST_S:
                    with contextlib.suppress(ParentGoneError):  # the worker will end after this task
                        self._chunk.hand_back()


@functools.cache
def _watch_of(pid: int) -> _Watch:  # noqa: ARG001, a worker that a worker has forked does not have its threads
    return _Watch()


def run_chunk(
    fn: Callable[..., Any], calls: list[tuple[Any, ...]], *, hands_back: bool = True, tells: bool = False
) -> Done:
    """Make calls until one fails.

    If this `hands_back`, other workers make the calls that have not begun after `_LONGEST_S`. If it `tells`, each
    result goes to the parent immediately, so that a crash in a later call does not lose it.
    """
    results: list[Any] = []
    chunk = _Chunk(calls)
    watch: _Watch | None = None
    if hands_back and len(calls) > 1:
        watch = _watch_of(os.getpid())
        watch.watch(chunk)
    error: Any = None
    try:
        while True:
            try:
                args = chunk.pending.popleft()
            except IndexError:
                break
            result = fn(*args)
            if tells:
                here.say(ToParent.PART, result)
            else:
                results.append(result)
    except BaseException as reason:  # noqa: BLE001, as the stdlib's worker; also from a signal handler
        error = sendable(reason)
    finally:
        if watch is not None:
            with put_off():  # otherwise the next chunk could be cut
                watch.watch(None)
    seconds = now() - chunk.began
    return Done(results, error, (not tells and len(results)) + (error is not None), seconds)


def rescue(value: Any, failure: BaseException) -> tuple[Done | None, BaseException]:
    """Return a chunk's results up to the first that cannot be pickled (None: no chunk), and the exception."""
    if not isinstance(value, Done):
        return None, failure
    for count, result in enumerate(value.results):
        try:
            pickle_whole(result)
        except BaseException as error:  # noqa: BLE001, as the stdlib's worker
            return value._replace(results=value.results[:count]), error
    return value._replace(results=[]), failure  # each result alone can be pickled
