"""A ProcessPoolExecutor whose workers run at a low priority."""

import contextlib
import functools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, process
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from .._arguments import (
    check_chunksize,
    check_context,
    check_efficiency,
    check_initializer,
    check_isolate,
    check_max_workers,
    parse_blas_threads,
    parse_memory_limit,
    parse_share_over,
)
from .._blas import ThreadCap, find_libraries
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnFailure, ProcessPriority, Shortfall, parse_on_failure, parse_priority
from .._map.automatic import AutoMap, AutoMaps
from .._map.buffered import MAP_NOTE, check_buffersize, map_buffered_chunks
from .._map.results import count_items, with_size
from .._system import backend
from .._system.common import Group, count_cpus
from . import chunk
from .breakage import explain_breakage
from .channel import WorkerChannel, manager_thread
from .transport.parent import Call, Transport
from .transport.worker import run_call
from .worker import Demands, run_task, start_process

if TYPE_CHECKING:
    from .._system.protocols import Keeper
    from .._workers import WorkerInfo

# The method came with the fix of python/cpython#115634.
_REPLACES_WORKERS: Final = hasattr(getattr(process, "_ExecutorManagerThread", None), "_replace_dead_worker")

_CHUNKSIZE_NOTE: Final = """
        With ``chunksize="auto"`` the chunks are as large as takes about 20 ms, by the time that the calls have taken so
        far: cheap calls cost a few microseconds each, and a result waits for others of its chunk no longer than that,
        unless a call takes much longer than those before it. A call that raises ends the results at its place, as with
        chunks of one call.

        The results have a `len`, for progress bars, if all the iterables have one.
        """

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LowPriorityProcessPoolExecutor(ProcessPoolExecutor):
    """A :class:`concurrent.futures.ProcessPoolExecutor` whose workers run at a low priority.

    Every thread of every worker is at the level before the first task: also the threads of a BLAS library that were
    there before. The calling process stays as it is. The workers also come last at a disk whose scheduler knows
    priorities, and when the memory runs out, the system takes them first.

    Parameters
    ----------
    max_workers, mp_context, initializer, initargs, max_tasks_per_child
        As for :class:`concurrent.futures.ProcessPoolExecutor`. `initializer` runs after the priority has been set.
    priority : ProcessPriority or str, default ProcessPriority.IDLE
        The workers' level, up to NORMAL.
    on_failure : {"warn", "raise", "ignore"}, default "warn"
        What to do about a worker that could not be put at the level. "warn": it works all the same, and one
        PriorityWarning per executor says what is in force, why, and what would help. "raise": its
        tasks end with a PriorityError that says so. "ignore": it works all the same. The same holds for whatever
        else is asked for below.
    blas_threads : "auto", int or None, default "auto"
        How many threads a BLAS or OpenMP library may use in each worker. "auto": the CPUs that this process may use
        (its affinity and the CPU quota of its control groups count), shared out among the workers, and one at least;
        a library that uses fewer is left alone. None: they are all left alone. It holds for libraries that a task
        loads as well.
    memory_limit : int, str, float or None, default None
        How much memory a worker may use while a task runs: in bytes, as a text such as "2 GiB" or "500 MB", or as a
        fraction of all the memory. A task that wants more ends with a MemoryError, and the worker goes on.
    efficiency : bool, optional
        Whether to keep the workers to efficient cores and clocks: EcoQoS on Windows, the efficiency cores on macOS.
        They take longer for it, on an idle machine too. Linux has no interface for it, so nothing happens there.
    isolate : "auto" or None, default None
        Put the workers where a low level counts against the programs of all sessions (Linux): "auto" takes a scope of
        systemd's user manager, a control group, or a session of their own, whatever is to be had. Nothing needs to be
        done elsewhere.
    share_over : int, str or None, default "256 KiB"
        From this size on, in bytes or as a text, the buffers of arguments and results go through shared memory: of
        arrays, and of whatever else supports protocol 5 of `pickle`. None: all goes through the stdlib's pipes.

    Raises
    ------
    ValueError
        If `priority` or `on_failure` is unknown, `priority` is above NORMAL, `max_workers` is not positive,
        or one of the others has no sense: no thread, a limit above the memory that there is or below what a worker
        uses.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, as soon as a worker reports that it is not at the level, if `on_failure` is "warn".

    Notes
    -----
    IDLE is Windows' idle class with very low I/O and memory priority, SCHED_IDLE and the idle I/O class on Linux, nice
    20 and throttled I/O on macOS. On Linux a level ranks a process inside its own session or control group only
    (``sched(7)``, "The autogroup feature"), which is what `isolate` is for.

    The memory limit is RLIMIT_DATA on Linux, a job object on Windows, RLIMIT_AS on other systems; macOS enforces none.
    It is in force while a task runs. The task's arguments on their way in and its result on the way out are not
    limited, nor is what is shared with other processes, or was reserved without being used when the task started.
    What a forked worker has from its parent does not count. A worker's memory is limited, not the pool's.

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
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        priority: ProcessPriority | str = ProcessPriority.IDLE,
        on_failure: OnFailure = "warn",
        blas_threads: int | Literal["auto"] | None = "auto",
        memory_limit: float | str | None = None,
        efficiency: bool = False,
        isolate: Literal["auto"] | None = None,
        share_over: int | str | None = "256 KiB",
    ) -> None:
        level = parse_priority(ProcessPriority, priority)
        if level > ProcessPriority.NORMAL:
            msg = (
                f"priority must be 'idle', 'below_normal' or 'normal', not {priority!r}: this executor only lowers. "
                "For a higher one use ProcessPoolExecutor(initializer=nicefutures.set_process_priority, "
                f"initargs=({level.name.lower()!r},))"
            )
            raise ValueError(msg)
        parse_on_failure(on_failure)
        check_max_workers(max_workers)
        initargs = check_initializer(initializer, initargs)
        check_context(mp_context)
        if mp_context is None:
            # The stdlib's own default, needed here to make the channel for it.
            mp_context = multiprocessing.get_context("spawn" if max_tasks_per_child is not None else None)

        workers = count_cpus() if max_workers is None else max_workers
        cap = parse_blas_threads(blas_threads, max(1, workers))  # the stdlib says what is wrong with less than 1
        forked = mp_context.get_start_method() == "fork"
        limit = parse_memory_limit(memory_limit)
        check_efficiency(efficiency)
        check_isolate(isolate)
        least_shared = parse_share_over(share_over)
        if forked:
            _import_before_fork(cap)

        group = backend.groups.find() if isolate is not None else None
        keeper = backend.groups.open_keeper(mp_context, group) if isinstance(group, Group) else None
        self._keeper: Keeper | None = keeper
        memory = backend.sharing.find_shared_memory() if least_shared is not None else None
        transport = Transport(memory, least_shared) if memory is not None and least_shared is not None else None
        self._transport: Transport | None = transport
        worker_transport = transport.worker_end if transport is not None else None
        at_end = [each.close for each in (keeper, transport) if each is not None]
        answer = transport.answer if transport is not None else None
        self._channel = WorkerChannel(mp_context, WarnOnce(depth=1), answer, at_end)
        self._auto_maps = AutoMaps()
        self._ending = self._ends_later = self._cancels = False
        self._cap = cap
        self._through_run_task = on_failure == "raise" or limit is not None
        worker_end = self._channel.worker_end()
        on_shortfall: Callable[[Shortfall], None] = worker_end
        if on_failure != "warn":
            on_shortfall = refuse if on_failure == "raise" else ignore
        registry = keeper.registry if keeper is not None else None
        demands = Demands(level, cap, limit, forked, efficiency, group, registry, worker_transport)
        super().__init__(
            max_workers,
            mp_context,
            start_process,
            (demands, worker_end.report, on_shortfall, initializer, initargs),
            max_tasks_per_child=max_tasks_per_child,
        )

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self._raise_if_ending()
        if self._through_run_task:
            return self._submit(run_task, (fn, *args), kwargs)
        return self._submit(fn, args, kwargs)

    submit.__doc__ = ProcessPoolExecutor.submit.__doc__

    def _raise_if_ending(self) -> None:
        if self._ending:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)

    def _submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        channel = self._channel
        channel.raise_pending()
        if self._keeper is not None:
            self._keeper.start()
        if self._transport is not None:
            call = self._transport.call(fn, args, kwargs)
            future = super().submit(run_call, call)
            if isinstance(call, Call):
                future.add_done_callback(call.needs.end)
        else:
            future = super().submit(fn, *args, **kwargs)
        if not channel.listening:
            explain_breakage(self)
            channel.listen(self)
        return future

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        count = count_items(iterables)  # before they are used
        return with_size(self._map(fn, iterables, timeout, check_chunksize(chunksize), buffersize), count)

    def _map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | Literal["auto"],
        buffersize: int | None,
    ) -> Iterator[_T]:
        if chunksize == "auto":
            self._raise_if_ending()
            check_buffersize(buffersize)
            deadline = None if timeout is None else time.monotonic() + timeout
            workers: int = getattr(self, "_max_workers", None) or count_cpus()
            # Each call for itself is kept within the memory limit.
            one = functools.partial(run_task, fn) if self._through_run_task else fn
            auto_map = AutoMap(self._submit, chunk, workers, one, iterables, buffersize)
            self._auto_maps.add(auto_map)
            return auto_map.results(deadline)
        if buffersize is not None:
            return map_buffered_chunks(self, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)
        at_one_time = self._transport.at_one_time(iterables) if self._transport else contextlib.nullcontext()
        with at_one_time:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)

    map.__doc__ = f"{ProcessPoolExecutor.map.__doc__}{MAP_NOTE}{_CHUNKSIZE_NOTE}"  # noqa: A003, named as what it overrides

    def workers(self) -> "list[WorkerInfo]":
        """Return what the operating system says of each worker that there is now.

        Returns
        -------
        list of WorkerInfo
            Workers start as they are needed, so there are fewer than `max_workers` at first, and none after the
            end. One that is still starting is not at its level yet.
        """
        from .description import describe_processes

        self._channel.hear()
        processes: dict[int, Any] = getattr(self, "_processes", None) or {}
        return describe_processes(list(processes), self._channel.reports, self._cap)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        channel = self._channel
        # A second shutdown waits for nothing in the stdlib, and may be called by a future's callback.
        waits = wait and not (channel.closed or self._ends_later)
        self._ending = not channel.closed
        self._cancels |= cancel_futures
        if cancel_futures:
            self._auto_maps.drop()
        elif waits and threading.current_thread() is not manager_thread(self):
            self._auto_maps.wait_until_sent()
        elif not self._auto_maps.sent and self._end_later():
            return
        self._end(waits, cancel_futures)
        if wait:  # kill_workers() of Python 3.14 shuts down without waiting, and has yet to kill then
            channel.raise_pending()

    shutdown.__doc__ = ProcessPoolExecutor.shutdown.__doc__

    def _end(self, wait: bool, cancel_futures: bool) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._channel.close(join=wait)
        self._ending = False  # from here on the stdlib says it, or what has broken the pool

    def _end_later(self) -> bool:
        """Come to an end when all calls of `map` have been sent; return whether somebody sees to that."""

        def end() -> None:
            self._auto_maps.wait_until_sent()
            self._end(False, self._cancels)

        if not self._ends_later:
            try:
                threading.Thread(target=end, name="nicefutures-shutdown", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter ends
                return False
            self._ends_later = True
        return True

    def _adjust_process_count(self) -> None:
        """Start a worker if one is needed.

        Until 2026-07 (3.13 and 3.14), and for good in 3.11 and 3.12, the stdlib may not replace a worker that reached
        `max_tasks_per_child`, and the pool hangs (python/cpython#115634): there, count the workers. A Python without
        these private names does not call this, and goes its own way.
        """
        pool: Any = self  # a type checker knows of none of this
        if _REPLACES_WORKERS or pool._max_tasks_per_child is None:  # noqa: SLF001
            super()._adjust_process_count()
        elif len(pool._processes) < pool._max_workers:  # noqa: SLF001
            pool._spawn_process()  # noqa: SLF001


def _import_before_fork(cap: ThreadCap | None) -> None:
    """Import what each forked worker would import by itself."""
    _ = backend.background
    with contextlib.suppress(OSError):  # a sandbox forbids it: the workers say so
        backend.priority.get_process()
    if cap is not None:
        find_libraries()
