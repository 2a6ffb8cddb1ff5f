"""One ordered map: calls go to workers in chunks, and their results come back in the order of the inputs.

Threads of the pool take one chunk after the other until none is left. So a map needs no thread of its own, and keeps
the order of the executor's queue. The inputs may run the user's code, and none of the user's code is called while the
lock of a map is held.
"""

import itertools
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any, Final, Generic, NamedTuple, TypeVar

from .._originals import now

_T = TypeVar("_T")

# Target in seconds for the calls of a chunk: long compared with the time to send it, but a short wait for its results.
_TARGET_S: Final = 0.02
# A chunk has at most 1 / _SHARES of a worker's share of the remaining calls, so that all workers end together.
_SHARES: Final = 2
# Seconds after which a thread that waits for a result looks up: on Windows, Ctrl-C does not end its wait.
_SLICE_S: Final = 0.5


class Failed(NamedTuple):
    """The outcome of a call without a result."""

    error: Any


class Done(NamedTuple):
    """The outcomes of the first calls of a chunk: results, and a `Failed` for each call that has none."""

    results: list[Any]
    seconds: float = 0.0  # that these calls took


class Chunk:
    """Some calls that go to a worker together."""

    __slots__ = ("calls", "done", "early", "number", "rest", "taken")

    def __init__(self, calls: list[tuple[Any, ...]], number: int, rest: "Chunk | None" = None) -> None:
        self.calls = calls  # the arguments of each, without calls that were handed back
        self.number = number  # of the submission: greater than those of all inputs that were read before
        self.rest = rest  # the calls that were handed back
        self.done: Done | None = None
        # The outcomes that are known while other calls continue, and the number of those that have been yielded.
        self.early: list[Any] = []
        self.taken = 0


class OrderedMap(Generic[_T]):
    """One call of ``map``; `unfinished` is the number of its calls that have been read and are not done.

    With a `buffersize`, at most that many calls, or chunks if a `size` is given, are read before their results are
    yielded; without one, all inputs are read at once. `number` returns the number of a new submission: an input may be
    an object that changes before the next one is read.
    """

    def __init__(
        self,
        iterables: tuple[Iterable[Any], ...],
        workers: int,
        *,
        size: int | None,  # of chunks; None: as many calls as take about `_TARGET_S`
        buffersize: int | None,
        return_exceptions: bool,
        number: Callable[[], int],
    ) -> None:
        calls = zip(*iterables, strict=False)
        self._inputs: Iterator[tuple[Any, ...]] = calls if buffersize is not None else iter(())
        self._left = deque(calls if buffersize is None else ())
        self.unfinished = len(self._left)  # calls
        self._count = number
        self._number = number()  # of all inputs that have been read
        self._workers = workers
        self._is_fixed = size is not None
        self._size = size or 1
        self._pace_s = 0.0  # time of a call
        self._buffersize = buffersize
        self.is_buffered = buffersize is not None
        self._threads = 0  # that take chunks, or are about to
        self._returns_exceptions = return_exceptions
        self._ahead: deque[Chunk] = deque()  # taken first
        self._order: deque[Chunk] = deque()  # in the order of the results
        self._error: BaseException | None = None  # why no more chunks are taken
        # Reentrant: the garbage collector may end the results of this map in a thread that holds it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # With a buffer: finds the function that lets one more thread take chunks, and the room for calls or chunks.
        self._find: Callable[[], Callable[[OrderedMap[_T]], object] | None] | None = None
        self._room = buffersize or 0
        # Set by the executor: how to send chunks, and the executor, which must live until all inputs have been taken.
        self.how: Any = None
        self.executor: Any = None

    def begin(self, find: "Callable[[], Callable[[OrderedMap[_T]], object] | None]") -> None:
        """Let threads take chunks; `find` returns a function that lets one more thread do so, or None if it is gone."""
        spawn = find()
        if self._buffersize is not None:
            self._find = find
            self._fill()
        elif spawn is not None:
            self._threads = min(self._workers, math.ceil(len(self._left) / self._size))
            for _ in range(self._threads):
                spawn(self)

    # --- for threads that take chunks

    def take(self) -> Chunk | None:
        """Return the next chunk, or None: the calling thread takes no more."""
        with self._lock:
            if self._ahead:
                return self._ahead.popleft()
            if not self._left:
                self._threads -= 1
                return None
            size = self._size
            if not self._is_fixed:
                size = min(size, math.ceil(len(self._left) / (self._workers * _SHARES)))
            chunk = Chunk([self._left.popleft() for _ in range(min(size, len(self._left)))], self._number)
            self._order.append(chunk)
            return chunk

    def hand_back(self, chunk: Chunk, first: int) -> bool:
        """Let other threads make the calls from `first` on; return whether one more thread must be asked to."""
        with self._lock:
            return self._split(chunk, first) and self._needs_thread()

    # --- with the lock held

    def _split(self, chunk: Chunk, first: int) -> bool:
        if first >= len(chunk.calls):
            return False
        rest = chunk.rest = Chunk(chunk.calls[first:], chunk.number, chunk.rest)
        del chunk.calls[first:]
        if self._error is None:
            self._ahead.append(rest)
        else:
            self._settle(rest)
        return self._error is None

    def _needs_thread(self) -> bool:
        needs = self._threads < self._workers
        self._threads += needs
        return needs

    def _settle(self, chunk: Chunk) -> None:
        """Store the error of this map in place of the results of a chunk that no thread takes."""
        self.unfinished -= len(chunk.calls)
        chunk.done = Done([Failed(self._error)] * len(chunk.calls))

    # --- for threads that have taken a chunk

    def tell(self, chunk: Chunk, results: list[Any]) -> None:
        """Store outcomes of a chunk whose other calls continue. They are also the first ones of its `Done`."""
        with self._lock:
            chunk.early += results
            self._changed.notify_all()

    def finish(self, chunk: Chunk, done: Done) -> None:
        """Store the outcome of a chunk, and let other threads make the calls that were not made."""
        del done.results[len(chunk.calls) :]  # Ctrl-C may have interrupted the worker after the last call
        made = len(done.results)
        if self._is_fixed and not self._returns_exceptions and made and type(done.results[-1]) is Failed:
            done.results.extend(done.results[-1:] * (len(chunk.calls) - made))  # as in the stdlib
            made = len(done.results)
        with self._lock:
            self._split(chunk, made)
            if not self._is_fixed and made:
                pace = done.seconds / made
                self._pace_s = (self._pace_s + pace) / 2 if self._pace_s else pace
                fitting = int(_TARGET_S / max(self._pace_s, 1e-7))
                self._size = max(1, min(fitting, self._size * 2))
            self.unfinished -= len(chunk.calls)
            calls, chunk.calls = chunk.calls, []
            chunk.done = done
            self._changed.notify_all()
        del calls  # without the lock: this may run the user's code

    def fail(self, chunk: Chunk, error: BaseException, results: Iterable[Any] = ()) -> None:
        """Store an error in place of the results of a chunk that come after these."""
        self.finish(chunk, Done([*results, *[Failed(error)] * len(chunk.calls)]))

    def end(self, error: BaseException, chunk: Chunk | None = None) -> None:
        """Store an error in place of the results of this chunk, and of all that no thread has taken."""
        with self._lock:
            if self._error is None:
                self._error = error
                if self._left:
                    rest = Chunk(list(self._left), self._number)
                    self._order.append(rest)
                    self._ahead.append(rest)
                    self._left.clear()
                while self._ahead:
                    self._settle(self._ahead.popleft())
            if chunk is not None and chunk.done is None:
                self._settle(chunk)
            self._find = self.executor = None
            self._changed.notify_all()

    # --- for the reader of the results

    def _fill(self) -> None:
        """Fill the buffer with chunks. A submission error ends the map, and is raised."""
        while True:
            size, room = self._size, 1
            if not self._is_fixed:  # the buffer counts calls
                size = room = min(size, max(1, (self._buffersize or 0) // (self._workers * _SHARES)))
            if self._room < room:
                return
            spawn = None if self._find is None else self._find()
            calls = list(itertools.islice(self._inputs, size)) if spawn is not None else []
            if spawn is None or not calls:
                self._find = self.executor = None
                return
            self._room -= room
            with self._lock:
                self.unfinished += len(calls)
                chunk = Chunk(calls, self._count())
                self._order.append(chunk)
                if self._error is None:
                    self._ahead.append(chunk)
                else:
                    self._settle(chunk)
                needs_thread = self._error is None and self._needs_thread()
            try:
                if needs_thread:
                    spawn(self)
            except BaseException as error:
                self.end(error)
                raise

    def results(self, deadline: float | None) -> Iterator[_T]:
        """Yield the results; `deadline` is a time of `now`."""
        results: Any = None
        error: Any = None
        try:
            while (results := self._next(deadline)) is not None:
                results.reverse()
                while results:
                    if self.is_buffered:
                        self._refill()
                    if type(results[-1]) is not Failed:
                        yield results.pop()
                    elif self._returns_exceptions:
                        yield results.pop().error
                    else:
                        raise results.pop().error
            error = self._error
            for _ in self._inputs if error is not None else ():
                if not self._returns_exceptions:
                    raise error
                yield error
        finally:
            results = error = None  # the traceback of an exception has this frame
            self.cancel()

    def _refill(self) -> None:
        self._room += not self._is_fixed  # for the call whose result is yielded now
        try:
            self._fill()
        except BrokenExecutor:
            if not self._returns_exceptions:  # else an error of each call that is left
                raise

    def _next(self, deadline: float | None) -> list[Any] | None:
        """Wait for the next outcomes; None: there are no more."""
        with self._changed:
            while True:
                chunk = self._order[0] if self._order else None
                if chunk is not None and chunk.done is not None:
                    self._order.popleft()
                    if chunk.rest is not None:
                        self._order.appendleft(chunk.rest)
                    self._room += self._is_fixed and chunk.rest is None
                    del chunk.done.results[: chunk.taken]
                    return chunk.done.results
                if chunk is not None and chunk.early:
                    early, chunk.early = chunk.early, []
                    chunk.taken += len(early)
                    return early
                if not self._order and not self._left and self._find is None:
                    return None
                seconds = None if deadline is None else deadline - now()
                if seconds is not None and seconds <= 0:
                    raise TimeoutError
                self._changed.wait(_SLICE_S if seconds is None else min(seconds, _SLICE_S))

    def cancel(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        """Let threads make no more calls, because the results are not read any more."""
        if at_exit():  # modules may have lost their names
            return
        with self._lock:
            self.end(CancelledError())
            left = self._ahead, self._order, self._left
            self._ahead, self._order, self._left = deque(), deque(), deque()
        del left  # without the lock, as in `finish`
