"""A call that keeps the GIL is named, and no other call is."""

import contextlib
import ctypes
import functools
import logging
import sys
import time

import pytest

from feeding import Feed
from marks import linux_only, needs_gil
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads import cpu_time
from nicefutures._threads.controller import controller
from nicefutures._threads.stalls import Stalls
from nicefutures._threads.stats import Stall
from patience import wait_until
from programs import run_python
from tasks import compute

pytestmark = pytest.mark.every_python


def hold_gil(seconds):
    """Keep the GIL in one C call."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(round(seconds * 1e3))
    else:
        ctypes.PyDLL(None).usleep(round(seconds * 1e6))


def longest_stall(executor, seconds):
    """Keep the GIL once more; return the longest time reported for it so far.

    On a busy machine, a single stall may look like a time without a CPU.
    """
    executor.submit(hold_gil, seconds).result()
    return max((stall.seconds for stall in executor.stalls() if stall.function == f"{__name__}.hold_gil"), default=0)


@pytest.fixture(params=[True, False] if cpu_time.TOLD else [False], ids=lambda told: "told" if told else "not told")
def tells_cpu_time(request, monkeypatch):
    """Test with and without a system that reports the CPU time of each thread."""
    monkeypatch.setattr(cpu_time, "TOLD", request.param)


@needs_gil
@pytest.mark.parametrize("beside", [None, functools.partial(time.sleep, 0.01), functools.partial(compute, 0.002)])
def test_stall(beside, caplog):
    """A call that keeps the GIL is named, together with the time for which it kept the GIL."""
    if beside is not None and not cpu_time.TOLD:
        pytest.skip("which of several tasks it was is seen from their CPU times")
    # A period of the watching thread that began with an earlier pool would count by half.
    wait_until(lambda: not controller.awake)
    began, calls = time.monotonic(), []
    with (
        PriorityThreadPoolExecutor(4, latency_target=0.005) as executor,
        Feed(executor, beside) if beside else contextlib.nullcontext(),
    ):
        wait_until(lambda: calls.append(1) or longest_stall(executor, 0.5) > 0.4)
        (stall,) = [stall for stall in executor.stalls() if stall.function.endswith("hold_gil")]
    assert stall.seconds < time.monotonic() - began
    assert stall.times <= len(calls)
    (record,) = wait_until(lambda: [each for each in caplog.records if "hold_gil" in each.message])
    assert record.levelno == logging.INFO
    assert "LowPriorityProcessPoolExecutor" in record.message


def test_times():
    """The stalls of a call are counted, and the longest time is reported."""
    stalls = Stalls(0.005)
    assert [stalls.add("task", seconds) for seconds in (0.2, 0.5, 0.3)] == [True, False, False]
    stalls.add("other", 0.1)
    assert stalls.worst == [Stall("task", 0.5, 3), Stall("other", 0.1, 1)]


@needs_gil
@pytest.mark.usefixtures("tells_cpu_time")
def test_short_stall():
    """A stall of ten times the target is reported."""
    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor:
        wait_until(lambda: longest_stall(executor, 0.05) > 0.03)


@needs_gil
@pytest.mark.skipif(not cpu_time.TOLD, reason="another thread may have computed as well")
def test_computing_stall():
    """A call that computes with the GIL is named, whichever thread runs first after it."""
    numbers = list(range(100_000)) * 60
    with (
        PriorityThreadPoolExecutor(2, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.005)),
    ):
        time.sleep(0.1)

        def named():
            executor.submit(sorted, numbers).result()
            return "builtins.sorted" in [stall.function for stall in executor.stalls()]

        wait_until(named)


@needs_gil
def test_other_thread_stalls():
    """Another thread's call is not blamed on a task."""
    numbers = list(range(100_000))
    with (
        PriorityThreadPoolExecutor(2, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.005)),
    ):
        time.sleep(0.1)
        sorted(numbers * 60)
        time.sleep(0.1)
        assert executor.stalls() == []


@linux_only
@needs_gil
def test_stopped_process():
    """A time for which the process was stopped is not blamed on a task."""
    code = """
import os, signal, subprocess, sys, time
from nicefutures import PriorityThreadPoolExecutor
with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
    future = executor.submit(time.sleep, 1.5)
    time.sleep(0.3)
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    future.result()
    print(executor.stalls())
"""
    assert run_python(code).strip() == "[]"
