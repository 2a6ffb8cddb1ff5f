"""``python -m benchmarks overhead``: what the library costs on a machine with nothing else to do, beside the stdlib.

Each comparison has interleaved pairs of samples, and the bootstrap's 95 % confidence interval of the ratio, or the
difference, of their medians.
"""

import multiprocessing
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ._cell import CellSpec
from ._overhead_cell import WORKERS, OverheadSpec
from ._run import START_S, Cell, Suite, results
from ._statistics import Interval, bootstrap
from ._tables import Column, Table, Value
from ._targets import Target

_WORK_S: Final = 1.5
_COLUMNS: Final = (
    Column("what"),
    Column("unit"),
    Column("stdlib", 1),
    Column("nicefutures", 1),
    Column("compared by"),
    Column("value", 3),
    Column("95 % low", 3),
    Column("high", 3),
    Column("target"),
    Column("met"),
)
_NOTE: Final = (
    "value: nicefutures over the stdlib, or minus it in the row's unit. "
    "met: not clear if the target is inside the interval."
)


def _over(stdlib: float, nicefutures: float) -> float:
    return nicefutures / stdlib


def _minus(stdlib: float, nicefutures: float) -> float:
    return nicefutures - stdlib


@dataclass(frozen=True)
class Comparison:
    """A row of the table.

    Parameters
    ----------
    cell : str
        Name of its cell; those of "work" have ``-stdlib`` and ``-low`` added.
    unit : str
        Of the samples.
    scale : float
        From s, or from 1/s, to the unit.
    target : Target
        What it is, and the limit for the value.
    """

    cell: str
    unit: str
    scale: float
    target: Target

    @property
    def by(self) -> str:
        """How the two are compared."""
        return "difference" if self.unit == "ms" else "ratio"


_COMPARISONS: Final = (
    Comparison("call-fork", "us", 1e6, Target("a call through map, forked processes", most=1.05)),
    Comparison("call-spawn", "us", 1e6, Target("a call through map, spawned processes", most=1.05)),
    Comparison("call-thread", "us", 1e6, Target("a call through map, threads", most=1.05)),
    Comparison("work", "products/s", 1, Target("work, BLAS threads left alone", least=0.97)),
    Comparison("work-one-blas", "products/s", 1, Target("work, one BLAS thread a worker", least=0.97)),
    Comparison("start", "ms", 1e3, Target("start of two spawned workers", most=25)),
    Comparison("import", "ms", 1e3, Target("import", most=25)),
)


def make_suite(seconds: float | None = None, calls: int = 4000, samples: int = 3) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float, optional
        Length of the windows in which products are counted.
    calls : int
        Calls in one sample.
    samples : int
        Samples of each of the two in a round, where a round takes several.
    """
    seconds = _WORK_S if seconds is None else seconds
    cells = [
        *(_cost(f"call-{context}", OverheadSpec("call", context, samples, calls)) for context in _contexts()),
        _cost("start", OverheadSpec("start", "spawn", samples)),
        _cost("import", OverheadSpec("import", samples=samples)),
        *(
            Cell(
                f"{name}-{suffix}",
                "benchmarks._cell",
                asdict(CellSpec(pool, WORKERS, ("products",), seconds, foreground="none")),
                seconds + 1.5 * START_S,
                blas_threads,
            )
            for name, blas_threads in (("work", None), ("work-one-blas", 1))
            for suffix, pool in (("stdlib", "stdlib-process"), ("low", "low-process"))
        ),
    ]
    settings = {"seconds": seconds, "calls": calls, "samples": samples, "workers": WORKERS}
    return Suite("overhead", cells, summarise, settings, baseline_s=min(seconds, 2.0))


def _contexts() -> list[str]:
    # macOS has fork, but a process that has used its frameworks does not survive it.
    forks = sys.platform != "darwin" and "fork" in multiprocessing.get_all_start_methods()
    return [*(["fork"] if forks else []), "spawn", "thread"]


def _cost(name: str, spec: OverheadSpec) -> Cell:
    per_sample = spec.calls * 70e-6 if spec.kind == "call" else 0.12
    return Cell(name, "benchmarks._overhead_cell", asdict(spec), 0.5 + 2 * (spec.samples + 1) * per_sample)


def summarise(record: dict[str, Any]) -> dict[str, Any]:
    """Return the table."""
    rows = [row for comparison in _COMPARISONS if (row := _row(record, comparison)) is not None]
    return {"tables": [Table("Overhead, 2 workers", _COLUMNS, rows).to_json()], "notes": [_NOTE]}


def _row(record: dict[str, Any], comparison: Comparison) -> Sequence[Value] | None:
    pairs = [(a * comparison.scale, b * comparison.scale) for a, b in _pairs(record, comparison.cell)]
    if not pairs:
        return None
    stdlib, nicefutures = (statistics.median(series) for series in zip(*pairs, strict=True))
    compare: Callable[[float, float], float] = _over if comparison.by == "ratio" else _minus
    interval: Interval = bootstrap(pairs, compare, record["seed"])
    what, _, target, met = comparison.target.judge(interval)
    return (what, comparison.unit, stdlib, nicefutures, comparison.by, *interval, target, met)


def _pairs(record: dict[str, Any], cell: str) -> list[tuple[float, float]]:
    """Return the samples of the two that were taken next to each other."""
    if cell.startswith("work"):
        stdlib, low = (_rate_by_round(record, f"{cell}-{suffix}") for suffix in ("stdlib", "low"))
        return [(stdlib[number], low[number]) for number in sorted(stdlib.keys() & low.keys())]
    samples = [result["samples_s"] for result in results(record, cell)]
    return [pair for both in samples for pair in zip(both["stdlib"], both["nicefutures"], strict=True)]


def _rate_by_round(record: dict[str, Any], name: str) -> dict[int, float]:
    return {
        cell["round"]: cell["result"]["windows"][0]["done"] / cell["result"]["windows"][0]["seconds"]
        for cell in record["cells"]
        if cell["name"] == name and "result" in cell
    }
