"""The answer of the desktop suite: whether the system is still responsive."""

from collections.abc import Sequence

from ..analysis.rows import Rows
from ..subjects.executors import LOW_LEVEL_ONLY, LOW_PROCESS, STDLIB_PROCESS
from ..suites.designs import DESIGNS
from .pairs import Pair, pair_tables
from .tables import Table, Value, table_if_any
from .targets import Target, target_table
from .wording import background_of


def tables(rows: Rows) -> list[Table]:
    """Return a brief table, the targets, and direct comparisons."""
    return [*_brief(rows), *_targets(rows), *pair_tables(rows, _pairs())]


def _brief(rows: Rows) -> list[Table]:
    base = DESIGNS["desktop"].base
    capped = base.but(blas_threads=1)
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
            work = row.rate / stdlib.rate if row.rate is not None and stdlib and stdlib.rate else None
            speed = row.speed_kept(rows.get(wanted[0]))
            window = row.in_view("foreground").p99
            lines.append((background_of(condition) + blas, speed, row.frame_ms(95), window, row.rate, work, row.level))
    heads = (
        "background | speed/alone:2 | frame p95 ms:2 | window p99 ms:1 | products/s:1 | products/stdlib:2 | "
        "level of the workers"
    )
    return table_if_any(f"In short: another program beside {base.workers} workers", heads, lines)


def _pairs() -> dict[str, list[Pair]]:
    base = DESIGNS["desktop"].base
    cpus = base.workers // 2
    capped, other = base.but(blas_threads=1), base.but(foreground="other-session")
    places = [base.but(workers=workers) for workers in (cpus, 2 * cpus, 4 * cpus)]
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


def _targets(rows: Rows) -> list[Table]:
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
    return [target_table("LowPriorityProcessPoolExecutor, idle: targets", judged)]


def verdict(rows: Rows) -> list[str]:
    """Return the answer in sentences."""
    base = DESIGNS["desktop"].base
    executors = ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None), ("recipe-psutil", None))
    parts, work = [], []
    for each in executors:
        row = rows.get(base.with_executor(*each))
        if row is None:
            continue
        speed = row.speed_kept(rows.alone(row))
        kept = f"{speed:.0%} of its speed and " if speed is not None else ""
        parts.append(f"{kept}frames of {row.p99:.1f} ms (p99) beside {background_of(row.condition)}")
        reference = rows.reference(row)
        ratio = row.work_ratio(reference) if reference else None
        if ratio is not None:
            work.append(f"{background_of(row.condition)} {ratio.text}")
    sentences = [f"A program that computes has {'; '.join(parts)}."] if parts else []
    return [*sentences, f"Work done over ProcessPoolExecutor's: {'; '.join(work)}."] if work else sentences
