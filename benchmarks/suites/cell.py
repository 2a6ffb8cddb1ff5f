"""A cell, which is one measurement in a fresh process, and a suite of cells."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..subjects.condition import Condition
from ..subjects.executors import EXECUTORS


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str  # a short description
    module: str  # the module to run, which takes JSON and prints JSON
    spec: Mapping[str, Any]  # the settings for that module
    expected_s: float  # approximate duration
    blas_threads: int | None = None  # limit in each process, set in its environment; None does not limit them
    python: str = ""  # label of the interpreter, "" for this one
    record: Mapping[str, Any] = field(default_factory=dict)  # entries that are stored with the result in the JSON


@dataclass(frozen=True)
class Suite:
    """Cells that are measured together."""

    name: str  # on the command line
    cells: Sequence[Cell]  # of one round
    settings: Mapping[str, Any] = field(default_factory=dict)  # the user's choices, for the JSON
    skipped: Sequence[Mapping[str, str]] = ()  # each has "what" (the part that is not measured here) and "reason"
    pythons: Mapping[str, str] = field(default_factory=dict)  # interpreters by label
    environment: Mapping[str, str] = field(default_factory=dict)  # environment variables of the cells, for the screen


def make_cell(condition: Condition, seconds: float, seed: int) -> Cell:
    """Return the cell that measures a condition."""
    processes = condition.executor in EXECUTORS and EXECUTORS[condition.executor].processes
    # Processes with many BLAS threads take a while to start and to end.
    overhead_s = 1.0 + 0.5 * condition.workers if processes else 0.9
    return Cell(
        condition.name,
        "benchmarks.cells.condition",
        {"condition": asdict(condition), "seconds": seconds, "seed": seed},
        seconds + overhead_s + 0.1 * condition.foreign,
        condition.blas_threads,
        condition.python,
        {"condition": asdict(condition)},
    )
