"""Tasks with arrays, which a spawned worker can import, and functions that measure the use of shared memory."""

import contextlib
import os
import threading
import time

import numpy as np
import psutil

from asking import LINUX
from tasks import meet, same  # noqa: F401 (other modules import both from here)

MARK = "memfd:nicefutures"


class ArrayError(Exception):
    """An exception with an array."""


def make(size, value=1.0):
    """Return an array of `size` bytes."""
    return np.full(size // 8, value)


def total(array):
    """Return the sum of all elements."""
    return float(np.sum(array))


def first_of(array, *_):
    """Return the first element."""
    return float(array.flat[0])


def length(content, *_):
    """Return the length of `content`."""
    return len(content)


def write(array):
    """Overwrite the task's own array; return its first element before and after, and whether it is writable."""
    before = float(array.flat[0])
    array[...] = -1
    return before, float(array.flat[0]), array.flags.writeable


def fail(array):
    """Raise an exception with an array."""
    raise ArrayError(array, {"again": array})


def mapped(array):
    """Return the inode numbers of the shared memory that this process has mapped."""
    assert array.nbytes
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return {int(line.split()[4]) for line in maps if MARK in line}


def proportional(array, folder, count):
    """Read all of the array while others do; return this process's memory in bytes, with its part of shared pages."""
    total(array)
    meet(folder, count)
    with open("/proc/self/smaps_rollup", encoding="utf-8") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def become(uid):
    """Become another user, who may not be allowed to import from here, so import the modules for arrays first."""
    from nicefutures._processes.transport import arrays  # noqa: F401

    os.setuid(uid)


def linger(array, seconds):
    """Return the array after `seconds`."""
    time.sleep(seconds)
    return array


def end_worker(array):
    """End the worker in the middle of a task."""
    os._exit(1)


def shared(pid=None):
    """Return how often a process has shared memory open or mapped, or the number of its handles if not on Linux."""
    process = psutil.Process(pid)
    if not LINUX:
        return process.num_handles()
    names = []
    for fd in os.listdir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
            names.append(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
    with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
        return sum(MARK in each for each in [*names, *maps])


def mapped_and(array, number):
    """Return the result of `mapped`, with another argument for `map`."""
    return mapped(array)


def with_lock(array):
    """Return an array together with an object that cannot be pickled."""
    return [array, threading.Lock()]
