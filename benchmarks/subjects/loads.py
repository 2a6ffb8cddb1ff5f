"""The background work: NumPy, SciPy and plain Python, in tasks that hold the GIL or release it.

A task takes some milliseconds, which is much longer than its way through the queue. ``sorted`` and ``stall`` are single
calls of C code that hold the GIL for about 50 ms. The tasks of ``endless`` and ``late`` repeat the load's task until
the end.
"""

import ctypes
import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..system import WINDOWS
from .plain import compute, run_objects, run_python, run_python_1ms, run_python_10ms, run_python_50ms

_SEED: Final = 700
_MATRIX_SIZE: Final = 700
_PRODUCTS_PER_TASK: Final = 2

# A stall lasts 50 ms. The period is 1 s and an eighth of a frame, so that eight stalls sweep over the frame.
STALL_S: Final = 0.050
STALL_PERIOD_S: Final = 1.0 + 1 / 60 / 8
# Length of a phase of "changing". Phases begin when `time.perf_counter` is a multiple of it.
PHASE_S: Final = 2.0
PHASES: Final = ("python", "matmul", "python", "mixed")
_turns: Final = itertools.count()


@functools.cache
def _random(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(_SEED).random(shape)


@functools.cache
def _unsorted() -> list[float]:
    return list(_random(120_000).tolist())


def run_ufuncs() -> None:
    """Run 5 ms of ufuncs of 100 elements: NumPy holds the GIL for such small arrays."""
    values, out = _random(100), np.empty(100)
    for _ in range(8_000):
        np.multiply(values, values, out)


def run_sorted() -> None:
    """Sort a list: one C call that holds the GIL for about 50 ms."""
    sorted(_unsorted())


def run_quad() -> None:
    """Integrate a Python function with SciPy: Fortran code that calls Python code."""
    from scipy.integrate import quad

    for _ in range(40):
        quad(_integrand, 0.0, 10.0)


def _integrand(x: float) -> float:
    return x / (1 + x * x) - 0.1 * x


def run_matmul() -> None:
    """Multiply 700 x 700 matrices; BLAS releases the GIL and has threads of its own."""
    matrix = _random(_MATRIX_SIZE, _MATRIX_SIZE)
    for _ in range(_PRODUCTS_PER_TASK):
        matrix @ matrix


def run_exp() -> None:
    """Run one large ufunc, which releases the GIL."""
    values = _random(1_000_000)
    np.exp(values)


def run_stream() -> None:
    """Read and write 64 MB, which no cache holds."""
    values = _random(8_000_000)
    np.negative(values, out=values)


def run_gather() -> None:
    """Read numbers in random order out of 4 MB, which fit into a cache."""
    values, places, out = _places()
    np.take(values, places, out=out, mode="clip")


@functools.cache
def _places() -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    draw = np.random.default_rng(_SEED)
    return _random(500_000), draw.integers(0, 500_000, 100_000), np.empty(100_000)


def run_svd() -> None:
    """Run LAPACK, which releases the GIL."""
    np.linalg.svd(_random(150, 150))


def run_fft() -> None:
    """Transform a million points, which releases the GIL."""
    np.fft.rfft(_random(1_048_576))


def run_short_waits() -> None:
    """Wait for 1 ms and run 2 ms of bytecode."""
    time.sleep(0.001)
    compute(32_000)


def run_waits() -> None:
    """Wait for 40 ms and run 2 ms of bytecode, like a task that parses data from a network."""
    time.sleep(0.040)
    compute(32_000)


def run_halves() -> None:
    """Wait for 10 ms and run 10 ms of bytecode."""
    time.sleep(0.010)
    compute(160_000)


def run_mixed() -> None:
    """Run bytecode and matrix products in turn."""
    (run_python if next(_turns) % 2 else run_matmul)()


def run_changing() -> None:
    """Run the load of the current phase: bytecode, matrix products, bytecode, both in turn, for `PHASE_S` each."""
    LOADS[PHASES[time.perf_counter_ns() // round(PHASE_S * 1e9) % len(PHASES)]].task()


def return_array() -> NDArray[np.float64]:
    """Return 32 MB, which the parent of a process pool unpickles under the GIL."""
    return np.ones(4_000_000)


def stall() -> None:
    """Wait for most of a second, then hold the GIL in a C call for exactly 50 ms, which tests must find."""
    time.sleep(STALL_PERIOD_S - STALL_S)
    # PyDLL calls C without releasing the GIL.
    if WINDOWS:
        ctypes.PyDLL("kernel32").Sleep(round(STALL_S * 1e3))
    else:
        ctypes.PyDLL(None).usleep(round(STALL_S * 1e6))


@dataclass(frozen=True)
class Load:
    """A kind of background work."""

    title: str
    task: Callable[[], Any]  # can be pickled
    units: int = 1  # pieces of work in one task
    holds_gil: bool | None = None  # whether a task holds the GIL; None if that varies


LOADS: Final = {
    "python": Load("pure Python, 5 ms", run_python, holds_gil=True),
    "ufuncs": Load("ufuncs of 100 elements", run_ufuncs, holds_gil=True),
    "sorted": Load("sorted(list), one C call of 50 ms", run_sorted, holds_gil=True),
    "quad": Load("SciPy's quad with a Python function", run_quad, holds_gil=True),
    "matmul": Load("products of 700 x 700 matrices", run_matmul, _PRODUCTS_PER_TASK, holds_gil=False),
    "exp": Load("np.exp of a million", run_exp, holds_gil=False),
    "stream": Load("64 MB read and written", run_stream, holds_gil=False),
    "gather": Load("100,000 numbers read out of 4 MB, in random order", run_gather, holds_gil=False),
    "svd": Load("SVD of 150 x 150", run_svd, holds_gil=False),
    "fft": Load("FFT of a million points", run_fft, holds_gil=False),
    "python-1ms": Load("pure Python, 1 ms", run_python_1ms, holds_gil=True),
    "python-10ms": Load("pure Python, 10 ms", run_python_10ms, holds_gil=True),
    "python-50ms": Load("pure Python, 50 ms", run_python_50ms, holds_gil=True),
    "objects": Load("small objects made and dropped", run_objects, holds_gil=True),
    "waits": Load("40 ms of waiting and 2 ms of Python", run_waits),
    "halves": Load("10 ms of waiting and 10 ms of Python", run_halves),
    "short-waits": Load("1 ms of waiting and 2 ms of Python", run_short_waits),
    "endless": Load("pure Python that does not end", run_python, holds_gil=True),
    "late": Load("how late a task begins beside pure Python that does not end", run_python, holds_gil=True),
    "mixed": Load("pure Python and matrix products in turn", run_mixed),
    "changing": Load("pure Python, matrix products, pure Python, both", run_changing),
    "arrays": Load("arrays of 32 MB come back", return_array),
    "stall": Load("known stalls: 50 ms once a second", stall, holds_gil=True),
}
# Loads for interpreters, which cannot import NumPy.
PLAIN_LOADS: Final = tuple(name for name, load in LOADS.items() if load.task.__module__ == compute.__module__)
# SciPy's optimizer, which makes its own tasks: see `benchmarks.subjects.fit`.
FIT: Final = "fit"
TITLES: Final = {name: load.title for name, load in LOADS.items()} | {FIT: "SciPy's differential_evolution"}
