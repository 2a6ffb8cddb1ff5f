"""An InterpreterPoolExecutor whose workers set their priority with the operating system; for Python 3.14 and later."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.interpreter import InterpreterPoolExecutor, WorkerContext
from concurrent.interpreters import NotShareableError
from typing import Any, Final

from .._arguments import Condition, check_idle_after, check_initializer, check_max_workers, parse_pause_when
from .._levels import OnDenied, ThreadPriority
from .._originals import are_threads_green
from .._public import public
from .gate import Gate, put_before
from .levelled import LevelledThreads
from .worker import start_green_thread, start_thread

# CPython's message. NumPy quotes it in an error of its own.
_NOT_LOADED: Final = re.compile(r"module ([\w.]+) does not support loading in subinterpreters")


class _Context(WorkerContext):
    """A worker. Its thread gets its priority before its interpreter starts. The names are the stdlib's."""

    start: Callable[..., None]

    def initialize(self) -> None:
        """Start the worker, in its thread."""
        self.start(self._initialize, ())

    def _initialize(self) -> None:
        with _explained():
            super().initialize()

    def run(self, task: Any) -> Any:
        """Run a task in the interpreter."""
        with _explained():
            return super().run(task)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Recommend another executor if code needs a module that cannot be loaded here."""
    try:
        yield
    except (ImportError, NotShareableError) as error:
        # If the module of a function or an argument fails to load, the reason is the cause of the error.
        found = _NOT_LOADED.search(f"{error}\n{error.__cause__}")
        if found is None:
            raise
        msg = (
            f"{found[1].partition('.')[0]} cannot be loaded in a worker of PriorityInterpreterPoolExecutor: its module "
            f"{found[1]} works in one interpreter of a process only. Use LowPriorityProcessPoolExecutor for this "
            "task, or PriorityThreadPoolExecutor if it releases the GIL, as large NumPy calls do"
        )
        raise (ImportError if isinstance(error, ImportError) else NotShareableError)(msg) from error


@public
class PriorityInterpreterPoolExecutor(LevelledThreads, InterpreterPoolExecutor):
    """A :class:`concurrent.futures.InterpreterPoolExecutor` whose threads have an operating-system priority.

    Each thread has a Python interpreter and a GIL of its own. So Python code runs on several CPUs, and its priority
    takes effect, because no task holds the GIL of your window. Needs Python 3.14 or later.

    Parameters
    ----------
    max_workers : int or None, default None
        Number of threads. None: that of the standard library.
    thread_name_prefix : str, optional
        Names of the threads.
    initializer : callable or None, default None
        Called in each interpreter at its start, after the priority has been set.
    initargs : tuple, optional
        Arguments of `initializer`.
    priority : ThreadPriority or str, default ThreadPriority.BELOW_NORMAL
        Priority of the threads. On Windows it is relative to the priority class of the process.
    on_denied : {"warn", "raise", "ignore"}, default "warn"
        What to do if the priority of a thread cannot be set. "warn": its tasks run, and one PriorityWarning for the
        executor says why and how to solve it. "raise": its tasks end with a PriorityError. "ignore": its tasks run.
    pause_when : list of str or callable, optional
        Conditions that pause the executor, as `pause` does: "user_active" (keyboard or mouse), "on_battery", "cpu_busy"
        (other programs use more than half a CPU), "memory_low" (one task runs at a time), or functions without
        arguments that return a bool. One PriorityWarning names each condition that this system cannot detect.
    idle_after : float, default 60.0
        Time in s without a condition after which the executor continues.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed. The text says which values are.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    PriorityWarning
        Once, when the first thread starts that cannot have the priority, if `on_denied` is "warn".

    Notes
    -----
    **NumPy cannot be loaded** in these interpreters, and neither can many other compiled packages. A task that
    imports one ends with an ImportError that says so. If the module of its function imports one, or an argument is an
    array, it ends with a ``concurrent.interpreters.NotShareableError``. Use :class:`LowPriorityProcessPoolExecutor` for
    these tasks.

    **Functions, arguments and results** are copied, nearly always with pickle. The main interpreter does its part of
    this in the worker's thread, and holds the GIL of your window meanwhile. So keep arguments and results small, and
    use ``IDLE`` and ``LOWEST`` only if other programs seldom need all CPUs: the thread may be interrupted while
    it holds that GIL, or a lock of the process. Other settings than BELOW_NORMAL are rarely needed.

    **Threads and processes that a task starts** inherit the priority on Linux. On Windows and macOS they do not. With
    gevent and eventlet, threads are not those of the system, so workers have no priority, and a warning says so.

    Examples
    --------
    >>> import math
    >>> from nicefutures import PriorityInterpreterPoolExecutor
    >>> with PriorityInterpreterPoolExecutor(2) as executor:
    ...     list(executor.map(math.factorial, range(5)))
    [1, 1, 2, 6, 24]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        priority: ThreadPriority | str = ThreadPriority.BELOW_NORMAL,
        on_denied: OnDenied = "warn",
        pause_when: Iterable[Condition] = (),
        idle_after: float = 60.0,
    ) -> None:
        on_shortfall = self._take_level(priority, on_denied)
        conditions, idle_after = parse_pause_when(pause_when), check_idle_after(idle_after)
        gate = Gate()  # it refuses tasks, and counts running ones: with several interpreters, stacks do not tell
        start: Callable[..., None]
        if are_threads_green():
            start = functools.partial(start_green_thread, self._level, on_shortfall)
        else:
            start = functools.partial(start_thread, self._level, on_shortfall, gate.enroll, None)
        # The stdlib calls `prepare_context` with the initializer and this tuple.
        passed: Any = (start, check_initializer(initializer, initargs))
        super().__init__(check_max_workers(max_workers), thread_name_prefix, initializer, passed)
        if put_before(self, gate):
            self._gate = gate
        self._pause_when(conditions, idle_after)

    @classmethod
    def prepare_context(cls, initializer: Any, initargs: Any) -> Any:
        start, initargs = initargs
        create, resolve_task = _Context.prepare(initializer, initargs)

        def create_context() -> Any:
            context = create()
            context.start = start
            return context

        return create_context, resolve_task
