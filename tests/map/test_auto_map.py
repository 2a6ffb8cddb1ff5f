"""``map(chunksize="auto")`` gives the results of ``chunksize=1``, in the same order, and fails in the same place."""

import contextlib
import gc
import itertools
import operator
import os
import pickle
import random
import signal
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from calls import (
    Refuses,
    add_one,
    count_made,
    end_at_three,
    invert,
    map_inside,
    note_and_hold,
    refuse_at,
    same,
    sleep_longer_from_300,
    slow_until_fourth,
)
from marks import forks, linux_only, posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._threads.gil import has_gil
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until, nap

pytestmark = pytest.mark.every_python


@pytest.mark.parametrize("buffersize", [None, 1, 3])
def test_results(context, buffersize):
    """All results arrive, in order."""
    count = 5000 if buffersize is None else 500
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        assert list(executor.map(abs, range(count), chunksize="auto", buffersize=buffersize)) == list(range(count))
        assert list(executor.map(pow, range(5), itertools.count(2), chunksize="auto")) == [0, 1, 16, 243, 4096]
        assert list(executor.map(abs, [], chunksize="auto")) == []
        times = [0.2 if random.Random(index).random() < 0.1 else 0.0001 for index in range(60)]
        assert list(executor.map(nap, times, chunksize="auto")) == times


def test_error():
    """An error is raised at its place, after the results before it, with the worker's traceback."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(invert, [*range(5000, 0, -1), 0, 1, 2], chunksize="auto")
        assert [next(results) for _ in range(5000)] == [1 / number for number in range(5000, 0, -1)]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "in invert" in str(caught.value.__cause__)
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
@pytest.mark.parametrize("place", [0, 150, 299])
def test_cannot_be_pickled(share_min_size, place):
    """An argument, a result or an error that cannot be pickled is an error at its place, and each call is made once."""
    arguments = list(range(300))
    arguments[place] = Refuses()
    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        list(executor.map(abs, range(2000), chunksize="auto"))
        for fn, inputs in (
            (operator.pos, (arguments,)),
            (refuse_at, (range(300), itertools.repeat(place), itertools.repeat(False))),
            (refuse_at, (range(300), itertools.repeat(place), itertools.repeat(True))),
        ):
            found = []
            with pytest.raises((ValueError, pickle.PicklingError), match="not this one"):
                found.extend(executor.map(fn, *inputs, chunksize="auto"))
            assert found == list(range(place))
            count, repeated = executor.submit(count_made).result()
            assert repeated == 0
            assert (fn is operator.pos) == (count == 0)


@pytest.mark.parametrize("kind", ["cannot be pickled", "raises"])
def test_rest_after_error(tmp_path, kind):
    """If the results are never fetched, the calls after an error are still made."""
    path = tmp_path / "done"
    executor = LowPriorityProcessPoolExecutor(1)
    bad = Refuses() if kind == "cannot be pickled" else "\u20ac"
    executor.map(add_one, [path] * 1000, [*range(200), bad, *range(200, 999)], chunksize="auto")
    reference = weakref.ref(executor)
    executor.shutdown()
    assert sorted(map(int, path.read_text().split())) == list(range(999))
    del executor
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_nested(context, share_min_size):
    """A worker may have a pool of its own."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        assert executor.submit(map_inside, share_min_size).result() == [2_000_000] * 3


@posix_only
def test_interrupted_worker(tmp_path):
    """A worker that gets a signal between two calls makes no call twice."""
    path = tmp_path / "done"
    with LowPriorityProcessPoolExecutor(1) as executor:
        pid = executor.submit(os.getpid).result()
        results = executor.map(add_one, [path] * 20_000, range(20_000), chunksize="auto")
        next(results)
        os.kill(pid, signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt, BrokenProcessPool):  # depends on where the signal arrived
            list(results)
    made = list(map(int, path.read_text().split()))
    assert len(set(made)) == len(made)


@linux_only
@pytest.mark.skipif(not has_gil(), reason="without the GIL objects come out of gigabytes that are reserved")
def test_memory_limit():
    """A memory limit applies to each call separately, and the error of a call that exceeds it names the limit."""
    with LowPriorityProcessPoolExecutor(1, memory_limit="1 GiB") as executor:
        results = executor.map(bytes, [10] * 50 + [3 * 2**30, 10], chunksize="auto")
        assert [len(next(results)) for _ in range(50)] == [10] * 50
        with pytest.raises(MemoryError) as caught:
            next(results)
        assert "memory_limit" in str(caught.value.__notes__)
        assert executor.submit(len, bytes(10)).result() == 10


def test_cancelled_after_error(tmp_path):
    """After the results are closed, the waiting calls are not made."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        results = executor.map(note_and_hold, [tmp_path] * 500, range(500), chunksize="auto")
        assert next(results) == 0
        results.close()
        (tmp_path / "gate").touch()
    assert len((tmp_path / "done").read_text().split()) < 50


@pytest.mark.parametrize("options", [{}, {"buffersize": 400}, {"return_exceptions": True}], ids=str)
def test_results_before_a_slow_call(tmp_path, options):
    """The results before a call that takes long come while it runs."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        list(executor.map(abs, range(200)))
        gates = [tmp_path / "gate" if number == 350 else os.devnull for number in range(400)]
        results = executor.map(hold_until, gates, range(400), timeout=PATIENCE, **options)
        assert list(itertools.islice(results, 350)) == list(range(350))
        (tmp_path / "gate").touch()
        assert list(results) == list(range(350, 400))


def test_first_results(tmp_path):
    """A result arrives as soon as it is ready: slow calls are not put into one chunk."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(slow_until_fourth, [tmp_path / "gate"] * 9, range(9), chunksize="auto", timeout=PATIENCE)
        assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
        (tmp_path / "gate").touch()
        assert list(results) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("wait", [True, False])
def test_after_shutdown(wait):
    """Calls that were not yet sent at the shutdown are still sent, and no other task is."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.01] * 100, chunksize="auto")
    executor.shutdown(wait=wait)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    assert list(results) == [0.01] * 100
    executor.shutdown()


@pytest.mark.parametrize("wait", [True, False])
def test_map_after_shutdown(wait):
    """A pool that is shut down refuses a map."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.01] * 40, chunksize="auto")
    executor.shutdown(wait=wait)
    for buffersize in (None, 3):
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.map(nap, [0.01] * 40, chunksize="auto", buffersize=buffersize)
    assert list(results) == [0.01] * 40


@forks
@pytest.mark.asks_for_fork
def test_forked_child():
    """A forked child may shut down its copy of the pool, and sends no calls."""
    run_python(
        """
import os
from tasks import nap
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(nap, [0.02] * 60, chunksize="auto")
        pid = os.fork()
        if pid == 0:
            executor.shutdown()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert list(results) == [0.02] * 60
"""
    )


def test_cancel_after_shutdown():
    """A pool that is shut down can be shut down again, with `cancel_futures`."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.05] * 500, chunksize="auto")
    executor.shutdown(wait=False)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        list(results)


@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_end_of_the_program(tmp_path, chunksize):
    """A program that ends without a shutdown finishes its calls; a forked child does not take part."""
    run_python(
        f"""
import os, sys
from calls import note
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    executor = LowPriorityProcessPoolExecutor(2)
    executor.map(note, [sys.argv[1]] * 30, range(30), chunksize={chunksize!r})
    if hasattr(os, "fork") and os.fork() == 0:
        sys.exit()
""",
        tmp_path / "done",
    )
    assert sorted(map(int, (tmp_path / "done").read_text().split())) == list(range(30))


def test_cancel_futures():
    """A shutdown with `cancel_futures` cancels the calls that have not begun."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.05] * 100, chunksize="auto")
    assert next(results) == 0.05
    executor.shutdown(cancel_futures=True)
    with pytest.raises(CancelledError):
        list(results)


def test_cancel_futures_in_part():
    """If the rest of a chunk is not sent any more, the results end with an error, and have no gap."""
    for count in (303, 310, 316, 330):
        with LowPriorityProcessPoolExecutor(1) as executor:
            results = executor.map(sleep_longer_from_300, range(count), chunksize="auto")
            calls = next(iter(executor._maps))
            wait_until(lambda calls=calls: not calls._left)
            executor.shutdown(cancel_futures=True)
            found = []
            with contextlib.suppress(CancelledError):
                found.extend(results)
                assert len(found) == count
            assert found == list(range(len(found)))


def test_input_uses_the_executor():
    """An input may wait for results of the same executor."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        inputs = (executor.submit(abs, -number).result(PATIENCE) for number in itertools.count())
        results = executor.map(abs, inputs, chunksize="auto", buffersize=4)
        assert list(itertools.islice(results, 200)) == list(range(200))
        results.close()


def test_input_that_waits():
    """A shutdown does not ask an input for its next item."""

    def wait_for_ever():
        yield from range(9)
        raise AssertionError

    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(abs, wait_for_ever(), chunksize="auto", buffersize=8)
        assert next(results) == 0
        executor.shutdown(cancel_futures=True)


def test_broken_while_sending():
    """The pool breaks while the thread that takes the results sends more calls."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        inputs = (time.sleep(0.2 * (number > 3)) or number for number in range(100))
        with pytest.raises(BrokenProcessPool):
            list(executor.map(end_at_three, inputs, chunksize="auto", buffersize=3))


@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_broken_and_forgotten(chunksize):
    """A pool that only its results refer to can break."""
    for _ in range(5):
        with pytest.raises(BrokenProcessPool):
            list(LowPriorityProcessPoolExecutor(2).map(end_at_three, [3] * 20, chunksize=chunksize))


def test_broken():
    """A pool that breaks raises its error from the results."""
    with LowPriorityProcessPoolExecutor(2) as executor, pytest.raises(BrokenProcessPool):
        list(executor.map(os._exit, [1] * 100, chunksize="auto"))


def test_timeout(tmp_path):
    """The timeout applies to the results."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        results = executor.map(hold_until, [tmp_path / "gate"] * 3, chunksize="auto", timeout=0.1)
        with pytest.raises(TimeoutError):
            next(results)
        (tmp_path / "gate").touch()


@linux_only
def test_pool_is_forgotten():
    """After its results have been fetched, a pool is not kept by the calls of a map."""
    executor = LowPriorityProcessPoolExecutor(1)
    reference = weakref.ref(executor)
    results = executor.map(abs, range(10), chunksize="auto")
    assert list(results) == list(range(10))
    executor.shutdown()
    del executor, results
    gc.collect()
    assert reference() is None


def slow_every_400(number):
    """Take some time at every 400th number; return the number."""
    time.sleep(0.3 * (number % 400 == 0))
    return number


@pytest.mark.every_python
def test_slow_call_delays_no_other(context, tmp_path):
    """If a call is slow, the calls of its chunk that have not begun go to other workers."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        assert list(executor.map(same, range(1000))) == list(range(1000))
        results = executor.map(hold_at, [tmp_path] * 600, range(600))
        wait_until(lambda: len(list(tmp_path.iterdir())) == 599)
        (tmp_path / "go").touch()
        assert list(results) == list(range(600))
        assert list(executor.map(slow_every_400, range(2000))) == list(range(2000))


def hold_at(folder, number):
    """At 300, wait for a file; otherwise make a file; return the number."""
    if number == 300:
        return hold_until(folder / "go", number)
    (folder / str(number)).touch()
    return number


barrier = None


def set_barrier(given):
    global barrier  # noqa: PLW0603, a worker has one
    barrier = given


def wait_at_barrier(number):
    """Wait for another call, in another worker."""
    barrier.wait(PATIENCE)
    return number


@pytest.mark.every_python
@pytest.mark.parametrize(
    "options",
    [{}, {"on_crash": "retry"}, {"task_timeout": PATIENCE}, pytest.param({"memory_limit": "1 GiB"}, marks=linux_only)],
    ids=["plain", "retry", "timeout", "memory"],
)
def test_calls_that_wait_for_each_other(context, options):
    """Two calls of a map can wait for each other, although they may go in one chunk."""
    initial = (context.Barrier(2),)
    with LowPriorityProcessPoolExecutor(2, context, set_barrier, initial, **options) as executor:
        assert list(executor.map(wait_at_barrier, range(2))) == [0, 1]
        assert list(executor.map(wait_at_barrier, range(60))) == list(range(60))


def test_chunk_that_crashes_after_it_was_handed_back(tmp_path):
    """Calls that other workers have made are not repeated."""
    with LowPriorityProcessPoolExecutor(2, on_crash="retry") as executor:
        assert list(executor.map(same, range(200))) == list(range(200))
        results = list(executor.map(crash_once_at, [tmp_path] * 60, range(60)))
        assert results == list(range(60))
        counts = {int(path.name): path.stat().st_size for path in tmp_path.iterdir() if path.name.isdigit()}
        assert {number for number, count in counts.items() if count != 1} <= {30}


def crash_once_at(folder, number):
    """Note each call; at the first 30, wait until others have made the rest, and crash."""
    with open(folder / str(number), "ab") as file:
        file.write(b"x")
    if number == 30 and not (folder / "crashed").exists():
        (folder / "crashed").touch()
        time.sleep(0.3)
        os._exit(1)
    return number
