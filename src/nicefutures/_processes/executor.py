"""A ProcessPoolExecutor whose workers run at a low priority."""

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from .._arguments import Condition, check_chunksize, check_initializer, parse_low_priority
from .._failure import WarnOnce
from .._forks import Living
from .._levels import OnDenied, ProcessPriority
from .._map.base import BaseExecutor, MapOptions
from .._map.buffered import map_buffered
from .._map.ordered import OrderedMap
from .._originals import now
from .._pausing import PAUSE, Pausable
from .._public import public
from .attempt import OnCrash
from .breakage import Breakage
from .ending import go_on
from .generators import warn_of_copies
from .main_module import check_importable
from .opening import check_settings, open_pool
from .owner import Owner
from .packing import MapFunction
from .pool import Pool
from .runner import HowToMap, runs_in, submit_map, submit_task
from .task import Task, Threads
from .transport.keeping import Keeping
from .worker_main import OnStart, run_task

if TYPE_CHECKING:
    from .._workers import WorkerInfo

_ENDED: Final = "cannot schedule new futures after shutdown"
# Seconds in which starting workers must become ready in `shutdown(cancel_futures=True)`. Their tasks count as running,
# and the standard library also finishes running tasks.
_START: Final = 3.0

_NO_KEYWORDS: Final[Any] = {}

_P = ParamSpec("_P")
_T = TypeVar("_T")


@public
class LowPriorityProcessPoolExecutor(BaseExecutor, ProcessPoolExecutor):
    """A :class:`concurrent.futures.ProcessPoolExecutor` whose workers run at a low priority.

    Every thread of a worker is lowered before the first task, including BLAS threads that exist already. The calling
    process keeps its priority. The workers also have a low disk priority if the disk's scheduler supports it, and the
    system ends them first when the memory runs out.

    Parameters
    ----------
    max_workers : int or None, default None
        Number of worker processes. None: the CPUs that this process may use. CPU affinity and the CPU quota of control
        groups count.
    mp_context : context, str or None, default None
        How workers start: a context of `multiprocessing`, or the name of a start method: "spawn", "forkserver" or
        "fork". None: the default of this Python.
    initializer : callable or None, default None
        Called in each worker at its start, after the priority has been set.
    initargs : tuple, optional
        Arguments of `initializer`.
    max_tasks_per_child : int or None, default None
        Number of tasks after which a worker is replaced. None: no limit. With one, `map` sends each call separately.
    priority : ProcessPriority or str, default ProcessPriority.IDLE
        Priority of the workers: IDLE, BELOW_NORMAL or NORMAL.
    on_denied : {"warn", "raise", "ignore"}, default "warn"
        What to do if the priority, or another option, cannot be set in a worker. "warn": its tasks run, and one
        PriorityWarning for the executor says why and how to solve it. "raise": its tasks end with a PriorityError.
        "ignore": its tasks run.
    isolate : bool, optional
        Whether to move the workers to their own scheduling group, so that they also yield to programs in other
        sessions (Linux): a scope of systemd's user manager, a control group, or a session of their own, whichever is
        available. Other systems need no such group.
    efficiency : bool, optional
        Whether to use efficient cores and clocks only: EcoQoS on Windows, efficiency cores on macOS. Tasks then take
        longer, on an idle machine too. No effect on Linux, which has no such interface.
    blas_threads : "auto", int or None, default "auto"
        Number of threads that a BLAS or OpenMP library may use in each worker. "auto": CPUs / workers, at least 1; the
        number is only ever lowered. None: no limit. Libraries that a task loads later are limited, too.
    memory_limit : int, float, str or None, default None
        Limit of a worker's memory while a task runs: in bytes, as a text such as "2 GiB", "512m" (1024 * 1024 each) or
        "500 MB" (1000 * 1000), or as a fraction such as 0.25: of the machine's memory or, on Linux, of the limit of the
        control group if that is lower. A task that needs more ends with a MemoryError. If a library ends the worker
        instead, the task ends with a :class:`WorkerCrashError`; with `on_crash="retry"` it first runs again, up to
        three times in all. Either way, the pool continues.
    task_timeout : float or None, default None
        Time limit in s of each task, or of each call of a chunk, from its start in a worker. A task that takes longer
        is terminated with the processes that it has started, and ends with a TimeoutError.
    share_min_size : int, str or None, default "256 KiB"
        Size in bytes, or as a text, from which buffers of arguments and results go through shared memory: those of
        arrays, and of other objects that support protocol 5 of `pickle`. None: no shared memory.
    on_crash : {"break", "fail", "retry"}, default "break"
        What happens to a task when its worker dies (a crash, a kill, or the OOM killer). "break": the pool breaks, and
        all tasks end with a BrokenProcessPool, as in the standard library. "fail": that task, or call of a chunk, ends
        with a :class:`WorkerCrashError`, and the others continue. "retry": it runs again in another worker, and ends
        with that error after its third crash. With a `memory_limit`, "break" only applies to killed workers.
    forward_logs : bool, optional
        Whether log records of the workers go to the handlers of this process, from the level of its root logger on.
        `process` of a record is the worker's process id. Warnings are forwarded as well, each once.
    pause_when : list of str or callable, optional
        Conditions that pause the executor, as `pause` does: "user_active" (keyboard or mouse), "on_battery", "cpu_busy"
        (other programs use more than half a CPU), "memory_low" (all tasks pause but one), or functions without
        arguments that return a bool. One PriorityWarning names each condition that this system cannot detect.
    idle_after : float, default 60.0
        Time in s without any of these conditions after which the executor continues.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed. The message names the allowed values.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, when the first worker reports that an option could not be set, if `on_denied` is "warn".

    Notes
    -----
    IDLE is Windows' idle class with very low I/O and memory priority, SCHED_IDLE and the idle I/O class on Linux, nice
    20 and throttled I/O on macOS. On Linux a priority only counts inside a session or control group (``sched(7)``, "The
    autogroup feature"), unless you use `isolate`.

    The memory limit is RLIMIT_DATA on Linux, a job object on Windows, and RLIMIT_AS on other systems. macOS enforces
    none. Arguments on their way in, results on their way out, and memory shared with other processes are not limited.
    The same applies to memory that a forked worker has from its parent, and to memory that was reserved but not used
    before the task started, by a library while it was loaded, or as the stack of a :class:`threading.Thread`. On Linux
    each process that a task starts has a limit of its own, of the same size.

    Examples
    --------
    >>> from nicefutures import LowPriorityProcessPoolExecutor
    >>> with LowPriorityProcessPoolExecutor(2) as executor:
    ...     list(executor.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    _pool: Pool | None = None

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        priority: ProcessPriority | str = ProcessPriority.IDLE,
        on_denied: OnDenied = "warn",
        isolate: bool = False,
        efficiency: bool = False,
        blas_threads: int | Literal["auto"] | None = "auto",
        memory_limit: float | str | None = None,
        task_timeout: float | None = None,
        share_min_size: int | str | None = "256 KiB",
        on_crash: OnCrash = "break",
        forward_logs: bool = False,
        pause_when: Iterable[Condition] = (),
        idle_after: float = 60.0,
    ) -> None:
        self._settings = settings = check_settings(
            max_workers=max_workers,
            mp_context=mp_context,
            on_start=OnStart(initializer, check_initializer(initializer, initargs)),
            max_tasks=max_tasks_per_child,
            priority=priority,
            on_denied=on_denied,
            isolate=isolate,
            efficiency=efficiency,
            blas_threads=blas_threads,
            memory_limit=memory_limit,
            task_timeout=task_timeout,
            share_min_size=share_min_size,
            on_crash=on_crash,
            forward_logs=forward_logs,
            pause_when=pause_when,
            idle_after=idle_after,
        )
        self._through_run_task = on_denied == "raise" or settings.demands.memory_limit is not None
        self._failure_warning = WarnOnce(depth=1)
        self._mp_context: Any = settings.context
        self._max_workers = settings.max_workers
        self._is_closed = False
        self._forget_workers()
        _executors.add(self)

    def _forget_workers(self) -> None:
        """Set the state without workers, of a new executor or of one in a forked child."""
        self._lock = threading.RLock()  # reentrant: the garbage collector may end a pool at any point
        self._pool = None
        self._owner: Owner | None = None
        self._threads: Threads | None = None
        self._keeping = Keeping()
        self._key = object()  # identifies its tasks
        self._breakage = Breakage()
        self._maps: Living[OrderedMap[Any]] = Living()
        self._processes: Any = {}  # by process id; clients of the stdlib's executor read it; None after the end

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if not self._settings.demands.forked:
            check_importable(fn)
        owner, threads = self._check_out()
        kwargs = kwargs or _NO_KEYWORDS  # one for all pending tasks
        call = (run_task, (fn, *args), kwargs) if self._through_run_task else (fn, args, kwargs)
        return submit_task(threads, owner, call, self._keeping.submitted(), self._key)

    submit.__doc__ = ProcessPoolExecutor.submit.__doc__

    def _check_out(self) -> tuple[Owner, Threads]:
        """Return the owner of the workers, and the threads that give them tasks."""
        self._failure_warning.raise_pending()
        self._breakage.raise_if_broken()
        owner, threads = self._owner, self._threads
        if owner is not None and threads is not None:
            return owner, threads
        with self._lock:
            if self._is_closed:
                raise RuntimeError(_ENDED)
            if self._owner is None or self._threads is None:
                self._failure_warning.heed_filters()
                self._pool = open_pool(self._settings, self._keeping, self._failure_warning)
                self._breakage = self._pool.breakage
                self._owner = Owner(self._pool)
                self._processes = self._pool.processes
                self._threads = Threads(self._max_workers)
            return self._owner, self._threads

    def __repr__(self) -> str:
        from .._workers import describe_executor

        return describe_executor(self, self._settings.demands.priority, self._max_workers, is_open=not self._is_closed)

    @property
    def _broken(self) -> Any:  # type: ignore[override]
        """Why the pool broke, or False if it did not. Clients of the stdlib's executor read this."""
        return self._breakage.text or False

    def _map_results(
        self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], how: MapOptions
    ) -> tuple[Iterator[Any], Callable[[], object]]:
        chunksize = check_chunksize(how.chunksize)
        if getattr(self.submit, "__func__", None) is not LowPriorityProcessPoolExecutor.submit:  # of a subclass
            timeout, _, buffersize, returns = how
            return map_buffered(self, fn, iterables, timeout=timeout, buffersize=buffersize, return_exceptions=returns)
        size = chunksize or (None if self._settings.max_tasks is None else 1)
        deadline = None if how.timeout is None else now() + how.timeout
        if self._is_closed:
            raise RuntimeError(_ENDED)
        if not self._settings.demands.forked:
            check_importable(fn)
        warn_of_copies(fn)
        returns = how.return_exceptions
        calls: OrderedMap[Any] = OrderedMap(
            iterables,
            self._max_workers,
            size=size,
            buffersize=how.buffersize,
            return_exceptions=returns,
            number=self._keeping.submitted,
        )
        options = {"hands_back": size is None, "tells": self._settings.tells_calls, "goes_on": returns}
        calls.how = HowToMap(MapFunction(fn, wrapped=self._through_run_task), options, self._key)
        self._maps.add(calls)
        if how.buffersize is not None:
            calls.executor = self
        calls.begin(weakref.WeakMethod(self._submit_map))
        return calls.results(deadline), calls.cancel

    def _submit_map(self, calls: OrderedMap[Any]) -> None:
        """Let one more thread make calls of a map."""
        owner, threads = self._check_out()
        submit_map(threads, owner, calls)

    def _count_tasks(self) -> tuple[int, int]:
        return (0, 0) if self._pool is None else self._pool.count_tasks(sum(calls.unfinished for calls in self._maps))

    @property
    def _pending_work_items(self) -> Any:  # type: ignore[override]
        """A mapping with the number of unfinished tasks as its length, which monitors of the stdlib's executor read."""
        return dict.fromkeys(range(sum(self._count_tasks())))

    def stop(self, future: Future[Any]) -> bool:
        """Cancel a task. If it is running, terminate its worker and the processes that it has started.

        On POSIX systems they get SIGTERM and, a second later, SIGKILL. On Windows they are terminated immediately.
        Another worker replaces this one. Other tasks are not affected.

        Parameters
        ----------
        future : concurrent.futures.Future
            A future that `submit` of this executor returned.

        Returns
        -------
        bool
            True if the task is stopped, or will be at once; its future is cancelled. False if it was already done.

        Raises
        ------
        ValueError
            If the future does not belong to this executor.
        """
        task = getattr(future, "task", None)
        if type(task) is not Task or task.executor is not self._key:
            msg = f"stop() takes a future that submit() of this executor returned, not {future!r}"
            raise ValueError(msg)
        is_stopped = future.cancel() or (not future.done() and task.stop())
        if self._pool is not None:
            self._pool.wake()  # the task may be waiting for a worker
            self._pool.pausing.reconsider()  # its worker must not stand still
        return is_stopped

    @property
    def priority(self) -> ProcessPriority:
        """Priority of the workers. Set it, or its name, to change the priority of current and future workers.

        Current workers change at once. On Linux and macOS, raising a priority needs a privilege: without it, a worker
        is replaced after its task. Processes that tasks have started are lowered, too.
        """
        return self._settings.demands.priority

    @priority.setter
    def priority(self, priority: ProcessPriority | str) -> None:
        level = parse_low_priority(priority)
        with self._lock:
            self._settings = self._settings._replace(demands=self._settings.demands._replace(priority=level))
            pool = self._pool
        if pool is not None:
            pool.set_level(level)

    def _pausable(self, *, opens: bool) -> Pausable | None:
        if opens and self._is_closed and not self._broken:
            msg = "cannot pause after shutdown"
            raise RuntimeError(msg)
        pool = self._check_out()[0].pool if opens else self._pool
        return None if pool is None else pool.pausing

    def __del__(self) -> None:
        if self._pool is not None:
            self._pool.pausing.resume(PAUSE, wait=False)  # no other code can do this any more

    def terminate_workers(self) -> None:
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        self._force_shutdown(operation="kill")

    terminate_workers.__doc__ = """Shut the executor down without waiting, and end its workers, as in Python 3.14.

        Running tasks end with a BrokenProcessPool, and pending tasks are cancelled.
        """
    kill_workers.__doc__ = terminate_workers.__doc__

    def _force_shutdown(self, operation: str) -> None:  # named as in the standard library
        if operation not in ("terminate", "kill"):
            msg = f"operation must be 'terminate' or 'kill', not {operation!r}"
            raise ValueError(msg)
        pool = self._pool
        ended = [] if pool is None else pool.abandon(f"The workers were ended: {operation}_workers() of the executor.")
        self.shutdown(wait=False, cancel_futures=True)
        for each in ended:
            with contextlib.suppress(ValueError, ProcessLookupError):  # the worker has ended
                getattr(each, operation)()
                go_on(each)

    def workers(self) -> "list[WorkerInfo]":
        """Return what the operating system reports for each current worker.

        Returns
        -------
        list of WorkerInfo
            Workers start when they are needed, so there are fewer than `max_workers` at first, and none after the
            shutdown. A worker that is still starting is not lowered yet.
        """
        from .description import describe_processes

        if self._pool is None:
            return []
        reports = self._pool.reports()
        return describe_processes(reports, self._settings.demands.blas_threads, self._pool.list_still())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            # As in the stdlib, a second shutdown does not wait. A callback of a future cannot wait for its own thread.
            pool, threads = self._pool, self._threads
            waits = wait and not self._is_closed and not runs_in(pool)
            self._is_closed = True
            owner = self._owner if waits else None  # this thread ends the pool, not the pool's last thread
            self._owner = self._processes = None  # a reference to the executor must not keep the workers
        for calls in self._maps:
            calls.executor = None
        if cancel_futures:
            for calls in self._maps:
                calls.end(CancelledError())
        if threads is not None and pool is not None:
            cancels = cancel_futures and pool.breakage.text is None
            if cancels:
                pool.cancel()
            threads.shutdown(wait=False, cancel_futures=cancel_futures)
            pool.pausing.end_own()
            if cancels:
                pool.cancel_unready(_START if waits else 0)
            threads.shutdown(waits)
            if waits:
                pool.close()
        del owner
        if wait:  # without waiting, `_force_shutdown` calls this before it ends the workers
            self._failure_warning.raise_pending()

    shutdown.__doc__ = ProcessPoolExecutor.shutdown.__doc__

    def __exit__(self, kind: type[BaseException] | None, value: Any, traceback: Any) -> None:  # noqa: PYI036
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            if self._pool is not None:
                self._pool.interrupt()
            self.shutdown(cancel_futures=True)
        super().__exit__(kind, value, traceback)


_executors: Final[Living[LowPriorityProcessPoolExecutor]] = Living()


def _begin_again() -> None:
    """Reset all executors in a forked child, which lacks the workers and threads of its parent."""
    for executor in _executors:
        executor._forget_workers()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
