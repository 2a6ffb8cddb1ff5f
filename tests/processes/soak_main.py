"""Run random tasks in pools of all kinds: ``python soak_main.py METHOD SECONDS SEED``. Print only failures."""

import contextlib
import ctypes  # noqa: F401, here because it keeps a file open in some builds
import gc
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError, wait

import psutil

from nicefutures import LowPriorityProcessPoolExecutor, no_pause

MB = 2**20
PATIENCE = 120


def repeat(data, seconds):
    """Return `data` after `seconds`."""
    time.sleep(seconds)
    return data


def fail(text):
    raise ValueError(text)


def double(number):
    return 2 * number


def hold(number):
    with no_pause():
        return number


def log(text):
    logging.getLogger("soak").warning(text)
    return text


def disturb(executor, chance):
    """End a worker or a task in one of four ways, and check that the other tasks return."""
    futures = [executor.submit(repeat, index, 0.01) for index in range(10)]
    how = chance.choice(["kill", "interrupt", "stop", "time limit"])
    if how == "stop":
        long = executor.submit(repeat, 0, PATIENCE)
        assert executor.stop(long)
        wait([long], PATIENCE)
        assert long.cancelled()
    elif how == "time limit":
        with LowPriorityProcessPoolExecutor(1, executor._mp_context, task_timeout=0.2) as other:
            assert isinstance(other.submit(repeat, 0, PATIENCE).exception(PATIENCE), TimeoutError)
    elif how == "kill":
        for process in list((executor._processes or {}).values())[:1]:
            process.kill()
    elif hasattr(os, "fork"):  # as Ctrl-C does; in a pool of its own, so that no later task gets it
        with LowPriorityProcessPoolExecutor(1, executor._mp_context) as other:
            assert other.submit(double, 1).result(PATIENCE) == 2
            interrupted = other.submit(repeat, 0, 0.1)
            for pid in list(other._processes):
                os.kill(pid, signal.SIGINT)
            assert isinstance(interrupted.exception(PATIENCE), KeyboardInterrupt | None)
    for index, future in enumerate(futures):
        assert future.result(PATIENCE) == index


def stand_still(executor, chance):
    """Change the executor's priority and pause it for a moment, while tasks are submitted."""
    executor.priority = chance.choice(["idle", "below_normal", "normal"])
    pausing = executor._pausable(opens=True)
    reason = chance.choice(["pause", "memory_low"])
    pausing.pause(reason, leave=reason == "memory_low")
    futures = [executor.submit(chance.choice([double, hold, log]), 0) for _ in range(5)]
    stopped = executor.submit(repeat, 0, PATIENCE)
    if chance.random() < 0.5:
        executor.pause()
    if chance.random() < 0.5:
        assert executor.stop(stopped)
    pausing.resume(reason)
    executor.resume()
    executor.stop(stopped)
    assert [future.result(PATIENCE) for future in futures] == [0] * 5


def check(executor, chance):  # noqa: C901, PLR0912, one kind after the other
    """Make one or more calls of a random kind, and check their results."""
    kind = chance.randrange(11)
    if kind == 0:
        size = int(50 * MB * chance.random() ** 8)
        data = bytes([chance.randrange(256)]) * size
        assert executor.submit(repeat, data, 0).result(PATIENCE) == data
    elif kind == 1:
        numbers = range(chance.randrange(300))
        chunksize = chance.choice([1, 7, "auto"])
        assert list(executor.map(double, numbers, chunksize=chunksize)) == [2 * number for number in numbers]
    elif kind == 2:
        assert str(executor.submit(fail, "so").exception(PATIENCE)) == "so"
    elif kind == 3:
        assert executor.submit(repeat, threading.Lock(), 0).exception(PATIENCE) is not None
    elif kind == 4:
        futures = [executor.submit(repeat, index, 0.001) for index in range(20)]
        cancelled = [future for future in futures if chance.random() < 0.5 and future.cancel()]
        for index, future in enumerate(futures):
            with contextlib.suppress(CancelledError):
                assert future.result(PATIENCE) == index
                assert future not in cancelled
    elif kind == 5 and hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    elif kind == 6:
        results = executor.map(double, range(1000), chunksize="auto", buffersize=4)
        assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    elif kind == 7:
        assert executor.submit(log, "so").result(PATIENCE) == "so"
    elif kind == 8:
        disturb(executor, chance)
    elif kind == 9:
        stand_still(executor, chance)
    else:
        time.sleep(chance.random() / 100)


def use_pools(context, deadline, chance):
    """Make pools, use them, and end them in different ways."""
    while time.monotonic() < deadline:
        executor = LowPriorityProcessPoolExecutor(
            chance.randrange(1, 4),
            context,
            share_min_size=chance.choice([None, 1, "256 KiB"]),
            on_crash="retry",
            forward_logs=chance.random() < 0.5,
            max_tasks_per_child=chance.choice([None, 5]) if context.get_start_method() != "fork" else None,
        )
        for _ in range(chance.randrange(20)):
            check(executor, chance)
        futures = [executor.submit(repeat, index, 0.01) for index in range(chance.randrange(5))]
        end = chance.randrange(4)
        if chance.random() < 0.3:
            executor.pause()
        if end < 3:
            executor.shutdown(wait=end == 0, cancel_futures=end == 1)
        del executor
        for index, future in enumerate(futures):
            with contextlib.suppress(CancelledError):
                assert future.result(PATIENCE) == index


def resources():
    """Return the numbers of descriptors, threads and children of this process."""
    gc.collect()
    this = psutil.Process()
    return (
        this.num_fds() if hasattr(this, "num_fds") else 0,
        threading.active_count(),
        sum(map(_is_there, this.children())),
    )


def _is_there(child):
    try:
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main():
    """Use pools in several threads."""
    logging.disable()  # records of the workers are still handled, but not shown
    context, seconds = multiprocessing.get_context(sys.argv[1]), float(sys.argv[2])
    with LowPriorityProcessPoolExecutor(1, context) as executor:  # opens the descriptors that multiprocessing keeps
        executor.submit(double, 1).result()
    before = resources()
    deadline = time.monotonic() + seconds
    errors = []

    def use(seed):
        try:
            use_pools(context, deadline, random.Random(seed))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=use, args=(f"{sys.argv[3]}-{index}",)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + PATIENCE
    while (after := resources()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    if after != before or errors:
        sys.exit(f"descriptors, threads, children: {before} before, {after} after; {errors}")


if __name__ == "__main__":
    main()
