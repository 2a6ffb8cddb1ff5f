"""The contract of concurrent.futures on which clients rely, for our executors and the stdlib's as a reference."""

import asyncio
import concurrent.futures
import functools
import inspect
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest

import tasks
from marks import FRESH, INTERPRETER_POOLS, METHODS, SPARE, needs_interpreters, one_less, posix_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import (
    add,
    die,
    die_hard,
    fail,
    fail_at,
    hold_until,
    recall_and_identify,
    recall_later,
    remember,
    sleep_and_return,
)

pytestmark = [pytest.mark.every_python, pytest.mark.asks_for_fork]

QUICK = get_context("fork" if "fork" in METHODS else "spawn")
POOLS = {
    **{f"ours-{m}": functools.partial(LowPriorityProcessPoolExecutor, mp_context=get_context(m)) for m in METHODS},
    "stdlib": functools.partial(ProcessPoolExecutor, mp_context=QUICK),
    "ours-threads": PriorityThreadPoolExecutor,
    "ours-threads-target": functools.partial(PriorityThreadPoolExecutor, latency_target=0.005),
    "stdlib-threads": ThreadPoolExecutor,
    # Each value of on_denied takes its own path into the worker.
    "ours-raise": functools.partial(LowPriorityProcessPoolExecutor, mp_context=QUICK, on_denied="raise"),
    "ours-ignore": functools.partial(LowPriorityProcessPoolExecutor, mp_context=QUICK, on_denied="ignore"),
    "ours-threads-raise": functools.partial(PriorityThreadPoolExecutor, on_denied="raise"),
}
for _pool in INTERPRETER_POOLS:
    POOLS |= {"ours-threads-interpreters": _pool, "stdlib-threads-interpreters": _pool.__bases__[-1]}
PROCESS_POOLS = {name: pool for name, pool in POOLS.items() if "threads" not in name}


def each(pools):
    marked = [pytest.param(pool, marks=[thorough] * (name == f"ours-{SPARE}"), id=name) for name, pool in pools.items()]
    return pytest.mark.parametrize("pool", marked)


every_pool = each(POOLS)
every_process_pool = each(PROCESS_POOLS)


@pytest.fixture
def gate(tmp_path):
    """Return a file for which tasks wait."""
    return tmp_path / "gate"


@every_pool
def test_submit(pool):
    """A future gives the result; positional and keyword arguments are passed on, also a keyword `fn`."""
    with pool(2) as executor:
        future = executor.submit(add, 1, b=2, c=3)
        assert isinstance(future, Future)
        assert future.result() == 6
        assert executor.submit(dict, fn=1, self=2).result() == {"fn": 1, "self": 2}


@every_pool
def test_exception(pool):
    """An exception comes back as itself, and the pool continues."""
    with pool(1) as executor:
        with pytest.raises(KeyError, match="what"):
            executor.submit(fail, "what").result()
        assert executor.submit(add, 1).result() == 1


@every_process_pool
def test_exception_cause(pool):
    """The worker's traceback is the cause of the exception."""
    with pool(1) as executor:
        error = executor.submit(fail, "what").exception()
    assert "in fail" in str(error.__cause__)


@every_pool
def test_map(pool):
    """Results come in the order of the arguments, and the shortest iterable ends the map."""
    with pool(2) as executor:
        delays = [0.1, 0.0, 0.05]
        assert list(executor.map(sleep_and_return, delays, "abcd")) == ["a", "b", "c"]
        assert list(executor.map(add, range(20), range(20), chunksize=3)) == list(range(0, 40, 2))


@every_pool
def test_map_exception(pool):
    """The results before a failing item are delivered, then its exception, then nothing."""
    with pool(2) as executor:
        results = executor.map(functools.partial(fail_at, 2), range(10))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="2"):
            next(results)
        assert list(results) == []


@every_pool
def test_map_timeout(pool, gate):
    """A late result is a TimeoutError."""
    with pool(1) as executor:
        assert list(executor.map(add, [1, 2], timeout=PATIENCE)) == [1, 2]
        results = executor.map(hold_until, [gate], timeout=0.1)
        with pytest.raises(TimeoutError):
            next(results)
        gate.touch()


@every_pool
def test_order_and_cancel(pool, gate):
    """Tasks start in the order of submission, and a waiting task can be cancelled."""
    with pool(1) as executor:
        done = []
        futures = [executor.submit(hold_until, gate, i) for i in range(6)]
        assert futures[-1].cancel()
        for future in futures[:-1]:
            future.add_done_callback(lambda future: done.append(future.result()))
        gate.touch()
        assert {future.result() for future in concurrent.futures.as_completed(futures[:-1])} == {0, 1, 2, 3, 4}
        executor.shutdown()
        assert done == [0, 1, 2, 3, 4]
        with pytest.raises(concurrent.futures.CancelledError):
            futures[-1].result()


@every_pool
def test_wait(pool, gate):
    """Futures work with concurrent.futures.wait."""
    with pool(2) as executor:
        slow, quick = executor.submit(hold_until, gate), executor.submit(add, 1)
        done, waiting = concurrent.futures.wait([slow, quick], return_when=concurrent.futures.FIRST_COMPLETED)
        assert (done, waiting) == ({quick}, {slow})
        gate.touch()
        assert concurrent.futures.wait([slow, quick]).done == {slow, quick}


@every_pool
def test_shutdown(pool):
    """After shutdown no task can be submitted, submitted tasks are finished, and a second shutdown does no harm."""
    executor = pool(2)
    futures = [executor.submit(sleep_and_return, 0.02, i) for i in range(6)]
    executor.shutdown()
    assert [future.result(timeout=0) for future in futures] == list(range(6))
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    executor.shutdown()


@every_pool
def test_shutdown_without_waiting(pool, gate):
    """shutdown(wait=False) returns at once, and submitted tasks are still finished."""
    executor = pool(1)
    futures = [executor.submit(hold_until, gate, i) for i in range(4)]
    executor.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    gate.touch()
    assert [future.result() for future in futures] == [0, 1, 2, 3]


@every_pool
def test_shutdown_twice(pool, gate):
    """After shutdown(wait=False), a second shutdown in a future's callback does not hang."""
    executor = pool(1)
    future = executor.submit(hold_until, gate, 1)
    future.add_done_callback(lambda _: executor.shutdown(wait="Process" in repr(pool)))
    executor.shutdown(wait=False)
    gate.touch()
    assert future.result() == 1


@every_pool
def test_shutdown_cancels(pool, gate):
    """shutdown(cancel_futures=True) cancels the tasks that have not started, and loses none."""
    executor = pool(1)
    futures = [executor.submit(add, 7), *(executor.submit(hold_until, gate, i) for i in range(20))]
    assert futures[0].result() == 7
    with ThreadPoolExecutor(1) as other:
        ending = other.submit(executor.shutdown, cancel_futures=True)
        wait_until(futures[-1].cancelled)
        gate.touch()
        ending.result()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures[1:] if not future.cancelled()] in ([], [0], [0, 1], [0, 1, 2])


@each({name: pool for name, pool in POOLS.items() if "stdlib" not in name})
def test_tasks(pool, gate):
    """tasks() counts the waiting and the running tasks, including the calls of maps."""
    with pool(2) as executor:
        assert executor.tasks() == (0, 0)
        futures = [executor.submit(hold_until, gate, i) for i in range(5)]
        wait_until(lambda: executor.tasks() in [(3, 2), (4, 1)])  # one at a time with a latency target
        results = executor.map(hold_until, [gate] * 4, range(4))
        assert sum(executor.tasks()) == 9
        if isinstance(executor, ProcessPoolExecutor):
            assert len(executor._pending_work_items) == 9
        assert futures[-1].cancel()
        gate.touch()
        assert list(results) == [0, 1, 2, 3]
        wait_until(lambda: executor.tasks() == (0, 0))


@every_pool
def test_shutdown_unused(pool):
    """An executor without a task, shut down or forgotten, does nothing."""
    with pool(2):
        pass
    pool(2).shutdown(wait=False)
    pool(2)


@every_pool
def test_forgotten(pool):
    """An executor that is not shut down finishes its tasks and leaves nothing behind."""
    future = pool(2).submit(sleep_and_return, 0.05, "done")
    assert future.result() == "done"


@every_pool
def test_initializer(pool, tmp_path):
    """Each worker runs the initializer with its arguments before its first task."""
    with pool(2, initializer=remember, initargs=("a", tmp_path)) as executor:
        assert set(executor.map(recall_later, range(8))) == {("a", tmp_path)}


@every_pool
def test_initializer_fails(pool):
    """An initializer that raises breaks the pool, for futures that wait and for the next submit."""
    with pool(2, initializer=fail, initargs=("no",)) as executor:
        future = submit_or_broken(executor)
        with pytest.raises(BrokenExecutor):
            future.result()
        with pytest.raises(BrokenExecutor):
            executor.submit(add, 1)


def submit_or_broken(executor):
    try:
        return executor.submit(add, 1)
    except BrokenExecutor as error:
        future = Future()
        future.set_exception(error)
        return future


@every_process_pool
@pytest.mark.parametrize("death", [die, pytest.param(die_hard, marks=posix_only)])
def test_killed_worker(pool, death):
    """If a worker dies during a task, all pending tasks end with a BrokenProcessPool, and nothing hangs."""
    with pool(2) as executor:
        futures = [executor.submit(sleep_and_return, PATIENCE, 0), executor.submit(death), executor.submit(add, 1)]
        for future in (futures[0], futures[1]):
            with pytest.raises(BrokenProcessPool):
                future.result(PATIENCE)
        with pytest.raises(BrokenProcessPool):
            executor.submit(add, 1)


@every_process_pool
def test_unpicklable(pool):
    """If an argument or a result cannot be pickled, only that task fails."""
    with pool(1) as executor:
        with pytest.raises(TypeError, match="not to be pickled"):
            executor.submit(add, tasks.Unpicklable()).result()
        with pytest.raises(TypeError, match="not to be pickled"):
            executor.submit(tasks.Unpicklable).result()
        assert executor.submit(add, 1).result() == 1


@pytest.mark.parametrize("method", one_less(FRESH))
@pytest.mark.parametrize("kind", [LowPriorityProcessPoolExecutor, ProcessPoolExecutor])
def test_max_tasks_per_child(kind, method):
    """A worker is replaced after its tasks, and the initializer runs in each."""
    with kind(1, get_context(method), remember, ("x",), max_tasks_per_child=1) as executor:
        answers = list(executor.map(recall_and_identify, range(3)))
    assert {values for values, _ in answers} == {("x",)}
    assert len({pid for _, pid in answers}) == 3


@pytest.mark.parametrize("method", one_less(FRESH))
def test_max_tasks_per_child_backlog(method):
    """Replaced workers finish a backlog; the stdlib of Python 3.11 to 3.13 may hang (python/cpython#115634)."""
    with LowPriorityProcessPoolExecutor(2, get_context(method), max_tasks_per_child=2) as executor:
        pids = [pid for _, pid in executor.map(recall_and_identify, range(12))]
    assert max(map(pids.count, pids)) == 2


@every_process_pool
def test_nested(pool):
    """A worker may have its own workers."""
    with pool(1) as executor:
        assert executor.submit(tasks.nested, 1).result() == 2


@every_pool
def test_many_threads_submit(pool):
    """Several threads may submit at once."""
    with pool(2) as executor, ThreadPoolExecutor(4) as submitters:
        futures = list(submitters.map(lambda i: executor.submit(add, i), range(200)))
        assert [future.result() for future in futures] == list(range(200))


@every_pool
def test_asyncio(pool):
    """An event loop can run calls in the executor."""

    async def use(executor):
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, add, i, 1) for i in range(5)))

    with pool(2) as executor:
        assert asyncio.run(use(executor)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "kind",
    [
        "LowPriorityProcessPoolExecutor",
        "PriorityThreadPoolExecutor",
        pytest.param("PriorityInterpreterPoolExecutor", marks=needs_interpreters),
    ],
)
@pytest.mark.parametrize(
    "ending", ["", "executor.shutdown(wait=False)", "del executor"], ids=["nothing", "no wait", "forgotten"]
)
def test_interpreter_exit(kind, ending):
    """If the interpreter ends before its tasks, they are finished first, and it does end."""
    code = f"""
import time
from nicefutures import {kind}
if __name__ == "__main__":
    executor = {kind}(2)
    executor.submit(time.sleep, 0.2).add_done_callback(lambda future: print("done", future.exception(), flush=True))
    {ending}
"""
    assert run_python(code).split() == ["done", "None"]


@pytest.mark.parametrize(
    ("ours", "stdlib"),
    [
        (LowPriorityProcessPoolExecutor, ProcessPoolExecutor),
        (PriorityThreadPoolExecutor, ThreadPoolExecutor),
        *((pool, pool.__bases__[-1]) for pool in INTERPRETER_POOLS),
    ],
)
def test_signatures(ours, stdlib):
    """Arguments have the stdlib's names, order and defaults; new arguments are keyword-only."""
    assert issubclass(ours, stdlib)
    theirs = [p.replace(annotation=p.empty) for p in inspect.signature(stdlib).parameters.values()]
    mine = {name: p.replace(annotation=p.empty) for name, p in inspect.signature(ours).parameters.items()}
    positional = [p for p in theirs if p.kind == p.POSITIONAL_OR_KEYWORD]
    assert list(mine.values())[: len(positional)] == positional
    new = mine.keys() - {p.name for p in theirs}
    assert new >= {"priority", "on_denied"}
    assert all(mine[name].kind == inspect.Parameter.KEYWORD_ONLY for name in new)
    for method in ("submit", "shutdown"):
        theirs = inspect.signature(getattr(stdlib, method)).parameters
        assert [(p.name, p.kind, p.default) for p in inspect.signature(getattr(ours, method)).parameters.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values()
        ]


@pytest.mark.skipif(not hasattr(ProcessPoolExecutor, "kill_workers"), reason="new in Python 3.14")
@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_kill_workers(how):
    """The workers can be terminated or killed, as in Python 3.14."""
    executor = LowPriorityProcessPoolExecutor(2)
    future = executor.submit(sleep_and_return, PATIENCE, 1)
    while not future.running():
        time.sleep(0.01)
    getattr(executor, how)()
    with pytest.raises(BrokenProcessPool):
        future.result(PATIENCE)
