"""A cell, which is one measurement in a fresh process, and a suite of cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..subjects.condition import Condition
from ..subjects.executors import EXECUTORS


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Parameters
    ----------
    name : str
        A short description.
    module : str
        The module to run, which takes JSON and prints JSON.
    spec : mapping
        The settings for that module.
    expected_s : float
        Approximate duration, in s.
    blas_threads : int or None
        Limit of BLAS threads in each process, set in its environment; None does not limit them.
    python : str
        Label of the interpreter, "" for this one.
    record : mapping
        Entries that are stored with the result in the JSON.
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
        Name on the command line.
    cells : sequence of Cell
        The cells of one round.
    settings : mapping
        The user's choices, for the JSON.
    skipped : sequence of dict
        Each has "what" (the part that is not measured here) and "reason".
    pythons : mapping of str to str
        Interpreters by label.
    environment : mapping of str to str
        Environment variables of the cells, for the screen.
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
    # Processes with many BLAS threads take a while to start and to end.
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
