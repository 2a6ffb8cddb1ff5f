"""``map(buffersize=)`` takes no more arguments than it has to."""

import gc
import itertools

import pytest

from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
from programs import run_python
from tasks import hold_until

pytestmark = pytest.mark.every_python


@pytest.fixture(params=[LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor], ids=["process", "thread"])
def pool(request):
    with request.param(2) as executor:
        yield executor


@pytest.mark.parametrize("buffersize", [1, 3, 100])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_with_buffer(pool, buffersize, chunksize):
    """Results are those of map, in order, whatever the buffer."""
    results = pool.map(pow, range(20), itertools.repeat(2), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [n * n for n in range(20)]


def test_map_takes_what_it_needs(pool):
    """Arguments are taken as results are: an endless iterable will do."""
    numbers = itertools.count()
    results = pool.map(abs, numbers, buffersize=4)
    assert next(numbers) == 4
    assert next(results) == 0
    assert next(numbers) == 6
    results.close()


def test_map_with_buffer_fails(pool):
    """An exception comes where its result would have come."""
    results = pool.map(divmod, [1, 1, 1], [1, 0, 1], buffersize=2)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_with_buffer_times_out(pool, tmp_path):
    """A timeout holds for the whole of it."""
    with pytest.raises(TimeoutError):
        list(pool.map(hold_until, [tmp_path, tmp_path / "gate"], timeout=0.1, buffersize=1))
    (tmp_path / "gate").touch()


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("2", TypeError)])
def test_wrong_buffer(pool, wrong, error):
    """A buffer that holds nothing is refused at the call."""
    with pytest.raises(error, match="buffersize"):
        pool.map(abs, [1], buffersize=wrong)


def test_wrong_chunk():
    """And so is a chunk of nothing."""
    with LowPriorityProcessPoolExecutor(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0, buffersize=1)


@pytest.mark.parametrize(
    "make", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor], ids=["process", "thread"]
)
def test_executor_ends_before_the_results(make):
    """What was submitted is still yielded when the executor is gone, and nothing else is taken."""
    numbers = iter(range(10))
    with make(1) as executor:
        results = executor.map(abs, numbers, buffersize=3)
    del executor
    gc.collect()
    assert list(results) == [0, 1, 2]
    assert next(numbers) == 3


@linux_only
def test_results_do_not_pile_up():
    """The parent's memory stays flat while large results come by."""
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
    assert int(printed) < 200e6  # of a thousand
