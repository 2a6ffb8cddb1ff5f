"""Tasks that workers run. A spawned worker imports this module, so the import must cost almost nothing."""

import os
import signal
import threading
import time


def identify(seconds=0.0):
    """Return the worker's process id."""
    time.sleep(seconds)
    return os.getpid()


def nap(seconds):
    """Sleep; return the time."""
    time.sleep(seconds)
    return seconds


def hold_until(path, value=None):
    """Wait until the test makes a file; return the value."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return value


def meet(folder, count):
    """Wait until `count` workers have made a file each in an empty folder; return the process id."""
    with open(os.path.join(folder, str(os.getpid())), "wb"):
        pass
    while len(os.listdir(folder)) < count:
        time.sleep(0.005)
    return os.getpid()


def same(value):
    """Return the argument."""
    return value


def add(a, b=0, *, c=0):
    return a + b + c


def fail(message):
    raise KeyError(message)


def fail_at(bad, value):
    if value == bad:
        raise ValueError(value)
    return value


def sleep_and_return(seconds, value):
    time.sleep(seconds)
    return value


def die():
    os._exit(1)


def die_hard():
    os.kill(os.getpid(), signal.SIGKILL)


_values = {}  # by thread; not `threading.local`, whose values an interpreter loses after each call


def remember(*values):
    _values[threading.get_ident()] = values


def recall():
    return _values.get(threading.get_ident())


def recall_later(_):
    time.sleep(0.02)
    return recall()


def recall_and_identify(_):
    return recall(), os.getpid()


def nested(value):
    """Add 1 to a value in a pool that the worker opens."""
    from multiprocessing import get_context

    from nicefutures import LowPriorityProcessPoolExecutor

    with LowPriorityProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(add, value, 1).result()


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not to be pickled")


def compute(seconds):
    """Keep the GIL busy with Python code."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(50))


def hold(barrier):
    """Keep the worker until the parent has looked at it."""
    barrier.wait(300)
    barrier.wait(300)


def call(function, _):
    return function()


def rosenbrock(x):
    return sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_residuals(x):
    import numpy as np

    return np.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


def wave(x, k):
    import numpy as np

    return np.cos(k * x) * np.exp(-x)
