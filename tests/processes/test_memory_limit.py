"""A task that takes more memory than its worker may have fails alone."""

import contextlib
import multiprocessing
import os
import warnings
from pathlib import Path

import pytest

from control_groups import remove_group
from marks import linux_only, windows_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityWarning
from nicefutures._system import backend
from nicefutures._threads.gil import has_gil
from programs import run_python
from tasks import identify, meet
from using import as_bytes, data_limit, fill, hold, length, numpy_array, take

MIB = 2**20
LIMIT = 256 * MIB
# Enough where nothing is imported: small objects take their time.
SMALL_LIMIT = 64 * MIB
SPAWN = multiprocessing.get_context("spawn")


@linux_only
@pytest.mark.parametrize("task", [numpy_array, fill, hold])
def test_memory_error(context, task):
    """A task that wants three times the limit ends with a MemoryError, and the worker does the next one."""
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
    """A hundred of them in a row lose no task and no worker."""
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
    """Arguments and results beyond the limit are none of its business; arguments that are too much stop the task."""
    with LowPriorityProcessPoolExecutor(1, context, memory_limit=SMALL_LIMIT) as executor:
        limit = executor.submit(data_limit).result()
        assert limit >= SMALL_LIMIT  # what does not count comes on top
        assert executor.submit(length, bytes(20 * MIB)).result() == 20 * MIB
        assert len(executor.submit(as_bytes, 20 * MIB).result()) == 20 * MIB
        error = executor.submit(length, bytes(2 * SMALL_LIMIT)).exception()
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
    """A limit below what a worker uses before its first task is refused by each task."""
    with LowPriorityProcessPoolExecutor(
        1, SPAWN, memory_limit=20 * MIB, initializer=take, initargs=(30 * MIB,)
    ) as executor:
        for _ in range(2):
            with pytest.raises(MemoryError, match="before it starts this task"):
                executor.submit(identify).result()


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of a gigabyte that is reserved")
def test_inherited_memory():
    """What a forked worker has from its parent does not count: it is shared."""
    ballast = bytearray(b"1") * (200 * MIB)
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("fork"), memory_limit=100 * MIB) as executor:
        assert len(executor.submit(as_bytes, 50 * MIB).result()) == 50 * MIB
        assert isinstance(executor.submit(as_bytes, 2000 * MIB).exception(), MemoryError)
    assert len(ballast) == 200 * MIB


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
        with LowPriorityProcessPoolExecutor(1, memory_limit=LIMIT) as executor:
            assert executor.submit(identify).result()
    assert [warning.category for warning in log] == ([] if held else [PriorityWarning])


@linux_only
@pytest.mark.parametrize(("priority", "score"), [("idle", 1000), ("below_normal", 800), ("normal", None)])
def test_oom_score(context, priority, score):
    """When the memory runs out, the kernel takes a worker before anything else, and not the parent."""
    own = Path("/proc/self/oom_score_adj").read_text()
    with LowPriorityProcessPoolExecutor(1, context, priority=priority) as executor:
        found = executor.submit(Path.read_text, Path("/proc/self/oom_score_adj")).result()
    assert found == (own if score is None else f"{score}\n")
    assert Path("/proc/self/oom_score_adj").read_text() == own


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
    with LowPriorityProcessPoolExecutor(1, initializer=_enter, initargs=(small_memory,)) as executor:
        assert executor.submit(identify).result()
        error = executor.submit(bytes.__mul__, b"1", 300_000_000).exception()
    assert "killed by the kernel, most likely, because the memory ran out" in str(error)
    assert f"{backend.memory.total():,} bytes is all that" in str(error)
