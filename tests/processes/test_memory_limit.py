"""Only the task fails that takes more memory than its worker may have."""

import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import signal
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import hungry
from asking import LINUX, WINDOWS
from control_groups import remove_group
from marks import linux_only, thorough, windows_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityWarning, WorkerCrashError
from nicefutures._system import backend
from nicefutures._threads.gil import has_gil
from patience import PATIENCE
from programs import run_python
from tasks import identify, meet
from using import as_bytes, data_limit, fill, hold, kill_myself, length, numpy_array, take

MIB = 2**20
LIMIT = 256 * MIB
# Enough where nothing is imported. It is small because many small objects take a long time.
SMALL_LIMIT = 64 * MIB
# Wine accepts a limit and does not enforce it.
takes_limit = pytest.mark.skipif(not (LINUX or WINDOWS), reason="no limit is taken here")
SPAWN = multiprocessing.get_context("spawn")


@linux_only
@pytest.mark.parametrize("task", [numpy_array, fill, hold])
def test_memory_error(context, task):
    """A task that needs three times the limit ends with a MemoryError, and the worker does the next one."""
    if task is numpy_array:
        pytest.importorskip("numpy")
    elif not has_gil():
        pytest.skip("without the GIL objects come out of gigabytes that are reserved")
    limit = LIMIT if task is numpy_array else SMALL_LIMIT
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=limit) as executor:
        worker = executor.submit(identify).result()
        error = executor.submit(task, 3 * limit).exception()
        assert isinstance(error, MemoryError)
        assert f"{limit:,}" in error.__notes__[0]
        assert executor.submit(identify).result() == worker
        assert executor.submit(task, MIB).result()


@linux_only
def test_many_memory_errors(tmp_path):
    """A hundred MemoryErrors lose no task and no worker."""
    pytest.importorskip("numpy")
    with LowPriorityProcessPoolExecutor(2, memory_limit=LIMIT) as executor:
        before, after = tmp_path / "before", tmp_path / "after"
        before.mkdir()
        after.mkdir()
        workers = set(executor.map(meet, [before] * 2, [2] * 2))
        sizes = [3 * LIMIT, MIB] * 100
        futures = [executor.submit(numpy_array, size) for size in sizes]
        outcomes = [future.exception() or future.result() for future in futures]
        assert all(isinstance(outcome, MemoryError) for outcome in outcomes[::2])
        assert outcomes[1::2] == [MIB / 8] * 100
        assert set(executor.map(meet, [after] * 2, [2] * 2)) == workers


@linux_only
def test_limit_is_for_tasks(context):
    """The limit does not apply to the transfer of arguments and results, but too large arguments fail their task."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=SMALL_LIMIT) as executor:
        limit = executor.submit(data_limit).result()
        assert limit >= SMALL_LIMIT  # plus the memory that does not count
        assert executor.submit(length, bytes(20 * MIB)).result() == 20 * MIB
        assert len(executor.submit(as_bytes, 20 * MIB).result()) == 20 * MIB
        error = executor.submit(length, bytes(2 * SMALL_LIMIT)).exception()
        if has_gil():
            assert isinstance(error, MemoryError)
            assert "arguments" in str(error)
        assert executor.submit(length, b"1").result() == 1


@linux_only
def test_stricter_limit_stays():
    """A stricter limit that the program already has is not raised, and is restored after each task."""
    printed = run_python("""
import resource
from asking import *
from nicefutures import *
import using
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30, resource.RLIM_INFINITY))
    with LowPriorityProcessPoolExecutor(1, memory_limit="4 GiB") as executor:
        print(executor.submit(using.data_limit).result())
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
""")
    assert len(set(printed.split())) == 1


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL what is reserved does not count")
def test_limit_below_use():
    """If a worker uses more than the limit before its first task, each task is refused."""
    with LowPriorityProcessPoolExecutor(
        1, SPAWN, memory_limit=20 * MIB, initializer=take, initargs=(30 * MIB,)
    ) as executor:
        for _ in range(2):
            with pytest.raises(MemoryError, match="before it starts this task"):
                executor.submit(identify).result()


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of a gigabyte that is reserved")
@pytest.mark.asks_for_fork
def test_inherited_memory():
    """Memory that a forked worker shares with its parent does not count."""
    ballast = bytearray(b"1") * (200 * MIB)
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("fork"), memory_limit=100 * MIB) as executor:
        assert len(executor.submit(as_bytes, 50 * MIB).result()) == 50 * MIB
        assert isinstance(executor.submit(as_bytes, 2000 * MIB).exception(), MemoryError)
    assert len(ballast) == 200 * MIB


def is_named(error, limit):
    """Return whether an error names the limit."""
    return f"{limit:,} bytes" in " ".join([str(error), *getattr(error, "__notes__", ())])


@takes_limit
@pytest.mark.parametrize(("module", "task"), [("numpy", hungry.product), ("scipy", hungry.linalg)])
def test_blas_library(context, module, task):
    """Memory that a BLAS library reserves for itself does not count, however many threads it has."""
    pytest.importorskip(module)
    threads = 16 if LINUX else 1  # on Windows reserved memory counts
    with LowPriorityProcessPoolExecutor(
        1, context, memory_limit=LIMIT, blas_threads=threads, on_denied="ignore"
    ) as executor:
        assert executor.submit(task, 10 * MIB).result(PATIENCE)


@takes_limit
@pytest.mark.parametrize("task", [pytest.param(hungry.leave, marks=linux_only), hungry.abort])
def test_end_in_task(context, task):
    """If a library ends its worker, only the task fails, and the error names the limit as a possible reason."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=LIMIT, on_denied="ignore") as executor:
        worker = executor.submit(identify).result()
        error = executor.submit(task).exception(PATIENCE)
        assert isinstance(error, WorkerCrashError)
        assert is_named(error, LIMIT)
        assert executor.submit(identify).result() != worker


@linux_only
def test_exit_of_library():
    """The error says that a library called `exit`, which may hang during a task."""
    with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
        assert "exit(), which compiled code called" in str(executor.submit(hungry.leave).exception())


@linux_only
def test_usual_end():
    """An idle worker ends like any program, and its libraries do their work at exit."""
    printed = run_python("""
import ctypes, multiprocessing
from nicefutures import *
def write():
    ctypes.CDLL(None).printf(b"from C, ")
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("spawn"), memory_limit="256m") as executor:
        executor.submit(write).result()
        (process,) = executor._processes.values()
    print(process.exitcode)
""")
    assert printed.strip() == "from C, 0"


@linux_only
def test_break_by_kill():
    """A worker that is killed from outside breaks the pool, as without a limit."""
    with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
        error = executor.submit(kill_myself, signal.SIGKILL).exception()
        assert type(error) is BrokenProcessPool
        assert not is_named(error, LIMIT)


@linux_only
def test_idle_threads(context):
    """Untouched stacks of threads do not count, and neither do the stacks that the C library keeps."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=SMALL_LIMIT) as executor:
        for _ in range(2):
            assert executor.submit(hungry.idle_threads, 30, 30 * MIB).result() == 30 * MIB
        if has_gil():
            assert is_named(executor.submit(hungry.idle_threads, 30, 3 * SMALL_LIMIT).exception(), SMALL_LIMIT)


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of gigabytes that are reserved")
def test_thread_pool_in_task(context):
    """A thread pool works in a task; if it gets no memory, the error names the limit."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=SMALL_LIMIT) as executor:
        assert executor.submit(hungry.thread_pool, 16, 0).result(PATIENCE) == 136
        error = executor.submit(hungry.thread_pool, 4, 10 * MIB).exception(PATIENCE)
        assert is_named(error, SMALL_LIMIT)
        assert executor.submit(hungry.thread_pool, 16, 0).result(PATIENCE) == 136


@linux_only
def test_private_mapping():
    """A mapping above the limit raises its usual OSError, which names the limit."""
    with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
        error = executor.submit(hungry.mapping, 2 * LIMIT).exception()
        assert isinstance(error, OSError)
        assert is_named(error, LIMIT)
        assert executor.submit(hungry.mapping, LIMIT // 2).result()


@takes_limit
@pytest.mark.parametrize(
    ("text", "is_said"),
    [
        ("can't start new thread", True),
        ("[enforce fail] can't allocate memory", True),
        ("Out of Memory Error: Failed to allocate block", True),  # DuckDB
        ("it does not converge", False),
    ],
)
def test_errors_of_libraries(text, is_said):
    """Only errors that report a lack of memory name the limit."""
    with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT, on_denied="ignore") as executor:
        assert is_named(executor.submit(hungry.raise_text, text).exception(), LIMIT) == is_said


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of gigabytes that are reserved")
def test_interrupted_import(context, tmp_path):
    """A worker whose memory ran out during an import is replaced: some modules cannot be imported twice."""
    (tmp_path / "wants_memory.py").write_text(f"DATA = bytes({2 * LIMIT})")
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=LIMIT) as executor:
        worker = executor.submit(identify).result()
        assert isinstance(executor.submit(hungry.import_in_full_memory, tmp_path, 2 * LIMIT).exception(), MemoryError)
        assert executor.submit(identify).result() != worker


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL what is reserved does not count")
def test_leftovers(context):
    """A worker that is full of the data of earlier tasks is replaced, after the error of one task at most."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=SMALL_LIMIT) as executor:
        outcomes = [executor.submit(hungry.keep, 24 * MIB) for _ in range(8)]
        errors = [each.exception() for each in outcomes]
        assert all(each is None or is_named(each, SMALL_LIMIT) for each in errors)
        assert any(errors)
        assert not any(first and second for first, second in itertools.pairwise(errors))


@linux_only
def test_crash_in_chunk(context):
    """Only the call that ends its worker is lost, and no other of its chunk."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=LIMIT) as executor:
        results = list(executor.map(hungry.leave_at, range(8), chunksize=4, return_exceptions=True))
        assert [type(each) for each in results] == [*[int] * 5, WorkerCrashError, *[int] * 2]
        assert is_named(results[5], LIMIT)


@linux_only
def test_subprocess():
    """A task's subprocess has the same limit for itself, and may lift it."""
    with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
        ours, theirs, lifted = executor.submit(hungry.ask_subprocess).result()
        assert ours == theirs
        assert lifted != theirs


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL gigabytes are reserved")
def test_own_limit():
    """A limit that a task has set for itself stays as it is, whatever it starts and loads, and ends with the task."""
    with LowPriorityProcessPoolExecutor(1, SPAWN, memory_limit=LIMIT) as executor:
        assert executor.submit(hungry.limit_myself, LIMIT - 1).result() == LIMIT - 1
        assert executor.submit(data_limit).result() >= LIMIT


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of gigabytes that are reserved")
@pytest.mark.parametrize("runs", [1, pytest.param(10, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("module", "task"),
    [
        pytest.param("numpy", hungry.product, marks=thorough),
        pytest.param("scipy", hungry.linalg, marks=thorough),
        # In the CI job that has these libraries.
        pytest.param("numba", hungry.compiled, marks=pytest.mark.every_python),
        pytest.param("polars", hungry.column, marks=pytest.mark.every_python),
        ("threading", hungry.threads),
        ("mmap", hungry.mapping),
    ],
)
def test_around_the_limit(context, module, task, runs):
    """Near the limit a task succeeds, or its error names the limit; it does not hang, and the next one succeeds."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module}")
    for _ in range(runs):
        with LowPriorityProcessPoolExecutor(1, context, memory_limit=LIMIT) as executor:
            try:
                for share in (0.5, 0.9, 1.01, 0.95):
                    error = executor.submit(task, int(share * LIMIT)).exception(PATIENCE)
                    assert error is None or is_named(error, LIMIT)
                    assert executor.submit(identify).result(PATIENCE)
            except TimeoutError:
                executor.kill_workers()
                raise


@windows_only
def test_job_object():
    """A job object accepts the limit; if the limit cannot be read back, as under Wine, a warning says so."""
    limit = backend.memory.open_limit()
    limit.hold(LIMIT)
    held = limit.in_force()
    limit.lift()
    assert not limit.in_force()
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
            assert executor.submit(identify).result()
    assert [warning.category for warning in log] == ([] if held else [PriorityWarning])


@linux_only
@pytest.mark.parametrize(("priority", "score"), [("idle", 1000), ("below_normal", 800), ("normal", None)])
def test_oom_score(context, priority, score):
    """When the memory runs out, the kernel kills a worker before any other process, and not the parent."""
    own = Path("/proc/self/oom_score_adj").read_text()
    with LowPriorityProcessPoolExecutor(1, context, priority=priority) as executor:
        found = executor.submit(Path.read_text, Path("/proc/self/oom_score_adj")).result()
    assert found == (own if score is None else f"{score}\n")
    assert Path("/proc/self/oom_score_adj").read_text() == own


@pytest.fixture
def small_memory():
    """Make a memory control group of 100 MB, if that is allowed."""
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
    """The error says that the kernel killed a worker because the memory ran out."""
    with LowPriorityProcessPoolExecutor(1, initializer=_enter, initargs=(small_memory,)) as executor:
        assert executor.submit(identify).result()
        error = executor.submit(bytes.__mul__, b"1", 300_000_000).exception()
    assert "most likely killed by the kernel because the memory ran out" in str(error)
    assert f"is {backend.memory.total():,} bytes." in str(error)
