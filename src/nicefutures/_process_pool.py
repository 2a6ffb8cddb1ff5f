"""A ProcessPoolExecutor whose workers run at a low priority."""

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, process
from multiprocessing.context import BaseContext
from typing import Any, Final, ParamSpec, TypeVar

from ._arguments import check_context, check_initializer, check_max_workers
from ._initializer import ignore, refuse, run_unless_refused, start_process
from ._priority import OnFailure, ProcessPriority, Shortfall, parse_on_failure, parse_priority
from ._report import FailureChannel, WarnOnce

# The method came with the fix of python/cpython#115634.
_REPLACES_WORKERS: Final = hasattr(getattr(process, "_ExecutorManagerThread", None), "_replace_dead_worker")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LowPriorityProcessPoolExecutor(ProcessPoolExecutor):
    """A :class:`concurrent.futures.ProcessPoolExecutor` whose workers run at a low priority.

    Every thread of every worker is at the level before the first task: also the threads of a BLAS library that were
    there before. The calling process stays as it is.

    Parameters
    ----------
    max_workers, mp_context, initializer, initargs, max_tasks_per_child
        As for :class:`concurrent.futures.ProcessPoolExecutor`. `initializer` runs after the priority has been set.
    priority : ProcessPriority or str, default ProcessPriority.IDLE
        The workers' level, up to NORMAL.
    on_failure : {"warn", "raise", "ignore"}, default "warn"
        What to do about a worker that could not be put at the level. "warn": it works all the same, and one
        PriorityWarning per executor says what is in force, why, and what would help. "raise": its
        tasks end with a PriorityError that says so. "ignore": it works all the same.

    Raises
    ------
    ValueError
        If `priority` or `on_failure` is unknown, `priority` is above NORMAL, or `max_workers` is not positive.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, as soon as a worker reports that it is not at the level, if `on_failure` is "warn".

    Notes
    -----
    IDLE is Windows' idle class, SCHED_IDLE and the idle I/O class on Linux, nice 20 on macOS. On Linux a level
    ranks a process inside its own session or control group only (``sched(7)``, "The autogroup feature").

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

        self._refusing = on_failure == "raise"
        self._failure_channel: FailureChannel | None = None
        on_shortfall: Callable[[Shortfall], None] = refuse if self._refusing else ignore
        if on_failure == "warn":
            self._failure_channel = FailureChannel(mp_context, WarnOnce(depth=1))
            on_shortfall = self._failure_channel.worker_end()
        super().__init__(
            max_workers,
            mp_context,
            start_process,
            (level, on_shortfall, initializer, initargs),
            max_tasks_per_child=max_tasks_per_child,
        )

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if self._refusing:
            return super().submit(run_unless_refused, fn, *args, **kwargs)
        if self._failure_channel is None:
            return super().submit(fn, *args, **kwargs)
        self._failure_channel.raise_pending()
        future = super().submit(fn, *args, **kwargs)
        if not self._failure_channel.listening:
            self._failure_channel.listen(self)
        return future

    submit.__doc__ = ProcessPoolExecutor.submit.__doc__

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        channel = self._failure_channel
        if channel is None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            return
        # A second shutdown waits for nothing in the stdlib, and may be called by a future's callback.
        waits = wait and not channel.closed
        super().shutdown(wait, cancel_futures=cancel_futures)
        channel.close(join=waits)
        if wait:  # kill_workers() of Python 3.14 shuts down without waiting, and has yet to kill then
            channel.raise_pending()

    shutdown.__doc__ = ProcessPoolExecutor.shutdown.__doc__

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
