"""A ThreadPoolExecutor whose workers set their priority with the operating system."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ._arguments import check_initializer, check_max_workers
from ._initializer import ignore, refuse, run_unless_refused, start_thread
from ._priority import OnFailure, Shortfall, ThreadPriority, parse_on_failure, parse_priority
from ._report import WarnOnce

_P = ParamSpec("_P")
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

    Raises
    ------
    ValueError
        If `priority` or `on_failure` is unknown, or `max_workers` is not positive.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, when the first thread starts that cannot take the level, if `on_failure` is "warn".

    Notes
    -----
    **The GIL does not know of priorities.** A thread that runs Python code holds the GIL. At a low priority it gets
    less of the CPU, so it holds the GIL for *longer*, and every other Python thread waits for it, the one that draws
    your window included: priority inversion. ``IDLE`` and ``LOWEST`` are for tasks that release the GIL nearly all the
    time: large NumPy and SciPy calls. For Python code and for many small NumPy calls take
    :class:`LowPriorityProcessPoolExecutor`, or a free-threaded build of Python, on which the levels work as they
    should. BELOW_NORMAL is the default because it does little harm there.

    A thread that a task starts inherits the level on Linux.

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
    ) -> None:
        level = parse_priority(ThreadPriority, priority)
        parse_on_failure(on_failure)
        check_max_workers(max_workers)
        initargs = check_initializer(initializer, initargs)

        self._refusing = on_failure == "raise"
        self._failure_warning: WarnOnce | None = None
        on_shortfall: Callable[[Shortfall], None] = refuse if self._refusing else ignore
        if on_failure == "warn":
            on_shortfall = self._failure_warning = WarnOnce(depth=1)
        super().__init__(max_workers, thread_name_prefix, start_thread, (level, on_shortfall, initializer, initargs))

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        if self._refusing:
            return super().submit(run_unless_refused, fn, *args, **kwargs)
        if self._failure_warning is not None:
            self._failure_warning.heed_filters()
            self._failure_warning.raise_pending()
        return super().submit(fn, *args, **kwargs)

    submit.__doc__ = ThreadPoolExecutor.submit.__doc__

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._failure_warning is not None and wait:
            self._failure_warning.raise_pending()

    shutdown.__doc__ = ThreadPoolExecutor.shutdown.__doc__
