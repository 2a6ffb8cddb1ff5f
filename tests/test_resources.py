"""What a worker takes from the machine besides CPU time: BLAS threads, memory, I/O; and what `workers` says of it."""

import contextlib
import dataclasses
import gc
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import psutil
import pytest

import asking
from asking import LINUX, WINDOWS, identify, linux_only, run_python, windows_only
from nicefutures import (
    LowPriorityProcessPoolExecutor,
    PriorityThreadPoolExecutor,
    PriorityWarning,
    ProcessPriority,
    ThreadPriority,
    WorkerInfo,
)
from nicefutures._blas import VARIABLES
from nicefutures._system import backend
from nicefutures._threads.gil import has_gil

MIB = 2**20
LIMIT = 256 * MIB
SPAWN = multiprocessing.get_context("spawn")


def process_pool(*arguments, **options):
    return LowPriorityProcessPoolExecutor(*arguments, **options)


# --- tasks


def blas_threads(size=0):
    """Threads of each BLAS library that this process has loaded, after a product if `size` is given."""
    if size:
        import numpy as np

        square = np.ones((size, size))
        square @ square
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def environment():
    """Values of the variables that libraries read when they are loaded."""
    return [os.environ.get(variable) for variable in VARIABLES]


def numpy_array(size):
    """Sum of an array of `size` bytes."""
    import numpy as np

    return float(np.ones(size // 8).sum())


def fill(size):
    """Fill the memory with small objects, of which not one more fits in the end."""
    objects = []
    while len(objects) < size // 8:
        objects.append(object())
    return len(objects)


def hold(size):
    """Keep an array in an exception that is in the way of another."""
    held = bytearray(size // 3)
    try:
        raise ValueError(len(held))
    except ValueError:
        return bytearray(size)


def as_bytes(size):
    """A result of `size` bytes."""
    return bytes(size)


def length(data):
    return len(data)


def data_limit():
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def kill_myself(number):
    os.kill(os.getpid(), number)


# --- BLAS threads


@pytest.fixture
def two_cpus(monkeypatch):
    """A machine with more CPUs than this one may have."""
    monkeypatch.setattr(backend.accounting, "usable_cpus", lambda: 6)


@pytest.mark.parametrize(("workers", "threads"), [(1, "6"), (2, "3"), (4, "1"), (12, "1")])
def test_auto_threads(two_cpus, workers, threads):
    """By default the CPUs are shared out among the workers, and one is the least."""
    with process_pool(workers) as executor:
        assert executor.submit(environment).result() == [threads] * len(VARIABLES)
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_auto_threads_lowers_only(two_cpus, monkeypatch):
    """Who has asked for fewer in the environment gets fewer; who has asked for more gets the share."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    monkeypatch.setenv("BLIS_NUM_THREADS", "all")
    with process_pool(2, SPAWN) as executor:
        found = dict(zip(VARIABLES, executor.submit(environment).result(), strict=True))
    assert found == {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "3",
        "BLIS_NUM_THREADS": "3",
        "VECLIB_MAXIMUM_THREADS": "2",
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_given_threads(context, threads):
    """A number is what each worker gets, of a library that is loaded later as well."""
    pytest.importorskip("numpy")
    with process_pool(2, context, blas_threads=threads) as executor:
        for found in executor.map(blas_threads, [100] * 4):
            assert set(found) == {threads}
        told = {worker.blas_threads for worker in executor.workers()}
        # One that has just started has not told yet; where the system does not tell libraries, none has.
        assert told <= {threads, None}
        assert threads in told or not backend.memory.loaded_libraries(os.getpid())


def test_threads_left_alone():
    """With None nothing is set."""
    with process_pool(1, blas_threads=None) as executor:
        assert executor.submit(environment).result() == environment()


def test_loaded_libraries(context):
    """A library that is loaded before the initializer runs is capped, in replaced workers too."""
    pytest.importorskip("numpy")
    found = json.loads(run_python("blas_main.py", context.get_start_method()))
    assert set(found["threads"]) == {1}
    assert set(found["reported"]) == {1}
    assert found["parent"] == found["parent_after"]


@pytest.mark.parametrize("wrong", [0, -1, 2000, "many", "2"])
def test_wrong_threads(wrong):
    """A number of threads that makes no sense is refused with the value, by both executors."""
    for pool in (LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor):
        with pytest.raises(ValueError, match="blas_threads") as caught:
            pool(2, blas_threads=wrong)
        assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [1.5, True, b"auto", [1]])
def test_wrong_type_of_threads(wrong):
    """So is what is no number."""
    for pool in (LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor):
        with pytest.raises(TypeError, match="blas_threads"):
            pool(2, blas_threads=wrong)


@pytest.fixture
def loaded_blas():
    """NumPy's BLAS with two threads; skips where there is none that threadpoolctl knows."""
    pytest.importorskip("numpy")
    from threadpoolctl import threadpool_limits

    before = blas_threads(100)
    if not before:
        pytest.skip("threadpoolctl knows no BLAS library here")
    with threadpool_limits(2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS library does not take two threads")
        yield
    assert blas_threads() == before


@pytest.mark.parametrize("ending", ["shutdown", "no wait", "forgotten", "unused"])
def test_thread_pool_threads(loaded_blas, ending):
    """A thread pool limits the process's BLAS threads if asked to, and puts them back when it ends."""
    executor = PriorityThreadPoolExecutor(2, blas_threads=1)
    assert set(blas_threads()) == {1}
    if ending != "unused":
        assert set(executor.submit(blas_threads, 100).result()) == {1}
        assert {worker.blas_threads for worker in executor.workers()} == {1}
    if ending == "no wait":
        go = threading.Event()
        executor.submit(go.wait)
        executor.shutdown(wait=False)
        assert set(blas_threads()) == {1}  # for the task that runs
        go.set()
        executor.shutdown()
    elif ending == "forgotten":
        del executor
        gc.collect()
    else:
        executor.shutdown()
        executor.shutdown()
    deadline = time.monotonic() + 10
    while set(blas_threads()) != {2} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(blas_threads()) == {2}


def test_thread_pools_overlap(loaded_blas):
    """Of several pools the lowest limit counts, in whatever order they end."""
    first = PriorityThreadPoolExecutor(1, blas_threads=1)
    second = PriorityThreadPoolExecutor(1, blas_threads=2)
    assert set(blas_threads()) == {1}
    first.shutdown()
    assert set(blas_threads()) == {2}
    second.shutdown()
    assert set(blas_threads()) == {2}


def test_thread_pool_leaves_the_user_alone(loaded_blas):
    """What the user sets meanwhile is not put back."""
    from threadpoolctl import threadpool_limits

    with PriorityThreadPoolExecutor(1, blas_threads=1):
        threadpool_limits(2, user_api="blas")
    assert set(blas_threads()) == {2}


class _Cycle:
    """Something that only the garbage collector takes away, and a pool with it."""

    def __init__(self):
        self.pool = PriorityThreadPoolExecutor(1, blas_threads=1)
        self.itself = self


def test_thread_pools_collected(loaded_blas):
    """Pools that the garbage collector finds, in the middle of whatever, give their limit up."""
    thresholds = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for _ in range(20):
            _Cycle()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert set(blas_threads()) == {2}


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
    with process_pool(1) as executor:
        assert executor.submit(identify).result()


def test_thread_pool_default(loaded_blas):
    """By default a thread pool touches nothing."""
    with PriorityThreadPoolExecutor(2) as executor:
        assert set(executor.submit(blas_threads, 100).result()) == {2}


# --- memory


@linux_only
@pytest.mark.parametrize("task", [numpy_array, fill, hold])
def test_memory_error(context, task):
    """A task that wants three times the limit ends with a MemoryError, and the worker does the next one."""
    if task is numpy_array:
        pytest.importorskip("numpy")
    elif not has_gil():
        pytest.skip("without the GIL objects come out of gigabytes that are reserved")
    with process_pool(1, context, memory_limit=LIMIT) as executor:
        worker = executor.submit(identify).result()
        error = executor.submit(task, 3 * LIMIT).exception()
        assert isinstance(error, MemoryError)
        assert f"{LIMIT:,}" in error.__notes__[0]
        assert executor.submit(identify).result() == worker
        assert executor.submit(task, MIB).result()


@linux_only
def test_many_memory_errors():
    """A hundred of them in a row lose no task and no worker."""
    pytest.importorskip("numpy")
    with process_pool(2, memory_limit=LIMIT) as executor:
        workers = set(executor.map(identify, [0.05] * 4))
        sizes = [3 * LIMIT, MIB] * 100
        futures = [executor.submit(numpy_array, size) for size in sizes]
        outcomes = [future.exception() or future.result() for future in futures]
        assert all(isinstance(outcome, MemoryError) for outcome in outcomes[::2])
        assert outcomes[1::2] == [MIB / 8] * 100
        assert set(executor.map(identify, [0.05] * 4)) == workers


@linux_only
def test_limit_is_for_tasks(context):
    """Arguments and results beyond the limit are none of its business; arguments that are too much stop the task."""
    with process_pool(1, context, memory_limit=LIMIT) as executor:
        limit = executor.submit(data_limit).result()
        assert limit >= LIMIT  # what does not count comes on top
        assert executor.submit(length, bytes(20 * MIB)).result() == 20 * MIB
        assert len(executor.submit(as_bytes, 20 * MIB).result()) == 20 * MIB
        error = executor.submit(length, bytes(2 * LIMIT)).exception()
        if has_gil():
            assert isinstance(error, MemoryError)
            assert "arguments" in str(error)
        assert executor.submit(length, b"1").result() == 1


@linux_only
def test_stricter_limit_stays():
    """A limit that is there already is not raised, and is put back after each task."""
    printed = run_python("""
import resource
from asking import *
from nicefutures import *
import test_resources
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30, resource.RLIM_INFINITY))
    with LowPriorityProcessPoolExecutor(1, memory_limit="4 GiB") as executor:
        print(executor.submit(test_resources.data_limit).result())
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
""")
    assert len(set(printed.split())) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [(LIMIT, LIMIT), ("256 MiB", LIMIT), ("0.25GiB", LIMIT), ("300 MB", 300_000_000), ("300000 kB", 300_000_000)],
)
def test_memory_limit_by_text(given, expected):
    """A limit is a number of bytes, or a text with a unit."""
    from nicefutures._arguments import parse_memory_limit

    assert parse_memory_limit(given) == expected


def test_memory_limit_by_fraction():
    """Or a fraction of the memory that there is."""
    from nicefutures._arguments import parse_memory_limit

    assert parse_memory_limit(0.5) == int(0.5 * backend.memory.total())
    assert backend.memory.total() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    "wrong", [0, -1, 1, "2 potatoes", "", "GiB", "-2 GiB", "2 G", "1 MiB", "9999 TiB", 1.5, 0.0, -0.5, float("nan")]
)
def test_wrong_memory_limit(wrong):
    """An amount that is none, or makes no sense, is refused with the value."""
    with pytest.raises(ValueError, match="memory_limit") as caught:
        process_pool(1, memory_limit=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [True, b"2 GiB", [1], 1j])
def test_wrong_type_of_memory_limit(wrong):
    """So is what is no amount."""
    with pytest.raises(TypeError, match="memory_limit"):
        process_pool(1, memory_limit=wrong)


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL what is reserved does not count")
def test_limit_below_use():
    """A limit below what a worker uses before its first task is refused by each task."""
    with process_pool(1, SPAWN, memory_limit=20 * MIB, initializer=_take, initargs=(30 * MIB,)) as executor:
        for _ in range(2):
            with pytest.raises(MemoryError, match="before it starts this task"):
                executor.submit(identify).result()


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of a gigabyte that is reserved")
def test_inherited_memory():
    """What a forked worker has from its parent does not count: it is shared."""
    ballast = bytearray(b"1") * (200 * MIB)
    with process_pool(1, multiprocessing.get_context("fork"), memory_limit=100 * MIB) as executor:
        assert len(executor.submit(as_bytes, 50 * MIB).result()) == 50 * MIB
        assert isinstance(executor.submit(as_bytes, 2000 * MIB).exception(), MemoryError)
    assert len(ballast) == 200 * MIB


def _take(size):
    globals()["ballast"] = bytearray(size)


@windows_only
def test_job_object():
    """The limit of a job object is accepted; where it does not read back, as under Wine, that is said."""
    limit = backend.memory.open_limit()
    limit.hold(LIMIT)
    held = limit.in_force()
    limit.lift()
    assert not limit.in_force()
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        with process_pool(1, memory_limit=LIMIT) as executor:
            assert executor.submit(identify).result()
    assert [warning.category for warning in log] == ([] if held else [PriorityWarning])


@linux_only
@pytest.mark.parametrize(("priority", "score"), [("idle", 1000), ("below_normal", 800), ("normal", None)])
def test_oom_score(context, priority, score):
    """When the memory runs out, the kernel takes a worker before anything else, and not the parent."""
    own = Path("/proc/self/oom_score_adj").read_text()
    with process_pool(1, context, priority=priority) as executor:
        found = executor.submit(Path.read_text, Path("/proc/self/oom_score_adj")).result()
    assert found == (own if score is None else f"{score}\n")
    assert Path("/proc/self/oom_score_adj").read_text() == own


@asking.posix_only
@pytest.mark.parametrize("number", [signal.SIGKILL if not WINDOWS else 0, signal.SIGTERM])
def test_killed_worker(context, number):
    """A pool that broke says which worker was ended by what."""
    with process_pool(1, context) as executor:
        worker = executor.submit(identify).result()
        error = executor.submit(kill_myself, number).exception()
    assert f"Worker {worker} was" in str(error)
    assert signal.Signals(number).name in str(error)


def test_exited_worker():
    """Or with which status it ended."""
    with process_pool(1, SPAWN) as executor:
        error = executor.submit(os._exit, 3).exception()
    assert "exit status 3" in str(error)


def remove_group(group):
    """Remove a control group: a fork server and a resource tracker leave it after their program."""
    deadline = time.monotonic() + 10
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture
def small_memory():
    """A memory control group of 100 MB, where such may be made."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if "memory" in line.split(":")[1].split(","):
            group = Path(f"/sys/fs/cgroup/memory{line.split(':', 2)[2]}") / f"nicefutures-test-{os.getpid()}"
            break
    else:
        pytest.skip("no memory control group of version 1")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("100000000")
        with contextlib.suppress(FileNotFoundError):
            (group / "memory.memsw.limit_in_bytes").write_text("100000000")
    except OSError:
        pytest.skip("no control group may be made here")
    yield group
    remove_group(group)


def _enter(group):
    (group / "cgroup.procs").write_text(str(os.getpid()))


@linux_only
def test_out_of_memory(small_memory):
    """A worker that the kernel killed for want of memory is called that."""
    with process_pool(1, initializer=_enter, initargs=(small_memory,)) as executor:
        assert executor.submit(identify).result()
        error = executor.submit(bytes.__mul__, b"1", 300_000_000).exception()
    assert "killed by the kernel, most likely, because the memory ran out" in str(error)


# --- map with a buffer


@pytest.fixture(params=[process_pool, PriorityThreadPoolExecutor], ids=["process", "thread"])
def pool(request):
    with request.param(2) as executor:
        yield executor


@pytest.mark.parametrize("buffersize", [1, 3, 100])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_with_buffer(pool, buffersize, chunksize):
    """Results are those of map, in order, whatever the buffer."""
    results = pool.map(pow, range(20), itertools.repeat(2), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [n * n for n in range(20)]


def test_map_takes_what_it_needs(pool):
    """Arguments are taken as results are: an endless iterable will do."""
    numbers = itertools.count()
    results = pool.map(abs, numbers, buffersize=4)
    assert next(numbers) == 4
    assert next(results) == 0
    assert next(numbers) == 6
    results.close()


def test_map_with_buffer_fails(pool):
    """An exception comes where its result would have come."""
    results = pool.map(divmod, [1, 1, 1], [1, 0, 1], buffersize=2)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_with_buffer_times_out(pool):
    """A timeout holds for the whole of it."""
    with pytest.raises(TimeoutError):
        list(pool.map(time.sleep, [0, 1], timeout=0.1, buffersize=1))


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("2", TypeError)])
def test_wrong_buffer(pool, wrong, error):
    """A buffer that holds nothing is refused at the call."""
    with pytest.raises(error, match="buffersize"):
        pool.map(abs, [1], buffersize=wrong)


def test_wrong_chunk():
    """And so is a chunk of nothing."""
    with process_pool(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0, buffersize=1)


@pytest.mark.parametrize("make", [process_pool, PriorityThreadPoolExecutor], ids=["process", "thread"])
def test_executor_ends_before_the_results(make):
    """What was submitted is still yielded when the executor is gone, and nothing else is taken."""
    numbers = iter(range(10))
    with make(1) as executor:
        results = executor.map(abs, numbers, buffersize=3)
    del executor
    gc.collect()
    assert list(results) == [0, 1, 2]
    assert next(numbers) == 3


@linux_only
def test_results_do_not_pile_up():
    """The parent's memory stays flat while large results come by."""
    printed = run_python("""
import psutil
from nicefutures import *
import test_resources
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(test_resources.as_bytes, [10**6] * 1000, buffersize=8)
        sizes = []
        for result in results:
            assert len(result) == 10**6
            sizes.append(psutil.Process().memory_info().rss)
        print(max(sizes) - min(sizes))
""")
    assert int(printed) < 200e6  # of a thousand


# --- workers


def test_workers_of_a_process_pool(context):
    """It says what the system says."""
    with process_pool(2, context, priority="below_normal") as executor:
        assert executor.workers() == [] or context.get_start_method() == "fork"
        pids = set(executor.map(identify, [0.1] * 4))
        found = executor.workers()
        assert {worker.pid for worker in found} == pids
        for worker in found:
            process = psutil.Process(worker.pid)
            assert worker.tid is None
            assert worker.priority is ProcessPriority.BELOW_NORMAL
            assert worker.threads == process.num_threads()
            assert worker.rss == pytest.approx(process.memory_info().rss, rel=0.2)
            if LINUX:
                assert worker.io_class == "best-effort"
    assert executor.workers() == []


def test_workers_of_a_thread_pool():
    """Worker threads too, with the memory and the number of threads of their process."""
    with PriorityThreadPoolExecutor(2) as executor:
        assert executor.workers() == []
        barrier = threading.Barrier(2)
        tids = set(executor.map(lambda _: (barrier.wait(10), threading.get_native_id())[1], range(2)))
        found = executor.workers()
        assert {worker.tid for worker in found} == tids
        for worker in found:
            assert worker.pid == os.getpid()
            assert worker.priority is ThreadPriority.BELOW_NORMAL
            assert worker.threads >= 3
            assert worker.rss == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert executor.workers() == []


def test_worker_info_is_frozen():
    """It is a record, which nobody changes."""
    info = WorkerInfo(1, None, ProcessPriority.IDLE, 1, None, 1, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.pid = 2


@linux_only
@pytest.mark.parametrize(
    ("priority", "io_class"), [("idle", "idle"), ("below_normal", "best-effort"), ("normal", "none")]
)
def test_io_class(priority, io_class):
    """The I/O class goes with the level."""
    with process_pool(1, priority=priority) as executor:
        executor.submit(identify).result()
        (worker,) = executor.workers()
        assert worker.io_class == io_class
        if priority == "below_normal":
            assert psutil.Process(worker.pid).ionice().value >= 6


# --- efficiency


@linux_only
def test_efficiency_on_linux():
    """Linux has no interface for it: nothing is set, and nothing is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with process_pool(1, efficiency=True) as executor:
            assert executor.submit(identify).result()


@windows_only
def test_efficiency_on_windows():
    """EcoQoS is asked for; a Windows, or a Wine, that has none is named in a warning."""
    shortfall = backend.background.set_efficiency()
    assert shortfall is None or "EcoQoS" in shortfall.text


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_wrong_efficiency(wrong):
    """It is either true or false."""
    with pytest.raises(TypeError, match="efficiency"):
        process_pool(1, efficiency=wrong)


# --- the quota of a control group


_AUTO = """
import os, sys
if len(sys.argv) > 1:
    with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
from nicefutures import *
from nicefutures._system import backend
import test_resources
if __name__ == "__main__":
    print(backend.accounting.usable_cpus())
    with LowPriorityProcessPoolExecutor(1) as executor:
        print(*executor.submit(test_resources.environment).result())
"""


@pytest.fixture
def cpu_group():
    """Two CPU control groups, one in the other, where such may be made."""
    outer = Path("/sys/fs/cgroup/cpu") / f"nicefutures-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
        inner.mkdir()
        (outer / "cpu.cfs_quota_us").write_text("150000")
    except OSError:
        with contextlib.suppress(OSError):
            outer.rmdir()
        pytest.skip("no CPU control group of version 1 may be made here")
    yield inner
    remove_group(inner)
    remove_group(outer)


@linux_only
def test_quota(cpu_group):
    """A quota of one and a half CPUs, in the group above, is one BLAS thread."""
    cpus, *threads = run_python(_AUTO, str(cpu_group)).split()
    assert float(cpus) == min(1.5, backend.accounting.usable_cpus())
    assert set(threads) == {"1"}


@linux_only
def test_affinity():
    """So is an affinity to one CPU."""
    cpu = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{cpu}])\n" + _AUTO
    cpus, *threads = run_python(code).split()
    assert float(cpus) == 1
    assert set(threads) == {"1"}


def test_executors_are_light():
    """Neither importing the library nor an executor without the need for them imports what is heavy."""
    printed = run_python("""
import sys
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
LowPriorityProcessPoolExecutor(2).shutdown()
PriorityThreadPoolExecutor(2).shutdown()
print([name for name in ("numpy", "threadpoolctl", "psutil") if name in sys.modules])
""")
    assert printed.strip() == "[]" or not LINUX  # elsewhere psutil does more of the work
