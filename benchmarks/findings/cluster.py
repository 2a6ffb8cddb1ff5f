"""Whether Dask workers at a low priority leave the machine to other programs, and still answer."""

import operator
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ..analysis.bootstrap import Interval, Samples, as_text, compare_medians
from ..cells.cluster import FOREIGN, LOADS, THREADS, WORKERS
from ..suites.cluster import LEVELS, TITLES
from .tables import Table, Value, table_if_any
from .targets import Target, target_table

NOTE: Final = (
    f"{WORKERS} workers of {THREADS} threads, {FOREIGN} busy programs at normal priority. their speed: with tasks over "
    "without, in the same cell, with 99 % intervals. late: how late a coroutine that sleeps for 20 ms wakes up in the "
    "workers' event loops. unresponsive: how often Dask says in its logs that an event loop was; over all rounds."
)
_SPEED: Final = Target("speed that the busy programs keep beside workers at idle", least=0.95)
_UNRESPONSIVE: Final = Target("unresponsive event loops with the plugin minus without", most=0)
_LOST: Final = Target("workers lost", most=0)
_RATE: Final = Target("tasks/s over Dask's own beside nothing", least=0.95)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return tables of the loads and priorities, and one of targets."""
    heads = (
        "tasks | workers | their speed | tasks/s:1 | late, p50 ms:1 | late, p99 ms:1 | late, most ms:0 | "
        "unresponsive:0 | workers lost:0"
    )
    rows = [_row(record, load, level) for load in LOADS for level in LEVELS if _results(record, load, level)]
    found = table_if_any(f"two Dask workers beside {FOREIGN} busy programs", heads, rows)
    heads = "tasks | workers | tasks/s:1 | tasks/s over Dask | scheduler late, p50 ms:1 | p99 ms:1 | most ms:0"
    rows = [_row_alone(record, load, level) for load in LOADS for level in LEVELS if _results(record, load, level, 0)]
    found += table_if_any("Dask's tasks beside nothing", heads, rows)
    targets = [row for load in LOADS for row in _targets(record, load)]
    return [*found, *([target_table("Targets for Dask's workers", targets)] if targets else [])]


def _results(
    record: Mapping[str, Any], load: str, level: str | None, foreign: int = FOREIGN
) -> list[Mapping[str, Any]]:
    # Older files do not contain the number of busy programs.
    wanted = [load, level, foreign]
    return [c["result"] for c in record["cells"] if [*c.get("cluster", ()), FOREIGN][:3] == wanted and "result" in c]


def _row_alone(record: Mapping[str, Any], load: str, level: str | None) -> Sequence[Value]:
    results = _results(record, load, level, 0)
    late = np.concatenate([result["scheduler_late_ms"] for result in results])
    over = _rate_over_dask(record, load) if level else None
    return (load, TITLES[level], statistics.median(map(_rate, results)), as_text(over), *_late(late))


def _rate(result: Mapping[str, Any]) -> float:
    return float(result["done"] / result["seconds"])


def _late(late_ms: Samples) -> list[float]:
    return [*map(float, np.percentile(late_ms, (50, 99, 100)))]


def _rate_over_dask(record: Mapping[str, Any], load: str) -> Interval | None:
    rates = [map(_rate, _results(record, load, level, 0)) for level in ("idle", None)]
    return _over(record, [*zip(*rates, strict=False)])


def _row(record: Mapping[str, Any], load: str, level: str | None) -> Sequence[Value]:
    results = _results(record, load, level)
    late = np.concatenate([result["late_ms"] for result in results])
    speed = _speed(record, results)
    return (
        load,
        TITLES[level],
        as_text(speed),
        statistics.median(map(_rate, results)),
        *_late(late),
        _sum(results, "unresponsive"),
        _sum(results, "lost"),
    )


def _speed(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Interval | None:
    return _over(record, [(result["beside_per_s"], result["alone_per_s"]) for result in results])


def _over(record: Mapping[str, Any], pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """Compare the medians, without pairs whose reference did no work, as on a machine that is far too busy."""
    pairs = [(ours, theirs) for ours, theirs in pairs if theirs]
    return compare_medians(pairs, operator.truediv, record["seed"]) if pairs else None


def _sum(results: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(sum(result[what] for result in results))


def _targets(record: Mapping[str, Any], load: str) -> list[Sequence[Value]]:
    low, plain = _results(record, load, "idle"), _results(record, load, None)
    if not low or not plain:
        return []
    more = _sum(low, "unresponsive") - _sum(plain, "unresponsive")
    judged = [_SPEED.judge(_speed(record, low)), _UNRESPONSIVE.judge(more), _LOST.judge(_sum(low, "lost"))]
    if _results(record, load, "idle", 0):
        judged.append(_RATE.judge(_rate_over_dask(record, load)))
    return [(f"{what}, {load}", *rest) for what, *rest in judged]
