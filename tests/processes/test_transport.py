"""Large buffers arrive as pickle delivers them, and are private copies."""

import contextlib
import copyreg
import dataclasses
import functools
import math
import multiprocessing
import os
import pickle
import random
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler

import pytest

from marks import METHODS, SPARE, linux_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes.transport.pickling import find_nothing, is_plain, pickle_buffers, pickle_plain
from nicefutures._system import backend
from patience import PATIENCE
from programs import run_python

np = pytest.importorskip("numpy")
pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from handing_over import (  # noqa: E402
    MARK,
    ArrayError,
    fail,
    first_of,
    length,
    mapped,
    mapped_and,
    proportional,
    same,
    total,
    write,
)

pytestmark = [
    pytest.mark.skipif(backend.sharing.find_shared_memory() is None, reason="nothing is shared on this system"),
    pytest.mark.every_python,
]

MB = 2**20


@dataclasses.dataclass
class Holder:
    """An object with an array."""

    array: object
    name: str


def describe(value):  # noqa: PLR0911
    """Return all properties of a value that must be the same: its content bit for bit, and NumPy's attributes."""
    if isinstance(value, np.ma.MaskedArray):
        return type(value), describe(value.data), describe(np.ma.getmaskarray(value)), repr(value.fill_value)
    if isinstance(value, np.ndarray):
        flags = value.flags
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return type(value), value.dtype, value.shape, flags.c_contiguous, flags.f_contiguous, flags.writeable, content
    if isinstance(value, dict):
        return {key: describe(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [describe(each) for each in value]
    if isinstance(value, Holder):
        return Holder, describe(value.array), value.name
    if isinstance(value, functools.partial):
        return describe(value.args)
    return type(value), value


# --- values that arrive

DTYPES = [
    "f8",
    ">i4",
    "?",
    "c16",
    "u1",
    "U3",
    "S5",
    "M8[s]",
    "m8[ns]",
    "O",
    "V7",
    "i4,f8",
    [("x", "f4", (2, 3)), ("y", "U2")],
]


def reorder(array, how):  # noqa: PLR0911
    """Return the array in another layout."""
    if how == "F":
        return np.asfortranarray(array)
    if how == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array
    if how == "backwards":
        return array[::-1] if array.ndim else array
    if how == "permuted":
        return array.transpose(np.random.default_rng(array.size).permutation(array.ndim))
    if how == "broadcast":
        array = np.broadcast_to(array, (2, *array.shape))
        # A contiguous one, without elements, is like any read-only array: `test_read_only`.
        return array.copy() if array.flags.forc else array
    if how == "masked" and array.dtype.kind in "fiu":
        return np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) % 2 == 0, fill_value=9)
    if how == "matrix" and array.ndim == 2:
        return array.view(np.matrix)
    if how == "recarray" and array.dtype.names:
        return array.view(np.recarray)
    return array


@st.composite
def arrays(draw):
    """Arrays of all kinds."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.hasobject:
        array = np.array([str(index) for index in range(int(np.prod(shape)))], object).reshape(shape)
    elif dtype.kind in "US" or dtype.names:
        array = np.arange(int(np.prod(shape))).astype("i2").astype("U2" if dtype.names else dtype).reshape(shape)
        array = np.zeros(shape, dtype) if dtype.names else array.astype(dtype)
    else:
        array = np.frombuffer(random.Random(size).randbytes(size), "u1").view(dtype).reshape(shape).copy()
    return reorder(
        array,
        draw(
            st.sampled_from(["C", "F", "strided", "backwards", "permuted", "broadcast", "masked", "matrix", "recarray"])
        ),
    )


def nested(children):
    """Lists, dicts and other containers of `children`."""
    return (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=3), children, max_size=3)
        | st.builds(Holder, children, st.text(max_size=3))
        | st.builds(lambda each: (each, each), children)
        | st.builds(lambda each: functools.partial(same, each), children)
    )


SCALARS = [np.float64(0.1), np.float32(0.1), np.longdouble(0.1), np.int64(5), np.bool_(1), np.complex128(1j)]
SCALARS += [np.str_("a"), np.datetime64(5, "s"), np.zeros(2, "i4,f8")[0]]

values = st.recursive(
    arrays() | st.sampled_from(SCALARS) | st.binary() | st.builds(bytearray, st.binary()) | st.integers() | st.text(),
    nested,
    max_leaves=4,
)


@pytest.mark.parametrize("limit", [1, "256 KiB"])
def test_equal_to_pickle(limit):
    """A value that goes there and back is the same as from the standard library's pool, flags included."""
    with LowPriorityProcessPoolExecutor(2, share_min_size=limit) as executor:

        @settings(max_examples=70, deadline=None, suppress_health_check=list(HealthCheck))
        @given(values)
        def check(value):
            expected = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(value, 5)), 5))
            assert describe(executor.submit(same, value).result(PATIENCE)) == describe(expected)

        check()


@pytest.mark.parametrize(
    ("method", "limit"),
    [
        *(pytest.param(method, "256 KiB", marks=[thorough] * (method == SPARE)) for method in METHODS),
        *((METHODS[0], each) for each in (1, "1 GB", None)),
    ],
)
def test_large(method, limit):
    """Large values of all kinds arrive, under all start methods and limits."""
    context = multiprocessing.get_context(method)
    array = np.arange(200_000.0)
    kinds = [array, array[::2], array.reshape(400, 500).T, array.astype("M8[s]"), np.ma.masked_array(array, array > 5)]
    kinds += [bytes(MB), bytearray(MB), "é" * MB, list(range(300_000)), {"a": [array, array]}, array.view(np.matrix)]
    kinds += [np.array([str(index) for index in range(50_000)], object), array.reshape(20, 100, 100).transpose(1, 0, 2)]
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=limit) as executor:
        for kind, result in zip(kinds, executor.map(same, kinds), strict=True):
            assert describe(result) == describe(pickle.loads(pickle.dumps(kind, 5)))
        result = executor.submit(same, {"a": [array, array]}).result()
        assert result["a"][0] is result["a"][1]


def test_plain():
    """Small values arrive, and so do values that only look small."""
    itself = [1]
    itself.append(itself)
    deep = functools.reduce(lambda inner, _: (inner,), range(50), bytes(MB))
    kinds = [1, None, True, "text", b"", (), [], [1, "a", (2.5, None)], len, dict, same, functools.partial(same, 5)]
    kinds += [functools.partial(dict, a=1), deep, [deep, itself], ("é" * MB, 1), [bytes(MB)], list(range(1000))]
    with LowPriorityProcessPoolExecutor(1) as executor:
        for kind, result in zip(kinds, executor.map(same, kinds), strict=True):
            assert pickle.dumps(result) == pickle.dumps(pickle.loads(pickle.dumps(kind)))
        result = executor.submit(same, itself).result()
        assert result[1] is result
        assert executor.submit(dict, [("a", bytes(MB))], b=2).result() == {"a": bytes(MB), "b": 2}
        assert executor.submit(functools.partial(divmod, 7), 2).result() == (3, 1)


@pytest.mark.parametrize("size", [10, 5000, 100_000])
@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_read_only(size, share_min_size):
    """A read-only array arrives writable, in its order, as with the protocol of the stdlib up to Python 3.13."""
    array = np.asfortranarray(np.zeros((size // 2, 2)))
    array.flags.writeable = False
    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        assert executor.submit(write, array).result()[0] == 0
        result = executor.submit(same, array).result()
    assert result.flags.f_contiguous
    result[0] = 1


def test_masked_read_only():
    """A masked array of read-only data arrives as its own pickle does: writable."""
    array = np.zeros(MB)
    array.flags.writeable = False
    masked = np.ma.masked_array(array, mask=False)
    with LowPriorityProcessPoolExecutor(1) as executor:
        assert executor.submit(write, masked).result() == (0, -1, pickle.loads(pickle.dumps(masked)).flags.writeable)


def test_memmap(tmp_path):
    """A memory-mapped file arrives as an array in memory, as with pickle."""
    np.save(tmp_path / "a.npy", np.arange(100_000.0))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    with LowPriorityProcessPoolExecutor(1) as executor:
        result = executor.submit(same, array).result()
    assert type(result) is np.memmap
    assert np.array_equal(result, array)
    result[0] = 5
    assert array[0] == 0


def test_sparse():
    """SciPy's sparse matrices arrive, and are writable."""
    scipy_sparse = pytest.importorskip("scipy.sparse")
    matrix = scipy_sparse.random_array((2000, 2000), density=0.05, rng=1).tocsr()
    with LowPriorityProcessPoolExecutor(1) as executor:
        result = executor.submit(same, matrix).result()
    assert (result != matrix).nnz == 0
    result.data[0] = 5


def test_exception():
    """An array in an exception arrives like one in a result, and the exception is unchanged."""
    array = np.arange(100_000.0)
    with LowPriorityProcessPoolExecutor(1) as ours, ProcessPoolExecutor(1) as theirs:
        error, expected = ours.submit(fail, array).exception(), theirs.submit(fail, array).exception()
    assert type(error) is type(expected) is ArrayError
    assert np.array_equal(error.args[0], array)
    assert error.args[1]["again"] is error.args[0]
    assert error.__dict__ == expected.__dict__
    assert "in fail" in str(error.__cause__)
    assert "ArrayError" in str(error.__cause__)


# --- private copies


def test_private(context):
    """No other task sees what a task writes to its array, or the caller to a result."""
    array = np.zeros(100_000)
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        assert list(executor.map(write, [array] * 6)) == [(0.0, -1.0, True)] * 6
        assert not array.any()
        first, second = executor.map(same, [array] * 2)
        first[:] = 1
        assert not second.any()
        assert not executor.submit(same, array).result().any()


def test_later_changes():
    """A task gets the content that its argument had at its submission or later, never before."""
    array = np.zeros(100_000)
    with LowPriorityProcessPoolExecutor(2) as executor:
        for value in range(50):
            array[:] = value
            assert executor.submit(total, array).result() == value * array.size
        # Many tasks wait to be sent when the array changes: each gets the old content or the new.
        array[:] = 0
        futures = [executor.submit(total, array) for _ in range(20)]
        [future.result() for future in futures]
        array[:] = 1
        assert executor.submit(total, array).result() == array.size


class Waits:
    """An object that waits for permission while it is pickled."""

    def __init__(self):
        self.begun, self.may = threading.Event(), threading.Event()

    def __reduce__(self):
        self.begun.set()
        assert self.may.wait(PATIENCE)
        return int, ()


def test_changes_between():
    """A task that is submitted after a change gets it, even while an older task with a copy of the array is pickled."""
    array, waits = np.zeros(400_000)[::2], Waits()
    with LowPriorityProcessPoolExecutor(1) as executor:
        before = executor.submit(first_of, array, waits)
        assert waits.begun.wait(PATIENCE)
        array[:] = 7
        after = executor.submit(first_of, array)
        waits.may.set()
        assert before.result() in (0, 7)
        assert after.result() == 7


@pytest.mark.parametrize("size", [10, MB, 20 * MB])
def test_resized(size):
    """The size of a bytearray may change while its task is under way."""
    content, waits = bytearray(size), Waits()
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(length, content, waits)
        assert waits.begun.wait(PATIENCE)
        content.extend(b"x" * 1000)
        waits.may.set()
        assert future.result() in (size, size + 1000)
        future = executor.submit(length, content)
        while not future.done():
            content.append(1)
        assert size + 1000 <= future.result() <= len(content)


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="the stdlib cannot do this without GIL")
def test_dict_that_is_filled():
    """A dict that another thread keeps filling can be pickled, as with the stdlib: no other thread runs meanwhile."""
    state = dict.fromkeys(range(10_000), 1)
    ends = threading.Event()

    def fill():
        while not ends.is_set():
            state[len(state)] = 1
            time.sleep(0)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=fill)
    thread.start()
    try:
        sizes = [len(pickle_buffers(state, MB // 4, find_nothing)) for _ in range(10)]
    finally:
        sys.setswitchinterval(before)
        ends.set()
        thread.join()
    assert sizes == sorted(sizes)


class Touches(np.ndarray):
    """An array that adds to a dict, like another thread, whenever its size is read."""

    state: dict[object, object]

    @property
    def nbytes(self):
        self.state[len(self.state)] = None
        return 0


def test_dict_of_arrays_that_is_filled():
    """If a dict changes while our code looks at the arrays in it, NumPy pickles all of it."""
    Touches.state = {"array": np.zeros(3).view(Touches), "other": None}
    assert isinstance(pickle_buffers(Touches.state, MB, find_nothing), bytes)
    assert len(Touches.state) == 3


class Late:
    """A class that is pickled in another way later."""


def test_registered_later(monkeypatch):
    """Reducers apply as soon as they are registered, also for NumPy's classes, and a failure leaves nothing behind."""
    late, array = Late(), np.zeros(3)

    def there_and_back(obj):
        return pickle.loads(pickle_plain(obj) or pickle_buffers(obj, MB, find_nothing))

    assert type(there_and_back([late, array])[0]) is Late
    with pytest.raises(TypeError):
        there_and_back([late, array, threading.Lock()])
    for table, number in ((copyreg.dispatch_table, 1), (ForkingPickler._extra_reducers, 2)):
        for kind in (Late, np.ndarray):
            monkeypatch.setitem(table, kind, lambda _, number=number: (int, (number,)))
        assert there_and_back([late, array]) == [number] * 2
        assert there_and_back(array) == number
    monkeypatch.undo()
    assert there_and_back(array).tolist() == [0, 0, 0]


def test_methods_are_not_plain():
    """Methods in C and partials may have an object of the user's with them, so they are not plain data."""
    partial = functools.partial(same)
    assert is_plain(partial)
    partial.owner = Waits()
    assert not any(map(is_plain, [partial, {}.get, np.random.default_rng(1).normal]))
    assert is_plain((np.array, len, math.sin))


@pytest.mark.parametrize("numpy", ["None", "types.ModuleType('numpy')"])
def test_half_a_numpy(numpy):
    """A pool works if NumPy is blocked, or is incomplete because it is being imported."""
    said = run_python(
        f"""
import sys, types
sys.modules["numpy"] = {numpy}
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(1) as executor:
        print(executor.submit(len, {{"a": [bytes(1_000_000)]}}).result())
"""
    )
    assert said.strip() == "1"


@linux_only
def test_a_list_of_arrays():
    """If each array goes to one task only, neither their memory nor their descriptors are kept for others."""
    arrays = [np.full(10**5, float(number)) for number in range(300)]
    with LowPriorityProcessPoolExecutor(2) as executor:
        waits = Waits()
        futures = [executor.submit(first_of, array) for array in arrays]
        futures.append(executor.submit(first_of, arrays[0], waits))
        assert waits.begun.wait(PATIENCE)
        kept = len([name for name in os.listdir("/proc/self/fd") if MARK in _target_of(name)])
        waits.may.set()
        assert [future.result() for future in futures] == [*range(300), 0]
    assert kept < 40


def _target_of(fd):
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


@linux_only
@pytest.mark.parametrize("kind", ["argument", "partial", "strided", "chunks"])
def test_one_copy(kind):
    """An argument of many tasks is copied once."""
    array = np.zeros(MB)
    with LowPriorityProcessPoolExecutor(2) as executor:
        if kind == "partial":
            inodes = list(executor.map(functools.partial(mapped_and, array), range(100)))
        else:
            many = [array[::2] if kind == "strided" else array] * 100
            inodes = list(executor.map(mapped, many, chunksize=10 if kind == "chunks" else 1))
    assert len(set.union(*inodes)) == 1


@linux_only
def test_memory_of_one_copy(tmp_path):
    """Tasks that read the same array at the same time share one copy."""
    array = np.zeros(40 * MB // 8)
    with LowPriorityProcessPoolExecutor(4) as executor:
        sizes = list(executor.map(proportional, [array] * 4, [tmp_path] * 4, [4] * 4))
        alone = executor.submit(proportional, np.zeros(1), tmp_path, 1).result()
    assert min(sizes) - alone < 40 * MB * 0.75


class OneAtATime:
    """An object that must not be pickled by two threads at once, nor unpickled."""

    inside: list[str] = []  # noqa: RUF012, shared by all instances

    def __init__(self, parent):
        self.parent = parent

    def __getstate__(self):
        self.enter("pickling")
        return {"parent": self.parent}

    def __setstate__(self, state):
        self.parent = state["parent"]
        if os.getpid() == self.parent:
            self.enter("unpickling")

    @classmethod
    def enter(cls, what):
        cls.inside.append(what)
        time.sleep(0.005)
        alone = cls.inside.count(what) == 1
        cls.inside.remove(what)
        assert alone


@pytest.mark.every_python
@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_one_at_a_time(context, share_min_size):
    """Objects are pickled, and unpickled in the parent, by one thread at a time, as in the stdlib."""
    with LowPriorityProcessPoolExecutor(4, context, share_min_size=share_min_size) as executor:
        futures = [executor.submit(same, OneAtATime(os.getpid())) for _ in range(40)]
        assert all(future.result(PATIENCE).parent == os.getpid() for future in futures)
        assert len(list(executor.map(same, [OneAtATime(os.getpid()) for _ in range(40)], chunksize=1))) == 40
