"""The executors that are measured, by a short name."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import psutil

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor


@dataclass(frozen=True)
class Pool:
    """An executor to measure.

    Parameters
    ----------
    title : str
        Its name in the tables.
    make : callable
        Makes one with so many workers. Processes are spawned: that works everywhere, and is Windows' and macOS' way.
    processes : bool
        Whether the workers are processes.
    """

    title: str
    make: Callable[[int], Executor]
    processes: bool


def lower_as_everyone_does() -> None:
    """Lower this process in the way that is found on the web, as an initializer."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
    else:
        psutil.Process().nice(19)


POOLS: Final = {
    "stdlib-process": Pool(
        "ProcessPoolExecutor",
        lambda workers: ProcessPoolExecutor(workers, get_context("spawn")),
        processes=True,
    ),
    "recipe-process": Pool(
        "ProcessPoolExecutor, psutil nice()",
        lambda workers: ProcessPoolExecutor(workers, get_context("spawn"), lower_as_everyone_does),
        processes=True,
    ),
    "low-process": Pool(
        "LowPriorityProcessPoolExecutor",
        lambda workers: LowPriorityProcessPoolExecutor(workers, get_context("spawn")),
        processes=True,
    ),
    "low-process-below": Pool(
        "LowPriorityProcessPoolExecutor, below_normal",
        lambda workers: LowPriorityProcessPoolExecutor(workers, get_context("spawn"), priority="below_normal"),
        processes=True,
    ),
    "stdlib-thread": Pool("ThreadPoolExecutor", ThreadPoolExecutor, processes=False),
    "priority-thread": Pool("PriorityThreadPoolExecutor", PriorityThreadPoolExecutor, processes=False),
}


def usable_cpus() -> int:
    """Return how many CPUs this process may use; Windows' pools take 61 workers at most."""
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = min(os.cpu_count() or 1, 61)
    return cpus
