"""Marks for what runs on some machines only."""

import os
import platform
import sys

import pytest

from asking import LINUX, WINDOWS, may_raise

linux_only = pytest.mark.skipif(not LINUX, reason="Linux only")
windows_only = pytest.mark.skipif(not WINDOWS, reason="Windows only")
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX only")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
needs_privilege = pytest.mark.skipif(not may_raise, reason="raising a priority needs a privilege here")
needs_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without the GIL nobody waits for it"
)
seccomp_only = pytest.mark.skipif(
    not LINUX or platform.machine() != "x86_64", reason="the filter is written for Linux on x86_64"
)
