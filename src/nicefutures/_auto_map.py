"""``map(chunksize="auto")``: as many calls in a task as take a few milliseconds."""

import functools
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, process
from typing import Any, Final, Generic, NamedTuple, TypeVar

_T = TypeVar("_T")

# Seconds that a task shall take: nothing beside what it costs to send it, and no long wait for its first result.
_TARGET_S: Final = 0.02
# Seconds after which a task comes back with what is done, and the rest is sent again.
_LONGEST_S: Final = 0.04
# Of so many tasks the slowest call counts.
_REMEMBERED_TASKS: Final = 8
# So many tasks for each worker are under way, so that none is idle while one comes back.
_TASKS_PER_WORKER: Final = 2


class Done(NamedTuple):
    """What comes back from a worker.

    Attributes
    ----------
    results : list
        Of the calls that have been made and have returned.
    error : BaseException or None
        What the next one raised.
    slowest_s : float
        How long the slowest call took, in s.
    """

    results: list[Any]
    error: Any
    slowest_s: float


def _run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Done:
    """Make the calls until the time is over, the first in any case."""
    results: list[Any] = []
    slowest, began = 0.0, time.perf_counter()
    before = began
    for args in calls:
        try:
            results.append(fn(*args))
        except BaseException as error:
            if not results:
                raise
            # As the stdlib's worker sends an error, with the traceback as a text.
            traceback: Any = error.__traceback__
            return Done(results, process._ExceptionWithTraceback(error, traceback), slowest)  # noqa: SLF001
        now = time.perf_counter()
        slowest = max(slowest, now - before)
        if now - began > _LONGEST_S:
            break
        before = now
    return Done(results, None, slowest)


class _Chunk:
    """Some calls; what has not been done of them is in `rest`, once they have come back."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.calls = calls
        self.future: Future[Done] = Future()
        self.rest: _Chunk | None = None


class AutoMap(Generic[_T]):
    """One call of ``map``.

    Parameters
    ----------
    executor : Executor
        Where the tasks go.
    workers : int
        How many workers it may have.
    fn, iterables
        As for :meth:`concurrent.futures.Executor.map`.
    buffersize : int or None
        How many tasks may be under way whose results have not been yielded. None: the next ones go out as soon as
        others come back, and all arguments are collected at once.
    """

    def __init__(
        self,
        executor: Executor,
        workers: int,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        buffersize: int | None,
    ) -> None:
        self._executor: Executor | None = executor  # as long as there are calls that have never been sent
        self._resender: Executor | None = executor  # as long as tasks may come back in part
        self._fn = fn
        calls = zip(*iterables, strict=False)
        self._calls: Iterator[tuple[Any, ...]] = calls if buffersize is not None else iter(list(calls))
        self._buffersize = buffersize
        self._window = workers * _TASKS_PER_WORKER
        self._under_way = 0
        self._size = 1
        self._slowest: deque[float] = deque(maxlen=_REMEMBERED_TASKS)
        self._chunks: deque[_Chunk] = deque()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._fill()

    def _fill(self) -> None:
        with self._lock:
            while self._executor is not None and self._has_room():
                calls = list(itertools.islice(self._calls, self._size))
                if not calls:
                    self._executor = None  # nothing more to send, but what comes back in part
                    break
                chunk = _Chunk(calls)
                self._send(chunk, self._executor)
                self._chunks.append(chunk)
                self._follow(chunk)

    def _has_room(self) -> bool:
        if self._buffersize is not None:
            return len(self._chunks) < self._buffersize
        return self._under_way < self._window

    def _send(self, chunk: _Chunk, executor: Executor) -> None:
        self._under_way += 1
        try:
            chunk.future = executor.submit(_run_chunk, self._fn, chunk.calls)
        except Exception as error:  # noqa: BLE001, whoever takes the results gets it, and no more
            self._executor = None
            chunk.future.set_exception(error)

    def _follow(self, chunk: _Chunk) -> None:
        """Send more when this comes back: which may be now, so it has its place by then."""
        chunk.future.add_done_callback(functools.partial(self._come_back, chunk))

    def _come_back(self, chunk: _Chunk, future: Future[Done]) -> None:
        with self._lock:
            self._under_way -= 1
            if future.cancelled() or future.exception() is not None:
                # Nothing that comes after it will be asked for; and a pool that breaks takes no task in its callbacks.
                self._executor = None
            else:
                done = future.result()
                self._adapt(done)
                rest = chunk.calls[len(done.results) :]
                if rest and done.error is None and self._resender is not None:
                    chunk.rest = _Chunk(rest)
                    self._send(chunk.rest, self._resender)
                    self._follow(chunk.rest)
            chunk.calls = []
            if self._buffersize is None:
                self._fill()
            if self._executor is None and not self._under_way:
                self._resender = None
            self._idle.notify_all()

    def _adapt(self, done: Done) -> None:
        self._slowest.append(done.slowest_s)
        fitting = int(_TARGET_S / max(*self._slowest, 1e-7)) if len(self._slowest) > 1 else 1
        self._size = max(1, min(fitting, self._size * 2))

    def results(self, deadline: float | None) -> Iterator[_T]:
        """Yield the results; `deadline` is a time of `time.monotonic`."""
        try:
            while self._chunks:
                chunk: _Chunk | None = self._chunks[0]
                while chunk is not None:
                    done = chunk.future.result(None if deadline is None else deadline - time.monotonic())
                    rest = self._rest_of(chunk)
                    done.results.reverse()
                    while done.results:
                        yield done.results.pop()
                    if done.error is not None:
                        raise done.error
                    chunk = rest
                with self._lock:
                    self._chunks.popleft()
                self._fill()
        finally:
            self.cancel()

    def _rest_of(self, chunk: _Chunk) -> _Chunk | None:
        with self._lock:  # who waits for a result may be woken before the callback has run
            self._idle.wait_for(lambda: not chunk.calls)
            return chunk.rest

    def cancel(self) -> None:
        """Send nothing more, and cancel what has not begun."""
        with self._lock:
            self._executor = self._resender = None
            chunks = list(self._chunks)
        for chunk in chunks:
            each: _Chunk | None = chunk
            while each is not None:
                each.future.cancel()
                each = each.rest

    def drop(self) -> None:
        """Cancel what has not been sent: whoever takes the results learns of it there."""
        with self._lock:
            self._resender = None
            if self._executor is not None and next(self._calls, None) is not None:
                chunk = _Chunk([])
                chunk.future.cancel()
                self._chunks.append(chunk)
            self._executor = None

    def wait_until_sent(self) -> None:
        """Wait until nothing is left to be sent."""
        with self._lock:
            if self._buffersize is None:
                self._idle.wait_for(lambda: self._executor is None and not self._under_way)


class AutoMaps:
    """Those of one executor that may still have something to send."""

    def __init__(self) -> None:
        self._maps: weakref.WeakSet[AutoMap[Any]] = weakref.WeakSet()

    def add(self, auto_map: AutoMap[Any]) -> None:
        """Remember one."""
        self._maps.add(auto_map)

    def end(self, *, wait: bool, cancel: bool) -> None:
        """Come to an end before the executor does."""
        for each in list(self._maps):
            if cancel:
                each.drop()
            elif wait:
                each.wait_until_sent()
