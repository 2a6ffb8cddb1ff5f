"""The tables of all measurements: one for each load and observer."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..analysis.bootstrap import as_text
from ..analysis.rows import LIMITS_MS, Row, Rows, View
from ..subjects.condition import NOTHING
from ..subjects.executors import EXECUTORS
from ..subjects.loads import TITLES
from .tables import Column, Table, Value
from .wording import background_of, where_of

_Maker = Callable[[Row, Row | None, Row | None], Value]


def _percentile(percent: float) -> _Maker:
    return lambda row, _reference, _alone: row.percentile(percent)


def _over(limit: float) -> _Maker:
    return lambda row, _reference, _alone: row.share_over(limit)


# Title, decimals, whether the short table has the column, and the function that makes its values.
_COLUMNS: Final[Sequence[tuple[str, int | None, bool, _Maker]]] = (
    ("p50", 2, True, _percentile(50)),
    ("p95", 1, True, _percentile(95)),
    ("p99", 1, True, _percentile(99)),
    ("p99.9", 1, False, _percentile(99.9)),
    ("max", 1, True, lambda row, _reference, _alone: row.maximum),
    *((f"% > {limit:.3g}", 1, place == 0, _over(limit)) for place, limit in enumerate(LIMITS_MS)),
    ("p99/stdlib", None, True, lambda row, reference, _alone: as_text(row.latency_ratio(reference))),
    ("verdict", None, True, lambda row, reference, _alone: row.verdict(reference)),
    ("speed/alone", 2, True, lambda row, _reference, alone: row.speed_kept(alone)),
    ("work/s", 1, True, lambda row, _reference, _alone: row.rate),
    ("work/stdlib", None, True, lambda row, reference, _alone: as_text(row.work_ratio(reference))),
    ("level of the workers", None, True, lambda row, _reference, _alone: row.level),
)


def load_tables(rows: Rows, *, full: bool) -> list[Table]:
    """Return a table for each load and observer, each with the idle machine first."""
    found = []
    every = sorted(rows, key=_order)
    seen = sorted({(row.condition.ui, row.condition.foreground) for row in every}, key=str)
    watchers = dict.fromkeys((ui, foreground is not None) for ui, foreground in seen)
    loads = [load for load in TITLES if any(row.condition.load == load for row in every)]
    for load, watcher in itertools.product(loads, watchers):
        chosen = [row for row in every if row.condition.load == load and _watches(row, watcher)]
        idle = [row for row in every if row.condition.load is None and _watches(row, watcher)]
        wanted = {row.condition.without_background() for row in chosen}
        chosen = [*(row for row in idle if row.condition in wanted), *chosen]
        if chosen:
            own: View = "ui" if watcher[0] else "frames"
            views: tuple[View, ...] = (own, "foreground") if watcher[1] else (own,)
            found += [_table(rows, [row.in_view(view) for row in chosen], load, view, full=full) for view in views]
    return found


def _watches(row: Row, watcher: tuple[str | None, bool]) -> bool:
    return (row.condition.ui, row.condition.foreground is not None) == watcher


def _order(row: Row) -> tuple[Any, ...]:
    condition = row.condition
    executors = [NOTHING, *EXECUTORS]
    kind = EXECUTORS.get(condition.executor)
    level = kind.priorities.index(condition.priority) if kind and condition.priority in kind.priorities else -1
    return (
        condition.python,
        condition.foreground or "",
        condition.foreign,
        condition.switch_ms or 0.0,
        condition.blas_threads or 0,
        condition.workers,
        executors.index(condition.executor),
        level,
    )


def _table(rows: Rows, chosen: Sequence[Row], load: str, view: View, *, full: bool) -> Table:
    watchers = {
        "ui": f"the window in the same process, {chosen[0].condition.ui}",
        "foreground": "the window in another process",
        "frames": "frames of a program that computes without a pause",
    }
    made = []
    for row in chosen:
        reference, alone = rows.reference(row), rows.alone(row)
        made.append(
            [
                background_of(row.condition),
                where_of(row.condition),
                *(make(row, reference, alone) for *_, make in _COLUMNS),
            ]
        )
    columns = [Column("background"), Column("where"), *(Column(title, digits) for title, digits, *_ in _COLUMNS)]
    wanted = [True, True, *(short or full for *_, short, _ in _COLUMNS)]
    kept = [place for place, wish in enumerate(wanted) if wish and any(line[place] not in (None, "") for line in made)]
    lines = [[line[place] for place in kept] for line in made]
    return Table(f"{TITLES[load]}; {watchers[view]}", [columns[place] for place in kept], lines)
