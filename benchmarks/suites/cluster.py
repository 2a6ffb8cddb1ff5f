"""``python -m benchmarks run cluster``: a Dask cluster beside busy programs, with and without the plugin.

Each cell starts a cluster on loopback and measures the busy programs' speed beside it, first without and then with
tasks, and how late the event loops of the workers are meanwhile.
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
# Seconds that it takes to start and to end a cluster.
_OVERHEAD_S: Final = 8.0
LEVELS: Final = (None, "idle")
TITLES: Final = {None: "Dask", "idle": "LowPriorityWorkers, idle"}


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float, optional
        How long tasks run in a cell.
    """
    seconds = _WINDOW_S if seconds is None else seconds
    settings = {"seconds": seconds, "workers": WORKERS, "threads": THREADS, "foreign": FOREIGN}
    if importlib.util.find_spec("distributed") is None:
        return Suite(NAME, [], settings, [{"what": "Dask", "reason": "distributed is not installed"}])
    cells = [_cell(load, level, seconds) for load in LOADS for level in LEVELS]
    return Suite(NAME, cells, settings)


def _cell(load: str, level: str | None, seconds: float) -> Cell:
    return Cell(
        f"{load}, {TITLES[level]}",
        "benchmarks.cells.cluster",
        asdict(ClusterSpec(load, level, seconds)),
        1.25 * seconds + _OVERHEAD_S,
        record={"cluster": [load, level]},
    )
