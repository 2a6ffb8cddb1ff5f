"""Functions and classes that workers cannot find by their names."""

import dataclasses
import enum
import functools
import gc
import multiprocessing
import pickle
import sys
import threading
import types
from concurrent.futures.process import BrokenProcessPool

import cloudpickle
import numpy as np
import pytest

from handing_over import same
from marks import forks_beside_threads
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import naming
from nicefutures._processes.transport.pickling import pickle_whole
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until

pytestmark = pytest.mark.every_python

MB = 2**20


@pytest.fixture(params=["256 KiB", None], ids=["shared", "piped"])
def executor(context, request):
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=request.param) as executor:
        yield executor


def make():
    """Return a class and functions that are local ones."""

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
    """Lambdas, local functions, their partials, methods and decorators."""
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
    """An instance that comes back is of the class that it was of, and that is as it was."""
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
    """What is defined in a worker comes as well, and is one class for all that have it."""

    def define():
        class Mine:
            def __init__(self, number):
                self.number = number

        return [Mine(number) for number in range(3)]

    found = executor.submit(define).result(PATIENCE)
    assert [each.number for each in found] == [0, 1, 2]
    assert len({type(each) for each in found}) == 1
    assert type(executor.submit(same, found[0]).result(PATIENCE)) is type(found[0])


def test_errors_of_own_classes(executor):
    """An exception class of that kind can be caught."""

    class OwnError(Exception):
        pass

    def fail():
        raise OwnError("so it is")

    with pytest.raises(OwnError, match="so it is"):
        executor.submit(fail).result(PATIENCE)
    with pytest.raises(OwnError):
        list(executor.map(lambda _: fail(), range(3)))


def test_class_defined_twice(executor):
    """Each instance is of its own class."""
    first, second = make()[0], make()[0]
    found = executor.submit(same, [first(1), second(1)]).result(PATIENCE)
    assert [type(each) for each in found] == [first, second]


def test_initializer(context):
    """A local one, that lets the tasks find something of a local class."""
    point_class, _, _ = make()

    def begin(point):
        sys.modules["begun"] = types.SimpleNamespace(point=point)

    def ask():
        return sys.modules["begun"].point

    with LowPriorityProcessPoolExecutor(1, context, initializer=begin, initargs=(point_class(5),)) as executor:
        found = executor.submit(ask).result(PATIENCE)
        assert (type(found), found.x) == (point_class, 5)


def test_recursion(executor):
    """A local function may refer to itself."""

    def factorial(number):
        return number * factorial(number - 1) if number else 1

    assert executor.submit(factorial, 10).result(PATIENCE) == 3628800


def test_pool_in_a_task(context):
    """A local function of a local function, in a pool of the worker's own."""

    def inner(number):
        return number + 1

    def outer(method):
        import multiprocessing

        with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
            return executor.submit(inner, 1).result()

    with LowPriorityProcessPoolExecutor(1, context) as executor:
        assert executor.submit(outer, context.get_start_method()).result(PATIENCE) == 2


class Counting:
    """Counts how often it is pickled."""

    count = 0

    def __getstate__(self):
        Counting.count += 1
        return {"there": True}


@pytest.mark.parametrize("chunksize", [1, 7, "auto"])
def test_function_of_a_map_goes_once(context, chunksize):
    """What a function refers to is pickled once for all its calls, and is one in each worker."""
    big = np.ones(4 * MB // 8)
    counting = Counting()

    def use(number):
        return number + big[number], counting.there, id(big)

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
        # Without the GIL an object may be there for a while after the last reference to it has gone.
        assert len(executor._pool._free[0]._has) <= 3


def base_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return type(array).__name__


def test_arrays_of_a_function_are_shared(context):
    """What is large among what a function refers to goes as any other array does: in a copy for all tasks."""
    big = np.ones(4 * MB // 8)

    def use(_):
        return base_of(big)

    with LowPriorityProcessPoolExecutor(2, context) as executor:
        as_argument = executor.submit(base_of, big).result(PATIENCE)
        assert executor.submit(use, 0).result(PATIENCE) == as_argument
        assert set(executor.map(use, range(4))) == {as_argument}
        with naming.pickling(is_main_known=True):
            packing = executor._pool.plan.packing
            assert len(packing.pack((use, (0,), {}), executor._keeping.submitted()).data) < 10_000


def test_function_of_a_map_after_a_crash(context, tmp_path):
    """A worker that takes another's place gets it as well."""

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
    """The error says what it is, and what refers to it."""
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
    """What is registered with cloudpickle goes by value: a module under development, that workers have not."""
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
    """The task has the error, and the pool goes on."""
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


def test_import_is_light():
    """The library for it is imported by who needs it."""
    run_python("import sys, nicefutures; assert 'cloudpickle' not in sys.modules")
    code = """
import sys
from nicefutures import LowPriorityProcessPoolExecutor
from handing_over import same
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
    """What can be found by its name goes by its name."""
    from nicefutures._processes.transport.pickling import pickle_plain

    assert pickle_plain((same, (1,), {})) == pickle.dumps((same, (1,), {}), pickle.HIGHEST_PROTOCOL)


def test_function_of_many_submits(context, tmp_path):
    """Those that wait have it from one pickle, and what has changed since counts for those that come after."""
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
        wait_until(lambda: not executor._keeping._kept)  # the last one is done in a moment


def test_function_that_changes_meanwhile(context):
    """A task never has what was before it was submitted."""
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
def test_fork_while_others_pickle():
    """A worker that is forked meanwhile has no lock that another thread held."""

    class Item:
        pass

    def use(item):
        return type(item).__name__

    over = threading.Event()

    def pickle_all_the_time():
        with naming.pickling(is_main_known=True):
            while not over.is_set():
                pickle_whole(type("Item", (), {}))

    threads = [threading.Thread(target=pickle_all_the_time) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            with LowPriorityProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
                assert list(executor.map(use, [Item(), Item()])) == ["Item"] * 2
    finally:
        over.set()
        for thread in threads:
            thread.join()
