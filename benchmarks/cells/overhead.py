"""Costs of an executor: ``python -m benchmarks.cells.overhead JSON`` measures one with pyperf and answers in JSON.

pyperf runs this module again in its own worker process. This module does not import NumPy, which would only add to the
measured start of the workers.
"""

import contextlib
import functools
import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..subjects.peers import PEERS, WORKERS, Opened

_PATIENCE: Final = 60.0
_IMPORT: Final = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


@dataclass(frozen=True)
class OverheadSpec:
    """Settings of one measurement.

    The `kind` is "call" (one call and its result), "map", "map 10 us", "map 1 ms", "map 100 ms" or "map mixed" (one
    item of a `map` whose function does nothing, or computes for that time), "start" (the start of two workers), or
    "import".
    """

    kind: str
    peer: str  # a key of `benchmarks.subjects.peers.PEERS`
    loops: int = 1  # number of calls or items in one value
    values: int = 3  # number of values


def _time_calls(spec: OverheadSpec, opened: Opened, loops: int) -> float:
    function = _nothing if spec.kind in ("call", "map") else _compute
    items = _ITEMS[spec.kind](loops)
    start = time.perf_counter()
    if spec.kind == "call":
        for item in items:
            opened.call(function, item)
    else:
        for _ in opened.map(function, items):
            pass
    return time.perf_counter() - start


# Arguments of the calls, for most kinds the seconds of each. In "map mixed", one call in fifty takes much longer.
_ITEMS: Final[Mapping[str, Callable[[int], Sequence[float]]]] = {
    "call": range,
    "map": range,
    "map 10 us": lambda loops: [1e-5] * loops,
    "map 1 ms": lambda loops: [1e-3] * loops,
    "map 100 ms": lambda loops: [0.1] * loops,
    "map mixed": lambda loops: random.Random(loops).choices([1e-4, 1.0], [49, 1], k=loops),
}


def _nothing(argument: float) -> None:
    pass


def _compute(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _time_starts(spec: OverheadSpec, loops: int) -> float:
    """Return the time, in s, until each of two workers of new pools has returned a result."""
    total = 0.0
    for _ in range(loops):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            with PEERS[spec.peer].open() as opened:
                workers = set(opened.map(_meet, [folder] * WORKERS))
                total += time.perf_counter() - start
        if len(workers) != WORKERS:
            msg = f"{len(workers)} of {WORKERS} workers returned a result"
            raise RuntimeError(msg)
    return total


def _meet(folder: str) -> int:
    """Wait for the other worker, so that each does one task. It uses files, as not every pool can pickle locks."""
    Path(folder, str(os.getpid())).touch()
    deadline = time.monotonic() + _PATIENCE
    while len(os.listdir(folder)) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.0005)
    return os.getpid()


def _time_imports(spec: OverheadSpec, loops: int) -> float:
    """Return the time of imports in fresh interpreters, in s, without the start of the interpreters."""
    command = [sys.executable, "-c", _IMPORT.format(PEERS[spec.peer].module)]
    return sum(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(loops))


@contextlib.contextmanager
def _time_function(spec: OverheadSpec) -> Iterator[Callable[[int], float]]:
    if spec.kind in _ITEMS:
        with PEERS[spec.peer].open() as opened:
            yield functools.partial(_time_calls, spec, opened)
    else:
        yield functools.partial({"start": _time_starts, "import": _time_imports}[spec.kind], spec)


def main() -> None:
    """Run pyperf on the cost that the JSON describes; in pyperf's worker, measure it."""
    pyperf: Any = importlib.import_module("pyperf")
    spec = OverheadSpec(**json.loads(sys.argv[1]))
    argument = json.dumps(asdict(spec))
    runner = pyperf.Runner(
        program_args=("-m", "benchmarks.cells.overhead", argument),
        processes=1,
        values=spec.values,
        warmups=1,
        loops=spec.loops,
    )
    # One process measures all values. The rounds of the cells replace the processes that pyperf would start.
    runner.parse_args(["--copy-env", "--quiet", *sys.argv[2:]])
    with contextlib.ExitStack() as stack:
        run: Callable[[int], float] = _never
        if runner.args.worker:
            run = stack.enter_context(_time_function(spec))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        benchmark = runner.bench_time_func(f"{spec.kind} {spec.peer}", run)
    if not runner.args.worker:
        json.dump({"values_s": benchmark.get_values()}, sys.stdout)


def _never(_loops: int) -> float:
    msg = "only the worker measures"
    raise AssertionError(msg)


if __name__ == "__main__":
    main()
