"""Results of the gil suite for the pool that limits its running workers."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Final

from ..analysis.bootstrap import Interval, as_text
from ..analysis.rows import VISIBLE_MS, Row, Rows
from ..subjects.condition import AT_ONCE, Condition
from ..subjects.executors import AWARE_THREAD, BY_HAND, STDLIB_THREAD, title_of
from ..subjects.loads import PHASE_S, PHASES, TITLES
from ..suites.designs import AWARE_LOADS, DESIGNS, DRAWING_MS, FREE_LOADS, GIL_LOADS, WAITING_LOADS
from .tables import Table, Value, columns, table_if_any
from .targets import Target, target_table

# Targets for a window that draws in Python, and for the work, relative to one worker set up by hand.
_DRAWING_P99_MS: Final = 5.0
_WORK_OF_ONE: Final = 0.9
# Target for tasks that hold the GIL and tasks that release it, in turn.
_MIXED_P99_MS: Final = 12.0
# Targets where a limit might be too low. The p99 applies with at most as many workers as in the other cells.
_WORK_KEPT: Final = 0.95
_ENDLESS_P99_MS: Final = 25.0
_FEW_WORKERS: Final = 4


def tables(rows: Rows) -> list[Table]:
    """Return the targets, and how long the limit takes to follow the load."""
    return [
        *_drawing(rows),
        *_targets(rows),
        *_waiting_and_endless(rows),
        *_lateness(rows),
        *_free_threaded_targets(rows),
        *_settling(rows),
    ]


def _drawing(rows: Rows) -> list[Table]:
    """Judge a window that draws in Python next to our pool, one worker set up by hand, and the stdlib's pool."""
    found: dict[tuple[str, str], list[_Drawn]] = {}
    for ours in rows.where(executor=AWARE_THREAD, foreign=0):
        place, hand = ours.condition, rows.get(ours.condition.with_executor(BY_HAND))
        work = ours.work_ratio(hand) if hand else None
        if place.drawing_ms and hand is not None and work is not None:
            stdlib = rows.get(place.with_executor(STDLIB_THREAD))
            drawn = _Drawn(
                place.load or "",
                place.drawing_ms,
                stdlib.median_percentile(99) if stdlib else None,
                hand.median_percentile(99),
                ours.median_percentile(99),
                work,
            )
            found.setdefault((place.python, place.feeding), []).append(drawn)
    own = rows.record["machine"]["python"]
    short: list[Sequence[Value]] = [
        (
            python or own, feeding, _range([drawn.stdlib_ms for drawn in group if drawn.stdlib_ms is not None]),
            _range([drawn.hand_ms for drawn in group]), _range([drawn.ours_ms for drawn in group]),
            _range([drawn.work.value for drawn in group], digits=2),
            f"{sum(drawn.is_reached for drawn in group)} of {len(group)}",
        )
        for (python, feeding), group in sorted(found.items())
    ]  # fmt: skip
    heads = "Python | tasks fed by | stdlib p99 ms | one by hand p99 ms | p99 ms | work/one by hand | target reached"
    return [
        *table_if_any("A window that draws, in short: lowest to highest", heads, short),
        *(_drawing_table(python, feeding, group) for (python, feeding), group in sorted(found.items())),
    ]


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """The values compared for one window: p99 of a frame's delay, and work over that of one worker set up by hand."""

    load: str
    drawing_ms: float
    stdlib_ms: float | None
    hand_ms: float
    ours_ms: float
    work: Interval

    @property
    def is_reached(self) -> bool:
        return self.ours_ms <= _DRAWING_P99_MS and self.work.value >= _WORK_OF_ONE


def _drawing_table(python: str, feeding: str, group: Sequence[_Drawn]) -> Table:
    heads = (
        "tasks | drawing ms:1 | stdlib p99 ms:1 | one by hand p99 ms:1 | p99 ms:1 | work/one by hand | target reached"
    )
    lines: list[Sequence[Value]] = [
        (
            TITLES[drawn.load], drawn.drawing_ms, drawn.stdlib_ms, drawn.hand_ms, drawn.ours_ms, drawn.work.text,
            "yes" if drawn.is_reached else "no",
        )
        for drawn in sorted(group, key=lambda drawn: (list(TITLES).index(drawn.load), drawn.drawing_ms))
    ]  # fmt: skip
    on = f", Python {python}" if python else ""
    title = f"A window that draws{on}, tasks fed {'by ' if feeding != AT_ONCE else ''}{feeding}"
    return Table(title, columns(heads), lines)


def _range(values: Sequence[float], digits: int = 1) -> str | None:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}" if values else None


def _free_threaded_targets(rows: Rows) -> list[Table]:
    """Compare the window next to our pool at LOWEST with the window on an idle machine, without the GIL."""
    found = rows.where(executor=AWARE_THREAD, priority="lowest", load="python", foreign=0)
    free = [row for row in found if not any(result["gil"] for result in row.results.values())]
    judged = [
        Target(f"p99 over that beside nothing, Python {row.condition.python}", most=1.5).judge(row.latency_ratio(alone))
        for row in free
        if (alone := rows.alone(row)) is not None
    ]
    return [target_table("Pure Python at LOWEST on a free-threaded build", judged)] if judged else []


def _settling(rows: Rows) -> list[Table]:
    """Return how long our pool took to change its limit when the load changed."""
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
    heads = "the load changes | limit then | median s:2 | longest s:2"
    return table_if_any("How long the limit takes to follow the load", heads, lines)


def _targets(rows: Rows) -> list[Table]:
    """Judge the pool that limits its running workers by the delay of the window and by its work."""
    base = DESIGNS["gil"].base
    places = [base.but(load=load, drawing_ms=drawing) for load in AWARE_LOADS for drawing in (0.0, *DRAWING_MS)]
    places.append(base.but(load="python", foreign=4))
    lines: list[Sequence[Value]] = []
    for place in places:
        ours, stdlib = _both(rows, place)
        if ours is None or stdlib is None:
            continue
        ratio, work = ours.latency_ratio(stdlib), ours.work_ratio(stdlib)
        our_p99, their_p99 = ours.median_percentile(99), stdlib.median_percentile(99)
        most, least = _limits_of(place, their_p99)
        met = our_p99 <= most and (least is None or (work is not None and work.value >= least))
        lines.append((
            TITLES[place.load or ""], _beside(place), their_p99, our_p99,
            f"<= {most:.1f}", as_text(ratio), ours.verdict(stdlib), as_text(work),
            f">= {least:g}" if least is not None else None, "yes" if met else "no",
        ))  # fmt: skip
    heads = (
        "load | beside | stdlib p99 ms:1 | p99 ms:1 | target | p99/stdlib | verdict | work/stdlib | target | reached"
    )
    return table_if_any("PriorityThreadPoolExecutor(latency_target=0.005); medians of the rounds", heads, lines)


def _both(rows: Rows, place: Condition) -> tuple[Row | None, Row | None]:
    """Return our pool's row and the standard library's."""
    return rows.get(place.with_executor(AWARE_THREAD, "below_normal")), rows.get(place.with_executor(STDLIB_THREAD))


def _waiting_and_endless(rows: Rows) -> list[Table]:
    """Judge our pool where a limit on its workers might be too low, by its work and by the delay of the window."""
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
            as_text(work), f">= {least:g}" if least else None,
            None if most is None and least is None else "yes" if met else "no",
        ))  # fmt: skip
    heads = "load | workers | stdlib p99 ms:1 | p99 ms:1 | target | work/stdlib | target | reached"
    return table_if_any("Tasks that wait, and tasks that do not end; medians of the rounds", heads, lines)


def _lateness(rows: Rows) -> list[Table]:
    """Return how late a task began while another one ran Python code without end."""
    lines: list[Sequence[Value]] = []
    for row in rows.where(load="late"):
        begun = [ns / 1e6 for result in row.results.values() for ns in result.get("begun_ns", ())]
        if begun:
            title = title_of(row.condition.executor, row.condition.priority)
            lines.append((title, row.condition.workers, statistics.median(begun), max(begun)))
    heads = "executor | workers | median ms:1 | longest ms:1"
    return table_if_any("How late a task begins beside pure Python that does not end", heads, lines)


def _beside(place: Condition) -> str:
    if place.foreign:
        return f"{place.foreign} busy processes"
    return f"drawing {place.drawing_ms:g} ms" if place.drawing_ms else ""


def _limits_of(place: Condition, stdlib_ms: float) -> tuple[float, float | None]:
    """Return the target for the p99 in ms, and for the share of the standard pool's work."""
    if place.foreign:
        return 0.3 * stdlib_ms, None  # a lower priority should yield
    if place.load == "mixed":
        return _MIXED_P99_MS, _WORK_OF_ONE
    if place.load in FREE_LOADS:
        return stdlib_ms + VISIBLE_MS, _WORK_KEPT
    return _DRAWING_P99_MS, None if place.drawing_ms else _WORK_KEPT


def verdict(rows: Rows) -> list[str]:
    """Return sentences on the delay of the window next to our pool with a latency target."""
    base = DESIGNS["gil"].base
    sentences = []
    for loads, what in ((GIL_LOADS, "holds"), (FREE_LOADS, "releases")):
        late, their, work = [], [], []
        for load in AWARE_LOADS:
            place = base.but(load=load)
            ours, stdlib = _both(rows, place)
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
