"""Marks for what runs on some machines only, and the start methods that all tests are for."""

import multiprocessing
import os
import platform
import sys

import pytest

from asking import LINUX, WINDOWS, may_raise

# Here, which is imported before any library that adds its own.
METHODS = multiprocessing.get_all_start_methods()

linux_only = pytest.mark.skipif(not LINUX, reason="Linux only")
windows_only = pytest.mark.skipif(not WINDOWS, reason="Windows only")
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX only")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
needs_privilege = pytest.mark.skipif(not may_raise, reason="raising a priority needs a privilege here")
_has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not _has_gil, reason="without the GIL nobody waits for it")
forks_beside_threads = pytest.mark.skipif(
    not (hasattr(os, "fork") and _has_gil), reason="nothing is forked here, or with the locks of any object"
)
seccomp_only = pytest.mark.skipif(
    not LINUX or platform.machine() != "x86_64", reason="the filter is written for Linux on x86_64"
)
