"""A joblib backend whose worker processes have a low priority."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from .._arguments import check_initializer
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnDenied, ProcessPriority, Shortfall, parse_on_denied, parse_priority
from .._processes.executor import LowPriorityProcessPoolExecutor
from .._processes.worker_main import Demands, OnStart, run_task, start_process

try:
    from joblib import register_parallel_backend
    from joblib._parallel_backends import LokyBackend  # also in joblib.parallel, equally private
except ImportError as error:
    msg = "nicefutures.integrations.joblib needs joblib: python -m pip install 'nicefutures[joblib]'"
    raise ImportError(msg, name=error.name, path=error.path) from error

__all__ = ["LowPriorityBackend", "register"]

_NAME: Final = "nicefutures"
# Options of LowPriorityProcessPoolExecutor alone: joblib ignores keywords that it does not know.
_OWN: Final = {"initializer", "initargs", "priority", "on_denied"}
_OF_EXECUTOR: Final = {*inspect.signature(LowPriorityProcessPoolExecutor).parameters} - _OWN


def _refuse(options: Iterable[str], *others: str) -> None:
    """Raise a TypeError for an option of the executor, and for `others`, which belong to another call."""
    for name in options:
        if name in _OF_EXECUTOR:
            msg = f"this backend has no {name}: it is an option of LowPriorityProcessPoolExecutor"
            raise TypeError(msg)
        if name in others:
            msg = f"pass {name} to joblib.parallel_config, not to joblib.Parallel"
            raise TypeError(msg)


def register() -> None:
    """Register :class:`LowPriorityBackend` with joblib, under the name "nicefutures".

    Examples
    --------
    >>> import joblib
    >>> from nicefutures import get_process_priority
    >>> from nicefutures.integrations.joblib import register
    >>> register()
    >>> with joblib.parallel_config("nicefutures", n_jobs=2, priority="below_normal"):
    ...     joblib.Parallel()(joblib.delayed(get_process_priority)() for _ in range(2))
    [<ProcessPriority.BELOW_NORMAL: 6>, <ProcessPriority.BELOW_NORMAL: 6>]
    """
    register_parallel_backend(_NAME, LowPriorityBackend)


class LowPriorityBackend(LokyBackend):
    """joblib's own backend, loky, with low-priority worker processes.

    Batches, large arrays in shared files, nested calls and `inner_max_num_threads` are joblib's. Every thread of a
    worker is lowered before the first task. The workers also have a low disk priority, and the system ends them first
    when the memory runs out. The calling process keeps its priority. With ``n_jobs=1`` joblib runs the tasks there.

    Parameters
    ----------
    nesting_level, inner_max_num_threads, **backend_kwargs
        As for joblib's backends, including `initializer` and `initargs`.
    priority : ProcessPriority or str, default ProcessPriority.IDLE
        Priority of the workers: IDLE, BELOW_NORMAL or NORMAL.
    on_denied : {"warn", "raise", "ignore"}, default "warn"
        What to do if the priority of a worker cannot be set. "warn": its tasks run, and the parent emits one
        PriorityWarning. "raise": its tasks end with a PriorityError. "ignore": its tasks run.

    Raises
    ------
    ValueError
        If `priority` or `on_denied` is unknown, or `priority` is above NORMAL.
    TypeError
        If an argument has the wrong type.
    """

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        priority: ProcessPriority | str = ProcessPriority.IDLE,
        on_denied: OnDenied = "warn",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        **backend_kwargs: Any,
    ) -> None:
        _refuse(backend_kwargs)
        level = parse_priority(ProcessPriority, priority)
        if level > ProcessPriority.NORMAL:
            msg = f"priority must be 'idle', 'below_normal' or 'normal', not {priority!r}: this backend only lowers"
            raise ValueError(msg)
        parse_on_denied(on_denied)
        on_shortfall = {"warn": _keep, "raise": refuse, "ignore": ignore}[on_denied]
        initargs = (level, on_shortfall, initializer, check_initializer(initializer, initargs))
        super().__init__(
            nesting_level=nesting_level,
            inner_max_num_threads=inner_max_num_threads,
            initializer=_start_worker,
            initargs=initargs,
            **backend_kwargs,
        )
        self._warn = WarnOnce(depth=_depth_of_user())
        self._refusing = on_denied == "raise"
        self._expected = 0
        self._heard: set[int] = set()

    def configure(self, *args: Any, **kwargs: Any) -> int:
        """Prepare the workers, and return their number."""
        _refuse(kwargs, "priority", "on_denied")
        self._expected = super().configure(*args, **kwargs)
        return self._expected

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> Future[Any]:
        """Run a batch of tasks in a worker."""
        self._warn.heed_filters()
        # Once all workers have reported their shortfalls, batches are not wrapped, because wrapping takes time.
        if self._refusing or len(self._heard) < self._expected:
            func = functools.partial(_run_batch, func)
        future: Future[Any] = super().submit(func, callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the results of a batch."""
        results = super().retrieve_result_callback(out)
        if not isinstance(results, _Report):
            return results
        self._heard.add(results.pid)
        if results.shortfall is not None:
            self._warn(results.shortfall)
        return results.results

    def stop_call(self) -> None:
        """Raise the warning, if the filters make it an error."""
        super().stop_call()
        self._warn.raise_pending()


# --- in the worker


class _Report(NamedTuple):
    """The results of a batch of tasks, its worker, and the worker's shortfall, if it has not been reported."""

    results: Any
    pid: int
    shortfall: Shortfall | None


class _Worker:
    shortfall: Shortfall | None = None


def _start_worker(
    priority: ProcessPriority,
    on_shortfall: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    register()  # a task may ask for the backend by its name
    # joblib has its own rules for BLAS threads and for large arrays.
    demands = Demands(priority, None, None, forked=False, efficiency=False, group=None, registry=None, transport=None)
    start_process(demands, _report_nothing, on_shortfall, OnStart(initializer, initargs))


def _report_nothing(report: object) -> None:
    """Do nothing, because joblib has no channel for reports."""


def _keep(shortfall: Shortfall) -> None:
    """Keep a shortfall, to be sent with the results of the worker's first batch."""
    _Worker.shortfall = shortfall


def _run_batch(batch: Callable[[], Any]) -> _Report:
    results = run_task(batch)
    shortfall, _Worker.shortfall = _Worker.shortfall, None
    return _Report(results, os.getpid(), shortfall)


def _depth_of_user() -> int:
    """Return the number of calls between the caller and the line that named the backend."""
    depth = 1
    frame = sys._getframe(depth + 1)  # noqa: SLF001, as logging and warnings do
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "joblib":
        frame, depth = frame.f_back, depth + 1
    return depth
