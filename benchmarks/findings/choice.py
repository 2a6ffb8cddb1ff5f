"""Which executor to use: of those that do not disturb other programs, the one that does the most work."""

import itertools
from collections.abc import Sequence
from typing import Final

from ..analysis.rows import FRAME_MS, Row, Rows, View
from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import EXECUTORS, LOW_PROCESS, stdlib_of
from ..subjects.loads import TITLES
from ..suites.designs import DESIGNS
from .tables import Table, Value, table_if_any
from .wording import background_of

# A smaller loss is noise.
_FULL_SPEED: Final = 0.99
# Fraction of the speed that other programs have alone.
UNNOTICED_SPEED: Final = 0.9
_WINDOWS: Final = {"thread": "a timer"}
_VIEWS: Final[tuple[View, ...]] = ("ui", "foreground", "frames")


def choice_tables(rows: Rows) -> list[Table]:
    """Return a table of the executor to use for each load."""
    base = DESIGNS[rows.record["suite"]].base
    lines: list[Sequence[Value]] = []
    for load, ui in itertools.product(TITLES, dict.fromkeys(row.condition.ui for row in rows)):
        place = base.but(load=load, ui=ui)
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
    return table_if_any("Which executor to use", "load | window | use | because | p99 ms:1 | work/s:1", lines)


def _is_usual(condition: Condition, place: Condition) -> bool:
    """Return whether a condition differs from a place only in the executor, and its priority is not raised."""
    raised = condition.priority in ("above_normal", "highest", "time_critical")
    return condition.with_executor(NOTHING) == place.with_executor(NOTHING) and not raised


def worst(row: Row) -> float:
    """Return the largest p99 in ms: of the program's own window, of another window, or of a computing program."""
    seen = [row.in_view(view) for view in _VIEWS]
    return max(each.p99 for each in seen if len(each.pooled_ms))


def _is_unnoticed(row: Row, rows: Rows) -> bool:
    """Return whether no p99 exceeds a frame, and other programs keep their speed."""
    speed = row.speed_kept(rows.alone(row))
    return worst(row) <= FRAME_MS and (speed is None or speed >= UNNOTICED_SPEED)


def choose(candidates: Sequence[Row], rows: Rows) -> Row:
    """Return the row to recommend: the unnoticed one with the most work, otherwise the one with the least delay."""
    unnoticed = [row for row in candidates if _is_unnoticed(row, rows)]
    if unnoticed:
        return max(unnoticed, key=lambda row: row.rate or 0.0)
    return min(candidates, key=worst)


def verdict(rows: Rows) -> list[str]:
    """Return the choice in sentences."""
    sentences = []
    for load in TITLES:
        candidates = rows.where(load=load)
        if len(candidates) < 2:  # noqa: PLR2004
            continue
        best = choose(candidates, rows)
        stdlib = rows.get(best.condition.with_executor(stdlib_of(best.condition.executor)))
        alone = rows.alone(best)
        sentences.append(
            f"For {TITLES[load]}, use {background_of(best.condition)}. While it works, {_effect(best, alone)}."
        )
        if stdlib is not None and stdlib.condition != best.condition:
            sentences[-1] += f" With {background_of(stdlib.condition)}, {_effect(stdlib, alone)}."
            if worst(best) > worst(stdlib):
                sentences[-1] += " It is recommended because other programs keep more of their speed."
    return sentences


def _effect(row: Row, alone: Row | None) -> str:
    """Return the effect on other programs and windows in words."""
    delay = f"1 frame in 100 is more than {worst(row):.1f} ms late"
    speed = row.speed_kept(alone)
    if speed is None:
        return delay
    kept = "run at full speed" if speed >= _FULL_SPEED else f"keep {speed:.0%} of their speed"
    return f"other programs {kept} and {delay}"
