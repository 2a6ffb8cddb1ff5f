"""Whether Dask workers at a low priority leave the machine to others, and still answer."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ..analysis.bootstrap import Interval, Samples, compare_medians
from ..cells.cluster import FOREIGN, LOADS, THREADS, WORKERS
from ..suites.cluster import LEVELS, TITLES
from .tables import Column, Table, Value
from .targets import Target, target_table

NOTE: Final = (
    f"{WORKERS} workers of {THREADS} threads, {FOREIGN} busy programs at normal priority. their speed: with tasks over "
    "without, in the same cell, with 99 % intervals. late: how late a coroutine that sleeps for 20 ms wakes up in the "
    "workers' event loops. unresponsive: how often Dask says in its logs that an event loop was; over all rounds."
)
_SPEED: Final = Target("speed that the busy programs keep beside workers at idle", least=0.95)
_UNRESPONSIVE: Final = Target("unresponsive event loops with the plugin minus without", most=0)
_LOST: Final = Target("workers lost", most=0)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of the loads and levels, and one of targets."""
    columns = (
        Column("tasks"),
        Column("workers"),
        Column("their speed"),
        Column("tasks/s", 1),
        Column("late, p50 ms", 1),
        Column("late, p99 ms", 1),
        Column("late, most ms", 0),
        Column("unresponsive", 0),
        Column("workers lost", 0),
    )
    rows = [_row(record, load, level) for load in LOADS for level in LEVELS if _results(record, load, level)]
    found = [Table(f"two Dask workers beside {FOREIGN} busy programs", columns, rows)] if rows else []
    targets = [row for load in LOADS for row in _targets(record, load)]
    return [*found, *([target_table("Targets for Dask's workers", targets)] if targets else [])]


def _results(record: Mapping[str, Any], load: str, level: str | None) -> list[Mapping[str, Any]]:
    return [c["result"] for c in record["cells"] if c.get("cluster") == [load, level] and "result" in c]


def _row(record: Mapping[str, Any], load: str, level: str | None) -> Sequence[Value]:
    results = _results(record, load, level)
    late = np.concatenate([result["late_ms"] for result in results])
    return (
        load,
        TITLES[level],
        _speed(record, results).text,
        statistics.median(result["done"] / result["seconds"] for result in results),
        float(np.percentile(late, 50)),
        float(np.percentile(late, 99)),
        float(late.max()),
        _sum(results, "unresponsive"),
        _sum(results, "lost"),
    )


def _speed(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Interval:
    pairs = [(result["beside_per_s"], result["alone_per_s"]) for result in results]
    return compare_medians(pairs, _over, record["seed"])


def _over(ours: Samples, theirs: Samples) -> Samples:
    return ours / theirs


def _sum(results: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(sum(result[what] for result in results))


def _targets(record: Mapping[str, Any], load: str) -> list[Sequence[Value]]:
    low, plain = _results(record, load, "idle"), _results(record, load, None)
    if not low or not plain:
        return []
    more = _sum(low, "unresponsive") - _sum(plain, "unresponsive")
    judged = (_SPEED.judge(_speed(record, low)), _UNRESPONSIVE.judge(more), _LOST.judge(_sum(low, "lost")))
    return [(f"{what}, {load}", *rest) for what, *rest in judged]
