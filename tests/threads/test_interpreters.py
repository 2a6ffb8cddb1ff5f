"""Workers with their own interpreters are at their level, and name the modules that they cannot load."""

import functools
import os
import sys
import threading

import pytest

import nicefutures
from asking import LINUX, THREAD, ask_thread, may_raise
from inside import import_module, interpreter, note_level, tell_levels
from marks import linux_only, needs_interpreters
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor, ThreadPriority
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import fail_at, hold_until

pytestmark = pytest.mark.every_python

LEVELS = [level for level in ThreadPriority if may_raise or level <= ThreadPriority.NORMAL]


@pytest.fixture
def pool():
    """Return the class, which only some Pythons have."""
    return nicefutures.PriorityInterpreterPoolExecutor


@linux_only
@needs_interpreters
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_level(pool, level, tmp_path):
    """Each worker is at the level, as the system reports it; the caller is not."""
    before = ask_thread()
    with pool(2, priority=level, on_denied="raise") as executor:
        futures = [executor.submit(hold_until, tmp_path / "gate") for _ in range(2)]
        wait_until(lambda: all(future.running() for future in futures))
        workers = executor.workers()
        assert [ask_thread(worker.tid) for worker in workers] == [THREAD[level]] * 2
        assert [worker.priority for worker in workers] == [level] * 2
        (tmp_path / "gate").touch()
    assert executor.workers() == []
    assert ask_thread() == before


@needs_interpreters
def test_initializer_runs_at_the_level(pool):
    """The initializer runs after the level has been set. On Linux, a thread that a task starts inherits the level."""
    with pool(1, initializer=note_level) as executor:
        beginning, own = executor.submit(tell_levels).result(PATIENCE)
    assert beginning == "BELOW_NORMAL"
    assert own == ("BELOW_NORMAL" if LINUX else "NORMAL")


@needs_interpreters
def test_interpreters(pool):
    """Each worker has its own interpreter in this process, and the executor shows its level and state."""
    with pool(2, "named", priority="lowest") as executor:
        (pid, other), here = executor.submit(interpreter).result(PATIENCE), interpreter()
        assert (pid, here[0]) == (os.getpid(), os.getpid())
        assert other != here[1]
        assert repr(executor) == "<PriorityInterpreterPoolExecutor priority='lowest' max_workers=2 open>"
        assert {thread.name for thread in executor._threads} == {"named_0"}
    assert "closed" in repr(executor)


@needs_interpreters
def test_map(pool):
    """`map` supports a buffer size, exceptions among its results, and `len`."""
    with pool(2) as executor:
        assert list(executor.map(abs, iter(range(9)), buffersize=2)) == list(range(9))
        results = executor.map(fail_at, [1] * 3, range(3), return_exceptions=True)
        assert len(results) == 3
        assert [type(result) for result in results] == [int, ValueError, int]
        with pytest.raises(ValueError, match="buffersize"):
            executor.map(abs, [1], buffersize=0)


@needs_interpreters
def test_tasks(pool, tmp_path):
    """tasks() counts a task as waiting while its worker's initializer runs, and counts none after the shutdown."""
    begin, gate = tmp_path / "begin", tmp_path / "gate"
    with pool(1, initializer=hold_until, initargs=(begin,)) as executor:
        future = executor.submit(hold_until, gate)
        assert executor.tasks() == (1, 0)
        begin.touch()
        wait_until(lambda: executor.tasks() == (0, 1))
        executor.submit(abs, -1)
        assert executor.tasks() == (1, 1)
        executor.shutdown(wait=False, cancel_futures=True)
        assert executor.tasks() == (0, 1)
        gate.touch()
        future.result(PATIENCE)
    assert executor.tasks() == (0, 0)


@needs_interpreters
def test_count_of_a_thread_pool(pool):
    """Beside it, a thread pool that may pause counts its running tasks: `memory_low` leaves one of them."""
    go = threading.Event()
    with pool(1) as executor, PriorityThreadPoolExecutor(2, pause_when=[lambda: False]) as threads:
        executor.submit(abs, -1).result(PATIENCE)
        threads.submit(go.wait, PATIENCE)
        wait_until(lambda: threads.tasks() == (0, 1))
        go.set()


@needs_interpreters
def test_pause_of_a_broken_pool(pool):
    """The error of `pause` after a failed initializer is the one that `submit` raises."""
    from concurrent.futures import interpreter as interpreter_pools

    with pool(1, initializer=int, initargs=("x",)) as executor:
        executor.submit(abs, -1)
        wait_until(lambda: executor._broken)
        for method in (executor.pause, functools.partial(executor.submit, abs, -1)):
            with pytest.raises(interpreter_pools.BrokenInterpreterPool):
                method()


@needs_interpreters
@pytest.mark.parametrize("how", ["task", "argument", "initializer"])
def test_module_that_does_not_load(pool, how, caplog):
    """If NumPy is needed, the error says that it cannot be loaded, and what to use; the pool continues."""
    np = pytest.importorskip("numpy")
    if how == "initializer":
        executor = pool(1, initializer=import_module, initargs=("numpy",))
        with executor, pytest.raises(RuntimeError, match="initializer failed"):
            executor.submit(abs, -1).result(PATIENCE)
        said = caplog.text
    else:
        with pool(1) as executor:
            task = (import_module, "numpy") if how == "task" else (len, np.ones(3))
            error = executor.submit(*task).exception(PATIENCE)
            assert executor.submit(abs, -1).result(PATIENCE) == 1
        assert type(error).__name__ == ("ImportError" if how == "task" else "NotShareableError")
        assert error.__cause__ is not None
        said = str(error)
    assert "numpy cannot be loaded in a worker of PriorityInterpreterPoolExecutor" in said
    assert LowPriorityProcessPoolExecutor.__name__ in said


@needs_interpreters
def test_other_import_errors(pool):
    """An ImportError of another kind comes back unchanged."""
    with pool(1) as executor:
        error = executor.submit(import_module, "none_such").exception(PATIENCE)
    assert (type(error), str(error)) == (ModuleNotFoundError, "No module named 'none_such'")


@needs_interpreters
def test_green_threads():
    """If a library has replaced the threads, the workers keep the level of the program, and a warning says why."""
    code = """
import queue, warnings
queue.SimpleQueue = queue._PySimpleQueue  # as gevent and eventlet do
from nicefutures import PriorityInterpreterPoolExecutor, get_thread_priority
if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as log, PriorityInterpreterPoolExecutor(1, priority="idle") as executor:
        print(executor.submit(get_thread_priority).result().name, "gevent" in str(log[0].message))
"""
    assert run_python(code).split() == ["NORMAL", "True"]


@pytest.mark.parametrize("hidden", ["", "sys.modules['_interpreters'] = None"], ids=["as it is", "another build"])
def test_names(hidden):
    """If Python has no interpreters, the import error says which Python has them, and all other names exist."""
    code = f"""
import sys
{hidden}
import nicefutures
assert sys.modules.get("_interpreters") is None, "it is loaded for nothing"
from nicefutures import *
listed = "PriorityInterpreterPoolExecutor" in dir(nicefutures)
assert listed == ("PriorityInterpreterPoolExecutor" in nicefutures.__all__)
assert LowPriorityProcessPoolExecutor and PriorityThreadPoolExecutor
try:
    from nicefutures import PriorityInterpreterPoolExecutor
except ImportError as error:
    print(listed, error)
else:
    print(listed, "there")
"""
    printed = run_python(code)
    if hidden or sys.version_info < (3, 14):
        assert printed.startswith("False PriorityInterpreterPoolExecutor needs Python 3.14 or later")
    else:
        assert printed.split() == ["True", "there"]
