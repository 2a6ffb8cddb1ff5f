"""``python -m benchmarks``: a real job in the background, beside a program in use.

Two jobs, each through four executors: SciPy's `differential_evolution(workers=executor.map)`, whose model is mostly
Python code under the GIL, and NumPy's products of large matrices, which release it. Beside them two programs are in
use: the foreground process, and the window of the program itself, the main thread of the process that has the
executor, which shares the GIL with its worker threads. That main thread draws in every cell, "alone" included, so
that the cells differ in the background only.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ._cell import CellSpec
from ._pools import POOLS
from ._run import START_S, Cell, Suite
from ._tables import Column, Table, Value
from ._windows import level_text, median_percentile, median_rate, median_speed, ratio, windows

ALONE: Final = "alone"
JOBS: Final = {
    "fit": "SciPy: differential_evolution, calls of the model",
    "products": "NumPy: products of 700 x 700 matrices",
}
_POOLS: Final = ("stdlib-process", "low-process", "stdlib-thread", "priority-thread")
_COLUMNS: Final = (
    Column("background"),
    Column("speed/alone", 2),
    Column("frame p50 ms", 1),
    Column("p95 ms", 1),
    Column("p99 ms", 1),
    Column("own p95 ms", 1),
    Column("own p99 ms", 1),
    Column("done/s", 0),
    Column("level of the workers"),
)
_NOTE: Final = (
    "speed: frames computed without a pause by another process. frame: time from due to drawn of its 60 Hz window, "
    "missed beats included; own: the same in the main thread of the process that has the executor. "
    "Medians of the rounds."
)


def make_suite(seconds: float, workers: int, seed: int) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float
        Length of the window of each job in each cell.
    workers : int
        Workers of each executor.
    seed : int
        Of the optimizer.
    """
    specs = {
        name: CellSpec(pool, workers, tuple(JOBS), seconds, "both", own_window=True, seed=seed)
        for name, pool in [(ALONE, None), *((pool, pool) for pool in _POOLS)]
    }
    # A worker imports SciPy, and all of them do at once.
    cells = [
        Cell(name, "benchmarks._cell", asdict(spec), len(JOBS) * (seconds + 0.4) + START_S * (2 if spec.pool else 1))
        for name, spec in specs.items()
    ]
    settings = {"seconds": seconds, "workers": workers}
    return Suite("job", cells, summarise, settings, baseline_s=min(seconds, 2.0))


def summarise(record: dict[str, Any]) -> dict[str, Any]:
    """Return one table per job."""
    tables = [Table(title, _COLUMNS, _rows(record, job)).to_json() for job, title in JOBS.items()]
    return {"tables": tables, "notes": [_NOTE]}


def _rows(record: dict[str, Any], job: str) -> list[Sequence[Value]]:
    alone = median_speed(windows(record, ALONE, job))
    rows: list[Sequence[Value]] = []
    for name in (ALONE, *_POOLS):
        measured = windows(record, name, job)
        if measured:
            rows.append((
                POOLS[name].title if name in POOLS else "nothing",
                ratio(median_speed(measured), alone),
                *(median_percentile(measured, "beat_us", percent) for percent in (50, 95, 99)),
                *(median_percentile(measured, "own_beat_us", percent) for percent in (95, 99)),
                median_rate(measured) if name in POOLS else None,
                level_text(record, name),
            ))  # fmt: skip
    return rows
