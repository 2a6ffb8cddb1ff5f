"""Processes are stopped and continued, and nothing continues a process that the user has stopped."""

import itertools
import os
import signal
import subprocess
import sys

import psutil
import pytest

from marks import posix_only
from nicefutures import _standstill
from nicefutures._standstill import Standstill
from nicefutures._system import backend
from patience import PATIENCE, wait_until

SLEEP = [sys.executable, "-S", "-c", f"import time; time.sleep({PATIENCE})"]
STOPPED = psutil.STATUS_STOPPED


@pytest.fixture
def programs():
    """Return two programs that wait."""
    found = [subprocess.Popen(SLEEP) for _ in range(2)]
    yield [psutil.Process(each.pid) for each in found]
    for each in found:
        each.kill()
        each.wait()


@pytest.fixture
def standstill():
    found = Standstill(lambda _: None, lambda end: end.close())
    yield found
    found.resume()


def test_slow_list(programs, standstill, monkeypatch):
    """Processes are found to stand still even if each look at them takes longer than the time for all looks."""
    clock = itertools.count(step=10)
    monkeypatch.setattr(_standstill, "now", lambda: next(clock))
    wait_until(lambda: standstill.stop([programs[0].pid]))


@posix_only
def test_stopped_by_the_user(programs, standstill):
    """A process that was continued is no longer ours: if the user stops it, it stays stopped."""
    first, second = programs
    wait_until(lambda: standstill.stop([first.pid, second.pid]))
    standstill.resume([first.pid])
    os.kill(second.pid, signal.SIGSTOP)
    wait_until(lambda: second.status() == STOPPED)
    standstill.resume()
    assert first.status() != STOPPED
    assert second.status() == STOPPED


@posix_only
@pytest.mark.parametrize("ends", [True, False])
def test_guard(programs, ends):
    """If this process ends, exactly those continue that the guard still has; if the guard is closed first, none."""
    first, second = programs
    guard = backend.guard.Guard()
    for process in programs:
        process.suspend()
        wait_until(lambda stopped=process: stopped.status() == STOPPED)
        guard.add(process.pid)
    guard.remove(first.pid)
    if ends:
        guard.end.close()  # as the system does it
        os.waitpid(guard._pid, 0)
        wait_until(lambda: second.status() != STOPPED)
    else:
        guard.close()
        guard.end.close()
        assert second.status() == STOPPED
    assert first.status() == STOPPED
