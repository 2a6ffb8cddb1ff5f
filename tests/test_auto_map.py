"""``map(chunksize="auto")`` gives what ``chunksize=1`` gives, in the same order, and fails in the same place."""

import gc
import itertools
import operator
import os
import random
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from asking import linux_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

PATIENCE = 60


def nap(seconds):
    """Take some time."""
    time.sleep(seconds)
    return seconds


def invert(number):
    """Raise for 0."""
    return 1 / number


def note(path, number):
    """Append to a file, to be seen by the test; return the number."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    time.sleep(0.02)
    return number


@pytest.mark.parametrize("buffersize", [None, 1, 3])
def test_results(context, buffersize):
    """All results, in order."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        assert list(executor.map(abs, range(20_000), chunksize="auto", buffersize=buffersize)) == list(range(20_000))
        assert list(executor.map(pow, range(5), itertools.count(2), chunksize="auto")) == [0, 1, 16, 243, 4096]
        assert list(executor.map(abs, [], chunksize="auto")) == []
        times = [0.2 if random.Random(index).random() < 0.1 else 0.0001 for index in range(60)]
        assert list(executor.map(nap, times, chunksize="auto")) == times


def test_error():
    """An error comes at its place, after the results before it, with the worker's traceback."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(invert, [*range(5000, 0, -1), 0, 1, 2], chunksize="auto")
        assert [next(results) for _ in range(5000)] == [1 / number for number in range(5000, 0, -1)]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "in invert" in str(caught.value.__cause__)
        with pytest.raises(StopIteration):
            next(results)


def test_cancelled_after_error(tmp_path):
    """After an error, or when nobody wants the results any more, no further calls are made."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        results = executor.map(note, [tmp_path / "done"] * 500, range(500), chunksize="auto")
        assert next(results) == 0
        results.close()
    assert len((tmp_path / "done").read_text().split()) < 50


def test_first_result():
    """A result comes as soon as it is there: slow calls are not put together."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(nap, [0.2] * 6, chunksize="auto")
        began = time.monotonic()
        arrived = [(next(results), time.monotonic() - began)[1] for _ in range(6)]
    assert arrived[1] < arrived[-1] - 0.1


@pytest.mark.parametrize("wait", [True, False])
def test_after_shutdown(wait):
    """What was not yet sent when the pool ends is sent first."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.01] * 100, chunksize="auto")
    if wait:
        executor.shutdown()
        assert list(results) == [0.01] * 100
    else:
        executor.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="shutdown"):
            list(results)


def test_cancel_futures():
    """A pool that ends at once cancels what has not begun."""
    executor = LowPriorityProcessPoolExecutor(2)
    results = executor.map(nap, [0.05] * 100, chunksize="auto")
    assert next(results) == 0.05
    executor.shutdown(cancel_futures=True)
    with pytest.raises(CancelledError):
        list(results)


def test_broken():
    """A pool that breaks says so."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(os._exit, [1] * 100, chunksize="auto")
        with pytest.raises(BrokenProcessPool):
            list(results)


def test_timeout():
    """The timeout holds for the results."""
    with LowPriorityProcessPoolExecutor(1) as executor, pytest.raises(TimeoutError):
        list(executor.map(nap, [0.3] * 3, chunksize="auto", timeout=0.1))


@pytest.mark.parametrize("kind", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])
def test_size(kind):
    """Results tell how many they are, if the inputs do."""
    with kind(2) as executor:
        for options in ({}, {"chunksize": "auto"}, {"buffersize": 2}):
            results = executor.map(abs, range(10), **options)
            assert len(results) == operator.length_hint(results) == 10
            next(results)
            assert len(results) == 9
            assert list(results) == list(range(1, 10))
            assert len(results) == 0
            assert results
            endless = executor.map(abs, iter(range(3)), **options)
            assert not hasattr(endless, "__len__")
            assert list(endless) == [0, 1, 2]
        with pytest.raises(ValueError, match="'auto'"):
            executor.map(abs, [1], chunksize="many")


@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_progress_bars(chunksize):
    """Progress bars get their total."""
    tqdm, rich_progress = pytest.importorskip("tqdm"), pytest.importorskip("rich.progress")
    tqdm.tqdm.monitor_interval = 0  # no thread of its own
    with LowPriorityProcessPoolExecutor(2) as executor:
        bar = tqdm.tqdm(executor.map(abs, range(50), chunksize=chunksize), disable=True)
        assert list(bar) == list(range(50))
        with rich_progress.Progress(disable=True) as progress:
            assert list(progress.track(executor.map(abs, range(50), chunksize=chunksize))) == list(range(50))
            assert progress.tasks[0].total == 50


@linux_only
def test_pool_is_forgotten():
    """A pool whose results have been taken is not kept by what sent them."""
    executor = LowPriorityProcessPoolExecutor(1)
    reference = weakref.ref(executor)
    results = executor.map(abs, range(10), chunksize="auto")
    assert list(results) == list(range(10))
    executor.shutdown()
    del executor, results
    gc.collect()
    assert reference() is None
