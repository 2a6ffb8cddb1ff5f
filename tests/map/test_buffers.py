"""``map(buffersize=)`` takes no more arguments than it needs."""

import collections
import contextlib
import gc
import itertools
import os
import threading
from concurrent.futures import CancelledError

import pytest

from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
from nicefutures._map.ordered import Done, OrderedMap
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until, identify, same

pytestmark = pytest.mark.every_python


@pytest.fixture(params=[LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor], ids=["process", "thread"])
def pool(request):
    with request.param(2) as executor:
        yield executor


@pytest.mark.parametrize("buffersize", [1, 3, 100])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_with_buffer(pool, buffersize, chunksize):
    """The results are those of `map`, in order, with any buffer."""
    results = pool.map(pow, range(20), itertools.repeat(2), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [n * n for n in range(20)]


@pytest.mark.parametrize("base", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])
@pytest.mark.parametrize("options", [{}, {"chunksize": 2}, {"buffersize": 2}], ids=str)
def test_map_calls_submit_of_a_subclass(base, options):
    """`map` makes its calls with the `submit` of a subclass, as in the standard library."""

    class Squaring(base):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(pow, fn(*args, **kwargs), 2)

    with Squaring(2) as executor:
        assert list(executor.map(abs, [-1, 2, -3], **options)) == [1, 4, 9]


def test_map_takes_what_it_needs(pool):
    """Arguments are taken only as results are fetched, so the iterable may be endless."""
    numbers = itertools.count()
    results = pool.map(abs, numbers, buffersize=4)
    assert next(numbers) == 4
    assert next(results) == 0
    assert next(numbers) == 6
    results.close()


@pytest.mark.parametrize("options", [{"buffersize": 40}, {"buffersize": 4, "chunksize": 10}], ids=str)
def test_inputs_read_ahead(options):
    """No more inputs than the buffer holds are read ahead, also if calls go together."""
    read = []

    def numbers():
        for number in range(2000):
            read.append(number)
            yield number

    with LowPriorityProcessPoolExecutor(2) as executor:
        for value in executor.map(abs, numbers(), **options):
            assert read[-1] - value <= 40 + 9 * ("chunksize" in options)


def read_until_shutdown(results):
    with contextlib.suppress(RuntimeError, CancelledError):
        collections.deque(results, 0)


def test_endless_map_beside_other_tasks():
    """Other tasks, and another map with a buffer, have their turns beside an endless one."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        endless = executor.map(identify, itertools.repeat(0.005), buffersize=16)
        reader = threading.Thread(target=read_until_shutdown, args=(endless,))
        reader.start()
        try:
            assert executor.submit(same, 1).result(PATIENCE) == 1
            assert list(executor.map(same, range(10), buffersize=2, timeout=PATIENCE)) == list(range(10))
            assert executor._pool.mapping.count <= 4
        finally:
            executor.shutdown(cancel_futures=True)
            reader.join(PATIENCE)


def test_thread_that_fails(monkeypatch):
    """If a thread of the pool fails between an answer and its result, the results have the error, and do not wait."""
    monkeypatch.setattr(OrderedMap, "_split", lambda *_: {}["no memory"])
    with LowPriorityProcessPoolExecutor(1) as executor, pytest.raises(KeyError, match="no memory"):
        list(executor.map(same, range(3), timeout=PATIENCE))


def test_map_with_buffer_fails(pool):
    """An exception is raised at the place of its result."""
    results = pool.map(divmod, [1, 1, 1], [1, 0, 1], buffersize=2)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_with_buffer_times_out(pool, tmp_path):
    """A timeout applies to the whole map."""
    with pytest.raises(TimeoutError):
        list(pool.map(hold_until, [tmp_path, tmp_path / "gate"], timeout=0.1, buffersize=1))
    (tmp_path / "gate").touch()


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("2", TypeError)])
def test_wrong_buffer(pool, wrong, error):
    """A buffer that holds nothing is refused at the call."""
    with pytest.raises(error, match="buffersize"):
        pool.map(abs, [1], buffersize=wrong)


def test_wrong_chunk():
    """An empty chunk is refused."""
    with LowPriorityProcessPoolExecutor(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0, buffersize=1)


@pytest.mark.parametrize("chunksize", [0, 2.5, None])
def test_threads_have_no_chunks(chunksize):
    """A thread pool accepts any chunk size, as in the standard library, for example a number of items per worker."""
    with PriorityThreadPoolExecutor(1) as executor:
        assert list(executor.map(abs, [-1, 2], chunksize=chunksize)) == [1, 2]


@pytest.mark.parametrize("buffersize", [None, 2])
def test_ended_inputs(pool, buffersize):
    """An iterable that has ended is not asked again, so the others lose only the item that `zip` takes."""
    numbers = itertools.count()
    assert list(pool.map(pow, numbers, [2, 2, 2], chunksize=1, buffersize=buffersize)) == [0, 1, 4]
    assert next(numbers) == 4


@pytest.mark.parametrize(
    "make", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor], ids=["process", "thread"]
)
def test_executor_ends_before_the_results(make):
    """Results of submitted calls still come when the executor is gone, and no more arguments are taken."""
    numbers = iter(range(10))
    with make(1) as executor:
        results = executor.map(abs, numbers, buffersize=3)
    del executor
    gc.collect()
    assert list(results) == [0, 1, 2]
    assert next(numbers) == 3


def test_array_that_is_filled_again(context):
    """Each call gets its input as it was when it was read, also if an array is used again for a later one."""
    np = pytest.importorskip("numpy")
    ring = [np.zeros(50_000) for _ in range(8)]

    def fill():
        for number in range(32):
            ring[number % 8][:] = number
            yield ring[number % 8]

    with LowPriorityProcessPoolExecutor(2, context) as executor:
        for chunksize in (1, "auto"):
            assert list(executor.map(np.max, fill(), buffersize=4, chunksize=chunksize)) == list(range(32))


def test_later_inputs_are_of_later_submissions():
    """A map with a buffer numbers its chunks as it reads them, so no copy of an earlier input is used again."""
    count = itertools.count(1)
    calls = OrderedMap(([10, 20, 30],), 1, size=1, buffersize=1, return_exceptions=False, number=count.__next__)
    calls.begin(lambda: id)
    results, numbers = calls.results(None), []
    for expected in (10, 20, 30):
        chunk = calls.take()
        numbers.append(chunk.number)
        calls.finish(chunk, Done([chunk.calls[0][0]]))
        assert next(results) == expected
    assert numbers == sorted(set(numbers))


def test_buffer_of_chunks_that_fail(pool):
    """A call that raises splits its chunk; no more inputs are read ahead for that."""
    exponents = itertools.count(-1, -1)
    results = pool.map(pow, itertools.repeat(0), exponents, chunksize=10, buffersize=2, return_exceptions=True)
    for _ in range(100):
        assert isinstance(next(results), ZeroDivisionError)
    assert next(exponents) >= -140
    results.close()


@pytest.mark.parametrize("buffersize", [None, 3])
def test_close_before_the_first_result(pool, buffersize, tmp_path):
    """Closing the results cancels the calls that have not begun; dropping results that were never read does not."""
    running = [pool.submit(hold_until, tmp_path / "gate") for _ in range(2)]
    closed = pool.map(os.mkdir, [tmp_path / f"closed{number}" for number in range(3)], buffersize=buffersize)
    closed.close()
    pool.map(os.mkdir, [tmp_path / f"dropped{number}" for number in range(3)], buffersize=buffersize)
    (tmp_path / "gate").touch()
    wait_until((tmp_path / "dropped2").exists)
    assert [future.result() for future in running] == [None, None]
    assert not list(tmp_path.glob("closed*"))


@linux_only
def test_results_do_not_pile_up():
    """The parent's memory does not grow with the number of large results."""
    printed = run_python("""
import psutil
from nicefutures import *
import using
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = executor.map(using.as_bytes, [10**6] * 1000, buffersize=8)
        sizes = []
        for result in results:
            assert len(result) == 10**6
            sizes.append(psutil.Process().memory_info().rss)
        print(max(sizes) - min(sizes))
""")
    assert int(printed) < 200e6  # of 1000 MB in total
