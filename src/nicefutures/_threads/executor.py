"""A ThreadPoolExecutor whose workers set their priority with the operating system."""

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._arguments import check_chunksize, check_initializer, check_latency_target, check_max_workers, parse_blas_threads
from .._blas import shared_cap
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnDenied, Shortfall, ThreadPriority, parse_on_denied, parse_priority
from .._map.buffered import MAP_NOTE, map_buffered
from .._map.results import count_items, with_size
from .._public import public
from .._system import backend
from .._system.common import count_cpus
from .controller import controller
from .gate import Gate, are_green, drain, put_before, take_back
from .gil import has_gil
from .regulator import Regulator
from .stats import PoolStats, Stall
from .tasks import count_running
from .worker import lift_thread, start_green_thread, start_thread

if TYPE_CHECKING:
    from .._workers import WorkerInfo

_T = TypeVar("_T")


@public
class PriorityThreadPoolExecutor(ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` whose threads have an operating-system priority.

    The priority is that of the threads, not an order of tasks: tasks start in the order in which you submit them.

    Parameters
    ----------
    max_workers : int or None, default None
        Number of threads. None: that of the standard library.
    thread_name_prefix : str, optional
        Names of the threads.
    initializer : callable or None, default None
        Called in each thread at its start, after the priority has been set.
    initargs : tuple, optional
        Arguments of `initializer`.
    priority : ThreadPriority or str, default ThreadPriority.BELOW_NORMAL
        Priority of the threads. On Windows it is relative to the priority class of the process.
    on_denied : {"warn", "raise", "ignore"}, default "warn"
        What to do if the priority of a thread cannot be set. "warn": its tasks run, and one PriorityWarning for the
        executor says why and how to solve it. "raise": its tasks end with a PriorityError. "ignore": its tasks run.
    latency_target : float or None, default None
        Time in s for which this pool may delay another Python thread, for example the one that draws your window, by
        holding the GIL; 0.005 keeps a window smooth. While its tasks need the GIL, the pool runs one of them at a time.
        Tasks that release the GIL or wait use all workers. None: all workers run, as in the standard library's pool.
    blas_threads : int, "auto" or None, default None
        Number of threads that a BLAS library may use for each call, until you shut the executor down. It applies to
        **the whole process**, including the main thread, because a BLAS library has one number. "auto": CPUs /
        workers, at least 1. Libraries that are loaded when the executor is created, or when a worker starts, are
        limited; OpenMP's own threads only in the workers. With several executors, the lowest limit applies.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed. The text says which values are.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, when the first thread starts that cannot have the priority, if `on_denied` is "warn".

    Notes
    -----
    **With a latency target**, a thread of the library wakes up every 10 ms or so while tasks run. It measures how long
    it waits for the GIL, and how much CPU time each thread uses. One worker runs at first. More are let in if the tasks
    together use more than one CPU, or if they wait. A task that would have begun at once in the standard library's pool
    waits for at most about a quarter of a second, whatever runs before it. While tasks run, the switch interval of the
    interpreter is a fifth of the target, at least 1 ms, unless it is shorter already. It is restored when the pool is
    idle or shut down. On a free-threaded build none of this happens. A single call that holds the GIL for long cannot
    be interrupted: `stalls` lists such functions. A target is not the default because tasks that both compute in Python
    and wait may do a tenth less work than in the standard library's pool.

    **The GIL ignores priorities.** A thread that runs Python code holds the GIL. At a low priority it gets less of the
    CPU, so it holds the GIL for *longer* while other programs are busy, and every other Python thread waits for it.
    This priority inversion takes seconds beside four busy processes on two cores. Use ``IDLE`` and ``LOWEST`` only for
    tasks that release the GIL nearly all the time, such as large NumPy and SciPy calls. With a latency target, and if
    the system allows it (Windows, macOS, Linux with CAP_SYS_NICE), workers with these priorities run at BELOW_NORMAL
    while their tasks hold the GIL; `stats` says so. For Python code and for many small NumPy calls use BELOW_NORMAL,
    the default, or :class:`LowPriorityProcessPoolExecutor`, or a free-threaded build of Python.

    **Threads and processes that a task starts** inherit the priority on Linux, and keep it after the task. On Windows
    and macOS they do not. So start a helper thread or another pool outside of a task if it should have the normal
    priority. With gevent and eventlet, threads are not those of the system, so workers have no priority, and a warning
    says so.

    Examples
    --------
    >>> from nicefutures import PriorityThreadPoolExecutor, get_thread_priority
    >>> with PriorityThreadPoolExecutor(1) as executor:
    ...     executor.submit(get_thread_priority).result()
    <ThreadPriority.BELOW_NORMAL: -1>
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        priority: ThreadPriority | str = ThreadPriority.BELOW_NORMAL,
        on_denied: OnDenied = "warn",
        latency_target: float | None = None,
        blas_threads: int | Literal["auto"] | None = None,
    ) -> None:
        self._level = level = parse_priority(ThreadPriority, priority)
        parse_on_denied(on_denied)
        max_workers = check_max_workers(max_workers)
        target = check_latency_target(latency_target)
        target = target if has_gil() else None
        initargs = check_initializer(initializer, initargs)

        self._failure_warning: WarnOnce | None = None
        on_shortfall: Callable[[Shortfall], None] = refuse if on_denied == "raise" else ignore
        if on_denied == "warn":
            on_shortfall = self._failure_warning = WarnOnce(depth=1)
        self._gate: Gate | None = None
        self._regulator: Regulator | None = None
        self._submitted = self._ends = 0
        self._release_cap: Callable[[], object] | None = None
        # As many workers as the stdlib has by default.
        cap = parse_blas_threads(blas_threads, max(1, max_workers or min(32, count_cpus() + 4)))
        # Other pools keep the stdlib's queue: none of their tasks has to wait or to fail, none of their workers to be
        # seen off.
        gate = Gate() if target is not None or cap is not None or on_shortfall is refuse else None
        if are_green():
            initargs = (level, on_shortfall, initializer, initargs)
            super().__init__(max_workers, thread_name_prefix, start_green_thread, initargs)
        else:
            set_level = functools.partial(backend.priority.set_thread, level)
            hold_cap = None if cap is None else functools.partial(shared_cap.hold, cap, openmp=True)
            enroll = None if gate is None else gate.enroll
            initargs = (set_level, on_shortfall, enroll, hold_cap, initializer, initargs)
            super().__init__(max_workers, thread_name_prefix, start_thread, initargs)
        if cap is not None:
            self._release_cap = finalizer = weakref.finalize(self, shared_cap.hold(cap, openmp=False))
            finalizer.atexit = False
        if gate is not None and put_before(self, gate):
            self._gate = gate
            if target is not None:
                self._regulator = Regulator(gate, target, controller)
                if level < ThreadPriority.BELOW_NORMAL:
                    gate.lift = functools.partial(lift_thread, level)

    # --- what a submit does: here, because overriding `submit` costs a tenth of its time

    def _adjust_thread_count(self) -> None:
        """Start a thread if none is idle, for a task that is in the queue; the stdlib's `submit` calls this."""
        self._submitted += 1
        warning = self._failure_warning
        if warning is not None:
            if not self._threads:
                warning.heed_filters()
            elif warning.is_pending:
                take_back()
                self._submitted -= 1
                warning.raise_pending()
        # First, in this thread: a worker that started the one that watches would hand its level on.
        if not controller.awake and self._regulator is not None:
            controller.wake()
        super()._adjust_thread_count()

    # ---

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[_T]:
        check_chunksize(chunksize)
        count = count_items(iterables)  # before they are used
        if buffersize is None and not return_exceptions:  # threads have no chunks
            results = super().map(fn, *iterables, timeout=timeout)
        else:
            results = map_buffered(
                self, fn, iterables, timeout=timeout, buffersize=buffersize, return_exceptions=return_exceptions
            )
        return with_size(results, count)

    map.__doc__ = f"{ThreadPoolExecutor.map.__doc__}{MAP_NOTE}"  # noqa: A003, named as what it overrides

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
        if cancel_futures:
            super().shutdown(wait=False)
            self._submitted -= drain(self)
            self._ends = 0
        self._ends += 1  # which is put into the queue for the workers
        super().shutdown(wait)
        if self._release_cap is not None:
            self._release_cap()  # the workers that are left still hold it
        if wait and self._failure_warning is not None:
            self._failure_warning.raise_pending()

    shutdown.__doc__ = ThreadPoolExecutor.shutdown.__doc__

    def __repr__(self) -> str:
        from .._workers import describe_executor

        return describe_executor(self, self._level, self._max_workers, is_open=not self._shutdown)

    def stats(self) -> PoolStats:
        """Return how many workers run, how many tasks are done, and how long another thread waits for the GIL.

        Returns
        -------
        PoolStats
            The waits are None without a `latency_target`.
        """
        # The queue has a None for each `shutdown` so far, upon which the workers end.
        pending = max(self._work_queue.qsize() - self._ends, 0) if hasattr(self, "_work_queue") else 0
        if self._gate is not None:
            running, limit, lifted = len(self._gate.running), self._gate.limit, self._gate.lifted
        else:
            running = count_running(thread.ident for thread in list(getattr(self, "_threads", ())))
            limit, lifted = self._max_workers, False
        p50, p99 = (None, None) if self._regulator is None else controller.gil_wait_percentiles
        return PoolStats(limit, running, p50, p99, max(self._submitted - pending - running, 0), lifted)

    def stalls(self) -> list[Stall]:
        """Return the functions that delayed every other Python thread by more than about ten times the target.

        Returns
        -------
        list of Stall
            The longest delay first. These functions hold the GIL in a single call, so run them in a process pool. Empty
            without a `latency_target`.
        """
        return [] if self._regulator is None else self._regulator.stalls.worst
