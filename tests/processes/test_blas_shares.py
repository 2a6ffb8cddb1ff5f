"""The number and the priority of the threads of a worker's BLAS libraries."""

import importlib.util
import json
import multiprocessing
import os
import sys
import types

import pytest

from asking import LINUX, PROCESS
from marks import METHODS, SPARE, linux_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor, ProcessPriority
from nicefutures._blas import VARIABLES
from nicefutures._system import backend
from programs import run_python
from tasks import identify
from using import blas_threads, environment

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def two_cpus(monkeypatch):
    """Let this machine seem to have six usable CPUs."""
    monkeypatch.setattr(backend.accounting, "usable_cpus", lambda: 6)


@pytest.mark.parametrize(("workers", "threads"), [(1, "6"), (2, "3"), (4, "1"), (12, "1")])
def test_auto_threads(two_cpus, workers, threads):
    """By default the CPUs are divided among the workers, with at least one thread for each."""
    with LowPriorityProcessPoolExecutor(workers) as executor:
        assert executor.submit(environment).result() == [threads] * len(VARIABLES)
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_auto_threads_lowers_only(two_cpus, monkeypatch):
    """A smaller number in the environment is kept; a larger one is lowered to the share."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    monkeypatch.setenv("BLIS_NUM_THREADS", "all")
    with LowPriorityProcessPoolExecutor(2, SPAWN) as executor:
        found = dict(zip(VARIABLES, executor.submit(environment).result(), strict=True))
    assert found == {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "3",
        "BLIS_NUM_THREADS": "3",
        "VECLIB_MAXIMUM_THREADS": "2",
        "POLARS_MAX_THREADS": "2",
        "OPENCV_FOR_THREADS_NUM": "2",
        "NUMBA_NUM_THREADS": "2",
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_given_threads(context, threads):
    """Each worker gets the given number of threads, also for a library that is loaded later."""
    pytest.importorskip("numpy")
    with LowPriorityProcessPoolExecutor(2, context, blas_threads=threads) as executor:
        for found in executor.map(blas_threads, [100] * 4):
            assert set(found) == {threads}
        told = {worker.blas_threads for worker in executor.workers()}
        # A new worker may not have reported yet; if the system does not list libraries, no worker reports.
        assert told <= {threads, None}
        assert threads in told or not backend.memory.loaded_libraries(os.getpid())


def count_numba():
    import numba

    return numba.get_num_threads()


def count_polars():
    import polars as pl

    return pl.thread_pool_size()


def count_opencv():
    import cv2

    return cv2.getNumThreads()


@pytest.mark.every_python
@pytest.mark.parametrize(("module", "count"), [("numba", count_numba), ("polars", count_polars), ("cv2", count_opencv)])
def test_threads_of_other_libraries(context, module, count, two_cpus):
    """The number also applies to Numba, Polars and OpenCV, which start thread pools of their own at first use."""
    if importlib.util.find_spec(module) is None:  # not imported here, because a forked worker would inherit it
        pytest.skip(f"needs {module}")
    with LowPriorityProcessPoolExecutor(3, context, priority="normal") as executor:
        assert executor.submit(count).result() == 2
    with LowPriorityProcessPoolExecutor(1, context, blas_threads=1) as executor:
        assert executor.submit(count).result() == 1


@linux_only
@pytest.mark.every_python
def test_default_number_of_workers():
    """The default is the number of CPUs that this process may use: its affinity counts on every Python."""
    code = "from nicefutures import *; print(LowPriorityProcessPoolExecutor()._max_workers)"
    assert run_python(code, command=["taskset", "-c", "0"]) == "1\n"


@pytest.mark.parametrize(("cpus", "workers"), [(0.5, 1), (1.5, 2), (6.0, 6)])
def test_default_number_of_workers_with_a_quota(monkeypatch, cpus, workers):
    """A CPU quota counts as well, rounded up to a whole number of workers."""
    monkeypatch.setattr(backend.accounting, "usable_cpus", lambda: cpus)
    with LowPriorityProcessPoolExecutor() as executor:
        assert executor._max_workers == workers


def test_threads_left_alone():
    """With `blas_threads=None` nothing is set."""
    with LowPriorityProcessPoolExecutor(1, blas_threads=None) as executor:
        assert executor.submit(environment).result() == environment()


def test_loaded_libraries(context):
    """A library that is loaded before the initializer runs is capped, in replaced workers too."""
    pytest.importorskip("numpy")
    found = json.loads(run_python("processes/blas_main.py", context.get_start_method()))
    assert set(found["threads"]) == {1}
    assert set(found["reported"]) == {1}
    assert found["parent"] == found["parent_after"]


def test_odd_modules(monkeypatch):
    """A module that cannot be inspected does no harm."""

    class Odd(types.ModuleType):
        def __getattribute__(self, name):
            raise ImportError(name)

    class Proxy:
        def __getattr__(self, name):
            raise ImportError(name)

    monkeypatch.setitem(sys.modules, "odd_module", Odd("odd_module"))
    monkeypatch.setitem(sys.modules, "odd_proxy", Proxy())
    with LowPriorityProcessPoolExecutor(1) as executor:
        assert executor.submit(identify).result()


def cases_of(method):
    """Yield the priorities and numbers of tasks to try: priorities other than the default only in thorough runs."""
    spare = [thorough] * (method == SPARE)
    yield pytest.param(method, ProcessPriority.IDLE, 0, marks=spare)
    yield pytest.param(method, ProcessPriority.BELOW_NORMAL, 0, marks=thorough)
    if method != "fork":  # whose workers the stdlib does not replace
        yield pytest.param(method, ProcessPriority.IDLE, 2, marks=spare)


@pytest.mark.parametrize(("method", "level", "tasks"), [case for method in METHODS for case in cases_of(method)])
def test_blas_threads(method, level, tasks):
    """BLAS threads from before and after the initializer have the priority, and those of the parent do not.

    The same is true of replaced workers.
    """
    pytest.importorskip("numpy")
    found = json.loads(run_python("processes/numpy_main.py", method, level.name, str(tasks)))
    assert len({pid for pid, _ in found["workers"]}) >= (4 if tasks else 1)
    for pid, threads in found["workers"]:
        assert pid != found["pid"]
        assert {tuple(t) if LINUX else t for t in threads} == {PROCESS[level]}
        if LINUX:
            assert len(threads) >= min(os.cpu_count(), 2) + 1  # BLAS has one per core, and the task made one
    assert {tuple(t) if LINUX else t for t in found["parent"]} == {PROCESS[ProcessPriority.NORMAL]}


AFTER_OPENMP = """
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from nicefutures import LowPriorityProcessPoolExecutor

points = np.linspace(0, 1, 2000).reshape(-1, 1)

def fit():
    return HistGradientBoostingRegressor(max_iter=2).fit(points, points[:, 0]).score(points, points[:, 0]) > 0

fit()
with LowPriorityProcessPoolExecutor(1, "fork", blas_threads=2, priority="normal") as executor:
    print(executor.submit(fit).result())
print(fit())
"""


@linux_only
def test_fork_after_openmp():
    """Forked workers can use GNU's OpenMP with threads of their own, and so can the parent afterwards."""
    pytest.importorskip("sklearn")
    assert run_python(AFTER_OPENMP).split() == ["True", "True"]


POLARS = """
import sys, threading, types, warnings
from nicefutures import LowPriorityProcessPoolExecutor

sys.modules["polars"] = types.ModuleType("polars")  # its threads are known by their name
done = threading.Event()
def serve():
    with open("/proc/thread-self/comm", "w") as file:
        file.write("polars-0")
    done.wait()

with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always")
    for number in range(3):
        if number == 1:
            thread = threading.Thread(target=serve)
            thread.start()
            while open(f"/proc/self/task/{thread.native_id}/comm").read() != "polars-0\\n":
                pass
        with LowPriorityProcessPoolExecutor(1, ["fork", "fork", "spawn"][number]) as executor:
            print(executor.submit(abs, -1).result(), executor.submit(abs, -1).result(), end=" ")
        print([str(each.message)[:6] for each in shown if each.category is RuntimeWarning])
done.set()
"""


@linux_only
def test_fork_beside_polars():
    """A forked worker would wait for Polars' threads, which it does not have, so there is one warning if they run."""
    assert run_python(POLARS).splitlines() == ["1 1 []", "1 1 ['Polars']", "1 1 ['Polars']"]
