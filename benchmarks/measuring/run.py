"""Runs the cells of a suite, each in a fresh process, in rounds of random order."""

import contextlib
import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..record import FORMAT, save
from ..subjects.condition import Condition
from ..suites.cell import Cell, Suite, make_cell
from ..system import end_group, is_in_group
from .machine import describe_machine

_ROOT: Final = Path(__file__).resolve().parents[2]
_BLAS_VARIABLES: Final = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
BASELINE: Final = Condition(ui="thread", foreground="same-session")
BASELINE_S: Final = 3.0
# Seconds, and multiples of what is expected, after which a cell is given up.
PATIENCE_S: Final = 30.0
_PATIENCE_TIMES: Final = 6


class CellError(Exception):
    """A cell failed; the message is what it wrote to its standard error."""


def expected_s(suite: Suite, rounds: int) -> float:
    """Return about how long a run takes, in s."""
    return sum(cell.expected_s for _, cell in _plan(suite, rounds, 0))


def run_suite(suite: Suite, rounds: int, seed: int, path: Path) -> dict[str, Any]:
    """Measure every cell once a round; save the record after each one, so that Ctrl-C loses one cell at most.

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
    print(f"{suite.name}: {len(plan)} measurements, about {_duration(total_s)}; the file is {path}", file=sys.stderr)
    record: dict[str, Any] = {
        "format": FORMAT,
        "suite": suite.name,
        "settings": dict(suite.settings),
        "seed": seed,
        "rounds": rounds,
        "started": _now(),
        "finished": None,
        "complete": False,
        "machine": describe_machine(),
        "skipped": list(suite.skipped),
        "cells": [],
    }
    with _progress(total_s, len(plan)) as advance, contextlib.suppress(KeyboardInterrupt):
        for number, cell in plan:
            advance(cell, number, finished=False)
            record["cells"].append({"round": number, "name": cell.name, **cell.record, **_try(cell, suite)})
            save(record, path)
            advance(cell, number, finished=True)
        record["complete"] = True
    record["finished"] = _now()
    save(record, path)
    return record


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _plan(suite: Suite, rounds: int, seed: int) -> list[tuple[int, Cell]]:
    """Return (round, cell) in order. Round 0 is the idle baseline before, and the one after the last that after."""
    baseline = make_cell(BASELINE, BASELINE_S, seed)
    shuffled = random.Random(seed)
    plan = [(0, baseline)]
    for number in range(1, rounds + 1):
        plan += [(number, cell) for cell in shuffled.sample(suite.cells, len(suite.cells))]
    return [*plan, (rounds + 1, baseline)]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _try(cell: Cell, suite: Suite) -> dict[str, Any]:
    try:
        return {"result": run_cell(cell, suite.pythons.get(cell.python, sys.executable), suite.environment)}
    except CellError as error:
        print(f"{cell.name} failed:\n{error}", file=sys.stderr)
        return {"error": str(error).strip().splitlines()[-1]}


def run_cell(cell: Cell, python: str = sys.executable, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Measure a cell in a fresh process.

    Raises
    ------
    CellError
        If that process failed, or took far longer than expected. None of its processes is left.
    """
    environment = {**os.environ, **(environment or {})}
    if cell.blas_threads is not None:
        environment |= dict.fromkeys(_BLAS_VARIABLES, str(cell.blas_threads))
    command = [python, "-m", cell.module, json.dumps(dict(cell.spec))]
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
        patience_s = PATIENCE_S + _PATIENCE_TIMES * cell.expected_s
        try:
            code = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            _end(process)
            msg = f"no answer within {patience_s:.0f} s: its window got no time at all, or the machine is far too busy"
            raise CellError(msg) from None
        except BaseException:
            _end(process)
            raise
        if code != 0:
            _end(process)
            stderr.seek(0)
            raise CellError(stderr.read().decode(errors="replace").strip() or f"it ended with code {code}")
        stdout.seek(0)
        return dict(json.loads(stdout.read()))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a cell and whatever it started, in sessions of their own included."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if not is_in_group(child.pid, process.pid):
                child.kill()
    end_group(process)
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
