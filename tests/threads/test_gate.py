"""The pool lets as many workers run as the GIL has use for, and never fewer than the tasks need to come to an end."""

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
from marks import linux_only, needs_gil, posix_only
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads import cpu_time
from nicefutures._threads.controller import controller
from nicefutures._threads.gate import put_before
from nicefutures._threads.gil import has_gil
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import compute

# Alone, for where several programs share a CPU the GIL is free as often as there is no CPU to take it with.
pytestmark = [pytest.mark.every_python, pytest.mark.alone]

# --- how many run


@needs_gil
def test_narrow():
    """Of tasks that keep the GIL one runs at a time, before long."""
    tasks = functools.partial(compute, 0.002)
    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor, Feed(executor, tasks):
        wait_until(lambda: executor.stats().limit == executor.stats().running == 1)


@needs_gil
def test_wide():
    """Tasks that do not keep the GIL run as wide as there are workers."""
    with (
        PriorityThreadPoolExecutor(4, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.002)),
    ):
        wait_until(lambda: executor.stats().tasks_done > 200)
        wait_until(lambda: executor.stats().limit == 4)


@needs_gil
def test_change():
    """When the tasks change, so does the limit, there and back."""
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
@pytest.mark.skipif(not cpu_time.TOLD, reason="whose fault it is is told from CPU times")
def test_not_our_fault(noise):
    """A pool that only waits is not held back because somebody else keeps the GIL."""
    with (
        PriorityThreadPoolExecutor(8, latency_target=0.005) as executor,
        Feed(executor, functools.partial(time.sleep, 0.02)),
    ):
        done = executor.stats().tasks_done
        wait_until(lambda: executor.stats().tasks_done > done + 100)
        wait_until(lambda: executor.stats().limit >= 4)  # as many tasks as there are


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
    """Tasks that wait for each other all get to run."""
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
    """A task may look every ms whether another one has run."""
    ran = threading.Event()

    def poll():
        while not ran.is_set():
            time.sleep(0.001)

    polls = [gated.submit(poll) for _ in range(3)]
    gated.submit(ran.set)
    assert wait(polls, PATIENCE).not_done == set()


# --- what the standard library's pool promises, while workers wait


@needs_gil
def test_order(gated):
    """Tasks start in the order in which they were submitted, and map gives results in order."""
    started = []
    for future in [gated.submit(started.append, k) for k in range(100)]:
        future.result(PATIENCE)
    assert started == sorted(started)
    assert list(gated.map(str, range(50))) == [str(k) for k in range(50)]


def test_cancel(gated):
    """What has not begun can be cancelled."""
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
    """Shutting down does all tasks, or cancels those that have not begun."""
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
    """A task may shut its own pool down and cancel what is left."""
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
    # The other worker may have begun one, and is in it until then.
    assert sum(future.cancelled() for future in futures) >= 29


@pytest.mark.parametrize("ending", ["", "executor.shutdown(wait=False)", "del executor", "executor.shutdown()"])
def test_interpreter_exit(ending):
    """At the interpreter's exit all tasks are done, those too that wait for each other."""
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
    """The program ends although workers wait for their turn, one has none but sits at the queue, and no task comes."""
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
def test_fork(gated):
    """A child that was forked meanwhile can have a pool of its own, and comes to an end."""

    def child():
        with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
            return executor.submit(int, "3").result(PATIENCE)

    pid = gated.submit(lambda: os.fork() or os._exit(child())).result(PATIENCE)
    assert exit_status_of(pid) == 3


@needs_gil
@posix_only
def test_fork_beside_workers():
    """A child drops what the workers of its parent had, whatever lock one of them held when it was forked."""
    with PriorityThreadPoolExecutor(2, latency_target=0.005) as executor:
        executor.submit(int).result(PATIENCE)
        with executor._gate._lock:
            pid = os.fork() or os._exit(3)
        assert exit_status_of(pid) == 3


def exit_status_of(pid):
    """Wait for a child, and end one that does not end."""
    deadline = time.monotonic() + PATIENCE
    while (status := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if status[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    return os.waitstatus_to_exitcode(status[1])


def test_garbage():
    """A pool that nobody has any more ends its threads."""
    threads = set(threading.enumerate())
    executor = PriorityThreadPoolExecutor(4, latency_target=0.005)
    wait([executor.submit(compute, 0.01) for _ in range(40)])
    del executor
    wait_until(lambda: set(threading.enumerate()) <= threads)


@needs_gil  # without it, references are counted late
def test_references():
    """What a task had and gave is let go, however long it ran: nothing waits for the garbage collector."""

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
    """A pool whose queue somebody has replaced works, unlimited, and leaves nothing."""
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
    """A task whose submit raises is not done, and no other task is lost, whatever workers take meanwhile."""
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
    """Tasks that a shutdown cancels are not among those that were done."""
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
    """A Ctrl-C in the middle of a submit does not leave the pool without the thread that watches it."""

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
    """If the thread that watches fails, all workers may run, and the next task starts another."""
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


# --- what it costs


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
    """Return whether none of these threads wakes up for many times the period of the one that watches."""
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
    """All tasks are counted, those that fail included, those that are cancelled as well, as a worker sees them off."""
    executor = PriorityThreadPoolExecutor(3, latency_target=0.005)
    wait([executor.submit(int, text) for text in ("1", "x") * 20])
    executor.shutdown()
    assert executor.stats().tasks_done == 40


def test_limit_of_dead_workers():
    """A gate whose workers have gone has counted their tasks and has none left."""
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
    """A target is in seconds, and short: 5 was meant in ms."""
    with pytest.raises(ValueError, match=r"latency_target must be above 0 and at most 1, in seconds"):
        PriorityThreadPoolExecutor(latency_target=target)
