"""Dask workers with the plugin: ``python dask_main.py SCENARIO``, in its own process, because Dask leaves threads."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures

import dask
import distributed
from distributed import Client, LocalCluster, worker_client

from asking import LINUX, THREAD, ask_thread, may_raise
from nicefutures import PriorityThreadPoolExecutor, ProcessPriority, ThreadPriority
from nicefutures.integrations.dask import LowPriorityWorkers, WorkerLevels, worker_levels
from patience import PATIENCE

IDLE = THREAD[ThreadPriority.IDLE]
BELOW_NORMAL = THREAD[ThreadPriority.BELOW_NORMAL]
NORMAL = THREAD[ThreadPriority.NORMAL]


@contextlib.contextmanager
def cluster(workers=2, threads=2, host="127.0.0.1", **options):
    """Open a cluster on loopback, whose workers' BLAS libraries may have two threads each."""
    blas = {f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": 2 for library in ("OMP", "OPENBLAS", "MKL")}
    with dask.config.set({"distributed.logging": {"distributed": "warning"}, **blas}):
        made = LocalCluster(n_workers=workers, threads_per_worker=threads, host=host, dashboard_address=None, **options)
    with made, Client(made) as client:
        yield client


def compute(_=None):
    """Compute with BLAS; return the level of this thread."""
    import numpy as np

    time.sleep(0.1)
    square = np.ones((400, 400))
    square @ square
    return ask_thread()


def run(client, function=compute, count=8):
    return set(client.gather(client.map(function, range(count), pure=False)))


def run_at(client, level):
    """Run tasks until all are at a level. On a fully loaded machine they may be lifted for some seconds."""
    deadline = time.monotonic() + PATIENCE
    while (found := run(client)) != {level}:
        assert found <= {IDLE, BELOW_NORMAL}, found
        assert time.monotonic() < deadline


def look():
    """Return the levels of this worker's threads, those of Python by name, and that of the nanny's main thread."""
    named, others = {}, []
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for tid in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):
            level = {0: "OTHER", 5: "IDLE"}[os.sched_getscheduler(tid)], os.getpriority(os.PRIO_PROCESS, tid)
            if tid in names:
                named[names[tid]] = level
            else:
                others.append(level)
    return named, others, (os.sched_getscheduler(os.getppid()), os.getpriority(os.PRIO_PROCESS, os.getppid()))


def check_lowered(client):
    """Check that all is lowered. On a fully loaded machine, tasks may be lifted for some seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return check_lowered_now(client)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        run(client)


def check_lowered_now(client):
    for levels in client.run(worker_levels).values():
        assert levels.event_loop is ThreadPriority.NORMAL
        assert set(levels.task_threads.values()) == {ThreadPriority.IDLE}
        assert set(levels.library_threads.values()) <= {ThreadPriority.IDLE}
        assert not levels.shortfalls, levels.shortfalls
    if not LINUX:
        return
    for named, others, nanny in client.run(look).values():
        computes = {name for name in named if "Dask-Default" in name or "Dask-Actor" in name}
        assert computes
        for name, level in named.items():
            assert level == (("IDLE", 0) if name in computes else ("OTHER", 0)), (name, level)
        assert others, "no thread of BLAS"
        assert set(others) == {("IDLE", 0)}, others
        assert nanny == (0, 0)


def check_normal(client):
    assert set(client.run(worker_levels).values()) == {None}
    if LINUX:
        for named, others, _ in client.run(look).values():
            assert {*named.values(), *others} == {("OTHER", 0)}, (named, others)


def wait_for_workers(client, count, without=()):
    deadline = time.monotonic() + PATIENCE
    while True:
        pids = set(client.run(os.getpid).values())
        if len(pids) == count and not pids & set(without):
            return pids
        assert time.monotonic() < deadline, pids
        time.sleep(0.1)


def levels():
    """Threads that compute are lowered, also on later workers; those that communicate are not; all are restored."""
    with cluster() as client:
        run(client)
        client.register_plugin(LowPriorityWorkers("idle"))
        run_at(client, IDLE)
        check_lowered(client)

        client.cluster.scale(3)
        pids = wait_for_workers(client, 3)
        run(client, count=24)
        check_lowered(client)

        killed = min(pids)
        tasks = client.map(compute, range(12), pure=False)
        os.kill(killed, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        assert set(client.gather(tasks)) <= {IDLE, BELOW_NORMAL}
        wait_for_workers(client, 3, without=[killed])
        run(client, count=24)
        check_lowered(client)

        client.unregister_worker_plugin(LowPriorityWorkers.name)
        assert run(client) == {NORMAL}
        check_normal(client)


def replaced():
    """Another level replaces the first one."""
    with cluster(1) as client:
        client.register_plugin(LowPriorityWorkers(ProcessPriority.IDLE))
        run_at(client, IDLE)
        client.register_plugin(LowPriorityWorkers("Below_Normal"))
        run_at(client, BELOW_NORMAL)
        (found,) = client.run(worker_levels).values()
        assert isinstance(found, WorkerLevels)
        assert found.requested is ThreadPriority.BELOW_NORMAL
        if may_raise:
            assert set(found.library_threads.values()) <= {ThreadPriority.BELOW_NORMAL}


def unprivileged():
    """The log says that threads of libraries cannot be raised again; tasks still run at the normal level."""
    assert not may_raise
    with cluster(1) as client:
        run(client)
        client.register_plugin(LowPriorityWorkers())
        run_at(client, IDLE)
        check_lowered(client)
        client.unregister_worker_plugin(LowPriorityWorkers.name)
        assert run(client) == {NORMAL}
        ((_, text),) = [entry for log in client.get_worker_logs().values() for entry in log if entry[0] == "WARNING"]
        assert "client.restart()" in text
        client.restart(timeout=PATIENCE)
        run(client)
        check_normal(client)


def forbidden():
    """If the level cannot be set, the worker continues and says why."""
    with cluster(1) as client:
        client.register_plugin(LowPriorityWorkers("idle"))
        assert run(client) == {NORMAL}
        (levels_,) = client.run(worker_levels).values()
        assert set(levels_.task_threads.values()) == {ThreadPriority.NORMAL}
        (text,) = levels_.shortfalls
        assert "container" in text
        logged = [entry for log in client.get_worker_logs().values() for entry in log]
        assert ("WARNING", text) in [(level, message.rpartition(" - ")[2]) for level, message in logged], logged


class Counter:
    def __init__(self):
        self.count = 0

    def increment(self):
        self.count += 1
        return self.count, ask_thread()


def nested(number):
    with worker_client() as client:
        inner = client.submit(compute, number, pure=False).result()
    return inner, ask_thread()


def slow_nested(number):
    with worker_client() as client:
        return client.submit(time.sleep, 1 + number / 100, pure=False).result()


def leaving():
    """Tasks that leave their thread, and actors, work as usual; the plugin can be removed while they run."""
    with cluster(1) as client:
        client.register_plugin(LowPriorityWorkers())
        assert {level for pair in run(client, nested, 6) for level in pair} <= {IDLE, BELOW_NORMAL}
        actor = client.submit(Counter, actor=True).result()
        counted = [actor.increment().result() for _ in range(3)]
        assert [count for count, _ in counted] == [1, 2, 3]
        assert {level for _, level in counted} <= {IDLE, BELOW_NORMAL}
        tasks = client.map(slow_nested, range(4))
        time.sleep(0.5)
        client.unregister_worker_plugin(LowPriorityWorkers.name)
        assert client.gather(tasks) == [None] * 4
        assert run(client, nested, 6) == {(NORMAL, NORMAL)}
        assert actor.increment().result() == (4, NORMAL)
        tasks = client.map(slow_nested, range(4), pure=False)
        time.sleep(0.5)
        client.register_plugin(LowPriorityWorkers())
        assert client.gather(tasks) == [None] * 4
        run_at(client, IDLE)
        failed = client.submit(divmod, 1, 0)
        assert isinstance(failed.exception(), ZeroDivisionError)
        deadline = time.monotonic() + PATIENCE
        while (count := count_task_threads(client)) > 6:  # one for actors, two for tasks, and as many lifted ones
            assert time.monotonic() < deadline, count
            time.sleep(0.1)


def count_task_threads(client):
    ((names),) = client.run(lambda: [thread.name for thread in threading.enumerate()]).values()
    return sum("Dask-" in name for name in names)


def foreign():
    """The user's executors are not changed, with a message unless they are ours; Dask's own class is lowered."""
    logging.getLogger("distributed.worker").setLevel(logging.ERROR)
    for executor, words, level in (
        (PriorityThreadPoolExecutor(2), "", BELOW_NORMAL),
        (distributed.threadpoolexecutor.ThreadPoolExecutor(2), "", IDLE),
        (futures.ThreadPoolExecutor(2), "PriorityThreadPoolExecutor", NORMAL),
        ("offload", "read and write messages", NORMAL),
    ):
        with cluster(1, processes=False, host=None, executor=executor) as client:
            client.register_plugin(LowPriorityWorkers())
            (found,) = client.run(worker_levels).values()
            assert [words in text for text in found.shortfalls] == [True] * bool(words), found
            run_at(client, level)
    assert ask_thread() == NORMAL


def in_process():
    """Two workers run in the process of the client, which keeps its level."""
    with cluster(2, 1, processes=False, host=None) as client:
        client.register_plugin(LowPriorityWorkers())
        run_at(client, IDLE)
        assert ask_thread() == NORMAL
    if LINUX and may_raise:
        _, others, _ = look()
        assert set(others) <= {("OTHER", 0)}, others


def preload():
    """A preload in Dask's configuration sets the level, and `register_plugin` replaces it."""
    preload = {"distributed.worker.preload": ["nicefutures.integrations.dask"], "nicefutures.priority": "below_normal"}
    with dask.config.set(preload), cluster(1) as client:
        (found,) = client.run(worker_levels).values()
        assert found.requested is ThreadPriority.BELOW_NORMAL
        run_at(client, BELOW_NORMAL)
        client.register_plugin(LowPriorityWorkers("idle"))
        run_at(client, IDLE)


def spin(seconds=0.2):
    """Run Python code, which keeps the GIL; return the level of this thread."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return ask_thread()


def nap(seconds=0.2):
    time.sleep(seconds)
    return ask_thread()


def run_until(client, function, level):
    """Run tasks until they run at a level; return the worker's levels."""
    deadline = time.monotonic() + PATIENCE
    while set(client.gather([client.submit(function, pure=False) for _ in range(4)])) != {level}:
        assert time.monotonic() < deadline
    (found,) = client.run(worker_levels).values()
    return found


def lifting():
    """Tasks that keep the GIL are lifted, so that they do not starve the event loop; other tasks are not."""
    with cluster(1, 2) as client:
        client.register_plugin(LowPriorityWorkers())
        run_until(client, nap, IDLE)
        assert run_until(client, spin, BELOW_NORMAL).lifted
        assert not run_until(client, nap, IDLE).lifted
        client.unregister_worker_plugin(LowPriorityWorkers.name)
        assert run(client, spin) == {NORMAL}


def full_machine():
    """While other programs want more CPUs than there are, unknown tasks begin lifted."""
    busy = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"
    with cluster(1, 2) as client:
        client.register_plugin(LowPriorityWorkers())
        run(client)
        others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(3 * os.cpu_count())]
        try:
            deadline = time.monotonic() + PATIENCE
            while not next(iter(client.run(worker_levels).values())).lifted:
                assert time.monotonic() < deadline
                time.sleep(0.5)
            assert client.submit(ask_thread, pure=False).result() == BELOW_NORMAL
        finally:
            for other in others:
                other.kill()
                other.wait()
        assert not run_until(client, nap, IDLE).lifted


def late_libraries():
    """Threads that a library starts in the worker's event loop are found while tasks run."""
    with cluster(1, 1) as client:
        client.register_plugin(LowPriorityWorkers())
        client.run(compute)  # in the event loop
        deadline = time.monotonic() + PATIENCE
        while True:
            client.submit(time.sleep, 1.5, pure=False).result()
            (found,) = client.run(worker_levels).values()
            if set(found.library_threads.values()) == {ThreadPriority.IDLE}:
                break
            assert time.monotonic() < deadline, found


if __name__ == "__main__":
    if sys.argv[2:] == ["forbid"]:
        from programs import FORBID

        exec(FORBID + "    forbid(SCHED_SETSCHEDULER, SETPRIORITY)", {"__name__": "__main__"})
    globals()[sys.argv[1]]()
