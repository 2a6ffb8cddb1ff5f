"""What workers do with arrays, where a spawned worker can import it; and who has how much of the shared memory."""

import contextlib
import os
import threading
import time

import numpy as np
import psutil

from asking import LINUX
from tasks import meet

MARK = "memfd:nicefutures"


class ArrayError(Exception):
    """An exception with an array."""


def same(value):
    """Return what comes in."""
    return value


def make(size, value=1.0):
    """Return an array of that many bytes."""
    return np.full(size // 8, value)


def total(array):
    """Return a number that all of the array has to do with."""
    return float(np.sum(array))


def first_of(array, *_):
    """Return the first element."""
    return float(array.flat[0])


def length(content, *_):
    """Return how long it is."""
    return len(content)


def write(array):
    """Overwrite the task's own array; return what it was, and what it is."""
    before = float(array.flat[0])
    array[...] = -1
    return before, float(array.flat[0]), array.flags.writeable


def fail(array):
    """Raise with an array."""
    raise ArrayError(array, {"again": array})


def mapped(array):
    """Return which shared memory this process has mapped: the files' numbers."""
    assert array.nbytes
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return {int(line.split()[4]) for line in maps if MARK in line}


def proportional(array, folder, count):
    """Read all of the array at the same time as others; return how much memory this process has, shared pages in part.

    In bytes.
    """
    total(array)
    meet(folder, count)
    with open("/proc/self/smaps_rollup", encoding="utf-8") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def become(uid):
    """Become another user, who may not be allowed to import anything more from here."""
    os.setuid(uid)


def linger(array, seconds):
    """Take some time; return the array."""
    time.sleep(seconds)
    return array


def end_worker(array):
    """Let the worker end in the middle of a task."""
    os._exit(1)


def shared(pid=None):
    """Return how often a process has shared memory open or mapped: on Linux exactly, elsewhere all its handles."""
    process = psutil.Process(pid)
    if not LINUX:
        return process.num_handles()
    names = []
    for fd in os.listdir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # of this listing itself
            names.append(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
    with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
        return sum(MARK in each for each in [*names, *maps])


def mapped_and(array, number):
    """Return the same, with an argument that map has."""
    return mapped(array)


def with_lock(array):
    """Return an array beside something that cannot be pickled."""
    return [array, threading.Lock()]
