"""What a record says: a verdict, tables, and what is to be known of them."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import _overhead
from ._condition import NOTHING, Condition
from ._designs import DESIGNS, FREE_LOADS, GIL_LOADS
from ._executors import EXECUTORS, LOW_PROCESS, PRIORITY_THREAD, STDLIB_PROCESS, STDLIB_THREAD, stdlib_of, title_of
from ._loads import TITLES
from ._machine import describe_in_a_line, find_noise
from ._rows import FRAME_MS, LIMITS_MS, Row, Rows, View
from ._tables import Column, Table, Value
from ._targets import Target, target_table

NOTE: Final = (
    "Lateness: from the time when a beat of a 60 Hz schedule was due to the time when it was shown, in ms; beats that a "
    "stall swallowed are charged, too. Rounds are pooled. p99/stdlib, work/stdlib: over the standard library's executor "
    "under the same conditions, with 99 % bootstrap intervals. Verdict, on the p99: better or worse if the interval "
    "excludes 1 and the difference is 1 ms or more."
)


@dataclass(frozen=True)
class Summary:
    """What a record says.

    Parameters
    ----------
    verdict : sequence of str
        In sentences with numbers, the most important one first.
    tables : sequence of Table
        For the terminal.
    full : sequence of Table
        The same with all columns.
    notes : sequence of str
        What is to be known: how it was measured, what failed, what was noisy.
    """

    verdict: Sequence[str]
    tables: Sequence[Table]
    full: Sequence[Table]
    notes: Sequence[str]


def summarise(record: Mapping[str, Any]) -> Summary:
    """Return what a record says, whether or not its run came to its end."""
    notes = [*_failures(record), *_noise(record), *_incomplete(record), describe_in_a_line(record["machine"])]
    if record["suite"] == _overhead.NAME:
        tables = _overhead.tables(record)
        return Summary([], tables, tables, [_overhead.NOTE, *notes])
    rows = Rows(record)
    extra = [*_choice_tables(rows), *_target_tables(rows)]
    return Summary(
        _VERDICTS[record["suite"]](rows),
        [*_tables(rows, full=False), *extra],
        [*extra, *_tables(rows, full=True)],
        [NOTE, *_own_cost(record), *notes],
    )


def _failures(record: Mapping[str, Any]) -> list[str]:
    failed = [f"{c['name']}, round {c['round']}, failed: {c['error']}" for c in record["cells"] if "error" in c]
    by_reason: dict[str, list[str]] = {}
    for each in record["skipped"]:
        by_reason.setdefault(each["reason"], []).append(each["what"])
    return [*failed, *(f"Skipped: {'; '.join(whats)}: {reason}." for reason, whats in by_reason.items())]


def _baselines(record: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    last = record["rounds"] + 1
    return [(c["round"], c["result"]) for c in record["cells"] if c["round"] in (0, last) and "result" in c]


def _baseline_row(record: Mapping[str, Any], number: int) -> Row | None:
    found = {place: result for place, result in _baselines(record) if place == number}
    return Row(Condition(ui="thread"), found, "ui", record["seed"]) if found else None


def _noise(record: Mapping[str, Any]) -> list[str]:
    before, after = (_baseline_row(record, number) for number in (0, record["rounds"] + 1))
    speeds = [row.in_view("foreground").frames_per_s for row in (before, after) if row is not None]
    return find_noise(
        record["machine"]["load_before"],
        before.percentile(95) if before else None,
        after.percentile(95) if after else None,
        [speed for speed in speeds if speed],
    )


def _own_cost(record: Mapping[str, Any]) -> list[str]:
    """Return what the heartbeat itself is late by, and costs."""
    both = [row for number in (0, record["rounds"] + 1) if (row := _baseline_row(record, number)) is not None]
    if not both:
        return []
    late = " and ".join(f"p50 {row.percentile(50):.2f}, p99 {row.p99:.2f} ms" for row in both)
    plain = [row.cpu_share or 0.0 for row in Rows(record) if row.condition.ui in (None, "thread")]
    cost = max([*plain, *(row.cpu_share or 0.0 for row in both)])
    when = " before and after the cells" if len(both) > 1 else ""
    return [
        f"The tool itself: with no load its heartbeat was late by {late}{when}; "
        f"it used at most {cost:.2%} of a core in any cell (windows that draw left out)."
    ]


def _incomplete(record: Mapping[str, Any]) -> list[str]:
    if record["complete"]:
        return []
    return [f"Not complete: the run was interrupted after {len(record['cells'])} measurements."]


def _title(condition: Condition) -> str:
    return condition.executor if condition.executor == NOTHING else title_of(condition.executor, condition.priority)


def _details(condition: Condition) -> str:
    """Return what is varied, in a few words, but for executor, load and user interface."""
    plain = dataclasses.replace(condition, executor=NOTHING, priority=None, load=None, ui=None)
    return plain.name.removeprefix(f"{NOTHING}, ").removeprefix(NOTHING)


_Maker = Callable[[Row, Row | None, Row | None], Value]


def _percentile(percent: float) -> _Maker:
    return lambda row, _reference, _alone: row.percentile(percent)


def _over(limit: float) -> _Maker:
    return lambda row, _reference, _alone: row.share_over(limit)


def _speed(row: Row, _reference: Row | None, alone: Row | None) -> Value:
    own, base = row.frames_per_s, alone.frames_per_s if alone else None
    return own / base if own and base else None


def _latency_text(row: Row, reference: Row | None, _alone: Row | None) -> Value:
    ratio = row.latency_ratio(reference) if reference else None
    return ratio.text if ratio else None


def _work_text(row: Row, reference: Row | None, _alone: Row | None) -> Value:
    ratio = row.work_ratio(reference) if reference else None
    return ratio.text if ratio else None


# Title, decimals, whether it is in the short table, what makes it.
_COLUMNS: Final[Sequence[tuple[str, int | None, bool, _Maker]]] = (
    ("p50", 2, True, _percentile(50)),
    ("p95", 1, True, _percentile(95)),
    ("p99", 1, True, _percentile(99)),
    ("p99.9", 1, False, _percentile(99.9)),
    ("max", 1, True, lambda row, _reference, _alone: row.maximum),
    *(
        (f"% > {limit:.3g}", 1, place == 0, _over(limit)) for place, limit in enumerate(LIMITS_MS)
    ),
    ("p99/stdlib", None, True, _latency_text),
    ("verdict", None, True, lambda row, reference, _alone: row.verdict(reference) if reference else None),
    ("frame p95", 2, False, lambda row, _reference, _alone: row.frame_ms(95)),
    ("speed/alone", 2, True, _speed),
    ("work/s", 1, True, lambda row, _reference, _alone: row.rate),
    ("work/stdlib", None, True, _work_text),
    ("level of the workers", None, True, lambda row, _reference, _alone: row.level),
)


def _tables(rows: Rows, *, full: bool) -> list[Table]:
    """Return a table for each load and whoever watches, the idle machine first in each."""
    found = []
    every = sorted(rows, key=_order)
    watchers = sorted({(row.condition.ui, row.condition.foreground) for row in every}, key=str)
    loads = [load for load in TITLES if any(row.condition.load == load for row in every)]
    for load, watcher in itertools.product(loads, _merged(watchers)):
        chosen = [row for row in every if row.condition.load == load and _watches(row, watcher)]
        idle = [row for row in every if row.condition.load is None and _watches(row, watcher)]
        wanted = {row.condition.without_background() for row in chosen}
        chosen = [*(row for row in idle if row.condition in wanted), *chosen]
        if chosen:
            views: tuple[View, ...] = ("ui", "foreground") if watcher[0] and watcher[1] else (chosen[0].view,)
            found += [_table(rows, [row.in_view(view) for row in chosen], load, view, full=full) for view in views]
    return found


def _merged(watchers: Iterable[tuple[str | None, str | None]]) -> list[tuple[str | None, bool]]:
    return list(dict.fromkeys((ui, foreground is not None) for ui, foreground in watchers))


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
    ui = chosen[0].condition.ui
    where = "another process" if view == "foreground" else f"the same process, {ui}"
    made = []
    for row in chosen:
        reference, alone = rows.reference(row), rows.alone(row)
        made.append(
            [_title(row.condition), _details(row.condition), *(make(row, reference, alone) for *_, make in _COLUMNS)]
        )
    columns = [Column("background"), Column("where"), *(Column(title, digits) for title, digits, *_ in _COLUMNS)]
    wanted = [True, True, *(short or full for *_, short, _ in _COLUMNS)]
    kept = [
        place for place, wish in enumerate(wanted) if wish and any(line[place] not in (None, "") for line in made)
    ]
    lines = [[line[place] for place in kept] for line in made]
    return Table(f"{TITLES[load]}; the window in {where}", [columns[place] for place in kept], lines)


def _choice_tables(rows: Rows) -> list[Table]:
    """Return which executor to take for which load: of those whose p99 stays within a frame the one that does most."""
    base = DESIGNS[rows.record["suite"]].base
    lines: list[Sequence[Value]] = []
    for load in TITLES:
        for place in {row.condition.without_background() for row in rows.where(load=load)}:
            if dataclasses.replace(place, ui=base.ui) == base.without_background():
                candidates = [row for row in rows.where(load=load) if row.condition.without_background() == place]
                candidates = [row for row in candidates if row.condition.blas_threads is None]
                usual = [row for row in candidates if row.condition.workers == base.workers and not _switched(row)]
                if any(EXECUTORS[row.condition.executor].processes for row in usual):
                    best = choose(usual)
                    reason = "within a frame" if _worst(best) <= FRAME_MS else "none stays within a frame: the least late"
                    ui = place.ui or "another process"
                    lines.append((TITLES[load], ui, _title(best.condition), _worst(best), best.rate, reason))
    columns = (
        Column("load"),
        Column("window"),
        Column("take"),
        Column("its p99 ms", 1),
        Column("work/s", 1),
        Column("because"),
    )
    return [Table("Which executor to take", columns, lines)] if lines else []


def _switched(row: Row) -> bool:
    return row.condition.switch_ms is not None


def _worst(row: Row) -> float:
    """Return the p99 in ms of whoever waits longer: the program's own window, or another program's."""
    seen = [row.in_view(view) for view in ("ui", "foreground")]
    return max(each.p99 for each in seen if len(each.pooled_ms))


def choose(candidates: Sequence[Row]) -> Row:
    """Return the row to recommend: most work of those that stay within a frame, else the least late one."""
    smooth = [row for row in candidates if _worst(row) <= FRAME_MS]
    if smooth:
        return max(smooth, key=lambda row: row.rate or 0.0)
    return min(candidates, key=_worst)


def _target_tables(rows: Rows) -> list[Table]:
    """Return what was hoped for of the desktop suite's main rows."""
    if rows.record["suite"] != "desktop":
        return []
    base = DESIGNS["desktop"].base
    low, stdlib = (rows.get(base.with_executor(*each)) for each in ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None)))
    alone = rows.get(base.without_background())
    if low is None or stdlib is None or alone is None:
        return []
    judged = [
        Target("foreground speed over alone", least=0.97).judge(_ratio(low.frames_per_s, alone.frames_per_s)),
        Target("frame p95 over the stdlib pool's", most=0.15).judge(_ratio(low.frame_ms(95), stdlib.frame_ms(95))),
        Target("background work over the stdlib pool's", least=0.55).judge(low.work_ratio(stdlib)),
    ]
    return [target_table("LowPriorityProcessPoolExecutor, idle: what was hoped for", judged)]


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _verdict_desktop(rows: Rows) -> list[str]:
    base = DESIGNS["desktop"].base
    parts = []
    for executor, priority in ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None), ("recipe-psutil", None)):
        row = rows.get(base.with_executor(executor, priority))
        if row is not None:
            speed = _speed(row, None, rows.alone(row))
            kept = f"{speed:.0%} of its speed, " if isinstance(speed, float) else ""
            parts.append(f"{kept}p99 {row.p99:.1f} ms and {row.rate or 0:.0f} pieces of work a second "
                         f"beside {_title(row.condition)}")  # fmt: skip
    return [f"Another program keeps {'; '.join(parts)}."] if parts else []


def _verdict_ui(rows: Rows) -> list[str]:
    sentences = []
    for load in ("python", "matmul", "arrays"):
        parts = []
        for executor, priority in ((STDLIB_THREAD, None), (PRIORITY_THREAD, "below_normal"), (STDLIB_PROCESS, None), (LOW_PROCESS, "idle")):
            found = [row for row in rows.where(executor=executor, priority=priority, load=load)]
            if found:
                each = ", ".join(f"{row.condition.ui} {row.p99:.1f}" for row in found)
                parts.append(f"{_title(found[0].condition)}: {each} ms")
        if parts:
            sentences.append(f"The program's own window under {TITLES[load]}, p99: {'; '.join(parts)}.")
    return sentences


def _verdict_quick(rows: Rows) -> list[str]:
    sentences = []
    for load in TITLES:
        candidates = rows.where(load=load)
        if len(candidates) < 2:  # noqa: PLR2004
            continue
        best = choose(candidates)
        stdlib = rows.get(best.condition.with_executor(stdlib_of(best.condition.executor)))
        alone = rows.alone(best)
        speed = _speed(best.in_view("foreground"), None, alone.in_view("foreground") if alone else None)
        kept = f", other programs keep {speed:.0%} of their speed" if isinstance(speed, float) else ""
        sentence = (
            f"For {TITLES[load]}, take {_title(best.condition)}: the windows are late by {_worst(best):.1f} ms "
            f"at p99{kept}"
        )
        if stdlib is not None and stdlib.condition != best.condition:
            their = _speed(stdlib.in_view("foreground"), None, alone.in_view("foreground") if alone else None)
            less = f" and {their:.0%}" if isinstance(their, float) else ""
            sentence += f" (beside {_title(stdlib.condition)}: {_worst(stdlib):.1f} ms{less})"
        sentences.append(f"{sentence}.")
    return sentences


def _verdict_gil(rows: Rows) -> list[str]:
    sentences = []
    base = DESIGNS["gil"].base
    for loads, what in ((GIL_LOADS, "holds"), (FREE_LOADS, "releases")):
        parts = []
        for load in loads:
            condition = dataclasses.replace(base, load=load)
            low, stdlib = rows.get(condition.with_executor(PRIORITY_THREAD, "idle")), rows.get(condition.with_executor(STDLIB_THREAD))
            if low and stdlib and (verdict := low.verdict(stdlib)) is not None:
                parts.append(f"{load} {stdlib.p99:.0f} to {low.p99:.0f} ms ({verdict})")
        if parts:
            sentences.append(
                f"Work that {what} the GIL, from ThreadPoolExecutor to workers at idle, "
                f"p99 of the program's own window: {', '.join(parts)}."
            )
    return sentences


_VERDICTS: Final[Mapping[str, Callable[[Rows], list[str]]]] = {
    "quick": _verdict_quick,
    "desktop": _verdict_desktop,
    "ui": _verdict_ui,
    "gil": _verdict_gil,
}
