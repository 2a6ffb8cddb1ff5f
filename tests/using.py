"""Tasks that take memory, or load a BLAS library, and tell of it."""

import os

from nicefutures._blas import VARIABLES


def blas_threads(size=0):
    """Threads of each BLAS library that this process has loaded, after a product if `size` is given."""
    if size:
        import numpy as np

        square = np.ones((size, size))
        square @ square
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def environment():
    """Values of the variables that libraries read when they are loaded."""
    return [os.environ.get(variable) for variable in VARIABLES]


def numpy_array(size):
    """Sum of an array of `size` bytes."""
    import numpy as np

    return float(np.ones(size // 8).sum())


def fill(size):
    """Fill the memory with small objects, of which not one more fits in the end."""
    objects = []
    while len(objects) < size // 8:
        objects.append(object())
    return len(objects)


def hold(size):
    """Keep an array in an exception that is in the way of another."""
    held = bytearray(size // 3)
    try:
        raise ValueError(len(held))
    except ValueError:
        return bytearray(size)


def as_bytes(size):
    """A result of `size` bytes."""
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
