"""``python -m benchmarks run overhead``: the costs of the library and of its peers on an otherwise idle machine.

Each cell is one pyperf process for one peer; the rounds interleave the cells. :mod:`benchmarks.cells.condition` counts
the work that pools do on an otherwise idle machine.
"""

import importlib.util
import multiprocessing
from dataclasses import asdict
from typing import Final, NamedTuple

from ..cells.overhead import OverheadSpec
from ..subjects.condition import Condition
from ..subjects.executors import LOW_PROCESS, STDLIB_PROCESS
from ..subjects.peers import PEERS, WORKERS
from ..system import MACOS
from .cell import Cell, Suite, make_cell

NAME: Final = "overhead"
QUESTION: Final = "what does it cost? Start, import, a call, map and work, beside the stdlib, loky, joblib and pebble"
ROUNDS: Final = 5
_WORK_S: Final = 2.0
_VALUES: Final = 3


class Kind(NamedTuple):
    """A kind of cost: title, unit, factor from s to the unit, calls in a value, and the peers to measure."""

    title: str
    unit: str
    scale: float
    loops: int
    peers: tuple[str, ...]


AUTO: Final = "low-spawn-auto"
# Peers that send several calls at a time if that is faster.
_CHUNKING: Final = (AUTO, "pool", "joblib", "joblib-low")
_ALL: Final = tuple(name for name in PEERS if name != AUTO)
_STARTED: Final = tuple(name for name in _ALL if not name.endswith(("thread", "fork", "pipe")))
_FEW: Final = ("stdlib-spawn", "low-spawn", AUTO, "pool", "loky", "joblib")
KINDS: Final = {
    "call": Kind("a call and its result", "us", 1e6, 300, _ALL),
    "map": Kind("an item of map, chunks as each library chooses", "us", 1e6, 1500, tuple(PEERS)),
    "map 10 us": Kind("a call of 10 us through map", "us", 1e6, 3000, _FEW),
    "map 1 ms": Kind("a call of 1 ms through map", "us", 1e6, 400, _FEW),
    "map 100 ms": Kind("a call of 100 ms through map", "us", 1e6, 10, _FEW),
    "map mixed": Kind(
        "a call through map: 0.1 ms, one in fifty 1 s", "us", 1e6, 200, ("stdlib-spawn", "low-spawn", AUTO)
    ),
    "start": Kind("start of two workers", "ms", 1e3, 1, _STARTED),
    "import": Kind("import", "ms", 1e3, 1, tuple(name for name, peer in PEERS.items() if peer.module)),
}
# joblib with its own backend and with ours.
THROUGH_JOBLIB: Final = ("joblib", "joblib-low")
WORK: Final = ((STDLIB_PROCESS, None), (LOW_PROCESS, "idle"), (LOW_PROCESS, "normal"))


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite, which counts work for some `seconds` in a measurement."""
    seconds = _WORK_S if seconds is None else seconds
    skipped = [
        {"what": peer.title, "reason": reason} for name, peer in PEERS.items() if (reason := _why_not(name)) is not None
    ]
    cells = [_cost(kind, peer) for kind, each in KINDS.items() for peer in each.peers if _why_not(peer) is None]
    cells += [make_cell(condition, seconds, 0) for condition in work_conditions()]
    return Suite(NAME, cells, {"seconds": seconds, "workers": WORKERS}, skipped)


def _why_not(peer: str) -> str | None:
    # macOS has fork, but a process that has used its frameworks does not survive it.
    forks = not MACOS and "fork" in multiprocessing.get_all_start_methods()
    if peer.endswith("-fork") and not forks:
        return "no fork here"
    package = PEERS[peer].module.partition(".")[0]
    if package and importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return None


def _cost(kind: str, peer: str) -> Cell:
    # joblib sets up all its machinery for every single call.
    loops = KINDS[kind].loops // (30 if kind == "call" and peer in THROUGH_JOBLIB else 1)
    if kind == "map" and peer in _CHUNKING:
        loops *= 20
    spec = OverheadSpec(kind, peer, loops, _VALUES)
    expected_s = {"map 100 ms": 3.5, "map mixed": 9.0}.get(kind, 1.3)
    return Cell(f"{kind} {peer}", "benchmarks.cells.overhead", asdict(spec), expected_s, record={"cost": [kind, peer]})


def work_conditions() -> list[Condition]:
    """Return the conditions whose work is counted on an otherwise idle machine."""
    return [
        Condition(executor=executor, priority=priority, load="matmul", workers=WORKERS, blas_threads=blas)
        for blas in (None, 1)
        for executor, priority in WORK
    ]
