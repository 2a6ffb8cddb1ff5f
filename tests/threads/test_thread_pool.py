"""Each worker thread, and no other thread, is at its level from its first task on."""

import sys
import threading
import time

import pytest

from asking import THREAD, ask_thread, ask_thread_handle, may_raise, open_thread
from marks import windows_only
from nicefutures import PriorityThreadPoolExecutor, ThreadPriority
from patience import wait_until
from programs import run_python

pytestmark = pytest.mark.every_python

LOW = [level for level in ThreadPriority if level <= ThreadPriority.NORMAL]
LEVELS = [level for level in ThreadPriority if (may_raise or level in LOW) and level in THREAD]
every_level = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)


@every_level
@pytest.mark.parametrize("on_denied", ["warn", "raise"])
def test_level(level, on_denied):
    """Worker threads are at the level, as the system reports it; the caller is not."""
    before = ask_thread()
    with PriorityThreadPoolExecutor(4, priority=level, on_denied=on_denied) as executor:
        found = list(executor.map(lambda _: (time.sleep(0.02), ask_thread())[1], range(8)))
    assert set(found) == {THREAD[level]}
    assert ask_thread() == before


def test_default():
    """The default is BELOW_NORMAL."""
    with PriorityThreadPoolExecutor() as executor:
        assert executor.submit(ask_thread).result() == THREAD[ThreadPriority.BELOW_NORMAL]


def test_initializer_runs_at_the_level():
    """The user's initializer runs after the priority has been set, in the worker."""
    found = []
    with PriorityThreadPoolExecutor(1, "named", lambda: found.append((ask_thread(), threading.current_thread().name))):
        pass
    assert found == []
    with PriorityThreadPoolExecutor(
        1, "named", lambda: found.append((ask_thread(), threading.current_thread().name)), priority="lowest"
    ) as executor:
        executor.submit(int).result()
    assert found == [(THREAD[ThreadPriority.LOWEST], "named_0")]


@windows_only
def test_back_to_normal_before_the_end():
    """A thread ends at NORMAL, because it takes the loader lock at its end, for which any other thread may wait."""
    with PriorityThreadPoolExecutor(1, priority="lowest") as executor:
        handle = open_thread(executor.submit(threading.get_native_id).result())
        assert ask_thread_handle(handle) == THREAD[ThreadPriority.LOWEST]
    assert ask_thread_handle(handle) == THREAD[ThreadPriority.NORMAL]


def test_set_default_executor():
    """The pool can be asyncio's default executor."""
    code = """
import asyncio
from nicefutures import PriorityThreadPoolExecutor, get_thread_priority

async def main():
    asyncio.get_running_loop().set_default_executor(PriorityThreadPoolExecutor(1, priority="lowest"))
    print((await asyncio.to_thread(get_thread_priority)).name)

asyncio.run(main())
"""
    # macOS has one QoS class for both.
    assert run_python(code).strip() == ("IDLE" if sys.platform == "darwin" else "LOWEST")


def test_system_without_semaphores():
    """Thread pools work where processes cannot have semaphores, as on some phones."""
    code = """
import _multiprocessing
if hasattr(_multiprocessing, "SemLock"):
    del _multiprocessing.SemLock
from nicefutures import PriorityThreadPoolExecutor
with PriorityThreadPoolExecutor(1) as executor:
    print(executor.submit(abs, -1).result())
"""
    assert run_python(code).strip() == "1"


@pytest.mark.parametrize("options", ["", 'priority="idle"', "latency_target=0.005", "blas_threads=1"])
def test_imports(options):
    """Threads of the pool import nothing: a process that is forked meanwhile could never import that module."""
    code = f"""
import sys
import threading
from nicefutures import PriorityThreadPoolExecutor

class Finder:
    def find_spec(self, name, *_):
        if threading.current_thread() is not threading.main_thread():
            print(name)

with PriorityThreadPoolExecutor(1, {options}) as executor:
    sys.meta_path.insert(0, Finder())
    executor.submit(sum, range(10**7)).result()
"""
    assert run_python(code) == ""


def test_subclass():
    """A subclass may have attributes with common names, as a subclass of the standard library's pool may."""

    class Recording(PriorityThreadPoolExecutor):
        def __init__(self):
            super().__init__(1)
            self._results, self._submitted, self._futures, self._tasks = [], [], [], []
            self._queue = self._lock = self._name = self._count = self._timeout = self._workers = None

    with Recording() as executor:
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        assert executor.stats().tasks_done == 2


@pytest.mark.parametrize("options", [{}, {"latency_target": 0.005}, {"pause_when": [lambda: False]}])
def test_count_of_a_new_task(options):
    """A task counts from its submit on, also while the worker that takes it has no GIL."""
    go = threading.Event()
    with PriorityThreadPoolExecutor(2, **options) as executor:
        for _ in range(20):
            go.clear()
            executor.submit(int).result()
            wait_until(lambda: executor.tasks() == (0, 0))
            future = executor.submit(go.wait)
            count = sum(executor.tasks())
            go.set()
            future.result()
            assert count == 1
            wait_until(lambda: executor.tasks() == (0, 0))
