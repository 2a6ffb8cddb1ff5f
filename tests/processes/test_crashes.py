"""A worker that dies costs a task, or nothing: `on_crash`."""

import contextlib
import functools
import gc
import os
import pickle
import random
import signal
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from asking import WINDOWS
from handing_over import same
from nicefutures import LowPriorityProcessPoolExecutor, WorkerCrashError
from nicefutures._processes import attempt
from patience import PATIENCE, wait_until
from tasks import hold_until, identify

MB = 2**20


def crash_at(number, place, how):
    if number == place:
        crash(how)
    return number


def crash(how):
    if how == "exit":
        os._exit(3)
    elif how == "kill":
        psutil.Process().kill()
        time.sleep(PATIENCE)
    else:
        os.kill(os.getpid(), signal.SIGSEGV)


def crash_with(counter):
    os._exit(3)


def crash_if(*, tells):
    os._exit(3) if tells else None


def crash_until(path, times):
    """Crash so many times, and then return how often that was."""
    with open(path, "a", encoding="ascii") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        os._exit(3)
    return os.path.getsize(path)


def count_calls(path, number):
    with open(path / str(number), "a", encoding="ascii") as file:
        file.write("x")
    if number == 7 and os.path.getsize(path / str(number)) == 1:
        os._exit(3)
    return number


WORDS = {
    "exit": "exit status 3",
    "kill": "SIGTERM" if WINDOWS else "killed",  # multiprocessing's name for what TerminateProcess leaves
    "segfault": "SIGSEGV",
}
HOW = ["exit", "kill", pytest.param("segfault", marks=pytest.mark.skipif(WINDOWS, reason="a signal"))]


@pytest.mark.every_python
@pytest.mark.parametrize("how", HOW)
def test_fail(context, how):
    """The task that crashes is lost, and says what it was and how that went; the other 59 are not."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="fail") as executor:
        futures = [executor.submit(crash_at, number, 7, how) for number in range(60)]
        error = futures.pop(7).exception(PATIENCE)
        assert [future.result(PATIENCE) for future in futures] == [*range(7), *range(8, 60)]
        assert isinstance(error, WorkerCrashError)
        assert "test_crashes.crash_at" in str(error)
        if not (WINDOWS and how == "kill"):
            assert WORDS[how] in str(error)
        assert error.pid not in executor._processes
        assert error.exitcode not in (0, None)
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.pid, copy.exitcode) == (str(error), error.pid, error.exitcode)


@pytest.mark.every_python
def test_status_of_windows():
    """What Windows ends a process with is said in words."""
    with LowPriorityProcessPoolExecutor(1, on_crash="fail") as executor:
        error = executor.submit(os._exit, 0xC0000005 - 2**32).exception(PATIENCE)
    if WINDOWS:
        assert error.exitcode == 0xC0000005
        assert "0xc0000005: an access violation" in str(error)
    else:
        assert "exit status 5." in str(error)


@pytest.mark.every_python
@pytest.mark.parametrize("times", [1, 2])
def test_retry(context, tmp_path, times):
    """A task whose worker dies runs again on another one."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry") as executor:
        future = executor.submit(crash_until, tmp_path / "crashes", times)
        assert list(executor.map(same, range(20))) == list(range(20))
        assert future.result(PATIENCE) == times + 1


def test_third_crash(context, tmp_path):
    """A task that kills each worker is not run for ever."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry") as executor:
        future = executor.submit(crash_until, tmp_path / "crashes", 100)
        assert isinstance(future.exception(PATIENCE), WorkerCrashError)
        assert (tmp_path / "crashes").stat().st_size == 3
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_break(context):
    """By default the pool breaks, as the standard library's."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        error = executor.submit(crash, "exit").exception(PATIENCE)
        assert type(error) is BrokenProcessPool
        with pytest.raises(BrokenProcessPool):
            executor.submit(same, 1)


@pytest.mark.every_python
@pytest.mark.parametrize(("chunksize", "buffersize"), [(1, None), (10, None), (100, 3), ("auto", None), ("auto", 3)])
def test_map_with_retries(chunksize, buffersize, tmp_path):
    """The results are as if nothing had happened, and what a chunk had done is not done again."""
    with LowPriorityProcessPoolExecutor(2, on_crash="retry") as executor:
        call = functools.partial(count_calls, tmp_path)
        assert list(executor.map(call, range(40), chunksize=chunksize, buffersize=buffersize)) == list(range(40))
    assert [(tmp_path / str(number)).stat().st_size for number in range(40)] == [1] * 7 + [2] + [1] * 32


@pytest.mark.parametrize("chunksize", [1, 10, 100, "auto"])
def test_map_without_retries(chunksize):
    """One call is lost, and no other of its chunk."""
    with LowPriorityProcessPoolExecutor(2, on_crash="fail") as executor:
        call = functools.partial(crash_at, place=7, how="exit")
        results = list(executor.map(call, range(40), chunksize=chunksize, return_exceptions=True))
        assert isinstance(results[7], WorkerCrashError)
        assert "crash_at" in str(results[7])
        assert results[:7] + results[8:] == [*range(7), *range(8, 40)]
        results = executor.map(call, range(40), chunksize=chunksize)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(WorkerCrashError):
            next(results)


def end_process():
    os._exit(5)


@pytest.mark.parametrize("on_crash", ["fail", "retry"])
def test_workers_that_die_while_they_start(context, on_crash, monkeypatch):
    """Workers that cannot start are not tried for ever: the pool says why it is of no use."""
    monkeypatch.setattr(attempt, "_MOST_LOST", 2)  # for they take their time
    with LowPriorityProcessPoolExecutor(2, context, on_crash=on_crash, initializer=end_process) as executor:
        futures = [executor.submit(same, index) for index in range(4)]
        for future in futures:
            assert "exit status 5" in str(future.exception(PATIENCE))


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", ["fail", "retry"])
@pytest.mark.parametrize("size", [0, 10 * MB])
def test_killed_while_they_start(context, on_crash, size):
    """What is killed from outside while it starts, or while it is being sent a task, is replaced."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash=on_crash, share_min_size=None) as executor:
        futures = [executor.submit(len, bytes(size)) for _ in range(4)]
        for process in list(executor._processes.values()):
            process.kill()
        for future in futures:
            assert isinstance(future.exception(PATIENCE), WorkerCrashError | None)
        assert executor.submit(len, bytes(size)).result(PATIENCE) == size


@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_killed_while_it_sends(context, share_min_size):
    """Half an answer is none."""
    with LowPriorityProcessPoolExecutor(1, context, on_crash="retry", share_min_size=share_min_size) as executor:
        for delay in (0.01, 0.03, 0.06):
            pid = executor.submit(identify).result(PATIENCE)
            future = executor.submit(bytes, 100 * MB)
            time.sleep(delay)
            if pid in executor._processes:
                executor._processes[pid].kill()
            assert len(future.result(PATIENCE)) == 100 * MB


def test_killed_while_idle(context):
    """One that had nothing to do is replaced, in all modes, and as often as it happens."""
    with LowPriorityProcessPoolExecutor(1, context, on_crash="fail") as executor:
        pids = set()
        for _ in range(4):
            pid = executor.submit(identify).result(PATIENCE)
            pids.add(pid)
            process = executor._processes[pid]
            process.kill()
            process.join()
        assert len(pids) == 4


@pytest.mark.every_python
def test_initializer_that_fails(context):
    """An initializer that raises breaks the pool, whatever is to happen with tasks."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry", initializer=int, initargs=("x",)) as executor:
        error = executor.submit(same, 1).exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, ValueError)


class Storm(threading.Thread):
    """Kills one worker after the other, until it is told to end."""

    def __init__(self, executor, seed, interval):
        super().__init__()
        self._executor, self._chance, self._interval = executor, random.Random(seed), interval
        self._over = threading.Event()
        self.kills = 0

    def run(self):
        while not self._over.wait(self._interval):
            processes = list((self._executor._processes or {}).values())
            if processes:
                self._chance.choice(processes).kill()
                self.kills += 1

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def __enter__(self):
        self.start()
        return self


def seconds_to_start(executor):
    """Start a worker, and return how long that takes: on a busy machine some are to live long enough for a task."""
    began = time.monotonic()
    executor.submit(sized, 1).result(PATIENCE)  # which has to import this module
    return time.monotonic() - began


def sized(number):
    return number, bytes([number % 256]) * (number * 7919 % MB)


@pytest.mark.parametrize("tasks", [150, pytest.param(4000, marks=pytest.mark.soak)])
def test_storm(context, tasks):
    """All results are right and in order while one worker after the other is killed, and nothing is left."""
    this = psutil.Process()
    with LowPriorityProcessPoolExecutor(1, context) as executor:  # for what multiprocessing keeps
        executor.submit(same, 1).result(PATIENCE)
    before = this.num_fds() if hasattr(this, "num_fds") else 0
    pool = LowPriorityProcessPoolExecutor(4, context, on_crash="retry", priority="normal")
    with pool as executor, Storm(executor, 7, max(0.15, seconds_to_start(executor))):
        for number, (found, data) in enumerate(executor.map(sized, range(tasks), buffersize=50)):
            assert found == number
            assert (len(data), data[:1] or bytes([number % 256])) == (number * 7919 % MB, bytes([number % 256]))
    gc.collect()
    wait_until(lambda: (this.num_fds() if hasattr(this, "num_fds") else 0) <= before)


@pytest.mark.every_python
@pytest.mark.parametrize("count", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_shutdown_in_a_storm(context, count):
    """A pool that is shut down while its workers are being killed comes to its end."""
    for seed in range(count):
        with (
            LowPriorityProcessPoolExecutor(4, context, on_crash="retry") as executor,
            Storm(executor, seed, max(0.02, seconds_to_start(executor) / 2)),
        ):
            futures = [executor.submit(sized, number) for number in range(100)]
            time.sleep(0.1)
            executor.shutdown(cancel_futures=True)
        for number, future in enumerate(futures):
            with contextlib.suppress(CancelledError, WorkerCrashError):
                assert future.result(0)[0] == number


@pytest.mark.parametrize("wrong", ["ignore", None, True, "Break"])
def test_wrong_on_crash(wrong):
    """An error says what is allowed."""
    with pytest.raises(ValueError, match="'break', 'fail' or 'retry'"):
        LowPriorityProcessPoolExecutor(1, on_crash=wrong)


def test_forgotten_while_it_retries(context, tmp_path):
    """A pool that nobody has any more still does what it was asked for."""
    gate = tmp_path / "gate"
    executor = LowPriorityProcessPoolExecutor(1, context, on_crash="retry")
    first = executor.submit(hold_until, gate)
    future = executor.submit(crash_until, tmp_path / "crashes", 1)
    del executor
    gate.touch()
    first.result(PATIENCE)
    assert future.result(PATIENCE) == 2


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", ["break", "fail", "retry"])
def test_error_keeps_nothing(on_crash):
    """Who keeps an error for the night's report does not keep what the task was given."""
    with LowPriorityProcessPoolExecutor(1, on_crash=on_crash) as executor:
        counter = Counter()  # which can be referred to weakly
        gone = weakref.ref(counter)
        error = executor.submit(crash_with, counter).exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool if on_crash == "break" else WorkerCrashError)
    del counter
    assert gone() is None


def test_keyword_of_the_users():
    """A task's keywords are its own."""
    with LowPriorityProcessPoolExecutor(1, on_crash="fail") as executor:
        assert isinstance(executor.submit(crash_if, tells=True).exception(PATIENCE), WorkerCrashError)
