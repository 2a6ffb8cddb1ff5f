"""``python -m benchmarks desktop``: a program that computes, beside spawned workers that multiply matrices.

The workers import NumPy, which makes BLAS threads, before their initializer runs, as every spawned worker of a script
with ``import numpy`` does. The BLAS threads are left alone, except in the last cell, where each worker has one.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ._cell import CellSpec
from ._pools import POOLS
from ._run import START_S, Cell, Suite
from ._tables import Column, Table, Value
from ._targets import Target, target_table
from ._windows import level_text, median_percentile, median_rate, median_speed, ratio, windows

ALONE: Final = "alone"
STDLIB: Final = "stdlib-process"
LOW: Final = "low-process"
ONE_BLAS: Final = "low-process-one-blas"
_POOLS: Final = (STDLIB, "recipe-process", LOW, "low-process-below")
_JOB: Final = "products"
_COLUMNS: Final = (
    Column("background"),
    Column("speed/alone", 2),
    Column("frame p50 ms", 2),
    Column("p95 ms", 2),
    Column("p99 ms", 2),
    Column("p95/stdlib", 2),
    Column("products/s", 1),
    Column("products/stdlib", 2),
    Column("level of the workers"),
)
_NOTE: Final = (
    "frame: what each of equal computations took, in a process that computes all the time. Medians of the rounds."
)
_SPEED: Final = Target("foreground speed over alone", least=0.97)
_P95: Final = Target("frame p95 over the stdlib pool's", most=0.15)
_WORK: Final = Target("background work over the stdlib pool's", least=0.55)


def make_suite(seconds: float, workers: int) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float
        Length of the window of each cell.
    workers : int
        Workers of each executor.
    """
    kinds: list[tuple[str, str | None, int | None]] = [
        (ALONE, None, None),
        *((pool, pool, None) for pool in _POOLS),
        (ONE_BLAS, LOW, 1),
    ]
    # An untouched pool of several BLAS threads each takes seconds to start and to end.
    cells = [
        Cell(
            name,
            "benchmarks._cell",
            asdict(CellSpec(pool, workers, (_JOB,), seconds)),
            seconds + START_S * (2.5 if pool else 1),
            blas_threads,
        )
        for name, pool, blas_threads in kinds
    ]
    settings = {"seconds": seconds, "workers": workers}
    return Suite("desktop", cells, summarise, settings, baseline_s=min(seconds, 2.0))


def summarise(record: dict[str, Any]) -> dict[str, Any]:
    """Return the table, and what was hoped for."""
    alone, stdlib, low = (windows(record, name, _JOB) for name in (ALONE, STDLIB, LOW))
    table = Table(f"{record['settings']['workers']} workers, products of 700 x 700", _COLUMNS, _rows(record))
    hopes = [
        _SPEED.judge(ratio(median_speed(low), median_speed(alone))),
        _P95.judge(ratio(median_percentile(low, "frame_us", 95), median_percentile(stdlib, "frame_us", 95))),
        _WORK.judge(ratio(median_rate(low), median_rate(stdlib))),
    ]
    hoped = target_table(f"{POOLS[LOW].title}: what was hoped for", hopes)
    return {"tables": [table.to_json(), hoped.to_json()], "notes": [_NOTE]}


def _rows(record: dict[str, Any]) -> list[Sequence[Value]]:
    alone = median_speed(windows(record, ALONE, _JOB))
    stdlib = windows(record, STDLIB, _JOB)
    titles = {ALONE: "nothing", **{name: POOLS[name].title for name in _POOLS}}
    titles[ONE_BLAS] = f"{POOLS[LOW].title}, one BLAS thread"
    rows: list[Sequence[Value]] = []
    for name, title in titles.items():
        measured = windows(record, name, _JOB)
        if measured:
            p95 = median_percentile(measured, "frame_us", 95)
            works = name != ALONE
            rows.append((
                title,
                ratio(median_speed(measured), alone),
                median_percentile(measured, "frame_us", 50),
                p95,
                median_percentile(measured, "frame_us", 99),
                ratio(p95, median_percentile(stdlib, "frame_us", 95)) if works else None,
                median_rate(measured) if works else None,
                ratio(median_rate(measured), median_rate(stdlib)) if works else None,
                level_text(record, name),
            ))  # fmt: skip
    return rows
