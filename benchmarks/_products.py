"""Background work that NumPy does: products of 700 x 700 matrices, which release the GIL and use the BLAS threads."""

import functools
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 700
_SEED: Final = 700


@functools.cache
def _matrices() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(_SEED)
    return random.random((SIZE, SIZE)), random.random((SIZE, SIZE))


def multiply(count: int) -> list[int]:
    """Multiply two matrices `count` times.

    Returns
    -------
    list of int
        When each product was done, in ns of `time.perf_counter_ns`.
    """
    left, right = _matrices()
    done: list[int] = []
    for _ in range(count):
        left @ right
        done.append(time.perf_counter_ns())
    return done
