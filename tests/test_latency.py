"""The pool lets as many workers run as the GIL has use for, and never fewer than the tasks need to come to an end."""

import ctypes
import functools
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import wait
from pathlib import Path

import pytest

from asking import linux_only, posix_only, run_python
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads import cpu_time
from nicefutures._threads.blame import OpenCase, close_case
from nicefutures._threads.controller import Controller, controller
from nicefutures._threads.gate import EndedTask, Task, Worker, name_function, put_before
from nicefutures._threads.gil import SwitchInterval, has_gil
from nicefutures._threads.regulator import Look, Regulator

# Seconds: so long that only a task that would never end is still not done.
PATIENCE = 60
needs_gil = pytest.mark.skipif(not has_gil(), reason="without the GIL nobody waits for it")


def compute(seconds):
    """Keep the GIL busy with Python code."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(50))


def wait_until(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


class Feed:
    """Keeps a pool busy with a task."""

    def __init__(self, executor, task):
        self._executor, self._task, self._ends = executor, task, False
        self._futures = []
        self._futures += [executor.submit(self._run) for _ in range(4)]

    def _run(self):
        self._task()
        if not self._ends:
            self._futures.append(self._executor.submit(self._run))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends = True
        while self._futures:
            self._futures.pop().result(PATIENCE)


@pytest.fixture
def noise():
    """A thread of the program's own that never lets the GIL go for long."""
    ends = threading.Event()

    def run():
        while not ends.is_set():
            compute(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ends.set()
    thread.join()


@pytest.fixture
def gated():
    """A pool whose tasks have made it let one worker run, with such tasks still coming."""
    with PriorityThreadPoolExecutor(4) as executor, Feed(executor, functools.partial(compute, 0.002)) as feed:
        if has_gil():
            wait_until(lambda: executor.stats().limit == 1)
        yield executor
        del feed


# --- how many run


@needs_gil
def test_narrow(gated):
    """Of tasks that keep the GIL one runs at a time, before long."""
    wait_until(lambda: gated.stats().running == 1)


@needs_gil
def test_wide():
    """Tasks that do not keep the GIL run as wide as there are workers."""
    with PriorityThreadPoolExecutor(4) as executor, Feed(executor, functools.partial(time.sleep, 0.002)):
        wait_until(lambda: executor.stats().tasks_done > 200)
        assert executor.stats().limit == 4


@needs_gil
def test_change():
    """When the tasks change, so does the limit, there and back."""
    does = [compute]

    def task():
        does[0](0.002)

    with PriorityThreadPoolExecutor(4) as executor, Feed(executor, task):
        wait_until(lambda: executor.stats().limit == 1)
        does[0] = time.sleep
        wait_until(lambda: executor.stats().limit == 4)
        does[0] = compute
        wait_until(lambda: executor.stats().limit == 1)


def test_turns():
    """What workers did that have no task just now counts as the pool's: many workers take turns with a few tasks."""
    barrier, begun, release = threading.Barrier(4), threading.Event(), threading.Event()

    def hold():
        begun.set()
        release.wait()

    with PriorityThreadPoolExecutor(4, latency_target=None) as executor:
        gate = executor._gate
        wait([executor.submit(barrier.wait) for _ in range(4)], PATIENCE)
        executor.submit(hold)
        wait_until(lambda: begun.is_set() and len(gate.running) == 1)
        (running,) = gate.running
        regulator = Regulator(gate, 0.005, Controller())
        regulator.begin()
        for _ in range(10):
            regulator.beat(0.01)
        used = {worker.native_id: 20_000_000 for worker in gate.workers if worker is not running}
        regulator.look(Look(since=0, elapsed_ns=60_000_000, used=used))
        limit = executor.stats().limit
        release.set()
    assert limit == 1


@needs_gil
def test_not_our_fault(noise):
    """A pool that only waits is not held back because somebody else keeps the GIL."""
    with PriorityThreadPoolExecutor(8) as executor, Feed(executor, functools.partial(time.sleep, 0.02)):
        done = executor.stats().tasks_done
        wait_until(lambda: executor.stats().tasks_done > done + 100)
        wait_until(lambda: executor.stats().limit == 8)


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
            assert not [t for t in threading.enumerate() if t.name == "nicefutures-controller"]
        assert executor.stalls() == []
        assert executor.stats().tasks_done > 4


# --- liveness


@pytest.mark.parametrize("workers", [2, 4, 8, 32])
def test_barrier(noise, workers):
    """Tasks that wait for each other all get to run."""
    barrier = threading.Barrier(workers)
    with PriorityThreadPoolExecutor(workers) as executor, Feed(executor, functools.partial(compute, 0.002)):
        if has_gil():
            wait_until(lambda: executor.stats().limit == 1)
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
    ran = []
    blockers = [gated.submit(time.sleep, 0.2) for _ in range(8)]
    futures = [gated.submit(ran.append, k) for k in range(20)]
    cancelled = [future.cancel() for future in futures]
    wait([*blockers, *futures], PATIENCE)
    assert any(cancelled)
    assert ran == [k for k, was in enumerate(cancelled) if not was]


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown(cancel):
    """Shutting down does all tasks, or cancels those that have not begun."""
    executor = PriorityThreadPoolExecutor(4)
    with Feed(executor, functools.partial(compute, 0.002)):
        if has_gil():
            wait_until(lambda: executor.stats().limit == 1)
    futures = [executor.submit(compute, 0.01) for _ in range(60)]
    executor.shutdown(cancel_futures=cancel)
    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures) == cancel
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


def test_shutdown_from_a_task():
    """A task may shut its own pool down and cancel what is left."""
    executor = PriorityThreadPoolExecutor(2)
    begun = threading.Event()

    def end_it():
        begun.wait()
        executor.shutdown(wait=False, cancel_futures=True)
        return "done"

    ending = executor.submit(end_it)
    futures = [executor.submit(compute, 0.01) for _ in range(30)]
    begun.set()
    assert ending.result(PATIENCE) == "done"
    wait_until(lambda: all(future.done() for future in futures))
    assert any(future.cancelled() for future in futures)


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

executor = PriorityThreadPoolExecutor(4)
barrier = threading.Barrier(4)
for _ in range(40):
    executor.submit(compute, 0.01)
for _ in range(4):
    executor.submit(barrier.wait).add_done_callback(lambda future: print("met", flush=True))
time.sleep(0.3)
{ending}
"""
    assert run_python(code).count("met") == 4


@posix_only
def test_fork(gated):
    """A child that was forked meanwhile can have a pool of its own, and comes to an end."""

    def child():
        with PriorityThreadPoolExecutor(2) as executor:
            return executor.submit(int, "3").result(PATIENCE)

    pid = gated.submit(lambda: os.fork() or os._exit(child())).result(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while (status := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if status[0] == 0:
        os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(status[1]) == 3


def test_garbage():
    """A pool that nobody has any more ends its threads."""
    threads = set(threading.enumerate())
    executor = PriorityThreadPoolExecutor(4)
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
        with PriorityThreadPoolExecutor(2) as executor:
            argument = Big()
            future = executor.submit(run, argument)
            seen = [weakref.ref(argument), weakref.ref(future.result(PATIENCE))]
            del argument, future
            wait_until(lambda: [ref() for ref in seen] == [None, None])
    finally:
        gc.enable()


def test_broken():
    """A failing initializer breaks the pool, as with the standard library."""
    with PriorityThreadPoolExecutor(2, initializer=int, initargs=("x",)) as executor:
        with pytest.raises(RuntimeError, match="initializer failed"):
            executor.submit(int).result(PATIENCE)
        with pytest.raises(RuntimeError, match="initializer failed"):
            executor.submit(int)


# --- the switch interval


@needs_gil
def test_switch_interval():
    """It is short while tasks run, and what it was as soon as the pool is shut down, or idle."""
    before = sys.getswitchinterval()
    with PriorityThreadPoolExecutor(2, latency_target=0.01) as executor:
        assert sys.getswitchinterval() == before
        with Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.002))
        wait_until(lambda: sys.getswitchinterval() == before)
        with Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.002))
    assert sys.getswitchinterval() == before


@needs_gil
def test_switch_interval_of_two():
    """Two pools have the shorter of theirs; after both have ended it is what it was."""
    before = sys.getswitchinterval()
    with PriorityThreadPoolExecutor(2, latency_target=0.02) as first, Feed(first, functools.partial(compute, 0.002)):
        wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.004))
        with PriorityThreadPoolExecutor(2) as second, Feed(second, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.001))
    assert sys.getswitchinterval() == before


@needs_gil
def test_switch_interval_of_the_user():
    """What the user sets meanwhile stays."""
    before = sys.getswitchinterval()
    try:
        with PriorityThreadPoolExecutor(2) as executor, Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() != before)
            sys.setswitchinterval(0.003)
        assert sys.getswitchinterval() == pytest.approx(0.003)
    finally:
        sys.setswitchinterval(before)


def test_short_switch_interval():
    """One that is shorter already stays, too."""
    before = sys.getswitchinterval()
    interval = SwitchInterval()
    try:
        sys.setswitchinterval(0.0005)
        interval.shorten(0.001)
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        interval.put_back()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)


# --- blame


def hold_gil(seconds):
    """Keep the GIL in one C call."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(round(seconds * 1e3))
    else:
        ctypes.PyDLL(None).usleep(round(seconds * 1e6))


@pytest.fixture(params=[True, False] if cpu_time.TOLD else [False], ids=lambda told: "told" if told else "not told")
def tells_cpu_time(request, monkeypatch):
    """Whether the system tells of a thread how much CPU time it has used; macOS does not."""
    monkeypatch.setattr(cpu_time, "TOLD", request.param)


@needs_gil
@pytest.mark.parametrize("beside", [None, functools.partial(time.sleep, 0.01), functools.partial(compute, 0.002)])
def test_stall(beside, caplog):
    """A call that keeps the GIL is named, with how long it kept it."""
    if beside is not None and not cpu_time.TOLD:
        pytest.skip("which of several tasks it was is seen from their CPU times")
    with PriorityThreadPoolExecutor(4) as executor:
        if beside is None:
            executor.submit(hold_gil, 0.5).result()
        else:
            with Feed(executor, beside):
                time.sleep(0.2)
                executor.submit(hold_gil, 0.5).result()
        wait_until(lambda: f"{__name__}.hold_gil" in [stall.function for stall in executor.stalls()])
        (stall,) = [stall for stall in executor.stalls() if stall.function.endswith("hold_gil")]
    assert stall.seconds == pytest.approx(0.5, rel=0.2)
    assert stall.times == 1
    (record,) = [each for each in caplog.records if "hold_gil" in each.message]
    assert record.levelno == logging.INFO
    assert "LowPriorityProcessPoolExecutor" in record.message


@needs_gil
@pytest.mark.usefixtures("tells_cpu_time")
def test_short_stall():
    """Ten times the target is enough."""
    with PriorityThreadPoolExecutor(4) as executor:
        executor.submit(hold_gil, 0.05).result()
        wait_until(executor.stalls)
        (stall,) = executor.stalls()
    assert stall.function == f"{__name__}.hold_gil"
    assert stall.seconds > 0.03


@needs_gil
@pytest.mark.usefixtures("tells_cpu_time")
def test_computing_stall():
    """A call that computes with the GIL is named, whoever is the first to go on after it."""
    numbers = list(range(100_000)) * 60
    with PriorityThreadPoolExecutor(2) as executor, Feed(executor, functools.partial(time.sleep, 0.005)):
        time.sleep(0.1)

        def named():
            executor.submit(sorted, numbers).result()
            return "builtins.sorted" in [stall.function for stall in executor.stalls()]

        wait_until(named)


@pytest.mark.parametrize(
    ("seconds", "used", "blamed"), [(0.5, 0.45, True), (0.5, 0.05, False), (5.0, 4.9, True), (5.0, 3.0, False)]
)
def test_task_that_ends_after_a_stall(seconds, used, blamed):
    """A task that ran on after a stall of 0.4 s is blamed if it must have computed for half of that, whatever else."""
    with PriorityThreadPoolExecutor(1) as executor:
        regulator = Regulator(executor._gate, 0.005, Controller())
        worker = Worker(None)
        worker.task = Task(None, 7)
        case = OpenCase(regulator, worker, 7, 400_000_000)
        assert not close_case(case)
        worker.task = None
        worker.last_long = EndedTask("task", 7, 7 + round(seconds * 1e9), round(used * 1e9))
        assert close_case(case)
        assert [stall.function for stall in regulator.stalls] == ["task"] * blamed


@needs_gil
def test_other_thread_stalls():
    """Another thread's call is not blamed on a task."""
    numbers = list(range(100_000))
    with PriorityThreadPoolExecutor(2) as executor, Feed(executor, functools.partial(time.sleep, 0.005)):
        time.sleep(0.1)
        sorted(numbers * 60)
        time.sleep(0.1)
        assert executor.stalls() == []


@linux_only
@needs_gil
def test_stopped_process():
    """That the process was stopped for a while is nobody's fault."""
    code = """
import os, signal, subprocess, sys, time
from nicefutures import PriorityThreadPoolExecutor
with PriorityThreadPoolExecutor(2) as executor:
    future = executor.submit(time.sleep, 1.5)
    time.sleep(0.3)
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    future.result()
    print(executor.stalls())
"""
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (compute, f"{__name__}.compute"),
        (functools.partial(functools.partial(compute, 1)), f"{__name__}.compute"),
        (sorted, "builtins.sorted"),
        ("x".join, "str.join"),
        (threading.Event().wait, "threading.Event.wait"),
    ],
)
@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_name_function(function, name, on_failure):
    """A task's function has its qualified name, on every Python, and in spite of what it is wrapped in."""
    with PriorityThreadPoolExecutor(1, on_failure=on_failure) as executor:
        blocker = executor.submit(time.sleep, 0.1)
        wait_until(blocker.running)
        future = executor.submit(function)
        item = executor._work_queue.get_nowait()
        assert name_function(item) == name
        future.cancel()
        blocker.result()


def test_other_queue():
    """A pool whose queue somebody has replaced works, unlimited, and leaves nothing."""
    executor = PriorityThreadPoolExecutor(2)
    gate = executor._work_queue
    executor._work_queue = queue.PriorityQueue()
    assert put_before(executor, gate) is False
    executor._work_queue = queue.SimpleQueue()
    with executor:
        assert executor.submit(int, "1").result() == 1
    assert gate.workers == controller.regulators == []


# --- what it costs


@linux_only
def test_idle():
    """An idle pool wakes no thread."""
    before = {thread.native_id for thread in threading.enumerate()}
    with PriorityThreadPoolExecutor(4) as executor:
        wait([executor.submit(compute, 0.01) for _ in range(20)])
        wait_until(lambda: not controller.awake)
        time.sleep(0.1)
        ours = {thread.native_id for thread in threading.enumerate()} - before
        woken = wakeups(ours)
        time.sleep(1)
        assert wakeups(ours) == woken
    assert len(ours) > 4 - (not has_gil())


def wakeups(tids):
    total = 0
    for tid in tids:
        status = Path(f"/proc/self/task/{tid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")]
        total += int(line.split()[1])
    return total


def test_tasks_done():
    """All tasks are counted, those that fail included, those that are cancelled as well, as a worker sees them off."""
    executor = PriorityThreadPoolExecutor(3)
    wait([executor.submit(int, text) for text in ("1", "x") * 20])
    executor.shutdown()
    assert executor.stats().tasks_done == 40


def test_limit_of_dead_workers():
    """A gate whose workers have gone has counted their tasks and has none left."""
    executor = PriorityThreadPoolExecutor(3)
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
