"""``python -m benchmarks run transport``: large arrays through process pools, and a window of the parent meanwhile.

Each cell measures one pool with arrays of one size in one direction; the rounds interleave the cells.
"""

import importlib.util
from dataclasses import asdict
from typing import Final

from ..cells.transport import TransportSpec
from ..subjects.peers import PEERS, WORKERS
from .cell import Cell, Suite

NAME: Final = "transport"
QUESTION: Final = "what do large arrays cost on their way to the workers and back, and what the window of the program?"
ROUNDS: Final = 5
_SECONDS: Final = 1.0
# Seconds to start and to end a pool.
_OVERHEAD_S: Final = 3.0
KINDS: Final = {"results": "arrays that workers return", "arguments": "arrays that workers get"}
ONE: Final = "one"
SIZES: Final = (10**6, 10**7, 10**8, 10**9)
SIZE: Final = 10**8
STDLIB, OURS = "stdlib-spawn", "low-spawn"
SOME_PEERS: Final = (STDLIB, OURS, "low-spawn-pipe", "pool", "loky", "joblib")


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite, which sends arrays for at least some `seconds` in a cell."""
    seconds = _SECONDS if seconds is None else seconds
    there = [peer for peer in SOME_PEERS if not _needs(peer) or importlib.util.find_spec(_needs(peer)) is not None]
    skipped = [
        {"what": PEERS[peer].title, "reason": f"{_needs(peer)} is not installed"}
        for peer in SOME_PEERS
        if peer not in there
    ]
    cells = [_cell(kind, size, peer, seconds) for kind in KINDS for size in SIZES for peer in there]
    cells += [_cell(ONE, SIZE, peer, seconds) for peer in there]
    return Suite(NAME, cells, {"seconds": seconds, "workers": WORKERS}, skipped)


def _needs(peer: str) -> str:
    return peer if peer in ("loky", "joblib") else ""


def _cell(kind: str, size: int, peer: str, seconds: float) -> Cell:
    return Cell(
        f"{kind} of {text_of(size)}, {peer}",
        "benchmarks.cells.transport",
        asdict(TransportSpec(kind, peer, size, seconds)),
        _OVERHEAD_S + 2 * seconds,
        record={"transport": [kind, size, peer]},
    )


def text_of(size: int) -> str:
    """Return a size in MB or GB."""
    return f"{size // 10**6} MB" if size < 10**9 else f"{size // 10**9} GB"
