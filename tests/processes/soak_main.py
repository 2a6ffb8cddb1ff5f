"""Random tasks in pools of all kinds: ``python soak_main.py METHOD SECONDS SEED``. Says what is wrong, or nothing."""

import contextlib
import gc
import multiprocessing
import os
import random
import sys
import threading
import time
from concurrent.futures import CancelledError

import psutil

from nicefutures import LowPriorityProcessPoolExecutor

MB = 2**20
PATIENCE = 120


def repeat(data, seconds):
    """Return what has been sent, after a while."""
    time.sleep(seconds)
    return data


def fail(text):
    raise ValueError(text)


def double(number):
    return 2 * number


def check(executor, chance):
    """Make one call or many, and look whether what comes back is right."""
    kind = chance.randrange(8)
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
    else:
        time.sleep(chance.random() / 100)


def use_pools(context, deadline, chance):
    """Make pools, use them and let them go, in one way or another."""
    while time.monotonic() < deadline:
        executor = LowPriorityProcessPoolExecutor(
            chance.randrange(1, 4),
            context,
            share_min_size=chance.choice([None, 1, "256 KiB"]),
            max_tasks_per_child=chance.choice([None, 5]) if context.get_start_method() != "fork" else None,
        )
        for _ in range(chance.randrange(20)):
            check(executor, chance)
        futures = [executor.submit(repeat, index, 0.01) for index in range(chance.randrange(5))]
        end = chance.randrange(4)
        if end < 3:
            executor.shutdown(wait=end == 0, cancel_futures=end == 1)
        del executor
        for index, future in enumerate(futures):
            with contextlib.suppress(CancelledError):
                assert future.result(PATIENCE) == index


def resources():
    """Return what this process has, and its children."""
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
    context, seconds = multiprocessing.get_context(sys.argv[1]), float(sys.argv[2])
    with LowPriorityProcessPoolExecutor(1, context) as executor:  # for what multiprocessing keeps
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
