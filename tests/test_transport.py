"""Large buffers arrive as pickle delivers them, are nobody else's, and leave nothing behind."""

import contextlib
import dataclasses
import functools
import gc
import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from asking import LINUX, WINDOWS, linux_only, posix_only, run_python
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._system import backend

np = pytest.importorskip("numpy")
pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from handing_over import (  # noqa: E402
    MARK,
    ArrayError,
    become,
    end_worker,
    fail,
    first_of,
    length,
    linger,
    make,
    mapped,
    proportional,
    same,
    shared,
    total,
    write,
)

pytestmark = pytest.mark.skipif(backend.sharing.find_shared_memory() is None, reason="nothing is shared on this system")

# Seconds that a test waits for what has to come.
PATIENCE = 60
MB = 2**20


@dataclasses.dataclass
class Holder:
    """Something with an array."""

    array: object
    name: str


def wait_for(condition):
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        gc.collect()
        time.sleep(0.01)


def describe(value):  # noqa: PLR0911
    """Return all that is to be the same of a value: the content bit for bit, and what NumPy says of it."""
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


# --- what arrives

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
        return np.broadcast_to(array, (2, *array.shape))
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
    array = reorder(
        array,
        draw(
            st.sampled_from(["C", "F", "strided", "backwards", "permuted", "broadcast", "masked", "matrix", "recarray"])
        ),
    )
    if draw(st.booleans()) and type(array) is np.ndarray:
        array.flags.writeable = False
    return array


def nested(children):
    """Lists, dicts and others of what there is."""
    return (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=3), children, max_size=3)
        | st.builds(Holder, children, st.text(max_size=3))
        | st.builds(lambda each: (each, each), children)
        | st.builds(lambda each: functools.partial(same, each), children)
    )


values = st.recursive(
    arrays() | st.binary() | st.builds(bytearray, st.binary()) | st.integers() | st.text(), nested, max_leaves=4
)


def test_equal_to_pickle():
    """Whatever goes there and back is what the standard library's pool delivers, flags included."""
    with LowPriorityProcessPoolExecutor(2, share_over=1) as executor:

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(values)
        def check(value):
            expected = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(value, 5)), 5))
            assert describe(executor.submit(same, value).result(PATIENCE)) == describe(expected)

        check()


@pytest.mark.parametrize("limit", ["256 KiB", 1, "1 GB", None])
def test_large(context, limit):
    """Large values of all kinds, under all start methods and limits."""
    array = np.arange(200_000.0)
    kinds = [array, array[::2], array.reshape(400, 500).T, array.astype("M8[s]"), np.ma.masked_array(array, array > 5)]
    kinds += [bytes(MB), bytearray(MB), "é" * MB, list(range(300_000)), {"a": [array, array]}, array.view(np.matrix)]
    kinds += [np.array([str(index) for index in range(50_000)], object), array.reshape(20, 100, 100).transpose(1, 0, 2)]
    with LowPriorityProcessPoolExecutor(2, context, share_over=limit) as executor:
        for kind, result in zip(kinds, executor.map(same, kinds), strict=True):
            protocol = pickle.DEFAULT_PROTOCOL if limit is None else 5
            assert describe(result) == describe(pickle.loads(pickle.dumps(kind, protocol)))
        result = executor.submit(same, {"a": [array, array]}).result()
        assert result["a"][0] is result["a"][1]


def test_plain():
    """What looks small, and what only looks so."""
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


def test_masked_read_only():
    """A masked array of read-only data arrives as its own pickle does: writable."""
    array = np.zeros(MB)
    array.flags.writeable = False
    masked = np.ma.masked_array(array, mask=False)
    with LowPriorityProcessPoolExecutor(1) as executor:
        assert executor.submit(write, masked).result() == (0, -1, pickle.loads(pickle.dumps(masked)).flags.writeable)


def test_memmap(tmp_path):
    """A file that is mapped arrives as an array in memory, as through pickle."""
    np.save(tmp_path / "a.npy", np.arange(100_000.0))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    with LowPriorityProcessPoolExecutor(1) as executor:
        result = executor.submit(same, array).result()
    assert type(result) is np.memmap
    assert np.array_equal(result, array)
    result[0] = 5
    assert array[0] == 0


def test_sparse():
    """SciPy's sparse matrices."""
    scipy_sparse = pytest.importorskip("scipy.sparse")
    matrix = scipy_sparse.random_array((2000, 2000), density=0.05, rng=1).tocsr()
    with LowPriorityProcessPoolExecutor(1) as executor:
        result = executor.submit(same, matrix).result()
    assert (result != matrix).nnz == 0
    result.data[0] = 5


def test_exception():
    """An array in an exception comes as a result does, and the exception is what it was."""
    array = np.arange(100_000.0)
    with LowPriorityProcessPoolExecutor(1) as ours, ProcessPoolExecutor(1) as theirs:
        error, expected = ours.submit(fail, array).exception(), theirs.submit(fail, array).exception()
    assert type(error) is type(expected) is ArrayError
    assert np.array_equal(error.args[0], array)
    assert error.args[1]["again"] is error.args[0]
    assert error.__dict__ == expected.__dict__
    assert "in fail" in str(error.__cause__)
    assert "ArrayError" in str(error.__cause__)


# --- whose it is


def test_private(context):
    """What a task writes nobody else sees, nor what the caller writes to a result."""
    array = np.zeros(100_000)
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        assert list(executor.map(write, [array] * 6)) == [(0.0, -1.0, True)] * 6
        assert not array.any()
        first, second = executor.map(same, [array] * 2)
        first[:] = 1
        assert not second.any()
        assert not executor.submit(same, array).result().any()


def test_later_changes():
    """A task has what its argument contained when it was submitted or later, never before."""
    array = np.zeros(100_000)
    with LowPriorityProcessPoolExecutor(2) as executor:
        for value in range(50):
            array[:] = value
            assert executor.submit(total, array).result() == value * array.size
        # Many are waiting to be sent when it changes: each has the old content or the new.
        array[:] = 0
        futures = [executor.submit(total, array) for _ in range(20)]
        [future.result() for future in futures]
        array[:] = 1
        assert executor.submit(total, array).result() == array.size


class Waits:
    """What pickles itself when it may."""

    def __init__(self):
        self.begun, self.may = threading.Event(), threading.Event()

    def __reduce__(self):
        self.begun.set()
        assert self.may.wait(PATIENCE)
        return int, ()


def test_changes_between():
    """What is submitted after a change has it, also while an array is pickled that has been copied before."""
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
    """A bytearray may get another size while its task is under way."""
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


@pytest.mark.parametrize("numpy", ["None", "types.ModuleType('numpy')"])
def test_half_a_numpy(numpy):
    """A NumPy that is blocked, or not yet there in full, because it is being imported."""
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
    """Arrays of which each goes to one task are not kept for others: neither their memory, nor their descriptors."""
    arrays = [np.full(10**6, float(number)) for number in range(300)]
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
    """What many tasks get is copied once."""
    array = np.zeros(MB)
    with LowPriorityProcessPoolExecutor(2) as executor:
        if kind == "partial":
            inodes = list(executor.map(functools.partial(_mapped_and, array), range(100)))
        else:
            many = [array[::2] if kind == "strided" else array] * 100
            inodes = list(executor.map(mapped, many, chunksize=10 if kind == "chunks" else 1))
    assert len(set.union(*inodes)) == 1


def _mapped_and(array, number):
    return mapped(array)


@linux_only
def test_memory_of_one_copy():
    """Tasks that read the same array at the same time have one copy between them."""
    array = np.zeros(40 * MB // 8)
    with LowPriorityProcessPoolExecutor(4) as executor:
        [future.result() for future in [executor.submit(linger, 0, 0.1) for _ in range(4)]]
        sizes = list(executor.map(proportional, [array] * 16))
        alone = executor.submit(proportional, np.zeros(1)).result()
    assert min(sizes) - alone < 40 * MB * 0.75


# --- what is left


def ours():
    """Return how much shared memory this process and its children have open or mapped."""
    this = psutil.Process()
    return sum(_shared_of(process.pid) for process in [this, *this.children(recursive=True)])


def descriptors():
    """Return how many files, or handles, this process has open."""
    gc.collect()
    return psutil.Process().num_handles() if WINDOWS else psutil.Process().num_fds()


@functools.cache
def start_servers():
    """Use every start method once, for what multiprocessing keeps after that."""
    for method in multiprocessing.get_all_start_methods():
        with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
            executor.submit(same, np.zeros(MB)).result()


@pytest.fixture
def nothing_shared():
    """No segment, no descriptor is left by the test."""
    start_servers()
    before = descriptors()
    memory = ours() if LINUX else 0
    yield
    wait_for(lambda: descriptors() <= before)
    if LINUX:
        wait_for(lambda: ours() == memory)


@pytest.mark.usefixtures("nothing_shared")
class TestNothingIsLeft:
    """Segments go with what they are of."""

    @linux_only
    def test_collected(self, context):
        """The memory of each array goes with the last array on it."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            first, second = executor.submit(same, [np.zeros(MB), np.ones(MB)]).result()
            wait_for(lambda: shared() == 2)
            part = second[5:10]
            del first
            wait_for(lambda: shared() == 1)
            del second
            assert shared() == 1
            assert part.tolist() == [1] * 5
            del part
            wait_for(lambda: ours() == 0)

    @linux_only
    def test_many_results(self):
        """Results that are kept have no descriptor each."""
        before = descriptors()
        with LowPriorityProcessPoolExecutor(2) as executor:
            results = list(executor.map(make, [MB // 2] * 300))
            assert descriptors() < before + 50
        assert [result[0] for result in results] == [1] * 300

    def test_forgotten(self, context):
        """Results that nobody fetches."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            for _ in range(20):
                executor.submit(same, np.zeros(MB))

    def test_cancelled(self, context):
        """Tasks that are cancelled, one by one and by the end of the pool."""
        executor = LowPriorityProcessPoolExecutor(2, context)
        futures = [executor.submit(linger, np.zeros(MB), 0.05) for _ in range(20)]
        futures[10].cancel()
        futures[0].result()
        executor.shutdown(cancel_futures=True)
        assert any(future.cancelled() for future in futures)
        with contextlib.suppress(CancelledError):
            [future.result() for future in futures]
        del futures

    def test_without_waiting(self):
        """A pool that is left to end by itself."""
        executor = LowPriorityProcessPoolExecutor(2)
        futures = [executor.submit(linger, np.zeros(MB), 0.05) for _ in range(5)]
        executor.shutdown(wait=False)
        assert [future.result()[0] for future in futures] == [0] * 5

    def test_broken(self, context):
        """A worker that ends in the middle."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            futures = [executor.submit(same, np.zeros(MB)) for _ in range(5)]
            futures.append(executor.submit(end_worker, np.zeros(MB)))
            futures += [executor.submit(same, np.zeros(MB)) for _ in range(5)]
            with pytest.raises(BrokenProcessPool):
                futures[5].result()

    def test_replaced_workers(self):
        """A worker that ends after its last result ends not before that has arrived."""
        with LowPriorityProcessPoolExecutor(2, max_tasks_per_child=1) as executor:
            for result in executor.map(make, [MB] * 6):
                assert result[-1] == 1

    def test_unpicklable(self):
        """What cannot be pickled, beside an array."""
        with LowPriorityProcessPoolExecutor(1) as executor:
            with pytest.raises(Exception, match="pickle"):
                executor.submit(same, [np.zeros(MB), threading.Lock()]).result()
            with pytest.raises(Exception, match="pickle"):
                executor.submit(_with_lock, np.zeros(MB)).result()
            assert executor.submit(total, np.ones(MB)).result() == MB

    @posix_only
    def test_random_kills(self):
        """Hand-overs with workers that are killed at any moment."""
        chance = random.Random(7)
        done = 0
        while done < 10_000:
            with LowPriorityProcessPoolExecutor(2, share_over=1) as executor:
                futures = [executor.submit(same, np.full(chance.randrange(1, 5000), 3.0)) for _ in range(1000)]
                with contextlib.suppress(BrokenProcessPool):
                    futures[0].result()  # the worker has started
                killer = threading.Timer(chance.uniform(0, 0.4), _kill_one, (executor, chance))
                killer.start()
                for future in futures:
                    with contextlib.suppress(BrokenProcessPool):
                        assert future.result()[0] == 3
                        done += 1
                killer.join()
                # The stdlib's shutdown may wait for ever for a pool that breaks meanwhile.
                wait_for(lambda executor=executor: _is_broken(executor))


def _with_lock(array):
    return [array, threading.Lock()]


def _kill_one(executor, chance):
    chance.choice(list(executor._processes.values())).kill()


def _is_broken(executor):
    try:
        return executor.submit(abs, 1).result(PATIENCE) is None
    except BrokenProcessPool:
        return True


PROGRAM = """
import multiprocessing, os, sys, time
import numpy as np
from handing_over import linger
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    context, seconds = multiprocessing.get_context(sys.argv[1]), float(sys.argv[2])
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        [future.result() for future in [executor.submit(linger, 0, 0.5) for _ in range(2)]]
        print(*[process.pid for process in executor._processes.values()], flush=True)
        kept = []
        while True:
            kept += executor.map(linger, [np.zeros(100_000)] * 4, [seconds] * 4)
            kept = kept[-20:]
"""


@posix_only
@pytest.mark.parametrize(("how", "seconds"), [("kill", 0), ("kill", 1), ("interrupt", 0)])
def test_end_of_the_program(context, how, seconds, tmp_path):
    """A program that is killed or interrupted leaves no memory, and says nothing of it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    here = os.path.dirname(__file__)
    before = set(os.listdir("/dev/shm")) if LINUX else set()
    with subprocess.Popen(
        [sys.executable, program, context.get_start_method(), str(seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.3)
        if how == "kill":
            process.kill()
            # The stdlib's workers do not notice that their parent has been killed: they wait for the next task.
            wait_for(lambda: sum(map(_shared_of, workers)) == 0)
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            said = process.stderr.read()
        else:
            os.killpg(process.pid, 2)
            # The stdlib's shutdown may wait for ever for workers that have been interrupted as well.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            for pid in [process.pid, *workers]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            said = process.stderr.read()
    assert "shared_memory" not in said  # of semaphores the stdlib's tracker speaks when a program is killed
    if LINUX:
        names = set(os.listdir("/dev/shm")) - before
        # As multiprocessing calls shared memory; other programs' semaphores come and go.
        assert not [name for name in names if name.startswith("psm_")]


def _shared_of(pid):
    try:
        return shared(pid) if LINUX else 0
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return 0


# --- where there is no memory


@linux_only
def test_no_memory():
    """Where nothing can be written to shared memory, all goes through the pipe (here the files' size is limited)."""
    found = json.loads(
        run_python(
            """
import json, resource
import numpy as np
from handing_over import make, same, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    with LowPriorityProcessPoolExecutor(2) as executor:
        sizes = [2**19, 2**21, 2**23]
        totals = list(executor.map(total, [np.ones(size // 8) for size in sizes]))
        results = [float(result.sum()) for result in executor.map(make, sizes)]
        whole = executor.submit(same, [np.ones(2**18), bytes(2**21)]).result()
    print(json.dumps([totals, results, [float(whole[0].sum()), len(whole[1])]]))
"""
        )
    )
    numbers = [2**16, 2**18, 2**20]
    assert found == [numbers, numbers, [2**18, 2**21]]


@linux_only
def test_no_descriptors():
    """The same where no more files can be opened."""
    found = run_python(
        """
import os, resource
import numpy as np
from handing_over import linger, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2) as executor:
        [future.result() for future in [executor.submit(linger, 0, 0.3) for _ in range(2)]]
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        executor.submit(total, np.ones(100_000)).result()
        opened = []
        try:
            while True:
                opened.append(os.dup(0))
        except OSError:
            pass
        futures = [executor.submit(total, np.ones(100_000)) for _ in range(10)]
        results = [future.result() for future in futures]
        for fd in opened:
            os.close(fd)
    print(results == [100_000] * 10)
"""
    )
    assert found.strip() == "True"


@linux_only
def test_small_dev_shm():
    """A /dev/shm of 64 MB is no limit: 1 GB of arrays goes through."""
    code = """
import numpy as np, os
from handing_over import same, make, total
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    shm = os.statvfs("/dev/shm")
    assert shm.f_blocks * shm.f_frsize == 64 * 2**20, shm
    with LowPriorityProcessPoolExecutor(2) as executor:
        for index, result in enumerate(executor.map(make, [100 * 2**20] * 5, range(5), buffersize=2)):
            assert (result == index).all()
        arrays = (np.full(100 * 2**17, float(index)) for index in range(5))
        assert list(executor.map(total, arrays, buffersize=2)) == [index * 100 * 2.0**17 for index in range(5)]
    print("done")
"""
    mount = shutil.which("unshare")
    if mount is None or os.geteuid() != 0:
        pytest.skip("not allowed to mount")
    here = os.path.dirname(__file__)
    script = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$0" -c "$1"'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip("not allowed to mount")
    assert ended.stdout.strip() == "done", ended.stderr


@linux_only
def test_other_user():
    """A worker that may not look into its parent gets the memory handed over."""
    if os.geteuid() != 0:
        pytest.skip("may not become another user")
    array = np.ones(MB)
    with LowPriorityProcessPoolExecutor(2, initializer=become, initargs=(65534,)) as executor:
        assert executor.submit(abs, -1).result() == 1
        assert list(executor.map(total, [array] * 50)) == [MB] * 50
        assert list(executor.map(write, [array] * 4)) == [(1, -1, True)] * 4
        assert executor.submit(make, MB).result()[0] == 1
        assert executor.submit(os.geteuid).result() == 65534
    assert array[0] == 1


@linux_only
@pytest.mark.usefixtures("nothing_shared")
def test_other_user_ends():
    """A parent that is asked and a worker that asks: either may end meanwhile."""
    if os.geteuid() != 0:
        pytest.skip("may not become another user")
    for _ in range(5):
        executor = LowPriorityProcessPoolExecutor(2, initializer=become, initargs=(65534,))
        futures = [executor.submit(total, np.ones(MB)) for _ in range(10)]
        assert futures[0].result() == MB
        _kill_one(executor, random)
        for future in futures:
            with contextlib.suppress(BrokenProcessPool):
                assert future.result(PATIENCE) == MB
        executor.shutdown()


# --- the argument


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, ValueError, "1 byte at least"),
        (-5, ValueError, "1 byte at least"),
        ("2 potatoes", ValueError, "no amount of memory"),
        ("", ValueError, "no amount of memory"),
        (0.5, TypeError, "256 KiB"),
        (True, TypeError, "256 KiB"),
        ([1], TypeError, "256 KiB"),
    ],
)
def test_bad_limit(value, kind, text):
    """A limit that is none is refused at once."""
    with pytest.raises(kind, match=text) as caught:
        LowPriorityProcessPoolExecutor(1, share_over=value)
    assert "share_over" in str(caught.value)
