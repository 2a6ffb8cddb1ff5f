"""The calls of a chunk share no object that may change: each has the result that it has with a pickle of its own."""

import functools
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE
from programs import run_python

pytestmark = pytest.mark.every_python

CALLS = 40
LARGE = 2**14


class Counter:
    """An object whose methods change it."""

    def __init__(self, size=0):
        self.count, self.ballast = 0, list(range(size))

    def increment(self, _=None):
        self.count += 1
        return self.count

    __call__ = increment


class Node:
    """An object that is equal to itself only."""


class Graph:
    """An object that has others."""

    def __init__(self, size):
        self.nodes, self.ballast = [Node() for _ in range(CALLS)], list(range(size))

    def rank(self, node):
        return self.nodes.index(node)


def find_rank(graph, node):
    return graph.rank(node)


def change_and_compare(mine, given):
    mine.clear()
    return not given and mine is given


def count_calls(partial):
    partial.count = getattr(partial, "count", 0) + 1
    return partial.count


def identity(value):
    return value


def nest(depth):
    nested = ()
    for _ in range(depth):
        nested = (nested,)
    return nested


def branch(depth):
    tree = (1,)
    for _ in range(depth):
        tree = (tree, tree)
    return tree


def grow(sequence):
    """Change a list, and return its length."""
    sequence.append(1)
    return len(sequence)


def fill(array):
    """Change an array, and return what it had before."""
    before = float(array.flat[0])
    array[...] = before + 1
    return before


def pop(options, _):
    """Take an item from a dict, as functions do with their options."""
    return options.pop("step"), len(options)


def grow_keyword(_, *, seen):
    """Change an argument that a partial has."""
    return grow(seen)


_buffer, _list, _reused = np.zeros(3), [0], np.zeros(50_000)


def reuse(value):
    """Return the same small array each time, with another content."""
    _buffer[:] = value
    return _buffer


def reuse_large(value):
    """Return the same large array each time, with another content."""
    _reused[:] = value
    return _reused[:1], _reused


def reuse_list(value):
    """Return a tuple with the same list each time, with another content."""
    _list[0] = value
    return value, _list


@functools.lru_cache(None)
def cached():
    """Return the same list each time."""
    return [1]


def get_cached(_):
    """Return a list that is cached in the worker."""
    return cached()


def make(kind, number, size):
    """Return a number, or an object of a kind."""
    contents = {bytes: (b"%d" % number) * size, str: str(number) * size, complex: number}
    contents[bytearray] = contents[bytes]
    return kind(contents.get(kind, zip(range(number), range(number), strict=True))) if number % 3 else number


def call_all(executor, fn, items, **options):
    """Return the results of a map as lists and numbers."""
    return [np.asarray(each).tolist() for each in executor.map(fn, items, timeout=PATIENCE, **options)]


def outcome_of(executor, fn, items, **options):
    """Return the results of a map, or its error."""
    try:
        return call_all(executor, fn, items, **options)
    except (IndexError, KeyError) as error:
        return str(error)


FUNCTIONS = {
    "list": (grow, [[0] * 3] * CALLS),
    "small array": (fill, [np.zeros(3)] * CALLS),
    "large array": (fill, [np.zeros(50_000)] * CALLS),
    "partial without arguments": (functools.partial(fill), [np.zeros(300)] * CALLS),
    "object": (Counter.increment, [Counter()] * CALLS),
    "method": (Counter().increment, range(CALLS)),
    "method of a large object": (Counter(LARGE).increment, range(CALLS)),
    "callable object": (Counter(), range(CALLS)),
    "large callable object": (Counter(LARGE), range(CALLS)),
    "partial": (functools.partial(pop, {"step": 1, "more": 2}), range(CALLS)),
    "large partial": (functools.partial(pop, {"step": 1, "more": list(range(LARGE))}), range(CALLS)),
    "keyword of a partial": (functools.partial(grow_keyword, seen=[]), range(CALLS)),
    "method of a list": ([1, 2, 3, 4].pop, [0] * CALLS),
}


@pytest.fixture
def executor():
    """Return an executor with two workers."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        yield executor


def call_with_copies(fn, item):
    """Return the result of a call, as it is in a worker of the stdlib's executor."""
    fn, item = pickle.loads(pickle.dumps((fn, item)))
    return np.asarray(fn(item)).tolist()


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"buffersize": 10}], ids=str)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_arguments(executor, kind, options):
    """No call sees what another one did to its function or its arguments."""
    fn, items = FUNCTIONS[kind]
    expected = [call_with_copies(fn, item) for item in items]
    assert call_all(executor, fn, items, **options) == expected


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_chunks_as_in_the_stdlib(executor, kind):
    """Calls of a chunk whose size is given share objects, as in the stdlib's executor."""
    fn, items = FUNCTIONS[kind]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as other:
        assert outcome_of(executor, fn, items, chunksize=5) == outcome_of(other, fn, items, chunksize=5)


@linux_only
def test_few_open_files():
    """Large arguments go in small chunks, because each of them is an open file."""
    run_python("""
import resource
import numpy as np
from nicefutures import LowPriorityProcessPoolExecutor
from tasks import same
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    arrays = [np.full(40_000, float(number)) for number in range(200)]
    with LowPriorityProcessPoolExecutor(2) as executor:
        for number, array in enumerate(executor.map(same, arrays)):
            assert array[0] == array[-1] == number
""")


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}], ids=str)
@pytest.mark.parametrize("shared", [[1], {"a": 1}], ids=str)
def test_container_in_function_and_arguments(executor, options, shared):
    """A call that changes a list of its function sees the change in its argument, if they are one list."""
    change = functools.partial(change_and_compare, shared)
    assert list(executor.map(change, [shared] * 300, **options)) == [True] * 300


def test_partial_as_an_argument(executor):
    """An argument that is a `partial` can have attributes, so calls do not share it."""
    assert {*executor.map(count_calls, [functools.partial(int, "1")] * 300)} == {1}


@pytest.mark.parametrize("make", [nest, branch])
def test_deep_tuples(executor, make):
    """Deeply nested tuples, and those that share parts, go there and back."""
    deep = make(17)
    assert list(executor.map(identity, [deep] * 200)) == [deep] * 200
    assert [each is None for each in executor.map(make, [300 if make is nest else 17] * 200)] == [False] * 200


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"chunksize": 3}], ids=str)
@pytest.mark.parametrize("ballast", [0, LARGE])
def test_objects_in_function_and_arguments(executor, options, ballast):
    """An object of the function is the same as that of an argument, also if the function is large."""
    graph = Graph(ballast)
    assert list(executor.map(graph.rank, graph.nodes, **options)) == list(range(CALLS))
    ranks = functools.partial(find_rank, graph)
    assert list(executor.map(ranks, graph.nodes, **options)) == list(range(CALLS))


@pytest.mark.parametrize("chunksize", ["auto", 5])
@pytest.mark.parametrize("fn", [reuse, reuse_list])
def test_results(executor, fn, chunksize):
    """A result has the content that it had when its call returned."""
    for value, result in enumerate(executor.map(fn, range(CALLS), chunksize=chunksize)):
        assert np.all(np.asarray(result[-1]) == value)


@pytest.mark.parametrize("size", [1, 1000, 10**6])
@pytest.mark.parametrize("kind", [bytes, bytearray, str, list, dict, tuple, complex])
def test_mixed_results(executor, kind, size):
    """Results of a chunk come in order and as they were, whether they travel together or one by one."""
    expected = [make(kind, number, size) for number in range(9)]
    assert list(executor.map(make, [kind] * 9, range(9), [size] * 9, chunksize=9)) == expected


def test_large_results(executor):
    """A large result has the content that it had when its call returned."""
    for value, (first, result) in enumerate(executor.map(reuse_large, range(CALLS), chunksize=5)):
        assert first == value
        assert np.all(result == value)


def test_equal_results(executor):
    """Two results are two objects, even if the worker returned the same one twice."""
    results = list(executor.map(get_cached, range(CALLS)))
    results[0].append(2)
    assert results[1:] == [[1]] * (CALLS - 1)
