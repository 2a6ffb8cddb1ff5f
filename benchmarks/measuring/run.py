"""Running the cells of a suite, each in a fresh process, in rounds of random order."""

import contextlib
import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

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
# A cell is given up after so many seconds plus so many times its expected duration.
PATIENCE_S: Final = 30.0
_PATIENCE_TIMES: Final = 6


class CellError(Exception):
    """A cell failed; the message is what it wrote to its standard error."""


def expected_s(suite: Suite, rounds: int) -> float:
    """Return the approximate duration of a run, in s."""
    return sum(cell.expected_s for _, cell in _plan(suite, rounds, 0))


def run_suite(suite: Suite, rounds: int, seed: int, path: Path) -> dict[str, Any]:
    """Measure every cell once per round; save the record after each cell, so that Ctrl-C loses at most one.

    The seed is that of the order. The record that is returned is in the JSON file at `path`, too; its "complete" is
    False after Ctrl-C.
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
    left_s = total_s
    with contextlib.suppress(KeyboardInterrupt):
        for done, (number, cell) in enumerate(plan, 1):
            print(f"[{done}/{len(plan)}, {_duration(left_s)}] round {number}: {cell.name}", file=sys.stderr, flush=True)
            record["cells"].append({"round": number, "name": cell.name, **cell.record, **_try(cell, suite)})
            save(record, path)
            left_s -= cell.expected_s
        record["complete"] = True
    record["finished"] = _now()
    save(record, path)
    return record


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _plan(suite: Suite, rounds: int, seed: int) -> list[tuple[int, Cell]]:
    """Return (round, cell) in order. Round 0 and the round after the last are the idle baselines before and after."""
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

    A `CellError` means that this process failed, or took far longer than expected. None of the cell's processes is left
    then.
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
            # Its own process group, so that Ctrl-C reaches only this process, and the group can be ended as a whole.
            # Not its own session: on Linux, priorities only matter within a session.
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
    """End a cell and all processes that it has started, also those in other sessions."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if not is_in_group(child.pid, process.pid):
                child.kill()
    end_group(process)
    process.wait()
