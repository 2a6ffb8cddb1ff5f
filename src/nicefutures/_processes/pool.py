"""The workers of a pool: which there are, and who has them."""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import process
from logging import LogRecord
from typing import Any, Final, NamedTuple

from .._failure import WarnOnce
from .._forks import Living
from .._levels import Shortfall
from .._system import backend
from . import handle
from .attempt import Exit, Policy
from .breakage import Breakage, WorkerCrashError, describe_end
from .ending import begin_to_end_tree
from .handle import Start, State, TooLongError, Worker, WorkerLostError
from .packing import Packing
from .pipes import close, hold, keep_from_children
from .relay import Listener, Warned
from .task import StoppedError, Task
from .transport.message import Orphans, Question
from .transport.unpickling import loads
from .wire import Spent, StartError, ToParent, WorkerReport


class Plan(NamedTuple):
    """What a pool does.

    Attributes
    ----------
    start : Start
        How workers are started.
    max_workers : int
        How many there may be.
    max_tasks : int or None
        After how many tasks one is replaced.
    packing : Packing
        How tasks are sent.
    warn : WarnOnce
        Called with what a worker lacks.
    policy : Policy
        What becomes of a task whose worker dies.
    task_timeout : float or None
        Seconds that a task may take.
    listener : Listener
        What workers log and warn of goes there.
    at_rest : callable
        Called when there are no tasks.
    at_end : list of callable
        Called when no worker is left.
    """

    start: Start
    max_workers: int
    max_tasks: int | None
    packing: Packing
    warn: WarnOnce
    policy: Policy
    task_timeout: float | None
    listener: Listener
    at_rest: Callable[[], None]
    at_end: list[Callable[[], None]]


class UnderWay:
    """How many tasks there are. Every future has this, and none keeps the pool.

    Parameters
    ----------
    at_rest : callable
        Called when there is none.
    """

    def __init__(self, at_rest: Callable[[], None]) -> None:
        self.count = 0
        self._at_rest = at_rest
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Count one more."""
        with self._lock:
            self.count += 1

    def end(self, _: Any = None) -> None:
        """One is done, or was cancelled."""
        with self._lock:
            self.count -= 1
            is_at_rest = not self.count
        if is_at_rest:
            self._at_rest()


class Pool:
    """The registry of workers.

    A worker is STARTING, IDLE, LEASED, DYING or GONE. The first three number at most `max_workers`. Only this class
    changes that, under its lock. With the lock nothing is called that waits, or that runs code of the user's.

    Attributes
    ----------
    plan : Plan
        What it does.
    processes : dict of int to multiprocessing.Process
        By process id.
    breakage : Breakage
        Whether there is use in it.
    under_way : UnderWay
        Its tasks.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._pid = os.getpid()
        # Reentrant: a signal's handler may use the pool in the middle of anything.
        self._lock = threading.Condition(threading.RLock())
        self._waiting = 0
        self._free: list[Worker] = []  # STARTING or IDLE
        self._leased: dict[Worker, Task | None] = {}
        self._starting = 0  # without a process
        self._ended: list[Worker] = []  # DYING
        self._is_closed = False
        self.under_way = UnderWay(plan.at_rest)
        self.processes: dict[int, Any] = {}
        self.breakage = Breakage()
        self.kills = backend.memory.count_oom_kills()
        self._lifeline, self._own_end = plan.start.context.Pipe(duplex=False)
        keep_from_children(self._own_end)
        hold(self._lifeline)
        _pools.add(self)

    # --- start

    def prepare(self) -> None:
        """Start a worker, if none is free for all tasks; under "fork" all of them, before there is a thread.

        If the system gives no process, it says so to the task that needs one.
        """
        needed = min(self.under_way.count, self.plan.max_workers)
        if needed <= len(self._free) + len(self._leased) + self._starting:
            return
        forks = self.plan.start.context.get_start_method() == "fork"
        with self._lock:
            there = len(self._free) + len(self._leased) + self._starting
            missing = (self.plan.max_workers if forks and not there else needed) - there
            if missing <= 0 or self._is_closed or self.breakage.text is not None:
                return
            self._starting += missing
        if forks and not there:
            self.plan.packing.announce(self.plan.start.on_start)
        with contextlib.suppress(OSError):
            while missing:
                missing -= 1
                try:
                    self._start(Worker(), State.STARTING)
                except BaseException:
                    self._reserve(-missing)
                    raise

    def _reserve(self, more: int) -> None:
        with self._lock:
            self._starting += more
            if self._waiting:
                self._lock.notify_all()

    def _start(self, worker: Worker, state: State) -> Worker:
        """Start a worker in a place that is counted in `_starting`, and register it."""
        is_interrupted = True
        try:
            with self.plan.packing.entered():
                worker.start(self.plan.start, self._lifeline)
            is_interrupted = False
        finally:  # the process may run all the same
            with self._lock:
                self._starting -= 1
                has_begun = worker.process is not None
                is_wanted = has_begun and not self._is_closed and self.breakage.text is None
                if has_begun:
                    self.processes[worker.pid] = worker.process
                if is_wanted and state is State.LEASED and not is_interrupted:
                    worker.state = State.LEASED
                    self._leased[worker] = None
                elif is_wanted:
                    self._free.insert(0, worker)  # as the last one to be taken
                elif has_begun:
                    worker.state = State.DYING
                    self._ended.append(worker)
                if self._waiting:
                    self._lock.notify_all()
            if has_begun and not is_wanted:
                worker.stop()
        if not is_wanted:
            self._raise_if_useless()
        return worker

    def _raise_if_useless(self) -> None:
        self.breakage.raise_if_broken()
        if self._is_closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)

    # --- lease and return

    def lease(self, task: Task) -> Worker:
        """Return a worker for a task, ready or not.

        Raises
        ------
        StoppedError
            If the task has been stopped.
        BrokenProcessPool
            If there is no use in the pool.
        """
        worker = self._take()
        try:
            task.lease(worker)
        except StoppedError:
            self.give_back(worker)
            raise
        self._leased[worker] = task
        return worker

    def _take(self) -> Worker:
        with self._lock:
            while True:
                self._raise_if_useless()
                if self._free:
                    worker = self._free.pop()
                    worker.state = State.LEASED
                    self._leased[worker] = None
                    return worker
                if len(self._leased) + self._starting < self.plan.max_workers:
                    self._starting += 1
                    break
                self._waiting += 1
                try:
                    self._lock.wait()  # until one that is just being started can be had
                finally:
                    self._waiting -= 1
        return self._start(Worker(), State.LEASED)

    def give_back(self, worker: Worker) -> None:
        """Have a worker back that can go on."""
        is_used_up = worker.is_spent or worker.tasks == self.plan.max_tasks
        with self._lock:
            self._leased.pop(worker, None)
            if not is_used_up and not self._is_closed:
                worker.state = State.STARTING if worker.report is None else State.IDLE
                self._free.append(worker)
                if self._waiting:
                    self._lock.notify_all()
                return
        worker.finish()
        self.lose(worker)

    def lose(self, worker: Worker) -> None:
        """Have a worker no more that has died, or will come to its end."""
        worker.close()
        with self._lock:
            worker.state = State.DYING
            self._leased.pop(worker, None)
            if worker.process is not None:
                self.processes.pop(worker.pid, None)
            ended, self._ended = self._ended, [worker]
            if self._waiting:
                self._lock.notify_all()
        for each in ended:  # who has ended is asked for its status, so that the system and multiprocessing forget it
            if each.process is not None and each.process.exitcode is None:
                self._ended.append(each)
            else:
                if each.process is not None:
                    each.process.join()
                each.state = State.GONE

    def reports(self) -> dict[int, WorkerReport | None]:
        """Return what workers have said of themselves, by process id."""
        with self._lock:
            unheard = [worker for worker in self._free if worker.report is None]
            for worker in unheard:
                self._free.remove(worker)
                worker.state = State.LEASED
                self._leased[worker] = None
        for worker in unheard:
            try:
                while worker.report is None and worker.has_said():
                    self.hear(worker)
            except TooLongError:  # whose task it is learns of it
                pass
            except WorkerLostError as error:  # as well, but for the reason
                if error.failure is not None:
                    self.break_for(worker, Exit.FAILED, error.failure)
            finally:
                self.give_back(worker)
        with self._lock:
            workers = (*self._free, *self._leased)
            return {worker.pid: worker.report for worker in workers if worker.process is not None}

    # --- what workers say

    def hear(self, worker: Worker) -> None:
        """Wait for what a worker says next that is not ready.

        Raises
        ------
        WorkerLostError, TooLongError
            As `Worker.receive_first`.
        """
        kind, data = worker.receive_first()
        if kind == ToParent.READY:
            worker.report = loads(data)
        elif kind == ToParent.FAILED:
            raise WorkerLostError(failure=loads(data))
        elif kind == ToParent.NOTE:
            self.take_note(worker, data)

    def take_note(self, worker: Worker, data: bytes) -> None:
        """Take note of what a worker says that is not about its task. An error of it is no task's error."""
        try:
            note = loads(data)
            kind = type(note)
            if kind is Spent:
                worker.is_spent = True
            elif kind is Shortfall:
                self.plan.warn(note)
            elif kind is Question or kind is Orphans:
                self.plan.packing.take_note(note)
            elif kind is Warned or isinstance(note, LogRecord):
                self.plan.listener.take(note)
        except Exception:  # noqa: BLE001, of somebody's class, handlers and filters
            sys.excepthook(*sys.exc_info())

    # --- the end

    def break_for(self, worker: Worker, how: Exit, failure: StartError | None = None) -> None:
        """End all workers for what has become of one, and let all tasks end."""
        worker.wait()  # what it has logged is on its way until it has ended
        exitcode = worker.running.exitcode
        told: Any = f"\n'''\nProcess {worker.pid} terminated abruptly with exit code {exitcode}'''"
        # As Python 3.15 has it, on all Pythons.
        cause: BaseException = process._RemoteTraceback(told)  # noqa: SLF001
        if failure is not None:
            cause = failure.error
            text = (
                f"The {failure.what} failed in a worker process, so the pool is not usable anymore: "
                f"{type(cause).__name__}: {cause}"
            )
            if failure.what != "initializer":
                text += (
                    ". A worker imports the main module: put the code that uses the executor below if __name__ == "
                    '"__main__":'
                )
        elif how is Exit.SILENT:
            text = (
                f"Three worker processes in a row did not run any code within {handle.alive_within:g} s of their "
                "start. A forked process may wait forever for a lock of another thread: pass "
                'mp_context="forkserver" or "spawn".'
            )
        else:
            text = (
                "A process in the process pool was terminated abruptly while the future was running or pending. "
                + describe_end(worker.running, self.kills, started=worker.report is not None)
            )
        for each in self.abandon(text, cause):
            if each is not worker.process:  # whose last words may still be on their way
                each.terminate()

    def abandon(self, text: str, cause: BaseException | None = None) -> list[Any]:
        """Let all tasks end with a BrokenProcessPool when their workers end; return the processes to be ended."""
        with self._lock:
            if self.breakage.text is None:
                self.breakage.text, self.breakage.cause = text, cause
            self._lock.notify_all()
            return list(self.processes.values())

    def crash_of(self, worker: Worker, name: str, how: Exit) -> WorkerCrashError:
        """Return the error of a task whose worker has died."""
        limit = self.plan.start.demands.memory_limit if how is Exit.LIMITED else None
        end = describe_end(worker.running, self.kills, started=True, memory_limit=limit)
        exitcode = worker.running.exitcode
        return WorkerCrashError(f"The worker process that ran {name} died. {end}", worker.pid, exitcode)

    def stop_unready(self) -> None:
        """Cancel the tasks that no worker has read: those whose workers are not ready."""
        with self._lock:
            tasks = [task for worker, task in self._leased.items() if worker.report is None and task is not None]
        for task in tasks:
            task.stop()

    def interrupt(self) -> None:
        """End all workers in the middle of their tasks, and let all tasks end."""
        if os.getpid() != self._pid:
            return
        for each in self.abandon("The program was interrupted."):
            begin_to_end_tree(each)

    def close(self) -> None:
        """End all workers, and wait for that. No task is left."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            workers = [*self._free, *self._leased]
            self._free.clear()
            self._leased.clear()
            ended, self._ended = self._ended, []
        for worker in workers:
            worker.finish()
        for worker in (*workers, *ended):
            if worker.process is not None:
                worker.process.join()
            worker.state = State.GONE
        self.processes.clear()
        close(self._own_end)
        close(self._lifeline)
        for end in self.plan.at_end:
            end()


class Owner:
    """Who has a pool, which ends with this."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def __del__(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if not at_exit():
            self.pool.close()


_pools: Final[Living[Pool]] = Living()


def interrupt_all() -> None:
    """End all workers, and all tasks: the program has been interrupted, and ends."""
    for pool in _pools:
        pool.interrupt()


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit, when all threads have ended: before multiprocessing waits for its processes."""
    for pool in _pools:
        pool.close()
