"""The costs of our process pool and of the standard library's, for each start method."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ..analysis.bootstrap import Samples, compare_medians, quantile_ratio
from ..analysis.rows import stood_still
from ..cells.engine import PERIOD_NS, WORKERS
from ..suites.engine import KINDS, METHODS
from .tables import Table, Value, columns
from .targets import Target

NOTE: Final = (
    f"{WORKERS} workers. ours, stdlib: medians. compared: with 99 % intervals, over the pairs of all rounds; of a p99, "
    "over its beats. reached: not clear if the target is inside the interval."
)
_COLUMNS: Final = columns("what | start method | unit | ours:1 | stdlib:1 | ours over the stdlib | target | reached")


def _alone(ours: Samples, _theirs: Samples) -> Samples:
    return ours


def _beyond(ours: Samples, theirs: Samples) -> Samples:
    return np.asarray(ours - 1.3 * theirs)


class _Goal(NamedTuple):
    """A target, and the function that computes its value from the values of both pools."""

    target: Target
    compare: Callable[[Samples, Samples], Samples] = operator.truediv


_GOALS: Final = {
    "call": _Goal(Target("", most=0.55)),
    "call, array": _Goal(Target("", most=0.6)),
    "call, class": _Goal(Target("", most=0.8)),
    "item": _Goal(Target("", most=0.65)),
    "item, array": _Goal(Target("", most=0.7)),
    "item, class": _Goal(Target("", most=0.8)),
    "waiting": _Goal(Target("", most=1)),
    "cancelled": _Goal(Target("", most=1)),
    "map": _Goal(Target("us", most=5), _alone),
    "search": _Goal(Target("", most=0.5)),
    "uneven": _Goal(Target("s", most=1.6), _alone),
    # That is 3.5 and 2.5 times as many MB/s.
    "sent": _Goal(Target("", most=0.285)),
    "returned": _Goal(Target("", most=0.4)),
    "start": _Goal(Target("ms beyond 1.3 of the stdlib", most=2), _beyond),
    "heartbeat": _Goal(Target("", most=0.5)),
    "window": _Goal(Target("", most=0.25)),
}


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return one table, with a row for each kind of cost and start method."""
    rows = [row for kind in KINDS for method in METHODS if (row := _row(record, kind, method)) is not None]
    return [Table("the process pool beside the standard library's", _COLUMNS, rows)] if rows else []


def _row(record: Mapping[str, Any], kind: str, method: str) -> Sequence[Value] | None:
    results = [cell["result"] for cell in record["cells"] if cell.get("engine") == [kind, method] and "result" in cell]
    if not results:
        return None
    seed, goal, scale = record["seed"], _GOALS[kind], KINDS[kind].scale
    if kind in PERIOD_NS:
        ours, theirs = ([_late_s(result, pool, kind) for result in results] for pool in ("ours", "stdlib"))
        medians = [float(np.quantile(np.concatenate(late), 0.99)) * scale for late in (ours, theirs)]
        ratio = judged = quantile_ratio(ours, theirs, 0.99, seed)
    else:
        pairs = [
            (scale * ours, scale * theirs)
            for result in results
            for ours, theirs in zip(result["ours"], result["stdlib"], strict=True)
        ]
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        ratio = compare_medians(pairs, operator.truediv, seed)
        judged = compare_medians(pairs, goal.compare, seed)
    what, _, limit, reached = goal.target.judge(judged)
    return (KINDS[kind].title, method, KINDS[kind].unit, *medians, ratio.text, f"{limit} {what}".strip(), reached)


def _late_s(result: Mapping[str, Any], pool: str, kind: str) -> Samples:
    """Return the latenesses of a round, without the beats during which the machine itself stalled."""
    return np.concatenate(
        [
            np.asarray(beats["lateness_ns"])[~stood_still(beats, result["machine"], PERIOD_NS[kind])] / 1e9
            for beats in result[pool]
        ]
    )
