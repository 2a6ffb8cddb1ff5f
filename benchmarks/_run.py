"""Runs the cells of a suite, each in a fresh process, in rounds of random order."""

import contextlib
import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ._machine import describe_machine, find_noise
from ._record import FORMAT, save

_ROOT: Final = Path(__file__).resolve().parent.parent
_BLAS_VARIABLES: Final = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_BASELINE_S: Final = 2.0
# Seconds to start a cell's processes and end them, for the estimate.
START_S: Final = 1.0
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Parameters
    ----------
    name : str
        Its short name, for ``--only`` and in the JSON.
    module : str
        What runs it: it takes `spec` as JSON and prints JSON.
    spec : mapping
        What that module measures.
    expected_s : float
        About how long it takes.
    blas_threads : int or None
        Limit of BLAS threads in each process, from its environment; None leaves them alone.
    """

    name: str
    module: str
    spec: Mapping[str, Any]
    expected_s: float
    blas_threads: int | None = None


@dataclass(frozen=True)
class Suite:
    """Cells that are measured together, and what to make of them.

    Parameters
    ----------
    name : str
        As on the command line.
    cells : sequence of Cell
        Those of one round.
    summarise : callable
        Makes {"tables": ..., "notes": ...} of the record.
    settings : mapping
        What the user could choose, for the JSON.
    baseline_s : float
        How long the foreground runs alone, before and after.
    """

    name: str
    cells: Sequence[Cell]
    summarise: Callable[[dict[str, Any]], dict[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline_s: float = _BASELINE_S


class CellError(Exception):
    """A cell failed; the message is what it wrote to its standard error."""


def run_suite(suite: Suite, rounds: int, seed: int, path: Path) -> dict[str, Any]:
    """Measure every cell once a round; save the samples after each one, the summary at the end or after Ctrl-C.

    Parameters
    ----------
    suite : Suite
        What to measure.
    rounds : int
        How often.
    seed : int
        Of the order.
    path : pathlib.Path
        The JSON file.

    Returns
    -------
    dict
        The record, which is in the file, too. Its "complete" is False after Ctrl-C.
    """
    plan = _plan(suite, rounds, seed)
    total_s = sum(cell.expected_s for _, cell in plan)
    print(f"{suite.name}: {len(plan)} measurements, about {total_s:.0f} s; the file is {path}", file=sys.stderr)
    record: dict[str, Any] = {
        "format": FORMAT,
        "suite": suite.name,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "rounds": rounds,
        "settings": dict(suite.settings),
        "started": _now(),
        "machine": describe_machine(),
        "complete": False,
        # What a run leaves that was killed.
        "summary": {"tables": [], "notes": ["The run was ended before its summary. The samples are in the file."]},
        "cells": [],
    }
    with _progress(total_s, len(plan)) as advance, contextlib.suppress(KeyboardInterrupt):
        for number, cell in plan:
            advance(cell, number, finished=False)
            record["cells"].append({"round": number, "name": cell.name, **_try(cell)})
            save(record, path)
            advance(cell, number, finished=True)
        record["complete"] = True
    record["finished"] = _now()
    record["summary"] = _summarise(suite, record)
    save(record, path)
    return record


def results(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return what the cell of that name measured, round by round; rounds in which it failed are missing."""
    return [cell["result"] for cell in record["cells"] if cell["name"] == name and "result" in cell]


def _plan(suite: Suite, rounds: int, seed: int) -> list[tuple[int, Cell]]:
    """Return (round, cell) in order. Round 0 is the baseline before, and the one after the last that after."""
    spec = {"pool": None, "workers": 0, "jobs": ["idle"], "seconds": suite.baseline_s, "foreground": "frames"}
    before, after = (
        Cell(f"baseline-{when}", "benchmarks._cell", spec, suite.baseline_s + START_S) for when in ("before", "after")
    )
    shuffled = random.Random(seed)
    plan = [(0, before)]
    for number in range(1, rounds + 1):
        plan += [(number, cell) for cell in shuffled.sample(suite.cells, len(suite.cells))]
    return [*plan, (rounds + 1, after)]


def _summarise(suite: Suite, record: dict[str, Any]) -> dict[str, Any]:
    """Return the suite's summary, with notes of what went wrong."""
    before, after = (_baseline(record, when) for when in ("before", "after"))
    failures = [
        f"{cell['name']}, round {cell['round']}, failed: {cell['error'].strip().splitlines()[-1]}"
        for cell in record["cells"]
        if "error" in cell
    ]
    incomplete = [] if record["complete"] else ["Not complete: the run was interrupted."]
    summary = suite.summarise(record)
    noise = find_noise(record["machine"]["load_before"], before, after)
    return {"tables": summary["tables"], "notes": [*summary["notes"], *failures, *noise, *incomplete]}


def _baseline(record: Mapping[str, Any], when: str) -> float | None:
    """Return the speed of the foreground alone, in frames per second."""
    measured = results(record, f"baseline-{when}")
    return float(measured[0]["windows"][0]["frames_per_s"]) if measured else None


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _try(cell: Cell) -> dict[str, Any]:
    try:
        return {"spec": dict(cell.spec), "blas_threads": cell.blas_threads, "result": run_cell(cell)}
    except CellError as error:
        print(f"{cell.name} failed:\n{error}", file=sys.stderr)
        return {"spec": dict(cell.spec), "blas_threads": cell.blas_threads, "error": str(error)}


def run_cell(cell: Cell) -> dict[str, Any]:
    """Measure a cell in a fresh process.

    Raises
    ------
    CellError
        If that process failed, or took far longer than expected. None of its processes is left.
    """
    environment = dict(os.environ)
    if cell.blas_threads is not None:
        environment |= dict.fromkeys(_BLAS_VARIABLES, str(cell.blas_threads))
    command = [sys.executable, "-m", cell.module, json.dumps(dict(cell.spec))]
    # Files, not pipes: reading a pipe would wait for any process that still has it open.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=_ROOT,
            env=environment,
            # A group of its own, so that Ctrl-C comes here only, and all of it can be ended together. Not a session:
            # on Linux priorities do not reach beyond one.
            process_group=0,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        try:
            code = process.wait(_PATIENCE_S + 10 * cell.expected_s)
        except subprocess.TimeoutExpired:
            _end(process)
            msg = f"it took longer than {_PATIENCE_S + 10 * cell.expected_s:.0f} s"
            raise CellError(msg) from None
        except BaseException:
            _end(process)
            raise
        if code != 0:
            _end(process)
            stderr.seek(0)
            raise CellError(stderr.read().decode(errors="replace") or f"it ended with code {code}")
        stdout.seek(0)
        return dict(json.loads(stdout.read()))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a cell and whatever it started."""
    if sys.platform == "win32":
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
    else:
        # Not SIGKILL: multiprocessing's resource tracker ignores SIGTERM, cleans up when the others are gone, and ends.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@contextlib.contextmanager
def _progress(total_s: float, count: int) -> Iterator[Callable[..., None]]:
    """Show on standard error how far it is: a bar with the time left, or a line per cell if that is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        done = 0

        def say(cell: Cell, number: int, *, finished: bool) -> None:
            nonlocal done
            done += not finished
            if not finished:
                print(f"[{done}/{count}] round {number}: {cell.name}", file=sys.stderr, flush=True)

        yield say
        return

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawn between the cells only: drawing takes time that the cells would miss.
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=round(total_s))

        def draw(cell: Cell, number: int, *, finished: bool) -> None:
            bar.update(task, description=f"round {number}: {cell.name}", advance=cell.expected_s * finished)
            bar.refresh()

        yield draw
