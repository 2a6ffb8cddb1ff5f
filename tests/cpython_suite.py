"""CPython's own tests of concurrent.futures, run on our executors: ``python tests/cpython_suite.py``.

They need the ``test`` package, which some distributions leave out. pytest does not collect them, because they are the
standard library's tests, and use its private attributes.
"""

import concurrent.futures
import functools
import importlib
import pkgutil
import re
import sys
import unittest

import nicefutures
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

SUITE = "test.test_concurrent_futures"


class WatchedThreadPoolExecutor(PriorityThreadPoolExecutor):
    """A thread pool that limits its running workers."""

    __init__ = functools.partialmethod(PriorityThreadPoolExecutor.__init__, latency_target=0.005)


OURS = {
    concurrent.futures.ProcessPoolExecutor: LowPriorityProcessPoolExecutor,
    concurrent.futures.ThreadPoolExecutor: PriorityThreadPoolExecutor,
}
if hasattr(concurrent.futures, "InterpreterPoolExecutor"):
    OURS[concurrent.futures.InterpreterPoolExecutor] = nicefutures.PriorityInterpreterPoolExecutor
# The tests of the thread pool run a second time with this class.
WATCHED = {PriorityThreadPoolExecutor: WatchedThreadPoolExecutor}
LEFT_OUT = (
    # These import the executor's class by name from concurrent.futures, in a fresh interpreter.
    "test_interpreter_shutdown",
    "test_submit_after_interpreter_shutdown",
    "test_hang_gh83386",
    # These are about the threads of the stdlib's engine, which manage workers and feed their queue.
    "ProcessPool.*test_shutdown_deadlock_pickle",
    "ProcessPool.*test_python_finalization_error",
    # New in 3.14.10: also about these threads, and about tasks that end with an error if the executor is gone before
    # the last worker's task ends. Here such tasks are finished: tests/processes/test_deaths.py.
    "ProcessPool.*gh119592",
    "ProcessPool.*gh152967",
    "ProcessPool.*test_force_shutdown_during_max_tasks_worker_exit",
    "ProcessPool.*test_failed_worker_replacement_breaks_pool",
    # Its tasks cannot be pickled, and it counts the workers that are started for tasks that have already failed.
    "ProcessPool.*(Spawn|Forkserver).*test_processes_terminate",
)


def swap_in(executors: dict[type, type]) -> None:
    """Let the suite's base classes make our executors."""
    package = importlib.import_module(SUITE)
    util = importlib.import_module(f"{SUITE}.util") if hasattr(package, "__path__") else package
    for value in vars(util).values():
        if isinstance(value, type) and vars(value).get("executor_type") in executors:
            value.executor_type = executors[value.executor_type]


def keep(suite: unittest.TestSuite, part: str) -> unittest.TestSuite:
    """Return the tests with `part` in their name, except those of LEFT_OUT."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(keep(test, part))
        elif part in test.id() and not re.search(f"({'|'.join(LEFT_OUT)})$", test.id()):
            kept.addTest(test)
    return kept


def main() -> int:
    """Run all tests; return the exit status."""
    package = importlib.import_module(SUITE)
    parts = getattr(package, "__path__", None)
    names = [SUITE]
    if parts is not None:
        names = [f"{SUITE}.{module.name}" for module in pkgutil.iter_modules(parts) if "test_" in module.name]
    successful = True
    for executors, part in ((OURS, ""), (WATCHED, "ThreadPool")):
        swap_in(executors)
        tests = keep(unittest.defaultTestLoader.loadTestsFromNames(names), part)
        successful = unittest.TextTestRunner().run(tests).wasSuccessful() and successful
    return 0 if successful else 1


if __name__ == "__main__":
    sys.exit(main())
