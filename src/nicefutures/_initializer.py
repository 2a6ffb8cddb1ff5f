"""What every worker runs first: the level and what else it was asked for, then the user's own initializer."""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import process
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from ._blas import ThreadCap, cap_process
from ._platform import backend
from ._platform._common import Group
from ._priority import PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ._report import Question, WorkerReport

if TYPE_CHECKING:
    from ._memory import TaskMemory
    from ._transport import WorkerEnd

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


class _Worker(threading.local):
    """State of the worker that this thread is: tasks run in the thread that ran the initializer."""

    refusal: Shortfall | None = None
    release: "_Release | None" = None
    memory: "TaskMemory | None" = None


_worker = _Worker()


class _Release:
    """Prepares a thread for its end when the thread's own data are dropped, which Python does in that thread."""

    leave: Callable[[], None] | None = None

    def __del__(self) -> None:
        if self.leave is not None:
            self.leave()
        backend.release_thread()


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
    _settle(_steps(demands), on_failure)
    report(WorkerReport(os.getpid(), blas_threads))
    if demands.transport is not None:
        demands.transport.connect(report)
    _initialize(initializer, initargs)


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
        yield backend.set_efficiency
    yield functools.partial(backend.set_background, demands.priority)
    yield functools.partial(backend.set_process, demands.priority)


def _join(group: Group | Shortfall, registry: Any) -> Shortfall | None:
    return group if isinstance(group, Shortfall) else backend.join_group(group, registry)


def _limit_memory(limit: int, forked: bool) -> Shortfall | None:
    from ._memory import limit_tasks  # for those who ask for a limit

    _worker.memory, shortfall = limit_tasks(limit, forked=forked)
    return shortfall


def start_thread(
    priority: ThreadPriority,
    on_failure: Callable[[Shortfall], None],
    enroll: Callable[[], Callable[[], None]],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker thread; `enroll` is called last, and what it returns when the thread ends."""
    _worker.release = _Release()
    _settle([functools.partial(backend.set_thread, priority)], on_failure)
    _initialize(initializer, initargs)
    _worker.release.leave = enroll()


def lift_thread(own: ThreadPriority, lifted: bool) -> bool:
    """Put this worker at BELOW_NORMAL, or back at its own level, which is lower; return whether the system let it."""
    try:
        return backend.set_thread(ThreadPriority.BELOW_NORMAL if lifted else own) is None
    except OSError:  # a PriorityError is one, too
        return False


def _settle(steps: Iterable[Callable[[], Shortfall | None]], on_failure: Callable[[Shortfall], None]) -> None:
    """Take all steps, and tell of what is missing, in one."""
    shortfalls = [shortfall for step in steps if (shortfall := _try(step)) is not None]
    if shortfalls:
        on_failure(shortfalls[0] if len(shortfalls) == 1 else _combine(shortfalls))


def _try(step: Callable[[], Shortfall | None]) -> Shortfall | None:
    try:
        return step()
    except PriorityError as error:
        return error.args[0]
    except OSError as error:  # from a sandbox that forbids even to look: no reason to break the pool
        remedy = "Ask whoever runs this machine or container."
        return Shortfall("what this worker was asked for", "unknown", str(error), remedy)


def _combine(shortfalls: list[Shortfall]) -> Shortfall:
    """Return one shortfall that says all of several, each part once."""
    return Shortfall(*("; ".join(dict.fromkeys(parts)) for parts in zip(*shortfalls, strict=True)))


def _initialize(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    if initializer is not None and _worker.refusal is None:
        initializer(*initargs)


def ignore(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level work, and say nothing."""


def refuse(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level answer every task with the reason; see :func:`run_task`."""
    _worker.refusal = shortfall


def run_task(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a task on a worker that is at its level, within the worker's memory limit.

    Raises
    ------
    PriorityError
        If the worker is not.
    MemoryError
        If the task goes over the limit.
    """
    if _worker.refusal is not None:
        raise PriorityError(_worker.refusal)
    if _worker.memory is not None:
        return _worker.memory.run(fn, *args, **kwargs)
    return fn(*args, **kwargs)
