"""A script that imports NumPy: a spawned worker imports it too, and has BLAS threads before the initializer runs."""

import json
import multiprocessing
import os
import sys

import numpy as np  # noqa: F401

from asking import ask_threads, report_blas
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    method, level, tasks = sys.argv[1:]
    with LowPriorityProcessPoolExecutor(
        2, multiprocessing.get_context(method), priority=level, max_tasks_per_child=int(tasks) or None
    ) as executor:
        workers = list(executor.map(report_blas, range(8)))
    print(json.dumps({"workers": workers, "parent": ask_threads(), "pid": os.getpid()}))
