"""Tasks that take so many bytes in one way or another, and what they leave in their worker."""

import contextlib
import ctypes
import faulthandler
import importlib
import mmap
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

MIB = 2**20


def product(size):
    """A matrix product; with its factor it takes `size` bytes."""
    import numpy as np

    side = int((size / 16) ** 0.5)
    square = np.ones((side, side))
    return float((square @ square)[0, 0]) == side


def linalg(size):
    """Import SciPy's linear algebra, and with it a BLAS library of its own, beside `size` bytes."""
    held = bytearray(size)
    import scipy.linalg

    return float(scipy.linalg.inv([[len(held)]])[0, 0]) == 1 / size


def compiled(size):
    """Compile a function, and let it look at `size` bytes."""
    import numba
    import numpy as np

    @numba.njit
    def total(array):
        result = 0.0
        for each in array:
            result += each
        return result

    return total(np.ones(size // 8)) == size // 8


def column(size):
    """A data frame's column of `size` bytes."""
    import polars as pl

    return len(pl.DataFrame({"a": pl.arange(0, size // 8, eager=True)}).select(pl.col("a"))) == size // 8


def threads(size):
    """Ten threads that take `size` bytes together."""
    with ThreadPoolExecutor(10) as executor:
        return sum(map(len, list(executor.map(bytearray, [size // 10] * 10)))) == size // 10 * 10


def mapping(size):
    """A private mapping, each page of which is written to."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        mapped[:: mmap.PAGESIZE] = b"1" * len(mapped[:: mmap.PAGESIZE])
        return len(mapped) == size


def idle_threads(count, size):
    """Take `size` bytes while so many threads wait."""
    done = threading.Event()
    try:
        for _ in range(count):
            threading.Thread(target=done.wait).start()
        return len(bytearray(size))
    finally:
        done.set()


def thread_pool(count, held):
    """Start a pool of threads, in what is left beside `held`, and leave it."""
    taken = [bytearray(held)]
    with contextlib.suppress(MemoryError):
        while held:
            taken.append(bytearray(MIB // 4))
    return sum(ThreadPool(count).map(abs, range(-count, 0)))


def import_in_full_memory(folder, size):
    """Import a module that wants `size` bytes for itself."""
    sys.path.insert(0, str(folder))
    import wants_memory

    return len(wants_memory.DATA) == size


def keep(size):
    """Leave `size` bytes in the worker."""
    vars(sys.modules[__name__]).setdefault("kept", []).append(bytearray(size))
    return os.getpid()


def raise_text(text):
    raise RuntimeError(text)


def abort():
    """End the process as Rust and C++ do when they get no memory."""
    faulthandler.disable()  # a forked worker has pytest's
    os.abort()


def leave():
    """End the process as OpenBLAS does when it gets no memory."""
    ctypes.CDLL(None).exit(1)


def leave_at(number):
    if number == 5:
        leave()
    return number


def limit_myself(size):
    """Set a limit, start a thread and load a library; return what the limit is then."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    importlib.import_module("psutil")
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def ask_subprocess():
    """Return the soft limit here, in a subprocess, and there when that has lifted it."""
    import resource

    code = """
from resource import *
print(getrlimit(RLIMIT_DATA)[0])
setrlimit(RLIMIT_DATA, (getrlimit(RLIMIT_DATA)[1],) * 2)
print(getrlimit(RLIMIT_DATA)[0])
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return resource.getrlimit(resource.RLIMIT_DATA)[0], *map(int, printed.split())
