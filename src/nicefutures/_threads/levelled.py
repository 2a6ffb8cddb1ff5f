"""The common base of both thread executors: priority, `on_denied`, `map`, `tasks` and `workers`."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import TYPE_CHECKING, Any

from .._arguments import Condition, check_chunksize
from .._control import warn_of
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnDenied, PriorityError, Shortfall, ThreadPriority, parse_on_denied, parse_priority
from .._map.base import BaseExecutor, MapOptions
from .._map.buffered import map_buffered
from .._pausing import PAUSE
from .._system import backend
from .gate import Gate, end_tasks, take_back, take_tasks
from .pausing import Pausing
from .tasks import count_running
from .worker import Level

if TYPE_CHECKING:
    from .._watch import Watch
    from .._workers import WorkerInfo


class LevelledThreads(BaseExecutor, ThreadPoolExecutor):
    """An executor whose worker threads have a priority; the base of the public ones."""

    _level: Level
    _on_shortfall: Callable[[Shortfall], None]
    _failure_warning: WarnOnce
    _gate: Gate | None = None
    _pausing: Pausing | None = None
    _watch: "Watch | None" = None
    _submit_count = 0
    _ends = 0

    def _take_level(self, priority: ThreadPriority | str, on_denied: OnDenied) -> Callable[[Shortfall], None]:
        """Check and store both for `__init__`; return the function that a worker calls on a failure."""
        self._level = Level(parse_priority(ThreadPriority, priority))
        parse_on_denied(on_denied)
        self._failure_warning = WarnOnce(depth=2)
        reactions: dict[OnDenied, Callable[[Shortfall], None]] = {"raise": refuse, "ignore": ignore}
        self._on_shortfall = reactions.get(on_denied, self._failure_warning)
        return self._on_shortfall

    def _pause_when(self, conditions: Iterable[Condition], idle_after: float) -> None:
        """Pause the executor by these conditions; called at the end of `__init__`."""
        if conditions:
            from .._watch import watch  # only if there are conditions

            self._pausing = Pausing(self)
            self._pausing.install(self)
            self._watch = watch(self._pausing, conditions, idle_after, self._failure_warning.warn_of)

    @property
    def priority(self) -> ThreadPriority:
        """Priority of the threads. Assign a priority, or its name, to change it for current and future workers.

        Raises
        ------
        PriorityError
            If a running thread cannot have it, and `on_denied` is "raise". macOS, for example, lets a thread change
            only itself, and on Linux a higher priority needs a privilege.

        Warns
        -----
        PriorityWarning
            The same, with "warn".
        """
        return self._level.value

    @priority.setter
    def priority(self, priority: ThreadPriority | str) -> None:
        self._level.value = level = parse_priority(ThreadPriority, priority)
        tids = self._list_tids()
        backend.threads.set_levels(tids, level)
        self._heed_level()
        found = backend.threads.get_levels(tids)
        others = [tid for tid in self._list_tids() if tid in tids and found.get(tid) is not level]
        if others and self._on_shortfall is not ignore:
            shortfall = Shortfall(
                f"thread priority {level.name} of {len(others)} of {len(tids)} running workers",
                found[others[0]].name if others[0] in found else "",
                "the system does not let this program change them, or not raise them",
                "Make a new executor, or set the priority before the first task.",
            )
            if self._on_shortfall is refuse:
                raise PriorityError(shortfall)
            warn_of(shortfall)

    def _list_tids(self) -> list[int]:
        # The system may give the id of a thread that has ended to another program's thread.
        threads = [thread for thread in list(self._threads) if thread.is_alive()]
        return [thread.native_id for thread in threads if thread.native_id is not None]

    def _heed_level(self) -> None:
        """Update the state that depends on the priority; called after each change."""

    # The work for a submit is here, because overriding `submit` would cost a tenth of its time.
    def _adjust_thread_count(self) -> None:
        """Start a thread for a queued task if none is idle; the stdlib's `submit` calls this."""
        self._submit_count += 1
        warning = self._failure_warning
        if not self._threads:
            warning.heed_filters()
        elif warning.is_pending:
            take_back()
            self._submit_count -= 1
            warning.raise_pending()
        if self._watch is not None:
            self._watch.wake()
        pausing = self._pausing
        if pausing is None:
            super()._adjust_thread_count()
            return
        with pausing.lock:
            if pausing.is_closed:
                pausing.unstarted += 1
            else:
                super()._adjust_thread_count()

    def _initializer_failed(self) -> None:
        """Let the waiting tasks fail, also those that a pause keeps; the stdlib's worker calls this."""
        super()._initializer_failed()
        if self._pausing is not None:
            end_tasks(self._pausing.take_all(), self._make_broken_error())

    def _make_broken_error(self) -> BrokenThreadPool:
        broken: type[BrokenThreadPool] = getattr(self, "BROKEN", BrokenThreadPool)  # the stdlib's, from Python 3.14 on
        return broken(self._broken)

    def _start_threads(self, tasks: int) -> None:
        """Start threads for this many queued tasks if none is idle; the caller holds the lock of `Pausing`."""
        for _ in range(min(tasks, self._max_workers)):
            super()._adjust_thread_count()

    def _map_results(
        self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], how: MapOptions
    ) -> tuple[Iterator[Any], Callable[[], object]]:
        if isinstance(how.chunksize, str):  # numbers are ignored, as in the stdlib
            check_chunksize(how.chunksize)
        return map_buffered(
            self,
            fn,
            iterables,
            timeout=how.timeout,
            buffersize=how.buffersize,
            return_exceptions=how.return_exceptions,
        )

    def _count_tasks(self) -> tuple[int, int]:
        if not hasattr(self, "_work_queue"):
            return 0, 0  # its creation failed
        # The queue has a None for each `shutdown` so far, which tells the workers to end.
        waiting = max(self._work_queue.qsize() - self._ends, 0)
        unfinished = getattr(self._work_queue, "unfinished", None)
        if unfinished is None:  # the queue is not ours
            return waiting, count_running(thread.ident for thread in list(self._threads))
        # A worker drops its task shortly after the task is done.
        tasks = [reference() for reference in list(unfinished)]
        count = sum(not task.future.done() for task in tasks if task is not None)
        waiting = min(waiting, count)
        return waiting, count - waiting

    def _pausable(self, *, opens: bool) -> Pausing | None:
        if not opens:
            return self._pausing
        if self._shutdown:
            msg = "cannot pause after shutdown"
            raise RuntimeError(msg)
        if self._broken:
            raise self._make_broken_error()
        pausing: Pausing = self.__dict__.setdefault("_pausing", Pausing(self))  # atomic: all threads get the same one
        return pausing

    def __del__(self) -> None:
        if self._pausing is not None:
            self._pausing.detach(self)  # before the workers are told to end

    def workers(self) -> "list[WorkerInfo]":
        """Return what the operating system reports for each current worker.

        Returns
        -------
        list of WorkerInfo
            Workers start when they are needed, so there are fewer than `max_workers` at first, and none after the
            shutdown.
        """
        from .description import describe_threads

        return describe_threads(list(getattr(self, "_threads", ())))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._shutdown_lock:
            self._shutdown = True  # from here on, no task is submitted, and `pause` does nothing
        pausing = self._pausing
        if cancel_futures:
            tasks = take_tasks(self._work_queue) if pausing is None else pausing.take_all()
            self._submit_count -= len(tasks)
            end_tasks(tasks)
        if pausing is not None:
            pausing.resume(PAUSE)
            if wait:
                pausing.finish(self)  # before the threads are joined, because they may not have been started
        self._ends += 1  # the None that `shutdown` puts into the queue
        super().shutdown(wait)
        if wait:
            self._failure_warning.raise_pending()

    shutdown.__doc__ = ThreadPoolExecutor.shutdown.__doc__

    def __repr__(self) -> str:
        from .._workers import describe_executor

        return describe_executor(self, self._level.value, self._max_workers, is_open=not self._shutdown)
