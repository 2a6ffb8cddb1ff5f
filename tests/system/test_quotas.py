"""A process may use the CPUs that its control group and its affinity allow."""

import contextlib
import os
from pathlib import Path

import pytest

from control_groups import remove_group
from marks import linux_only
from nicefutures._system import backend
from programs import run_python

_AUTO = """
import os, sys
if len(sys.argv) > 1:
    with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
from nicefutures import *
from nicefutures._system import backend
import using
if __name__ == "__main__":
    print(backend.accounting.usable_cpus())
    with LowPriorityProcessPoolExecutor(1) as executor:
        print(*executor.submit(using.environment).result())
"""


@pytest.fixture
def cpu_group():
    """Return a CPU control group inside one with a quota; skip the test if they cannot be made."""
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
    """A quota of one and a half CPUs, in the outer group, results in one BLAS thread."""
    cpus, *threads = run_python(_AUTO, str(cpu_group)).split()
    assert float(cpus) == min(1.5, backend.accounting.usable_cpus())
    assert set(threads) == {"1"}


@linux_only
def test_affinity():
    """An affinity to one CPU results in one BLAS thread."""
    cpu = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{cpu}])\n" + _AUTO
    cpus, *threads = run_python(code).split()
    assert float(cpus) == 1
    assert set(threads) == {"1"}
