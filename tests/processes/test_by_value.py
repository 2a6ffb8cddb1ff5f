"""Functions and classes that workers cannot find by name."""

import contextvars
import dataclasses
import enum
import functools
import gc
import inspect
import logging
import multiprocessing
import os
import pickle
import random
import sys
import threading
import types
import typing
import unittest.mock
from concurrent.futures.process import BrokenProcessPool

import cloudpickle
import numpy as np
import pytest

from marks import FRESH, METHODS, forks_beside_threads
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import naming
from nicefutures._processes.transport.pickling import pickle_whole
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until, same

pytestmark = pytest.mark.every_python

MB = 2**20
variable = contextvars.ContextVar("variable")


@pytest.fixture(params=["256 KiB", None], ids=["shared", "piped"])
def executor(context, request):
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=request.param) as executor:
        yield executor


def make():
    """Return a local class, a local enumeration and a local function."""

    @dataclasses.dataclass
    class Point:
        x: int
        shape: tuple = ()

        def doubled(self):
            return Point(2 * self.x, self.shape)

    class Color(enum.Enum):
        RED = 1

    def shift(point, by=1):
        return Point(point.x + by, point.shape)

    return Point, Color, shift


def test_functions(executor):
    """Lambdas, local functions, partials and decorated functions work."""
    offset = 10

    def add(number):
        return number + offset

    @functools.wraps(add)
    def decorated(number):
        return -add(number)

    assert executor.submit(lambda: offset).result(PATIENCE) == 10
    assert executor.submit(functools.partial(add, 1)).result(PATIENCE) == 11
    assert executor.submit(decorated, 1).result(PATIENCE) == -11
    assert executor.submit(sorted, [1, 3, 2], key=lambda each: -each).result(PATIENCE) == [3, 2, 1]
    for chunksize in (1, 3, "auto"):
        assert list(executor.map(add, range(20), chunksize=chunksize)) == list(range(10, 30))
    offset = 20
    assert executor.submit(add, 1).result(PATIENCE) == 21
    assert list(executor.map(add, range(3))) == [20, 21, 22]


def test_classes_come_back(executor):
    """An instance that comes back is of its own class, and that class has not changed."""
    point_class, color, shift = make()
    point_class.note = "here"
    methods = dict(vars(point_class))
    point = executor.submit(shift, point_class(1), 2).result(PATIENCE)
    assert type(point) is point_class
    assert point == point_class(3)
    assert executor.submit(point_class.doubled, point).result(PATIENCE) == point_class(6)
    assert executor.submit(point.doubled).result(PATIENCE) == point_class(6)
    assert [type(each) for each in executor.map(shift, map(point_class, range(8)), chunksize="auto")] == [
        point_class
    ] * 8
    assert executor.submit(same, color.RED).result(PATIENCE) is color.RED
    assert executor.submit(same, shift).result(PATIENCE) is shift
    assert executor.submit(same, {"class": point_class}).result(PATIENCE) == {"class": point_class}
    point_class.note = "later"
    assert executor.submit(lambda each: each.note, point).result(PATIENCE) == "later"
    assert executor.submit(same, point).result(PATIENCE).note == "later"
    assert {name: value for name, value in vars(point_class).items() if callable(value)} == {
        name: value for name, value in methods.items() if callable(value)
    }


def test_classes_of_workers(executor):
    """A class that a task defines arrives as well, as one class for all its instances."""

    def define():
        class Mine:
            def __init__(self, number):
                self.number = number

        return [Mine(number) for number in range(3)]

    found = executor.submit(define).result(PATIENCE)
    assert [each.number for each in found] == [0, 1, 2]
    assert len({type(each) for each in found}) == 1
    assert type(executor.submit(same, found[0]).result(PATIENCE)) is type(found[0])


class Equal(type):  # noqa: PLW1641
    """A metaclass whose classes compare equal and have no hash."""

    def __eq__(cls, other):
        return isinstance(other, Equal)


def test_classes_that_are_equal(executor):
    """Each task gets its own class, although the classes compare equal."""
    first, second = (Equal("Local", (), {"number": number}) for number in (1, 2))
    assert executor.submit(lambda: first.number).result(PATIENCE) == 1
    assert executor.submit(lambda: second.number).result(PATIENCE) == 2
    found = executor.submit(lambda: [second, first]).result(PATIENCE)
    assert found[0] is second
    assert found[1] is first


@functools.cache
def cached(number):
    return number


UserId = typing.NewType("UserId", int)


def singletons():
    """Yield objects that exist once in a process."""
    yield from (dataclasses.MISSING, dataclasses.KW_ONLY, dataclasses._HAS_DEFAULT_FACTORY, dataclasses._FIELD)
    yield from (inspect.Parameter.empty, typing.Any, typing.NoReturn, ..., NotImplemented, unittest.mock.sentinel.mark)
    yield from (np._NoValue, np.newaxis, np.ma.masked, np.random.mtrand._rand, random._inst, os.environ)
    yield from (sys.stdout, sys.stderr, logging.getLogger(), logging.getLogger("mine"), variable, cached, UserId)


def test_singletons_are_not_copied():
    """A singleton that goes with a function by value arrives as the same object."""
    for each in singletons():
        function = pickle.loads(pickle_whole(lambda each=each: each))
        assert function() is each


def test_files_and_views_are_refused(tmp_path):
    """An open text file and a memoryview are errors, as in the stdlib, and are not copied."""
    with open(tmp_path / "file", "w+", encoding="utf-8") as file:
        for each in (file, memoryview(b"abc")):
            for obj in (each, lambda each=each: each):
                with pytest.raises(TypeError, match="cannot pickle"):
                    pickle_whole(obj)


SESSION = """
import contextvars, functools, multiprocessing, sys, typing
from nicefutures import LowPriorityProcessPoolExecutor
executor = LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1]))
assert executor.submit(abs, -1).result() == 1  # the worker has started before what follows is defined
UserId, P = typing.NewType("UserId", int), typing.ParamSpec("P")

@functools.singledispatch
def area(x): return 0

@area.register
def _(x: list): return sum(map(area, x))

@area.register
def _(x: int): return x

@functools.lru_cache(maxsize=5, typed=True)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)

class Model:
    @functools.cached_property
    def grid(self): return [1, 2]

    @functools.lru_cache
    def times(self, n): return 2 * n

var, other = contextvars.ContextVar("var", default=3), contextvars.ContextVar("other")

def use(x: UserId, y: typing.Callable[P, int] = None): return var.get() + area(x) + fib(x) + other.get(5)

def find(): return area, var, fib

print(executor.submit(area, [1, [2, 3], 4]).result(), area([1, [2, 3], 4]))
print(executor.submit(fib, 50).result(), fib(50), executor.submit(fib.cache_parameters).result())
print(executor.submit(lambda: Model().grid + [Model().times(2)]).result(), list(executor.map(use, [1, 2])), use(2))
found = executor.submit(find).result()
print(found[0] is area, found[1] is var, found[2](7))
executor.shutdown()
"""


@pytest.mark.parametrize("method", METHODS)
def test_session(method):
    """Functions and classes of a session work, also those that cloudpickle alone does not send."""
    assert run_python(SESSION, method).splitlines() == [
        "10 10",
        "12586269025 12586269025 {'maxsize': 5, 'typed': True}",
        "[1, 2, 4] [10, 11] 11",
        "True True 13",
    ]


def test_errors_of_own_classes(executor):
    """An exception of a local class can be caught."""

    class OwnError(Exception):
        pass

    def fail():
        raise OwnError("so it is")

    with pytest.raises(OwnError, match="so it is"):
        executor.submit(fail).result(PATIENCE)
    with pytest.raises(OwnError):
        list(executor.map(lambda _: fail(), range(3)))


def test_class_defined_twice(executor):
    """Instances of two classes of the same name keep their own class."""
    first, second = make()[0], make()[0]
    found = executor.submit(same, [first(1), second(1)]).result(PATIENCE)
    assert [type(each) for each in found] == [first, second]


def test_initializer(context):
    """A local initializer works, and tasks find its argument, which is of a local class."""
    point_class, _, _ = make()

    def begin(point):
        sys.modules["begun"] = types.SimpleNamespace(point=point)

    def ask():
        return sys.modules["begun"].point

    with LowPriorityProcessPoolExecutor(1, context, initializer=begin, initargs=(point_class(5),)) as executor:
        found = executor.submit(ask).result(PATIENCE)
        assert (type(found), found.x) == (point_class, 5)


def test_initializer_that_a_worker_does_not_find(monkeypatch):
    """If `workers` is the first to notice, the next worker gets the initializer by value, as after a task."""
    module = types.ModuleType("only_here")
    exec("def begin(): pass", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    with LowPriorityProcessPoolExecutor(1, FRESH[-1], initializer=module.begin) as executor:
        pool = executor._check_out()[0].pool
        pool.under_way.begin()
        pool.prepare()  # a worker without a task
        pool.under_way.end()
        (process,) = executor._processes.values()
        process.join(PATIENCE)
        assert executor.workers() == []
        assert executor.submit(abs, -1).result(PATIENCE) == 1


# Python 3.11 warns if the main module of `python -c`, as of a worker of pytest-xdist, is in the text of an error.
@pytest.mark.filterwarnings("ignore:.*module_repr:DeprecationWarning")
@pytest.mark.parametrize("kind", [random.Random, np.random.default_rng, np.random.RandomState])
@pytest.mark.parametrize("where", ["global", "variable", "default"])
def test_random_generators(kind, where):
    """A random generator that goes with a function gives each call the same numbers, so there is one warning."""
    if where == "global":
        scope = {"__name__": "__main__", "generator": kind(0)}
        exec("def draw(): return generator.random()", scope)
        draw = scope["draw"]
    elif where == "default":
        value = kind(0)

        def draw(_=0, generator=value):
            return generator.random()

    else:
        generator = kind(0)

        def draw():
            return generator.random()

    with naming.pickling(naming.Names(None)):
        with pytest.warns(RuntimeWarning, match="draw uses the random generator 'generator'"):
            pickle_whole(draw)
        pickle_whole(draw)


class Model:
    """An object that has a random generator."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def draw(self, _):
        return self.rng.normal()

    __call__ = draw


def draw_with(generator, _):
    return generator.normal()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functools.partial(draw_with, np.random.default_rng(0)), "draw_with uses the random generator 'argument 0'"),
        (functools.partial(draw_with, generator=np.random.default_rng(0)), "draw_with uses .* 'generator'"),
        (Model().draw, "Model.draw uses .* 'rng'"),
        (Model(), "Model uses .* 'rng'"),
        (np.random.default_rng(0).normal, "normal uses .* 'self'"),
    ],
    ids=["partial", "keyword", "method", "object", "generator"],
)
def test_random_generator_of_an_object(executor, function, name):
    """The warning names the line with `map`."""
    with pytest.warns(RuntimeWarning, match=name) as told:
        executor.map(function, [])
    assert told[0].filename == __file__


def test_recursion(executor):
    """A local function may refer to itself."""

    def factorial(number):
        return number * factorial(number - 1) if number else 1

    assert executor.submit(factorial, 10).result(PATIENCE) == 3628800


def test_pool_in_a_task(context):
    """A local function can use a pool in its worker, with a local function."""

    def inner(number):
        return number + 1

    def outer(method):
        import multiprocessing

        with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
            return executor.submit(inner, 1).result()

    with LowPriorityProcessPoolExecutor(1, context) as executor:
        assert executor.submit(outer, context.get_start_method()).result(PATIENCE) == 2


class Counting:
    """An object that counts how often it is pickled."""

    count = 0

    def __getstate__(self):
        Counting.count += 1
        return {"there": True}


@pytest.mark.parametrize("kind", ["function", "partial"])
@pytest.mark.parametrize("chunksize", [1, 7, "auto"])
def test_function_of_a_map_goes_once(context, chunksize, kind):
    """An object that a function refers to is pickled once for all its calls, and exists once in each worker."""
    big = np.ones(4 * MB // 8)
    counting = Counting()

    def use(number):
        return number + big[number], counting.there, id(big)

    if kind == "partial":
        use = functools.partial(use)
    Counting.count = 0
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        results = list(executor.map(use, range(200), chunksize=chunksize))
        assert [each[0] for each in results] == list(range(1, 201))
        assert Counting.count <= 4  # and not 200
        assert len({each[2] for each in results}) <= 2
        gc.collect()
        big[:] = 5
        for _ in range(6):
            assert [each[0] for each in executor.map(use, range(3))] == [5, 6, 7]
        # Without the GIL an object may exist for a while after its last reference is gone.
        assert len(executor._pool._free[0]._has) <= 3


class State:
    """A large object with a method."""

    def __init__(self):
        self.table, self.threads = bytes(MB), []

    def __getstate__(self):
        self.threads.append(threading.current_thread())
        return {"table": self.table}

    def plus(self, number):
        return len(self.table) + number


@pytest.mark.parametrize("kind", ["method", "partial"])
def test_state_of_a_map_goes_once(kind):
    """The object of a method or a partial is pickled once for a map, and not in the caller's thread."""
    state = State()
    function = state.plus if kind == "method" else functools.partial(State.plus, state)
    with LowPriorityProcessPoolExecutor(2) as executor:
        assert list(executor.map(function, range(20), chunksize=1)) == [MB + number for number in range(20)]
    assert len(state.threads) == 1
    assert state.threads[0] is not threading.current_thread()


def base_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return type(array).__name__


def test_arrays_of_a_function_are_shared(context):
    """A large array that a function refers to goes like any other array: in one copy for all tasks."""
    big = np.ones(4 * MB // 8)

    def use(_):
        return base_of(big)

    with LowPriorityProcessPoolExecutor(2, context) as executor:
        as_argument = executor.submit(base_of, big).result(PATIENCE)
        assert executor.submit(use, 0).result(PATIENCE) == as_argument
        assert set(executor.map(use, range(4))) == {as_argument}
        with naming.pickling(naming.Names(sys.modules["__main__"])):
            packing = executor._pool.plan.packing
            assert len(packing.pack((use, (0,), {}), executor._keeping.submitted()).data) < 10_000


def test_function_of_a_map_after_a_crash(context, tmp_path):
    """A worker that replaces another one gets the function as well."""

    def use(number):
        if number == 5 and not (tmp_path / "crashed").exists():
            import os

            (tmp_path / "crashed").touch()
            os._exit(3)
        return number

    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry") as executor:
        assert list(executor.map(use, range(20))) == list(range(20))
        assert list(executor.map(use, range(20), chunksize=4)) == list(range(20))


lock = threading.Lock()


@pytest.mark.parametrize("share_min_size", ["256 KiB", None])
def test_what_cannot_travel(share_min_size):
    """The error names the object that cannot be pickled, and the function that refers to it."""
    held = {"locks": [threading.Lock()]}

    def use():
        return held

    def use_global():
        return lock

    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        for function, names in ((use, ["variable 'held'", "use"]), (use_global, ["global 'lock'", "use_global"])):
            error = executor.submit(function).exception(PATIENCE)
            assert isinstance(error, TypeError)
            assert "cannot pickle" in str(error)
            for name in names:
                assert name in str(error)
            with pytest.raises(TypeError, match="cannot pickle"):
                list(executor.map(lambda _, function=function: function(), range(2)))
        assert "argument 1" in str(executor.submit(max, 1, lock).exception(PATIENCE))
        assert executor.submit(same, 1).result(PATIENCE) == 1


def test_module_by_value(context, tmp_path, monkeypatch):
    """A module registered with cloudpickle goes by value, such as one under development that workers do not have."""
    module = types.ModuleType("developed_just_now")
    exec("FACTOR = 3\ndef times(number):\n    return FACTOR * number\nclass Thing:\n    pass\n", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    cloudpickle.register_pickle_by_value(module)
    try:
        with LowPriorityProcessPoolExecutor(1, context) as executor:
            assert executor.submit(module.times, 2).result(PATIENCE) == 6
            module.FACTOR = 4
            assert list(executor.map(module.times, range(3))) == [0, 4, 8]
            assert type(executor.submit(same, module.Thing()).result(PATIENCE)) is module.Thing
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class NotBack:
    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("not here")


def test_pickles_and_does_not_unpickle(context):
    """An object that cannot be unpickled is an error of its task, and the pool continues."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        thing = NotBack()
        for error in (
            executor.submit(lambda: thing).exception(PATIENCE),
            executor.submit(same, NotBack()).exception(PATIENCE),
        ):
            assert isinstance(error, BrokenProcessPool)
            assert "not here" in str(error)
        with pytest.raises(BrokenProcessPool, match="not here"):
            list(executor.map(lambda _: thing, range(3)))
        assert list(executor.map(lambda each: each, range(3))) == [0, 1, 2]


class Mistaken:
    """Its unpickling raises the error that the import of a missing name raises."""

    def __setstate__(self, state):
        np.no_such_name  # noqa: B018

    def __getstate__(self):
        return {"some": "state"}


def test_error_about_a_name_that_nothing_has(context):
    """An error of the user's code is not taken for a name that workers lack: NumPy still goes by name."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        assert "no_such_name" in str(executor.submit(type, Mistaken()).exception(PATIENCE))
        assert executor.submit(np.sum, np.ones(5000)).result(PATIENCE) == 5000


def test_import_is_light():
    """The package cloudpickle is imported only when it is needed."""
    run_python("import sys, nicefutures; assert 'cloudpickle' not in sys.modules")
    code = """
import sys
from nicefutures import LowPriorityProcessPoolExecutor
from tasks import same
def loaded(): return "cloudpickle" in sys.modules
if __name__ == "__main__":
    import multiprocessing
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) as executor:
        assert executor.submit(same, 1).result() == 1
        assert list(executor.map(same, range(3))) == [0, 1, 2]
    assert 'cloudpickle' not in sys.modules
"""
    run_python(code, "fork") if sys.platform == "linux" else run_python(code, "spawn")


def test_pickle_of_a_function_is_the_stdlibs():
    """A function that can be found by name goes by name."""
    from nicefutures._processes.transport.pickling import pickle_plain

    assert pickle_plain((same, (1,), {})) == pickle.dumps((same, (1,), {}), pickle.HIGHEST_PROTOCOL)


def test_function_of_many_submits(context, tmp_path):
    """Tasks that wait share one pickle of their function; tasks that are submitted later get its changes."""
    counting = Counting()
    factor = 1

    def use(number):
        assert counting.there
        return factor * number

    Counting.count = 0
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        for _ in range(2):
            executor.submit(hold_until, tmp_path / "gate")
        first = [executor.submit(use, number) for number in range(300)]
        (tmp_path / "gate").touch()
        assert [each.result(PATIENCE) for each in first] == list(range(300))
        assert Counting.count <= 4
        factor = 2
        then = [executor.submit(use, number) for number in range(300)]
        assert [each.result(PATIENCE) for each in then] == list(range(0, 600, 2))
        wait_until(lambda: not executor._keeping._kept)  # the last task ends in a moment


def test_function_that_changes_meanwhile(context):
    """A task never gets a state from before its submission."""
    state = {"version": 0}

    def use(version):
        return state["version"] >= version

    with LowPriorityProcessPoolExecutor(2, context) as executor:
        futures = []
        for version in range(400):
            state["version"] = version
            futures.append(executor.submit(use, version))
        assert all(future.result(PATIENCE) for future in futures)


@forks_beside_threads
@pytest.mark.asks_for_fork
def test_fork_while_others_pickle():
    """A worker that is forked while another thread pickles has none of that thread's locks."""

    class Item:
        pass

    def use(item):
        return type(item).__name__

    over = threading.Event()

    def pickle_all_the_time():
        with naming.pickling(naming.Names(sys.modules["__main__"])):
            while not over.is_set():
                pickle_whole(type("Item", (), {}))

    thread = threading.Thread(target=pickle_all_the_time)
    thread.start()
    try:
        for _ in range(3):
            with LowPriorityProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
                assert list(executor.map(use, [Item(), Item()])) == ["Item"] * 2
    finally:
        over.set()
        thread.join()


FORK_WITHIN_A_START = """
import multiprocessing, os, sys, threading
from nicefutures import LowPriorityProcessPoolExecutor

class Arguments(list):
    def __reduce__(self):  # in the middle of the start of a worker, to which they go
        thread = threading.Thread(target=fork, daemon=True)
        thread.start()
        thread.join(10)
        print(not thread.is_alive())
        return list, (list(self),)

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

sys.argv = Arguments(sys.argv)
with LowPriorityProcessPoolExecutor(1, {method!r}) as executor:
    print(executor.submit(abs, -1).result())
"""


@forks_beside_threads
@pytest.mark.parametrize("method", FRESH)
def test_fork_while_a_worker_starts(method):
    """The start of a worker, with or without the main module, holds no lock that a fork waits for."""
    assert run_python(FORK_WITHIN_A_START.format(method=method)).split() == ["True", "1"]
