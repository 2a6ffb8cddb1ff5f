"""One worker process, as seen by its parent: start, send, receive, end."""

import contextlib
import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from multiprocessing import util
from typing import Any, Final, NamedTuple

from .._blas import pause_openmp
from .._levels import ProcessPriority
from .._originals import are_threads_green, now
from . import interrupts, naming
from .attempt import Exit
from .breakage import count_oom_kills_since
from .ending import ask_one_at_a_time, begin_to_end_tree, end_tree, has_ended, wait_for
from .main_module import starting_without_main
from .once import Once, forgotten
from .pipes import End, close, end_of, here, keep_from_children, open_pipe, opening
from .transport.parent import Packed
from .wire import StartError, ToParent, ToWorker, WorkerReport
from .worker_main import Demands, OnStart, serve

# Seconds to wait for an exit status: a process closes its files shortly before its status is available.
_PATIENCE: Final = 5.0
# Seconds: `poll` of the system takes milliseconds in 31 bits.
_LONGEST_POLL: Final = 1e6
# Seconds between two checks of the time. If a wait takes this much longer than planned, this program was suspended.
_SLICE: Final = 1.0
# Seconds after which a waiting thread calls `at_wait`.
_LOOK_UP: Final = 15.0
# Seconds that a new process may take until it runs our code. A forked process may wait forever for a lock that another
# thread of its parent held at the fork.
alive_within = 60.0
# Seconds between two checks of a process.
_STEP: Final = 0.01
# multiprocessing's exit codes after SIGTERM and SIGKILL, on all systems. Windows does not distinguish the two.
_TERMINATED: Final = -15
_KILLED: Final = (-9, _TERMINATED)
_TELLS_THEM_APART: Final = hasattr(signal, "SIGKILL")


class WorkerLostError(Exception):
    """A worker has died, `unread` before it had read all data; `failure` is its own report of an error at its start."""

    def __init__(self, *, unread: bool = False, failure: StartError | None = None) -> None:
        super().__init__()
        self.unread = unread
        self.failure = failure


class TooLongError(Exception):
    """A deadline has passed."""


class State(Enum):
    """State of a worker. Only its pool changes it."""

    STARTING = auto()  # no thread has leased it
    IDLE = auto()
    LEASED = auto()  # a thread has it, even if it is not ready yet
    PAUSED = auto()  # a thread has it, and it stands still
    DYING = auto()  # it gets no more tasks
    GONE = auto()


class Start(NamedTuple):
    """How to start workers: with which context of multiprocessing, and the last arguments of `serve`."""

    context: Any
    demands: Demands
    on_denied: Any
    on_start: OnStart
    main: dict[str, str] | None


class Worker:
    """A worker process, and the parent's end of its pipe."""

    is_held = asks = False  # its task is in a `no_pause` block, or waits to enter one
    is_ending = False  # it has been told to end during its task, so a pause does not stop it any more
    is_still = False  # the process stands still, with the processes that it has started
    _end: End  # since its start
    level: ProcessPriority  # at its start, or the last one that was sent to it

    def __init__(self, at_wait: Callable[[], None]) -> None:
        self.at_wait = at_wait  # called from time to time during a long wait for the worker
        self.version = 0  # of the pool's `Names` at its start
        self.state = State.STARTING  # set by the pool
        self.process: Any = None  # until it is started; the pool registers it then
        self.report: WorkerReport | None = None  # None until it is ready
        self.tasks = 0  # done
        self.is_spent = False  # it must be replaced after its task
        self._alive_by: float | None = None
        self._suspended = self._still_since = 0.0
        self._has: set[bytes] = set()

    def start(self, start: Start, lifeline: Any) -> None:
        """Start the process. If this raises although `process` is set, it runs, and Ctrl-C was pressed."""
        # Until the connections of this process are deleted: Python loses an interrupt that comes in their `__del__`.
        self.level = start.demands.priority
        with interrupts.held_back(start.context.get_start_method()) as is_held_back:
            self._start(start, lifeline, is_held_back=is_held_back)

    def _start(self, start: Start, lifeline: Any, *, is_held_back: bool) -> None:
        with opening:
            ours, theirs = open_pipe(start.context)
            end = end_of(ours)
            keep_from_children(end)
            keep_from_children(theirs)
        try:
            arguments = (theirs, lifeline, is_held_back, *start[1:])
            process = start.context.Process(target=serve, args=arguments)
            here.kept = (theirs,)
            self.version = naming.here.names.version
            if start.demands.forked:
                pause_openmp()
            with starting_without_main(start.context.get_start_method(), start.main):
                process.start()
            _keep_sentinel_only(process)
            if start.context.get_start_method() == "forkserver":
                ask_one_at_a_time(process)
        except BaseException:
            end.close()
            raise
        finally:
            here.kept = ()
            close(theirs)
        end.look_up(_LOOK_UP)
        self._alive_by = self.clock() + alive_within
        self._end, self.process = end, process

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid or 0

    def send(self, packed: Packed, level: ProcessPriority) -> None:
        """Send a task, after a new priority, and after the functions that the worker still lacks for the task.

        Raise a WorkerLostError if the worker has died.
        """
        end = self._end
        try:
            if self.level is not level and not self.is_spent:  # a spent worker ends after this task
                self.level = level
                end.send(ToWorker.LEVEL, level.to_bytes(1))
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
        """Wait for the next message of the worker, until a time of `clock`.

        Raise a WorkerLostError if the worker has died, and a TooLongError if no message comes before the deadline.
        """
        end = self._end
        try:
            if deadline is not None or self.report is None or are_threads_green():
                self._wait(end, deadline)
            while True:
                try:
                    return end.receive()
                except BlockingIOError:
                    self.at_wait()
        except (EOFError, OSError) as error:
            raise WorkerLostError(unread=isinstance(error, ConnectionResetError)) from error

    def receive_first(self) -> tuple[int, bytes]:
        """Wait for the next message of a worker that is not ready; raise as `receive`.

        The worker must report within `alive_within` that it is alive.
        """
        kind, data = self.receive(self._alive_by)
        if kind == ToParent.ALIVE:
            self._alive_by = None
        return kind, data

    def _wait(self, end: End, deadline: float | None) -> None:
        # On Windows, a worker takes its end of the pipe from the parent when it starts (DupHandle of
        # multiprocessing.reduction). If it ends before that, the pipe never closes.
        sentinels = () if self.report is not None else (self.process.sentinel,)
        while True:
            began = now()
            seconds = _LONGEST_POLL if deadline is None else min(max(0.0, deadline - self.clock()), _SLICE)
            is_there = end.poll(seconds, *sentinels)
            took = now() - began
            if took > seconds + _SLICE and not self.is_still:  # `go_on` adds the time of a pause
                self._suspended += took
            if is_there:
                return
            if deadline is not None and self.clock() >= deadline:
                raise TooLongError
            self.at_wait()
            if self.process.exitcode is not None and not end.poll():
                raise WorkerLostError
            if sentinels:
                time.sleep(_STEP)  # it may have closed its sentinel before its end

    def clock(self) -> float:
        """Return the time in s, without the time in which the worker or this program was suspended."""
        return (self._still_since if self.is_still else now()) - self._suspended

    def stand_still(self) -> None:
        """Note that the worker stands still from now on."""
        if not self.is_still:
            self._still_since, self.is_still = now(), True

    def go_on(self) -> None:
        """Note that the worker runs again."""
        if self.is_still:
            self._suspended += now() - self._still_since
            self.is_still = False

    def allow(self) -> None:
        """Tell the worker that its task may enter a `no_pause` block."""
        with contextlib.suppress(OSError):  # the worker has ended
            self._end.send(ToWorker.HELD, b"")

    def has_said(self) -> bool:
        """Return whether the worker has sent a message, or has closed the pipe."""
        try:
            return self._end.poll()
        except OSError:
            return False

    def finish(self) -> None:
        """Tell the worker to end, and close the pipe."""
        if self._alive_by is not None and self.has_said():
            self._alive_by = None
        with contextlib.suppress(OSError):  # the worker has already ended
            self._end.send(ToWorker.END, b"")
        self.close()

    def close(self) -> None:
        """Close the pipe."""
        self._end.close()

    def stop(self) -> None:
        """Begin to end the worker during its task, with the processes that it has started."""
        self.is_ending = True
        begin_to_end_tree(self.process)

    def end(self) -> None:
        """End the worker, with the processes that it has started, and wait for its end."""
        self.is_ending = True
        end_tree(self.process)

    def join(self) -> None:
        """Wait for the end of the worker after `finish`. If it does not run any code in time, end it."""
        if self._alive_by is not None:
            wait_for(self.process, self._alive_by - self.clock())
            if not has_ended(self.process):
                self.end()
        self.process.join()

    def wait(self) -> None:
        """Wait for the exit status of the worker, for a few seconds at most."""
        wait_for(self.process, _PATIENCE)

    def how(self, kills_before: int | None) -> Exit:
        """Return how the worker has ended; call `wait` first."""
        exitcode = self.process.exitcode
        if exitcode == _TERMINATED and _TELLS_THEM_APART and not self.tasks:
            return Exit.TERMINATED
        if exitcode in _KILLED:
            return Exit.OUT_OF_MEMORY if count_oom_kills_since(kills_before) > 0 else Exit.KILLED
        has_limit = self.report is not None and self.report.has_memory_limit
        return Exit.LIMITED if has_limit and exitcode is not None else Exit.CRASHED


def _keep_sentinel_only(process: Any) -> None:
    """Close a file that multiprocessing keeps open for each process, so that a worker needs two files here, not three.

    The file serves `multiprocessing.parent_process` in the worker, which uses the lifeline instead (`serve`). Private,
    from Python 3.11 to 3.15 on POSIX; elsewhere the file stays open.
    """
    finalizer: Any = getattr(process._popen, "finalizer", None)  # noqa: SLF001
    if getattr(finalizer, "_callback", None) is vars(util).get("close_fds", util):
        others = [each for each in finalizer._args if each != process.sentinel]  # noqa: SLF001
        finalizer._args = (process.sentinel,)  # noqa: SLF001
        finalizer._callback(*others)  # noqa: SLF001
