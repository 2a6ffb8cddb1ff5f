"""What a worker process tells its parent: what is missing, what it is like, what it wants to have.

A worker sends what is missing through a pipe and waits until the parent has said it, so that nobody sees a result of
that worker first. A thread of the parent listens; it sleeps until a worker starts or fails, or the executor ends.
"""

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._failure import WarnOnce
from .._levels import Shortfall

if TYPE_CHECKING:  # not every system has semaphores, and threads do without
    from multiprocessing.synchronize import Lock, Semaphore

# Seconds that a worker waits for its parent to take notice, before it goes to work all the same.
_PATIENCE: Final = 5.0
# Seconds between two looks at a pool that was left to end by itself.
_LINGER: Final = 0.1
# How many workers' reports are kept: more than a pool has workers.
_MOST_REPORTS: Final = 10_000


class WorkerReport(NamedTuple):
    """What only a worker itself knows.

    Attributes
    ----------
    pid : int
        Its process id.
    blas_threads : int or None
        How many threads its BLAS libraries use when its initializer has run; None if it has none.
    """

    pid: int
    blas_threads: int | None


class Question(NamedTuple):
    """What a worker asks its parent for.

    Attributes
    ----------
    what : Any
        What it wants to have.
    reply_to : Any
        Where it waits for that.
    """

    what: Any
    reply_to: Any


class WorkerEnd:
    """What a worker process needs to report. It can be pickled while the process starts.

    `writer` is the sending end of a pipe, of the type that the system has for it.
    """

    def __init__(self, writer: Any, lock: "Lock", heard: "Semaphore") -> None:
        self._writer = writer
        self._lock = lock
        self._heard = heard

    def report(self, report: WorkerReport | Question) -> None:
        """Report what a worker that has started is like, or ask, if anybody listens."""
        with self._lock, contextlib.suppress(OSError):
            self._writer.send(report)

    def __call__(self, shortfall: Shortfall) -> None:
        """Report what is missing, and return when the parent has said it."""
        # Once heard, the semaphore is passed from worker to worker: none of them needs to report again.
        if not self._heard.acquire(block=False):
            with self._lock:
                self._writer.send(shortfall)
            if not self._heard.acquire(timeout=_PATIENCE):
                return
        self._heard.release()


class WorkerChannel:
    """From the workers of one executor to the parent.

    Parameters
    ----------
    context : multiprocessing.context.BaseContext
        Context that starts the workers.
    warn : WarnOnce
        What to call with a failure.
    answer : callable or None
        What to call with a `Question`; None if nobody asks.
    at_end : list of callable
        Called once no worker is left.

    Attributes
    ----------
    reports : dict of int to WorkerReport
        By process id; of many workers that have been replaced, the last.
    """

    def __init__(
        self,
        context: BaseContext,
        warn: WarnOnce,
        answer: Callable[[Question], object] | None,
        at_end: list[Callable[[], None]],
    ) -> None:
        self._reader, self._writer = context.Pipe(duplex=False)
        self._closing, self._close = context.Pipe(duplex=False)
        self._lock = context.Lock()
        self._heard = context.Semaphore(0)
        self._warn = warn
        self._answer = answer
        self._at_end = at_end
        self.reports: dict[int, WorkerReport] = {}
        self._hear_lock = threading.Lock()
        self._owner = os.getpid()
        self._listener: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._closed = False

    def worker_end(self) -> WorkerEnd:
        """Return what the workers report with."""
        return WorkerEnd(self._writer, self._lock, self._heard)

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def listening(self) -> bool:
        """Whether `listen` has nothing left to do."""
        return self._listener is not None

    def listen(self, executor: ProcessPoolExecutor) -> None:
        """Start to listen, unless that is done; after the executor has forked its workers, for a thread is started."""
        with self._start_lock:
            if self._listener is not None or self._closed:
                return
            self._warn.heed_filters()
            # Daemonic: at the interpreter's exit nobody may have closed an executor.
            listener = threading.Thread(
                target=self._listen, args=(manager_thread(executor),), name="nicefutures-listener", daemon=True
            )
            try:
                listener.start()
            except RuntimeError:  # no more threads, or the interpreter ends: what is reported is said on closing
                return
            self._listener = listener
            weakref.finalize(executor, self.close).atexit = False

    def close(self, *, join: bool = False) -> None:
        """Let the listener end as soon as no worker can report any more; with `join`, wait for that."""
        if os.getpid() != self._owner:  # a forked child has a copy of all this, and no say in it
            return
        with self._start_lock:
            first, self._closed = not self._closed, True
            if first:
                self._close.send_bytes(b"close")  # closing it would not do: forked workers have it open too
        if self._listener is None:
            if first:
                self._drain()
        elif join:
            self._listener.join()

    def raise_pending(self) -> None:
        """Raise the warning, once, if the filters made it an error."""
        self._warn.raise_pending()

    def _listen(self, manager: threading.Thread | None) -> None:
        while self._closing not in wait([self._reader, self._closing]):
            self.hear()
        # Shut down without waiting, or forgotten: the workers go on, and new ones may start, while the manager runs.
        while manager is not None and manager.is_alive():
            wait([self._reader], _LINGER)
            self.hear()
        self._drain()

    def hear(self) -> None:
        """Take what has been reported by now."""
        if os.getpid() != self._owner:  # it is not for a forked child
            return
        shortfalls, questions = [], []
        with self._hear_lock:  # two who find something in the pipe must not both wait for it
            while not self._reader.closed and self._reader.poll():
                said = self._reader.recv()
                if isinstance(said, WorkerReport):
                    self.reports.pop(said.pid, None)
                    self.reports[said.pid] = said
                    if len(self.reports) > _MOST_REPORTS:
                        del self.reports[next(iter(self.reports))]
                elif isinstance(said, Question):
                    questions.append(said)
                else:
                    shortfalls.append(said)
        for question in questions:
            if self._answer is not None:
                self._answer(question)
        for shortfall in shortfalls:  # without the lock: what shows warnings may want to know of the workers
            self._warn(shortfall)
            self._heard.release()

    def _drain(self) -> None:
        self.hear()
        with self._hear_lock:
            for pipe in (self._reader, self._writer, self._closing, self._close):
                pipe.close()
        for end in self._at_end:
            end()


def manager_thread(executor: ProcessPoolExecutor) -> threading.Thread | None:
    """Return the thread of the stdlib's executor that ends when its last worker has.

    It is private, under the same name from Python 3.9 to 3.15. Without it, failures that are reported
    after ``shutdown(wait=False)`` go unsaid.
    """
    thread = getattr(executor, "_executor_manager_thread", None)
    return thread if isinstance(thread, threading.Thread) else None
