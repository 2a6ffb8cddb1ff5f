"""A paused pool: its workers and the processes they have started stand still, and every way out continues them."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from asking import WINDOWS
from marks import METHODS, forks, one_less, posix_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor, ProcessPriority, get_process_priority, no_pause
from nicefutures._processes.handle import State
from nicefutures._system import backend
from patience import PATIENCE, wait_until
from programs import run_python, unprivileged
from tasks import die, hold_until, same

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
WAITING = f"import time; time.sleep({PATIENCE})"


def start_child(begun, go):
    """Run a child process until the file `go` exists."""
    with subprocess.Popen([sys.executable, "-c", WAITING]) as child:
        begun.with_suffix(".tmp").write_text(f"{os.getpid()} {child.pid}")
        begun.with_suffix(".tmp").rename(begun)
        hold_until(go)
        child.kill()
    return "done"


def start_many(path, go):
    """Start one child after the other, each of which ends at once, until the file `go` exists."""
    path.touch()
    while not go.exists():
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    return "done"


def hold_lock(begun, leave, left, go):
    """Stay in a `no_pause` block, as with a lock that others wait for."""
    with no_pause(), no_pause():
        begun.touch()
        hold_until(leave)
    left.touch()
    hold_until(go)
    return "done"


def ask_for_lock(begun, ask):
    begun.touch()
    hold_until(ask)
    with no_pause():
        return "done"


def fail_in_lock():
    with no_pause():
        raise KeyError


def leave_block(begun, leave, left):
    """Leave a thread behind that stays in a `no_pause` block until another task runs."""

    def hold():
        with no_pause():
            begun.touch()
            hold_until(leave)
        left.touch()

    threading.Thread(target=hold).start()
    hold_until(begun)


def hold_beside(leave, left, inside, go):
    with no_pause():
        leave.touch()
        hold_until(left)
        inside.touch()
        hold_until(go)


def outlive(path):
    def hold():
        time.sleep(0.2)
        try:
            with no_pause():
                pass
        except RuntimeError as error:
            path.write_text(str(error))

    threading.Thread(target=hold).start()


def is_still(pid):
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def are_still(executor):
    """Return whether all processes stand still, as do zombies, and parents that wait for a child in vfork."""
    return all(
        process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DISK_SLEEP)
        for pid in executor._processes
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    )


def begin(executor, tmp_path, tasks=1):
    """Return the futures of tasks that have a child, and the process ids of workers and children."""
    files = [tmp_path / f"begun{number}" for number in range(tasks)]
    futures = [executor.submit(start_child, path, tmp_path / "go") for path in files]
    wait_until(lambda: all(path.exists() for path in files))
    return futures, [int(pid) for path in files for pid in path.read_text().split()]


def compute(path):
    """Compute until the file `path` exists, in a child as well."""
    code = "import os, sys\nwhile not os.path.exists(sys.argv[1]): pass"
    with subprocess.Popen([sys.executable, "-S", "-c", code, path]) as child:
        path.with_suffix(".tmp").write_text(str(child.pid))
        path.with_suffix(".tmp").rename(path.with_suffix(".pid"))
        while not path.exists():
            pass
    return "done"


def used_for_long(processes):
    """Return the CPU times of processes if they do not grow."""
    before = [process.cpu_times()[:2] for process in processes]
    time.sleep(0.5)
    return before == [process.cpu_times()[:2] for process in processes] and before


@pytest.mark.parametrize("method", METHODS)
def test_no_cpu_time(method, tmp_path):
    """A worker that computes uses no CPU time while it is paused, and neither does its child."""
    path = tmp_path / "go"
    with LowPriorityProcessPoolExecutor(1, method, priority="normal") as executor:
        future = executor.submit(compute, path)
        wait_until(path.with_suffix(".pid").exists)
        processes = [psutil.Process(int(pid)) for pid in (*executor._processes, path.with_suffix(".pid").read_text())]
        try:
            executor.pause()
            before = wait_until(lambda: used_for_long(processes))
            executor.resume()
            pairs = list(zip(processes, before, strict=True))
            wait_until(lambda: all(process.cpu_times()[:2] > used for process, used in pairs))
        finally:
            path.touch()
        assert future.result(PATIENCE) == "done"


@posix_only  # Windows does not tell whether a process is suspended
@pytest.mark.every_python
def test_pause_and_resume(context, tmp_path):
    """Workers and children of tasks stand still, submitted tasks wait, and all continue after the pause."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        futures, pids = begin(executor, tmp_path, 2)
        assert executor.paused_by == frozenset()
        executor.pause()
        executor.pause()
        assert executor.paused_by == {"pause"}
        assert all(map(is_still, pids))
        assert [worker.paused for worker in executor.workers()] == [True, True]
        assert {worker.state for worker in executor._pool._leased} == {State.PAUSED}
        futures.append(executor.submit(same, "done"))
        results = executor.map(same, [1, 2])
        (tmp_path / "go").touch()
        assert executor.tasks() == (3, 2)
        assert not any(future.done() for future in futures)
        executor.resume()
        assert not any(map(is_still, filter(psutil.pid_exists, pids)))
        assert [future.result(PATIENCE) for future in futures] == ["done"] * 3
        assert list(results) == [1, 2]
        assert not executor.paused_by
        assert [worker.paused for worker in executor.workers()] == [False, False]


@posix_only
def test_idle_workers_stand_still(tmp_path):
    """A pool can be paused before its first task, and idle workers stand still as well."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        executor.pause()
        future = executor.submit(same, 1)
        executor.resume()
        assert future.result(PATIENCE) == 1
        executor.pause()
        assert are_still(executor)
        assert executor._processes
        future = executor.submit(same, 2)
        executor.resume()
        assert future.result(PATIENCE) == 2


@forks
def test_workers_that_come_meanwhile():
    """Forked workers, which all start at the first task, stand still in a pool that is already paused."""
    with LowPriorityProcessPoolExecutor(3, "fork") as executor:
        executor.pause()
        future = executor.submit(same, 1)
        wait_until(lambda: len(executor._processes) == 3 and are_still(executor))
        executor.resume()
        assert future.result(PATIENCE) == 1


@posix_only
def test_children_that_come_meanwhile(tmp_path):
    """A process that a task starts at the moment of the pause stands still, too."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        futures = [executor.submit(start_many, tmp_path / name, tmp_path / "go") for name in "ab"]
        wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        for _ in range(20):
            executor.pause()
            wait_until(lambda: are_still(executor))
            executor.resume()
        (tmp_path / "go").touch()
        assert [future.result(PATIENCE) for future in futures] == ["done"] * 2


@pytest.mark.every_python
@pytest.mark.parametrize("way", ["stop", "shutdown", "exit", "kill", "crash", "cancel", "collect"])
def test_every_way_out(way, tmp_path):
    """Whatever happens to a paused pool, nothing hangs, and no process stays stopped."""
    executor = LowPriorityProcessPoolExecutor(1, on_crash="fail")
    (future,), pids = begin(executor, tmp_path)
    executor.pause()
    waiting = executor.submit(same, 1)
    (tmp_path / "go").touch()
    if way == "stop":
        assert executor.stop(waiting)
        assert executor.stop(future)
        for each in (future, waiting):
            with pytest.raises(CancelledError):
                each.result(PATIENCE)
        executor.shutdown()
    elif way == "shutdown":
        executor.shutdown()
        assert (future.result(), waiting.result()) == ("done", 1)
    elif way == "exit":
        with executor:
            pass
        assert (future.result(), waiting.result()) == ("done", 1)
    elif way == "kill":
        executor.kill_workers() if sys.version_info >= (3, 14) else executor._force_shutdown("kill")
        with pytest.raises(BrokenProcessPool):
            future.result(PATIENCE)
        wait_until(lambda: WINDOWS or not is_still(pids[1]))
        psutil.Process(pids[1]).kill()  # as without a pause, a process that a task has started outlives its worker
    elif way == "crash":
        psutil.Process(pids[0]).kill()
        with pytest.raises(BrokenProcessPool):
            future.result(PATIENCE)
        assert executor.paused_by
        executor.resume()
        assert waiting.result(PATIENCE) == 1
        assert WINDOWS or not is_still(pids[1])
        psutil.Process(pids[1]).kill()
        executor.shutdown()
    elif way == "cancel":
        executor.shutdown(cancel_futures=True)
        assert future.result() == "done"
        assert waiting.cancelled()
    else:
        del executor
        assert (future.result(PATIENCE), waiting.result(PATIENCE)) == ("done", 1)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))


@posix_only
@pytest.mark.parametrize("method", one_less(METHODS))
def test_parent_is_killed(method, tmp_path):
    """If the parent is killed, its workers end, and the processes they have started do not stay stopped."""
    program = f"""
        import pathlib, sys, time
        from nicefutures import LowPriorityProcessPoolExecutor
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})
        import test_pausing
        if __name__ == "__main__":
            executor = LowPriorityProcessPoolExecutor(2, {method!r})
            path = pathlib.Path({str(tmp_path)!r})
            test_pausing.begin(executor, path, 2)
            executor.pause()
            (path / "paused").touch()
            time.sleep({PATIENCE})
    """
    script = tmp_path / "program.py"
    script.write_text("\n".join(line[8:] for line in program.splitlines()))
    with subprocess.Popen([sys.executable, script]) as parent:
        wait_until((tmp_path / "paused").exists)
        pids = [[int(pid) for pid in (tmp_path / f"begun{number}").read_text().split()] for number in range(2)]
        assert all(is_still(pid) for pair in pids for pid in pair)
        parent.kill()
    for worker, child in pids:
        wait_until(lambda pid=worker: not psutil.pid_exists(pid))
        if os.name == "posix":
            wait_until(lambda pid=child: not is_still(pid))
            os.kill(child, signal.SIGKILL)
        wait_until(lambda pid=child: not psutil.pid_exists(pid))


def test_end_of_the_program(tmp_path):
    """The interpreter's exit waits for tasks, so it resumes a paused pool."""
    script = tmp_path / "program.py"
    script.write_text(
        "from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    for executor in (LowPriorityProcessPoolExecutor(1), PriorityThreadPoolExecutor(1)):\n"
        "        executor.pause()\n"
        "        executor.submit(print, 'done').add_done_callback(lambda future: print(future.result()))\n"
    )
    assert run_python(str(script)).split().count("None") == 2


def test_pause_during_the_end(tmp_path):
    """A pause that begins while the program or the pool ends does nothing: nobody would resume it."""
    script = tmp_path / "program.py"
    script.write_text(
        "from nicefutures import LowPriorityProcessPoolExecutor\n"
        "from tasks import hold_until\n"
        "import sys, threading, time\n"
        "def pause_again(executor):\n"
        "    while executor.paused_by:\n"
        "        time.sleep(0.01)\n"
        "    executor.pause()\n"
        "    print(executor.paused_by)\n"
        "    executor.resume()\n"
        "    open(sys.argv[1], 'w').close()\n"
        "if __name__ == '__main__':\n"
        "    executor = LowPriorityProcessPoolExecutor(1)\n"
        "    executor.submit(hold_until, sys.argv[1])\n"
        "    executor.pause()\n"
        "    threading.Thread(target=pause_again, args=(executor,), daemon=True).start()\n"
    )
    assert run_python(str(script), str(tmp_path / "go")).strip() == "frozenset()"
    executor = LowPriorityProcessPoolExecutor(1)
    future = executor.submit(hold_until, tmp_path / "go", "done")
    pausing = executor._pausable(opens=True)  # `pause` of another thread has come this far
    executor.shutdown(wait=False)
    pausing.pause("pause")
    assert not any(pausing.reasons)
    assert future.result(PATIENCE) == "done"


@posix_only
def test_continued_from_outside(tmp_path):
    """If a shell's `fg` continues the whole program, the workers of a paused pool are stopped again."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        (future,), pids = begin(executor, tmp_path)
        executor.pause()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: all(map(is_still, pids)))
        (tmp_path / "go").touch()
        executor.resume()
        assert future.result(PATIENCE) == "done"


@posix_only
def test_stopped_by_somebody_else(tmp_path):
    """A process that was stopped before the pause stays stopped after it."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        (future,), (_, child) = begin(executor, tmp_path)
        os.kill(child, signal.SIGSTOP)
        wait_until(lambda: is_still(child))
        executor.pause()
        executor.resume()
        assert is_still(child)
        (tmp_path / "go").touch()
        assert future.result(PATIENCE) == "done"


def test_time_does_not_count(tmp_path):
    """The time of a pause does not count for a task's time limit."""
    with LowPriorityProcessPoolExecutor(1, task_timeout=1.5) as executor:
        executor.submit(same, 1).result(PATIENCE)
        future = executor.submit(hold_until, tmp_path / "go")
        executor.pause()
        time.sleep(2)
        (tmp_path / "go").touch()
        executor.resume()
        future.result(PATIENCE)


@pytest.mark.every_python
def test_no_pause(context, tmp_path):
    """A task in a `no_pause` block is stopped only after it has left the block."""
    names = "begun", "leave", "left", "go"
    files = begun, leave, left, go = [tmp_path / name for name in names]
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        future = executor.submit(hold_lock, *files)
        other = executor.submit(hold_until, go)
        wait_until(begun.exists)
        executor.pause()
        states = {worker.is_held: worker.is_still for worker in executor._pool._leased}
        assert states == {True: False, False: True}
        leave.touch()
        wait_until(lambda: all(worker.paused for worker in executor.workers()))
        go.touch()
        assert not future.done()
        executor.resume()
        assert future.result(PATIENCE) == "done"
        other.result(PATIENCE)
        assert not left.exists() or executor.submit(same, 1).result(PATIENCE) == 1


def test_no_pause_of_a_paused_pool(tmp_path):
    """If a task of a paused pool enters a `no_pause` block, the block begins after the pause."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        future = executor.submit(ask_for_lock, tmp_path / "begun", tmp_path / "ask")
        wait_until((tmp_path / "begun").exists)
        for _ in range(3):
            executor.pause()
            (tmp_path / "ask").touch()
            executor.resume()
        assert future.result(PATIENCE) == "done"
        for _ in range(2):
            with pytest.raises(KeyError):
                executor.submit(fail_in_lock).result(PATIENCE)
        executor.submit(outlive, tmp_path / "error").result(PATIENCE)
        wait_until((tmp_path / "error").exists)
        assert "outlived" in wait_until((tmp_path / "error").read_text)
        assert executor.submit(same, 1).result(PATIENCE) == 1
    with no_pause():
        assert same(1) == 1


def test_no_pause_of_an_earlier_task(tmp_path):
    """A thread that leaves its block during another task does not end that task's block."""
    begun, leave, left, inside, go = (tmp_path / name for name in ("begun", "leave", "left", "inside", "go"))
    with LowPriorityProcessPoolExecutor(1) as executor:
        executor.submit(leave_block, begun, leave, left).result(PATIENCE)
        future = executor.submit(hold_beside, leave, left, inside, go)
        wait_until(inside.exists)
        executor.pause()
        assert [worker.is_still for worker in executor._pool._leased] == [False]
        go.touch()
        executor.resume()
        future.result(PATIENCE)


def test_what_a_lost_worker_leaves(tmp_path):
    """If a paused worker dies, its children continue, because they no longer belong to the pool."""
    with LowPriorityProcessPoolExecutor(1, on_crash="fail") as executor:
        (future,), (worker, child) = begin(executor, tmp_path)
        executor.pause()
        psutil.Process(worker).kill()
        with pytest.raises(BrokenProcessPool):
            future.result(PATIENCE)
        wait_until(lambda: WINDOWS or not is_still(child))
        psutil.Process(child).kill()


def test_arguments_of_the_initializer():
    """After the shutdown the arguments are freed at once, without the garbage collector."""
    argument = {1}  # a set can be pickled, and have a weak reference
    reference = weakref.ref(argument)
    gc.disable()
    try:
        with LowPriorityProcessPoolExecutor(1, initializer=same, initargs=(argument,)) as executor:
            executor.submit(same, 1).result(PATIENCE)
        del argument, executor
        assert reference() is None
    finally:
        gc.enable()


def test_bad_luck(tmp_path):
    """A pool that has ended or broken cannot be paused; resuming it does nothing."""
    executor = LowPriorityProcessPoolExecutor(1)
    executor.resume()
    assert executor.paused_by == frozenset()
    with pytest.raises(BrokenProcessPool):
        executor.submit(die).result(PATIENCE)
    with pytest.raises(BrokenProcessPool):
        executor.pause()
    executor.shutdown()
    executor = LowPriorityProcessPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.pause()
    executor.resume()
    assert executor.paused_by == frozenset()


def test_no_guard(monkeypatch, tmp_path):
    """If no guard can start, which would continue the workers after a crash of this process, `pause` raises instead."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        (future,), _ = begin(executor, tmp_path)

        def fail():
            raise BlockingIOError("no more processes")

        with monkeypatch.context() as patch:
            patch.setattr(backend.guard, "Guard", fail)
            with pytest.raises(BlockingIOError, match="no more"):
                executor.pause()
        assert executor.paused_by == frozenset()
        executor.pause()
        executor.resume()
        (tmp_path / "go").touch()
        assert future.result(PATIENCE) == "done"


@posix_only
def test_from_callbacks_and_handlers(tmp_path):
    """A future's callback and a signal's handler can pause and resume."""
    with LowPriorityProcessPoolExecutor(2) as executor:
        paused = threading.Event()
        future = executor.submit(same, 1)
        future.add_done_callback(lambda _: (executor.pause(), paused.set()))
        assert paused.wait(PATIENCE)
        before = signal.signal(signal.SIGUSR1, lambda *_: executor.resume() if executor.paused_by else executor.pause())
        try:
            futures = []
            for _ in range(50):
                os.kill(os.getpid(), signal.SIGUSR1)
                futures.append(executor.submit(same, 1))
        finally:
            signal.signal(signal.SIGUSR1, before)
        executor.resume()
        assert [each.result(PATIENCE) for each in futures] == [1] * 50


@pytest.mark.every_python
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=thorough)])
def test_two_threads(count):
    """Two threads may pause and resume a pool many times: its tasks are done, and it runs after the last `resume`."""
    with LowPriorityProcessPoolExecutor(2) as executor:

        def play():
            for _ in range(count):
                executor.pause()
                executor.resume()

        threads = [threading.Thread(target=play) for _ in range(2)]
        futures = [executor.submit(same, number) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not executor.paused_by
        assert [future.result(PATIENCE) for future in futures] == list(range(count))


@forks
def test_forked_child(tmp_path):
    """A forked child can use an executor that its parent has paused, because it has workers of its own."""
    with LowPriorityProcessPoolExecutor(1, "spawn") as executor:
        executor.submit(same, 1).result(PATIENCE)
        executor.pause()
        pid = os.fork()
        if not pid:
            try:
                is_right = not executor.paused_by and executor.submit(same, 2).result(PATIENCE) == 2
                executor.shutdown()
                os._exit(0 if is_right else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert executor.paused_by


@forks
def test_end_of_a_forked_child():
    """A child that is forked while another thread has the lock of a paused pool ends, and leaves the pool alone."""
    with LowPriorityProcessPoolExecutor(1, "spawn") as executor:
        executor.submit(same, 1).result(PATIENCE)
        executor.pause()
        is_locked, is_forked = threading.Event(), threading.Event()

        def pause():
            with executor._pool._lock:
                is_locked.set()
                is_forked.wait(PATIENCE)

        thread = threading.Thread(target=pause)
        thread.start()
        is_locked.wait(PATIENCE)
        child = multiprocessing.get_context("fork").Process(target=same, args=(1,))
        child.start()
        is_forked.set()
        child.join(PATIENCE)
        assert child.exitcode == 0
        thread.join()


def test_some_go_on(tmp_path):
    """A pause with `leave=1` lets one task run, and the next one after it."""
    with LowPriorityProcessPoolExecutor(3) as executor:
        gates = [tmp_path / str(number) for number in range(5)]
        futures = [executor.submit(hold_until, gate) for gate in gates]
        wait_until(lambda: len(executor._pool._leased) == 3 and executor.tasks().running == 3)
        wait_until(lambda: all(worker.report for worker in executor._pool._leased))
        executor._pool.pausing.pause("memory_low", leave=1)
        assert executor.paused_by == {"memory_low"}
        running = [worker for worker in executor._pool._leased if not worker.is_still]
        assert len(running) == 1
        for gate in gates:
            gate.touch()
        for future in futures:
            future.result(PATIENCE)
        executor._pool.pausing.resume("memory_low")
        assert executor.submit(same, 1).result(PATIENCE) == 1


LEVELS = """
import os
from nicefutures import LowPriorityProcessPoolExecutor
from tasks import hold_until, same

def levels(executor):
    return [worker.priority.name for worker in executor.workers()]

def begun(path, number):
    return f"{{path}}-{{number}}"

def begin_and_hold(path, number):
    open(begun(path, number), "w").close()
    return hold_until(path, number)

if __name__ == "__main__":
    path = {path!r}
    executor = LowPriorityProcessPoolExecutor(2, {method!r}, priority="idle")
    futures = [executor.submit(hold_until, path, number) for number in range(2)]
    while levels(executor) != ["IDLE"] * 2:
        pass
    executor.priority = "normal"
    print(executor.priority.name)
    open(path, "w").close()
    print([future.result() for future in futures])
    print(list(executor.map(same, range(10), chunksize=1)))
    print(set(levels(executor)))
    os.unlink(path)
    futures = [executor.submit(begin_and_hold, path, number) for number in range(2)]
    while not all(os.path.exists(begun(path, number)) for number in range(2)):  # a worker that starts is lowered later
        pass
    executor.priority = "Idle"
    print(set(levels(executor)))
    open(path, "w").close()
    print([future.result() for future in futures])
    executor.shutdown()
    for each in (path, begun(path, 0), begun(path, 1)):
        os.unlink(each)
"""


@posix_only
@pytest.mark.parametrize("method", one_less(METHODS))
def test_other_level_without_privilege(method, tmp_path):
    """A lower priority applies at once; a worker that cannot be raised is replaced after its task. No task is lost."""
    tmp_path.chmod(0o777)
    printed = run_python(
        LEVELS.format(path=f"/tmp/{tmp_path.name}-{os.getpid()}", method=method), command=unprivileged()
    )
    lines = ["NORMAL", "[0, 1]", str(list(range(10))), "{'NORMAL'}", "{'IDLE'}", "[0, 1]"]
    assert printed.splitlines() == lines


STARTING = """
import warnings
from nicefutures import LowPriorityProcessPoolExecutor, get_process_priority
from tasks import same

if __name__ == "__main__":
    warnings.simplefilter("error")
    for before, after in (("idle", "normal"), ("normal", "idle")):
        with LowPriorityProcessPoolExecutor(1, {method!r}, priority=before) as executor:
            first = executor.submit(same, before)
            executor.priority = after
            print(first.result(), executor.submit(get_process_priority).result().name)
"""


@posix_only
@pytest.mark.parametrize("method", one_less(METHODS))
def test_other_level_while_workers_start(method):
    """A worker that is starting gets a lower priority with its first task, or is replaced after it. Nothing warns."""
    printed = run_python(STARTING.format(method=method), command=unprivileged())
    assert printed.splitlines() == ["idle NORMAL", "normal IDLE"]


def test_other_level(tmp_path):
    """A new priority applies to running workers and to later ones."""
    with LowPriorityProcessPoolExecutor(1, priority="normal") as executor:
        executor.priority = "below_normal"
        assert executor.priority is ProcessPriority.BELOW_NORMAL
        assert executor.submit(get_process_priority).result(PATIENCE) is ProcessPriority.BELOW_NORMAL
        (future,), (_, child) = begin(executor, tmp_path)
        executor.priority = "idle"
        assert get_process_priority(child) is ProcessPriority.IDLE
        assert [worker.priority for worker in executor.workers()] == [ProcessPriority.IDLE]
        (tmp_path / "go").touch()
        assert future.result(PATIENCE) == "done"
        assert executor.submit(get_process_priority).result(PATIENCE) is ProcessPriority.IDLE
        for wrong in ("high", "none"):
            with pytest.raises(ValueError, match=repr(wrong)):
                executor.priority = wrong
        assert executor.priority is ProcessPriority.IDLE
