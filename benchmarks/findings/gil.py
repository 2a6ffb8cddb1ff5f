"""The answer of the gil suite: when thread priority matters."""

from typing import Final

from ..analysis.rows import Rows
from ..subjects.executors import AWARE_THREAD, PRIORITY_INTERPRETER, PRIORITY_THREAD, STDLIB_THREAD
from ..subjects.loads import TITLES
from ..suites.designs import DESIGNS, FREE_LOADS, GIL_LOADS, OWN_GIL_PLACES, OWN_GILS, THREAD_LEVELS
from . import aware
from .pairs import Pair, pair_tables
from .tables import Table, table_if_any
from .targets import Target, target_table

# Targets for interpreters at the default priority, relative to threads, with two CPUs.
_P99_OVER_THREADS: Final = 0.25
_WORK_OVER_THREADS: Final = 1.8


def tables(rows: Rows) -> list[Table]:
    """Return the p99 by load and priority, the targets, and direct comparisons."""
    return [
        *_levels_table(rows), *aware.tables(rows), *_interpreter_targets(rows), *pair_tables(rows, _pairs(rows))
    ]  # fmt: skip


def _interpreter_targets(rows: Rows) -> list[Table]:
    place = DESIGNS["gil"].base.but(load="python")
    ours = rows.get(place.with_executor(PRIORITY_INTERPRETER, "below_normal"))
    threads = rows.get(place.with_executor(STDLIB_THREAD))
    if ours is None or threads is None:
        return []
    judged = [
        Target("p99 over that of ThreadPoolExecutor", most=_P99_OVER_THREADS).judge(ours.latency_ratio(threads)),
        Target("work over that of ThreadPoolExecutor", least=_WORK_OVER_THREADS).judge(ours.work_ratio(threads)),
    ]
    return [target_table("Pure Python in interpreters at below_normal", judged)]


def _levels_table(rows: Rows) -> list[Table]:
    base = DESIGNS["gil"].base
    executors = [(STDLIB_THREAD, None), *((PRIORITY_THREAD, level) for level in THREAD_LEVELS)]
    lines = []
    for load in (*GIL_LOADS, *FREE_LOADS):
        found = [rows.get(base.but(load=load).with_executor(*each)) for each in executors]
        if any(found):
            lines.append(
                [TITLES[load], "yes" if load in GIL_LOADS else "no", *(row.p99 if row else None for row in found)]
            )
    heads = " | ".join(["load", "holds the GIL", "stdlib:1", *(f"{level}:1" for level in THREAD_LEVELS)])
    return table_if_any("p99 of the window by thread level, ms", heads, lines)


def _pairs(rows: Rows) -> dict[str, list[Pair]]:
    base = DESIGNS["gil"].base
    inversion = [
        (place.with_executor(PRIORITY_THREAD, level), place.with_executor(STDLIB_THREAD))
        for load in ("python", "ufuncs", "matmul")
        for foreign in (0, 4)
        for place in [base.but(load=load, foreign=foreign)]
        for level in ("below_normal", "lowest", "idle")
    ]
    pythons = sorted({row.condition.python for row in rows})
    builds = [
        (place.with_executor(PRIORITY_THREAD, "idle"), place.with_executor(STDLIB_THREAD))
        for load in ("python", "ufuncs", "sorted", "matmul")
        for python in pythons
        for place in [base.but(load=load, python=python)]
    ]
    limited = [
        (place.with_executor(executor, level), place.with_executor(STDLIB_THREAD))
        for place in [base.but(load="python", foreign=4)]
        for level in ("below_normal", "lowest", "idle")
        for executor in (PRIORITY_THREAD, AWARE_THREAD)
        if rows.where(executor=AWARE_THREAD, priority="idle")
    ]
    shared = [base.but(load=load, ui=ui, foreign=foreign) for load, ui in OWN_GIL_PLACES for foreign in (0, 4)]
    default = (PRIORITY_INTERPRETER, "below_normal")
    return {
        "Workers with a GIL of their own over the standard library's threads": [
            (place.with_executor(*each), place.with_executor(STDLIB_THREAD)) for place in shared for each in OWN_GILS
        ],
        "Lower levels of interpreters over the default": [
            (place.with_executor(PRIORITY_INTERPRETER, level), place.with_executor(*default))
            for place in shared
            for level in ("lowest", "idle")
        ],
        "Levels with and without a latency target, beside busy processes": limited,
        "Lowered threads over the standard library's, without and with busy processes beside": inversion,
        "Threads at idle over the standard library's, by interpreter": builds if len(pythons) > 1 else [],
    }


def verdict(rows: Rows) -> list[str]:
    """Return the answer in sentences."""
    base = DESIGNS["gil"].base
    both = ((PRIORITY_THREAD, "idle"), (STDLIB_THREAD, None))
    sentences = aware.verdict(rows)
    for foreign in (4, 0):
        place = base.but(load="python", foreign=foreign)
        low, stdlib = (rows.get(place.with_executor(*each)) for each in both)
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
            low, stdlib = (rows.get(base.but(load=load).with_executor(*each)) for each in both)
            if low and stdlib and (verdict := low.verdict(stdlib)) is not None:
                parts.append(f"{load} {stdlib.p99:.0f} to {low.p99:.0f} ms ({verdict})")
        if parts:
            sentences.append(
                f"Work that {what} the GIL, from ThreadPoolExecutor to workers at idle, "
                f"p99 of the program's own window: {', '.join(parts)}."
            )
    return sentences
