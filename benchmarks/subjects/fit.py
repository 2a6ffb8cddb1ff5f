"""Background work of SciPy: `differential_evolution` fits a driven, damped oscillator to noisy data.

One call of the model integrates the equation of motion, about 2 ms, nearly all of it Python code under the GIL, as
in most models that people fit.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import differential_evolution

BOUNDS: Final = ((0.05, 1.0), (0.5, 5.0), (0.0, 3.0), (0.1, 2.0))
TRUTH: Final = (0.25, 2.0, 1.0, 0.5)
_TIMES: Final = np.linspace(0, 20, 81)
_NOISE: Final = 0.02
_ENDLESS: Final = 1_000_000


def _motion(time_s: float, state: NDArray[np.float64], *parameters: float) -> tuple[float, float]:
    position, speed = state.tolist()
    damping, stiffness, drive, frequency = parameters
    return speed, drive * math.cos(frequency * time_s) - damping * speed - stiffness * position


def _simulate(parameters: Sequence[float]) -> NDArray[np.float64]:
    solution = solve_ivp(_motion, (0.0, 20.0), (1.0, 0.0), t_eval=_TIMES, args=tuple(parameters))
    return np.asarray(solution.y[0], dtype=np.float64)


_DATA: Final = _simulate(TRUTH) + np.random.default_rng(0).normal(0, _NOISE, len(_TIMES))


def misfit(parameters: Sequence[float]) -> float:
    """Return the sum of squares between model and data."""
    return float(((_simulate(parameters) - _DATA) ** 2).sum())


class Timed:
    """A function for the workers that also returns the time at which it was done, in ns of `time.perf_counter_ns`."""

    def __init__(self, function: Callable[[Any], float]) -> None:
        self.function = function

    def __call__(self, argument: Any) -> tuple[float, int]:
        """Call the function."""
        return self.function(argument), time.perf_counter_ns()


def fit_until(stopped: Callable[[], bool], executor: Executor, seed: int) -> list[int]:
    """Run `differential_evolution(workers=executor.map, updating="deferred")` again and again until `stopped`.

    It is asked after each generation. Return when each call of the model was done, in ns of `time.perf_counter_ns`.
    """
    done: list[int] = []

    def timed_map(function: Callable[[Any], float], arguments: Iterable[Any]) -> Iterator[float]:
        for value, when in executor.map(Timed(function), arguments):
            done.append(when)
            yield value

    # SciPy's stubs know no callback that ends a run by returning True.
    evolve: Any = differential_evolution
    while not stopped():
        evolve(
            misfit,
            BOUNDS,
            workers=timed_map,
            updating="deferred",
            # Never converge, so that every run lasts for the whole measurement.
            tol=0,
            atol=0,
            maxiter=_ENDLESS,
            polish=False,
            seed=seed,
            callback=lambda *_args, **_kwargs: stopped(),
        )
    return done
