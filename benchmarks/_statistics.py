"""The arithmetic: latenesses, quantiles, confidence intervals. Plain Python, so that it can be imported anywhere."""

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

# So many points that every percentile, and every tenth of one, is a point.
QUANTILE_POINTS: Final = 1001


def charge(frames: Sequence[tuple[int, int]], start: int, period: int, beats: int) -> list[int]:
    """Return how long after its due time each beat of a fixed schedule was on the screen.

    A beat that fell due while a frame was being drawn, or while nothing ran at all, is shown by the next frame, and is
    charged with the whole time until then. So a stall that swallows k beats gives k long times, not one: leaving
    them out ("coordinated omission") would hide the stalls.

    Parameters
    ----------
    frames : sequence of (int, int)
        When the drawing of each frame began and ended, in ns.
    start : int
        When the first beat was due, in ns.
    period : int
        Time from beat to beat, in ns.
    beats : int
        How many beats the schedule has.

    Returns
    -------
    list of int
        Time from due to drawn, in ns, beat by beat. Beats that no frame showed are missing at the end.

    Examples
    --------
    >>> charge([(0, 1), (10, 11), (45, 46)], start=0, period=10, beats=5)
    [1, 1, 26, 16, 6]
    """
    times: list[int] = []
    for begun, drawn in frames:
        while len(times) < beats and start + len(times) * period <= begun:
            times.append(drawn - (start + len(times) * period))
    return times


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return a quantile, linearly interpolated between the samples.

    Parameters
    ----------
    values : sequence of float
        The samples, at least one, in any order.
    fraction : float
        From 0, the least, to 1, the greatest.

    Examples
    --------
    >>> quantile([3, 1, 2], 0.5), quantile([0, 10], 0.95)
    (2.0, 9.5)
    """
    return _quantile_of_sorted(sorted(values), fraction)


def _quantile_of_sorted(values: Sequence[float], fraction: float) -> float:
    position = fraction * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return float(values[below] + (values[above] - values[below]) * (position - below))


def thin(values: Sequence[int]) -> list[int]:
    """Return the samples sorted, and if there are more than `QUANTILE_POINTS`, that many equidistant quantiles."""
    ordered = sorted(values)
    if len(ordered) <= QUANTILE_POINTS:
        return ordered
    return [round(_quantile_of_sorted(ordered, k / (QUANTILE_POINTS - 1))) for k in range(QUANTILE_POINTS)]


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    pairs: Sequence[tuple[float, float]], compare: Callable[[float, float], float], seed: int, resamples: int = 2000
) -> Interval:
    """Compare the medians of two interleaved series.

    Parameters
    ----------
    pairs : sequence of (float, float)
        Samples that were taken next to each other, and are resampled together: what disturbed one disturbed both.
    compare : callable
        What to make of the two medians: a ratio, a difference.
    seed : int
        Of the resampling.
    resamples : int
        How many.

    Returns
    -------
    Interval
        The comparison, and from the 2.5th to the 97.5th percentile of the resampled ones.
    """
    draw = random.Random(seed)

    def of(sample: Sequence[tuple[float, float]]) -> float:
        return compare(*(statistics.median(series) for series in zip(*sample, strict=True)))

    resampled = sorted(of(draw.choices(pairs, k=len(pairs))) for _ in range(resamples))
    return Interval(of(pairs), _quantile_of_sorted(resampled, 0.025), _quantile_of_sorted(resampled, 0.975))
