"""Confidence intervals by the bootstrap."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float64]

# A suite has dozens of comparisons: at 95 % one in twenty would be "significant" by chance.
CONFIDENCE: Final = 0.99
_RESAMPLES: Final = 2000
# Beats that follow each other are alike, so they are resampled in blocks: a quarter of a second.
BLOCK: Final = 15


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """As it stands in a table."""
        return " ".join([_short(self.value), f"[{_short(self.low)}, {_short(self.high)}]"])

    def excludes(self, value: float) -> bool:
        """Return whether `value` is outside."""
        return not self.low <= value <= self.high


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def _interval(value: float, resampled: Samples, confidence: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def compare_medians(
    pairs: Sequence[tuple[float, float]],
    compare: Callable[[Samples, Samples], Samples],
    seed: int,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Compare the medians of two interleaved series.

    Parameters
    ----------
    pairs : sequence of (float, float)
        Samples that were taken next to each other, and are resampled together: what disturbed one disturbed both.
    compare : callable
        What to make of the two arrays of medians: a ratio, a difference.
    seed : int
        Of the resampling.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        The comparison, and the interval of the resampled ones.
    """
    series = np.asarray(pairs, dtype=np.float64)
    choice = np.random.default_rng(seed).integers(0, len(series), (_RESAMPLES, len(series)))
    resampled = np.median(series[choice], axis=1)
    value = compare(*np.median(series, axis=0)[:, np.newaxis])
    return _interval(float(value[0]), compare(*resampled.T), confidence)


def quantile_ratio(
    rounds: Sequence[Samples],
    reference: Sequence[Samples],
    fraction: float,
    seed: int,
    confidence: float = CONFIDENCE,
    block: int = BLOCK,
) -> Interval:
    """Return the ratio of a quantile of beats to the same quantile of the reference's beats.

    The beats of all rounds are pooled. They are resampled in two stages: rounds, the same ones for both, as they ran
    interleaved; and in each round blocks of consecutive beats, as a stall makes several late.

    Parameters
    ----------
    rounds, reference : sequence of arrays
        Latenesses, round by round; the same rounds in both.
    fraction : float
        Which quantile, 0 to 1.
    seed : int
        Of the resampling.
    confidence : float
        Of the interval.
    block : int
        How many consecutive beats are resampled together.
    """
    draw = np.random.default_rng(seed)
    chosen = draw.integers(0, len(rounds), (_RESAMPLES, len(rounds)))
    above, below = (_resampled_quantile(series, chosen, fraction, draw, block) for series in (rounds, reference))
    value = np.quantile(np.concatenate(rounds), fraction) / np.quantile(np.concatenate(reference), fraction)
    return _interval(float(value), above / below, confidence)


def _thin(series: Samples, length: int) -> Samples:
    return np.asarray(np.quantile(series, np.linspace(0, 1, length)))


def _resampled_quantile(
    rounds: Sequence[Samples], chosen: NDArray[np.int64], fraction: float, draw: np.random.Generator, block: int
) -> Samples:
    # As many in each round make one array. Beats may have been left out, and of frames there are more or fewer.
    length = min(map(len, rounds))
    beats = np.stack([series[:length] if block > 1 else _thin(series, length) for series in rounds])
    places = draw.integers(0, length, (*chosen.shape, -(-length // block)))
    if block > 1:
        places = (places[..., np.newaxis] + np.arange(block)) % length
        places = places.reshape(*chosen.shape, -1)[..., :length]
    # By places in all rounds one after the other: that is twice as fast as by rounds and places.
    resampled = beats.ravel().take(places + length * chosen[..., np.newaxis]).reshape(len(chosen), -1)
    return np.asarray(np.quantile(resampled, fraction, axis=1, overwrite_input=True))
