"""``python -m benchmarks run engine``: our process pool and the standard library's, for each start method.

Each cell measures both pools in turn; the rounds interleave the cells.
"""

import importlib.util
import multiprocessing
from dataclasses import asdict
from typing import Final, NamedTuple

from ..cells.engine import PERIOD_NS, WORKERS, EngineSpec
from ..system import MACOS
from .cell import Cell, Suite

NAME: Final = "engine"
QUESTION: Final = "what does the process pool cost beside the standard library's, with each start method?"
ROUNDS: Final = 3
METHODS: Final = ("fork", "forkserver", "spawn")
_SECONDS: Final = 2.0
# Seconds to start and to end a pool with NumPy.
_START_S: Final = 0.4


class Kind(NamedTuple):
    """A kind of cost: title, unit, factor to the unit, loops in a value, values of each pool, seconds per value."""

    title: str
    unit: str
    scale: float
    loops: int
    pairs: int
    expected_s: float


KINDS: Final = {
    "call": Kind("a call, one after the other", "us", 1e6, 400, 4, 0.1),
    "call, array": Kind("a call with 6 numbers in an array", "us", 1e6, 400, 4, 0.1),
    "call, class": Kind("a call with an object of a class of the program", "us", 1e6, 400, 4, 0.1),
    "item": Kind("an item of map(chunksize=1)", "us", 1e6, 2000, 4, 0.2),
    "item, array": Kind("an item with 6 numbers in an array", "us", 1e6, 2000, 4, 0.3),
    "item, class": Kind("an item, an object of a class of the program", "us", 1e6, 2000, 4, 0.2),
    "waiting": Kind("memory of a waiting task", "bytes", 1, 20_000, 2, 2.0),
    "cancelled": Kind("shutdown(cancel_futures=True), a waiting task", "us", 1e6, 50_000, 2, 4.0),
    "map": Kind("an item of map, default chunks", "us", 1e6, 20_000, 2, 1.0),
    "search": Kind("SciPy's differential_evolution, 10,500 calls", "us a call", 1e6, 10_500, 2, 2.0),
    "uneven": Kind("2,000 calls, one in 400 takes 0.3 s", "s", 5, 5, 2, 1.2),
    "sent": Kind("an array of 100 MB sent", "ms", 1e3, 6, 2, 2.0),
    "returned": Kind("an array of 100 MB returned", "ms", 1e3, 6, 2, 2.0),
    "start": Kind("start of two workers", "ms", 1e3, 1, 6, 0.0),
    "heartbeat": Kind("heartbeat of the parent while tasks flow, p99", "ms late", 1e3, 1, 2, 0.0),
    "window": Kind("window that draws for 2 ms beside results of 200,000 dicts, p99", "ms late", 1e3, 1, 2, 0.0),
}


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite; a measurement of beats takes some `seconds`."""
    seconds = _SECONDS if seconds is None else seconds
    there = [method for method in METHODS if _is_there(method)]
    skipped = [{"what": method, "reason": f"no {method} here"} for method in METHODS if method not in there]
    kinds = [*KINDS]
    if importlib.util.find_spec("scipy") is None:
        kinds.remove("search")
        skipped.append({"what": KINDS["search"].title, "reason": "SciPy is not installed"})
    cells = [_cell(kind, method, seconds) for kind in kinds for method in there]
    return Suite(NAME, cells, {"seconds": seconds, "workers": WORKERS}, skipped)


def _is_there(method: str) -> bool:
    # macOS has fork, but a process that has used its frameworks does not survive it.
    return method in multiprocessing.get_all_start_methods() and not (MACOS and method == "fork")


def _cell(kind: str, method: str, seconds: float) -> Cell:
    each = KINDS[kind]
    expected_s = each.expected_s + (seconds if kind in PERIOD_NS else 0.0) + _START_S
    return Cell(
        f"{kind}, {method}",
        "benchmarks.cells.engine",
        asdict(EngineSpec(kind, method, each.loops, each.pairs, seconds)),
        0.5 + 2 * each.pairs * expected_s,
        record={"engine": [kind, method]},
    )
