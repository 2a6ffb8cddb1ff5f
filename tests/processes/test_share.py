"""A pool that gets almost no CPU time says why."""

import contextlib
import logging
import os
import subprocess
import sys
import time

import psutil
import pytest

from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import handle, share
from patience import PATIENCE, wait_until


def compute(path):
    while not os.path.exists(path):
        pass


def wait(path):
    path.touch()
    time.sleep(5)


@contextlib.contextmanager
def busy_machine():
    """Let other programs use all CPUs."""
    code = "import threading\nwhile True: pass"
    programs = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(2 * os.cpu_count())]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@linux_only
@pytest.mark.alone
@pytest.mark.parametrize("limit", [None, PATIENCE])
def test_next_to_nothing(monkeypatch, caplog, tmp_path, limit):
    """If workers with a low priority compete with busy programs, one log record names the remedy."""
    monkeypatch.setattr(share, "window_s", 1.0)
    monkeypatch.setattr(share, "_PERIOD_S", 0.2)
    monkeypatch.setattr(share, "_LITTLE", 0.5)  # so that the test takes less than a minute
    monkeypatch.setattr(handle, "_LOOK_UP", 1)
    with LowPriorityProcessPoolExecutor(1, task_timeout=limit) as executor:
        with busy_machine(), caplog.at_level(logging.WARNING, "nicefutures"):
            future = executor.submit(compute, tmp_path / "go")
            wait_until(lambda: caplog.records)
            (tmp_path / "go").touch()
        future.result(PATIENCE)
    (record,) = caplog.records
    assert "priority='below_normal'" in record.getMessage()


def test_nothing_is_told(monkeypatch):
    """Where a sandbox hides the CPU times, or no file can be opened, a pool works without this warning."""
    monkeypatch.setattr(share, "_PERIOD_S", 0.0)
    looks = []

    def refuse(*_):
        looks.append(1)
        raise FileNotFoundError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    monkeypatch.setattr(handle, "_LOOK_UP", 1)
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(time.sleep, 3)
        wait_until(lambda: looks)
        assert future.result(PATIENCE) is None


@linux_only
@pytest.mark.alone
def test_waiting_tasks(monkeypatch, caplog, tmp_path):
    """A task that only sleeps causes no log record, however busy the machine is."""
    monkeypatch.setattr(share, "window_s", 0.5)
    monkeypatch.setattr(share, "_PERIOD_S", 0.1)
    monkeypatch.setattr(handle, "_LOOK_UP", 1)
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(wait, tmp_path / "begun")
        wait_until((tmp_path / "begun").exists)
        with busy_machine():
            time.sleep(4)
        assert not caplog.records
        future.result(PATIENCE)
