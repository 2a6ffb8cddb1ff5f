"""What runs in a worker process: what it does first, how it runs a task, and how it answers."""

import contextlib
import functools
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from .._blas import ThreadCap, cap_process, find_libraries
from .._failure import initialize, raise_if_refusing, settle
from .._levels import ProcessPriority, Shortfall
from .._system import backend
from .._system.common import Group
from . import interrupts, naming, once
from .chunk import forget_watch
from .main_module import import_main
from .pipes import end_of, keep_from_children
from .transport.pickling import pickle_alone, pickle_plain, pickle_whole
from .wire import ParentGoneError, StartError, ToParent, ToWorker, WorkerReport, sendable, tell_with

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
    log_level : int or None
        From which level on it sends to its parent what it logs; None: it sends nothing.
    tells_start : bool
        Whether it tells its parent when a task starts.
    is_main_known : bool
        Whether it has the main module as its parent has it.
    """

    priority: ProcessPriority
    blas_threads: ThreadCap | None
    memory_limit: int | None
    forked: bool
    efficiency: bool
    group: Group | Shortfall | None
    registry: Any
    transport: "WorkerEnd | None"
    log_level: int | None = None
    tells_start: bool = False
    is_main_known: bool = True


class _Here(threading.local):
    """State of the worker that this thread is: tasks run in the thread that ran the initializer."""

    memory: "TaskMemory | None" = None


_here = _Here()


class OnStart:
    """An initializer and its arguments: they travel as a task does, and are unpickled where an error is theirs."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        self._call = initializer, initargs
        self._pickled = b""

    def announce(self) -> None:
        """Let what is in it be the same when it comes back from a forked worker."""
        if self._call[0] is not None:
            with contextlib.suppress(Exception):  # a forked worker has what cannot be pickled as well
                pickle_whole(self._call)

    def __getstate__(self) -> Any:
        return {"_pickled": pickle_whole(self._call)}

    def open(self) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
        """Return them."""
        if self._pickled:
            self._call = pickle.loads(self._pickled)  # noqa: S301, from the parent
        return self._call


def import_before_fork(cap: ThreadCap | None) -> None:
    """Import what each forked worker would import by itself."""
    _ = backend.background
    with contextlib.suppress(OSError):  # a sandbox forbids it: the workers say so
        backend.priority.get_process()
    if cap is not None:
        find_libraries()


def start_process(
    demands: Demands,
    report: Callable[[object], None],
    on_denied: Callable[[Shortfall], None],
    on_start: OnStart,
) -> None:
    """Initialize a worker process, which may have been forked by a worker."""
    _here.memory = None
    forget_watch()
    # The libraries first: an import is slow at a low level, and Windows has a lock on it that others wait for.
    blas_threads = cap_process(demands.blas_threads)
    settle(_steps(demands), on_denied)
    if demands.log_level is not None:
        from .relay import relay  # for those who ask for it

        relay(report, demands.log_level)
    if demands.transport is not None:
        demands.transport.connect(report)
    naming.here.is_main_known = demands.is_main_known
    naming.here.sent = None
    initialize(*on_start.open())
    report(WorkerReport(blas_threads, has_memory_limit=_here.memory is not None))  # it is ready


def serve(
    pipe: Any,
    lifeline: Any,
    is_held_back: bool,
    demands: Demands,
    on_denied: Callable[[Shortfall], None] | None,
    on_start: OnStart,
    main: dict[str, str] | None,
) -> None:
    """Be a worker: do one task after the other, until the parent says that there is none, or has gone.

    Parameters
    ----------
    pipe : multiprocessing.connection.Connection
        To the parent.
    lifeline : multiprocessing.connection.Connection
        Of a pipe whose other end only the parent has.
    is_held_back : bool
        Whether Ctrl-C is, until now.
    demands, on_start
        As for `start_process`.
    on_denied : callable or None
        As well; None: tell the parent.
    main : dict or None
        What to import as the main module, as for `import_main`.
    """
    interrupts.heed(is_held_back=is_held_back)
    worker = _Worker(pipe, demands)
    backend.background.end_with(lifeline)
    with contextlib.suppress(ParentGoneError):
        worker.say(ToParent.ALIVE)
        if worker.start(main, on_denied, on_start):
            worker.serve()
    worker.close()


class _Worker:
    """What sends and receives."""

    def __init__(self, pipe: Any, demands: Demands) -> None:
        self._end = end_of(pipe)
        keep_from_children(self._end)  # else the parent would not see this worker's end before theirs
        self._demands = demands
        self._transport = demands.transport
        self._lock = threading.Lock()  # any thread may log
        self._is_closed = False

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._end.close()

    # --- what it says

    def say(self, kind: ToParent, something: object = None) -> None:
        """Tell the parent something that is no answer to a task."""
        if kind == ToParent.PART:
            data = self._pack(something)
        else:
            data = b"" if something is None else pickle.dumps(something, pickle.HIGHEST_PROTOCOL)
        with interrupts.put_off():  # half a message would take the next one for its end
            self._send(kind, data)

    def note(self, something: object) -> None:
        """Tell the parent something that has nothing to do with a task."""
        try:
            self.say(ToParent.READY if type(something) is WorkerReport else ToParent.NOTE, something)
        except ParentGoneError:
            if not self._is_closed:  # a thread or an exit function logs when the worker has come to its end
                raise

    def _send(self, kind: ToParent, data: bytes) -> None:
        try:
            with self._lock:
                self._end.send(kind, data)
        except OSError as error:
            raise ParentGoneError from error

    def _receive(self) -> tuple[int, bytes]:
        try:
            return self._end.receive()
        except (EOFError, OSError) as error:
            raise ParentGoneError from error

    # --- what it does

    def start(
        self, main: dict[str, str] | None, on_denied: Callable[[Shortfall], None] | None, on_start: OnStart
    ) -> bool:
        """Get ready for tasks; return whether it is."""
        what = "import of the main module"
        try:
            import_main(main)
            what = "initializer"
            start_process(self._demands, self.note, on_denied or self.note, on_start)
        except ParentGoneError:
            raise
        except BaseException as error:
            logging.getLogger("concurrent.futures").critical("Exception in %s:", what, exc_info=True)
            # With everything in it: no buffer outlives this.
            self._send(ToParent.FAILED, pickle_alone(StartError(what, sendable(error))))
            return False
        tell_with(self.say)
        return True

    def serve(self) -> None:
        """Do tasks."""
        # No name keeps a task or its result while the next one is waited for.
        while True:
            kind, data = self._receive()
            if kind == ToWorker.TASK:
                answer = self._answer(data)
                del data
                self._send(*answer)
                del answer
            elif kind == ToWorker.FUNCTION:
                once.take(data, self._load)
            elif kind == ToWorker.FORGET:
                once.drop(data)
            else:
                return

    def _answer(self, task: bytes) -> tuple[ToParent, bytes]:
        """Run a task, and return what to send. What it had is let go by then."""
        try:
            fn, args, kwargs = self._load(task)
        except BaseException as reason:  # noqa: BLE001, whatever is in it
            error = BrokenProcessPool(
                f"The task could not be unpickled in its worker: {type(reason).__name__}: {reason}. "
                "The worker must be able to import what the task uses: define it in a module, and not below "
                'if __name__ == "__main__":. The pool continues.'
            )
            error.__cause__ = reason
            return ToParent.UNREADABLE, self._pack(sendable(error))
        del task
        if self._demands.tells_start:
            self.say(ToParent.BEGUN)
        try:
            try:
                interrupts.state.is_in_task = True
                value = fn(*args, **kwargs)
            finally:
                interrupts.state.is_in_task = False
        except BaseException as error:  # noqa: BLE001, as the stdlib's worker
            return ToParent.ERROR, self._pack(sendable(error))
        try:
            plain = pickle_plain(value)
            return (ToParent.RESULT, self._pack(value)) if plain is None else (ToParent.PLAIN, plain)
        except BaseException as error:  # noqa: BLE001, as the stdlib's worker
            from .chunk import rescue

            rescued = rescue(value, error)
            if rescued is None:
                return ToParent.ERROR, self._pack(sendable(error))
            return ToParent.RESULT, self._pack(rescued)

    def _load(self, task: bytes) -> Any:
        here = naming.here
        here.of_task = None
        here.is_task_coming = True
        try:
            call = pickle.loads(task)  # noqa: S301, from the parent
            return call if self._transport is None or type(call) is tuple else self._transport.load(call)
        finally:
            here.is_task_coming = False

    def _pack(self, answer: Any) -> bytes:
        plain = pickle_plain(answer)
        if plain is not None:
            return plain
        return pickle_alone(answer) if self._transport is None else self._transport.pack(answer)


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
