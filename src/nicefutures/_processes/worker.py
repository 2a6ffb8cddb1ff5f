"""What runs in a worker process: what it does first, and how it runs a task."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import process
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from .._blas import ThreadCap, cap_process
from .._failure import initialize, raise_if_refusing, settle
from .._levels import ProcessPriority, Shortfall
from .._system import backend
from .._system.common import Group
from .channel import Question, WorkerReport

if TYPE_CHECKING:
    from .memory import TaskMemory
    from .transport.worker import WorkerEnd

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Demands(NamedTuple):
    """What a worker process is asked to be content with.

    Attributes
    ----------
    priority : ProcessPriority
        Its level.
    blas_threads : ThreadCap or None
        How many threads its BLAS libraries get; None leaves them alone.
    memory_limit : int or None
        Bytes that it may use while a task runs.
    forked : bool
        Whether it starts with all that its parent has.
    efficiency : bool
        Whether it keeps to efficient cores and clocks.
    group : Group, Shortfall or None
        Task group to move to; or why there is none; or None: it stays where it is.
    registry : Any
        What it registers with the group's keeper with.
    transport : WorkerEnd or None
        What it sends and receives large buffers with.
    """

    priority: ProcessPriority
    blas_threads: ThreadCap | None
    memory_limit: int | None
    forked: bool
    efficiency: bool
    group: Group | Shortfall | None
    registry: Any
    transport: "WorkerEnd | None"


class _Here(threading.local):
    """State of the worker that this thread is: tasks run in the thread that ran the initializer."""

    memory: "TaskMemory | None" = None


_here = _Here()


def start_process(
    demands: Demands,
    report: Callable[[WorkerReport | Question], None],
    on_failure: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker process."""
    if demands.forked:
        _forget_pools()
    # The libraries first: an import is slow at a low level, and Windows has a lock on it that others wait for.
    blas_threads = cap_process(demands.blas_threads)
    settle(_steps(demands), on_failure)
    report(WorkerReport(os.getpid(), blas_threads))
    if demands.transport is not None:
        demands.transport.connect(report)
    initialize(initializer, initargs)


def _forget_pools() -> None:
    """Drop the parent's pools from a forked process, which might wait for them for ever at its end.

    There the stdlib wakes all pools that it knows, with a lock of each (python/cpython#125492), and a thread of the
    parent may have held one when this process was forked.
    """
    wakeups = getattr(process, "_threads_wakeups", None)
    if wakeups is not None:
        wakeups.clear()


def _steps(demands: Demands) -> Iterator[Callable[[], Shortfall | None]]:
    """Yield what is left to do, each of which returns what is missing."""
    if demands.group is not None:
        yield functools.partial(_join, demands.group, demands.registry)
    if demands.memory_limit is not None:
        yield functools.partial(_limit_memory, demands.memory_limit, demands.forked)
    if demands.efficiency:
        yield backend.background.set_efficiency
    yield functools.partial(backend.background.set_background, demands.priority)
    yield functools.partial(backend.priority.set_process, demands.priority)


def _join(group: Group | Shortfall, registry: Any) -> Shortfall | None:
    return group if isinstance(group, Shortfall) else backend.groups.join(group, registry)


def _limit_memory(limit: int, forked: bool) -> Shortfall | None:
    from .memory import limit_tasks  # for those who ask for a limit

    _here.memory, shortfall = limit_tasks(limit, forked=forked)
    return shortfall


def run_task(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a task on a worker that is at its level, within the worker's memory limit.

    Raises
    ------
    PriorityError
        If the worker is not.
    MemoryError
        If the task goes over the limit.
    """
    raise_if_refusing()
    if _here.memory is not None:
        return _here.memory.run(fn, *args, **kwargs)
    return fn(*args, **kwargs)
