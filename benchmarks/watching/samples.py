"""Quantiles and thinned-out samples, in plain Python, because measured processes should not import NumPy for them."""

from collections.abc import Sequence
from typing import Final

# Enough points for every percentile and every tenth of one.
QUANTILE_POINTS: Final = 1001


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return a quantile (`fraction` 0 to 1), linearly interpolated between the samples: at least one, in any order.

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
    """Return the sorted samples, or `QUANTILE_POINTS` equidistant quantiles if there are more samples."""
    ordered = sorted(values)
    if len(ordered) <= QUANTILE_POINTS:
        return ordered
    return [round(_quantile_of_sorted(ordered, k / (QUANTILE_POINTS - 1))) for k in range(QUANTILE_POINTS)]
