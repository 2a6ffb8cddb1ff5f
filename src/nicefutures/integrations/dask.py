"""Dask workers that compute at a low priority and communicate at the normal one."""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from .._levels import ProcessPriority, Shortfall, ThreadPriority, parse_priority
from .._processes.executor import LowPriorityProcessPoolExecutor
from .._system import backend
from .._threads.executor import PriorityThreadPoolExecutor
from .._threads.gil import has_gil
from .._threads.worker import start_thread

try:
    import dask.config
    from distributed.diagnostics.plugin import WorkerPlugin
    from distributed.threadpoolexecutor import ThreadPoolExecutor
    from distributed.worker import WORKER_ANY_RUNNING, Worker
    from tornado.ioloop import PeriodicCallback

    from ._gil_guard import GilGuard
except ImportError as error:
    msg = "nicefutures.integrations.dask needs Dask's scheduler: python -m pip install 'nicefutures[dask]'"
    raise ImportError(msg, name=error.name, path=error.path) from error

__all__ = ["LowPriorityWorkers", "WorkerLevels", "worker_levels"]

# Below the logger whose records `Client.get_worker_logs` returns.
_LOGGER: Final = logging.getLogger("distributed.worker.nicefutures")
# Dask's executor that reads and writes messages.
_COMMUNICATES: Final = "offload"
# Seconds between two looks for new threads of libraries, which may start during a task.
_LOOK_EVERY_S: Final = 1.0
# Seconds between two looks at a pool that ends with its last task.
_LINGER_S: Final = 0.5
# Priorities that the workers of this process want for threads of libraries, which belong to the whole process.
_held: Final[list[ThreadPriority]] = []


class WorkerLevels(NamedTuple):
    """Priorities of a Dask worker, as reported by the operating system.

    Attributes
    ----------
    requested : ThreadPriority
        The requested priority.
    event_loop : ThreadPriority
        Priority of the thread that communicates.
    task_threads : dict of int to ThreadPriority
        Priorities of the threads that have run a task, by thread id.
    lifted : bool
        Whether tasks run at BELOW_NORMAL now, because they hold the GIL.
    library_threads : dict of int to ThreadPriority
        Priorities of the threads of BLAS and OpenMP libraries, by thread id; empty where the system reports none.
    shortfalls : tuple of str
        Settings that failed, with the reason and the solution.
    """

    requested: ThreadPriority
    event_loop: ThreadPriority
    task_threads: dict[int, ThreadPriority]
    lifted: bool
    library_threads: dict[int, ThreadPriority]
    shortfalls: tuple[str, ...]


class LowPriorityWorkers(WorkerPlugin):
    """Worker plugin that lowers the threads that compute on a Dask worker, and not those that communicate.

    Threads that run tasks and actors are lowered, and so are threads of BLAS and OpenMP libraries. The event loop with
    its heartbeats, threads that read and write messages, the nanny and the scheduler keep their priority. Register the
    plugin with ``client.register_plugin``. Workers that join later, or replace a dead one, use it as well.
    ``client.unregister_worker_plugin(LowPriorityWorkers.name)`` restores all priorities.

    Parameters
    ----------
    priority : ThreadPriority, ProcessPriority or str, default ThreadPriority.IDLE
        Priority of the threads, up to NORMAL.

    Raises
    ------
    ValueError
        If the priority is unknown or above NORMAL.
    TypeError
        If `priority` has the wrong type.

    Notes
    -----
    If a worker cannot set a priority, its log and ``client.run(worker_levels)`` say so, and the worker continues.

    A task that holds the GIL delays the event loop of its worker, on a busy machine for seconds at a low priority (see
    :class:`~nicefutures.PriorityThreadPoolExecutor`). So with a priority below BELOW_NORMAL, tasks run at BELOW_NORMAL
    while they hold the GIL. The event loop needs a few seconds to notice this. On Linux this is also so at first, if
    other programs keep the machine busy. Tasks that are coroutines run in the event loop at its priority.

    An executor that you pass with ``Worker(executor=...)`` is not changed, and the log says so.

    Linux does not let an unprivileged thread be raised again. So tasks get new threads when the plugin is registered
    and when it is removed. A task that runs at that time keeps its priority until its end, and threads of libraries
    keep theirs until ``client.restart()``.

    Examples
    --------
    >>> from distributed import Client, LocalCluster
    >>> from nicefutures import get_thread_priority
    >>> from nicefutures.integrations.dask import LowPriorityWorkers
    >>> with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
    ...     _ = client.register_plugin(LowPriorityWorkers("idle"))
    ...     client.submit(get_thread_priority).result()
    <ThreadPriority.IDLE: -15>
    """

    name: str = "nicefutures-low-priority"

    def __init__(self, priority: ThreadPriority | ProcessPriority | str = ThreadPriority.IDLE) -> None:
        if isinstance(priority, ProcessPriority):
            priority = "highest" if priority is ProcessPriority.HIGH else priority.name  # refused below
        self.priority: ThreadPriority = parse_priority(ThreadPriority, priority)
        if self.priority > ThreadPriority.NORMAL:
            msg = f"priority must be 'normal' or lower, not {priority!r}: this plugin only lowers"
            raise ValueError(msg)
        self._worker: Worker | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.priority,)

    async def setup(self, worker: Worker) -> None:
        """Lower the threads, also those that run tasks. Dask calls this in the worker's event loop."""
        self._worker = worker
        self._loop_thread = threading.current_thread()
        self._shortfalls: list[str] = []
        # Current pools by name, and pools that end with their last task.
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._ending: list[ThreadPoolExecutor] = []
        self._guard = None
        if self.priority < ThreadPriority.BELOW_NORMAL and has_gil():
            self._guard = GilGuard(worker.loop, lambda: worker.active_threads, self._lift)
        _held.append(self.priority)
        _lower_libraries()
        for name, executor in worker.executors.items():
            if type(executor) is ThreadPoolExecutor and executor is not worker.executors[_COMMUNICATES]:
                self._pools[name] = executor
            elif name != _COMMUNICATES:
                self._check_foreign(name, executor, worker)
        self._run_at(self.priority)
        # So a priority that cannot be set is reported before the first task comes.
        await asyncio.gather(*(asyncio.wrap_future(pool.submit(int)) for pool in self._pools.values()))
        self._look = PeriodicCallback(_lower_libraries, _LOOK_EVERY_S * 1e3)
        self._look.start()

    async def teardown(self, worker: Worker) -> None:
        """Give the worker new threads, unless it ends. Dask also calls this when the plugin is removed."""
        if self._worker is None:
            return
        self._look.stop()
        if self._guard is not None:
            self._guard.stop()
        lowered = self._threads()
        if worker.status in WORKER_ANY_RUNNING:
            for name, pool in self._pools.items():
                size, prefix = _size_of(pool)
                self._replace(name, ThreadPoolExecutor(size, thread_name_prefix=prefix))
        # Where the system refuses this, the threads stay lowered until they end with their tasks.
        _raise(thread.native_id for thread in lowered)
        _held.remove(self.priority)
        _lower_libraries()
        shortfall = None if _held else _raise(backend.threads.of_libraries())
        if shortfall is not None:
            self._note(shortfall._replace(remedy="client.restart() starts new workers, at the normal level."))
        self._worker = None

    def levels(self) -> WorkerLevels:
        """Return the priorities of the worker on which this plugin is set up, as the operating system reports them.

        Raises
        ------
        RuntimeError
            If the plugin is not set up on a worker.
        """
        if self._worker is None:
            msg = "this plugin is not set up on a worker: ask with client.run(worker_levels)"
            raise RuntimeError(msg)
        return WorkerLevels(
            self.priority,
            backend.priority.get_thread(self._loop_thread),
            {
                thread.native_id: backend.priority.get_thread(thread)
                for thread in self._threads()
                if thread.native_id is not None
            },
            self._guard is not None and self._guard.lifted,
            backend.threads.get_levels(backend.threads.of_libraries()),
            tuple(self._shortfalls),
        )

    def _lift(self, lifted: bool) -> None:
        self._run_at(ThreadPriority.BELOW_NORMAL if lifted else self.priority)

    def _run_at(self, level: ThreadPriority) -> None:
        """Set the priority of running tasks, where the system allows it. New tasks get new threads."""
        tids = [thread.native_id for thread in self._threads() if thread.native_id is not None]
        _raise(tids)  # if allowed: values between two levels, such as the nice value of SCHED_IDLE on Linux, must go
        backend.threads.set_levels(tids, level)
        for name, pool in self._pools.items():
            self._pools[name] = _LoweredThreadPoolExecutor(*_size_of(pool), level, self._note)
            self._replace(name, self._pools[name])

    def _threads(self) -> list[threading.Thread]:
        """Return the threads of all current pools, and of replaced pools that have not ended."""
        return [thread for pool in (*self._ending, *self._pools.values()) for thread in _threads_of(pool)]

    def _replace(self, name: str, pool: ThreadPoolExecutor) -> None:
        """Send tasks to another pool from now on, and end the pool that it replaces."""
        worker: Any = self._worker
        before, worker.executors[name] = worker.executors[name], pool
        self._ending.append(before)
        worker.loop.call_later(_LINGER_S, self._end, worker, before)

    def _end(self, worker: Worker, pool: ThreadPoolExecutor, left: set[int] | None = None) -> None:
        """End a pool after its last task, because a task that has left its thread (`secede`) may come back.

        `left` are threads with tasks. The pool also waits for running tasks of other pools.
        """
        left = set(worker.active_threads) & (set(worker.active_threads) if left is None else left)
        if left and worker.status in WORKER_ANY_RUNNING:
            worker.loop.call_later(_LINGER_S, self._end, worker, pool, left)
        else:
            pool.shutdown(wait=False)
            self._ending.remove(pool)

    def _check_foreign(self, name: str, executor: object, worker: Worker) -> None:
        if isinstance(executor, PriorityThreadPoolExecutor | LowPriorityProcessPoolExecutor):
            return
        if executor is worker.executors[_COMMUNICATES]:
            reason = "its threads read and write messages, too"
            remedy = "Start the worker without executor='offload'."
        else:
            reason = f"it is a {type(executor).__name__} of its user's, and not Dask's own"
            remedy = "Give the worker a PriorityThreadPoolExecutor or a LowPriorityProcessPoolExecutor."
        requested = f"the level {self.priority.name} for the executor {name!r} of this worker"
        self._note(Shortfall(requested, "the level that its threads have", reason, remedy))

    def _note(self, shortfall: Shortfall) -> None:
        """Log a shortfall once. Any thread may call this."""
        if shortfall.text not in self._shortfalls:
            self._shortfalls.append(shortfall.text)
            _LOGGER.warning("%s", shortfall.text)


def worker_levels(dask_worker: Worker) -> WorkerLevels | None:
    """Return the priorities that the operating system reports for a worker, for ``client.run(worker_levels)``.

    Returns
    -------
    WorkerLevels or None
        None without the plugin.
    """
    plugin = dask_worker.plugins.get(LowPriorityWorkers.name)
    return plugin.levels() if isinstance(plugin, LowPriorityWorkers) else None


async def dask_setup(worker: Worker) -> None:
    """Set up the plugin on a worker that preloads this module; Dask's ``nicefutures.priority`` is the priority."""
    plugin = LowPriorityWorkers(dask.config.get("nicefutures.priority", "idle"))
    await worker.plugin_add(plugin=plugin, name=plugin.name)


class _LoweredThreadPoolExecutor(ThreadPoolExecutor):
    """Dask's thread pool, whose threads set their priority. Dask looks for its pool's name in this class's name."""

    def __init__(self, size: int, prefix: str, priority: ThreadPriority, note: Callable[[Shortfall], None]) -> None:
        super().__init__(size, thread_name_prefix=prefix)
        self._priority = priority
        self._note = note
        self._local = threading.local()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a thread."""
        future: Future[Any] = super().submit(self._run, fn, args, kwargs)
        return future

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not hasattr(self._local, "is_lowered"):
            set_level = functools.partial(backend.priority.set_thread, self._priority)
            start_thread(set_level, self._note, None, None, None, ())
            self._local.is_lowered = True
        return fn(*args, **kwargs)


def _lower_libraries() -> None:
    """Set threads of libraries to the lowest priority that a worker of this process wants, if there is one."""
    if _held:
        levels = backend.threads.get_levels(backend.threads.of_libraries())
        backend.threads.set_levels([tid for tid, level in levels.items() if level != min(_held)], min(_held))


def _raise(tids: Iterable[int | None]) -> Shortfall | None:
    """Give threads the priority of this one, which is the event loop's; return the shortfall, if any."""
    levels = backend.threads.save_levels([threading.get_native_id()]).values()
    return backend.threads.restore_levels({tid: level for level in levels for tid in tids if tid is not None})


# --- private attributes of distributed


def _size_of(pool: ThreadPoolExecutor) -> tuple[int, str]:
    """Return the number of threads that a pool may have, and the prefix of their names."""
    return pool._max_workers, pool._thread_name_prefix  # noqa: SLF001


def _threads_of(pool: ThreadPoolExecutor) -> list[threading.Thread]:
    """Return the threads of a pool."""
    return [thread for thread in list(pool._threads) if thread.is_alive()]  # noqa: SLF001
