"""CPython's own tests of concurrent.futures, run on our executors: ``python tests/cpython_suite.py``.

With the ``test`` package, which some distributions leave out. pytest does not collect this:
the tests are the standard library's, and look into its private parts.
"""

import concurrent.futures
import functools
import importlib
import pkgutil
import re
import sys
import unittest

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

SUITE = "test.test_concurrent_futures"


class WatchedThreadPoolExecutor(PriorityThreadPoolExecutor):
    """One that limits its workers."""

    __init__ = functools.partialmethod(PriorityThreadPoolExecutor.__init__, latency_target=0.005)


OURS = {
    concurrent.futures.ProcessPoolExecutor: LowPriorityProcessPoolExecutor,
    concurrent.futures.ThreadPoolExecutor: PriorityThreadPoolExecutor,
}
# A second time, the tests of the thread pool only.
WATCHED = {PriorityThreadPoolExecutor: WatchedThreadPoolExecutor}
LEFT_OUT = (
    # These import the executor's class by name from concurrent.futures, in a fresh interpreter.
    "test_interpreter_shutdown",
    "test_submit_after_interpreter_shutdown",
    "test_hang_gh83386",
    # These are about the stdlib engine's own threads: that which manages workers, and that which feeds their queue.
    "ProcessPool.*test_shutdown_deadlock_pickle",
    "ProcessPool.*test_python_finalization_error",
    # Its tasks cannot be pickled: it counts workers that are started for what has failed already.
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
    """Return the tests with `part` in their name, without what is left out."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(keep(test, part))
        elif part in test.id() and not re.search(f"({'|'.join(LEFT_OUT)})$", test.id()):
            kept.addTest(test)
    return kept


def main() -> int:
    """Run all of it; return the exit status."""
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
