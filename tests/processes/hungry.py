"""Tasks that use a given number of bytes in different ways, and tasks that end or limit their worker."""

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
    """Compute a matrix product; together with its factor it takes `size` bytes."""
    import numpy as np

    side = int((size / 16) ** 0.5)
    square = np.ones((side, side))
    return float((square @ square)[0, 0]) == side


def linalg(size):
    """Import SciPy's linear algebra, with a BLAS library of its own, while `size` bytes are in use."""
    held = bytearray(size)
    import scipy.linalg

    return float(scipy.linalg.inv([[len(held)]])[0, 0]) == 1 / size


def compiled(size):
    """Compile a function, and sum `size` bytes with it."""
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
    """Make a data frame with a column of `size` bytes."""
    import polars as pl

    return len(pl.DataFrame({"a": pl.arange(0, size // 8, eager=True)}).select(pl.col("a"))) == size // 8


def threads(size):
    """Take `size` bytes in total in ten threads."""
    with ThreadPoolExecutor(10) as executor:
        return sum(map(len, list(executor.map(bytearray, [size // 10] * 10)))) == size // 10 * 10


def mapping(size):
    """Write to each page of a private mapping of `size` bytes."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        mapped[:: mmap.PAGESIZE] = b"1" * len(mapped[:: mmap.PAGESIZE])
        return len(mapped) == size


def idle_threads(count, size):
    """Take `size` bytes while `count` threads wait."""
    done = threading.Event()
    try:
        for _ in range(count):
            threading.Thread(target=done.wait).start()
        return len(bytearray(size))
    finally:
        done.set()


def thread_pool(count, held):
    """Use a pool of threads and leave it open; if `held` is given, fill the memory first."""
    taken = [bytearray(held)]
    with contextlib.suppress(MemoryError):
        while held:
            taken.append(bytearray(MIB // 4))
    return sum(ThreadPool(count).map(abs, range(-count, 0)))


def import_in_full_memory(folder, size):
    """Import a module that needs `size` bytes."""
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
    """End the process as Rust and C++ do if they get no memory."""
    faulthandler.disable()  # a forked worker inherits pytest's
    os.abort()


def leave():
    """End the process as OpenBLAS does if it gets no memory."""
    ctypes.CDLL(None).exit(1)


def leave_at(number):
    if number == 5:
        leave()
    return number


def limit_myself(size):
    """Set a limit, start a thread and load a library; return the limit after that."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    importlib.import_module("psutil")
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def ask_subprocess():
    """Return the soft limit of this process, of a subprocess, and of the subprocess after it has lifted its limit."""
    import resource

    code = """
from resource import *
print(getrlimit(RLIMIT_DATA)[0])
setrlimit(RLIMIT_DATA, (getrlimit(RLIMIT_DATA)[1],) * 2)
print(getrlimit(RLIMIT_DATA)[0])
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return resource.getrlimit(resource.RLIMIT_DATA)[0], *map(int, printed.split())
