"""Reading windows, what :mod:`benchmarks._cell` measures, out of a record."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ._levels import describe
from ._run import results
from ._statistics import quantile


def windows(record: Mapping[str, Any], name: str, job: str) -> list[dict[str, Any]]:
    """Return the windows of one job of a cell, round by round."""
    return [window for result in results(record, name) for window in result["windows"] if window["job"] == job]


def median_speed(measured: list[dict[str, Any]]) -> float | None:
    """Return the foreground's speed in frames per second: the median of the rounds."""
    return statistics.median(window["frames_per_s"] for window in measured) if measured else None


def median_rate(measured: list[dict[str, Any]]) -> float | None:
    """Return the background's work in pieces per second: the median of the rounds."""
    return statistics.median(window["done"] / window["seconds"] for window in measured) if measured else None


def median_percentile(measured: list[dict[str, Any]], times: str, percent: float) -> float | None:
    """Return a percentile of times in ms: the median of the rounds' percentiles.

    Parameters
    ----------
    measured : list of dict
        The windows.
    times : {"frame_us", "beat_us", "own_beat_us"}
        Which times.
    percent : float
        0 to 100.
    """
    each = [quantile(window[times], percent / 100) / 1000 for window in measured if window[times]]
    return statistics.median(each) if each else None


def level_text(record: Mapping[str, Any], name: str) -> str | None:
    """Return the level that was read in the workers, over all rounds."""
    threads = Counter[str]()
    for result in results(record, name):
        threads.update(result["levels"])
    return describe(threads) or None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return value / base, if both were measured."""
    return value / base if value is not None and base else None
