"""Large buffers also arrive where shared memory is not available."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._system import backend
from programs import environment, run_python

np = pytest.importorskip("numpy")

from handing_over import become, make, total, write  # noqa: E402

pytestmark = pytest.mark.skipif(backend.sharing.find_shared_memory() is None, reason="nothing is shared on this system")

MB = 2**20


@linux_only
def test_no_memory():
    """If shared memory cannot be written, all data go through the pipe (here the size of files is limited)."""
    found = json.loads(
        run_python(
            """
import json, resource
import numpy as np
from handing_over import make, same, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    with LowPriorityProcessPoolExecutor(2) as executor:
        sizes = [2**19, 2**21, 2**23]
        totals = list(executor.map(total, [np.ones(size // 8) for size in sizes]))
        results = [float(result.sum()) for result in executor.map(make, sizes)]
        whole = executor.submit(same, [np.ones(2**18), bytes(2**21)]).result()
    print(json.dumps([totals, results, [float(whole[0].sum()), len(whole[1])]]))
"""
        )
    )
    numbers = [2**16, 2**18, 2**20]
    assert found == [numbers, numbers, [2**18, 2**21]]


@linux_only
def test_no_descriptors():
    """If no more files can be opened, all data go through the pipe."""
    found = run_python(
        """
import os, resource
import numpy as np
from handing_over import linger, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2) as executor:
        [future.result() for future in [executor.submit(linger, 0, 0.3) for _ in range(2)]]
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        executor.submit(total, np.ones(100_000)).result()
        opened = []
        try:
            while True:
                opened.append(os.dup(0))
        except OSError:
            pass
        futures = [executor.submit(total, np.ones(100_000)) for _ in range(10)]
        results = [future.result() for future in futures]
        for fd in opened:
            os.close(fd)
    print(results == [100_000] * 10)
"""
    )
    assert found.strip() == "True"


@linux_only
def test_small_dev_shm():
    """A /dev/shm of 64 MB is no limit: 1 GB of arrays arrives."""
    code = """
import numpy as np, os
from handing_over import same, make, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    shm = os.statvfs("/dev/shm")
    assert shm.f_blocks * shm.f_frsize == 64 * 2**20, shm
    with LowPriorityProcessPoolExecutor(2) as executor:
        for index, result in enumerate(executor.map(make, [100 * 2**20] * 5, range(5), buffersize=2)):
            assert (result == index).all()
        arrays = (np.full(100 * 2**17, float(index)) for index in range(5))
        assert list(executor.map(total, arrays, buffersize=2)) == [index * 100 * 2.0**17 for index in range(5)]
    print("done")
"""
    mount = shutil.which("unshare")
    if mount is None or os.geteuid() != 0:
        pytest.skip("not allowed to mount")
    script = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$0" -c "$1"'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, code],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip("not allowed to mount")
    assert ended.stdout.strip() == "done", ended.stderr


@linux_only
def test_file_of_another():
    """In a pid namespace with the outer /proc, an id names another process there, whose files are not opened."""
    memory = backend.sharing.find_shared_memory()
    segment, other = memory.create(MB), memory.create(MB)
    with pytest.raises(FileNotFoundError):
        memory.open((*segment.address[:2], *other.address[2:]))
    code = """
import numpy as np, os
from handing_over import make, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    assert os.getpid() < 10
    with LowPriorityProcessPoolExecutor(2) as executor:
        assert list(executor.map(total, [np.ones(10**6)] * 10)) == [10**6] * 10
        assert executor.submit(make, 10**6).result()[-1] == 1
    print("done")
"""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("not allowed to make a namespace")
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if "unshare" in ended.stderr:
        pytest.skip("not allowed to make a namespace")
    assert ended.stdout.strip() == "done", ended.stderr


@linux_only
def test_other_user():
    """A worker that may not open its parent's files gets the memory from the parent."""
    if os.geteuid() != 0:
        pytest.skip("may not become another user")
    array = np.ones(MB)
    with LowPriorityProcessPoolExecutor(2, initializer=become, initargs=(65534,)) as executor:
        assert executor.submit(abs, -1).result() == 1
        assert list(executor.map(total, [array] * 50)) == [MB] * 50
        assert list(executor.map(write, [array] * 4)) == [(1, -1, True)] * 4
        assert executor.submit(make, MB).result()[0] == 1
        assert executor.submit(os.geteuid).result() == 65534
    assert array[0] == 1
