"""The level of the threads that libraries compute with."""

import pytest

from nicefutures import ThreadPriority
from nicefutures.integrations import _library_threads as module
from programs import run_python

IDLE, LOWEST, NORMAL = ThreadPriority.IDLE, ThreadPriority.LOWEST, ThreadPriority.NORMAL


class FakeBackend:
    """Threads of libraries by id."""

    def __init__(self):
        self.levels = {1: NORMAL, 2: NORMAL}
        self.stuck = False

    @property
    def threads(self):
        return self

    def of_libraries(self):
        return list(self.levels)

    def get_levels(self, tids):
        return {tid: self.levels[tid] for tid in tids if tid in self.levels}

    def save_levels(self, tids):
        found = self.get_levels(tids)
        return {**found, **dict.fromkeys(set(tids) - {*found}, NORMAL)}  # the main thread

    def set_levels(self, tids, priority):
        self.levels.update(dict.fromkeys(tids, priority))

    def restore_levels(self, saved):
        if self.stuck:
            return "shortfall"
        self.levels.update({tid: level for tid, level in saved.items() if tid in self.levels})
        return None


@pytest.fixture
def backend(monkeypatch):
    fake = FakeBackend()
    monkeypatch.setattr(module, "backend", fake)
    return fake


def test_hold(backend):
    """The lowest level that is held counts, and the threads have theirs again after the last."""
    threads = module.LibraryThreads()
    threads.apply()
    assert set(backend.levels.values()) == {NORMAL}
    release_lowest = threads.hold(LOWEST)
    release_idle = threads.hold(IDLE)
    assert set(backend.levels.values()) == {IDLE}
    assert release_idle() is None
    assert set(backend.levels.values()) == {LOWEST}
    assert release_idle() is None
    assert set(backend.levels.values()) == {LOWEST}
    assert release_lowest() is None
    assert set(backend.levels.values()) == {NORMAL}


def test_new_threads(backend):
    """What comes meanwhile is put down, and back: to the main thread's level if it began at ours."""
    backend.levels[3] = IDLE  # somebody has set it so before
    threads = module.LibraryThreads()
    release = threads.hold(IDLE)
    backend.levels.update({4: IDLE, 5: ThreadPriority.BELOW_NORMAL})
    del backend.levels[1]
    threads.apply()
    assert set(backend.levels.values()) == {IDLE}
    backend.levels[6] = IDLE
    release()
    assert backend.levels == {2: NORMAL, 3: IDLE, 4: NORMAL, 5: ThreadPriority.BELOW_NORMAL, 6: NORMAL}


def test_threads_that_stay(backend):
    """What could not be put back is told."""
    release = module.LibraryThreads().hold(IDLE)
    backend.stuck = True
    assert release() == "shortfall"


def test_blas():
    """The threads of the BLAS that NumPy brings are found by the system's own means, and nobody else's are."""
    pytest.importorskip("numpy")
    printed = run_python("""
import os
os.environ["OPENBLAS_NUM_THREADS"] = "3"
import threading
from nicefutures.integrations._library_threads import library_threads
from nicefutures._system import backend
from nicefutures import ThreadPriority, get_thread_priority
ends = threading.Event()
other = threading.Thread(target=ends.wait)
other.start()
before = backend.threads.of_libraries()
import numpy as np
from threadpoolctl import threadpool_info
more = max((info["num_threads"] for info in threadpool_info() if info["internal_api"] == "openblas"), default=1) - 1
np.ones((500, 500)) @ np.ones((500, 500))
found = backend.threads.of_libraries()
print(before, len(found) == more, len(set(backend.threads.get_levels(found).values())))
release = library_threads.hold(ThreadPriority.IDLE)
print({level.name for level in backend.threads.get_levels(found).values()})
print(get_thread_priority().name, backend.priority.get_thread(other).name)
ends.set()
other.join()
""")
    first, second, third = printed.splitlines()
    assert first.startswith("[] True"), first
    assert second in {"{'IDLE'}", "set()"}
    assert third == "NORMAL NORMAL"
