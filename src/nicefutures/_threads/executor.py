"""A ThreadPoolExecutor whose workers set their priority with the operating system."""

import functools
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from .._arguments import (
    Condition,
    check_idle_after,
    check_initializer,
    check_latency_target,
    check_max_workers,
    parse_blas_threads,
    parse_pause_when,
)
from .._blas import shared_cap
from .._failure import refuse
from .._levels import OnDenied, ThreadPriority
from .._originals import are_threads_green
from .._public import public
from .._system.common import count_cpus
from .controller import controller
from .gate import Gate, TaskQueue, put_before
from .gil import has_gil
from .levelled import LevelledThreads
from .regulator import Regulator
from .stats import PoolStats, Stall
from .worker import lift_thread, start_green_thread, start_thread


@public
class PriorityThreadPoolExecutor(LevelledThreads):
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
        Longest time in s for which this pool should delay another Python thread, such as the one that draws your
        window. 0.005 keeps a window smooth. While its tasks need the GIL, the pool runs one of them at a time.
        Tasks that release the GIL or wait use all workers. None: all workers run, as in the standard library's pool.
    blas_threads : int, "auto" or None, default None
        Number of threads that a BLAS library may use for each call, until you shut the executor down. It applies to
        **the whole process**, including the main thread, because a BLAS library has one number. "auto": CPUs /
        workers, at least 1. Libraries that are loaded when the executor is created, or when a worker starts, are
        limited; OpenMP's own threads only in the workers. With several executors, the lowest limit applies.
    pause_when : list of str or callable, optional
        Conditions that pause the executor, as `pause` does: "user_active" (keyboard or mouse), "on_battery", "cpu_busy"
        (other programs use more than half a CPU), "memory_low" (one task runs at a time), or functions without
        arguments that return a bool. One PriorityWarning names each condition that this system cannot detect.
    idle_after : float, default 60.0
        Time in s without a condition after which the executor continues.

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
    and wait may do a little less work than in the standard library's pool.

    **The GIL ignores priorities.** A thread that runs Python code holds the GIL. At a low priority it gets less of the
    CPU, so it holds the GIL for *longer* while other programs are busy, and every other Python thread waits for it.
    With four busy processes on two cores, this priority inversion takes seconds. Use ``IDLE`` and ``LOWEST`` only for
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
        pause_when: Iterable[Condition] = (),
        idle_after: float = 60.0,
    ) -> None:
        on_shortfall = self._take_level(priority, on_denied)
        level = self._level
        max_workers = check_max_workers(max_workers)
        target = check_latency_target(latency_target)
        target = target if has_gil() else None
        initargs = check_initializer(initializer, initargs)
        conditions, idle_after = parse_pause_when(pause_when), check_idle_after(idle_after)

        self._regulator: Regulator | None = None
        self._release_cap: Callable[[], object] | None = None
        # The stdlib's default for the number of workers.
        cap = parse_blas_threads(blas_threads, max(1, max_workers or min(32, count_cpus() + 4)))
        # Other pools need no gate, because none of their tasks has to wait or to fail, and none of their
        # workers has a last step.
        gate = Gate() if target is not None or cap is not None or conditions or on_shortfall is refuse else None
        if are_threads_green():
            initargs = (level, on_shortfall, initializer, initargs)
            super().__init__(max_workers, thread_name_prefix, start_green_thread, initargs)
        else:
            hold_cap = None if cap is None else functools.partial(shared_cap.hold, cap, openmp=True)
            enroll = None if gate is None else gate.enroll
            initargs = (level, on_shortfall, enroll, hold_cap, initializer, initargs)
            super().__init__(max_workers, thread_name_prefix, start_thread, initargs)
        if cap is not None:
            self._release_cap = finalizer = weakref.finalize(self, shared_cap.hold(cap, openmp=False))
            finalizer.atexit = False
        if put_before(self, TaskQueue() if gate is None else gate) and gate is not None:
            self._gate = gate
            if target is not None:
                self._regulator = Regulator(gate, target)
                gate.begin = functools.partial(controller.add, self._regulator)
                gate.end = functools.partial(controller.remove, self._regulator)
                self._heed_level()
        self._pause_when(conditions, idle_after)

    def _heed_level(self) -> None:
        if self._gate is not None and self._regulator is not None:
            is_low = self._level.value < ThreadPriority.BELOW_NORMAL
            self._gate.lift = functools.partial(lift_thread, self._level) if is_low else None

    def _adjust_thread_count(self) -> None:
        # First, and in this thread: a worker that starts the watching thread would pass its priority on.
        if not controller.awake and self._regulator is not None:
            controller.wake()
        super()._adjust_thread_count()

    def _start_threads(self, tasks: int) -> None:
        if self._regulator is not None:
            controller.wake()
        super()._start_threads(tasks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        try:
            super().shutdown(wait, cancel_futures=cancel_futures)
        finally:
            if self._release_cap is not None:
                self._release_cap()  # remaining workers still hold theirs

    shutdown.__doc__ = ThreadPoolExecutor.shutdown.__doc__

    def stats(self) -> PoolStats:
        """Return how many workers run, how many tasks are done, and how long another thread waits for the GIL.

        Returns
        -------
        PoolStats
            The waits are None without a `latency_target`.
        """
        pending, running = self._count_tasks()
        limit, lifted = (self._max_workers, False) if self._gate is None else (self._gate.limit, self._gate.lifted)
        p50, p99 = (None, None) if self._regulator is None else controller.gil_wait_percentiles
        return PoolStats(limit, running, p50, p99, max(self._submit_count - pending - running, 0), lifted)

    def stalls(self) -> list[Stall]:
        """Return the functions that delayed every other Python thread by more than about ten times the target.

        Returns
        -------
        list of Stall
            The longest delay first. These functions hold the GIL in a single call, so run them in a process pool. Empty
            without a `latency_target`.
        """
        return [] if self._regulator is None else self._regulator.stalls.worst
