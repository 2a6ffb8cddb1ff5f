"""The code of a pool's threads: each lets a worker run a task.

A thread pickles the task, leases a worker, sends, waits, unpickles the answer, and carries out `attempt`'s verdict.

Tasks, and threads that have run a task, refer to the pool's owner. When the last of them has ended, and no reference to
the executor is left, the owner is deleted, which ends the processes.
"""

import contextlib
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, NamedTuple

from .._map.ordered import Chunk, Done, Failed, OrderedMap
from .._originals import now
from .attempt import Attempt, Exit, Phase, Verdict
from .breakage import WorkerCrashError, log_retry
from .chunk import run_chunk
from .handle import TooLongError, Worker, WorkerLostError
from .once import name_of
from .owner import Owner
from .packing import MapFunction
from .pool import Pool
from .task import StoppedError, Task, TaskFuture, Threads, UnderWay
from .transport.parent import Packed
from .wire import StartError, ToParent

# Seconds that a program has after a Ctrl-C to cancel its pending tasks.
_TIME_TO_CANCEL: Final = 0.2


class _Here(threading.local):
    """State of a thread of a pool."""

    owner: Owner | None = None


_here: Final = _Here()


def runs_in(pool: Pool | None) -> bool:
    """Return whether the calling thread is a thread of this pool."""
    return _here.owner is not None and _here.owner.pool is pool


def submit_task(threads: Threads, owner: Owner, call: Any, number: int, key: object) -> TaskFuture:
    """Let a thread of the pool run a call; `number` is counted by `Keeping`, and `key` identifies the executor."""
    task = Task(key, owner.pool.under_way)
    task.call, task.number, task.owner = call, number, owner
    future: TaskFuture = _submit(threads, owner, (owner.pool.under_way,), run_owned, task)
    future.task = task
    future.add_done_callback(task)
    return future


def submit_map(threads: ThreadPoolExecutor, owner: Owner, calls: OrderedMap[Any]) -> None:
    """Let one more thread of the pool make calls of a map."""
    counts = owner.pool.under_way, owner.pool.mapping
    future = _submit(threads, owner, counts, run_map, [calls, owner], weakref.ref(threads))
    for each in counts:
        future.add_done_callback(each.end)


def _submit(
    threads: ThreadPoolExecutor, owner: Owner, counts: tuple[UnderWay, ...], run: Callable[..., Any], *args: Any
) -> Any:
    for each in counts:
        each.begin()
    try:
        owner.pool.prepare()
        return threads.submit(run, *args)
    except BaseException:
        for each in counts:
            each.end()
        raise


def run_owned(task: Task) -> Any:
    """Let a worker run a task, in a thread that refers to the pool's owner from now on.

    The call and the owner are taken out of the task, and no frame refers to them: frames are in the tracebacks of
    errors, which the program may keep.
    """
    is_first = _here.owner is not task.owner
    _here.owner, task.owner = task.owner, None
    if is_first:
        _here.owner.pool.plan.packing.enter()
    return _run(_here.owner.pool, task)


class HowToMap(NamedTuple):
    """How chunks of a map are sent."""

    function: MapFunction
    options: dict[str, Any]  # of `run_chunk`
    key: object  # identifies the executor


def run_map(owned: list[Any], reference: "weakref.ref[ThreadPoolExecutor]") -> None:
    """Let workers make calls of a map until none is left, as `run_owned`; `owned` has the map, and the pool's owner."""
    owner = _here.owner = owned.pop()
    calls: OrderedMap[Any] = owned.pop()

    def spawn() -> bool:
        threads = reference()
        with contextlib.suppress(RuntimeError):  # after shutdown: the running threads make the calls
            if threads is not None:
                submit_map(threads, owner, calls)
                return True
        return False

    owner.pool.plan.packing.enter()
    chunk: Chunk | None = None
    try:
        while (chunk := calls.take()) is not None:
            _run_chunk(owner.pool, calls, chunk, spawn)
            if calls.is_buffered and spawn():  # tasks that were submitted before its next input come first
                return
    except BaseException as error:  # noqa: BLE001, such as a MemoryError: the results must not wait for this thread
        calls.end(error.with_traceback(None), chunk)


def _run_chunk(pool: Pool, calls: OrderedMap[Any], chunk: Chunk, spawn: Callable[[], object]) -> None:
    def hand_back(first: int) -> None:
        if calls.hand_back(chunk, first):
            spawn()

    how: HowToMap = calls.how

    def tell(results: list[Any]) -> None:
        calls.tell(chunk, results)

    run: _Run | None = None
    try:
        pool.breakage.raise_if_broken()
        function = how.function.get(pool.plan.packing, chunk.number, chunk.calls)
        is_single = len(chunk.calls) == 1
        call: Any = (function, chunk.calls[0], {}) if is_single else (run_chunk, (function, chunk.calls), how.options)
        run = _Run(pool, Task(how.key), chunk.number, call, hand_back, tell)
        began = now()
        answer = run.run()
        if answer.kind == ToParent.RESULT:
            done = Done([answer.value], now() - began) if is_single else answer.value
            for last in done.results[-1:]:
                _give_time_to_cancel(last.error if type(last) is Failed else None)
            calls.finish(chunk, done)
            return
        error = answer.value
        _give_time_to_cancel(error)
        has_begun = answer.kind != ToParent.UNREADABLE
    except BaseException as reason:  # noqa: BLE001, the results raise it
        error = reason.with_traceback(None)  # its frames refer to the pool
        error.__context__ = None
        has_begun = run is None or run.is_packed
    results = [] if run is None else run.results
    if not has_begun and (results or len(chunk.calls) > 1):
        if not results:
            hand_back((len(chunk.calls) + 1) // 2)  # only one of the calls may be at fault
        calls.finish(chunk, Done(results))
    else:
        calls.fail(chunk, error, results)
        if pool.breakage.text is not None or isinstance(error, StoppedError):
            calls.end(error)


def _give_time_to_cancel(error: BaseException | None) -> None:
    """Wait after a Ctrl-C, which the program gets, too, so that it can cancel pending tasks before they begin."""
    if isinstance(error, KeyboardInterrupt):
        time.sleep(_TIME_TO_CANCEL)


class _Answer(NamedTuple):
    """A worker's answer to a task."""

    kind: int
    value: Any


def _run(pool: Pool, task: Task) -> Any:
    """Return the result of a task, or raise its exception, or one of the pool."""
    try:
        pool.breakage.raise_if_broken()
        answer = _Run(pool, task, task.number, task.take_call()).run()
    except BaseException as error:
        if not task.settle():
            raise StoppedError from None
        if isinstance(error, WorkerCrashError | BrokenProcessPool | TimeoutError):
            # A reference to the error must not keep the task, which is in the frames.
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
    """One task, which is sent to one worker after the other."""

    def __init__(
        self,
        pool: Pool,
        task: Task,
        number: int,
        call: Any,
        hand_back: Callable[[int], None] | None = None,
        tell: Callable[[list[Any]], None] | None = None,
    ) -> None:
        self._pool = pool
        self._task = task
        self._hand_back, self._tell = hand_back, tell  # of a chunk
        self._first_sent = 0
        self.is_packed = False
        self._call, self._number = call, number
        self._packed: Packed | None = None
        self._version = 0  # of the `Names` that workers find
        self._attempt = Attempt(pool.plan.on_crash, pool.plan.max_workers)
        self.results: list[Any] = []  # of a chunk: those that workers have reported

    def run(self) -> _Answer:
        """Return the answer of a worker."""
        try:
            answer = None
            while answer is None:
                answer = self._exchange(self._pack())
            return answer
        finally:
            self._end_packed()
            self._call = None  # a traceback may refer to this object

    def _pack(self) -> Packed:
        if self._packed is None:
            pool, (fn, args, kwargs) = self._pool, self._call
            first = self._attempt.first
            call = (fn, (args[0], args[1][first:]), kwargs) if first else self._call
            self._version = pool.plan.packing.names.version
            self._packed = pool.plan.packing.pack(call, self._number)
            self._first_sent, self.is_packed = first, True
            if self._packed.calls is not None and self._hand_back is not None:
                self._hand_back(first + self._packed.calls)
        return self._packed

    def _end_packed(self) -> None:
        packed, self._packed = self._packed, None
        if packed is not None and packed.needs is not None:
            packed.needs.end()

    def _exchange(self, packed: Packed) -> _Answer | None:
        """Return the answer of one worker; None: another worker must try."""
        pool, task, attempt = self._pool, self._task, self._attempt
        worker = pool.lease(task)
        is_fit = is_dead = False
        try:
            try:
                pool.wait_until_ready(worker)
                attempt.ready()
                worker.send(packed, pool.plan.start.demands.priority)
                attempt.sent()
                kind, data = self._listen(worker)
                worker.tasks += 1
                is_fit = True  # for another task
                loaded = self._load(kind, data)
                is_final = kind != ToParent.UNREADABLE or not self._learns(loaded.value, self._version)
                answer = loaded if is_final else None
                if is_final:
                    attempt.answer()
                else:
                    attempt.unreadable()
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
                worker.end()  # otherwise its answer would be taken for that to its next task
            raise
        finally:
            if is_fit and not task.is_stopped:
                pool.give_back(worker)
            else:
                pool.lose(worker)
        return answer

    def _listen(self, worker: Worker) -> tuple[int, bytes]:
        """Wait for the answer, and handle other messages."""
        attempt, limit = self._attempt, self._pool.plan.task_timeout
        deadline: float | None = None
        while True:
            kind, data = worker.receive(deadline)
            if self._pool.breakage.text is not None:  # the pool ends it, and its SIGTERM handler may have replied
                worker.close()
                raise WorkerLostError
            if kind >= ToParent.RESULT:
                return kind, data
            if kind == ToParent.BEGUN:
                attempt.begun()
            elif kind == ToParent.REST:
                if self._hand_back is not None:
                    self._hand_back(self._first_sent + pickle.loads(data))  # noqa: S301, a number
                continue
            elif kind == ToParent.PART:
                results = self._open(self._pool.plan.packing.load(data))
                self.results += results
                attempt.part(len(results))
                if self._tell is not None:
                    self._tell(results)
            else:
                self._pool.take_note(worker, data)
                if worker.is_held or worker.asks:
                    attempt.begun()
                continue
            deadline = None if limit is None else worker.clock() + limit

    def _open(self, results: list[Any]) -> list[Any]:
        """Return the results of a chunk that a worker has sent."""
        load = self._pool.plan.packing.load
        for index, each in enumerate(results):
            if type(each) is bytes:
                try:
                    results[index] = load(each)
                except BaseException as error:  # noqa: BLE001, unpickling may raise anything
                    results[index] = Failed(_no_result(error))
        return results

    def _load(self, kind: int, data: bytes) -> _Answer:
        try:
            if kind == ToParent.PLAIN:
                return _Answer(ToParent.RESULT, pickle.loads(data))  # noqa: S301, from a worker
            value = self._pool.plan.packing.load(data)
        except BaseException as error:
            raise _no_result(error) from error
        if type(value) is Done:
            self.results += self._open(value.results)
            value = value._replace(results=self.results)
        return _Answer(kind, value)

    def _learns(self, error: BaseException, version: int) -> bool:
        """Return whether a new pickle may help a worker that has not found a name."""
        if not self._pool.plan.packing.learn(error, version):
            return False
        self._end_packed()
        return True

    # --- verdicts after a failure

    def _lose(self, worker: Worker, error: WorkerLostError) -> _Answer | None:
        """Carry out the verdict on a task whose worker has died."""
        pool, attempt, call = self._pool, self._attempt, self._call
        worker.wait()
        if error.failure is not None and self._learns(error.failure.error, worker.version):
            return None
        how = worker.how(pool.kills) if error.failure is None else Exit.FAILED
        if attempt.first and attempt.first == len(call[1][1]):  # all its calls had returned
            attempt.answer()
            return _Answer(ToParent.RESULT, Done(self.results))
        pool.breakage.raise_if_broken()  # the thread that broke the pool has ended this worker
        return self._judge(worker, how, attempt.lost(how, unread=error.unread), error.failure)

    def _give_up(self, worker: Worker) -> _Answer | None:
        """Carry out the verdict on a task whose worker took too long and was ended."""
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
        if verdict is Verdict.RESEND:
            if self._call[0] is run_chunk:
                self._end_packed()  # some calls are done, or other workers make them
            if self._attempt.crashes:
                log_retry(self._pool.crash_of(worker, name_of(self._call), how))
            self._pool.prepare()  # replace all dead workers: a program that kills workers must not find one alone
            return None
        return self._fail(self._pool.crash_of(worker, name_of(self._call), how))

    def _fail(self, error: Exception) -> _Answer:
        """Return or raise an error of the task, or of a call of a chunk."""
        self._attempt.answer()
        fn, _, kwargs = self._call
        if fn is not run_chunk or not kwargs["tells"]:
            raise error
        return _Answer(ToParent.RESULT, Done([*self.results, Failed(error)]))


def _no_result(error: BaseException) -> BrokenProcessPool:
    failure = BrokenProcessPool(
        f"The result could not be unpickled in this process: {type(error).__name__}: {error}. "
        "The task itself has finished. The pool continues."
    )
    failure.__cause__ = error
    return failure
