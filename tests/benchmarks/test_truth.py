"""The harness tells the truth: it reports the stalls that are known to have happened.

The tests do not depend on the speed or load of the machine. They check the least lateness that a stall causes, or use
simulated times.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from benchmarks.measuring.available import open_screen, ui_problem
from benchmarks.measuring.run import run_cell
from benchmarks.subjects.condition import Condition
from benchmarks.subjects.loads import STALL_PERIOD_S, STALL_S
from benchmarks.suites.cell import make_cell
from benchmarks.watching import heartbeat
from benchmarks.watching.heartbeat import PERIOD_NS, Schedule, beat_in_a_loop

from records import ROOT

PERIOD_MS = PERIOD_NS / 1e6
# ms between the times at which two processes notice the same event.
SLACK_MS = 2

needs_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without the GIL nobody can keep it"
)


def stalls_ms(late, least):
    """Return the lateness of the first late beat of each stall: the greatest in each run of falling latenesses."""
    firsts = [now for before, now in zip([0.0, *late], late, strict=False) if now > least and now > before]
    return sorted(firsts, reverse=True)


class Clock:
    """A clock that only `sleep` advances. At known times it simulates stalls of 50 ms, in which no sleep ends."""

    def __init__(self, stalls_ns):
        self.now = 0
        self.stalls_ns = list(stalls_ns)

    def perf_counter_ns(self):
        return self.now

    def thread_time_ns(self):
        return 0

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)
        if self.stalls_ns and self.now >= self.stalls_ns[0]:
            self.now = max(self.now, self.stalls_ns.pop(0) + round(STALL_S * 1e9))


def test_stalls_at_known_times(monkeypatch):
    """Each beat in a stall of 50 ms is charged with the rest of the stall, to the nanosecond, and no other beat is.

    Each stall starts an eighth of a frame later within its frame, as those of the load do. A beat sees a stall from its
    due time on, so the greatest lateness is right to an eighth of a frame.
    """
    begun = [round(number * STALL_PERIOD_S * 1e9) for number in range(1, 9)]
    ended = [start + round(STALL_S * 1e9) for start in begun]
    monkeypatch.setattr(heartbeat, "time", Clock(begun))
    schedule = Schedule(9.0)
    beat_in_a_loop(schedule)
    seen = schedule.result()
    late = seen["lateness_ns"]
    due = [seen["first_due_ns"] + number * PERIOD_NS for number in range(len(late))]
    expected = [
        next((end - when for start, end in zip(begun, ended, strict=True) if start <= when < end), 0) for when in due
    ]
    assert late == expected
    firsts = stalls_ms([ns / 1e6 for ns in late], STALL_S * 1e3 - PERIOD_MS - 0.001)
    assert len(firsts) == 8
    assert STALL_S * 1e3 - PERIOD_MS / 8 - 0.001 <= firsts[0] <= STALL_S * 1e3


@needs_gil
@pytest.mark.parametrize("window", ["thread", "tk", "qt", "asyncio"])
def test_known_stalls_in_windows(window):
    """Each C call that keeps the GIL for 50 ms makes beats late, in a plain loop and in real windows."""
    with open_screen([window]) as environment:
        problem = ui_problem(window, sys.executable, environment)
        if problem:
            pytest.skip(problem)
        cell = make_cell(Condition(executor="stdlib-thread", load="stall", workers=1, ui=window), 2.2, 0)
        result = run_cell(cell, environment=environment)
    late = [ns / 1e6 for ns in result["ui"]["lateness_ns"]]
    # The first may have begun before the first beat, and the last after the last one.
    least = max(1, result["done"] - 2)
    # A beat sees a stall from its due time on, which is up to a frame after the start of the stall.
    assert len(stalls_ms(late, STALL_S * 1e3 - PERIOD_MS - SLACK_MS)) >= least
    # Each stall swallowed three beats. The second was late by more than the rest of the stall after two frames.
    assert sum(ms > STALL_S * 1e3 - 2 * PERIOD_MS - SLACK_MS for ms in late) >= 2 * least


def stop_for_a_while(process, seconds):
    """Stop a process; return the begin and the end of a time in which it was certainly stopped, in ns."""
    stopped = psutil.Process(process.pid)
    stopped.suspend()
    begun = time.perf_counter_ns()
    time.sleep(seconds)
    ended = time.perf_counter_ns()
    stopped.resume()
    return begun, ended


def see_a_stop(beats_s):
    """Stop the foreground for 200 ms; return when beats were due and shown, and when it was stopped and continued."""
    command = [sys.executable, "-m", "benchmarks.watching.foreground", "0", str(beats_s)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(beats_s / 4)
        begun, ended = stop_for_a_while(process, 0.2)
        seen = json.loads(process.stdout.readline())
    due = [seen["first_due_ns"] + number * PERIOD_NS for number in range(len(seen["lateness_ns"]))]
    shown = [when + late for when, late in zip(due, seen["lateness_ns"], strict=True)]
    return due, shown, begun, ended


def test_stopped_process():
    """If a process is stopped for 200 ms, each beat in that time is charged with the rest of it."""
    for beats_s in (0.8, 2, 8):
        due, shown, begun, ended = see_a_stop(beats_s)
        if due[0] < begun and ended < due[-1]:
            break  # on a busy machine the process may begin too late, or be stopped after its last beat
    slack = SLACK_MS * 1_000_000
    inside = [place for place, when in enumerate(due) if begun + slack < when < ended]
    assert len(inside) >= 10
    assert all(shown[place] >= ended for place in inside)
    # One frame showed them all.
    assert len({shown[place] for place in inside}) == 1


def test_control():
    """The real-time process that watches the machine reports when it was stopped."""
    command = [sys.executable, "-m", "benchmarks.watching.control"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() == "no\n":
            pytest.skip("real-time priority is not allowed here")
        time.sleep(0.1)
        begun, ended = stop_for_a_while(process, 0.3)
        time.sleep(0.3)  # so that it looks at the time before its input ends
        process.stdin.close()
        answer = json.loads(process.stdout.readline())
    # It is due 20 times a second.
    assert any(due <= begun + 60_000_000 and came >= ended for due, came in answer["stalls_ns"])
    assert answer["cpu_share"] < 0.05


def test_nothing():
    """Without a load every beat is shown, and the heartbeat does not spin."""
    result = run_cell(make_cell(Condition(ui="thread"), 0.5, 0))["ui"]
    assert len(result["lateness_ns"]) == 30
    assert min(result["lateness_ns"]) >= 0
    assert result["cpu_share"] < 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' weights")
def test_shares_of_a_cpu():
    """On one CPU, a process at nice 10 gets less CPU time than a normal one, and at nice 19 or SCHED_IDLE even less."""
    cpu = max(os.sched_getaffinity(0))
    lower = {
        "normal": "pass",
        "nice 10": "os.setpriority(os.PRIO_PROCESS, 0, 10)",
        "nice 19": "os.setpriority(os.PRIO_PROCESS, 0, 19)",
        "SCHED_IDLE": "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
    }
    program = "import os; os.sched_setaffinity(0, {{{cpu}}}); {line}; print(flush=True)\nwhile True: pass"

    def used_ns(process):
        # The first number of schedstat: Documentation/scheduler/sched-stats.rst.
        return int(Path(f"/proc/{process.pid}/schedstat").read_text(encoding="ascii").split()[0])

    busy = {}
    try:
        for level, line in lower.items():
            command = [sys.executable, "-S", "-c", program.format(cpu=cpu, line=line)]
            busy[level] = subprocess.Popen(command, stdout=subprocess.PIPE)
        for process in busy.values():
            process.stdout.readline()
        before = {level: used_ns(process) for level, process in busy.items()}
        deadline = time.monotonic() + 300
        # Until the process at normal priority has used a second of CPU time, however many others want the CPU.
        while used_ns(busy["normal"]) - before["normal"] < 1e9 and time.monotonic() < deadline:
            time.sleep(0.05)
        used = {level: used_ns(process) - before[level] for level, process in busy.items()}
    finally:
        for process in busy.values():
            process.kill()
            process.wait()
            process.stdout.close()
    assert used["normal"] > 3 * used["nice 10"]
    assert used["nice 10"] > used["nice 19"]
    assert used["nice 10"] > used["SCHED_IDLE"]
