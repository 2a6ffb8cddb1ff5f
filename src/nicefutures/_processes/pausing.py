"""Pause a pool: a thread stops the workers while there is a reason, and continues them afterwards."""

import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._pausing import PAUSE, Reasons
from .handle import State, Worker
from .pipes import close, keep_from_children
from .task import UnderWay

if TYPE_CHECKING:
    from .._standstill import Standstill
    from .._watch import Watch

# Seconds between two checks that all workers stand still: a shell's `fg` continues the workers of a program, too.
_RECHECK: Final = 1.0
# Maximum time in seconds that a call waits for processes to stop.
_PATIENCE: Final = 5.0


class Registry(Protocol):
    """The workers of a pool, and its tasks."""

    processes: dict[int, Any]
    under_way: UnderWay

    def wake(self) -> None:
        """Let pending tasks check again whether they may begin."""

    def sort_out(self, left: int | None) -> tuple[list[Worker], list[Worker]]:
        """Return the workers that must stand still, and the others, if `left` tasks may continue; None: all."""


class Pausing:
    """Pauses the workers of a pool, for one or more reasons.

    Only its thread stops and continues processes. The thread exists while there is a reason.
    """

    def __init__(self, pool: Registry, news: threading.Condition) -> None:
        self.reasons = Reasons()
        self._pool = pool
        self._news = news  # with the lock of the pool
        self._asked = self._done = 0
        self._thread: threading.Thread | None = None
        self._is_over = self._is_ending = False
        self._failure: BaseException | None = None
        self.watch: Watch | None = None  # watches the conditions of `pause_when`

    def pause(self, reason: str, leave: int = 0) -> None:
        """Pause all tasks but `leave`, for one more reason; wait until they stand still.

        Raise an OSError or RuntimeError if the guard of stopped processes, or a thread, cannot start: tasks continue.
        """
        with self._news:
            if self._is_over or (reason == PAUSE and self._is_ending):
                return
            self.reasons.add(reason, leave)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="nicefutures-pause", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    self.reasons.remove(reason)
                    raise
                self._thread = thread
            self._wait(self._ask())
            failure, self._failure = self._failure, None
            if failure is not None:
                self.reasons.remove(reason)
                raise failure

    def resume(self, reason: str, *, wait: bool = True) -> None:
        """Remove a reason, and continue the tasks if no other reason is left."""
        if not self.reasons.remove(reason):
            return
        with self._news:
            asked = self._ask()
            self._pool.wake()  # the thread does this, too, unless an error has ended it
            if wait:
                self._wait(asked)

    def end_own(self) -> None:
        """End the user's pause, and allow no further one: who ends the pool, or the program, waits for the tasks."""
        with self._news:
            self._is_ending = True
        self.resume(PAUSE)

    def end(self, *, wait: bool = False) -> None:
        """Continue all tasks, and allow no further pause."""
        with self._news:
            self._is_over = True
            self.reasons.clear()
            if self.watch is not None:
                self.watch.close()
            if self._thread is not None:
                asked = self._ask()
                if wait:
                    self._wait(asked)

    def reconsider(self) -> None:
        """Check again which workers must stand still, because a worker has started or a task has ended."""
        if self._thread is not None:
            with self._news:
                self._ask()

    def hold(self, worker: Worker, *, begins: bool) -> None:
        """Begin or end a worker's `no_pause` block. A paused worker begins it when it continues."""
        with self._news:
            worker.asks = begins and worker.state is State.PAUSED
            worker.is_held = begins and not worker.asks
        if worker.is_held:
            worker.allow()
        elif not begins:
            self.reconsider()

    def __str__(self) -> str:
        return str(self._pool)

    def has_work(self) -> bool:
        """Return whether there are tasks."""
        return self._pool.under_way.count > 0

    def pids(self) -> list[int]:
        """Return the ids of the worker processes."""
        return list(self._pool.processes)

    # --- with the lock held

    def _ask(self) -> int:
        self._asked += 1
        self._news.notify_all()
        return self._asked

    def _wait(self, asked: int) -> None:
        self._news.wait_for(lambda: self._done >= asked or self._thread is None, _PATIENCE)

    # --- in the thread

    def _run(self) -> None:
        from .._standstill import Standstill  # only imported for a pause

        standstill = Standstill(keep_from_children, close)
        try:
            while self._look(standstill):
                pass
        except BaseException as failure:  # noqa: BLE001, `pause` raises it
            self._failure = failure
        finally:
            standstill.resume()
            with self._news:
                if self._thread is threading.current_thread():  # an error has ended this thread
                    self._thread = None
                self._news.notify_all()

    def _look(self, standstill: "Standstill") -> bool:
        """Stop the workers that must stand still, and continue the others; return False after the last reason."""
        with self._news:
            asked = self._asked
            still, others = self._pool.sort_out(self.reasons.left)
            is_over = self.reasons.left is None
        standstill.resume(worker.pid for worker in still)  # all others, also children of workers that ended
        for worker in others:
            worker.go_on()
            if worker.asks:
                worker.asks, worker.is_held = False, True
                worker.allow()
        for worker in still:
            worker.stand_still()
        if not standstill.stop([worker.pid for worker in still]):
            return True
        with self._news:
            self._done = asked
            self._news.notify_all()
            if asked == self._asked:
                if is_over:
                    self._thread = None
                    return False
                while not self._news.wait(_RECHECK) and not standstill.is_disturbed:
                    pass
            return True
