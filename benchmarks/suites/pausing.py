"""``python -m benchmarks run pausing``: programs next to a pool that streams through memory, with and without pauses.

Each cell measures one program; the rounds interleave the cells.
"""

from dataclasses import asdict
from typing import Final

from ..cells.pausing import PausingSpec
from ..cells.program import LOAD, POOL, WORKERS
from .cell import Cell, Suite

NAME: Final = "pausing"
QUESTION: Final = "what do memory-bound and other programs lose to a pool, and what if it pauses while they compute?"
ROUNDS: Final = 2
_SECONDS: Final = 4.0
# Seconds that a program computes before its speed counts.
SKIP_S: Final = 3.0
_SETTLE_S: Final = 3.0
IDLE_AFTER: Final = 5.0
# Seconds to start and to end the program and the pools, and to notice that the program has ended.
_OVERHEAD_S: Final = 4.0
PROGRAMS: Final = {
    "stream": "memory-bound",
    "gather": "cache-bound",
    "python": "compute-bound",
    POOL: "another such pool",
}


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite, which measures the program's speed for some `seconds`."""
    seconds = _SECONDS if seconds is None else seconds
    settings = {"seconds": seconds, "workers": WORKERS, "tasks": LOAD, "idle_after": IDLE_AFTER}
    return Suite(NAME, [_cell(program, seconds) for program in PROGRAMS], settings)


def _cell(program: str, seconds: float) -> Cell:
    spec = PausingSpec(program, seconds, SKIP_S, _SETTLE_S, IDLE_AFTER)
    expected_s = 3 * seconds + SKIP_S * 5 / 3 + 2 * _SETTLE_S + _OVERHEAD_S + (IDLE_AFTER if program != POOL else 0.0)
    return Cell(PROGRAMS[program], "benchmarks.cells.pausing", asdict(spec), expected_s, record={"pausing": program})
