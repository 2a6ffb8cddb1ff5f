"""Marks for tests that run on some machines only, and the start methods that are tested."""

import multiprocessing
import os
import platform
import sys

import pytest

import nicefutures
from asking import LINUX, WINDOWS, may_raise

# Listed here, because this module is imported before any library that adds a start method.
METHODS = multiprocessing.get_all_start_methods()
FRESH = [method for method in METHODS if method != "fork"]

thorough = pytest.mark.thorough
# A spawned worker is a fresh interpreter, like a worker of a fork server, and a child of its parent, like a forked one,
# and takes the longest to start. So it is only tested in thorough runs, unless it is the default.
SPARE = None if METHODS[0] == "spawn" else "spawn"


def one_less(methods, spare=SPARE):
    """Return start methods for a test, one of them for thorough runs only."""
    return [pytest.param(method, marks=[thorough] * (method == spare)) for method in methods]


linux_only = pytest.mark.skipif(not LINUX, reason="Linux only")
windows_only = pytest.mark.skipif(not WINDOWS, reason="Windows only")
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX only")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
needs_privilege = pytest.mark.skipif(not may_raise, reason="raising a priority needs a privilege here")
INTERPRETER_POOLS = [
    getattr(nicefutures, name) for name in nicefutures.__all__ if name == "PriorityInterpreterPoolExecutor"
]
needs_interpreters = pytest.mark.skipif(not INTERPRETER_POOLS, reason="Python 3.14 has the first pool of interpreters")
_has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not _has_gil, reason="this build has no GIL")
forks_beside_threads = pytest.mark.skipif(
    not (hasattr(os, "fork") and _has_gil), reason="nothing is forked here, or with the locks of any object"
)
seccomp_only = pytest.mark.skipif(
    not LINUX or platform.machine() != "x86_64", reason="the filter is written for Linux on x86_64"
)
