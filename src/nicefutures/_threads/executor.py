"""A ThreadPoolExecutor whose workers set their priority with the operating system."""

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._arguments import check_chunksize, check_initializer, check_latency_target, check_max_workers, parse_blas_threads
from .._blas import shared_cap
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnFailure, Shortfall, ThreadPriority, parse_on_failure, parse_priority
from .._map.buffered import MAP_NOTE, map_buffered
from .._map.results import count_items, with_size
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


class PriorityThreadPoolExecutor(ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` whose threads have a priority of the operating system.

    The priority is the threads', not the tasks': tasks start in the order in which they were submitted.

    Parameters
    ----------
    max_workers, thread_name_prefix, initializer, initargs
        As for :class:`concurrent.futures.ThreadPoolExecutor`. `initializer` runs after the priority has been set.
    priority : ThreadPriority or str, default ThreadPriority.BELOW_NORMAL
        The threads' level. On Windows it is relative to the priority class of the process, elsewhere it is not.
    on_failure : {"warn", "raise", "ignore"}, default "warn"
        What to do about a thread that could not be put at the level. "warn": it works all the same, and one
        PriorityWarning per executor says what is in force, why, and what would help. "raise": its
        tasks end with a PriorityError that says so. "ignore": it works all the same.
    latency_target : float or None, default None
        Seconds that another Python thread, for example the one that draws your window, may have to wait for the GIL
        because of this pool; 0.005 keeps a window smooth. As long as its tasks need the GIL, the pool runs one of them
        at a time. Tasks that release the GIL or wait use all workers. None: all workers run, whatever their tasks do,
        as in the standard library's pool.
    blas_threads : int, "auto" or None, default None
        How many threads a BLAS library may use for each call, from now until the executor is shut down. It holds for
        **the whole process**: a BLAS library has one number, so calls from other threads, the main one included, get as
        few. "auto": the CPUs that this process may use, shared out among the workers, and one at least. Libraries
        that are loaded when the executor is made, or when a worker starts, are limited; OpenMP's own threads are in the
        workers only. Of several executors' limits the lowest counts.

    Raises
    ------
    ValueError
        If `priority` or `on_failure` is unknown, `max_workers` is not positive, `latency_target` is not above 0 and
        at most 1 s, or `blas_threads` is no number of threads.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, when the first thread starts that cannot take the level, if `on_failure` is "warn".

    Notes
    -----
    **With a latency target**, a thread of the library's wakes every 10 ms or so while tasks run. It measures how long
    it waits for the GIL, and how much CPU time each thread uses. One worker runs, and more come in because of what the
    tasks do: they use more than one CPU together, or wait. A task that would have begun at once in the standard
    library's pool waits for about a quarter of a second at most, whatever runs before it. The interpreter's switch
    interval is a fifth of the target while tasks run, but 1 ms at least, unless it is shorter already, and is put back
    when the pool is idle or shut down. On a free-threaded build without the GIL there is nothing to do, and none of
    this happens. A single call that keeps the GIL for long cannot be interrupted: `stalls` names such functions. It is
    not the default, because tasks that both compute in Python and wait may do a tenth less than in the standard
    library's pool.

    **The GIL does not know of priorities.** A thread that runs Python code holds the GIL. At a low priority it gets
    less of the CPU, so beside other busy programs it holds the GIL for *longer*, and every other Python thread waits
    for it: priority inversion, for seconds beside four busy processes on two cores. ``IDLE`` and ``LOWEST`` are for
    tasks that release the GIL nearly all the time: large NumPy and SciPy calls. Where the system lets it (Windows,
    macOS, Linux with CAP_SYS_NICE), workers at these levels run at BELOW_NORMAL while their tasks keep the GIL, if
    there is a latency target; `stats` says so. For Python code and for many small NumPy calls take BELOW_NORMAL, the
    default, or :class:`LowPriorityProcessPoolExecutor`, or a free-threaded build of Python, on which the levels work as
    they should.

    **What a task starts** inherits the level on Linux, threads and processes, and keeps it after the task; on Windows
    and macOS it does not. So a helper thread or a pool that is to run at normal level has to start before, outside of a
    task. Where threads are not the system's (gevent, eventlet), workers have no level, and a warning says so.

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
        on_failure: OnFailure = "warn",
        latency_target: float | None = None,
        blas_threads: int | Literal["auto"] | None = None,
    ) -> None:
        level = parse_priority(ThreadPriority, priority)
        parse_on_failure(on_failure)
        check_max_workers(max_workers)
        target = check_latency_target(latency_target)
        target = target if has_gil() else None
        initargs = check_initializer(initializer, initargs)

        self._failure_warning: WarnOnce | None = None
        on_shortfall: Callable[[Shortfall], None] = refuse if on_failure == "raise" else ignore
        if on_failure == "warn":
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
        """Return what the operating system says of each worker that there is now.

        Returns
        -------
        list of WorkerInfo
            Workers start as they are needed, so there are fewer than `max_workers` at first, and none after the end.
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

    def stats(self) -> PoolStats:
        """Return how many workers run, how long a thread waits for the GIL meanwhile, and how much has been done.

        Without a `latency_target` nobody measures how long a thread waits.
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
        """Return the functions that kept every other Python thread waiting for more than about ten times the target.

        Returns
        -------
        list of Stall
            The worst few, the worst first. They keep the GIL in a single call: run them in a process pool. Empty
            without a `latency_target`.
        """
        return [] if self._regulator is None else self._regulator.stalls.worst
