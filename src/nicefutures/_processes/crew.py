"""The worker processes of a pool, and what a thread of the pool does with one.

Each call is a thread's: it pickles the task, lets a worker that is free have it, waits for the answer, and unpickles
that. Between a worker and its parent there is one pipe, so a worker that dies takes nothing with it that another needs,
and the thread that waits for it knows whose task it was.

Tasks and the threads that have run one hold the crew's owner: when the last of them has come to its end, and nobody
has the executor any more, the owner goes, and with it the processes.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, process
from concurrent.futures.process import BrokenProcessPool
from logging import LogRecord
from multiprocessing.context import BaseContext
from types import FunctionType
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeAlias

from .._failure import WarnOnce
from .._levels import Shortfall
from .._map.automatic import Done
from .._system import backend
from . import naming
from .breakage import WorkerCrashError, count_oom_kills_since, describe_end
from .chunk import run_chunk
from .ending import begin_to_end_tree, end_tree, wait_for
from .importing import loads, unfinished_by_value
from .interrupts import held_back
from .message import Failure, Part, Question, Spent, Started, WorkerReport, is_answer, is_part
from .once import Once, forget, forgotten
from .pipes import End, close, end_of, here, hold, keep_from_children
from .relay import Listener, Warned
from .task import Task, name_of
from .tokens import announce
from .transport.keeping import Epoch, Epochs
from .transport.message import Message
from .transport.parent import Packed, Transport
from .transport.pickling import can_go_by_name, pickle_alone, pickle_plain
from .worker import END, Demands, OnStart, run_task, serve

OnCrash: TypeAlias = Literal["break", "fail", "retry"]
# A call (the function, its arguments, and those with names), when it was submitted, and what `Crew.pack_now` has made
# of it, if that has been necessary.
ToDo: TypeAlias = tuple[Any, Epoch, Packed | Failure | None]

# Seconds: a process closes its files just before it can be asked for its exit status.
_PATIENCE: Final = 5.0
# Seconds that a program has to cancel what waits after a Ctrl-C.
_TIME_TO_CANCEL: Final = 0.2
# Seconds: the system's `poll` counts milliseconds, in 31 bits.
_LONGEST_POLL: Final = 1e6
# A task that has crashed so often is not tried again.
_MOST_CRASHES: Final = 3
# So many workers, one after the other, may die while they start, where that is no reason to break the pool; or a task's
# before they have begun with it.
_MOST_FAILED_STARTS: Final = 10
_MOST_KILLED_STARTS: Final = 1000
_KILLED: Final = (-9, -15)  # SIGKILL and SIGTERM, as multiprocessing names them on all systems


class Plan(NamedTuple):
    """How workers are made.

    Attributes
    ----------
    context : multiprocessing.context.BaseContext
        What starts them.
    max_workers : int
        How many there may be.
    max_tasks : int or None
        After how many tasks one is replaced.
    arguments : tuple
        What :func:`nicefutures._processes.worker.serve` gets before the last.
    on_start : OnStart
        What it gets last.
    transport : Transport or None
        What large buffers go with.
    warn : WarnOnce
        Called with what a worker lacks.
    on_crash : str
        What becomes of a task whose worker dies.
    task_timeout : float or None
        Seconds that a task may take.
    listener : Listener
        What workers log and warn of goes there.
    epochs : Epochs
        Those of the executor.
    is_main_known : bool
        Whether workers have the main module as this process has it.
    at_end : list of callable
        Called when no worker is left.
    """

    context: BaseContext
    max_workers: int
    max_tasks: int | None
    arguments: tuple[Any, ...]
    on_start: OnStart
    transport: Transport | None
    warn: WarnOnce
    on_crash: OnCrash
    task_timeout: float | None
    listener: Listener
    epochs: Epochs
    is_main_known: bool
    at_end: list[Callable[[], None]]

    @property
    def forks(self) -> bool:
        """Whether workers have all that their parent has."""
        return self.context.get_start_method() == "fork"

    @property
    def memory_limit(self) -> int | None:
        """Bytes that a worker may use while a task runs."""
        demands: Demands = self.arguments[0]
        return demands.memory_limit

    @property
    def leaves_main_out(self) -> bool:
        """Whether workers are not to import the main module."""
        return not self.forks and not self.is_main_known


class WorkerLostError(Exception):
    """A worker has died, with a task perhaps."""


class IdleWorkerLostError(WorkerLostError):
    """A worker has died before it had all of its task."""


class KilledBeforeItBeganError(Exception):
    """A worker was killed while it read its task, or imported what that needs: the task had no part in that."""

    def __init__(self, crash: WorkerCrashError) -> None:
        super().__init__(crash)
        self.crash = crash


class TooLongError(Exception):
    """A task has been running for longer than it may."""


class _Parts:
    """What each call of a chunk has returned, if that is told.

    Attributes
    ----------
    results : list
        Until there is one that cannot be had.
    """

    def __init__(self) -> None:
        self.results: list[Any] = []
        self._failure: BaseException | None = None
        self._unknown = 0

    def add(self, told: Part | Started | BaseException) -> None:
        """Take one more, or why it cannot be had."""
        if isinstance(told, BaseException):
            self._failure = self._failure or told
            self._unknown += 1
        elif self._unknown:
            self._unknown += len(told)
        else:
            self.results += told

    @property
    def has_failed(self) -> bool:
        """Whether some cannot be had."""
        return self._failure is not None

    def before(self, done: Done) -> Done:
        """Return what a chunk has done altogether; these come first."""
        if not self.has_failed:
            return done.after(self.results)
        lost = self._unknown + done.made
        return Done(self.results, self._failure, len(self.results) + lost, lost=lost)


class Worker:
    """A worker process, and the parent's end of its pipe."""

    def __init__(self, plan: Plan, lifeline: Any) -> None:
        self.report: WorkerReport | None = None
        self.tasks = 0
        self.is_spent = False
        self._has: set[bytes] = set()
        # Until the connections of here are gone: Python loses an interrupt that comes in their `__del__`.
        with held_back(plan.context.get_start_method()) as is_held_back:
            self._start(plan, lifeline, is_held_back=is_held_back)

    def _start(self, plan: Plan, lifeline: Any, *, is_held_back: bool) -> None:
        ours, theirs = plan.context.Pipe()
        self._end: End = end_of(ours)
        try:
            keep_from_children(ours)
            keep_from_children(theirs)
            context: Any = plan.context
            arguments = (theirs, lifeline, is_held_back, *plan.arguments, plan.on_start)
            self.process = context.Process(target=serve, args=arguments)
            here.kept = (theirs,)
            with (
                naming.pickling(is_main_known=plan.is_main_known),
                naming.main_left_out() if plan.leaves_main_out else contextlib.nullcontext(),
            ):
                self.process.start()
        except BaseException:
            self._end.close()
            raise
        finally:
            here.kept = ()
            close(theirs)

    def send(self, packed: Packed) -> None:
        """Send a task, and before it what the worker has to have for it."""
        try:
            if packed.sent or self._has:
                self._send_once(packed.sent)
            self._end.send(packed.data)
        except OSError as error:
            raise IdleWorkerLostError from error

    def _send_once(self, sent: Sequence[Any]) -> None:
        for each in sent:
            if type(each) is Once and each.token not in self._has:
                self._end.send(each.message)
                self._has.add(each.token)
        for token in forgotten(self._has):
            self._end.send(forget(token))
            self._has.remove(token)

    def receive(self, deadline: float | None = None) -> bytes:
        """Wait for what the worker says next; until a time of `time.monotonic`, for one that has started."""
        try:
            if deadline is not None:
                self._wait(deadline)
            # A worker takes its end of the pipe from the parent when it starts, on Windows (DupHandle of
            # multiprocessing.reduction): of one that ends before that, the pipe never ends.
            if self.report is not None or self._end.wait_beside(self.process.sentinel):
                return self._end.receive()
        except (EOFError, OSError) as error:
            raise WorkerLostError from error
        raise WorkerLostError

    def _wait(self, deadline: float) -> None:
        while not self._end.poll(min(max(0.0, deadline - time.monotonic()), _LONGEST_POLL)):
            if time.monotonic() >= deadline:
                raise TooLongError

    def has_said(self) -> bool:
        """Return whether it has said something."""
        try:
            return self._end.poll()
        except OSError:
            return False

    def end(self) -> None:
        """Let it come to its end."""
        with contextlib.suppress(OSError):  # it has already
            self._end.send(END)
        self.close()

    def close(self) -> None:
        """Close the pipe."""
        self._end.close()

    def stop(self) -> None:
        """End it in the middle of its task, and what that has started."""
        begin_to_end_tree(self.process)


class Breakage:
    """Why there is no use in a crew any more; an executor may have this for longer than its crew.

    Attributes
    ----------
    text : str or None
        None as long as nothing is wrong.
    cause : BaseException or None
        What an initializer raised, or how a process ended.
    """

    text: str | None = None
    cause: BaseException | None = None

    def raise_if_broken(self) -> None:
        """Raise a BrokenProcessPool if something is wrong."""
        if self.text is not None:
            raise BrokenProcessPool(self.text) from self.cause


class _UnderWay:
    """How many tasks there are. Every future has this, and none keeps the crew."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def begin(self) -> int:
        with self._lock:
            self.count += 1
            return self.count

    def end(self, _: "Future[Any] | None" = None) -> None:
        with self._lock:
            self.count -= 1


class Crew:
    """The workers of a pool.

    Attributes
    ----------
    processes : dict of int to multiprocessing.Process
        By process id.
    breakage : Breakage
        Whether there is use in it.
    note_done : callable
        To be called when a task is done, or was cancelled.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pid = os.getpid()
        # Reentrant: the garbage collector may run what takes it anywhere.
        self._lock = threading.RLock()
        self._free: list[Worker] = []
        self._workers: dict[int, Worker] = {}
        self._retired: list[Worker] = []
        self._under_way = _UnderWay()
        # By the function's id.
        self._once: weakref.WeakValueDictionary[int, Once] = weakref.WeakValueDictionary()
        self.note_done = self._under_way.end
        self._closed = False
        self._is_main_known = plan.is_main_known
        # Whether what becomes of a task is more than that it is done, or breaks the pool.
        self._is_watchful = plan.on_crash != "break" or plan.task_timeout is not None or plan.memory_limit is not None
        self._failed_starts = 0
        self._lost = 0
        self.processes: dict[int, Any] = {}
        self.breakage = Breakage()
        self._kills = backend.memory.count_oom_kills()
        self._lifeline, self._own_end = plan.context.Pipe(duplex=False)
        keep_from_children(self._own_end)
        hold(self._lifeline)
        _crews.add(self)

    def is_in_it(self) -> bool:
        """Return whether the calling thread is one of the pool."""
        return _here.owner is not None and _here.owner.crew is self

    # --- for who submits

    def prepare(self) -> None:
        """Start a worker, if none is free for one more task; under "fork" all of them, before there is a thread.

        If the system gives no process, it says so to the task that needs one.
        """
        needed = min(self._under_way.begin(), self._plan.max_workers)
        if needed <= len(self._workers):
            return
        with self._lock:
            missing = needed - len(self._workers)
            if self._plan.forks and not self._workers:
                missing = self._plan.max_workers
                self._announce()
            with contextlib.suppress(OSError):
                for _ in range(missing):
                    self._free.insert(0, self._start())  # as the last one to be taken

    def _announce(self) -> None:
        with naming.pickling(is_main_known=self._is_main_known):
            self._plan.on_start.announce()
            if not self._is_main_known:
                announce(sys.modules[naming.MAIN])

    def hear(self) -> dict[int, WorkerReport | None]:
        """Return what workers have said of themselves, by process id."""
        with self._lock:  # nobody starts another one meanwhile
            free = []
            with contextlib.suppress(IndexError):
                while True:
                    free.append(self._free.pop())
            for worker in free:
                with contextlib.suppress(WorkerLostError):
                    while worker.report is None and worker.has_said():
                        self._take_note(worker, loads(worker.receive()))
            self._free += free[::-1]
            return {pid: worker.report for pid, worker in self._workers.items()}

    # --- for a thread of the pool

    def pack(self, call: Any, epoch: Epoch) -> Packed:
        """Return a task as it is sent; `epoch` is when it was submitted. The calling thread is one of the pool."""
        try:
            plain = pickle_plain(call)
            if plain is not None:
                packed = Packed(plain)
            else:
                if self._under_way.count > self._plan.max_workers:
                    call = self._with_function_once(call, epoch)
                packed = self._pack(call, epoch)
        except BaseException:
            naming.here.sent = []
            raise
        if naming.here.sent:
            packed, naming.here.sent = packed._replace(sent=naming.here.sent), []
        return packed

    def _pack(self, call: Any, epoch: Epoch) -> Packed:
        transport = self._plan.transport
        return Packed(pickle_alone(call)) if transport is None else transport.pack(call, epoch)

    def _with_function_once(self, call: Any, epoch: Epoch) -> Any:
        """Return a call whose function, if it has no name, is pickled for the others as well that wait with it."""
        fn, args, kwargs = call
        if fn is run_task:
            fn, args, kwargs = self._with_function_once((args[0], args[1:], kwargs), epoch)
            return run_task, (fn, *args), kwargs
        if type(fn) is not FunctionType or pickle_plain(fn) is not None:
            return call
        once = self._once.get(id(fn))
        if once is None or once.function is not fn or once.epoch < epoch.number:
            # What is submitted from here on may find that something has changed that the function refers to.
            epoch = self._plan.epochs.begin()
            once = self.once(fn, epoch)
            if type(once) is not Once:
                return call
            self._once[id(fn)] = once
            epoch.snapshots.append(once)
        return once, args, kwargs

    def pack_now(self, call: Any, epoch: Epoch) -> Packed | Failure:
        """Return what `run` takes as well; the calling thread is importing a module."""
        try:
            with (
                naming.pickling(is_main_known=self._is_main_known),
                contextlib.nullcontext() if self._plan.forks else unfinished_by_value(),
            ):
                return self.pack(call, epoch)
        except BaseException as error:  # noqa: BLE001, whatever pickling it runs; it is the task's
            return Failure(error)

    def once(self, function: Any, epoch: Epoch) -> Any:
        """Return what stands for a function of many tasks that goes to each worker once; or the function."""
        with (
            contextlib.suppress(Exception),  # the tasks have that error
            naming.pickling(is_main_known=self._is_main_known),
        ):
            if not can_go_by_name(function):
                packed = self._pack((function,), epoch)
                packed = packed._replace(sent=naming.here.sent or ())
                return Once(function, packed.data, packed, epoch.number)
        return function

    def run(self, task: Task, owned: list[ToDo]) -> Any:
        """Let a worker run a task, and return or raise what the task does.

        Parameters
        ----------
        task : Task
            What may be stopped.
        owned : list of ToDo
            What to do, which is taken from there.

        Raises
        ------
        BrokenProcessPool
            If its worker has died, or another before; or if something cannot be unpickled.
        WorkerCrashError
            If its worker has died, and that is no more than an error of the task.
        TimeoutError
            If the task has run for too long.
        CancelledError
            If it was stopped.
        """
        naming.here.is_main_known = self._is_main_known
        call, epoch, packed = owned.pop()
        try:
            self.breakage.raise_if_broken()
            if self._is_watchful or packed is not None:
                answer = self._run(task, call, epoch, packed)
            else:
                packed = self.pack(call, epoch)
                try:
                    answer = self._exchange(task, call, packed, None)
                finally:
                    if packed.needs is not None:
                        packed.needs.end()
        except BaseException as error:
            if not task.fail():
                raise CancelledError from None
            if isinstance(error, WorkerCrashError | BrokenProcessPool | TimeoutError):
                # Who keeps the error shall not keep the task, which is in the frames.
                error.__context__ = error.__traceback__ = None
            raise
        finally:
            call = packed = None  # the traceback has this frame
        if not isinstance(answer, Failure):
            return answer[0]
        if isinstance(answer.error, KeyboardInterrupt) and self._under_way.count > len(self._workers):
            # Ctrl-C has reached who submitted, too. What waits is not to begin before that has been cancelled.
            time.sleep(_TIME_TO_CANCEL)
        try:
            raise answer.error
        finally:
            del answer

    def _run(self, task: Task, call: Any, epoch: Epoch, packed: Packed | Failure | None) -> tuple[Any] | Failure:
        """Run a task again when its worker has died, if that is wanted."""
        fn, args, kwargs = call
        parts = _Parts()
        is_chunk = fn is run_chunk and "tells" in kwargs
        crashes = 0
        while True:
            before = len(parts.results)
            packed = packed or self.pack((fn, args, kwargs), epoch)
            if isinstance(packed, Failure):
                return packed
            try:
                return self._let_begin(task, call, packed, parts)
            except (WorkerCrashError, TimeoutError) as error:
                done = len(parts.results)
                crashes = crashes + 1 if done == before else 1
                if is_chunk and done == len(call[1][1]):  # it has died too late
                    return (Done(parts.results, None, done),)
                is_last = self._plan.on_crash != "retry" or crashes == _MOST_CRASHES or parts.has_failed
                if isinstance(error, TimeoutError) or is_last:
                    if not is_chunk:
                        raise
                    return (parts.before(Done([], error, 1)),)
            finally:
                if packed.needs is not None:
                    packed.needs.end()
            packed = None
            if done > before:
                args = (args[0], args[1][done - before :])

    def _let_begin(self, task: Task, call: Any, packed: Packed, parts: _Parts) -> tuple[Any] | Failure:
        """Return a worker's answer to a task, of the first worker that was not killed before it began with it."""
        for _ in range(_MOST_KILLED_STARTS):
            try:
                return self._exchange(task, call, packed, parts)
            except KilledBeforeItBeganError as error:
                crash = error.crash
        raise crash

    def _exchange(self, task: Task, call: Any, packed: Packed, parts: _Parts | None) -> tuple[Any] | Failure:
        """Return a worker's answer to a task."""
        worker = self._send(task, call, packed)
        deadline: float | None = None
        has_begun = is_answered = False
        try:
            while True:
                said = worker.receive(deadline)
                is_answered = is_answer(said)
                answer = self._load_answer(said)
                if type(answer) is tuple:
                    break
                if type(answer) is Part or type(answer) is Started or isinstance(answer, BaseException):
                    has_begun = True
                    limit = self._plan.task_timeout
                    deadline = None if limit is None else time.monotonic() + limit
                    parts = parts or _Parts()
                    parts.add(answer)
                elif self._take_note(worker, answer):
                    break
        except WorkerLostError:
            self._lose(worker, task, call, has_begun=has_begun)
        except TooLongError:
            self._take_back(worker, task)
            end_tree(worker.process)
            self._forget(worker)
            limit = self._plan.task_timeout
            msg = f"{name_of(call)} ran longer than task_timeout={limit} s, so its worker was terminated."
            raise TimeoutError(msg) from None
        except BaseException:
            self._take_back(worker, task)
            if is_answered:
                self._give_back(worker)
            else:  # it would answer the next task with what it says of this one
                end_tree(worker.process)
                self._forget(worker)
            raise
        if not task.finish():
            self._forget(worker)
            raise CancelledError
        self._give_back(worker)
        result: tuple[Any] | Failure = answer
        return (parts.before(answer[0]),) if parts is not None and type(answer[0]) is Done else result

    def _send(self, task: Task, call: Any, packed: Packed) -> Worker:
        """Send a task to a worker, and to another if that has died while it had none, which harms nobody."""
        attempt = 1
        while True:
            worker = self._take()
            if not task.give_to(worker):
                self._take_back(worker, task)
                self._free.append(worker)
                raise CancelledError
            try:
                worker.send(packed)
            except IdleWorkerLostError:
                if attempt == (2 if self._plan.on_crash == "break" else _MOST_FAILED_STARTS):  # of this task, it seems
                    self._lose(worker, task, call, has_begun=False)
                self._take_back(worker, task)
                self._forget(worker)
                attempt += 1
            else:
                return worker

    def _take_back(self, worker: Worker, task: Task) -> None:
        """Have a worker back from a task, unless somebody ends it."""
        if not task.take_back():
            self._forget(worker)
            raise CancelledError

    def _lose(self, worker: Worker, task: Task, call: Any, *, has_begun: bool) -> NoReturn:
        """Raise what becomes of a task whose worker has died."""
        self._take_back(worker, task)
        wait_for(worker.process, _PATIENCE)
        # A library that is refused memory may end its process: that is an error of the task, as a MemoryError is.
        has_limit = worker.report is not None and worker.report.has_memory_limit
        limit = self._plan.memory_limit if has_limit and worker.process.exitcode not in (None, *_KILLED) else None
        if (self._plan.on_crash == "break" and limit is None) or self.breakage.text is not None:
            self._break(worker)
            self.breakage.raise_if_broken()
        self._forget(worker)
        end = describe_end(worker.process, self._kills, started=True, memory_limit=limit)
        msg = f"The worker process that ran {name_of(call)} died. {end}"
        crash = WorkerCrashError(msg, worker.process.pid, worker.process.exitcode)
        try:
            if self._plan.on_crash == "retry" and not has_begun and self._is_killed_by_others(worker):
                raise KilledBeforeItBeganError(crash)
            raise crash
        finally:
            del crash  # its traceback has this frame

    def _is_killed_by_others(self, worker: Worker) -> bool:
        """Return whether a worker was killed, which says little of how the next one will fare."""
        return worker.process.exitcode in _KILLED and not count_oom_kills_since(self._kills)

    def _load_answer(self, data: bytes) -> Any:
        """Return what a worker has said; or what keeps a part from being unpickled, in its place."""
        try:
            return self._load(data)
        except BaseException as error:
            msg = (
                f"The result could not be unpickled in this process: {type(error).__name__}: {error}. "
                "The task itself has finished."
            )
            failure = BrokenProcessPool(msg)
            if is_answer(data):
                raise failure from error
            failure.__cause__ = error
            if is_part(data):
                return failure
            sys.excepthook(type(error), error, error.__traceback__)  # of what was logged: no error of this task
            return Started()

    def _load(self, data: bytes) -> Any:
        answer = loads(data)
        if type(answer) is Message and self._plan.transport is not None:
            return self._plan.transport.take(answer)
        return answer

    def _take_note(self, worker: Worker, said: Any) -> bool:
        """Return whether this was an answer."""
        kind = type(said)
        if kind is WorkerReport:
            worker.report = said
        elif kind is Spent:
            worker.is_spent = True
        elif kind is Shortfall:
            self._plan.warn(said)
        elif kind is Question:
            if self._plan.transport is not None:
                self._plan.transport.answer(said)
        elif kind is Warned or isinstance(said, LogRecord):
            try:
                self._plan.listener.take(said)
            except Exception:  # noqa: BLE001, of somebody's handlers and filters: no error of this task
                sys.excepthook(*sys.exc_info())
        elif said.is_initializers:
            self._break(worker, said.error)
            self.breakage.raise_if_broken()
        else:
            return True
        return False

    # --- workers

    # A list is its own lock, for who takes from its end and puts there.

    def _take(self) -> Worker:
        """Return a worker that is there to read a task."""
        while True:
            try:
                worker = self._free.pop()
            except IndexError:
                worker = self._take_or_start()
            if worker.report is None:
                try:
                    self._hear_report(worker)
                except WorkerLostError:
                    self._replace(worker)
                    continue
                self._failed_starts = 0
            return worker

    def _hear_report(self, worker: Worker) -> None:
        while worker.report is None:
            self._take_note(worker, loads(worker.receive()))

    def _replace(self, worker: Worker) -> None:
        """Do without one that has died while it started, unless there is no use in others."""
        wait_for(worker.process, _PATIENCE)
        self._failed_starts += 1
        most = _MOST_KILLED_STARTS if self._is_killed_by_others(worker) else _MOST_FAILED_STARTS
        if self._plan.on_crash == "break" or self._failed_starts >= most:
            self._break(worker)
            self.breakage.raise_if_broken()
        self._forget(worker)

    def _take_or_start(self) -> Worker:
        with self._lock:
            with contextlib.suppress(IndexError):
                return self._free.pop()
            self.breakage.raise_if_broken()  # who broke it has ended those that there were
            worker = self._start()
            # And others for those that have died, so that what keeps killing workers does not find this one alone.
            lost, self._lost = self._lost, 0
            with contextlib.suppress(OSError):
                for _ in range(min(lost, self._plan.max_workers) - 1):
                    if len(self._workers) < self._plan.max_workers:
                        self._free.insert(0, self._start())
            return worker

    def _give_back(self, worker: Worker) -> None:
        worker.tasks += 1
        if worker.is_spent or worker.tasks == self._plan.max_tasks:
            self._retire(worker)
        else:
            self._free.append(worker)

    def _start(self) -> Worker:
        if self._closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)
        worker = Worker(self._plan, self._lifeline)
        self._workers[worker.process.pid] = worker
        self.processes[worker.process.pid] = worker.process
        return worker

    def _retire(self, worker: Worker) -> None:
        worker.end()
        self._forget(worker, is_lost=False)

    def _forget(self, worker: Worker, *, is_lost: bool = True) -> None:
        """Have a worker no more that has died, or will come to its end."""
        worker.close()
        with self._lock:
            self._lost += is_lost
            self._workers.pop(worker.process.pid, None)
            self.processes.pop(worker.process.pid, None)
            retired, self._retired = self._retired, [worker]
        for each in retired:  # who has ended is asked for its status, so that the system and multiprocessing forget it
            if each.process.exitcode is None:
                self._retired.append(each)
            else:
                each.process.join()

    def _break(self, worker: Worker, cause: BaseException | None = None) -> None:
        """End all workers: one has died, or its initializer has failed."""
        wait_for(worker.process, _PATIENCE)  # what it has logged is on its way until it has ended
        with self._lock:
            if self.breakage.text is not None:
                return
            pid, code = worker.process.pid, worker.process.exitcode
            told: Any = f"\n'''\nProcess {pid} terminated abruptly with exit code {code}'''"
            # As Python 3.15 has it, on all Pythons.
            self.breakage.cause = cause or process._RemoteTraceback(told)  # noqa: SLF001
            if cause is not None:
                self.breakage.text = (
                    "The initializer of a worker process failed, the process pool is not usable anymore: "
                    f"{type(cause).__name__}: {cause}"
                )
            else:
                self.breakage.text = (
                    "A process in the process pool was terminated abruptly while the future was running or pending. "
                    + describe_end(worker.process, self._kills, started=worker.report is not None)
                ).strip()
            processes = list(self.processes.values())
        for each in processes:
            if each is not worker.process:  # whose last words may still be on their way
                each.terminate()

    # --- the end

    def abandon(self, text: str) -> list[Any]:
        """Let all tasks end with a BrokenProcessPool when their workers end; return the processes to be ended."""
        with self._lock:
            if self.breakage.text is None:
                self.breakage.text = text
            return list(self.processes.values())

    def interrupt(self) -> None:
        """End all workers in the middle of their tasks, and let all tasks end."""
        for each in self.abandon("The program was interrupted."):
            begin_to_end_tree(each)

    def close(self) -> None:
        """End all workers, and wait for that. No task is left."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            workers = list(self._workers.values())
        for worker in workers:
            worker.end()
        for worker in (*workers, *self._retired):
            worker.process.join()
        self._free, self._workers, self._retired = [], {}, []
        close(self._own_end)
        close(self._lifeline)
        for end in self._plan.at_end:
            end()


class Owner:
    """Who has a crew, which ends with this."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    def __del__(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if not at_exit():
            self.crew.close()


class _Here(threading.local):
    """What a thread of a pool has."""

    owner: Owner | None = None


_here: Final = _Here()


def run_owned(owned: list[Any], task: Task) -> Any:
    """Let a worker run a task, in a thread that has the crew from now on.

    The task's `ToDo` and the crew's owner come in a list, and are taken from there: they are to be in no frame, for
    these are in the tracebacks of errors, which anybody may keep.
    """
    _here.owner = owned.pop()
    return _here.owner.crew.run(task, owned)


_crews: Final[weakref.WeakSet[Crew]] = weakref.WeakSet()


def interrupt_all() -> None:
    """End all workers, and all tasks: the program has been interrupted, and ends."""
    for crew in list(_crews):
        crew.interrupt()


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit, when all threads have ended: before multiprocessing waits for its processes."""
    for crew in list(_crews):
        crew.close()
