"""``map(chunksize="auto")``: as many calls in a task as take a few milliseconds."""

import functools
import itertools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

_T = TypeVar("_T")

# Seconds that a task shall take: nothing beside what it costs to send it, and no long wait for its first result.
_TARGET_S: Final = 0.02
# Of so many tasks the slowest call counts.
_REMEMBERED_TASKS: Final = 8
# So many tasks for each worker are under way, so that none is idle while one comes back.
_TASKS_PER_WORKER: Final = 2


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
    slowest_s : float
        How long the slowest call took, in s.
    lost : int
        How many results `error` stands for.
    """

    results: list[Any]
    error: Any = None
    made: int = 0
    slowest_s: float = 0.0
    lost: int = 1

    def after(self, results: list[Any]) -> "Done":
        """Return the same, with the results of calls before it."""
        return self._replace(results=[*results, *self.results], made=len(results) + self.made)


class _Chunk:
    """Some calls, of which so many at most go in one task.

    What has not been done of them is in `rest`, once they have come back.
    """

    def __init__(self, calls: list[tuple[Any, ...]], most: int) -> None:
        self.calls = calls
        self.most = min(most, len(calls))
        self.count = len(calls)
        self.task: Future[Done] | None = None
        # For who takes the results; it is set after `rest`.
        self.outcome: Future[Done] = Future()
        self.rest: _Chunk | None = None


# Submits a call: a method that keeps its executor, and that takes calls also while the executor comes to its end.
_Submit = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Future[Any]]


class Chunks(Protocol):
    """What an executor does with the calls of a chunk."""

    @property
    def run_chunk(self) -> Callable[..., Any]:
        """What makes some of the calls in a worker, the first in any case; from there comes a `Done`."""

    def sending_error(self, call: Any) -> BaseException | None:
        """Return why a call cannot be sent to a worker, or None."""


class AutoMap(Generic[_T]):
    """One call of ``map``.

    The inputs may be code of the user's that waits for results, so with the lock of this class nothing else is called:
    neither is a task submitted then, nor is an input asked for its next item.

    Parameters
    ----------
    submit : callable
        Submits a task; a method of the executor.
    chunks : Chunks
        What becomes of it in a worker.
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
        submit: _Submit,
        chunks: Chunks,
        workers: int,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        buffersize: int | None,
        *,
        size: int | None = None,
        options: dict[str, Any] | None = None,
        return_exceptions: bool = False,
    ) -> None:
        self._how = chunks
        self._submit: _Submit | None = submit  # as long as there may be something to send
        self._sending = True  # calls that have never been sent
        self._resending = True  # what has come back in part
        self._dropped = False
        self._cancelled = False
        self._fn = fn
        calls = zip(*iterables, strict=False)
        self._calls: Iterator[tuple[Any, ...]] = calls if buffersize is not None else iter(list(calls))
        self._buffersize = buffersize
        self._window = workers * _TASKS_PER_WORKER
        self._under_way = 0
        self._size = size or 1
        self._is_fixed = size is not None
        self._options = options or {}
        self._return_exceptions = return_exceptions
        self._broken: BrokenExecutor | None = None
        self._slowest: deque[float] = deque(maxlen=_REMEMBERED_TASKS)
        self._chunks: deque[_Chunk] = deque()
        # Reentrant: the garbage collector may end the results of this map in a thread that has it.
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        if buffersize is None:
            with self._lock:
                taken = self._take()
            self._begin(taken, submit)
        else:
            self._fill(buffersize, self._begin)

    def _take(self) -> list[_Chunk]:
        """Return the chunks that shall be sent now, of arguments that have all been collected; with the lock."""
        taken = []
        while self._sending and self._under_way < self._window:
            calls = list(itertools.islice(self._calls, self._size))
            if calls:
                taken.append(self._add(calls))
            else:
                self._sending = False
        return taken

    def _add(self, calls: list[tuple[Any, ...]]) -> _Chunk:
        chunk = _Chunk(calls, len(calls))
        self._chunks.append(chunk)
        self._under_way += 1
        return chunk

    def _fill(self, buffersize: int, send: Callable[[list[_Chunk], _Submit], None]) -> None:
        """Send what the buffer has room for; only whoever takes the results does that."""
        while True:
            with self._lock:
                submit, size = self._submit, self._size
                if submit is None or not self._sending or len(self._chunks) >= buffersize:
                    return
            calls = list(itertools.islice(self._calls, size))
            with self._lock:
                if not calls:
                    self._sending = False
                    return
                chunk = self._add(calls)
                if self._cancelled:  # meanwhile
                    self._under_way -= 1
                    chunk.outcome.cancel()
                    return
            send([chunk], submit)

    def _begin(self, chunks: list[_Chunk], submit: _Submit) -> None:
        """Send the first ones; whoever calls `map` gets an error."""
        try:
            for chunk in chunks:
                self._send_one(chunk, submit)
        except BaseException:
            self._sending = False
            raise

    def _send(self, chunks: list[_Chunk], submit: _Submit) -> None:
        for chunk in chunks:
            try:
                self._send_one(chunk, submit)
            except Exception as error:  # noqa: BLE001, whoever takes the results gets it, and no more
                with self._lock:
                    self._sending = False
                    self._under_way -= 1
                    self._idle.notify_all()
                if self._cancelled and not isinstance(error, BrokenExecutor):  # and the executor has been shut down
                    chunk.outcome.cancel()
                else:
                    chunk.outcome.set_exception(error.with_traceback(None))  # whose frames have the executor

    def _send_one(self, chunk: _Chunk, submit: _Submit) -> None:
        task = submit(self._how.run_chunk, (self._fn, chunk.calls[: chunk.most]), self._options)
        chunk.task = task
        if self._cancelled:
            task.cancel()
        # This may be now.
        task.add_done_callback(functools.partial(self._come_back, chunk))

    def _come_back(self, chunk: _Chunk, task: Future[Done]) -> None:
        error = CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, CancelledError):
            self._end(chunk, error)
            return
        if error is None:
            done = task.result()
            rest, most = chunk.calls[done.made :], chunk.most
        else:
            done, rest, most = self._without_what_cannot_be_sent(chunk, error)
        further: list[_Chunk] = []
        with self._lock:
            self._under_way -= 1
            submit = self._submit
            if error is None:
                self._adapt(done)
            if rest:
                chunk.rest = _Chunk(rest, most)
                if self._resending:
                    self._under_way += 1
                    further.append(chunk.rest)
                else:
                    chunk.rest.outcome.cancel()
            if self._buffersize is None:
                further += self._take()
            if not self._sending and not self._under_way:
                self._submit = None
            chunk.calls = []
            self._idle.notify_all()
        chunk.outcome.set_result(done)
        if submit is not None:
            self._send(further, submit)

    def _end(self, chunk: _Chunk, error: BaseException) -> None:
        """Send nothing more."""
        with self._lock:
            self._under_way -= 1
            self._sending = self._resending = False
            self._submit = None
            chunk.calls = []
            self._idle.notify_all()
        chunk.outcome.set_exception(error)

    def _without_what_cannot_be_sent(
        self, chunk: _Chunk, error: BaseException
    ) -> tuple[Done, list[tuple[Any, ...]], int]:
        """Return what is known of a chunk that was not sent, which of its calls go next, and how many in one task."""
        failed = Done([], error)
        for count, args in enumerate(chunk.calls[: chunk.most]):
            if self._how.sending_error((self._fn, args)) is not None:
                # Those before it have not been made, and neither have those after it.
                return (Done([]), chunk.calls, count) if count else (failed, chunk.calls[1:], chunk.most)
        # Something else, such as a worker that was interrupted: what it has done is not known, and not done again.
        failed = failed._replace(lost=chunk.most)
        return failed, chunk.calls[chunk.most :], chunk.most

    def _adapt(self, done: Done) -> None:
        if self._is_fixed:
            return
        self._slowest.append(done.slowest_s)
        fitting = int(_TARGET_S / max(*self._slowest, 1e-7)) if len(self._slowest) > 1 else 1
        self._size = max(1, min(fitting, self._size * 2))

    def results(self, deadline: float | None) -> Iterator[_T]:
        """Yield the results; `deadline` is a time of `time.monotonic`."""
        chunk: _Chunk | None
        rest: _Chunk | None
        done: Any
        try:
            while self._chunks:
                chunk = self._chunks[0]
                while chunk is not None:
                    done = self._outcome(chunk, deadline)
                    rest = chunk.rest
                    done.results.reverse()
                    while done.results:
                        yield done.results.pop()
                    if done.error is not None and not self._return_exceptions:
                        raise done.error
                    if done.error is not None:
                        yield from itertools.repeat(done.error, done.lost)
                    chunk = rest
                self._chunks.popleft()
                if self._buffersize is not None:
                    self._fill(self._buffersize, self._send)
            if self._broken is not None:
                broken: Any = self._broken
                yield from (broken for _ in self._calls)
            if self._dropped and next(self._calls, None) is not None:
                raise CancelledError
        finally:
            chunk = rest = done = None  # an exception's traceback has this frame
            self.cancel()

    def _outcome(self, chunk: _Chunk, deadline: float | None) -> Done:
        try:
            return chunk.outcome.result(None if deadline is None else deadline - time.monotonic())
        except BrokenExecutor as error:  # it has not been sent
            if not self._return_exceptions:
                raise
            self._broken = error
            return Done([], error, lost=chunk.count)

    def cancel(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        """Send nothing more, and cancel what has not begun."""
        if at_exit():  # nothing has, and modules may have lost their names
            return
        with self._lock:
            self._sending = self._resending = False
            self._cancelled = True
            self._submit = None
            chunks = list(self._chunks)
            self._chunks.clear()
            self._idle.notify_all()
        for chunk in chunks:
            each: _Chunk | None = chunk
            while each is not None:
                if each.task is not None:
                    each.task.cancel()
                each = each.rest

    def drop(self) -> None:
        """Send nothing more: whoever takes the results learns of it where the first one is missing."""
        with self._lock:
            self._dropped |= self._sending
            self._sending = self._resending = False
            self._cancelled = True
            self._idle.notify_all()

    @property
    def sent(self) -> bool:
        """Whether nothing is left that would be sent by itself."""
        return self._buffersize is not None or not (self._sending or self._under_way)

    def wait_until_sent(self) -> None:
        """Wait until nothing is left that would be sent by itself."""
        with self._lock:
            self._idle.wait_for(lambda: self.sent)


class AutoMaps:
    """Those of one executor that may still have something to send."""

    def __init__(self) -> None:
        self._maps: weakref.WeakSet[AutoMap[Any]] = weakref.WeakSet()

    def add(self, auto_map: AutoMap[Any]) -> None:
        """Remember one."""
        self._maps.add(auto_map)

    @property
    def sent(self) -> bool:
        """Whether nothing is left that would be sent by itself."""
        return all(each.sent for each in list(self._maps))

    def drop(self) -> None:
        """Send nothing more."""
        for each in list(self._maps):
            each.drop()

    def wait_until_sent(self) -> None:
        """Wait until nothing is left that would be sent by itself."""
        for each in list(self._maps):
            each.wait_until_sent()
