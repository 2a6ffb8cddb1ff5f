"""The pool lets as many workers run as can use the GIL, and never fewer than the tasks need to finish."""

import functools
import gc
import os
import queue
import signal
import threading
import time
import weakref
from concurrent.futures import wait
from pathlib import Path

import pytest

from feeding import Feed
from marks import linux_only, needs_gil, posix_only, thorough
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads import cpu_time
from nicefutures._threads.controller import controller
from nicefutures._threads.gate import put_before
from nicefutures._threads.gil import has_gil
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import compute

pytestmark = pytest.mark.every_python


def measures(test):
    """Mark a test that measures real tasks. test_regulator.py tests the decisions, with given numbers.

    Such a test runs alone: if programs share a CPU, the GIL also seems free while no thread has a CPU to take it.
    """
    return pytest.mark.alone(thorough(test))


# --- how many run


@needs_gil
@measures
def test_narrow():
    """Tasks that keep the GIL soon run one at a time."""
    tasks = functools.partial(compute, 0.002)
    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor, Feed(executor, tasks):
        wait_until(lambda: executor.stats().limit == executor.stats().running == 1)


@needs_gil
@measures
def test_wide():
    """Tasks that do not keep the GIL run in all workers."""
    with (
        PriorityThreadPoolExecutor(4, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.002)),
    ):
        wait_until(lambda: executor.stats().tasks_done > 200)
        wait_until(lambda: executor.stats().limit == 4)


@needs_gil
@measures
def test_change():
    """When the tasks change, the limit follows, in both directions."""
    does = [compute]

    def task():
        does[0](0.002)

    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor, Feed(executor, task):
        wait_until(lambda: executor.stats().limit == 1)
        does[0] = time.sleep
        wait_until(lambda: executor.stats().limit == 4)
        does[0] = compute
        wait_until(lambda: executor.stats().limit == 1)


@needs_gil
@measures
@pytest.mark.skipif(not cpu_time.TOLD, reason="whose fault it is is told from CPU times")
def test_not_our_fault(noise):
    """A pool whose tasks only wait is not limited if a thread outside the pool keeps the GIL."""
    with (
        PriorityThreadPoolExecutor(8, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.02)),
    ):
        done = executor.stats().tasks_done
        wait_until(lambda: executor.stats().tasks_done > done + 100)
        wait_until(lambda: executor.stats().limit >= 4)  # the number of tasks


@pytest.mark.parametrize("target", [None, 0.005])
def test_off(target):
    """Without a target, or without the GIL, all workers run."""
    if target is not None and has_gil():
        pytest.skip("on")
    with PriorityThreadPoolExecutor(4, latency_target=target) as executor:
        with Feed(executor, functools.partial(compute, 0.002)):
            time.sleep(0.3)
            assert executor.stats().limit == 4
            assert executor.stats().gil_wait_p99 is None
            assert controller.watcher is None or not controller.awake
        assert executor.stalls() == []
        assert executor.stats().tasks_done > 4


# --- liveness


@pytest.mark.parametrize("workers", [2, 4, 8, 32])
def test_barrier(noise, workers):
    """Tasks that wait for each other all run."""
    barrier = threading.Barrier(workers)
    with (
        PriorityThreadPoolExecutor(workers, latency_target=0.005) as executor,
        Feed(executor, functools.partial(compute, 0.002)),
    ):
        if has_gil():
            executor._gate.set_limit(1)
        for future in [executor.submit(barrier.wait) for _ in range(workers)]:
            future.result(PATIENCE)


def test_future_of_another_task(gated):
    """A task may wait for the future of a task that it submits."""

    def outer():
        return gated.submit(int, "7").result(PATIENCE)

    assert [future.result(PATIENCE) for future in [gated.submit(outer) for _ in range(3)]] == [7, 7, 7]


def test_polling(gated):
    """A task may check every ms whether another one has run."""
    ran = threading.Event()

    def poll():
        while not ran.is_set():
            time.sleep(0.001)

    polls = [gated.submit(poll) for _ in range(3)]
    gated.submit(ran.set)
    assert wait(polls, PATIENCE).not_done == set()


# --- guarantees of the standard library's pool, while workers wait


@needs_gil
def test_order(gated, monkeypatch):
    """Tasks start in the order in which they were submitted, and map gives results in order."""
    monkeypatch.setattr(gated._regulator, "beat", lambda _: None)  # it lets more workers in if one gets no CPU
    gated._gate.set_limit(1)
    started = []
    for future in [gated.submit(started.append, k) for k in range(100)]:
        future.result(PATIENCE)
    assert started == sorted(started)
    assert list(gated.map(str, range(50))) == [str(k) for k in range(50)]


def test_cancel(gated):
    """A task that has not begun can be cancelled."""
    ran, release = [], threading.Event()
    blockers = [gated.submit(release.wait, PATIENCE) for _ in range(8)]
    futures = [gated.submit(ran.append, k) for k in range(20)]
    cancelled = [future.cancel() for future in futures[::2]]
    release.set()
    wait([*blockers, *futures], PATIENCE)
    assert all(cancelled)
    assert ran == list(range(1, 20, 2))


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown(cancel):
    """`shutdown` finishes all tasks, or cancels those that have not begun."""
    executor = PriorityThreadPoolExecutor(4, latency_target=0.005)
    with Feed(executor, functools.partial(compute, 0.002)):
        if has_gil():
            executor._gate.set_limit(1)
    release = threading.Event()
    blockers = [executor.submit(release.wait, PATIENCE) for _ in range(4)]
    futures = [executor.submit(compute, 0.01) for _ in range(20)]
    executor.shutdown(wait=False, cancel_futures=cancel)
    release.set()
    executor.shutdown()
    assert all(future.done() for future in [*blockers, *futures])
    assert {future.cancelled() for future in futures} == {cancel}
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


def test_shutdown_from_a_task():
    """A task may shut down its own pool and cancel the remaining tasks."""
    executor = PriorityThreadPoolExecutor(2, latency_target=0.005)
    submitted, ended = threading.Event(), threading.Event()

    def end_it():
        submitted.wait(PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
        ended.set()
        return "done"

    ending = executor.submit(end_it)
    futures = [executor.submit(ended.wait, PATIENCE) for _ in range(30)]
    submitted.set()
    assert ending.result(PATIENCE) == "done"
    wait_until(lambda: all(future.done() for future in futures))
    # The other worker may have begun one of them before the shutdown.
    assert sum(future.cancelled() for future in futures) >= 29


@pytest.mark.parametrize("ending", ["", "executor.shutdown(wait=False)", "del executor", "executor.shutdown()"])
def test_interpreter_exit(ending):
    """All tasks finish at the interpreter's exit, including tasks that wait for each other."""
    code = f"""
import threading, time
from nicefutures import PriorityThreadPoolExecutor

def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass

executor = PriorityThreadPoolExecutor(4, latency_target=0.005)
barrier = threading.Barrier(4)
for _ in range(40):
    executor.submit(compute, 0.01)
for _ in range(4):
    executor.submit(barrier.wait).add_done_callback(lambda future: print("met", flush=True))
time.sleep(0.3)
{ending}
"""
    assert run_python(code).count("met") == 4


@needs_gil
@pytest.mark.parametrize("ending", ["", "executor.shutdown(wait=False)", "del executor", "executor.shutdown()"])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_exit_with_waiting_workers(ending, idle):
    """The program ends although some workers wait for their turn, one waits at the queue, and no task comes."""
    code = f"""
import threading, time
from nicefutures import PriorityThreadPoolExecutor

def compute():
    while gate.limit == 4:
        pass

executor = PriorityThreadPoolExecutor(4, latency_target=0.005)
gate = executor._gate
barrier = threading.Barrier(4)
for future in [executor.submit(barrier.wait) for _ in range(4)]:
    future.result()
futures = [executor.submit(compute) for _ in range(3)]
time.sleep(0.05)
gate.set_limit(1)
for future in futures:
    future.result()
time.sleep({idle})
{ending}
print("end")
"""
    assert run_python(code) == "end\n"


@posix_only
@pytest.mark.asks_for_fork
def test_fork(gated):
    """A child that is forked meanwhile can have its own pool, and ends."""

    def child():
        with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
            return executor.submit(int, "3").result(PATIENCE)

    pid = gated.submit(lambda: os.fork() or os._exit(child())).result(PATIENCE)
    assert exit_status_of(pid) == 3


@needs_gil
@posix_only
@pytest.mark.asks_for_fork
def test_fork_beside_workers():
    """A forked child forgets the workers of its parent, and any lock that one of them held at the fork."""
    with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
        executor.submit(int).result(PATIENCE)
        with executor._gate._lock:
            pid = os.fork() or os._exit(3)
        assert exit_status_of(pid) == 3


def exit_status_of(pid):
    """Return the exit status of a child; if it does not end, kill it and return None."""
    deadline = time.monotonic() + PATIENCE
    while (status := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if status[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    return os.waitstatus_to_exitcode(status[1])


def test_garbage():
    """A pool without references ends its threads."""
    threads = set(threading.enumerate())
    executor = PriorityThreadPoolExecutor(4, latency_target=0.005)
    wait([executor.submit(compute, 0.01) for _ in range(40)])
    del executor
    wait_until(lambda: set(threading.enumerate()) <= threads)


@needs_gil  # without it, objects may be freed later
def test_references():
    """The argument and the result of a long task are freed without the garbage collector."""

    class Big:
        pass

    def run(big):
        time.sleep(0.1)
        return Big()

    gc.collect()
    gc.disable()
    try:
        with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
            argument = Big()
            future = executor.submit(run, argument)
            seen = [weakref.ref(argument), weakref.ref(future.result(PATIENCE))]
            del argument, future
            wait_until(lambda: [ref() for ref in seen] == [None, None])
    finally:
        gc.enable()


def test_broken():
    """A failing initializer breaks the pool, as with the standard library."""
    with PriorityThreadPoolExecutor(2, initializer=int, initargs=("x",), latency_target=0.005) as executor:
        with pytest.raises(RuntimeError, match="initializer failed"):
            executor.submit(int).result(PATIENCE)
        with pytest.raises(RuntimeError, match="initializer failed"):
            executor.submit(int)


@needs_gil
def test_other_queue():
    """A pool whose queue has been replaced works without a limit, and leaves nothing behind."""
    executor = PriorityThreadPoolExecutor(2, latency_target=0.005)
    gate = executor._work_queue
    executor._work_queue = queue.PriorityQueue()
    assert put_before(executor, gate) is False
    executor._work_queue = queue.SimpleQueue()
    with executor:
        assert executor.submit(int, "1").result() == 1
    assert gate.workers == controller.regulators == []


@pytest.mark.parametrize("target", [None, 0.005])
def test_take_back(target):
    """A task whose `submit` raises does not run, and no other task is lost."""
    done, release = [], threading.Event()
    with PriorityThreadPoolExecutor(1, latency_target=target) as executor:
        executor.submit(release.wait, PATIENCE)
        futures = [executor.submit(done.append, name) for name in "ab"]
        executor._failure_warning._raised = RuntimeWarning("from a filter")
        with pytest.raises(RuntimeWarning, match="from a filter"):
            executor.submit(done.append, "refused")
        futures += [executor.submit(done.append, "c")]
        release.set()
        for future in futures:
            future.result(PATIENCE)
    assert done == ["a", "b", "c"]


@pytest.mark.parametrize("target", [None, 0.005])
def test_tasks_done_of_cancelled(target):
    """Tasks that a shutdown cancels do not count as done."""
    release = threading.Event()
    executor = PriorityThreadPoolExecutor(1, latency_target=target)
    first = executor.submit(release.wait, PATIENCE)
    wait_until(first.running)
    futures = [executor.submit(int) for _ in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    release.set()
    executor.shutdown()
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert executor.stats().tasks_done == 1


def test_interrupted_wake(monkeypatch):
    """Ctrl-C during a `submit` does not leave the pool without its watching thread."""

    def interrupt():
        raise KeyboardInterrupt

    with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
        if not has_gil():
            pytest.skip("nothing watches")
        wait_until(lambda: not controller.awake)
        with monkeypatch.context() as patched:
            patched.setattr(cpu_time, "read_all", interrupt)
            with pytest.raises(KeyboardInterrupt):
                executor.submit(int)
        future = executor.submit(time.sleep, 0.05)
        assert controller.awake
        future.result(PATIENCE)


@needs_gil
def test_lost_thread(monkeypatch):
    """If the watching thread fails, all workers may run, and the next task starts another watching thread."""
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor:
        executor.submit(int).result(PATIENCE)
        with monkeypatch.context() as patched:
            patched.setattr(executor._regulator, "beat", None)
            executor.submit(time.sleep, 0.1).result(PATIENCE)
            wait_until(lambda: executor.stats().limit == 4)
        wait_until(lambda: controller.watcher is None or executor.submit(int).result(PATIENCE))
        executor.submit(int).result(PATIENCE)
        wait_until(lambda: controller.watcher is not None)


# --- costs


@linux_only
def test_idle():
    """An idle pool wakes no thread."""
    before = {thread.native_id for thread in threading.enumerate()}
    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor:
        wait([executor.submit(compute, 0.01) for _ in range(20)])
        wait_until(lambda: not controller.awake)
        ours = {thread.native_id for thread in threading.enumerate()} - before
        if has_gil():
            ours.add(controller.watcher.tid)
        wait_until(lambda: are_still(ours))
    assert len(ours) == 4 + has_gil()


def are_still(tids):
    """Return whether none of these threads wakes up for many periods of the watching thread."""
    woken = wakeups(tids)
    time.sleep(0.5)
    return wakeups(tids) == woken


def wakeups(tids):
    total = 0
    for tid in tids:
        status = Path(f"/proc/self/task/{tid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")]
        total += int(line.split()[1])
    return total


def test_tasks_done():
    """All tasks that have ended are counted, including those that fail."""
    executor = PriorityThreadPoolExecutor(3, latency_target=0.005)
    wait([executor.submit(int, text) for text in ("1", "x") * 20])
    executor.shutdown()
    assert executor.stats().tasks_done == 40


def test_limit_of_dead_workers():
    """After the workers have ended, no task counts as running, and no regulator is left."""
    executor = PriorityThreadPoolExecutor(3, latency_target=0.005)
    executor.submit(int).result()
    executor.shutdown()
    assert executor.stats().running == 0
    assert controller.regulators == []


@pytest.mark.parametrize("target", ["5 ms", b"1", True, [1]])
def test_bad_type(target):
    """A target is a number."""
    with pytest.raises(TypeError, match=r"latency_target must be a number of seconds or None, not "):
        PriorityThreadPoolExecutor(latency_target=target)


@pytest.mark.parametrize("target", [0, -1, 5, float("nan"), float("inf")])
def test_bad_value(target):
    """A target is a short time in seconds. The 5 was probably meant in ms."""
    with pytest.raises(ValueError, match=r"latency_target must be above 0 and at most 1, in seconds"):
        PriorityThreadPoolExecutor(latency_target=target)
