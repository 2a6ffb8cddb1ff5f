"""A ProcessPoolExecutor whose workers run at a low priority."""

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from .._arguments import (
    check_chunksize,
    check_flag,
    check_initializer,
    check_max_tasks,
    check_max_workers,
    check_on_crash,
    check_task_timeout,
    parse_blas_threads,
    parse_context,
    parse_memory_limit,
    parse_share_min_size,
)
from .._failure import WarnOnce, ignore, refuse
from .._forks import Living
from .._levels import OnDenied, ProcessPriority, parse_on_denied, parse_priority
from .._map.buffered import MAP_NOTE, check_buffersize
from .._map.ordered import CHUNKS_NOTE, OrderedMap
from .._map.results import count_items, with_size
from .._public import public
from .._system import backend
from .._system.common import Group
from .attempt import OnCrash, Policy
from .breakage import Breakage
from .handle import Start
from .interrupts import call_after_interrupt
from .main_module import can_import_main, check_importable, describe_main
from .packing import MapFunction, Packing
from .pool import Owner, Plan, Pool, interrupt_all
from .relay import Listener
from .runner import HowToMap, run_map, run_owned, runs_in, submit_to
from .task import Task, TaskFuture, task_of
from .transport.keeping import Keeping
from .transport.parent import Transport
from .worker_main import Demands, OnStart, import_before_fork, run_task

if TYPE_CHECKING:
    from .._system.protocols import Keeper
    from .._workers import WorkerInfo

_ENDED: Final = "cannot schedule new futures after shutdown"

_P = ParamSpec("_P")
_T = TypeVar("_T")


@public
class LowPriorityProcessPoolExecutor(ProcessPoolExecutor):
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
        Number of tasks after which a worker is replaced. None: no limit. `map` then sends each call for itself.
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
        "500 MB" (1000 * 1000), or as a fraction of the memory such as 0.25. A task that needs more ends with a
        MemoryError. If a library ends the worker instead, the task ends with a :class:`WorkerCrashError`, whatever
        `on_crash` is. Either way, the pool continues.
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

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed. The text says which values are.
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
    each process that a task starts has the same limit, for itself.

    Examples
    --------
    >>> from nicefutures import LowPriorityProcessPoolExecutor
    >>> with LowPriorityProcessPoolExecutor(2) as executor:
    ...     list(executor.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

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
    ) -> None:
        level = parse_priority(ProcessPriority, priority)
        if level > ProcessPriority.NORMAL:
            msg = (
                f"priority must be 'idle', 'below_normal' or 'normal', not {priority!r}: this executor only lowers. "
                "For a higher one use ProcessPoolExecutor(initializer=nicefutures.set_process_priority, "
                f"initargs=({level.name.lower()!r},))"
            )
            raise ValueError(msg)
        parse_on_denied(on_denied)
        max_workers = check_max_workers(max_workers)
        initargs = check_initializer(initializer, initargs)
        replaces = max_tasks_per_child is not None or task_timeout is not None or on_crash != "break"
        context: BaseContext = parse_context(mp_context, replaces=replaces)
        check_max_tasks(max_tasks_per_child, context)
        workers = math.ceil(backend.accounting.usable_cpus()) if max_workers is None else max_workers
        cap = parse_blas_threads(blas_threads, workers)
        limit = parse_memory_limit(memory_limit)
        check_flag("efficiency", efficiency)
        check_flag("isolate", isolate)
        self._share_min_size = parse_share_min_size(share_min_size)
        check_on_crash(on_crash)
        self._on_crash = on_crash
        self._task_timeout = check_task_timeout(task_timeout)
        check_flag("forward_logs", forward_logs)
        self._forward_logs = forward_logs
        # Whether each call of a chunk is told of for itself.
        self._tells = on_crash != "break" or task_timeout is not None or limit is not None
        forked = context.get_start_method() == "fork"
        if forked:
            import_before_fork(cap)
        group = backend.groups.find() if isolate else None
        self._demands = Demands(
            level, cap, limit, forked, efficiency, group, registry=None, transport=None, log_level=None
        )
        self._on_shortfall = {"warn": None, "raise": refuse, "ignore": ignore}[on_denied]
        self._on_start = OnStart(initializer, initargs)
        self._through_run_task = on_denied == "raise" or limit is not None
        self._failure_warning = WarnOnce(depth=1)
        self._mp_context: Any = context
        self._max_workers = workers
        self._max_tasks_per_child = max_tasks_per_child
        self._is_closed = False
        self._have_nobody()
        _executors.add(self)

    def _have_nobody(self) -> None:
        """Have no workers, as a new executor or one in a forked child."""
        self._lock = threading.RLock()  # reentrant: the garbage collector may end a pool anywhere
        self._pool: Pool | None = None
        self._owner: Owner | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._keeping = Keeping()
        self._key = object()  # of its tasks
        self._breakage = Breakage()
        self._maps: Living[OrderedMap[Any]] = Living()
        self._processes: Any = {}  # by process id, which clients of the stdlib's executor read; None after the end

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if not self._demands.forked:
            check_importable(fn)
        owner, threads = self._check_out()
        call = (run_task, (fn, *args), kwargs) if self._through_run_task else (fn, args, kwargs)
        task = Task(self._key)
        future: Any = submit_to(threads, owner, run_owned, (call, self._keeping.submitted()), task)
        future.__class__ = TaskFuture
        future.nicefutures_task = task
        return future  # type: ignore[no-any-return]

    submit.__doc__ = ProcessPoolExecutor.submit.__doc__

    def _check_out(self) -> tuple[Owner, ThreadPoolExecutor]:
        """Return what has the workers, and the threads that let them work."""
        self._failure_warning.raise_pending()
        self._breakage.raise_if_broken()
        owner, threads = self._owner, self._threads
        if owner is not None and threads is not None:
            return owner, threads
        with self._lock:
            if self._is_closed:
                raise RuntimeError(_ENDED)
            if self._owner is None or self._threads is None:
                self._pool = self._open()
                self._owner = Owner(self._pool)
                self._processes = self._pool.processes
                self._threads = ThreadPoolExecutor(self._max_workers, "nicefutures-worker")
            return self._owner, self._threads

    def _open(self) -> Pool:
        self._failure_warning.heed_filters()
        demands = self._demands
        method = self._mp_context.get_start_method()
        is_known = can_import_main(method)
        tells_start = self._task_timeout is not None or self._on_crash == "retry"
        demands = demands._replace(tells_start=tells_start, is_main_known=is_known)
        if self._forward_logs:
            demands = demands._replace(log_level=logging.getLogger().level)
        keeper: Keeper | None = None
        if isinstance(demands.group, Group):
            keeper = backend.groups.open_keeper(self._mp_context, demands.group)
            keeper.start()
            demands = demands._replace(registry=keeper.registry)
        memory = backend.sharing.find_shared_memory() if self._share_min_size is not None else None
        transport: Transport | None = None
        if memory is not None and self._share_min_size is not None:
            transport = Transport(memory, self._share_min_size, self._keeping)
            demands = demands._replace(transport=transport.worker_end)
        main = describe_main(method, is_known=is_known)
        plan = Plan(
            Start(self._mp_context, demands, self._on_shortfall, self._on_start, main),
            self._max_workers,
            self._max_tasks_per_child,
            Packing(transport, self._keeping, is_main_known=is_known),
            self._failure_warning,
            Policy(self._on_crash, self._max_workers),
            self._task_timeout,
            Listener(),
            self._keeping.clear,
            [each.close for each in (keeper, transport) if each is not None],
        )
        pool = Pool(plan)
        self._breakage = pool.breakage
        return pool

    def __repr__(self) -> str:
        from .._workers import describe_executor

        return describe_executor(self, self._demands.priority, self._max_workers, is_open=not self._is_closed)

    @property
    def _broken(self) -> Any:  # type: ignore[override]
        """Why the pool broke, which clients of the stdlib's executor read; False if it did not."""
        return self._breakage.text or False

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = "auto",
        buffersize: int | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[_T]:
        size = check_chunksize(chunksize) or (None if self._max_tasks_per_child is None else 1)
        check_buffersize(buffersize)
        count = count_items(iterables)  # before they are used
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._is_closed:
            raise RuntimeError(_ENDED)
        if not self._demands.forked:
            check_importable(fn)
        calls: OrderedMap[_T] = OrderedMap(
            iterables, self._max_workers, size=size, buffersize=buffersize, return_exceptions=return_exceptions
        )
        calls.how = self._how_to_map(fn, size, return_exceptions=return_exceptions)
        self._maps.add(calls)
        if buffersize is not None:
            calls.executor = self
        calls.begin(weakref.WeakMethod(self._submit_map))
        return with_size(calls.results(deadline), count)

    def _how_to_map(self, fn: Callable[..., Any], size: int | None, *, return_exceptions: bool) -> HowToMap:
        options: dict[str, Any] = {} if size in {None, 1} else {"hands_back": False}
        if self._tells or return_exceptions:
            options["tells"] = True
        function = MapFunction(fn, wrapped=self._through_run_task)
        return HowToMap(function, options, self._keeping.submitted(), self._key)

    def _submit_map(self, calls: OrderedMap[Any]) -> None:
        """Let one more thread make calls of a map."""
        owner, threads = self._check_out()
        submit_to(threads, owner, run_map, calls, weakref.ref(threads))

    map.__doc__ = f"{ProcessPoolExecutor.map.__doc__}{MAP_NOTE}{CHUNKS_NOTE}"  # noqa: A003, named as what it overrides

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
            True if the task is stopped, or will be at once; its future is cancelled. False if it was done before.

        Raises
        ------
        ValueError
            If the future does not belong to this executor.
        """
        task = task_of(future)
        if task is None or task.executor is not self._key:
            msg = f"stop() takes a future that submit() of this executor returned, not {future!r}"
            raise ValueError(msg)
        return future.cancel() or (not future.done() and task.stop())

    def terminate_workers(self) -> None:
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        self._force_shutdown(operation="kill")

    terminate_workers.__doc__ = """Shut the executor down without waiting, and end its workers, as in Python 3.14.

        Running tasks end with a BrokenProcessPool, and pending tasks are cancelled.
        """
    kill_workers.__doc__ = terminate_workers.__doc__

    def _force_shutdown(self, operation: str) -> None:  # named as the standard library's
        if operation not in ("terminate", "kill"):
            msg = f"operation must be 'terminate' or 'kill', not {operation!r}"
            raise ValueError(msg)
        pool = self._pool
        ended = [] if pool is None else pool.abandon(f"The workers were ended: {operation}_workers() of the executor.")
        self.shutdown(wait=False, cancel_futures=True)
        for each in ended:
            with contextlib.suppress(ValueError, ProcessLookupError):  # it has ended
                getattr(each, operation)()

    def workers(self) -> "list[WorkerInfo]":
        """Return what the operating system reports for each current worker.

        Returns
        -------
        list of WorkerInfo
            Workers start when they are needed, so there are fewer than `max_workers` at first, and none after the
            shutdown. A worker that is still starting is not lowered yet.
        """
        from .description import describe_processes

        pool = self._pool
        return describe_processes({} if pool is None else pool.reports(), self._demands.blas_threads)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            # A second shutdown waits for nothing in the stdlib, and a future's callback cannot wait for itself.
            pool, threads = self._pool, self._threads
            waits = wait and not self._is_closed and not runs_in(pool)
            self._is_closed = True
            self._owner = self._processes = None  # whoever keeps the executor is not to keep the workers
        for calls in self._maps:
            calls.executor = None
        if cancel_futures:
            for calls in self._maps:
                calls.end(CancelledError())
        if threads is not None and pool is not None:
            if cancel_futures and pool.breakage.text is None:
                pool.stop_unready()
            threads.shutdown(waits, cancel_futures=cancel_futures)
            if waits:
                pool.close()
        if wait:  # kill_workers() of Python 3.14 shuts down without waiting, and has yet to kill then
            self._failure_warning.raise_pending()

    shutdown.__doc__ = ProcessPoolExecutor.shutdown.__doc__

    def __exit__(self, kind: type[BaseException] | None, value: Any, traceback: Any) -> None:  # noqa: PYI036
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            if self._pool is not None:
                self._pool.interrupt()
            self.shutdown(cancel_futures=True)
        super().__exit__(kind, value, traceback)


_executors: Final[Living[LowPriorityProcessPoolExecutor]] = Living()


def _begin_anew() -> None:
    """Let a forked child, which has none of its parent's workers and threads, use its executors all the same."""
    for executor in _executors:
        executor._have_nobody()  # noqa: SLF001


call_after_interrupt(interrupt_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
