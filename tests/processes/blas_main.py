"""A script that imports NumPy, like a user's: its workers have a BLAS library before their initializer runs."""

import json
import multiprocessing
import sys

import numpy as np
from threadpoolctl import threadpool_info

from nicefutures import LowPriorityProcessPoolExecutor


def count(_=None):
    np.ones((100, 100)) @ np.ones((100, 100))
    return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")


def main(method):
    parent = count()
    tasks = None if method == "fork" else 1
    with LowPriorityProcessPoolExecutor(
        2, multiprocessing.get_context(method), blas_threads=1, max_tasks_per_child=tasks
    ) as executor:
        threads = list(executor.map(count, range(4)))
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method), blas_threads=1) as executor:
        threads += executor.map(count, range(4))
        reported = [worker.blas_threads for worker in executor.workers()]
    print(json.dumps({"threads": threads, "reported": reported, "parent": parent, "parent_after": count()}))


if __name__ == "__main__":
    main(sys.argv[1])
