"""Which executor to use: of those that do not disturb other programs the one that does most."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Final

from ..analysis.rows import FRAME_MS, Row, Rows, View
from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import EXECUTORS, LOW_PROCESS
from ..subjects.loads import TITLES
from ..suites.designs import DESIGNS
from .tables import Column, Table, Value
from .wording import background_of

# Of what other programs have alone.
UNNOTICED_SPEED: Final = 0.9
_WINDOWS: Final = {"thread": "a timer"}
_VIEWS: Final[tuple[View, ...]] = ("ui", "foreground", "frames")


def choice_tables(rows: Rows) -> list[Table]:
    """Return which executor to use for which load."""
    base = DESIGNS[rows.record["suite"]].base
    lines: list[Sequence[Value]] = []
    for load, ui in itertools.product(TITLES, dict.fromkeys(row.condition.ui for row in rows)):
        place = dataclasses.replace(base, load=load, ui=ui)
        usual = [row for row in rows.where(load=load) if _is_usual(row.condition, place)]
        if usual:
            best = choose(usual, rows)
            unnoticed = _is_unnoticed(best, rows)
            use = background_of(best.condition)
            because = "most work of those that do not disturb" if unnoticed else "disturbs least"
            if not unnoticed and not any(EXECUTORS[row.condition.executor].processes for row in usual):
                use, because = EXECUTORS[LOW_PROCESS].title, f"all thread pools disturb, {use} least"
            window = f"{_WINDOWS.get(ui, ui)} in the same process" if ui else "another process"
            lines.append((TITLES[load], window, use, because, worst(best), best.rate))
    columns = (
        Column("load"),
        Column("window"),
        Column("use"),
        Column("because"),
        Column("p99 ms", 1),
        Column("work/s", 1),
    )
    return [Table("Which executor to use", columns, lines)] if lines else []


def _is_usual(condition: Condition, place: Condition) -> bool:
    """Return whether a condition differs from a place in the executor only, and in no raised level."""
    raised = condition.priority in ("above_normal", "highest", "time_critical")
    return condition.with_executor(NOTHING) == place.with_executor(NOTHING) and not raised


def worst(row: Row) -> float:
    """Return the p99 in ms of whoever waits longest: the program's own window, another one, or who computes."""
    seen = [row.in_view(view) for view in _VIEWS]
    return max(each.p99 for each in seen if len(each.pooled_ms))


def _is_unnoticed(row: Row, rows: Rows) -> bool:
    """Return whether nobody waits for more than a frame, and other programs keep their speed."""
    speed = row.speed_kept(rows.alone(row))
    return worst(row) <= FRAME_MS and (speed is None or speed >= UNNOTICED_SPEED)


def choose(candidates: Sequence[Row], rows: Rows) -> Row:
    """Return the row to recommend: most work of those that go unnoticed, else the least late one."""
    unnoticed = [row for row in candidates if _is_unnoticed(row, rows)]
    if unnoticed:
        return max(unnoticed, key=lambda row: row.rate or 0.0)
    return min(candidates, key=worst)
