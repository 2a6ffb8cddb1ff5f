"""A task can be stopped: by hand, by its time limit, and together with all others."""

import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import psutil
import pytest

from marks import posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import ending, handle
from patience import PATIENCE, wait_until
from tasks import hold_until, same


def test_stop_of_a_task_that_has_failed_at_once():
    """A future that was done before `submit` returned belongs to the executor, too."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        for _ in range(50):
            future = executor.submit(same, threading.Lock())
            assert isinstance(future.exception(PATIENCE), TypeError)
            assert not executor.stop(future)
        done = Future()
        done.task = SimpleNamespace(executor=executor)
        with pytest.raises(ValueError, match="of this executor returned"):
            executor.stop(done)


def spin(path):
    path.touch()
    while True:
        pass


def sleep(path):
    path.touch()
    time.sleep(PATIENCE)


def compute(path):
    path.touch()
    return sum(range(10**12))  # signals are not handled meanwhile


def start_child(path):
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({PATIENCE})"])
    path.with_suffix(".tmp").write_text(str(child.pid))
    path.with_suffix(".tmp").rename(path)
    child.wait()


def leave_zombie(path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    path.touch()
    time.sleep(PATIENCE)


def ignore(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path.touch()
    time.sleep(PATIENCE)


def wait_there(seconds):
    time.sleep(seconds)
    return seconds


def leave_daemon(path):
    """Start a process that is no longer a descendant of this one, and inherits its open files."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(PATIENCE)
        os._exit(0)
    os.wait()
    path.touch()
    time.sleep(PATIENCE)


TASKS = [
    pytest.param(spin, marks=pytest.mark.every_python),
    sleep,
    compute,
    start_child,
    *(pytest.param(task, marks=posix_only) for task in (leave_zombie, leave_daemon, ignore)),
]


@pytest.mark.parametrize("task", TASKS)
def test_stop_what_runs(context, task, tmp_path):
    """A running task is ended with the processes it has started, and the tasks behind it get another worker."""
    path = tmp_path / "runs"
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        future = executor.submit(task, path)
        behind = [executor.submit(same, index) for index in range(3)]
        wait_until(path.exists)
        (pid,) = executor._processes
        assert executor.stop(future) is True
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
        assert [each.result(PATIENCE) for each in behind] == [0, 1, 2]
        assert pid not in executor._processes
        assert executor.stop(future) is True  # like `cancel` of a cancelled future
        assert executor.stop(behind[0]) is False
        wait_until(lambda: not psutil.pid_exists(pid))
    if task is start_child:
        child = int(path.read_text())
        wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


CLEANS_UP = """
import signal, sys, time
def clean_up(*_):
    time.sleep(0.2)
    open(sys.argv[1] + ".clean", "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, clean_up)
open(sys.argv[1], "w").close()
while True:
    time.sleep(0.01)
"""


def run_program(path):
    subprocess.run([sys.executable, "-S", "-c", CLEANS_UP, path], check=False)


@posix_only
@pytest.mark.parametrize("is_paused", [False, True])
def test_stop_a_program_that_cleans_up(is_paused, tmp_path, monkeypatch):
    """A program that a stopped task has started has time to clean up, also in a pause."""
    monkeypatch.setattr(ending, "_GRACE", PATIENCE)
    path = tmp_path / "runs"
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(run_program, str(path))
        wait_until(path.exists)
        if is_paused:
            executor.pause()
        executor.stop(future)
        wait_until(path.with_suffix(".clean").exists)


def clean_up_slowly(path):
    def clean_up(*_):
        for _ in range(120):  # longer than a pause takes to find processes that run
            time.sleep(0.01)
        path.with_suffix(".clean").touch()
        os._exit(0)

    signal.signal(signal.SIGTERM, clean_up)
    path.touch()
    time.sleep(PATIENCE)


@posix_only
def test_stop_a_paused_worker_that_cleans_up(tmp_path, monkeypatch):
    """The pause does not stop a worker again that has been stopped with its task, and cleans up."""
    monkeypatch.setattr(ending, "_GRACE", PATIENCE)
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(clean_up_slowly, tmp_path / "runs")
        wait_until((tmp_path / "runs").exists)
        executor.pause()
        executor.stop(future)
        wait_until((tmp_path / "runs.clean").exists)


@pytest.mark.every_python
def test_stop_what_waits(context, tmp_path):
    """A waiting task is cancelled, and no worker is ended."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        first, second = executor.submit(hold_until, tmp_path / "gate"), executor.submit(same, 2)
        assert executor.stop(second) is True
        assert second.cancelled()
        (tmp_path / "gate").touch()
        first.result(PATIENCE)
        assert len(executor._processes) == 1


@pytest.mark.every_python
def test_stop_what_starts(context):
    """A stopped task that has no worker yet does not get one."""
    for _ in range(5):
        with LowPriorityProcessPoolExecutor(1, context) as executor:
            future = executor.submit(time.sleep, PATIENCE)
            assert executor.stop(future) is True
            with pytest.raises(CancelledError):
                future.result(PATIENCE)
            assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_stop_a_thousand(tmp_path):
    """Of many stopped tasks, the running ones are ended and the others are cancelled."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        futures = [executor.submit(time.sleep, PATIENCE) for _ in range(1000)]
        assert all(executor.stop(future) for future in futures)
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(PATIENCE)
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_stop_from_several_threads_and_from_a_callback():
    """Several threads may stop the same task, and a callback may stop one."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        running = executor.submit(time.sleep, PATIENCE)
        first = executor.submit(same, 1)
        first.add_done_callback(lambda _: executor.stop(running))
        with pytest.raises(CancelledError):
            running.result(PATIENCE)
        running = executor.submit(time.sleep, PATIENCE)
        threads = [threading.Thread(target=executor.stop, args=(running,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(CancelledError):
            running.result(PATIENCE)
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_stop_during_shutdown(tmp_path):
    """A task that still runs after a shutdown can be stopped, and the tasks behind it are done."""
    executor = LowPriorityProcessPoolExecutor(1)
    future = executor.submit(sleep, tmp_path / "runs")
    behind = executor.submit(same, 1)
    wait_until((tmp_path / "runs").exists)
    executor.shutdown(wait=False)
    assert executor.stop(future) is True
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert behind.result(PATIENCE) == 1


@pytest.mark.every_python
def test_shutdown_begins_nothing(tmp_path):
    """A task that a thread of the pool takes while a shutdown cancels others does not begin."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        running = executor.submit(sleep, tmp_path / "runs")
        wait_until((tmp_path / "runs").exists)
        executor._pool.cancel()  # the first step of a shutdown
        late = executor.submit(same, 1)
        with pytest.raises(CancelledError):
            late.result(PATIENCE)
        assert executor.stop(running)


@pytest.mark.every_python
def test_stop_does_not_break(context):
    """A stopped task is no crash, with any `on_crash`."""
    for on_crash in ("break", "fail", "retry"):
        with LowPriorityProcessPoolExecutor(1, context, on_crash=on_crash) as executor:
            future = executor.submit(time.sleep, PATIENCE)
            wait_until(future.running)
            assert executor.stop(future) is True
            with pytest.raises(CancelledError):
                future.result(PATIENCE)
            assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
@pytest.mark.parametrize("wrong", [None, 1, Future()])
def test_wrong_future(wrong):
    """The error says which futures are allowed."""
    with LowPriorityProcessPoolExecutor(1) as executor, pytest.raises(ValueError, match=r"submit\(\) of this executor"):
        executor.stop(wrong)


@pytest.mark.every_python
def test_future_of_another_executor():
    """A future of another executor is refused."""
    with LowPriorityProcessPoolExecutor(1) as one, LowPriorityProcessPoolExecutor(1) as other:
        future = one.submit(same, 1)
        with pytest.raises(ValueError, match="this executor"):
            other.stop(future)
        assert future.result(PATIENCE) == 1


# --- time limits


@pytest.mark.every_python
def test_task_timeout(context):
    """A task that takes too long is ended, and no other task is."""
    with LowPriorityProcessPoolExecutor(2, context, task_timeout=1) as executor:
        future = executor.submit(wait_there, PATIENCE)
        others = [executor.submit(wait_there, 0.2) for _ in range(10)]
        error = future.exception(PATIENCE)
        assert isinstance(error, TimeoutError)
        assert "wait_there" in str(error)
        assert "task_timeout=1.0 s" in str(error)
        assert [other.result(PATIENCE) for other in others] == [0.2] * 10


@pytest.mark.parametrize("chunksize", [6, "auto"])
def test_timeout_of_each_call(chunksize):
    """The limit applies to each call of a chunk, and a call that exceeds it costs no other."""
    seconds = [0.4] * 6 + [PATIENCE] + [0.1] * 3
    with LowPriorityProcessPoolExecutor(1, task_timeout=1) as executor:
        assert list(executor.map(wait_there, seconds[:6], chunksize=chunksize)) == seconds[:6]
        results = list(executor.map(wait_there, seconds, chunksize=chunksize, return_exceptions=True))
        assert isinstance(results.pop(6), TimeoutError)
        assert results == seconds[:6] + seconds[7:]


@pytest.mark.parametrize("seconds", [math.inf, 1e10, 3e6])
def test_limit_of_many_days(seconds):
    """A limit may be longer than 24 days, the most that the system counts."""
    with LowPriorityProcessPoolExecutor(1, task_timeout=seconds) as executor:
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_limits_of_many_tasks():
    """A limit does not need a thread for each task."""
    with LowPriorityProcessPoolExecutor(2, task_timeout=PATIENCE) as executor:
        futures = [executor.submit(same, index) for index in range(3000)]
        assert threading.active_count() < 20
        assert [future.result(PATIENCE) for future in futures] == list(range(3000))


@pytest.mark.every_python
def test_own_timeout():
    """A TimeoutError that the task itself raises costs no worker."""
    with LowPriorityProcessPoolExecutor(1, task_timeout=PATIENCE) as executor:
        executor.submit(same, 1).result(PATIENCE)
        (pid,) = executor._processes
        assert isinstance(executor.submit(functools.partial(throw, TimeoutError)).exception(PATIENCE), TimeoutError)
        assert list(executor._processes) == [pid]


def throw(kind):
    raise kind


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
@pytest.mark.every_python
def test_wrong_timeout(wrong, kind):
    """The error names the allowed values."""
    with pytest.raises(kind, match="task_timeout must be"):
        LowPriorityProcessPoolExecutor(1, task_timeout=wrong)


# --- the whole pool


@pytest.mark.every_python
@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
@pytest.mark.parametrize("on_crash", ["break", "retry"])
def test_end_workers(context, how, on_crash):
    """All running tasks end, and waiting ones are cancelled, as in Python 3.14."""
    executor = LowPriorityProcessPoolExecutor(2, context, on_crash=on_crash)
    futures = [executor.submit(time.sleep, PATIENCE) for _ in range(6)]
    wait_until(lambda: futures[0].running() and futures[1].running())
    processes = list(executor._processes.values())
    getattr(executor, how)()
    for future in futures[:2]:
        with pytest.raises(BrokenProcessPool):
            future.result(PATIENCE)
    for future in futures[2:]:
        assert future.cancelled()
    for process in processes:
        wait_until(lambda process=process: process.exitcode is not None)  # other threads ask, too, and only one is told
    with pytest.raises(RuntimeError):
        executor.submit(same, 1)
    getattr(executor, how)()


@pytest.mark.every_python
def test_end_no_workers():
    """A pool that has done nothing is shut down, too."""
    executor = LowPriorityProcessPoolExecutor(2)
    executor.kill_workers()
    with pytest.raises(RuntimeError):
        executor.submit(same, os.getpid())


def test_suspended_program(monkeypatch):
    """A limit does not count the time in which the program and its workers were suspended."""
    now, waits = 100.0, []

    class Pipe:
        def poll(self, seconds=0.0, *_):
            nonlocal now
            waits.append(seconds)
            now += 1000 if len(waits) == 2 else seconds
            return False

    worker = handle.Worker(lambda: None)
    worker._end, worker.process, worker.report = Pipe(), SimpleNamespace(exitcode=None), "is ready"
    monkeypatch.setattr(handle, "now", lambda: now)
    with pytest.raises(handle.TooLongError):
        worker.receive(worker.clock() + 5)
    assert sum(waits) - waits[1] == 5
