"""What a record says: a verdict, tables, and what is to be known of them."""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ._condition import NOTHING, Condition
from ._designs import AWARE_LOADS, DESIGNS, FAR_NEIGHBOURS, FREE_LOADS, GIL_LOADS, NEIGHBOURS, THREAD_LEVELS
from ._executors import (
    AWARE_THREAD,
    EXECUTORS,
    LOW_ISOLATED,
    LOW_LEVEL_ONLY,
    LOW_PROCESS,
    PRIORITY_THREAD,
    STDLIB_PROCESS,
    STDLIB_THREAD,
    stdlib_of,
    title_of,
)
from ._loads import PHASE_S, PHASES, TITLES
from ._machine import describe_in_a_line, find_noise
from ._plain import PLAIN
from ._rows import FRAME_MS, LIMITS_MS, VISIBLE_MS, Row, Rows, View
from ._tables import Column, Table, Value
from ._targets import Target, target_table
from ._ui import UIS

# Of what other programs have alone.
UNNOTICED_SPEED: Final = 0.9

NOTE: Final = (
    "Lateness: from the time when a beat of a 60 Hz schedule was due to the time when it was shown, in ms; beats "
    "that a stall swallowed are charged, too. Rounds are pooled. p99/stdlib, work/stdlib: over the standard "
    "library's executor under the same conditions, with 99 % bootstrap intervals. Verdict, on the p99: better or "
    "worse if the interval excludes 1 and the difference is 2 ms or more. Unnoticed: a p99 within a frame of 16.7 ms, "
    "and other programs keep 90 % of their speed."
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
    if record["suite"] in PLAIN:
        plain = PLAIN[record["suite"]]
        tables = plain.tables(record)
        return Summary([], tables, tables, [plain.note, *notes])
    rows = Rows(record)
    extra = [*_choice_tables(rows), *_brief_tables(rows), *_target_tables(rows), *_pair_tables(rows)]
    return Summary(
        _VERDICTS[record["suite"]](rows),
        [*_tables(rows, full=False), *extra],
        [*extra, *_tables(rows, full=True)],
        [NOTE, *_own_cost(record), *_left_out(rows), *notes],
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
    when = " before and after the cells" if len(both) > 1 else ""
    note = f"The tool itself: with no load its heartbeat was late by {late}{when}"
    watched = [row.controller_share for row in Rows(record) if row.condition.executor == AWARE_THREAD]
    shares = [
        row.cpu_share for row in Rows(record) if row.condition.ui in (None, "thread") and row.cpu_share is not None
    ]
    if shares:
        # The windows' drawing is no cost of the tool's.
        note += f"; it used {statistics.median(shares):.2%} of a core (median of the cells without a window that draws)"
    if watched:
        median, most = statistics.median(watched), max(watched)
        note += f"; the thread that limits our pool's workers used {median:.2%}, at most {most:.2%}"
    return [f"{note}."]


def _left_out(rows: Rows) -> list[str]:
    """Return how many beats are not counted."""
    counts = [row.left_out for row in rows]
    out, every = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
    if not out:
        return []
    share = f"{out} of {every} beats ({out / every:.1%})"
    return [f"Left out: {share}, in which the machine itself stood still: not even a real-time process ran."]


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
    *((f"% > {limit:.3g}", 1, place == 0, _over(limit)) for place, limit in enumerate(LIMITS_MS)),
    ("p99/stdlib", None, True, _latency_text),
    ("verdict", None, True, lambda row, reference, _alone: row.verdict(reference) if reference else None),
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
            own: View = "ui" if watcher[0] else "frames"
            views: tuple[View, ...] = (own, "foreground") if watcher[1] else (own,)
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
    watchers = {
        "ui": f"the window in the same process, {chosen[0].condition.ui}",
        "foreground": "the window in another process",
        "frames": "frames of a program that computes without a pause",
    }
    made = []
    for row in chosen:
        reference, alone = rows.reference(row), rows.alone(row)
        made.append(
            [_title(row.condition), _details(row.condition), *(make(row, reference, alone) for *_, make in _COLUMNS)]
        )
    columns = [Column("background"), Column("where"), *(Column(title, digits) for title, digits, *_ in _COLUMNS)]
    wanted = [True, True, *(short or full for *_, short, _ in _COLUMNS)]
    kept = [place for place, wish in enumerate(wanted) if wish and any(line[place] not in (None, "") for line in made)]
    lines = [[line[place] for place in kept] for line in made]
    return Table(f"{TITLES[load]}; {watchers[view]}", [columns[place] for place in kept], lines)


def _choice_tables(rows: Rows) -> list[Table]:
    """Return which executor to take for which load: of those that go unnoticed the one that does most."""
    base = DESIGNS[rows.record["suite"]].base
    lines: list[Sequence[Value]] = []
    for load, ui in itertools.product(TITLES, dict.fromkeys(row.condition.ui for row in rows)):
        place = dataclasses.replace(base, load=load, ui=ui)
        usual = [row for row in rows.where(load=load) if _is_usual(row.condition, place)]
        if usual:
            best = choose(usual, rows)
            unnoticed = _is_unnoticed(best, rows)
            take, because = _title(best.condition), "does most, unnoticed" if unnoticed else "is noticed least"
            if not unnoticed and not any(EXECUTORS[row.condition.executor].processes for row in usual):
                take, because = EXECUTORS[LOW_PROCESS].title, f"no threads go unnoticed, least do {take}"
            window = f"the same process, {ui}" if ui else "another process"
            lines.append((TITLES[load], window, take, because, _worst(best), best.rate))
    columns = (
        Column("load"),
        Column("window"),
        Column("take"),
        Column("because"),
        Column("p99 ms", 1),
        Column("work/s", 1),
    )
    return [Table("Which executor to take", columns, lines)] if lines else []


def _is_usual(condition: Condition, place: Condition) -> bool:
    """Return whether a condition differs from a place in the executor only, and in no raised level."""
    raised = condition.priority in ("above_normal", "highest", "time_critical")
    return condition.with_executor(NOTHING) == place.with_executor(NOTHING) and not raised


_VIEWS: Final[tuple[View, ...]] = ("ui", "foreground", "frames")


def _worst(row: Row) -> float:
    """Return the p99 in ms of whoever waits longest: the program's own window, another one, or who computes."""
    seen = [row.in_view(view) for view in _VIEWS]
    return max(each.p99 for each in seen if len(each.pooled_ms))


def _is_unnoticed(row: Row, rows: Rows) -> bool:
    """Return whether nobody waits for more than a frame, and other programs keep their speed."""
    speed = _speed(row, None, rows.alone(row))
    return _worst(row) <= FRAME_MS and (not isinstance(speed, float) or speed >= UNNOTICED_SPEED)


def choose(candidates: Sequence[Row], rows: Rows) -> Row:
    """Return the row to recommend: most work of those that go unnoticed, else the least late one."""
    unnoticed = [row for row in candidates if _is_unnoticed(row, rows)]
    if unnoticed:
        return max(unnoticed, key=lambda row: row.rate or 0.0)
    return min(candidates, key=_worst)


def _brief_tables(rows: Rows) -> list[Table]:
    """Return the desktop suite in a few rows, and the p99 of the gil suite by load and level."""
    if rows.record["suite"] == "desktop":
        return _brief_desktop(rows)
    if rows.record["suite"] == "neighbour":
        return _neighbour_tables(rows)
    return _levels_table(rows) if rows.record["suite"] == "gil" else []


_NEIGHBOUR_COLUMNS: Final = (
    Column("background"),
    Column("speed/alone"),
    Column("frame p95 ms", 2),
    Column("frame p95/alone"),
    Column("products/s", 1),
    Column("products/stdlib"),
)


def _neighbour_tables(rows: Rows) -> list[Table]:
    """Return what a program loses to its neighbours, in its session and in another one, and what was hoped for."""
    near = DESIGNS["neighbour"].base
    far = dataclasses.replace(near, foreground="busy-session")
    ours, isolated = (
        rows.get(near.with_executor(LOW_PROCESS, "idle")),
        rows.get(far.with_executor(LOW_ISOLATED, "idle")),
    )
    alone, stdlib = rows.get(near.without_background()), rows.get(near.with_executor(STDLIB_PROCESS))
    far_alone = rows.get(far.without_background())
    hoped: list[Sequence[Value]] = []
    if ours is not None and alone is not None and stdlib is not None:
        hoped += [
            Target("the program's speed over alone", least=0.98).judge(ours.speed_ratio(alone)),
            Target("frame p95 over alone", most=1.2).judge(ours.frame_ratio(alone)),
            Target("work over ProcessPoolExecutor's", least=1.6).judge(ours.work_ratio(stdlib)),
        ]
    if isolated is not None and far_alone is not None:
        text = "frame p95 over alone, in another session, isolated"
        hoped.append(Target(text, most=1.3).judge(isolated.frame_ratio(far_alone)))
    return [
        _neighbour_table(rows, near, NEIGHBOURS, f"A program beside {near.workers} workers"),
        _neighbour_table(rows, far, FAR_NEIGHBOURS, "A program in another session, that wants the whole machine"),
        target_table("What was hoped for", hoped),
    ]


def _neighbour_table(rows: Rows, place: Condition, neighbours: Sequence[tuple[str, str | None]], title: str) -> Table:
    lines = []
    alone, stdlib = rows.get(place.without_background()), rows.get(place.with_executor(STDLIB_PROCESS))
    for condition in [place.without_background(), *(place.with_executor(*each) for each in neighbours)]:
        row = rows.get(condition)
        if row is not None:
            beside = None if row is alone else alone
            ratios = (
                beside and row.speed_ratio(beside),
                beside and row.frame_ratio(beside),
                stdlib and row.work_ratio(stdlib),
            )
            speed, frame, work = (ratio.text if ratio else None for ratio in ratios)
            lines.append((_title(condition), speed, row.frame_ms(95), frame, row.rate, work))
    return Table(title, _NEIGHBOUR_COLUMNS, lines)


def _brief_desktop(rows: Rows) -> list[Table]:
    base = DESIGNS["desktop"].base
    capped = dataclasses.replace(base, blas_threads=1)
    wanted = [
        base.without_background(),
        base.with_executor(STDLIB_PROCESS),
        base.with_executor("recipe-psutil"),
        base.with_executor(LOW_PROCESS, "idle"),
        base.with_executor(LOW_PROCESS, "below_normal"),
        capped.with_executor(LOW_PROCESS, "idle"),
    ]
    stdlib = rows.get(wanted[1])
    lines: list[Sequence[Value]] = []
    for condition in wanted:
        row = rows.get(condition)
        if row is not None:
            blas = ", one BLAS thread" if condition.blas_threads else ""
            work = _ratio(row.rate, stdlib.rate if stdlib else None)
            speed = _speed(row, None, rows.get(wanted[0]))
            window = row.in_view("foreground").p99
            lines.append((_title(condition) + blas, speed, row.frame_ms(95), window, row.rate, work, row.level))
    columns = (
        Column("background"),
        Column("speed/alone", 2),
        Column("frame p95 ms", 2),
        Column("window p99 ms", 1),
        Column("products/s", 1),
        Column("products/stdlib", 2),
        Column("level of the workers"),
    )
    return [Table(f"In short: another program beside {base.workers} workers", columns, lines)] if lines else []


def _levels_table(rows: Rows) -> list[Table]:
    base = DESIGNS["gil"].base
    executors = [(STDLIB_THREAD, None), *((PRIORITY_THREAD, level) for level in THREAD_LEVELS)]
    lines = []
    for load in (*GIL_LOADS, *FREE_LOADS):
        found = [rows.get(dataclasses.replace(base, load=load).with_executor(*each)) for each in executors]
        if any(found):
            lines.append(
                [TITLES[load], "yes" if load in GIL_LOADS else "no", *(row.p99 if row else None for row in found)]
            )
    columns = [
        Column("load"),
        Column("holds the GIL"),
        Column("stdlib", 1),
        *(Column(level, 1) for level in THREAD_LEVELS),
    ]
    return [Table("p99 of the window by thread level, ms", columns, lines)] if lines else []


_PAIR_COLUMNS: Final = (
    Column("where"),
    Column("this"),
    Column("over that"),
    Column("p99 ms", 1),
    Column("over", 1),
    Column("ratio"),
    Column("verdict"),
    Column("speed"),
    Column("work"),
)
_Pair = tuple[Condition, Condition]


def _pair_tables(rows: Rows) -> list[Table]:
    """Return direct comparisons: what the suite is there to tell."""
    makers: Mapping[str, Callable[[], dict[str, list[_Pair]]]] = {
        "desktop": _desktop_pairs,
        "ui": _ui_pairs,
        "gil": lambda: _gil_pairs(rows),
    }
    pairs = makers[rows.record["suite"]]() if rows.record["suite"] in makers else {}
    found = []
    for title, each in pairs.items():
        lines = [line for this, that in each if (line := _pair_line(rows, this, that)) is not None]
        kept = [place for place in range(len(_PAIR_COLUMNS)) if any(line[place] is not None for line in lines)]
        if lines:
            shown = [[line[place] for place in kept] for line in lines]
            found.append(Table(title, [_PAIR_COLUMNS[place] for place in kept], shown))
    return found


def _pair_line(rows: Rows, this: Condition, that: Condition) -> Sequence[Value] | None:
    ours, theirs = rows.get(this), rows.get(that)
    if ours is None or theirs is None:
        return None
    ratio, work = ours.latency_ratio(theirs), ours.work_ratio(theirs)
    by_ui = this.ui != that.ui
    names = [f"ui {each.ui}" if by_ui else _title(each) + _blas(this, that, each) for each in (this, that)]
    where = ", ".join(filter(None, [this.load, _title(this) if by_ui else "", _details(this)]))
    texts = [interval.text if interval else None for interval in (ratio, ours.speed_ratio(theirs), work)]
    return (where, *names, ours.p99, theirs.p99, texts[0], ours.verdict(theirs), *texts[1:])


def _blas(this: Condition, that: Condition, each: Condition) -> str:
    if this.blas_threads == that.blas_threads:
        return ""
    return ", BLAS left alone" if each.blas_threads is None else f", BLAS threads {each.blas_threads}"


def _desktop_pairs() -> dict[str, list[_Pair]]:
    base = DESIGNS["desktop"].base
    cpus = base.workers // 2
    capped, other = dataclasses.replace(base, blas_threads=1), dataclasses.replace(base, foreground="other-session")
    places = [dataclasses.replace(base, workers=workers) for workers in (cpus, 2 * cpus, 4 * cpus)]
    return {
        "The recipe lowers one thread; what if it lowers every thread, or if there is one thread only": [
            *((place.with_executor("every-thread-nice"), place.with_executor("recipe-psutil")) for place in places),
            (capped.with_executor("every-thread-nice"), capped.with_executor("recipe-psutil")),
            *((place.with_executor("recipe-psutil"), place.with_executor(STDLIB_PROCESS)) for place in (base, capped)),
        ],
        "SCHED_IDLE, as LowPriorityProcessPoolExecutor sets it, over nice 19 on every thread": [
            (base.with_executor(LOW_LEVEL_ONLY, "idle"), base.with_executor("every-thread-nice")),
            (capped.with_executor(LOW_PROCESS, "idle"), capped.with_executor("every-thread-nice")),
        ],
        "The window in another session": [
            (other.with_executor(*each), other.with_executor(STDLIB_PROCESS))
            for each in (("recipe-psutil", None), ("every-thread-nice", None), (LOW_PROCESS, "idle"))
        ],
        "One BLAS thread a worker over the standard pool left alone": [
            (capped.with_executor(LOW_PROCESS, "idle"), base.with_executor(STDLIB_PROCESS))
        ],
    }


def _ui_pairs() -> dict[str, list[_Pair]]:
    base = DESIGNS["ui"].base
    pairs = [
        (dataclasses.replace(place, ui=ui), place)
        for ui in UIS
        if ui != "thread"
        for place in (
            base.without_background(),
            *(
                dataclasses.replace(base, load=load).with_executor(*each)
                for load in ("python", "matmul")
                for each in ((STDLIB_THREAD, None), (AWARE_THREAD, "below_normal"), (LOW_PROCESS, "idle"))
            ),
        )
    ]
    return {"Real windows over the plain heartbeat": pairs}


def _gil_pairs(rows: Rows) -> dict[str, list[_Pair]]:
    base = DESIGNS["gil"].base
    inversion = [
        (place.with_executor(PRIORITY_THREAD, level), place.with_executor(STDLIB_THREAD))
        for load in ("python", "ufuncs", "matmul")
        for foreign in (0, 4)
        for place in [dataclasses.replace(base, load=load, foreign=foreign)]
        for level in ("below_normal", "lowest", "idle")
    ]
    pythons = sorted({row.condition.python for row in rows})
    builds = [
        (place.with_executor(PRIORITY_THREAD, "idle"), place.with_executor(STDLIB_THREAD))
        for load in ("python", "ufuncs", "sorted", "matmul")
        for python in pythons
        for place in [dataclasses.replace(base, load=load, python=python)]
    ]
    aware = [
        (place.with_executor(executor, level), place.with_executor(STDLIB_THREAD))
        for place in [dataclasses.replace(base, load="python", foreign=4)]
        for level in ("below_normal", "lowest", "idle")
        for executor in (PRIORITY_THREAD, AWARE_THREAD)
        if rows.where(executor=AWARE_THREAD, priority="idle")
    ]
    return {
        "Levels with and without a latency target, beside busy processes": aware,
        "Lowered threads over the standard library's, without and with busy processes beside": inversion,
        "Threads at idle over the standard library's, by interpreter": builds if len(pythons) > 1 else [],
    }


def _target_tables(rows: Rows) -> list[Table]:
    """Return what was hoped for of the main rows."""
    if rows.record["suite"] == "desktop":
        return _desktop_targets(rows)
    makers = (_aware_targets, _free_threaded_targets, _settling)
    return [table for make in makers for table in make(rows)] if rows.record["suite"] == "gil" else []


def _free_threaded_targets(rows: Rows) -> list[Table]:
    """Judge the window beside our pool at LOWEST by the window beside nothing, without the GIL."""
    found = rows.where(executor=AWARE_THREAD, priority="lowest", load="python", foreign=0)
    free = [row for row in found if not any(result["gil"] for result in row.results.values())]
    judged = [
        Target(f"p99 over that beside nothing, Python {row.condition.python}", most=1.5).judge(row.latency_ratio(alone))
        for row in free
        if (alone := rows.alone(row)) is not None
    ]
    return [target_table("Pure Python at LOWEST on a free-threaded build", judged)] if judged else []


def _settling(rows: Rows) -> list[Table]:
    """Return how long our pool took to get from one limit to the other when the load changed."""
    row = rows.get(
        dataclasses.replace(DESIGNS["gil"].base, load="changing").with_executor(AWARE_THREAD, "below_normal")
    )
    if row is None:
        return []
    phase_ns = round(PHASE_S * 1e9)
    took: dict[str, list[float]] = {"python": [], "matmul": []}
    for seen in row.limits:
        for number in range(seen[0][0] // phase_ns + 1, seen[-1][0] // phase_ns):
            load = PHASES[number % len(PHASES)]
            if load in took:
                wanted = 1 if load == "python" else row.condition.workers
                begun = number * phase_ns
                after = [when for when, limit in seen if begun <= when < begun + phase_ns and limit == wanted]
                took[load].append((after[0] - begun) / 1e9 if after else float("inf"))
    lines: list[Sequence[Value]] = [
        (f"to {TITLES[load]}", 1 if load == "python" else row.condition.workers, statistics.median(each), max(each))
        for load, each in took.items()
        if each
    ]
    columns = (Column("the load changes"), Column("limit then"), Column("median s", 2), Column("longest s", 2))
    return [Table("How long the limit takes to follow the load", columns, lines)] if lines else []


def _aware_targets(rows: Rows) -> list[Table]:
    """Judge the pool that limits its running workers: the window beside it, and the work that it does."""
    base = DESIGNS["gil"].base
    places = [dataclasses.replace(base, load=load) for load in AWARE_LOADS]
    places.append(dataclasses.replace(base, load="python", foreign=4))
    lines: list[Sequence[Value]] = []
    for place in places:
        ours, stdlib = (
            rows.get(place.with_executor(AWARE_THREAD, "below_normal")),
            rows.get(place.with_executor(STDLIB_THREAD)),
        )
        if ours is None or stdlib is None:
            continue
        ratio, work = ours.latency_ratio(stdlib), ours.work_ratio(stdlib)
        our_p99, their_p99 = ours.median_percentile(99), stdlib.median_percentile(99)
        most, least = _aware_limits(place, their_p99)
        met = our_p99 <= most and (least is None or (work is not None and work.value >= least))
        lines.append((
            TITLES[place.load or ""], f"{place.foreign} busy" if place.foreign else "", their_p99, our_p99,
            f"<= {most:.1f}", ratio.text if ratio else None, ours.verdict(stdlib), work.text if work else None,
            f">= {least:g}" if least is not None else None, "yes" if met else "no",
        ))  # fmt: skip
    columns = (
        Column("load"), Column("beside"), Column("stdlib p99 ms", 1), Column("p99 ms", 1), Column("hoped for"),
        Column("p99/stdlib"), Column("verdict"), Column("work/stdlib"), Column("hoped for"), Column("met"),
    )  # fmt: skip
    title = "PriorityThreadPoolExecutor as it is by default; medians of the rounds"
    return [Table(title, columns, lines)] if lines else []


def _aware_limits(place: Condition, stdlib_ms: float) -> tuple[float, float | None]:
    """Return the p99 in ms that was hoped for, and the share of the standard pool's work."""
    if place.foreign:
        return stdlib_ms / 2, None  # a lower level is meant to yield
    if place.load == "mixed":
        return max(5.0, stdlib_ms / 2), 0.9
    if place.load in FREE_LOADS:
        return stdlib_ms + VISIBLE_MS, 0.97
    return max(5.0, stdlib_ms / 20), 0.97


def _desktop_targets(rows: Rows) -> list[Table]:
    base = DESIGNS["desktop"].base
    low, stdlib = (rows.get(base.with_executor(*each)) for each in ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None)))
    alone = rows.get(base.without_background())
    if low is None or stdlib is None or alone is None:
        return []
    judged = [
        Target("foreground speed over alone", least=0.97).judge(low.speed_ratio(alone)),
        Target("frame p95 over the stdlib pool's", most=0.15).judge(low.latency_ratio(stdlib, 95)),
        Target("background work over the stdlib pool's", least=0.55).judge(low.work_ratio(stdlib)),
    ]
    return [target_table("LowPriorityProcessPoolExecutor, idle: what was hoped for", judged)]


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _verdict_desktop(rows: Rows) -> list[str]:
    base = DESIGNS["desktop"].base
    executors = ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None), ("recipe-psutil", None))
    parts, work = [], []
    for each in executors:
        row = rows.get(base.with_executor(*each))
        if row is None:
            continue
        speed = _speed(row, None, rows.alone(row))
        kept = f"{speed:.0%} of its speed and " if isinstance(speed, float) else ""
        parts.append(f"{kept}frames of {row.p99:.1f} ms (p99) beside {_title(row.condition)}")
        reference = rows.reference(row)
        ratio = row.work_ratio(reference) if reference else None
        if ratio is not None:
            work.append(f"{_title(row.condition)} {ratio.text}")
    sentences = [f"A program that computes has {'; '.join(parts)}."] if parts else []
    return [*sentences, f"Work done over ProcessPoolExecutor's: {'; '.join(work)}."] if work else sentences


def _verdict_neighbour(rows: Rows) -> list[str]:
    near = DESIGNS["neighbour"].base
    far = dataclasses.replace(near, foreground="busy-session")
    places = (
        (near, "beside", NEIGHBOURS),
        (far, "in another session, which wants the whole machine, beside", FAR_NEIGHBOURS),
    )
    sentences = []
    for place, where, neighbours in places:
        alone, parts = rows.get(place.without_background()), []
        for each in neighbours:
            row = rows.get(place.with_executor(*each))
            speed = row.speed_ratio(alone) if row is not None and alone is not None else None
            if row is not None and speed is not None:
                frames, rate = row.frame_ms(95) or 0.0, row.rate or 0.0
                did = f"frames of {frames:.2f} ms (p95), {rate:.0f} products/s"
                parts.append(f"{_title(row.condition)} {speed.value:.0%}, {did}")
        if parts:
            sentences.append(f"A program keeps of its speed {where}: {'; '.join(parts)}.")
    return sentences


def _verdict_ui(rows: Rows) -> list[str]:
    ui = next((ui for ui in UIS if rows.where(ui=ui)), None)
    executors = (
        (LOW_PROCESS, "idle"),
        (STDLIB_PROCESS, None),
        (AWARE_THREAD, "below_normal"),
        (STDLIB_THREAD, None),
    )
    sentences = []
    for load in TITLES:
        found = [
            row
            for executor, priority in executors
            for row in rows.where(executor=executor, priority=priority, load=load, ui=ui)
        ]
        if found:
            parts = ", ".join(f"{row.p99:.1f} ms beside {_title(row.condition)}" for row in found)
            sentences.append(f"{TITLES[load]}: the program's own window ({ui}) is late by {parts} (p99).")
    return sentences


def _verdict_quick(rows: Rows) -> list[str]:
    sentences = []
    for load in TITLES:
        candidates = rows.where(load=load)
        if len(candidates) < 2:  # noqa: PLR2004
            continue
        best = choose(candidates, rows)
        stdlib = rows.get(best.condition.with_executor(stdlib_of(best.condition.executor)))
        alone = rows.alone(best)
        speed = _speed(best, None, alone)
        kept = f", other programs keep {speed:.0%} of their speed" if isinstance(speed, float) else ""
        sentence = (
            f"For {TITLES[load]}, take {_title(best.condition)}: nobody waits for more than {_worst(best):.1f} ms "
            f"(p99){kept}"
        )
        if stdlib is not None and stdlib.condition != best.condition:
            their = _speed(stdlib, None, alone)
            less = f" and {their:.0%}" if isinstance(their, float) else ""
            sentence += f" (beside {_title(stdlib.condition)}: {_worst(stdlib):.1f} ms{less})"
        sentences.append(f"{sentence}.")
    return sentences


def _verdict_aware(rows: Rows) -> list[str]:
    """Return what our pool, as it is by default, does for the window."""
    base = DESIGNS["gil"].base
    sentences = []
    for loads, what in ((GIL_LOADS, "holds"), (FREE_LOADS, "releases")):
        late, their, work = [], [], []
        for load in AWARE_LOADS:
            place = dataclasses.replace(base, load=load)
            ours, stdlib = (
                rows.get(place.with_executor(AWARE_THREAD, "below_normal")),
                rows.get(place.with_executor(STDLIB_THREAD)),
            )
            if ours and stdlib and load.partition("-")[0] in loads and (ratio := ours.work_ratio(stdlib)):
                late.append(ours.median_percentile(99))
                their.append(stdlib.median_percentile(99))
                work.append(ratio.value)
        if late:
            sentences.append(
                f"Beside work that {what} the GIL in {title_of(AWARE_THREAD, None)} the program's window is late by "
                f"{min(late):.1f} to {max(late):.1f} ms (p99), in ThreadPoolExecutor by {min(their):.1f} to "
                f"{max(their):.1f}, with {min(work):.0%} to {max(work):.0%} of its work done."
            )
    return sentences


def _verdict_gil(rows: Rows) -> list[str]:
    base = DESIGNS["gil"].base
    sentences = _verdict_aware(rows)
    for foreign in (4, 0):
        place = dataclasses.replace(base, load="python", foreign=foreign)
        low, stdlib = (
            rows.get(place.with_executor(PRIORITY_THREAD, "idle")),
            rows.get(place.with_executor(STDLIB_THREAD)),
        )
        ratio = low.latency_ratio(stdlib) if low and stdlib else None
        if low and stdlib and ratio:
            beside = f"beside {foreign} busy processes" if foreign else "with nothing else on the machine"
            sentences.append(
                f"Python threads at idle make the program's own window late by {low.p99:.0f} ms (p99) {beside}, "
                f"ThreadPoolExecutor's by {stdlib.p99:.0f}: {ratio.text} times, {low.verdict(stdlib)}."
            )
    for loads, what in ((GIL_LOADS, "holds"), (FREE_LOADS, "releases")):
        parts = []
        for load in loads:
            condition = dataclasses.replace(base, load=load)
            low, stdlib = (
                rows.get(condition.with_executor(PRIORITY_THREAD, "idle")),
                rows.get(condition.with_executor(STDLIB_THREAD)),
            )
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
    "neighbour": _verdict_neighbour,
    "ui": _verdict_ui,
    "gil": _verdict_gil,
}
