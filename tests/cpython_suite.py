"""CPython's own tests of concurrent.futures, run on our executors: ``python tests/cpython_suite.py``.

For Python 3.12 and later, with the ``test`` package, which some distributions leave out. pytest does not collect this:
the tests are the standard library's, and look into its private parts.
"""

import concurrent.futures
import importlib
import pkgutil
import sys
import unittest

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

SUITE = "test.test_concurrent_futures"
OURS = {
    concurrent.futures.ProcessPoolExecutor: LowPriorityProcessPoolExecutor,
    concurrent.futures.ThreadPoolExecutor: PriorityThreadPoolExecutor,
}
# These import the executor's class by name from concurrent.futures, in a fresh interpreter.
LEFT_OUT = ("test_interpreter_shutdown", "test_submit_after_interpreter_shutdown", "test_hang_gh83386")


def swap_in() -> None:
    """Let the suite's base classes make our executors."""
    util = importlib.import_module(f"{SUITE}.util")
    for value in vars(util).values():
        if isinstance(value, type) and vars(value).get("executor_type") in OURS:
            value.executor_type = OURS[value.executor_type]


def keep(suite: unittest.TestSuite) -> unittest.TestSuite:
    """Return the suite without what is left out."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(keep(test))
        elif test.id().rpartition(".")[2] not in LEFT_OUT:
            kept.addTest(test)
    return kept


def main() -> int:
    """Run all of it; return the exit status."""
    swap_in()
    package = importlib.import_module(SUITE)
    names = [f"{SUITE}.{module.name}" for module in pkgutil.iter_modules(package.__path__) if "test_" in module.name]
    result = unittest.TextTestRunner().run(keep(unittest.defaultTestLoader.loadTestsFromNames(names)))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
