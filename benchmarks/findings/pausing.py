"""How much programs lose to a pool, with and without pauses while they compute."""

import operator
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..analysis.bootstrap import Interval, as_text, compare_medians
from ..cells.program import CONDITION, POOL
from ..subjects.loads import TITLES
from ..suites.pausing import IDLE_AFTER, PROGRAMS, SKIP_S
from .tables import Table, Value, columns
from .targets import Target, target_table

NOTE: Final = (
    f"The pool at idle streams through memory, a task at a time in each worker, with idle_after={IDLE_AFTER:g}. "
    f"speed/alone: of the program from {SKIP_S:g} s after it began, over its speed with nothing beside, with 99 % "
    "intervals over half seconds of all rounds. pool's CPUs, work: in that time; work over that before the program "
    "began. paused after: from the program's begin; on again after: from its end. pauses: of both pools. W: of the "
    "processors, where the machine tells. Medians of the rounds. The programs: "
    + "; ".join(f"{title}: {TITLES[name]}" for name, title in PROGRAMS.items() if name != POOL)
    + "."
)
_COLUMNS: Final = columns(
    "program | pause_when | speed/alone | pool's CPUs:2 | pool's work:2 | paused after s:1 | on again after s:1 | "
    "pauses:0 | W:1"
)
_PAUSES: Final = ("without", "with")


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of the programs, and one of targets."""
    rows = [_row(record, program, how) for program in PROGRAMS for how in _PAUSES if _results(record, program)]
    if not rows:
        return []
    title = "A program beside a pool that streams through memory"
    return [Table(title, _COLUMNS, rows), target_table("Targets for pausing", _targets(record))]


def _results(record: Mapping[str, Any], program: str) -> list[Mapping[str, Any]]:
    return [cell["result"] for cell in record["cells"] if cell.get("pausing") == program and "result" in cell]


def _row(record: Mapping[str, Any], program: str, how: str) -> Sequence[Value]:
    seen = [result[how] for result in _results(record, program)]
    work = [each["beside_per_s"] / each["before_per_s"] for each in seen if each["before_per_s"]]
    return (
        PROGRAMS[program],
        CONDITION if how == "with" else None,
        as_text(_speed(record, program, how)),
        *(_median(values) for values in ([each["cpus"] for each in seen], work)),
        *(_median([each[what] for each in seen]) for what in ("paused_s", "resumed_s")),
        float(sum(each["pauses"] for each in seen)),
        _median([each["watts"] for each in seen]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return statistics.median(told) if told else None


def _speed(record: Mapping[str, Any], program: str, how: str) -> Interval | None:
    """Return the program's speed over that alone; None if it did no work, as on a machine that is far too busy."""
    pairs = [
        pair
        for result in _results(record, program)
        for pair in zip(result[how]["per_s"], result["alone"]["per_s"], strict=False)
    ]
    return compare_medians(pairs, operator.truediv, record["seed"]) if pairs else None


def _targets(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    paused = [each["with"] for name in PROGRAMS if name != POOL for each in _results(record, name)]
    never = [each for each in paused if each["resumed_s"] is None]
    watching = [each["watching"] for each in paused if each["watching"] is not None]
    both = [each["with"] for each in _results(record, POOL)]
    both_worked = bool(both) and all(each["before_per_s"] and each["per_s"] for each in both)
    late = None if never or not paused else max(each["resumed_s"] for each in paused) - IDLE_AFTER
    return [
        *(
            Target(f"speed/alone, {title}, with {CONDITION}", least=0.95).judge(_speed(record, program, "with"))
            for program, title in PROGRAMS.items()
            if program != POOL
        ),
        Target("pools that did not pause and go on again", most=0).judge(len(never)),
        Target("on again, s later than idle_after, at most", most=2.5).judge(late),
        Target("pool's CPUs while it pauses, at most", most=0.02).judge(max((e["cpus"] for e in paused), default=None)),
        Target("pauses of two such pools beside each other", most=0).judge(
            sum(each["pauses"] for each in both) if both_worked else None
        ),
        Target("the watching thread, % of a core, at most", most=0.2).judge(100 * max(watching) if watching else None),
    ]
