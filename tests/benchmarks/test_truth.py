"""The harness tells the truth: what is known to happen comes out of it. The one place where times are checked."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

for _needed in ("numpy", "scipy", "rich", "matplotlib", "threadpoolctl", "benchmarks.record"):
    pytest.importorskip(_needed)

from benchmarks.measuring.run import run_cell  # noqa: E402
from benchmarks.subjects.condition import Condition  # noqa: E402
from benchmarks.subjects.loads import STALL_PERIOD_S, STALL_S  # noqa: E402
from benchmarks.suites.cell import make_cell  # noqa: E402
from benchmarks.watching.heartbeat import PERIOD_NS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PERIOD_MS = PERIOD_NS / 1e6

needs_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without the GIL nobody can keep it"
)


def lateness_ms(condition, seconds):
    """Return what the window of a cell saw, in ms."""
    cell = make_cell(condition, seconds, 0)
    return [ns / 1e6 for ns in run_cell(cell)["ui"]["lateness_ns"]]


def stalls_ms(late, least):
    """Return the lateness of each first beat that a stall made late: of a run of falling latenesses the greatest."""
    firsts = [now for before, now in zip([0.0, *late], late, strict=False) if now > least and now > before]
    return sorted(firsts, reverse=True)


@needs_gil
@pytest.mark.skipif(sys.platform == "win32", reason="an emulated clock may be coarse")
def test_known_stalls_of_the_gil():
    """A C call that keeps the GIL for 50 ms once a second comes out within 10 %, about once a second.

    A beat sees a stall from the time on when it is due, so one stall alone is seen up to a frame too short.
    The stalls start an eighth of a frame later each time: over eight of them the greatest is right.
    """
    seconds = 9.3
    late = lateness_ms(Condition(executor="stdlib-thread", load="stall", workers=1, ui="thread"), seconds)
    seen = stalls_ms(late, STALL_S * 1e3 - PERIOD_MS - 2)
    assert len(seen) == pytest.approx(seconds / STALL_PERIOD_S, abs=2)
    # The machine may add a stall of its own, so the middle of the upper ones is asked.
    assert seen[1] == pytest.approx(STALL_S * 1e3, rel=0.1)
    # Each of them swallowed three beats, two of which were late by more than a frame.
    assert sum(ms > PERIOD_MS for ms in late) == pytest.approx(2 * len(seen), abs=3)


@needs_gil
@pytest.mark.parametrize("window", ["tk", "qt", "asyncio"])
def test_known_stalls_in_other_windows(window):
    """Real windows see the same stalls."""
    from benchmarks.measuring.available import open_screen, ui_problem

    with open_screen([window]) as environment:
        problem = ui_problem(window, sys.executable, environment)
        if problem:
            pytest.skip(problem)
        cell = make_cell(Condition(executor="stdlib-thread", load="stall", workers=1, ui=window), 3.2, 0)
        late = [ns / 1e6 for ns in run_cell(cell, environment=environment)["ui"]["lateness_ns"]]
    assert len(stalls_ms(late, STALL_S * 1e3 - PERIOD_MS - 2)) == pytest.approx(3, abs=1)


def test_stopped_process():
    """A process that is stopped for 200 ms shows a stall of 200 ms, charged to each of the twelve beats in it."""
    command = [sys.executable, "-m", "benchmarks.watching.foreground", "0", "1.5"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(0.5)
        stopped = psutil.Process(process.pid)
        before = time.perf_counter()
        stopped.suspend()
        time.sleep(0.2)
        stopped.resume()
        took_ms = (time.perf_counter() - before) * 1e3
        late = [ns / 1e6 for ns in json.loads(process.stdout.readline())["lateness_ns"]]
    worst = max(late)
    # Seen from the first beat in it on, which is due up to a frame after its start.
    assert took_ms - PERIOD_MS - 2 <= worst <= took_ms + 2
    first = late.index(worst)
    expected = [worst - k * PERIOD_MS for k in range(11)]
    assert late[first : first + 11] == pytest.approx(expected, abs=0.01)


def test_control():
    """The real-time process that stands for the machine tells when it was stopped, and of nothing else."""
    command = [sys.executable, "-m", "benchmarks.watching.control"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() == "no\n":
            pytest.skip("no real-time priority to be had")
        stopped = psutil.Process(process.pid)
        time.sleep(0.3)
        stopped.suspend()
        time.sleep(0.3)
        stopped.resume()
        time.sleep(0.3)
        process.stdin.close()
        answer = json.loads(process.stdout.readline())
    longest = max(came - due for due, came in answer["stalls_ns"]) / 1e9
    # It is due 20 times a second, so it may notice 50 ms later that it was stopped.
    assert 0.24 <= longest <= 0.4
    assert answer["cpu_share"] < 0.05


def test_nothing():
    """Without a load hardly a beat is late by a frame, and the heartbeat costs next to nothing."""
    result = run_cell(make_cell(Condition(ui="thread"), 2.0, 0))["ui"]
    late = sorted(ns / 1e6 for ns in result["lateness_ns"])
    assert len(late) == 120
    assert late[len(late) // 2] < 5
    # What it really costs is in the reports; here, that it does not spin.
    assert result["cpu_share"] < 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' weights")
@pytest.mark.parametrize(
    ("lower", "weight"),
    [
        ("os.setpriority(os.PRIO_PROCESS, 0, 10)", 110),
        ("os.setpriority(os.PRIO_PROCESS, 0, 19)", 15),
        ("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))", 3),
    ],
    ids=["nice 10", "nice 19", "SCHED_IDLE"],
)
def test_shares_of_a_cpu(lower, weight):
    """A process at normal priority and a lowered one share a CPU as the kernel weighs them, 1024 to 110, 15 or 3."""
    cpu = max(os.sched_getaffinity(0))
    program = "import os; os.sched_setaffinity(0, {{{cpu}}}); {lower}; print(flush=True)\nwhile True: pass"
    with contextlib.ExitStack() as stack:
        both = []
        for line in ("pass", lower):
            command = [sys.executable, "-S", "-c", program.format(cpu=cpu, lower=line)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            both.append(process)
        for process in both:
            process.stdout.readline()
        before = [sum(psutil.Process(process.pid).cpu_times()[:2]) for process in both]
        time.sleep(4)
        after = [sum(psutil.Process(process.pid).cpu_times()[:2]) for process in both]
    normal, lowered = (end - start for start, end in zip(before, after, strict=True))
    share = lowered / (normal + lowered)
    # The system counts CPU time in ticks of 10 ms, and hands it out in slices.
    assert share == pytest.approx(weight / (1024 + weight), rel=0.3, abs=0.01)
