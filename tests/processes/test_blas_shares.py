"""The threads of a worker's BLAS libraries: how many, and at which level."""

import importlib.util
import json
import multiprocessing
import os
import sys
import types

import pytest

from asking import LINUX, PROCESS
from marks import METHODS, linux_only
from nicefutures import LowPriorityProcessPoolExecutor, ProcessPriority
from nicefutures._blas import VARIABLES
from nicefutures._system import backend
from programs import run_python
from tasks import identify
from using import blas_threads, environment

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def two_cpus(monkeypatch):
    """A machine with more CPUs than this one may have."""
    monkeypatch.setattr(backend.accounting, "usable_cpus", lambda: 6)


@pytest.mark.parametrize(("workers", "threads"), [(1, "6"), (2, "3"), (4, "1"), (12, "1")])
def test_auto_threads(two_cpus, workers, threads):
    """By default the CPUs are shared out among the workers, and one is the least."""
    with LowPriorityProcessPoolExecutor(workers) as executor:
        assert executor.submit(environment).result() == [threads] * len(VARIABLES)
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_auto_threads_lowers_only(two_cpus, monkeypatch):
    """Who has asked for fewer in the environment gets fewer; who has asked for more gets the share."""
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
        "NUMBA_NUM_THREADS": "2",
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_given_threads(context, threads):
    """A number is what each worker gets, of a library that is loaded later as well."""
    pytest.importorskip("numpy")
    with LowPriorityProcessPoolExecutor(2, context, blas_threads=threads) as executor:
        for found in executor.map(blas_threads, [100] * 4):
            assert set(found) == {threads}
        told = {worker.blas_threads for worker in executor.workers()}
        # One that has just started has not told yet; where the system does not tell libraries, none has.
        assert told <= {threads, None}
        assert threads in told or not backend.memory.loaded_libraries(os.getpid())


def count_numba():
    import numba

    return numba.get_num_threads()


def count_polars():
    import polars as pl

    return pl.thread_pool_size()


@pytest.mark.every_python
@pytest.mark.parametrize(("module", "count"), [("numba", count_numba), ("polars", count_polars)])
def test_threads_of_other_libraries(context, module, count, two_cpus):
    """Numba and Polars have thread pools of their own, which they make when they are imported."""
    if importlib.util.find_spec(module) is None:  # and not imported here, where a forked worker would have it from
        pytest.skip(f"needs {module}")
    with LowPriorityProcessPoolExecutor(3, context, priority="normal") as executor:
        assert executor.submit(count).result() == 2
    with LowPriorityProcessPoolExecutor(1, context, blas_threads=1) as executor:
        assert executor.submit(count).result() == 1


@linux_only
@pytest.mark.every_python
def test_default_number_of_workers():
    """As many as CPUs that this process may use: its affinity counts on every Python."""
    code = "from nicefutures import *; print(LowPriorityProcessPoolExecutor()._max_workers)"
    assert run_python(code, command=["taskset", "-c", "0"]) == "1\n"


@pytest.mark.parametrize(("cpus", "workers"), [(0.5, 1), (1.5, 2), (6.0, 6)])
def test_default_number_of_workers_with_a_quota(monkeypatch, cpus, workers):
    """A quota counts as well, and gives no worker less than a part of a CPU."""
    monkeypatch.setattr(backend.accounting, "usable_cpus", lambda: cpus)
    with LowPriorityProcessPoolExecutor() as executor:
        assert executor._max_workers == workers


def test_threads_left_alone():
    """With None nothing is set."""
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
    """A module that does not want to be looked at is none of anybody's business."""

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


@pytest.mark.parametrize(
    ("method", "level", "tasks"),
    [
        *((method, ProcessPriority.IDLE, 0) for method in METHODS),
        *((method, ProcessPriority.BELOW_NORMAL, 0) for method in METHODS),
        # The stdlib does not replace forked workers.
        *((method, ProcessPriority.IDLE, 2) for method in METHODS if method != "fork"),
    ],
)
def test_blas_threads(method, level, tasks):
    """BLAS threads that are there before the initializer runs are at the level, and those made later; the parent's not.

    In replaced workers too.
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
