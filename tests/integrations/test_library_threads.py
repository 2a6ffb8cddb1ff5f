"""The threads of BLAS libraries."""

import pytest

from programs import run_python


def test_blas():
    """The backend of the system finds the threads of NumPy's BLAS, and no other threads."""
    pytest.importorskip("numpy")
    printed = run_python("""
import os
os.environ["OPENBLAS_NUM_THREADS"] = "3"
import threading
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
backend.threads.set_levels(found, ThreadPriority.IDLE)
print({level.name for level in backend.threads.get_levels(found).values()})
print(get_thread_priority().name, backend.priority.get_thread(other).name)
ends.set()
other.join()
""")
    first, second, third = printed.splitlines()
    assert first.startswith("[] True"), first
    assert second in {"{'IDLE'}", "set()"}
    assert third == "NORMAL NORMAL"
