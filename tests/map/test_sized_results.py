"""The results of `map` have a length."""

import operator

import pytest

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

pytestmark = pytest.mark.every_python


@pytest.mark.parametrize("kind", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])
def test_size(kind):
    """The results have a length if the inputs have one."""
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
def test_size_of_strange_inputs(chunksize):
    """Inputs that are used up, or whose length is too large, unknown or too small, work."""

    class Strange(list):
        def __len__(self):
            raise RuntimeError

    class Less(list):
        def __len__(self):
            return 1

    with LowPriorityProcessPoolExecutor(1) as executor, PriorityThreadPoolExecutor(1) as threads:
        for each in (executor, threads):
            results = each.map(abs, each.map(abs, range(5), chunksize=chunksize), chunksize=chunksize)
            assert next(results) == 0
            assert list(results) == [1, 2, 3, 4]
            assert list(each.map(pow, [1, 2, 3], range(10**30), chunksize=chunksize)) == [1, 2, 9]
            assert list(each.map(abs, Strange([1, 2]), chunksize=chunksize)) == [1, 2]
            results = each.map(abs, Less([1, 2]), chunksize=chunksize)
            assert (len(results), next(results), next(results), len(results)) == (1, 1, 2, 0)


@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_progress_bars(chunksize):
    """Progress bars get the total."""
    tqdm, rich_progress = pytest.importorskip("tqdm"), pytest.importorskip("rich.progress")
    tqdm.tqdm.monitor_interval = 0  # no thread of its own
    with LowPriorityProcessPoolExecutor(2) as executor:
        bar = tqdm.tqdm(executor.map(abs, range(50), chunksize=chunksize), disable=True)
        assert list(bar) == list(range(50))
        with rich_progress.Progress(disable=True) as progress:
            assert list(progress.track(executor.map(abs, range(50), chunksize=chunksize))) == list(range(50))
            assert progress.tasks[0].total == 50
