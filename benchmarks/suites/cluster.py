"""``python -m benchmarks run cluster``: a Dask cluster next to busy programs, with and without the plugin.

Each cell starts a cluster on loopback and measures the speed of the busy programs, first without and then with tasks,
and the delays of the event loops of the workers and of the scheduler. Without busy programs, the rate of tasks is the
result.
"""

import importlib.util
from dataclasses import asdict
from typing import Final

from ..cells.cluster import FOREIGN, LOADS, THREADS, WORKERS, ClusterSpec
from .cell import Cell, Suite

NAME: Final = "cluster"
QUESTION: Final = "do Dask workers at a low priority leave the machine to others, and still answer?"
ROUNDS: Final = 3
_WINDOW_S: Final = 40.0
# Seconds to start and to end a cluster.
_OVERHEAD_S: Final = 8.0
LEVELS: Final = (None, "idle")
TITLES: Final = {None: "Dask", "idle": "LowPriorityWorkers, idle"}


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite, in which tasks run for some `seconds` in a cell."""
    seconds = _WINDOW_S if seconds is None else seconds
    settings = {"seconds": seconds, "workers": WORKERS, "threads": THREADS, "foreign": FOREIGN}
    if importlib.util.find_spec("distributed") is None:
        return Suite(NAME, [], settings, [{"what": "Dask", "reason": "distributed is not installed"}])
    cells = [
        Cell(
            f"{load}, {TITLES[level]}{'' if foreign else ', beside nothing'}",
            "benchmarks.cells.cluster",
            asdict(ClusterSpec(load, level, seconds, foreign)),
            1.25 * seconds + _OVERHEAD_S,
            record={"cluster": [load, level, foreign]},
        )
        for load in LOADS
        for level in LEVELS
        for foreign in (FOREIGN, 0)
    ]
    return Suite(NAME, cells, settings)
