"""A cell, which is one thing to measure in a fresh process, and a suite of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..subjects.condition import Condition
from ..subjects.executors import EXECUTORS


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Parameters
    ----------
    name : str
        What it is, in a few words.
    module : str
        What runs it: it takes JSON and prints JSON.
    spec : mapping
        What that module measures.
    expected_s : float
        About how long it takes.
    blas_threads : int or None
        Limit of BLAS threads in each process, from its environment; None leaves them alone.
    python : str
        Label of the interpreter, "" for this one.
    record : mapping
        What stands beside its result in the JSON.
    """

    name: str
    module: str
    spec: Mapping[str, Any]
    expected_s: float
    blas_threads: int | None = None
    python: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Cells that are measured together.

    Parameters
    ----------
    name : str
        As on the command line.
    cells : sequence of Cell
        Those of one round.
    settings : mapping
        What the user could choose, for the JSON.
    skipped : sequence of dict
        "what" is not measured here and the "reason".
    pythons : mapping of str to str
        Interpreters by label.
    environment : mapping of str to str
        Of the cells: the screen.
    """

    name: str
    cells: Sequence[Cell]
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, str]] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def make_cell(condition: Condition, seconds: float, seed: int) -> Cell:
    """Return the cell that measures a condition."""
    processes = condition.executor in EXECUTORS and EXECUTORS[condition.executor].processes
    # Starting and ending processes that have many BLAS threads each takes its time.
    overhead_s = 1.0 + 0.5 * condition.workers if processes else 0.9
    return Cell(
        condition.name,
        "benchmarks.cells.condition",
        {"condition": condition.to_json(), "seconds": seconds, "seed": seed},
        seconds + overhead_s + 0.1 * condition.foreign,
        condition.blas_threads,
        condition.python,
        {"condition": condition.to_json()},
    )
