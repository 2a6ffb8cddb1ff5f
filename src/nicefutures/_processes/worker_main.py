"""The code of a worker process: its start, how it runs a task, and how it answers."""

import contextlib
import functools
import logging
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from .._blas import ThreadCap, cap_process, find_libraries
from .._failure import initialize, raise_if_refusing, settle
from .._levels import ProcessPriority, Shortfall
from .._pausing import hold_with
from .._system import backend
from .._system.common import Group
from . import interrupts, naming, once, wire
from .main_module import import_main
from .pipes import end_of, hold, keep_from_children
from .transport.message import Message
from .transport.pickling import pickle_plain, pickle_whole
from .wire import Hold, ParentGoneError, StartError, ToParent, ToWorker, UnreadableError, WorkerReport, sendable

if TYPE_CHECKING:
    from .memory import TaskMemory
    from .transport.worker import WorkerEnd

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Demands(NamedTuple):
    """Settings of a worker process."""

    priority: ProcessPriority
    blas_threads: ThreadCap | None
    memory_limit: int | None  # bytes, while a task runs
    forked: bool  # it starts with its parent's memory
    efficiency: bool  # it uses efficient cores and clocks only
    group: Group | Shortfall | None  # to move to, or why there is none
    registry: Any  # needed to register with the keeper of the group
    transport: "WorkerEnd | None"
    log_level: int | None = None  # of the log records that it sends to its parent; None: it sends none
    tells_start: bool = False  # it tells its parent when a task starts
    is_main_known: bool = True  # it has the same main module as its parent


class _Here(threading.local):
    """State of the worker in this thread: tasks run in the thread that ran the initializer."""

    memory: "TaskMemory | None" = None


_here = _Here()


class OnStart:
    """An initializer and its arguments. They are pickled like a task, so unpickling errors count as their errors."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        self._call = initializer, initargs
        self.pickled = b""  # until it is unpickled

    def announce(self) -> None:
        """Give tokens to the objects in it, so that they come back from a forked worker as the same."""
        if self._call[0] is not None:
            with contextlib.suppress(Exception):  # a forked worker inherits objects that cannot be pickled, too
                pickle_whole(self._call)

    def __getstate__(self) -> Any:
        return {"pickled": pickle_whole(self._call)}

    def open(self) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
        """Return the initializer and its arguments."""
        if self.pickled:
            self._call = pickle.loads(self.pickled)  # noqa: S301, from the parent
            self.pickled = b""
        return self._call

    def forget(self) -> None:
        """Forget both: no worker starts any more, and the pool may be in a cycle that is collected much later."""
        self._call = None, ()


def import_before_fork(cap: ThreadCap | None) -> None:
    """Import the modules that otherwise each forked worker would import itself."""
    _ = backend.background
    with contextlib.suppress(OSError):  # a sandbox forbids it: the workers will report this
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
    # The libraries first: an import is slow at a low priority, and on Windows it holds a lock that others wait for.
    blas_threads = cap_process(demands.blas_threads)
    settle(_steps(demands), on_denied)
    if demands.log_level is not None:
        from .relay import relay  # only imported with `forward_logs`

        relay(report, demands.log_level)
    if demands.transport is not None:
        demands.transport.connect(report)
    naming.here.names = naming.Names(sys.modules.get(naming.MAIN) if demands.is_main_known else None)
    naming.here.sent = None
    initializer, initargs = on_start.open()
    if initializer is not None:
        from .tokens import keep_globals

        keep_globals(lambda: initialize(initializer, initargs))
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
    """Run as a worker: do one task after the other, until the parent has no more tasks or has ended.

    `pipe` leads to the parent, and only the parent has the other end of `lifeline`. `is_held_back` tells whether Ctrl-C
    has been held back until now. Without `on_denied`, the parent hears of a shortfall. `main` is for `import_main`.
    """
    interrupts.heed(is_held_back=is_held_back)
    worker = _Worker(pipe, demands)
    parent: Any = parent_process()
    if type(lifeline) is Connection and parent is not None:
        hold(lifeline)
        parent._sentinel = lifeline.fileno()  # noqa: SLF001, the parent has closed multiprocessing's own
    backend.background.end_with(lifeline)
    with contextlib.suppress(ParentGoneError):
        worker.say(ToParent.ALIVE)
        if worker.start(main, on_denied, on_start):
            worker.serve()
    worker.close()


class _Worker:
    """The worker's messages and tasks."""

    def __init__(self, pipe: Any, demands: Demands) -> None:
        self._end = end_of(pipe)
        keep_from_children(self._end)  # otherwise children of this worker would keep the pipe open
        self._demands = demands
        self._transport = demands.transport
        # Any thread may log, also in a signal handler or `__del__` while it is sending.
        self._lock = threading.RLock()
        self._outbox: deque[tuple[ToParent, bytes]] = deque()
        self._is_sending = False
        self._is_closed = False
        self._on_denied: Callable[[Shortfall], None] = self.note
        self._holding = threading.Lock()
        self._has_task = False
        self._blocks: set[object] = set()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._end.close()

    # --- messages to the parent

    def say(self, kind: ToParent, something: object = None) -> None:
        """Send the parent a message that is not the answer to a task."""
        data = b"" if something is None else pickle.dumps(something, pickle.HIGHEST_PROTOCOL)
        with interrupts.put_off():  # otherwise the next message could be taken for the rest of this one
            self._send(kind, data)

    def note(self, something: object) -> None:
        """Send the parent a message that has nothing to do with a task."""
        try:
            self.say(ToParent.READY if type(something) is WorkerReport else ToParent.NOTE, something)
        except ParentGoneError:
            if not self._is_closed:  # a thread or an exit function may log after the worker has closed
                raise

    def _send(self, kind: ToParent, data: bytes) -> None:
        self._outbox.append((kind, data))
        try:
            with self._lock:
                if self._is_sending:  # this thread, which continues with this message when it has sent the other one
                    return
                self._is_sending = True
                try:
                    while self._outbox:
                        self._end.send(*self._outbox.popleft())
                finally:
                    self._is_sending = False
        except OSError as error:
            raise ParentGoneError from error

    def _receive(self) -> tuple[int, bytes]:
        try:
            return self._end.receive()
        except (EOFError, OSError) as error:
            raise ParentGoneError from error

    def hold(self, block: object, begins: bool) -> None:
        """Begin or end a `no_pause` block, in any thread of the task. In the block, the task does not stand still."""
        with interrupts.put_off(), self._holding:
            if begins and not self._has_task:
                msg = "no_pause() can be used while a task runs, not by a thread that has outlived its task"
                raise RuntimeError(msg)
            if not begins and block not in self._blocks:  # its task is over, or it has not begun
                return
            self._blocks ^= {block}
            if len(self._blocks) == begins:  # the first block begins, or the last one ends
                self.say(ToParent.NOTE, Hold(begins))
                if begins and self._receive()[0] != ToWorker.HELD:
                    raise ParentGoneError

    # --- tasks

    def start(
        self, main: dict[str, str] | None, on_denied: Callable[[Shortfall], None] | None, on_start: OnStart
    ) -> bool:
        """Prepare for tasks; return whether the worker is ready."""
        self._on_denied = on_denied or self.note
        what = "import of the main module"
        try:
            import_main(main)
            what = "initializer"
            start_process(self._demands, self.note, self._on_denied, on_start)
        except ParentGoneError:
            raise
        except BaseException as error:
            if what != "initializer" or not on_start.pickled:  # otherwise another worker may be able to unpickle it
                logging.getLogger("concurrent.futures").critical("Exception in %s:", what, exc_info=True)
            # With all buffers in the pickle: no shared buffer outlives this worker.
            self._send(ToParent.FAILED, pickle_whole(StartError(what, sendable(error))))
            return False
        wire.here.say, wire.here.load, wire.here.dump = self.say, self._load, self._dump
        hold_with(self.hold)
        return True

    def serve(self) -> None:
        """Do tasks until the parent sends the end."""
        # While the worker waits for the next task, no name refers to a task or a result.
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
            elif kind == ToWorker.LEVEL:
                self._set_level(ProcessPriority(int.from_bytes(data)))
            else:
                return

    def _set_level(self, level: ProcessPriority) -> None:
        """Set a new priority completely: the parent can set only a part of it."""
        settle(_levels(level), self._on_denied)

    def _answer(self, task: bytes) -> tuple[ToParent, bytes]:
        """Run a task, and return the answer to send. By then the objects of the task are released."""
        naming.here.of_task = None
        try:
            fn, args, kwargs = self._load(task)
        except BaseException as reason:  # noqa: BLE001, unpickling may raise anything
            return self._refuse(reason)
        del task
        if self._demands.tells_start:
            self.say(ToParent.BEGUN)
        try:
            try:
                interrupts.state.is_in_task = self._has_task = True
                value = fn(*args, **kwargs)
            finally:
                interrupts.state.is_in_task = False
                with self._holding:
                    self._has_task = False
                    self._blocks.clear()
        except UnreadableError as error:
            return self._refuse(error.reason)
        except BaseException as error:  # noqa: BLE001, as the stdlib's worker
            return ToParent.ERROR, self._pack(sendable(error))
        try:
            plain = pickle_plain(value)
            return (ToParent.RESULT, self._pack(value)) if plain is None else (ToParent.PLAIN, plain)
        except BaseException as failure:  # noqa: BLE001, as the stdlib's worker
            failure.add_note(f"when serializing the result of {once.name_of((fn, args, kwargs))}")
            return ToParent.ERROR, self._pack(sendable(failure))

    def _refuse(self, reason: BaseException) -> tuple[ToParent, bytes]:
        error = BrokenProcessPool(
            f"The task could not be unpickled in its worker: {type(reason).__name__}: {reason}. "
            "Define what the task uses in a module that the worker can import. The pool continues."
        )
        error.__cause__ = reason
        return ToParent.UNREADABLE, self._pack(sendable(error))

    def _load(self, data: bytes) -> Any:
        here = naming.here
        before, here.is_task_coming = here.is_task_coming, True
        try:
            loaded = pickle.loads(data)  # noqa: S301, from the parent
            return self._transport.load(loaded) if self._transport and type(loaded) is Message else loaded
        finally:
            here.is_task_coming = before

    def _pack(self, answer: Any) -> bytes:
        return pickle_whole(answer) if self._transport is None else self._transport.pack(answer)[0]

    def _dump(self, result: Any) -> tuple[bytes, bool]:
        """Return a result as it is sent, and whether segments belong to it."""
        plain = pickle_plain(result)
        if plain is not None or self._transport is None:
            return plain or pickle_whole(result), False
        return self._transport.pack(result)


def _steps(demands: Demands) -> Iterator[Callable[[], Shortfall | None]]:
    """Yield the remaining steps of the start, each of which returns a shortfall or None."""
    if demands.group is not None:
        yield functools.partial(_join, demands.group, demands.registry)
    if demands.memory_limit is not None:
        yield functools.partial(_limit_memory, demands.memory_limit, demands.forked)
    if demands.efficiency:
        yield backend.background.set_efficiency
    yield from _levels(demands.priority)


def _levels(level: ProcessPriority) -> Iterator[Callable[[], Shortfall | None]]:
    yield functools.partial(backend.background.set_background, level)
    is_low = level < ProcessPriority.NORMAL  # as root, the other call could raise a worker to `level`
    lower = backend.priority.cap_process if is_low else backend.priority.set_process
    yield functools.partial(lower, level)


def _join(group: Group | Shortfall, registry: Any) -> Shortfall | None:
    return group if isinstance(group, Shortfall) else backend.groups.join(group, registry)


def _limit_memory(limit: int, forked: bool) -> Shortfall | None:
    from .memory import limit_tasks  # only imported for a limit

    _here.memory, shortfall = limit_tasks(limit, forked=forked)
    return shortfall


def run_task(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a task within the worker's memory limit; refuse it on a worker that is not at its priority."""
    raise_if_refusing()
    if _here.memory is not None:
        return _here.memory.run(fn, *args, **kwargs)
    return fn(*args, **kwargs)
