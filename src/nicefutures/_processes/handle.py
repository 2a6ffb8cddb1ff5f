"""One worker process, as its parent has it: start, send, receive, end."""

import contextlib
import time
from enum import Enum, auto
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple

from . import interrupts
from .attempt import Exit
from .breakage import count_oom_kills_since
from .ending import begin_to_end_tree, end_tree, wait_for
from .main_module import starting_without_main
from .once import Once, forgotten
from .pipes import End, close, end_of, here, keep_from_children
from .transport.parent import Packed
from .wire import StartError, ToParent, ToWorker, WorkerReport
from .worker_main import Demands, OnStart, serve

# Seconds: a process closes its files just before it can be asked for its exit status.
_PATIENCE: Final = 5.0
# Seconds: the system's `poll` counts milliseconds, in 31 bits.
_LONGEST_POLL: Final = 1e6
# Seconds that a new process may take until it runs our code. A forked one may never: a lock that another thread had
# when it was forked is never released there.
alive_within = 60.0
# Seconds between two looks at a process.
_STEP: Final = 0.01
_KILLED: Final = (-9, -15)  # SIGKILL and SIGTERM, as multiprocessing names them on all systems


class WorkerLostError(Exception):
    """A worker has died.

    Parameters
    ----------
    unread : bool
        Whether it had not read all that was sent.
    failure : StartError or None
        What it says about it.
    """

    def __init__(self, *, unread: bool = False, failure: StartError | None = None) -> None:
        super().__init__()
        self.unread = unread
        self.failure = failure


class TooLongError(Exception):
    """A deadline is over."""


class State(Enum):
    """What a worker is to its pool, which alone changes that."""

    STARTING = auto()  # and nobody has it
    IDLE = auto()
    LEASED = auto()  # a thread has it, whether it is ready or not
    DYING = auto()  # it gets no more tasks
    GONE = auto()


class Start(NamedTuple):
    """How workers are started.

    Attributes
    ----------
    context : multiprocessing.context.BaseContext
        Starts them.
    demands : Demands
        What a worker is asked to be content with.
    on_denied : callable or None
        As `serve` gets it.
    on_start : OnStart
        As well.
    main : dict
        As well.
    """

    context: Any
    demands: Demands
    on_denied: Any
    on_start: OnStart
    main: dict[str, str] | None


class Worker:
    """A worker process, and the parent's end of its pipe.

    Attributes
    ----------
    state : State
        The pool's.
    process : multiprocessing.Process or None
        None until it is started.
    report : WorkerReport or None
        None until it is ready.
    tasks : int
        How many it has done.
    is_spent : bool
        Whether it has too little left for another one.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.process: BaseProcess | None = None
        self.report: WorkerReport | None = None
        self.tasks = 0
        self.is_spent = False
        self._end: End | None = None
        self._alive_by: float | None = None
        self._has: set[bytes] = set()

    def start(self, start: Start, lifeline: Any) -> None:
        """Start the process. If this raises and there is a `process`, that runs, and Ctrl-C was pressed."""
        # Until the connections of here are gone: Python loses an interrupt that comes in their `__del__`.
        with interrupts.held_back(start.context.get_start_method()) as is_held_back:
            self._start(start, lifeline, is_held_back=is_held_back)

    def _start(self, start: Start, lifeline: Any, *, is_held_back: bool) -> None:
        ours, theirs = start.context.Pipe()
        end = end_of(ours)
        try:
            keep_from_children(end)
            keep_from_children(theirs)
            arguments = (theirs, lifeline, is_held_back, *start[1:])
            process = start.context.Process(target=serve, args=arguments)
            here.kept = (theirs,)
            with starting_without_main(start.context.get_start_method(), start.main):
                process.start()
        except BaseException:
            end.close()
            raise
        finally:
            here.kept = ()
            close(theirs)
        self._alive_by = time.monotonic() + alive_within
        self._end, self.process = end, process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.running.pid or 0

    @property
    def running(self) -> Any:
        """Its process, which it has."""
        if self.process is None:
            raise WorkerLostError
        return self.process

    def send(self, packed: Packed) -> None:
        """Send a task, and before it what the worker has to have for it.

        Raises
        ------
        WorkerLostError
            If it has died.
        """
        end = self._end or self._open_end()
        try:
            if packed.sent or self._has:
                self._send_once(end, packed)
            end.send(ToWorker.TASK, packed.data)
        except OSError as error:
            raise WorkerLostError(unread=True) from error

    def _send_once(self, end: End, packed: Packed) -> None:
        for each in packed.sent:
            if type(each) is Once and each.token not in self._has:
                end.send(ToWorker.FUNCTION, each.token + each.data)
                self._has.add(each.token)
        for token in forgotten(self._has):
            end.send(ToWorker.FORGET, token)
            self._has.remove(token)

    def receive(self, deadline: float | None = None) -> tuple[int, bytes]:
        """Wait for what the worker says next.

        Parameters
        ----------
        deadline : float or None
            A time of `time.monotonic`.

        Raises
        ------
        WorkerLostError
            If it has died.
        TooLongError
            If it says nothing until then.
        """
        end = self._end or self._open_end()
        try:
            if deadline is not None or self.report is None:
                self._wait(end, deadline)
            return end.receive()
        except (EOFError, OSError) as error:
            raise WorkerLostError(unread=isinstance(error, ConnectionResetError)) from error

    def receive_first(self) -> tuple[int, bytes]:
        """Wait for what a worker says that is not ready.

        Raises
        ------
        WorkerLostError, TooLongError
            As `receive`; it has to say early that it is alive.
        """
        kind, data = self.receive(self._alive_by)
        if kind == ToParent.ALIVE:
            self._alive_by = None
        return kind, data

    def _wait(self, end: End, deadline: float | None) -> None:
        # A worker takes its end of the pipe from the parent when it starts, on Windows (DupHandle of
        # multiprocessing.reduction): of one that ends before that, the pipe never ends.
        sentinels = () if self.report is not None else (self.running.sentinel,)
        while True:
            seconds = _LONGEST_POLL if deadline is None else max(0.0, deadline - time.monotonic())
            if end.poll(min(seconds, _LONGEST_POLL), *sentinels):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TooLongError
            if self.running.exitcode is not None and not end.poll():
                raise WorkerLostError
            if sentinels:
                time.sleep(_STEP)  # it may have closed what tells its end

    def has_said(self) -> bool:
        """Return whether it has said something."""
        try:
            return self._open_end().poll()
        except (OSError, WorkerLostError):
            return False

    def _open_end(self) -> End:
        if self._end is None:
            raise WorkerLostError
        return self._end

    def finish(self) -> None:
        """Let it come to its end."""
        if self._end is not None:
            with contextlib.suppress(OSError):  # it has already
                self._end.send(ToWorker.END, b"")
        self.close()

    def close(self) -> None:
        """Close the pipe."""
        if self._end is not None:
            self._end.close()

    def stop(self) -> None:
        """Begin to end it in the middle of its task, and what that has started."""
        if self.process is not None:
            begin_to_end_tree(self.process)

    def end(self) -> None:
        """End it, and what it has started; wait for that."""
        if self.process is not None:
            end_tree(self.process)

    def wait(self) -> None:
        """Wait for a while until the system knows how it has ended."""
        if self.process is not None:
            wait_for(self.process, _PATIENCE)

    def how(self, kills_before: int | None) -> Exit:
        """Return how it has ended, which `wait` has waited for."""
        exitcode = self.running.exitcode
        if exitcode in _KILLED:
            return Exit.OUT_OF_MEMORY if count_oom_kills_since(kills_before) > 0 else Exit.KILLED
        has_limit = self.report is not None and self.report.has_memory_limit
        return Exit.LIMITED if has_limit and exitcode is not None else Exit.CRASHED
