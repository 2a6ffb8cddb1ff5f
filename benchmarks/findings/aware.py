"""What the gil suite tells of the pool that limits its running workers."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Final

from ..analysis.rows import VISIBLE_MS, Rows
from ..subjects.condition import Condition
from ..subjects.executors import AWARE_THREAD, STDLIB_THREAD, title_of
from ..subjects.loads import PHASE_S, PHASES, TITLES
from ..suites.designs import AWARE_LOADS, DESIGNS, FREE_LOADS, GIL_LOADS, WAITING_LOADS
from .tables import Column, Table, Value
from .targets import Target, target_table

# What was hoped for where a limit might be too low; the p99 is for as many tasks as in the other cells.
_WORK_KEPT: Final = 0.95
_ENDLESS_P99_MS: Final = 25.0
_FEW_WORKERS: Final = 4


def tables(rows: Rows) -> list[Table]:
    """Return what was hoped for, and how long its limit takes to follow the load."""
    return [
        *_targets(rows),
        *_waiting_and_endless(rows),
        *_lateness(rows),
        *_free_threaded_targets(rows),
        *_settling(rows),
    ]


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


def _targets(rows: Rows) -> list[Table]:
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
        most, least = _limits_of(place, their_p99)
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
    title = "PriorityThreadPoolExecutor(latency_target=0.005); medians of the rounds"
    return [Table(title, columns, lines)] if lines else []


def _waiting_and_endless(rows: Rows) -> list[Table]:
    """Judge our pool by what it does where a limit on its workers might be too low, and by the window meanwhile."""
    lines: list[Sequence[Value]] = []
    for ours in rows.where(executor=AWARE_THREAD, foreign=0):
        place, stdlib = ours.condition, rows.get(ours.condition.with_executor(STDLIB_THREAD))
        if stdlib is None or place.load not in (*WAITING_LOADS, "endless"):
            continue
        work = ours.work_ratio(stdlib)
        our_p99, their_p99 = ours.median_percentile(99), stdlib.median_percentile(99)
        endless = place.load == "endless"
        most = _ENDLESS_P99_MS if endless and place.workers <= _FEW_WORKERS else None
        least = None if endless else _WORK_KEPT
        met = (most is None or our_p99 <= most) and (least is None or (work is not None and work.value >= least))
        lines.append((
            TITLES[place.load], place.workers, their_p99, our_p99, f"<= {most:.0f}" if most else None,
            work.text if work else None, f">= {least:g}" if least else None,
            None if most is None and least is None else "yes" if met else "no",
        ))  # fmt: skip
    columns = (
        Column("load"), Column("workers"), Column("stdlib p99 ms", 1), Column("p99 ms", 1), Column("hoped for"),
        Column("work/stdlib"), Column("hoped for"), Column("met"),
    )  # fmt: skip
    return [Table("Tasks that wait, and tasks that do not end; medians of the rounds", columns, lines)] if lines else []


def _lateness(rows: Rows) -> list[Table]:
    """Return how late a task began beside one that runs Python code without an end."""
    lines: list[Sequence[Value]] = []
    for row in rows.where(load="late"):
        begun = [ns / 1e6 for result in row.results.values() for ns in result.get("begun_ns", ())]
        if begun:
            title = title_of(row.condition.executor, row.condition.priority)
            lines.append((title, row.condition.workers, statistics.median(begun), max(begun)))
    columns = (Column("executor"), Column("workers"), Column("median ms", 1), Column("longest ms", 1))
    return [Table("How late a task begins beside pure Python that does not end", columns, lines)] if lines else []


def _limits_of(place: Condition, stdlib_ms: float) -> tuple[float, float | None]:
    """Return the p99 in ms that was hoped for, and the share of the standard pool's work."""
    if place.foreign:
        return stdlib_ms / 2, None  # a lower level is meant to yield
    if place.load == "mixed":
        return max(5.0, stdlib_ms / 2), 0.9
    if place.load in FREE_LOADS:
        return stdlib_ms + VISIBLE_MS, 0.97
    return max(5.0, stdlib_ms / 20), 0.97


def verdict(rows: Rows) -> list[str]:
    """Return what our pool does for the window, with a latency target."""
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
