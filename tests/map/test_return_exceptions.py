"""``map(..., return_exceptions=True)``: one failure does not discard the other results."""

import os
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
from patience import PATIENCE

pytestmark = pytest.mark.every_python

CHUNKS = [1, 3, 100, "auto"]


def same(value):
    return value


def cancel_at_two(number):
    """Raise a CancelledError at 2, as from a cancelled future of the task's own."""
    if number == 2:
        raise CancelledError
    return number


def invert(number):
    return 1 / number


def fail_oddly(number):
    return threading.Lock() if number == 2 else number


def end_at(number):
    if number == 4:
        os._exit(1)
    return number


def fail_there(pid):
    if os.getpid() == pid:
        raise ValueError("not here")


def note_and_fail(path, number):
    """Append the number to a file; raise it if it is even, or else return it."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    if number % 2 == 0:
        raise LookupError(number)
    return number


class NotThere:
    """An object that a parent cannot unpickle."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return fail_there, (self.pid,)


def return_oddly(pid, number):
    time.sleep(0.01)
    return NotThere(pid) if number == 1 else number


@pytest.fixture(params=[LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])
def executor(request):
    """A pool of processes, or of threads."""
    with request.param(2) as pool:
        yield pool


@pytest.mark.parametrize("chunksize", CHUNKS)
@pytest.mark.parametrize("buffersize", [None, 2])
def test_exceptions_among_results(executor, chunksize, buffersize):
    """The exception of a call is at its place, with the worker's traceback, and the other results are there."""
    options = {"chunksize": chunksize, "buffersize": buffersize}
    results = list(executor.map(invert, [1, 0, 2, 0, 4], return_exceptions=True, **options))
    assert [type(result) for result in results] == [float, ZeroDivisionError, float, ZeroDivisionError, float]
    assert results[::2] == [1, 0.5, 0.25]
    assert len(executor.map(invert, [1, 0], return_exceptions=True, **options)) == 2
    with pytest.raises(ZeroDivisionError):
        list(executor.map(invert, [1, 0], **options))
    assert list(executor.map(invert, [], return_exceptions=True, **options)) == []


@pytest.mark.parametrize("chunksize", CHUNKS)
def test_what_cannot_be_sent(chunksize):
    """An argument or a result that cannot be pickled is the error of its call, and of no other call of its chunk."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        for fn, arguments in ((fail_oddly, range(5)), (same, [0, 1, threading.Lock(), 3, 4])):
            results = list(executor.map(fn, arguments, chunksize=chunksize, return_exceptions=True))
            assert isinstance(results.pop(2), TypeError)
            assert results == [0, 1, 3, 4]


@pytest.mark.parametrize("chunksize", CHUNKS)
def test_broken_pool(chunksize):
    """Each call that a broken pool has not made is an error."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        results = list(executor.map(end_at, range(200), chunksize=chunksize, return_exceptions=True))
    assert len(results) == 200
    errors = [result for result in results if not isinstance(result, int)]
    assert {type(error) for error in errors} == {BrokenProcessPool}


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_timeout_is_raised(executor, chunksize, tmp_path):
    """A timeout of the results is raised, and is not one of the results."""
    results = executor.map(time.sleep, [0.5] * 2, chunksize=chunksize, timeout=0.05, return_exceptions=True)
    with pytest.raises(TimeoutError):
        next(results)


def test_cancelled(tmp_path):
    """A cancelled call is a CancelledError, as in asyncio.gather."""
    with PriorityThreadPoolExecutor(1) as executor:
        begun, gate = threading.Event(), threading.Event()

        def hold(_):
            begun.set()
            return gate.wait(PATIENCE)

        results = executor.map(hold, range(3), return_exceptions=True)
        begun.wait(PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        assert [type(result) for result in results] == [bool, CancelledError, CancelledError]


@pytest.mark.parametrize("on_crash", ["break", "fail", "retry"])
def test_result_that_cannot_be_unpickled(on_crash):
    """A result that cannot be unpickled is the error of its call only; no later task gets a result of its chunk."""
    with LowPriorityProcessPoolExecutor(1, on_crash=on_crash) as executor:
        results = list(executor.map(return_oddly, [os.getpid()] * 5, range(5), chunksize=5, return_exceptions=True))
        assert "not here" in str(results.pop(1))
        assert results == [0, 2, 3, 4]
        assert [executor.submit(same, number).result(PATIENCE) for number in range(3)] == [0, 1, 2]
        assert list(executor.map(same, range(5), chunksize=5, return_exceptions=True)) == list(range(5))


@pytest.mark.parametrize("on_crash", ["break", "retry"])
@pytest.mark.parametrize("chunksize", [100, "auto"])
def test_each_call_is_made_once(on_crash, chunksize, tmp_path):
    """A call that fails changes nothing for the other calls of its chunk: they stay together, and are made once."""
    path = tmp_path / "made"
    with LowPriorityProcessPoolExecutor(1, on_crash=on_crash) as executor:
        results = list(
            executor.map(note_and_fail, [path] * 100, range(100), chunksize=chunksize, return_exceptions=True)
        )
    assert [str(each) for each in results] == [str(number) for number in range(100)]
    assert {type(each) for each in results[::2]} == {LookupError}
    assert path.read_text("ascii").split() == [str(number) for number in range(100)]


@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_cancelled_error_of_a_call(chunksize):
    """A CancelledError that a call raises is its own, and does not end the others."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        results = list(executor.map(cancel_at_two, range(20), chunksize=chunksize, return_exceptions=True))
        assert isinstance(results.pop(2), CancelledError)
        assert results == [0, 1, *range(3, 20)]
