"""The registry of a pool's workers, and of the tasks that have leased them."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from logging import LogRecord
from typing import Any, NamedTuple

from .._control import put_tree_at
from .._failure import WarnOnce
from .._levels import ProcessPriority, Shortfall
from .._system import backend
from . import handle
from .attempt import Exit, OnCrash
from .breakage import Breakage, WorkerCrashError, describe_break, describe_end, explain_refusal
from .ending import begin_to_end_tree, end_all, has_ended
from .handle import Start, State, TooLongError, Worker, WorkerLostError
from .packing import Packing
from .pausing import Pausing
from .pipes import close, hold, keep_from_children, opening
from .relay import Listener, Warned
from .share import Share
from .task import StoppedError, Task, UnderWay
from .transport.message import Orphans, Question, loads
from .wire import Hold, Spent, StartError, ToParent, WorkerReport


class Plan(NamedTuple):
    """The settings of a pool, and the objects that it uses."""

    start: Start
    max_workers: int
    max_tasks: int | None  # after which a worker is replaced
    packing: Packing
    warn: WarnOnce  # called with the shortfall of a worker
    on_crash: OnCrash
    task_timeout: float | None  # s
    at_rest: Callable[[], None]  # called when there are no tasks
    at_end: list[Callable[[], None]]  # called when no worker is left


class Pool:
    """The registry of workers.

    A worker is STARTING, IDLE, LEASED, PAUSED, DYING or GONE. The first four number at most `max_workers`. Only this
    class changes the state, under its lock. It calls nothing under the lock that waits or runs the user's code.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._pid = os.getpid()
        # Reentrant: a signal handler may use the pool at any point.
        lock = threading.RLock()
        self._lock = threading.Condition(lock)
        self.pausing = Pausing(self, threading.Condition(lock))
        self._share = Share(lambda: self.plan.start.demands.priority, self._at_work)
        self._waiting = 0
        self._free: list[Worker] = []  # STARTING or IDLE
        self._leased: dict[Worker, Task | None] = {}  # LEASED or PAUSED
        self._starting = 0  # workers without a process so far
        self._ended: list[Worker] = []  # DYING
        self.is_closed = False  # its workers have been told to end
        self._most = plan.max_workers  # or fewer, if the system refuses more
        self.under_way = UnderWay(plan.at_rest)  # the tasks, and the threads that have a `map`
        self.mapping = UnderWay(lambda: None)  # these threads alone
        self._is_cancelled = False
        self.processes: dict[int, Any] = {}  # by process id
        self.breakage = Breakage()
        self._listener = Listener()
        self.kills = backend.memory.count_oom_kills()
        with opening:
            self._lifeline, self._own_end = plan.start.context.Pipe(duplex=False)
            keep_from_children(self._own_end)
        hold(self._lifeline)

    def __str__(self) -> str:
        return f"The process pool with {self.plan.max_workers} workers"

    # --- start

    def prepare(self) -> None:
        """Start workers if there are more tasks than workers; under "fork" start all, before there is a thread.

        If the system refuses a process, the task that needs one gets the error later.
        """
        if self.pausing.watch is not None:
            self.pausing.watch.wake()
        needed = min(self.under_way.count, self._most)
        if needed <= len(self._free) + len(self._leased) + self._starting:
            return
        forks = self.plan.start.context.get_start_method() == "fork"
        with self._lock:
            there = len(self._free) + len(self._leased) + self._starting
            missing = (self.plan.max_workers if forks and not there else needed) - there
            if missing <= 0 or (there and not self._may_begin()) or self.is_closed or self.breakage.text is not None:
                return
            self._starting += missing
        if forks and not there:
            self.plan.packing.announce(self.plan.start.on_start, self.plan.warn)
        with contextlib.suppress(OSError):
            while missing:
                missing -= 1
                try:
                    self._start(Worker(self._share.look), None)
                except BaseException:
                    with self._lock:
                        self._starting -= missing
                        self._lock.notify_all()
                    raise

    def _start(self, worker: Worker, task: Task | None) -> Worker:
        """Start a worker that is counted in `_starting`, and register it; lease it to the task if there is one."""
        is_interrupted = True
        try:
            with self.plan.packing.entered():
                worker.start(self.plan.start, self._lifeline)
            is_interrupted = False
        finally:  # the process may run even after an error
            with self._lock:
                self._starting -= 1
                has_begun = worker.process is not None
                is_wanted = has_begun and not self.is_closed and self.breakage.text is None
                if has_begun:
                    self.processes[worker.pid] = worker.process
                    worker.is_spent = worker.level < self.plan.start.demands.priority  # if raised meanwhile
                if is_wanted and task is not None and not is_interrupted:
                    worker.state = State.LEASED
                    self._leased[worker] = task
                elif is_wanted:
                    self._free.insert(0, worker)  # `_take` takes it last
                elif has_begun:
                    worker.state = State.DYING
                    self._ended.append(worker)
                if self._waiting:
                    self._lock.notify_all()
            if has_begun and not is_wanted:
                worker.stop()
            self.pausing.reconsider()  # the worker may have to stand still
        if not is_wanted:
            self._raise_if_useless()
        return worker

    def _raise_if_useless(self) -> None:
        self.breakage.raise_if_broken()
        if self.is_closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)

    # --- lease and return

    def lease(self, task: Task) -> Worker:
        """Return a worker for a task. The worker may not be ready yet.

        Raise a StoppedError if the task has been stopped, and a BrokenProcessPool if the pool is broken.
        """
        worker = self._take(task)
        try:
            task.lease(worker.stop)
        except StoppedError:
            self.give_back(worker)
            raise
        return worker

    def _take(self, task: Task) -> Worker:
        with self._lock:
            while True:
                self._raise_if_useless()
                if self._is_cancelled or task.is_stopped:
                    raise StoppedError
                may_begin = self._may_begin()
                if may_begin and self._free:
                    worker = self._free.pop()
                    worker.state = State.LEASED
                    self._leased[worker] = task
                    return worker
                if may_begin and len(self._leased) + self._starting < max(self._most, 1):
                    self._starting += 1
                    break
                self._waiting += 1
                try:
                    self._lock.wait()  # until a worker may be free, or a pause may have ended
                finally:
                    self._waiting -= 1
        try:
            return self._start(Worker(self._share.look), task)
        except OSError as error:
            self._make_do(error)
        return self._take(task)

    def _make_do(self, error: OSError) -> None:
        """Continue with the existing workers, because the system refuses another one. Raise if there is none."""
        with self._lock:
            self._most = len(self._free) + len(self._leased) + self._starting
        reason, remedy = explain_refusal(error, self.plan.start.context.get_start_method())
        if not self._most:
            raise type(error)(*error.args[:-1], f"No worker process could be started: {reason}. {remedy}") from error
        asked, there = (f"max_workers={count}" for count in (self.plan.max_workers, self._most))
        self.plan.warn(Shortfall(asked, there, reason, remedy, "fully set"))

    def give_back(self, worker: Worker) -> None:
        """Take back a leased worker; end it if it is used up."""
        is_used_up = worker.is_spent or worker.tasks == self.plan.max_tasks
        with self._lock:
            self._leased.pop(worker, None)
            worker.is_held = worker.asks = False
            is_kept = not is_used_up and not self.is_closed
            if is_kept:
                worker.state = State.STARTING if worker.report is None else State.IDLE
                self._free.append(worker)
                if self._waiting:
                    self._lock.notify_all()
        if not is_kept:
            worker.finish()
            self.lose(worker)
        self.pausing.reconsider()

    def lose(self, worker: Worker) -> None:
        """Remove a worker that has died or is about to exit."""
        worker.close()
        with self._lock:
            worker.state = State.DYING
            self._leased.pop(worker, None)
            self._most = self.plan.max_workers  # the system may allow another one again
            self.processes.pop(worker.pid, None)
            ended, self._ended = self._ended, [worker]
            if self._waiting:
                self._lock.notify_all()
        self.pausing.reconsider()  # the processes that it has started continue
        for each in ended:  # join those that have ended, so that the system and multiprocessing forget them
            if has_ended(each.process):
                each.process.join()
                each.state = State.GONE
            else:
                self._ended.append(each)

    # --- priorities and pauses

    def set_level(self, level: ProcessPriority) -> None:
        """Set the priority of all workers; those that the system does not raise are replaced after their task."""
        with self._lock:
            demands = self.plan.start.demands._replace(priority=level)
            self.plan = self.plan._replace(start=self.plan.start._replace(demands=demands))
            workers = [*self._leased, *self._free]
        for worker in workers:
            if worker.report is None:  # it is lowering itself now, and gets the new one with its first task
                worker.is_spent = level > worker.level
            elif not put_tree_at(level, worker.pid):
                worker.is_spent = True
        with self._lock:
            spent = [worker for worker in self._free if worker.is_spent]
            for worker in spent:
                self._free.remove(worker)
        for worker in spent:
            self.give_back(worker)

    def _may_begin(self) -> bool:
        return (left := self.pausing.reasons.left) is None or len(self._leased) < left

    def wake(self) -> None:
        """Let the threads that wait for a worker check again."""
        with self._lock:
            self._lock.notify_all()

    def sort_out(self, left: int | None) -> tuple[list[Worker], list[Worker]]:
        """Return the workers that must stand still, and the others, if `left` tasks may continue; None: all."""
        with self._lock:
            there = [*self._leased, *self._free]
            # Running workers continue first, and then paused workers in the order of their leases.
            leased = sorted(self._leased, key=lambda each: each.state is State.PAUSED)
            still = [] if left is None else leased[left:] if left else there
            still = [worker for worker in still if not (worker.is_held or worker.is_ending)]
            for worker in leased:
                worker.state = State.PAUSED if worker in still else State.LEASED
            self._lock.notify_all()
            return still, [worker for worker in there if worker not in still]

    def list_still(self) -> set[int]:
        """Return the ids of workers that stand still."""
        with self._lock:
            return {worker.pid for worker in (*self._leased, *self._free) if worker.is_still}

    def reports(self) -> dict[int, WorkerReport | None]:
        """Return the reports of the workers, by process id."""
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
            except TooLongError:  # the worker's next task will notice this
                pass
            except WorkerLostError as error:  # the next task will notice this, but not the reason
                if error.failure is not None:
                    if not self.plan.packing.learn(error.failure.error, worker.version):
                        self.break_for(worker, Exit.FAILED, error.failure)
                    self.lose(worker)
                    continue
            self.give_back(worker)
        with self._lock:
            return {worker.pid: worker.report for worker in (*self._free, *self._leased)}

    # --- messages of workers

    def wait_until_ready(self, worker: Worker) -> None:
        """Wait until a worker is ready for a task; raise as `hear`."""
        while worker.report is None:
            self.hear(worker)

    def hear(self, worker: Worker) -> None:
        """Wait for the next message of a worker that is not ready, and handle it; raise as `Worker.receive_first`."""
        kind, data = worker.receive_first()
        if kind == ToParent.READY:
            worker.report = loads(data)
            if self._waiting:
                self.wake()
        elif kind == ToParent.FAILED:
            raise WorkerLostError(failure=self.plan.packing.load(data))
        elif kind == ToParent.NOTE:
            self.take_note(worker, data)

    def take_note(self, worker: Worker, data: bytes) -> None:
        """Handle a message that is not about the worker's task. An error in it does not affect the task."""
        try:
            note = loads(data)
            kind = type(note)
            if kind is Spent:
                worker.is_spent = True
            elif kind is Shortfall:
                self.plan.warn(note)
            elif kind is Question or kind is Orphans:
                self.plan.packing.take_note(note)
            elif kind is Hold:
                self.pausing.hold(worker, begins=note.begins)
            elif kind is Warned or isinstance(note, LogRecord):
                self._listener.take(note)
        except Exception:  # noqa: BLE001, from the user's classes, handlers and filters
            sys.excepthook(*sys.exc_info())

    # --- the end

    def break_for(self, worker: Worker, how: Exit, failure: StartError | None = None) -> None:
        """Break the pool because of one worker: end all workers, and let all tasks end."""
        worker.wait()  # its log output may still be on the way until it has ended
        silence = handle.alive_within if how is Exit.SILENT else None
        started = worker.report is not None
        text, cause = describe_break(worker.process, self.kills, started=started, failure=failure, silence=silence)
        end_all([each for each in self.abandon(text, cause) if each is not worker.process])

    def abandon(self, text: str, cause: BaseException | None = None) -> list[Any]:
        """Let all tasks end with a BrokenProcessPool when their workers end; the caller must end these processes."""
        with self._lock:
            if self.breakage.text is None:
                self.breakage.text, self.breakage.cause = text, cause
            self._lock.notify_all()
            self.pausing.end()
            return list(self.processes.values())

    def crash_of(self, worker: Worker, name: str, how: Exit) -> WorkerCrashError:
        """Return the error of a task whose worker has died."""
        limit = self.plan.start.demands.memory_limit if how is Exit.LIMITED else None
        end = describe_end(worker.process, self.kills, started=True, memory_limit=limit)
        exitcode = worker.process.exitcode
        return WorkerCrashError(f"The worker process that ran {name} died. {end}", worker.pid, exitcode)

    def _at_work(self) -> list[int]:
        with self._lock:
            return [worker.pid for worker, task in self._leased.items() if task is not None and not worker.is_still]

    def count_tasks(self, mapped: int) -> tuple[int, int]:
        """Return how many tasks are pending, and how many run; `mapped` is the number of unfinished calls of maps."""
        with self._lock:
            running = sum(task is not None for task in self._leased.values())
        return max(self.under_way.count - self.mapping.count + mapped - running, 0), running

    def cancel(self) -> None:
        """Let no further task begin: cancel all tasks that wait for a worker."""
        with self._lock:
            self._is_cancelled = True
            self._lock.notify_all()

    def cancel_unready(self, patience: float) -> None:
        """Cancel the tasks whose workers do not become ready within `patience` seconds."""
        with self._lock:
            self._waiting += 1
            try:
                self._lock.wait_for(lambda: not (self._starting or self._unready()), patience)
            finally:
                self._waiting -= 1
            tasks = self._unready()
        for task in tasks:
            task.stop()

    def _unready(self) -> list[Task]:
        return [task for worker, task in self._leased.items() if worker.report is None and task is not None]

    def interrupt(self) -> None:
        """End all workers during their tasks, and let all tasks end."""
        if os.getpid() != self._pid:
            return
        for each in self.abandon("The program was interrupted."):
            begin_to_end_tree(each)

    def close(self) -> None:
        """End all workers, and wait for their end. Only called when no task is left."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            workers = [*self._free, *self._leased]
            self._free.clear()
            self._leased.clear()
            ended, self._ended = self._ended, []
        self.pausing.end(wait=True)
        for worker in workers:
            worker.finish()
        for worker in (*workers, *ended):
            worker.join()
            worker.state = State.GONE
        self.processes.clear()
        self.plan.start.on_start.forget()
        close(self._own_end)
        close(self._lifeline)
        for end in self.plan.at_end:
            end()
