"""One ordered map: calls go to workers in chunks, and their results come back in the order of the inputs.

Threads of the pool take one chunk after the other, for as long as there is one. So a map needs no thread of its own,
sends nothing after the executor's end, and keeps the order of the executor's queue. The inputs may be code of the
user's, and with the lock of a map nothing of the user's is called.
"""

import itertools
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, Final, Generic, NamedTuple, TypeVar

_T = TypeVar("_T")

CHUNKS_NOTE: Final = """
        With ``chunksize="auto"``, a chunk has as many calls as take about 20 ms, judged by earlier calls. Short calls
        then cost a few microseconds each, and a result waits for others of its chunk for about that time. If a chunk
        takes longer than 50 ms, other workers make those of its calls that have not begun. A call that raises ends the
        results at its place, as with chunks of one call. `buffersize` counts calls then, and
        chunks if you pass their size.

        The results have a `len`, for progress bars, if all iterables have one.
        """

# Seconds that the calls of a chunk shall take: long beside what it costs to send it, and no long wait for its results.
_TARGET_S: Final = 0.02
# Of all calls that are left, each worker gets this part at most in one chunk, so that all end at about the same time.
_SHARES: Final = 2


class Done(NamedTuple):
    """What comes back from a worker.

    Attributes
    ----------
    results : list
        Of the calls that have returned.
    error : BaseException or None
        What comes in the place of the next one.
    made : int
        How many calls have been made, those included whose results cannot be had.
    seconds : float
        How long they took.
    lost : int
        How many results `error` stands for.
    """

    results: list[Any]
    error: Any = None
    made: int = 0
    seconds: float = 0.0
    lost: int = 1

    def after(self, results: list[Any]) -> "Done":
        """Return the same, with the results of calls before it."""
        return self._replace(results=[*results, *self.results], made=len(results) + self.made)


class Chunk:
    """Some calls that go to a worker together.

    Attributes
    ----------
    calls : list of tuple
        The arguments of each; those that are handed back are taken out.
    rest : Chunk or None
        What was handed back.
    done : Done or None
        The results.
    """

    __slots__ = ("calls", "done", "rest")

    def __init__(self, calls: list[tuple[Any, ...]], rest: "Chunk | None" = None) -> None:
        self.calls = calls
        self.rest = rest
        self.done: Done | None = None


class OrderedMap(Generic[_T]):
    """One call of ``map``.

    Parameters
    ----------
    iterables : tuple of iterable
        The inputs.
    workers : int
        How many take chunks.
    size : int or None
        How many calls a chunk has; None: as many as take a few milliseconds.
    buffersize : int or None
        How many calls may be under way whose results have not been yielded; with a `size`, how many chunks. None: all
        inputs are collected at once.
    return_exceptions : bool
        Whether what a call raises is a result.
    """

    def __init__(
        self,
        iterables: tuple[Iterable[Any], ...],
        workers: int,
        *,
        size: int | None,
        buffersize: int | None,
        return_exceptions: bool,
    ) -> None:
        calls = zip(*iterables, strict=False)
        self._inputs: Iterator[tuple[Any, ...]] = calls if buffersize is not None else iter(())
        self._left = deque(calls if buffersize is None else ())
        self._workers = workers
        self._is_fixed = size is not None
        self._size = size or 1
        self._pace_s = 0.0  # of a call
        self._buffersize = buffersize
        self._returns_exceptions = return_exceptions
        self._ahead: deque[Chunk] = deque()  # to be taken first
        self._order: deque[Chunk] = deque()  # of the results
        self._error: BaseException | None = None  # why no more chunks are taken
        # Reentrant: the garbage collector may end the results of this map in a thread that has it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._is_awaited = False
        # With a buffer: what lets one more thread take chunks, if it is still there, and how many calls may go to it.
        self._find: Callable[[], Callable[[OrderedMap[_T]], object] | None] | None = None
        self._room = buffersize or 0
        # Set by the executor: how chunks are sent, and what is not to be forgotten before all inputs have been taken.
        self.how: Any = None
        self.executor: Any = None

    def begin(self, find: "Callable[[], Callable[[OrderedMap[_T]], object] | None]") -> None:
        """Let threads take chunks, with a function that finds what lets one more, or None if it is gone."""
        spawn = find()
        if self._buffersize is not None:
            self._find = find
            self._fill(BaseException)
        elif spawn is not None:
            for _ in range(min(self._workers, math.ceil(len(self._left) / self._size))):
                spawn(self)

    # --- for threads that take chunks

    def take(self) -> Chunk | None:
        """Return the next chunk, if there is one."""
        with self._lock:
            if self._error is not None:
                return None
            if self._ahead:
                return self._ahead.popleft()
            if not self._left:
                return None
            size = self._size
            if not self._is_fixed:
                size = min(size, math.ceil(len(self._left) / (self._workers * _SHARES)))
            chunk = Chunk([self._left.popleft() for _ in range(min(size, len(self._left)))])
            self._add(chunk)
            return chunk

    def _add(self, chunk: Chunk) -> None:
        self._order.append(chunk)
        if self._is_awaited:
            self._changed.notify_all()

    def hand_back(self, chunk: Chunk, first: int) -> bool:
        """Let others make the calls from `first` on; return whether there are any."""
        with self._lock:
            if first >= len(chunk.calls):
                return False
            rest = Chunk(chunk.calls[first:], chunk.rest)
            del chunk.calls[first:]
            chunk.rest = rest
            self._ahead.append(rest)
            return True

    def again(self, chunk: Chunk) -> None:
        """Let the chunk be taken once more."""
        with self._lock:
            self._ahead.appendleft(chunk)

    def finish(self, chunk: Chunk, done: Done) -> None:
        """Take what has come back; what has not been done of it goes to others."""
        self.hand_back(chunk, done.made)
        with self._lock:
            if not self._is_fixed and done.made:
                pace = done.seconds / done.made
                self._pace_s = (self._pace_s + pace) / 2 if self._pace_s else pace
                fitting = int(_TARGET_S / max(self._pace_s, 1e-7))
                self._size = max(1, min(fitting, self._size * 2))
            calls, chunk.calls = chunk.calls, []
            chunk.done = done
            if self._is_awaited:
                self._changed.notify_all()
        del calls  # with no lock: this may run code of the user's

    def fail(self, chunk: Chunk, error: BaseException) -> None:
        """Take what came instead of results."""
        self.finish(chunk, Done([], error, len(chunk.calls), lost=len(chunk.calls)))

    def end(self, error: BaseException) -> None:
        """Let no more chunks be taken. Who takes the results learns of it where the first one is missing."""
        with self._lock:
            if self._error is None:
                self._error = error
            self._find = self.executor = None
            self._changed.notify_all()

    # --- for who takes the results

    def _fill(self, raises: type[BaseException]) -> None:
        """Let as many chunks be taken as the buffer has room for; raise an error of this kind."""
        while True:
            spawn = None if self._find is None else self._find()
            with self._lock:
                size = self._size
                if not self._is_fixed:  # the buffer counts calls
                    size = min(size, self._room, max(1, (self._buffersize or 0) // (self._workers * _SHARES)))
                if self._room <= 0 or self._error is not None:
                    return
            calls = list(itertools.islice(self._inputs, size)) if spawn is not None else []
            if spawn is None or not calls:
                self._find = self.executor = None
                return
            with self._lock:
                self._room -= 1 if self._is_fixed else len(calls)
                chunk = Chunk(calls)
                self._ahead.append(chunk)
                self._add(chunk)
            try:
                spawn(self)
            except BaseException as error:
                self.end(error)
                if isinstance(error, raises):
                    raise
                return

    def results(self, deadline: float | None) -> Iterator[_T]:
        """Yield the results; `deadline` is a time of `time.monotonic`."""
        done: Any = None
        error: Any = None
        try:
            while (done := self._next(deadline)) is not None:
                if self._buffersize is not None:
                    self._room += 1 if self._is_fixed else len(done.results) + (done.error is not None) * done.lost
                    # A pool that has broken is an error of each call.
                    self._fill(RuntimeError if not self._returns_exceptions else Exception)
                done.results.reverse()
                while done.results:
                    yield done.results.pop()
                if done.error is not None:
                    if not self._returns_exceptions:
                        raise done.error
                    yield from itertools.repeat(done.error, done.lost)
            error = self._error
            for _ in self._inputs if error is not None else ():
                if not self._returns_exceptions:
                    raise error
                yield error
        finally:
            done = error = None  # an exception's traceback has this frame
            self.cancel()

    def _next(self, deadline: float | None) -> Done | None:
        """Return what a chunk has done, the first one whose results have not been taken; None: there is none."""
        with self._changed:
            self._is_awaited = True
            try:
                while True:
                    done = self._pop()
                    if done is not None:
                        return done
                    if not self._order and not self._left and self._find is None:
                        return None
                    seconds = None if deadline is None else deadline - time.monotonic()
                    if seconds is not None and seconds <= 0:
                        raise TimeoutError
                    self._changed.wait(seconds)
            finally:
                self._is_awaited = False

    def _pop(self) -> Done | None:
        if not self._order:
            if self._error is None or not self._left:
                return None
            self._order.append(Chunk(list(self._left)))
            self._ahead.append(self._order[0])
            self._left.clear()
        chunk = self._order[0]
        if chunk.done is None and self._error is not None and chunk in self._ahead:  # and nobody takes it
            chunk.done = Done([], self._error, lost=len(chunk.calls))
        if chunk.done is not None:
            self._order.popleft()
            if chunk.rest is not None:
                self._order.appendleft(chunk.rest)
        return chunk.done

    def cancel(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        """Let nothing more be done: nobody takes the results."""
        if at_exit():  # modules may have lost their names
            return
        with self._lock:
            self.end(CancelledError())
            left = self._ahead, self._order, self._left
            self._ahead, self._order, self._left = deque(), deque(), deque()
        del left  # with no lock, as above
