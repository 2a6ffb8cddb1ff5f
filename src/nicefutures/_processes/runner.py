"""What a thread of the pool does: it lets a worker run a task.

It pickles the task, leases a worker, sends, waits for the answer, unpickles that, and carries out the verdict of
`attempt` on whatever happens. Between a worker and its parent there is one pipe, so a worker that dies takes nothing
with it that another needs, and the thread that waits for it knows whose task it was.

Tasks and the threads that have run one hold the pool's owner: when the last of them has come to its end, and nobody has
the executor any more, the owner goes, and with it the processes.
"""

import contextlib
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, NamedTuple, TypeAlias

from .._map.ordered import Chunk, Done, OrderedMap
from .attempt import Attempt, Exit, Phase, Verdict
from .breakage import WorkerCrashError
from .chunk import run_chunk
from .handle import TooLongError, Worker, WorkerLostError
from .packing import MapFunction
from .pool import Owner, Pool
from .task import StoppedError, Task, name_of
from .transport.parent import Packed
from .wire import StartError, ToParent

# A call (the function, its arguments, and those with names), and the number of the task, as `Keeping` counts them.
ToDo: TypeAlias = tuple[Any, int]

# Seconds that a program has to cancel what waits after a Ctrl-C.
_TIME_TO_CANCEL: Final = 0.2


class _Here(threading.local):
    """What a thread of a pool has."""

    owner: Owner | None = None


_here: Final = _Here()


def runs_in(pool: Pool | None) -> bool:
    """Return whether the calling thread is one of a pool."""
    return _here.owner is not None and _here.owner.pool is pool


def submit_to(
    threads: ThreadPoolExecutor, owner: Owner, run: Callable[..., Any], to_do: Any, *args: Any
) -> Future[Any]:
    """Let a thread of the pool run something that takes it, and the owner, from a list."""
    pool = owner.pool
    pool.under_way.begin()
    try:
        pool.prepare()
        future = threads.submit(run, [to_do, owner], *args)
    except BaseException:
        pool.under_way.end()
        raise
    future.add_done_callback(pool.under_way.end)
    return future


def run_owned(owned: list[Any], task: Task) -> Any:
    """Let a worker run a task, in a thread that has the pool from now on.

    The task's `ToDo` and the pool's owner come in a list, and are taken from there: they are to be in no frame, for
    these are in the tracebacks of errors, which anybody may keep.
    """
    is_first = _here.owner is not owned[-1]
    _here.owner = owned.pop()
    if is_first:
        _here.owner.pool.plan.packing.enter()
    return _run(_here.owner.pool, task, owned)


class HowToMap(NamedTuple):
    """How chunks of a map are sent.

    Attributes
    ----------
    function : MapFunction
        What is called.
    options : dict
        Of `run_chunk`.
    number : int
        When it was submitted, as `Keeping` counts.
    key : object
        Stands for the executor.
    """

    function: MapFunction
    options: dict[str, Any]
    number: int
    key: object


def run_map(owned: list[Any], reference: "weakref.ref[ThreadPoolExecutor]") -> None:
    """Let workers make calls of a map for as long as there are any, as `run_owned`.

    Parameters
    ----------
    owned : list
        The map, and the pool's owner.
    reference : weakref.ref
        To the threads of the pool.
    """
    owner = _here.owner = owned.pop()
    calls: OrderedMap[Any] = owned.pop()

    def spawn() -> None:
        threads = reference()
        if threads is not None:
            with contextlib.suppress(RuntimeError):  # it takes nothing more: those that run do it
                submit_to(threads, owner, run_map, calls, reference)

    owner.pool.plan.packing.enter()
    while (chunk := calls.take()) is not None:
        _run_chunk(owner.pool, calls, chunk, spawn)


def _run_chunk(pool: Pool, calls: OrderedMap[Any], chunk: Chunk, spawn: Callable[[], None]) -> None:
    def hand_back(first: int) -> None:
        if calls.hand_back(chunk, first):
            spawn()

    how: HowToMap = calls.how
    run: _Run | None = None
    try:
        pool.breakage.raise_if_broken()
        function = how.function.get(pool.plan.packing, how.number)
        is_single = len(chunk.calls) == 1
        call: Any = (function, chunk.calls[0], {}) if is_single else (run_chunk, (function, chunk.calls), how.options)
        run = _Run(pool, Task(how.key), (call, how.number), hand_back)
        began = time.perf_counter()
        answer = run.run()
        if answer.kind == ToParent.RESULT:
            done = Done([answer.value], None, 1, time.perf_counter() - began) if is_single else answer.value
            _give_time_to_cancel(done.error)
            calls.finish(chunk, done)
            return
        error = answer.value
        _give_time_to_cancel(error)
        has_begun = answer.kind != ToParent.UNREADABLE
    except BaseException as reason:  # noqa: BLE001, who takes the results has it
        error = reason.with_traceback(None)  # whose frames have the pool
        error.__context__ = None
        has_begun = run is None or run.is_packed
    if not has_begun and calls.hand_back(chunk, (len(chunk.calls) + 1) // 2):
        calls.again(chunk)  # one of the calls cannot be sent: the others can
    else:
        calls.fail(chunk, error)
        if pool.breakage.text is not None or isinstance(error, StoppedError):
            calls.end(error)


def _give_time_to_cancel(error: BaseException | None) -> None:
    """Wait after a Ctrl-C, which has reached who submitted, too: what waits is not to begin before it is cancelled."""
    if isinstance(error, KeyboardInterrupt):
        time.sleep(_TIME_TO_CANCEL)


class Parts:
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

    def add(self, result: Any) -> None:
        """Take one more."""
        if self._failure is None:
            self.results.append(result)
        else:
            self._unknown += 1

    def fail(self, reason: BaseException) -> None:
        """One cannot be had."""
        self._failure = self._failure or reason
        self._unknown += 1

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


class _Answer(NamedTuple):
    """What a worker has said to a task."""

    kind: int
    value: Any


def _run(pool: Pool, task: Task, owned: list[ToDo]) -> Any:
    """Return or raise what a task does.

    Raises
    ------
    BrokenProcessPool
        If its worker has died, or another before; or if something cannot be unpickled.
    WorkerCrashError
        If its worker has died, and that is no more than an error of the task.
    TimeoutError
        If the task has run for too long.
    StoppedError
        If it was stopped.
    """
    try:
        pool.breakage.raise_if_broken()
        answer = _Run(pool, task, owned.pop()).run()
    except BaseException as error:
        if not task.settle():
            raise StoppedError from None
        if isinstance(error, WorkerCrashError | BrokenProcessPool | TimeoutError):
            # Who keeps the error shall not keep the task, which is in the frames.
            error.__context__ = error.__traceback__ = None
        raise
    if answer.kind == ToParent.RESULT:
        return answer.value
    if pool.under_way.count > len(pool.processes):
        _give_time_to_cancel(answer.value)
    try:
        raise answer.value
    finally:
        del answer


class _Run:
    """One task, with one worker after the other."""

    def __init__(self, pool: Pool, task: Task, to_do: ToDo, hand_back: Callable[[int], None] | None = None) -> None:
        self._pool = pool
        self._task = task
        self._hand_back = hand_back
        self._first_sent = 0
        self.is_packed = False
        self._call, self._number = to_do
        self._packed: Packed | None = None
        self._attempt = Attempt(pool.plan.policy)
        self._parts: Parts | None = None

    def run(self) -> _Answer:
        """Return the answer of a worker."""
        try:
            answer = None
            while answer is None:
                answer = self._exchange(self._pack())
            return answer
        finally:
            self._end_packed()
            self._call = None  # the traceback has this object

    def _pack(self) -> Packed:
        if self._packed is None:
            pool, (fn, args, kwargs) = self._pool, self._call
            first = self._attempt.first
            call = (fn, (args[0], args[1][first:]), kwargs) if first else self._call
            self._packed = pool.plan.packing.pack(call, self._number)
            self._first_sent, self.is_packed = first, True
        return self._packed

    def _end_packed(self) -> None:
        packed, self._packed = self._packed, None
        if packed is not None and packed.needs is not None:
            packed.needs.end()

    def _exchange(self, packed: Packed) -> _Answer | None:
        """Return the answer of one worker; None: another one is to try."""
        pool, task, attempt = self._pool, self._task, self._attempt
        worker = pool.lease(task)
        is_fit = is_dead = False
        try:
            try:
                while worker.report is None:
                    pool.hear(worker)
                attempt.ready()
                worker.send(packed)
                attempt.sent()
                kind, data = self._listen(worker)
                worker.tasks += 1
                is_fit = True  # for another task
                answer: _Answer | None = self._load(kind, data)
                attempt.answer()
            except WorkerLostError as error:
                is_dead = True
                task.release()
                answer = self._lose(worker, error)
            except TooLongError:
                task.release()
                worker.end()
                is_dead = True
                answer = self._give_up(worker)
            if attempt.verdict is None:
                task.release()
            else:
                task.settle_or_raise()
        except BaseException:
            is_fit = is_fit and task.settle()
            if not (is_fit or is_dead or task.is_stopped):
                worker.end()  # it would answer the next task with what it says of this one
            raise
        finally:
            if is_fit and not task.is_stopped:
                pool.give_back(worker)
            else:
                pool.lose(worker)
        return answer

    def _listen(self, worker: Worker) -> tuple[int, bytes]:
        """Wait for the answer."""
        attempt, limit = self._attempt, self._pool.plan.task_timeout
        deadline: float | None = None
        while True:
            kind, data = worker.receive(deadline)
            if kind >= ToParent.RESULT:
                return kind, data
            if kind == ToParent.BEGUN:
                attempt.begun()
            elif kind == ToParent.REST:
                if self._hand_back is not None:
                    self._hand_back(self._first_sent + pickle.loads(data))  # noqa: S301, a number
                continue
            elif kind == ToParent.PART:
                attempt.part()
                self._parts = self._parts or Parts()
                self._take_part(self._parts, data)
            else:
                self._pool.take_note(worker, data)
                continue
            deadline = None if limit is None else time.monotonic() + limit

    def _take_part(self, parts: Parts, data: bytes) -> None:
        try:
            parts.add(self._pool.plan.packing.load(data))
        except BaseException as error:  # noqa: BLE001, whatever is in it
            parts.fail(_no_result(error))

    def _load(self, kind: int, data: bytes) -> _Answer:
        try:
            if kind == ToParent.PLAIN:
                return _Answer(ToParent.RESULT, pickle.loads(data))  # noqa: S301, from a worker
            value = self._pool.plan.packing.load(data)
        except BaseException as error:
            raise _no_result(error) from error
        if self._parts is not None and type(value) is Done:
            value = self._parts.before(value)
        return _Answer(kind, value)

    # --- verdicts on what went wrong

    def _lose(self, worker: Worker, error: WorkerLostError) -> _Answer | None:
        """Carry out what becomes of the task; its worker has died."""
        pool, attempt, call = self._pool, self._attempt, self._call
        worker.wait()
        how = worker.how(pool.kills) if error.failure is None else Exit.FAILED
        if self._parts is not None and attempt.first == len(call[1][1]):  # it has died too late
            attempt.answer()
            return _Answer(ToParent.RESULT, self._parts.before(Done([])))
        pool.breakage.raise_if_broken()  # who has broken it has ended this worker
        return self._judge(worker, how, attempt.lost(how, unread=error.unread), error.failure)

    def _give_up(self, worker: Worker) -> _Answer | None:
        """Carry out what becomes of the task; its worker took too long, and was ended."""
        if self._attempt.phase is Phase.STARTING:
            return self._judge(worker, Exit.SILENT, self._attempt.lost(Exit.SILENT))
        limit = self._pool.plan.task_timeout
        msg = f"{name_of(self._call)} ran longer than task_timeout={limit} s, so its worker was terminated."
        self._attempt.deadline()
        return self._fail(TimeoutError(msg))

    def _judge(self, worker: Worker, how: Exit, verdict: Verdict, failure: StartError | None = None) -> _Answer | None:
        if verdict is Verdict.BREAK:
            self._pool.break_for(worker, how, failure)
            self._pool.breakage.raise_if_broken()
        if verdict is Verdict.RESEND and not (self._parts is not None and self._parts.has_failed):
            if self._attempt.first:
                self._end_packed()  # some calls are done
            self._pool.prepare()  # for all that have died: what keeps killing workers shall not find one alone
            return None
        return self._fail(self._pool.crash_of(worker, name_of(self._call), how))

    def _fail(self, error: Exception) -> _Answer:
        """Return or raise an error of the task, or of a call of a chunk."""
        self._attempt.answer()
        fn, _, kwargs = self._call
        if fn is not run_chunk or "tells" not in kwargs:
            raise error
        return _Answer(ToParent.RESULT, (self._parts or Parts()).before(Done([], error, 1)))


def _no_result(error: BaseException) -> BrokenProcessPool:
    failure = BrokenProcessPool(
        f"The result could not be unpickled in this process: {type(error).__name__}: {error}. "
        "The task itself has finished. The pool continues."
    )
    failure.__cause__ = error
    return failure
