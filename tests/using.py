"""Tasks that use memory or BLAS libraries, and report it."""

import os

from nicefutures._blas import VARIABLES


def blas_threads(size=0):
    """Return the number of threads of each BLAS library in this process, after a product if `size` is given."""
    if size:
        import numpy as np

        square = np.ones((size, size))
        square @ square
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def environment():
    """Return the values of the variables that libraries read when they are loaded."""
    return [os.environ.get(variable) for variable in VARIABLES]


def numpy_array(size):
    """Return the sum of an array of `size` bytes."""
    import numpy as np

    return float(np.ones(size // 8).sum())


def fill(size):
    """Fill the memory with small objects, until not even one more fits."""
    objects = []
    while len(objects) < size // 8:
        objects.append(object())
    return len(objects)


def hold(size):
    """Keep an array alive in an exception, and allocate another one."""
    held = bytearray(size // 3)
    try:
        raise ValueError(len(held))
    except ValueError:
        return bytearray(size)


def as_bytes(size):
    """Return `size` bytes."""
    return bytes(size)


def length(data):
    return len(data)


def data_limit():
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def kill_myself(number):
    os.kill(os.getpid(), number)


def take(size):
    globals()["ballast"] = bytearray(size)
