"""Ctrl-C in a terminal: it goes to the program and all its workers."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from handing_over import same
from marks import METHODS, posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE, wait_until
from programs import environment

pytestmark = posix_only

PROGRAM = """
import multiprocessing, sys, time
from nicefutures import LowPriorityProcessPoolExecutor
from test_interrupts import announce

def leave_with(executor):
    with executor:
        use(executor)

def leave_without(executor):
    use(executor)

def use(executor):
    if sys.argv[2] == "idle":
        print(*{future.result() for future in [executor.submit(announce, 0.2) for _ in range(2)]}, flush=True)
        time.sleep(600)
    futures = [executor.submit(announce, 600) for _ in range(50)]
    futures[0].result()

if __name__ == "__main__":
    executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
    (leave_with if sys.argv[3] == "with" else leave_without)(executor)
"""

GOES_ON = """
import multiprocessing, sys, time
from nicefutures import LowPriorityProcessPoolExecutor
from test_interrupts import announce

if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1])) as executor:
        try:
            list(executor.map(announce, [600] * 10))
        except KeyboardInterrupt:
            pass
        print("again", *executor.map(abs, [-1, -2]), len(executor._processes), flush=True)
"""


def announce(seconds):
    os.write(1, f"{os.getpid()}\n".encode())  # at once, whoever else writes
    time.sleep(seconds)
    return os.getpid()


def catch(path):
    try:
        path.touch()
        time.sleep(PATIENCE)
    except KeyboardInterrupt:
        return "caught"


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip


def read_pids(process):
    """Return the ids that two workers have said."""
    pids = set()
    while len(pids) < 2:
        pids |= {int(pid) for pid in process.stdout.readline().split()}
    return pids


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("does", ["idle", pytest.param("busy", marks=pytest.mark.every_python)])
@pytest.mark.parametrize("how", ["with", "without"])
def test_end_of_the_program(method, does, how):
    """One traceback, and nothing is left, whatever was waiting."""
    process = start(PROGRAM, method, does, how)
    pids = read_pids(process)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1
    assert errors.count("KeyboardInterrupt") == 1
    for pid in pids:
        wait_until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.every_python
@pytest.mark.parametrize("method", METHODS)
def test_pool_can_be_used_afterwards(method):
    """Who catches it, as a notebook does, goes on with the same pool and the same workers."""
    process = start(GOES_ON, method)
    read_pids(process)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=PATIENCE)
    assert printed.splitlines()[-1] == "again 1 2 2"
    assert errors == ""


@pytest.mark.every_python
@pytest.mark.parametrize("method", METHODS)
def test_while_workers_start(method):
    """One that is not there yet says nothing either."""
    process = start(PROGRAM, method, "busy", "with")
    wait_until(lambda: psutil.Process(process.pid).children(recursive=True))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    # The fork server may be interrupted itself, before it can do something about that.
    assert errors.count("Traceback") <= (2 if method == "forkserver" else 1)


@pytest.mark.every_python
def test_task_may_catch_it(context, tmp_path):
    """A signal to one worker is its task's."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        future = executor.submit(catch, tmp_path / "runs")
        wait_until((tmp_path / "runs").exists)
        (pid,) = executor._processes
        os.kill(pid, signal.SIGINT)
        assert future.result(PATIENCE) == "caught"
        assert executor.submit(same, 1).result(PATIENCE) == 1
        assert list(executor._processes) == [pid]


@pytest.mark.every_python
def test_idle_worker_does_not_mind(context):
    """Nor does one that has nothing to do."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        executor.submit(same, 1).result(PATIENCE)
        (pid,) = executor._processes
        for _ in range(3):
            os.kill(pid, signal.SIGINT)
        assert executor.submit(same, 1).result(PATIENCE) == 1
        assert list(executor._processes) == [pid]
