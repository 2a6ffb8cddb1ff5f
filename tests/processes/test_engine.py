"""The guarantees of the engine if something goes wrong, and for programs that fork or register reducers."""

import contextlib
import gc
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from asking import LINUX, WINDOWS
from marks import FRESH, METHODS, SPARE, forks, forks_beside_threads, one_less, posix_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import pipes
from patience import PATIENCE, wait_until
from programs import environment, run_python
from tasks import identify, same
from using import kill_myself

LOCK = threading.Lock()

pytestmark = pytest.mark.every_python

MB = 2**20


def leave(code):
    os._exit(code)


def raise_odd():
    raise OddError("a", "b")


class OddError(Exception):
    """An exception that cannot be unpickled: it is called with one argument, and needs two."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


class NotHere:
    """An object that cannot be unpickled in a worker."""

    def __reduce__(self):
        return _find, ("no such thing",)


def _find(name):
    raise LookupError(name)


class NotBack:
    """An object that can be unpickled in a worker, and not in its parent."""

    def __init__(self, pid=None):
        if pid is not None and pid == os.getpid():
            raise LookupError("here")
        self.pid = os.getpid() if pid is None else pid

    def __reduce__(self):
        return NotBack, (self.pid,)


def fail_to_begin():
    raise ValueError("no licence")


# --- errors belong to their task


@pytest.mark.parametrize(
    ("task", "kind", "text"),
    [
        ((same, threading.Lock()), TypeError, "cannot pickle"),
        ((threading.Lock,), TypeError, "cannot pickle"),
        ((lambda lock=LOCK: lock,), TypeError, "cannot pickle"),
        ((same, NotHere()), BrokenProcessPool, "could not be unpickled in its worker: LookupError: no such thing"),
        ((raise_odd,), BrokenProcessPool, "raised test_engine.OddError, which could not be unpickled here: TypeError"),
        ((same, NotBack()), BrokenProcessPool, "result could not be unpickled in this process: LookupError: here"),
    ],
    ids=["argument", "result", "function", "in the worker", "exception", "in the parent"],
)
@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_errors_of_one_task(context, task, kind, text, share_min_size):
    """An object that cannot be sent, in either direction, is an error of its task, which names the cause."""
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=share_min_size) as executor:
        futures = [executor.submit(*task) if index == 5 else executor.submit(same, index) for index in range(10)]
        error = futures.pop(5).exception(PATIENCE)
        assert isinstance(error, kind)
        assert text in str(error)
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ((re.compile("a").finditer, "aaa"), TypeError),
        (([].append, threading.Lock()), TypeError),
        (({}.__getitem__, 1), KeyError),
        (("abc".index, "d"), ValueError),
    ],
    ids=["result", "argument", "error", "error of a string"],
)
@pytest.mark.parametrize("on_crash", ["break", "fail", "retry"])
def test_errors_of_builtin_methods(task, kind, on_crash):
    """The error of a method that has no module is that of the stdlib's executor, and the pool continues."""
    with LowPriorityProcessPoolExecutor(1, on_crash=on_crash, task_timeout=PATIENCE) as executor:
        assert isinstance(executor.submit(*task).exception(PATIENCE), kind)
        fn, *arguments = task
        results = executor.map(fn, arguments * 5, return_exceptions=True, timeout=PATIENCE)
        assert [type(each) for each in results] == [kind] * 5
        assert executor.submit(same, 1).result(PATIENCE) == 1


def test_builtin_method_that_takes_too_long():
    """A time limit names a method that has no module."""
    with LowPriorityProcessPoolExecutor(1, task_timeout=0.3) as executor:
        future = executor.submit(re.compile("(a+)+$").match, "a" * 50 + "b")
        assert str(future.exception(PATIENCE)).startswith("Pattern.match ran longer than")


class DivergedError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, field, residual):
        super().__init__(f"residual {residual}")
        self.field = field


class WithLockError(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = LOCK


def solve(step):
    if step == 7:
        raise WithLockError("stopped at step 7")
    raise DivergedError(bytes(step), 1e9)


def locks(number):
    return number, number, LOCK


@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_errors_say_where(share_min_size):
    """If an exception cannot be sent or unpickled, the error names it and its place; for a result, the function."""
    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        for step, text in (
            (7, "stopped at step 7"),
            (1, "test_engine.DivergedError"),
            (10**6, "test_engine.DivergedError"),
        ):
            for results in (executor.map(solve, [step]), executor.map(solve, [step] * 2, chunksize=2)):
                with pytest.raises((pickle.PicklingError, BrokenProcessPool), match=text) as caught:
                    list(results)
                assert "in solve" in str(caught.value.__cause__)
        for results in (executor.map(locks, [1]), executor.map(locks, [1, 1], chunksize=2)):
            with pytest.raises(TypeError, match="cannot pickle") as caught:
                list(results)
            assert caught.value.__notes__[-1] == "when serializing the result of test_engine.locks"


def test_failing_initializer(context):
    """If the initializer fails, the error of the pool names its exception."""
    with LowPriorityProcessPoolExecutor(2, context, initializer=fail_to_begin) as executor:
        error = executor.submit(same, 1).exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, ValueError)
        assert "ValueError: no licence" in str(error)
        with pytest.raises(BrokenProcessPool, match="no licence"):
            executor.submit(same, 1)


def test_dead_worker(context):
    """A worker that dies with a task breaks the pool, as in the standard library, and nothing waits forever."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        futures = [executor.submit(time.sleep, 0.05) for _ in range(4)]
        futures += [executor.submit(leave, 3), *(executor.submit(time.sleep, 0.05) for _ in range(4))]
        errors = [future.exception(PATIENCE) for future in futures]
        assert isinstance(errors[4], BrokenProcessPool)
        assert "exit status 3" in str(errors[4])
        assert "terminated abruptly with exit code 3" in errors[4].__cause__.tb  # as in Python 3.15
        assert {type(error) for error in errors[5:]} <= {BrokenProcessPool, type(None)}
        with pytest.raises(BrokenProcessPool):
            executor.submit(same, 1)


def test_idle_worker_that_dies(context):
    """A worker that dies while it is idle is replaced, because no task was affected."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        first = executor.submit(identify).result(PATIENCE)
        process = executor._processes[first]
        process.kill()
        process.join()
        assert executor.submit(identify).result(PATIENCE) != first
        assert len(executor._processes) == 1


@pytest.mark.parametrize("size", [0, 10 * MB])
def test_worker_that_dies_while_it_starts(context, size):
    """The death of a worker that, on Windows, has not taken its pipe yet is noticed, also with a large task."""
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=None) as executor:
        futures = [executor.submit(len, bytes(size)) for _ in range(4)]
        for process in list(executor._processes.values()):
            process.kill()
        for future in futures:
            assert isinstance(future.exception(PATIENCE), BrokenProcessPool | None)


@pytest.mark.parametrize("method", one_less(FRESH))
def test_main_module_that_cannot_be_imported(method, tmp_path):
    """The error names the import that has failed, and its most likely reason."""
    (tmp_path / "main.py").write_text(f"""
import multiprocessing
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ != "__main__":
    raise LookupError("no such licence")
with LowPriorityProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as executor:
    print(executor.submit(abs, -1).exception())
""")
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py"], capture_output=True, text=True, check=True, env=environment()
    )
    # A fork server of Python 3.14 and later imports the main module itself, and ends.
    assert "import of the main module failed" in done.stdout or method == "forkserver"
    assert "LookupError: no such licence" in done.stderr


# --- no worker outlives its parent

PARENT = """
import multiprocessing, sys, time
from nicefutures import LowPriorityProcessPoolExecutor
from test_engine import compute, identify_later

if __name__ == "__main__":
    executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]), priority="normal")
    pids = {future.result() for future in [executor.submit(identify_later) for _ in range(2)]}
    task = {"idle": None, "sleeping": (time.sleep, 600), "computing": (compute,)}[sys.argv[2]]
    if task is not None:
        futures = [executor.submit(*task) for _ in range(2)]
        time.sleep(0.2)
    print(*executor._processes, flush=True)
    time.sleep(600)
"""


def identify_later():
    time.sleep(0.1)
    return os.getpid()


def compute():
    sum(range(10**12))  # one call in C, which holds the GIL


@pytest.mark.skipif(
    not (LINUX or WINDOWS), reason="elsewhere a worker that computes has to come to the end of its task"
)
@pytest.mark.parametrize("does", ["idle", "sleeping", "computing"])
@pytest.mark.parametrize("method", one_less(METHODS))
def test_killed_parent(method, does, tmp_path):
    """Workers end when their parent is killed, whatever they are doing."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, script, method, does], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    wait_until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@posix_only
def test_thread_that_ends(context):
    """A pool still works after the thread that first used it has ended."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        thread = threading.Thread(target=lambda: executor.submit(same, 1).result(PATIENCE))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert list(executor.map(same, range(10))) == list(range(10))


def test_nothing_keeps_an_executor(context, tmp_path):
    """An executor is freed with its last reference, without the garbage collector, also in a script."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import gc, multiprocessing, weakref
from tasks import same
from nicefutures import LowPriorityProcessPoolExecutor
from patience import wait_until

def main():
    gc.disable()
    executor = LowPriorityProcessPoolExecutor(1, multiprocessing.get_context({context.get_start_method()!r}))
    assert executor.submit(same, 1).result() == 1
    assert list(executor.map(lambda number: number, range(3))) == [0, 1, 2]
    gone = weakref.ref(executor)
    (process,) = executor._processes.values()
    del executor
    wait_until(lambda: gone() is None, 20)
    wait_until(lambda: process.exitcode == 0, 20)

if __name__ == "__main__":
    main()
""")
    subprocess.run([sys.executable, "-W", "ignore", script], check=True, env=environment(), timeout=PATIENCE)


# --- forks


@forks
@pytest.mark.asks_for_fork
@pytest.mark.parametrize(
    ("method", "used"),
    # multiprocessing cannot use the fork server of a parent
    [
        pytest.param(method, used, marks=[thorough] * (method == SPARE))
        for method in METHODS
        for used in (False, True)
        if (method, used) != ("forkserver", True)
    ],
)
def test_made_before_a_fork(method, used):
    """A forked child may use an executor of its parent, used before or not, also for large results."""
    code = f"""
import multiprocessing, os, sys, time
import numpy as np
from handing_over import make, same
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context({method!r}))
    if {used}:
        assert executor.submit(same, np.zeros(10**6)).result()[-1] == 0
    pid = os.fork()
    if pid == 0:
        assert list(executor.map(same, range(5))) == list(range(5))
        assert executor.submit(make, 8 * 10**6, 2.0).result()[-1] == 2
        executor.shutdown()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    assert executor.submit(make, 8 * 10**6, 3.0).result()[-1] == 3
    print("end")
"""
    assert run_python(code) == "end\n"


@forks
@pytest.mark.asks_for_fork
def test_fork_while_calls_are_under_way(context):
    """Children that are forked during calls keep no pipe open."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        futures = [executor.submit(time.sleep, 0.02) for _ in range(20)]
        children = []
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                time.sleep(30)
                os._exit(0)
            children.append(pid)
            time.sleep(0.02)
        try:
            assert [future.result(PATIENCE) for future in futures] == [None] * 20
            error = executor.submit(kill_myself, signal.SIGKILL).exception(PATIENCE)
            assert "SIGKILL" in str(error)
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


# --- reducers that are registered


def test_import_before_numpy(context):
    """A reducer that is registered with `copyreg` after the import applies."""
    pytest.importorskip("numpy")
    code = f"""
import multiprocessing
from nicefutures import LowPriorityProcessPoolExecutor
import numpy as np
if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context({context.get_start_method()!r})) as executor:
        print(executor.submit(np.sqrt, 4.0).result(), executor.submit(list, (np.exp,)).result() == [np.exp])
"""
    assert run_python(code) == "2.0 True\n"


def test_registered_later(context):
    """A reducer that is registered with multiprocessing between two tasks applies to later arguments."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        assert executor.submit(same, 1).result(PATIENCE) == 1
        multiprocessing.reduction.ForkingPickler.register(_Registered, _reduce_registered)
        try:
            assert executor.submit(_value_of, _Registered(threading.Lock())).result(PATIENCE) == "registered"
        finally:
            del multiprocessing.reduction.ForkingPickler._extra_reducers[_Registered]


class _Registered:
    def __init__(self, value):
        self.value = value


def _reduce_registered(_):
    return _Registered, ("registered",)


def _value_of(registered):
    return registered.value


# --- the end


@pytest.mark.parametrize("method", one_less(FRESH))
def test_forgotten_with_one_task_per_worker(method):
    """An executor that replaces its workers finishes its tasks, even if nothing refers to it any more."""
    executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(method), max_tasks_per_child=1)
    futures = [executor.submit(same, index) for index in range(6)]
    del executor
    gc.collect()
    assert [future.result(PATIENCE) for future in futures] == list(range(6))


def test_forgotten_while_an_error_is_kept(context):
    """A stored error does not keep the workers."""
    executor = LowPriorityProcessPoolExecutor(1, context)
    futures = [executor.submit(int, "x"), executor.submit(same, threading.Lock()), executor.submit(NotBack)]
    errors = [future.exception(PATIENCE) for future in futures]
    pids = list(executor._processes)
    del executor
    for pid in pids:  # ask the system, because only one thread may join a process of multiprocessing
        wait_until(lambda pid=pid: not psutil.pid_exists(pid))
    assert None not in errors[:2]


def test_functions_that_cannot_be_pickled_at_the_end(context):
    """Functions that cannot be pickled do not keep a pool from ending."""
    executor = LowPriorityProcessPoolExecutor(2, context)
    lock = threading.Lock()
    futures = [executor.submit(lambda: lock) for _ in range(50)]
    executor.shutdown(cancel_futures=True)
    for future in futures:
        with contextlib.suppress(CancelledError):
            assert future.exception(0) is not None


def test_shutdown_in_a_callback(context):
    """A future's callback may shut its own pool down."""
    executor = LowPriorityProcessPoolExecutor(1, context)
    ended = threading.Event()

    def end(_):
        executor.shutdown()
        ended.set()

    executor.submit(same, 1).add_done_callback(end)
    assert ended.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(same, 1)


@posix_only
def test_unused_pool(context):
    """An executor without tasks has nothing open."""
    before = psutil.Process().num_fds()
    with LowPriorityProcessPoolExecutor(2, context):
        assert psutil.Process().num_fds() <= before


@posix_only
@pytest.mark.parametrize("method", one_less(METHODS))
def test_no_more_descriptors(method):
    """If a worker cannot be started, the tasks that need one fail with the reason, and nothing hangs."""
    code = f"""
import multiprocessing, os, resource
from concurrent.futures import wait
from tasks import same
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with LowPriorityProcessPoolExecutor(1, context) as first, LowPriorityProcessPoolExecutor(4, context) as executor:
        assert first.submit(same, 1).result() == 1
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        try:
            futures = [executor.submit(same, index) for index in range(10)]
            errors = [future.exception() for future in futures]
        except OSError as error:
            errors = [error]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert {{type(error) for error in errors}} == {{OSError}}, errors
        assert first.submit(same, 2).result() == 2
        assert executor.submit(same, 3).result() == 3
    print("end")
"""
    if not LINUX:
        pytest.skip("Linux tells which are open")
    assert run_python(code) == "end\n"


def test_large_messages(context):
    """Messages that are larger than a pipe's buffer arrive."""
    with LowPriorityProcessPoolExecutor(2, context, share_min_size=None) as executor:
        for data in (bytes(MB), "é" * MB, list(range(10**6))):
            assert executor.submit(same, data).result(PATIENCE) == data


def send_at_most(size):
    pipes.most_bytes = size


def test_messages_in_parts(context, monkeypatch):
    """A message that is larger than the system takes at once, 4 GiB on Windows, goes in parts."""
    monkeypatch.setattr(pipes, "most_bytes", 1000)
    with LowPriorityProcessPoolExecutor(
        1, context, initializer=send_at_most, initargs=(1000,), share_min_size=None
    ) as executor:
        for size in (900, 999, 1000, 1001, 5000, 5003):
            data = os.urandom(size)
            assert executor.submit(same, data).result(PATIENCE) == data


@pytest.mark.parametrize("seconds", [2, *(pytest.param(seconds, marks=pytest.mark.soak) for seconds in (20, 200))])
@pytest.mark.parametrize(
    "method",
    [pytest.param("fork", marks=forks_beside_threads), *one_less(FRESH)] if "fork" in METHODS else METHODS,
)
def test_soak(method, seconds):
    """Random tasks, kills, stops, time limits, Ctrl-C, forks, logs, pauses, priorities, ends of pools, in threads."""
    program = os.path.join(os.path.dirname(__file__), "soak_main.py")
    arguments = [sys.executable, "-W", "ignore::DeprecationWarning", program, method, str(seconds), "7"]
    subprocess.run(arguments, check=True, env=environment(), timeout=seconds + PATIENCE)
