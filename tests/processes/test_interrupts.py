"""Signals: Ctrl-C, which goes to the program and all its workers, and others that the program handles."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from marks import METHODS, one_less, posix_only
from nicefutures import LowPriorityProcessPoolExecutor, WorkerCrashError
from nicefutures._processes import handle
from patience import PATIENCE, wait_until
from programs import environment
from tasks import same

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
    os.write(1, f"{os.getpid()}\n".encode())  # in one piece, because other workers write as well
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
    """Return the ids that two workers have printed."""
    pids = set()
    while len(pids) < 2:
        pids |= {int(pid) for pid in process.stdout.readline().split()}
    return pids


@pytest.mark.parametrize("method", one_less(METHODS))
@pytest.mark.parametrize("does", ["idle", pytest.param("busy", marks=pytest.mark.every_python)])
@pytest.mark.parametrize("how", ["with", "without"])
def test_end_of_the_program(method, does, how):
    """Ctrl-C ends the program with one traceback, and no worker is left."""
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
@pytest.mark.parametrize("method", one_less(METHODS))
def test_pool_can_be_used_afterwards(method):
    """A program that catches Ctrl-C, such as a notebook, can still use the pool and its workers."""
    process = start(GOES_ON, method)
    read_pids(process)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=PATIENCE)
    assert printed.splitlines()[-1] == "again 1 2 2"
    assert errors == ""


@pytest.mark.every_python
@pytest.mark.parametrize("method", one_less(METHODS))
def test_while_workers_start(method):
    """A worker that is still starting prints no traceback either."""
    process = start(PROGRAM, method, "busy", "with")
    wait_until(lambda: psutil.Process(process.pid).children(recursive=True))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    # The fork server may be interrupted itself, before it ignores the signal.
    assert errors.count("Traceback") <= (2 if method == "forkserver" else 1)


@pytest.mark.every_python
def test_task_may_catch_it(context, tmp_path):
    """A task can catch a signal to its worker."""
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
    """An idle worker ignores SIGINT."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        executor.submit(same, 1).result(PATIENCE)
        (pid,) = executor._processes
        for _ in range(3):
            os.kill(pid, signal.SIGINT)
        assert executor.submit(same, 1).result(PATIENCE) == 1
        assert list(executor._processes) == [pid]


@pytest.fixture
def handling():
    """Return a function that installs a signal handler of the program until the end of the test."""
    before = {}

    def handle_with(number, handler):
        before.setdefault(number, signal.signal(number, handler))

    yield handle_with
    for number, handler in before.items():
        signal.signal(number, handler)


def leave(number, frame):
    sys.exit(7)


def crash(path):
    wait_until((path / "runs").exists)
    os._exit(3)


@pytest.mark.every_python
@pytest.mark.parametrize("handler", [leave, lambda *_: None], ids=["exits", "takes note"])
def test_handler_of_the_program(handler, handling, tmp_path):
    """A forked worker inherits the handler. If the pool breaks, its task still ends soon, with a BrokenProcessPool."""
    handling(signal.SIGTERM, handler)
    with LowPriorityProcessPoolExecutor(2, "fork") as executor:
        running = executor.submit(catch, tmp_path / "runs")
        assert "exit status 3" in str(executor.submit(crash, tmp_path).exception(PATIENCE))
        assert "exit status 3" in str(running.exception(PATIENCE))


@pytest.mark.every_python
def test_wakeup_of_the_program(handling):
    """A forked worker's signals are not written to the program's wakeup descriptor, which asyncio uses."""
    handling(signal.SIGTERM, lambda *_: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        try:
            with LowPriorityProcessPoolExecutor(1, "fork") as executor:
                executor.submit(signal.raise_signal, signal.SIGTERM).result(PATIENCE)
        finally:
            signal.set_wakeup_fd(before)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


@pytest.mark.asks_for_fork
@pytest.mark.every_python
def test_handler_of_asyncio():
    """A forked worker drops asyncio's handler, which does nothing without its loop: SIGTERM ends the worker at once."""

    async def ask():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, list)
        with LowPriorityProcessPoolExecutor(1, "fork") as executor:
            handler = await loop.run_in_executor(executor, signal.getsignal, signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGTERM)
        return handler

    assert asyncio.run(ask()) == signal.SIG_DFL


@pytest.mark.every_python
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_no_exit_status(method, handling, monkeypatch):
    """A program that ignores SIGCHLD never learns how a worker ended: the error says so, and nothing waits for it."""
    handling(signal.SIGCHLD, signal.SIG_IGN)
    monkeypatch.setattr(handle, "_PATIENCE", 10 * PATIENCE)
    with LowPriorityProcessPoolExecutor(1, method, on_crash="fail") as executor:
        for _ in range(3):
            error = executor.submit(os._exit, 3).exception(PATIENCE)
            assert type(error) is WorkerCrashError
            assert "exit status is unknown, because this program ignores SIGCHLD" in str(error)
        assert len(executor._pool._ended) <= 1
