"""Dask workers that compute at a low priority and communicate at the normal one."""

import asyncio
import functools
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from .._levels import ProcessPriority, Shortfall, ThreadPriority, parse_priority
from .._processes.executor import LowPriorityProcessPoolExecutor
from .._system import backend
from .._threads.executor import PriorityThreadPoolExecutor
from .._threads.gil import has_gil
from .._threads.worker import start_thread
from ._library_threads import library_threads

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
# The executor of Dask's that reads and writes messages.
_COMMUNICATES: Final = "offload"
# Seconds between two looks for new threads of libraries while tasks run: libraries start some in the middle of a task.
_LOOK_EVERY_S: Final = 1.0
# Seconds between two looks at a pool that is to end with its last task.
_LINGER_S: Final = 0.5


class WorkerLevels(NamedTuple):
    """What the operating system says of a Dask worker.

    Attributes
    ----------
    requested : ThreadPriority
        The level that was asked for.
    event_loop : ThreadPriority
        That of the thread that communicates.
    task_threads : dict of int to ThreadPriority
        Those of the threads that have run a task, by thread id.
    lifted : bool
        Whether tasks run at BELOW_NORMAL now, because they keep the GIL.
    library_threads : dict of int to ThreadPriority
        Those of the threads that BLAS and OpenMP libraries have started; empty where the system does not tell.
    shortfalls : tuple of str
        What could not be set, why, and how to solve it.
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
            priority = "highest" if priority is ProcessPriority.HIGH else priority.name  # which is refused below
        self.priority: ThreadPriority = parse_priority(ThreadPriority, priority)
        if self.priority > ThreadPriority.NORMAL:
            msg = f"priority must be 'normal' or lower, not {priority!r}: this plugin only lowers"
            raise ValueError(msg)
        self._lowered: _LoweredWorker | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.priority,)

    async def setup(self, worker: Worker) -> None:
        """Lower the threads; called by Dask, in the worker's event loop."""
        self._lowered = _LoweredWorker(worker, self.priority)
        await self._lowered.start()

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002, Dask calls it so
        """Restore them; called by Dask when the plugin is removed, or the worker closes."""
        if self._lowered is not None:
            self._lowered.stop()
            self._lowered = None

    def levels(self) -> WorkerLevels:
        """Return what the operating system reports for the worker on which this plugin is set up.

        Raises
        ------
        RuntimeError
            If it is not set up on a worker.
        """
        if self._lowered is None:
            msg = "this plugin is not set up on a worker: ask with client.run(worker_levels)"
            raise RuntimeError(msg)
        return self._lowered.levels()


def worker_levels(dask_worker: Worker) -> WorkerLevels | None:
    """Return what the operating system reports for a worker, for ``client.run(worker_levels)``.

    Returns
    -------
    WorkerLevels or None
        None without the plugin.
    """
    plugin = dask_worker.plugins.get(LowPriorityWorkers.name)
    return plugin.levels() if isinstance(plugin, LowPriorityWorkers) else None


async def dask_setup(worker: Worker) -> None:
    """Set the plugin up on a worker that has this module as a preload; the level is Dask's ``nicefutures.priority``."""
    plugin = LowPriorityWorkers(dask.config.get("nicefutures.priority", "idle"))
    await worker.plugin_add(plugin=plugin, name=plugin.name)


class _LoweredWorker:
    """A worker whose thread pools have been replaced."""

    def __init__(self, worker: Worker, priority: ThreadPriority) -> None:
        self._worker = worker
        self._priority = priority
        self._loop_thread = threading.current_thread()
        self._pools: dict[str, _LoweredThreadPoolExecutor] = {}
        self._guard: GilGuard | None = None
        # What the threads had that have been lifted, by thread id.
        self._low: dict[int, Any] = {}
        self._release: Callable[[], Shortfall | None] | None = None
        # By thread id: what threads had that were there before.
        self._saved: dict[int, Any] = {}
        self._look = PeriodicCallback(self._look_for_library_threads, _LOOK_EVERY_S * 1e3)
        self._shortfalls: list[str] = []

    async def start(self) -> None:
        """Lower what computes, new tasks and those that run."""
        communicates = self._worker.executors[_COMMUNICATES]
        if self._priority < ThreadPriority.BELOW_NORMAL and has_gil():
            self._guard = GilGuard(self._worker.loop, lambda: self._worker.active_threads, self._lift)
        self._release = library_threads.hold(self._priority)
        for name, executor in list(self._worker.executors.items()):
            if type(executor) is ThreadPoolExecutor and executor is not communicates:
                tids = [thread.native_id for thread in _threads_of(executor) if thread.native_id is not None]
                self._saved.update(backend.threads.save_levels(tids))
                backend.threads.set_levels(tids, self._priority)
                pool = _LoweredThreadPoolExecutor(*_size_of(executor), self._priority, self._note, self._guard)
                self._pools[name] = pool
                self._replace(name, pool)
            elif name != _COMMUNICATES:
                self._check_foreign(name, executor)
        # A level that cannot be set is known, and said, before the first task comes.
        await asyncio.gather(*(asyncio.wrap_future(pool.submit(int)) for pool in self._pools.values()))
        self._look.start()

    def stop(self) -> None:
        """Give the worker new threads, unless it ends, and put back what was lowered."""
        self._look.stop()
        if self._guard is not None:
            self._guard.stop()
        for name, pool in self._pools.items():
            for each in pool.both:
                self._saved.update(each.before)
            if self._worker.status in WORKER_ANY_RUNNING:
                size, prefix = _size_of(pool)
                self._replace(name, ThreadPoolExecutor(size, thread_name_prefix=prefix))
        # Where the system refuses it, they end with their tasks.
        backend.threads.restore_levels(self._saved)
        shortfall = self._release() if self._release is not None else None
        if shortfall is not None:
            self._note(shortfall._replace(remedy="client.restart() starts new workers, at the normal level."))

    def levels(self) -> WorkerLevels:
        """Return what is in force."""
        pools = [each for pool in self._pools.values() for each in pool.both]
        threads = [thread for pool in pools for thread in _threads_of(pool)]
        return WorkerLevels(
            self._priority,
            backend.priority.get_thread(self._loop_thread),
            {
                thread.native_id: backend.priority.get_thread(thread)
                for thread in threads
                if thread.native_id is not None
            },
            self._guard is not None and self._guard.lifted,
            backend.threads.get_levels(backend.threads.of_libraries()),
            tuple(self._shortfalls),
        )

    def _lift(self, lifted: bool) -> None:
        """Lift tasks that run, where the system lets it, or put their threads back; new ones get other threads."""
        if lifted:
            self._low = backend.threads.save_levels([tid for pool in self._pools.values() for tid in pool.before])
            backend.threads.set_levels(self._low, ThreadPriority.BELOW_NORMAL)
        else:
            backend.threads.restore_levels(self._low)
            for pool in self._pools.values():
                lifted_pool = pool.take_lifted()
                if lifted_pool is not None:
                    self._end_later(lifted_pool)

    def _replace(self, name: str, pool: ThreadPoolExecutor) -> None:
        """Let a pool take the tasks from now on, and end the one that did."""
        before, self._worker.executors[name] = self._worker.executors[name], pool
        self._end_later(before)

    def _end_later(self, pool: ThreadPoolExecutor) -> None:
        self._worker.loop.call_later(_LINGER_S, self._end, pool)

    def _end(self, pool: ThreadPoolExecutor, left: set[int] | None = None) -> None:
        """End a pool after the last of its tasks: one that has left its thread (`secede`) comes back to it.

        `left` are threads with tasks; tasks of other pools that run now are waited for as well.
        """
        active = set(self._worker.active_threads)
        left = active if left is None else left & active
        if left and self._worker.status in WORKER_ANY_RUNNING:
            self._worker.loop.call_later(_LINGER_S, self._end, pool, left)
        else:
            pool.shutdown(wait=False)

    def _look_for_library_threads(self) -> None:
        if self._worker.active_threads:
            library_threads.apply()

    def _check_foreign(self, name: str, executor: object) -> None:
        if isinstance(executor, PriorityThreadPoolExecutor | LowPriorityProcessPoolExecutor):
            return
        requested = f"the level {self._priority.name} for the executor {name!r} of this worker"
        if executor is self._worker.executors[_COMMUNICATES]:
            reason = "its threads read and write messages, too"
            remedy = "Start the worker without executor='offload'."
        else:
            reason = f"it is a {type(executor).__name__} of its user's, and not Dask's own"
            remedy = "Give the worker a PriorityThreadPoolExecutor or a LowPriorityProcessPoolExecutor."
        self._note(Shortfall(requested, "the level that its threads have", reason, remedy))

    def _note(self, shortfall: Shortfall) -> None:
        """Say what is missing, once. Any thread may call this."""
        if shortfall.text not in self._shortfalls:
            self._shortfalls.append(shortfall.text)
            _LOGGER.warning("%s", shortfall.text)


class _LoweredThreadPoolExecutor(ThreadPoolExecutor):
    """Dask's thread pool, whose threads put themselves at a level; Dask looks for its name in the class's.

    Parameters
    ----------
    size : int
        How many threads.
    prefix : str
        Of their names.
    priority : ThreadPriority
        The level.
    note : callable
        What to call with what is missing.
    guard : GilGuard, optional
        Says whether tasks go to another pool, at BELOW_NORMAL: where a system lets nobody raise a thread, tasks can be
        lifted all the same.

    Attributes
    ----------
    before : dict of int to Any
        By thread id: what each thread had before.
    """

    def __init__(
        self,
        size: int,
        prefix: str,
        priority: ThreadPriority,
        note: Callable[[Shortfall], None],
        guard: GilGuard | None = None,
    ) -> None:
        super().__init__(size, thread_name_prefix=prefix)
        self.before: dict[int, Any] = {}
        self._lifted: _LoweredThreadPoolExecutor | None = None
        self._guard = guard
        self._priority = priority
        self._note = note
        self._local = threading.local()
        self._modules = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a thread of this pool, or of the other one, call a function."""
        if self._guard is not None and self._guard.lifted:
            if self._lifted is None:
                self._lifted = _LoweredThreadPoolExecutor(*_size_of(self), ThreadPriority.BELOW_NORMAL, self._note)
            return self._lifted.submit(fn, *args, **kwargs)
        future: Future[Any] = super().submit(self._run, fn, args, kwargs)
        return future

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """End, and the other pool as well."""
        super().shutdown(*args, **kwargs)
        if self._lifted is not None:
            self._lifted.shutdown(*args, **kwargs)

    @property
    def both(self) -> "list[_LoweredThreadPoolExecutor]":
        """The pool, and the other one if there is one."""
        return [self] if self._lifted is None else [self, self._lifted]

    def take_lifted(self) -> "_LoweredThreadPoolExecutor | None":
        """Return the other pool, which gets no more tasks."""
        taken, self._lifted = self._lifted, None
        return taken

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not hasattr(self._local, "lowered"):
            self._lower_thread()
        # Whoever has read this task's message may have imported a library for it, which has started its threads.
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            library_threads.apply()
        return fn(*args, **kwargs)

    def _lower_thread(self) -> None:
        tid = threading.get_native_id()
        self.before.update(backend.threads.save_levels([tid]))
        start_thread(
            functools.partial(backend.priority.set_thread, self._priority),
            self._note,
            None,
            lambda: functools.partial(self.before.pop, tid, None),
            None,
            (),
        )
        self._local.lowered = True


# --- what is private in distributed


def _size_of(pool: ThreadPoolExecutor) -> tuple[int, str]:
    """Return what a pool has been made with: how many threads, and the prefix of their names."""
    return pool._max_workers, pool._thread_name_prefix  # noqa: SLF001


def _threads_of(pool: ThreadPoolExecutor) -> list[threading.Thread]:
    """Return the threads of a pool."""
    return [thread for thread in list(pool._threads) if thread.is_alive()]  # noqa: SLF001
