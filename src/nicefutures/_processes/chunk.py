"""Make the calls of a chunk in a worker process."""

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._map.ordered import Done, Failed
from .._originals import now, os
from .interrupts import put_off
from .once import name_of
from .transport.pickling import is_scalar
from .wire import ParentGoneError, ToParent, UnreadableError, here, sendable

# Seconds after which a chunk's calls that have not begun go to other workers, and seconds between two checks.
_LONGEST_S: Final = 0.05
_STEP_S: Final = 0.01
# Results that go with others in one pickle. Any other result has one of its own, when its call returns.
_AS_THEY_ARE: Final = frozenset({type(None), bool, int, float, complex})
# Bytes of pickled results that wait for the end of their chunk.
_MOST_WAITING: Final = 2**16


def _open(item: Any) -> Any:
    return here.load(item) if type(item) is bytes else item


class _Chunk:
    """A chunk in progress: its calls are made from the left, and handed back from the right."""

    def __init__(self, fn: Callable[..., Any] | bytes | None, calls: list[Any], *, tells: bool) -> None:
        self.began = now()
        # Numbers, a `Failed` for each error, and everything else as a pickle, because a later call may change it.
        self.results: list[Any] = []
        self._tells = tells
        self._size = 0  # of these pickles, in bytes
        self._lock = threading.Lock()  # of the results
        self._fn = fn
        self._pending = deque(calls)
        self._count = len(calls)
        self._has_begun = False
        self._say = here.say

    def take(self) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
        """Return the function and the arguments of the next call, or None."""
        try:
            call = self._pending.popleft()
        except IndexError:
            return None
        try:
            fn, args = here.load(call) if self._fn is None else (_open(self._fn), _open(call))
        except Exception as reason:
            if self._has_begun:  # the parent sends this call again, as the first one of a chunk
                return None
            raise UnreadableError(reason) from reason
        self._has_begun = True
        return fn, args

    def add(self, fn: Callable[..., Any], result: Any) -> None:
        """Take a result of the function, and send the results to the parent if they are large."""
        has_segments = False
        if type(result) not in _AS_THEY_ARE and not is_scalar(type(result)):
            try:
                result, has_segments = here.dump(result)
            except BaseException as error:
                error.add_note(f"when serializing the result of {name_of((fn, (), {}))}")
                raise
            self._size += len(result)
        self.put(result, at_once=has_segments or self._size > _MOST_WAITING)

    def put(self, outcome: Any, *, at_once: bool = False) -> None:
        """Take a result as it is sent, or a `Failed`."""
        with self._lock:
            self.results.append(outcome)
        if at_once or self._tells:
            self.tell()

    def tell(self) -> None:
        """Send the results so far to the parent."""
        with put_off(), self._lock:  # otherwise the results could be sent twice
            if self.results:
                self._say(ToParent.PART, self.results)
                self.results, self._size = [], 0

    def make(self, *, goes_on: bool) -> bool:
        """Make the next call, and return whether there was one; raise its error unless this `goes_on` after it."""
        call = self.take()
        if call is None:
            return False
        fn, args = call
        try:
            self.add(fn, fn(*args))
        except Exception as error:
            if not goes_on:
                raise
            with put_off():  # otherwise Ctrl-C could come while the error is pickled
                self.put(Failed(sendable(error)))
        return True

    def hand_back(self) -> None:
        """Let other workers make the calls that have not begun."""
        first = self._count
        with contextlib.suppress(IndexError):
            while True:
                self._pending.pop()
                first -= 1
        if first < self._count:
            self._say(ToParent.REST, first)


class _Watch:
    """A thread that hands back the calls of chunks that take long, and sends their results."""

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
                        self._chunk.tell()


@functools.cache
def _watch_of(pid: int) -> _Watch:  # noqa: ARG001, a worker that a worker has forked does not have its threads
    return _Watch()


def run_chunk(
    fn: Callable[..., Any] | bytes | None,
    calls: list[tuple[Any, ...] | bytes],
    *,
    hands_back: bool,
    tells: bool,
    goes_on: bool,
) -> Done:
    """Make calls until one fails, or all if this `goes_on`; `calls` are their arguments.

    The function and the arguments of a call may be pickles, which are unpickled for each call: no call sees what
    another one did to an object. Without a function, these pickles have it, too. If this `tells`, the parent gets each
    result immediately, so that a crash in a later call does not lose it. If this `hands_back`, the parent gets the
    results after `_LONGEST_S`, and other workers make the calls that have not begun.
    """
    chunk = _Chunk(fn, calls, tells=tells)
    watch: _Watch | None = None
    failed: list[Failed] = []
    try:
        try:
            if hands_back and len(calls) > 1:
                with contextlib.suppress(RuntimeError, MemoryError):  # the system gives no more threads
                    watch = _watch_of(os.getpid())
                    watch.watch(chunk)
            while chunk.make(goes_on=goes_on):
                pass
        finally:
            if watch is not None:
                with put_off():  # otherwise the next chunk could be cut
                    watch.watch(None)
    except UnreadableError:
        raise
    except BaseException as reason:  # noqa: BLE001, as the stdlib's worker; also from a signal handler
        with put_off():
            failed.append(Failed(sendable(reason)))
    return Done(chunk.results + failed, now() - chunk.began)
