"""Confidence intervals by the bootstrap."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float64]

# A suite has dozens of comparisons: at 95 % one in twenty would be "significant" by chance.
_CONFIDENCE: Final = 0.99
_RESAMPLES: Final = 2000
# Consecutive beats are correlated, so they are resampled in blocks of a quarter of a second.
BLOCK: Final = 15


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The estimate and its interval, as shown in a table."""
        return " ".join([_short(self.value), f"[{_short(self.low)}, {_short(self.high)}]"])


def as_text(interval: Interval | None) -> str | None:
    """Return an interval as shown in a table; None without an interval."""
    return interval.text if interval is not None else None


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def _interval(value: float, resampled: Samples) -> Interval:
    low, high = np.quantile(resampled, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))


def compare_medians(
    pairs: Sequence[tuple[float, float]],
    compare: Callable[[Samples, Samples], Samples],
    seed: int,
) -> Interval:
    """Compare the medians of two interleaved series, for example by their ratio or difference.

    Samples that were taken one after the other, the `pairs`, are resampled together, because a disturbance affects
    both.
    """
    series = np.asarray(pairs, dtype=np.float64)
    choice = np.random.default_rng(seed).integers(0, len(series), (_RESAMPLES, len(series)))
    resampled = np.median(series[choice], axis=1)
    value = compare(*np.median(series, axis=0)[:, np.newaxis])
    return _interval(float(value[0]), compare(*resampled.T))


def quantile_ratio(
    rounds: Sequence[Samples],
    reference: Sequence[Samples],
    fraction: float,
    seed: int,
    block: int = BLOCK,  # number of consecutive beats that are resampled together
) -> Interval:
    """Return the ratio of a quantile of beats to the same quantile of the reference's beats.

    The beats of all rounds are pooled. They are resampled in two stages: first rounds, the same ones for both series
    because they ran interleaved, then blocks of consecutive beats in each round, because a stall delays several beats.
    `rounds` and `reference` have one array of latenesses for each round; both have the same rounds.
    """
    draw = np.random.default_rng(seed)
    chosen = draw.integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    above, below = (_resampled_quantile(series, chosen, fraction, draw, block) for series in (rounds, reference))
    value = np.quantile(np.concatenate(rounds), fraction) / np.quantile(np.concatenate(reference), fraction)
    return _interval(float(value), above / below)


def _thin(series: Samples, length: int) -> Samples:
    return np.asarray(np.quantile(series, np.linspace(0, 1, length)))


def _resampled_quantile(
    rounds: Sequence[Samples], chosen: NDArray[np.int64], fraction: float, draw: np.random.Generator, block: int
) -> Samples:
    # One array needs rounds of equal length. Some beats may be left out, and the number of frames varies.
    length = min(map(len, rounds))
    beats = np.stack([series[:length] if block > 1 else _thin(series, length) for series in rounds])
    places = draw.integers(0, length, (*chosen.shape, -(-length // block)))
    if block > 1:
        places = (places[..., np.newaxis] + np.arange(block)) % length
        places = places.reshape(*chosen.shape, -1)[..., :length]
    # Indexing the concatenated rounds is twice as fast as indexing by round and place.
    resampled = beats.ravel().take(places + length * chosen[..., np.newaxis]).reshape(len(chosen), -1)
    return np.asarray(np.quantile(resampled, fraction, axis=1, overwrite_input=True))
