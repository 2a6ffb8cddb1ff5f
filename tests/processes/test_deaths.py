"""Workers that die, are silent, or never become ready: every wait ends, and no task is lost without need."""

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

import pytest

from marks import METHODS, one_less, posix_only, thorough
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until, identify, same


def run_script(path, *arguments):
    done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", ["break", *(pytest.param(mode, marks=thorough) for mode in ("fail", "retry"))])
@pytest.mark.parametrize("waits", [True, pytest.param(False, marks=posix_only)])  # see `End.receive`
def test_all_idle_workers_are_killed(context, on_crash, waits):
    """If all idle workers are killed, as by the OOM killer, which prefers them, they are replaced. No task fails."""
    with LowPriorityProcessPoolExecutor(4, context, on_crash=on_crash) as executor:
        for _ in range(2):
            assert list(executor.map(same, range(20), chunksize=1)) == list(range(20))
            processes = list(executor._processes.values())
            for process in processes:
                process.kill()
            for process in processes if waits else ():
                process.join(PATIENCE)
            assert [executor.submit(same, index).result(PATIENCE) for index in range(20)] == list(range(20))


def sleep_at_first(path):
    """Take forever to start, in the first worker only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    time.sleep(PATIENCE)


@pytest.mark.every_python
def test_stop_a_worker_that_starts(context, tmp_path):
    """A task whose worker does not become ready can be stopped, and the next task gets another worker."""
    path = tmp_path / "starts"
    with LowPriorityProcessPoolExecutor(1, context, initializer=sleep_at_first, initargs=(path,)) as executor:
        future = executor.submit(same, 1)
        wait_until(path.exists)
        (pid,) = wait_until(lambda: list(executor._processes))
        assert executor.stop(future)
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
        assert executor.submit(same, 2).result(PATIENCE) == 2
        assert pid not in executor._processes


@pytest.mark.every_python
@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers", "shutdown", "shutdown without waiting"])
def test_end_workers_that_start(context, how, tmp_path):
    """Nothing waits for a worker that does not become ready."""
    path = tmp_path / "starts"
    executor = LowPriorityProcessPoolExecutor(2, context, initializer=sleep_at_first, initargs=(path,))
    futures = [executor.submit(hold_until, path.with_suffix(".go")) for _ in range(5)]
    wait_until(path.exists)
    wait_until(lambda: executor.tasks().running == 2)  # both workers have a task
    if "shutdown" in how:
        (tmp_path / "starts.go").touch()
        executor.shutdown(wait=how == "shutdown", cancel_futures=True)
        assert any(future.cancelled() for future in futures)
    else:
        getattr(executor, how)()
    wait_until(lambda: all(future.done() for future in futures))


@pytest.mark.every_python
def test_cancel_futures_while_a_worker_starts(context, tmp_path, monkeypatch):
    """As in the standard library, a worker that becomes ready does its task."""
    monkeypatch.setattr("nicefutures._processes.executor._START", PATIENCE)
    path = tmp_path / "ready"
    executor = LowPriorityProcessPoolExecutor(1, context, initializer=hold_until, initargs=(path, None))
    futures = [executor.submit(same, number) for number in range(3)]
    wait_until(lambda: executor.workers() and futures[0].running())
    with ThreadPoolExecutor(1) as other:
        ending = other.submit(executor.shutdown, cancel_futures=True)
        wait_until(futures[-1].cancelled)
        path.touch()
        ending.result()
    assert futures[0].result() == 0
    assert [future.cancelled() for future in futures[1:]] == [True, True]


@posix_only  # on Windows a kill and a termination look the same
@pytest.mark.every_python
def test_terminated_while_it_starts(context, tmp_path):
    """A worker that is terminated before it is ready breaks the pool, as in the standard library."""
    path = tmp_path / "starts"
    with LowPriorityProcessPoolExecutor(1, context, initializer=sleep_at_first, initargs=(path,)) as executor:
        future = executor.submit(same, 1)
        wait_until(path.exists)
        next(iter(executor._processes.values())).terminate()
        assert "SIGTERM" in str(future.exception(PATIENCE))
        with pytest.raises(BrokenProcessPool):
            executor.submit(same, 2)


@pytest.mark.every_python
@pytest.mark.parametrize("how", ["shutdown", "dropped", "both"])
def test_used_up_after_the_end(how, tmp_path):
    """A worker that has done its last task is replaced for the waiting tasks, also after the executor's end."""
    executor = LowPriorityProcessPoolExecutor(1, max_tasks_per_child=1)
    first = executor.submit(hold_until, tmp_path / "go")
    others = [executor.submit(same, number) for number in range(2)]
    if how != "dropped":
        executor.shutdown(wait=False)
    if how != "shutdown":
        del executor
        gc.collect()
    (tmp_path / "go").touch()
    first.result(PATIENCE)
    assert [future.result(PATIENCE) for future in others] == [0, 1]


SIGPIPE = """
import os, signal, sys, time
from concurrent.futures.process import BrokenProcessPool
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with LowPriorityProcessPoolExecutor(2, sys.argv[1]) as executor:
        list(executor.map(abs, range(10), chunksize=1))
        processes = list(executor._processes.values())
        for process in processes:
            process.kill()
            process.join()
        print(executor.submit(abs, -1).result())
        print(executor.submit(len, bytes(10**6)).result())
        try:
            executor.submit(os._exit, 1).result()
        except BrokenProcessPool:
            print("broken")
    executor = LowPriorityProcessPoolExecutor(2, sys.argv[1])
    executor.submit(abs, 1).result()
    executor.kill_workers() if hasattr(executor, "kill_workers") else None
    executor.shutdown()
    print("end")
"""


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize("method", one_less(METHODS))
def test_sigpipe_at_its_default(method, tmp_path):
    """A program with the default action of SIGPIPE, as on the command line, survives the end of its workers."""
    path = tmp_path / "program.py"
    path.write_text(SIGPIPE)
    printed = run_script(path, method)
    assert printed.split() == ["1", "1000000", "broken", "end"]


@posix_only
@pytest.mark.parametrize(
    "options",
    [{"on_crash": "fail"}, {"on_crash": "retry"}, {"task_timeout": 1000}, {"max_tasks_per_child": 2}],
    ids=lambda options: "-".join(map(str, *options.items())),
)
def test_replacements_are_not_forked(options):
    """A pool that replaces workers gets a start method that is safe beside threads, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LowPriorityProcessPoolExecutor(2, **options) as executor:
            if options.get("on_crash"):
                executor.submit(os._exit, 1).exception(PATIENCE)
            assert list(executor.map(same, range(6), chunksize=1)) == list(range(6))
            assert executor._mp_context.get_start_method() != "fork"


SILENT = """
import os, sys, time
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import handle

handle.alive_within = 0.5
silent = int(sys.argv[1])

def hang():
    global silent
    if os.path.exists(sys.argv[2]) and len(os.listdir(sys.argv[2])) < silent:
        open(os.path.join(sys.argv[2], str(os.getpid())), "w").close()
        time.sleep(1000)

os.register_at_fork(after_in_child=hang)
with LowPriorityProcessPoolExecutor(1, "fork") as executor:
    error = executor.submit(abs, -1).exception()
    print(error or "no error")
print("end")
"""


@posix_only
@pytest.mark.every_python
def test_silent_workers(tmp_path):
    """A worker that does not run any code is replaced; after three in a row the pool gives up."""
    (tmp_path / "two").mkdir()
    assert run_python(SILENT, "2", str(tmp_path / "two")).split("\n")[:2] == ["no error", "end"]
    (tmp_path / "three").mkdir()
    printed = run_python(SILENT, "3", str(tmp_path / "three"))
    assert printed.startswith("Three worker processes in a row did not run any code within 0.5 s")
    assert printed.endswith("end\n")


SILENT_AND_IDLE = """
import os, time
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes import handle

handle.alive_within = 0.5
forks = []
os.register_at_fork(before=lambda: forks.append(1), after_in_child=lambda: len(forks) == 2 and time.sleep(1000))
with LowPriorityProcessPoolExecutor(2, "fork") as executor:
    print(executor.submit(abs, -1).result())
print("end")
"""


@posix_only
@pytest.mark.every_python
def test_status_for_two_threads(monkeypatch):
    """Two threads that ask a fork server's process for its exit status at the same time get the same one."""
    from multiprocessing import forkserver  # not on Windows

    read = forkserver.read_signed

    def read_slowly(fd):
        time.sleep(0.1)
        return read(fd)

    with LowPriorityProcessPoolExecutor(1, "forkserver") as executor:
        executor.submit(same, 1).result(PATIENCE)
        (process,) = executor._processes.values()
        monkeypatch.setattr(forkserver, "read_signed", read_slowly)
        os.kill(process.pid, signal.SIGKILL)
        connection.wait([process.sentinel])
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(lambda _: process.exitcode, range(2))) == [-signal.SIGKILL] * 2


@posix_only
@pytest.mark.every_python
def test_silent_worker_without_a_task():
    """The end of a pool does not wait for a worker that does not run any code."""
    assert run_python(SILENT_AND_IDLE) == "1\nend\n"


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize("method", one_less(METHODS))
def test_interrupted_while_a_worker_starts(method, nothing_shared, monkeypatch):
    """If Ctrl-C arrives when a worker's process has just started, the pool still has the process, and ends it."""
    begin = multiprocessing.process.BaseProcess.start

    def begin_interrupted(process):
        begin(process)
        signal.raise_signal(signal.SIGINT)

    executor = LowPriorityProcessPoolExecutor(1, method)
    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing.process.BaseProcess, "start", begin_interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(same, 1)
    assert len(executor._processes) == 1
    assert executor.submit(same, 2).result(PATIENCE) == 2
    executor.shutdown()
    assert not multiprocessing.active_children()


@pytest.mark.every_python
def test_stopped_future(context, tmp_path):
    """A stopped future is cancelled, like any other, for all that wait for it."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:

        async def stop_it():
            wrapped = asyncio.wrap_future(future)
            await asyncio.sleep(0)
            assert executor.stop(future)
            with pytest.raises(asyncio.CancelledError):
                await wrapped
            return wrapped.cancelled()

        path = tmp_path / "never"
        called = []
        future = executor.submit(hold_until, path)
        future.add_done_callback(called.append)
        wait_until(future.running)
        waiting = threading.Thread(target=lambda: called.append(list(as_completed([future], PATIENCE))))
        waiting.start()
        assert asyncio.run(stop_it())
        waiting.join(PATIENCE)
        wait_until(lambda: len(called) == 2)
        assert sorted(map(str, called)) == sorted(map(str, [future, [future]]))
        assert future.cancelled()
        assert future.done()
        assert not future.running()
        with pytest.raises(CancelledError):
            future.exception(PATIENCE)
        assert wait([future], PATIENCE).done == {future}
        assert executor.stop(future)
        assert executor.submit(same, 1).result(PATIENCE) == 1


def test_note_that_cannot_be_read(context, capsys):
    """A log record of a worker that cannot be unpickled in the parent costs no worker and no task."""
    hook, errors = sys.excepthook, []
    sys.excepthook = lambda *error: errors.append(error)
    try:
        with LowPriorityProcessPoolExecutor(2, context, initializer=log_strangely, forward_logs=True) as executor:
            pids = {executor.submit(identify, 0.02).result(PATIENCE) for _ in range(10)}
            assert len(pids) <= 2
            assert len(executor.workers()) == len(executor._processes) <= 2
            assert executor.submit(same, 1).result(PATIENCE) == 1
    finally:
        sys.excepthook = hook
    assert errors


class Strange:
    def __reduce__(self):
        return int, ("strange",)


def log_strangely():
    import logging

    record = logging.getLogger().makeRecord("strange", logging.ERROR, "file", 1, "text", (), None)
    record.strange = Strange()
    logging.getLogger().handle(record)


def test_main_module_fails(tmp_path):
    """The error names the exception of the main module and the remedy."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, multiprocessing\n"
        "from nicefutures import LowPriorityProcessPoolExecutor\n"
        "def f(): return 1\n"
        "if __name__ != '__main__': raise RuntimeError('not here')\n"
        "if __name__ == '__main__':\n"
        "    with LowPriorityProcessPoolExecutor(1, 'spawn') as executor:\n"
        "        print(executor.submit(f).exception())\n"
    )
    printed = run_script(path)
    assert "RuntimeError: not here" in printed
    assert '__name__ == "__main__"' in printed


def test_children_of_a_process_that_is_gone():
    """No children are found for a process that has ended, because another process may have its id by now."""
    from nicefutures._processes.ending import _children

    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    assert _children(process) == set()


def see_parent():
    parent = multiprocessing.parent_process()
    parent.join(0.01)
    return parent.pid, parent.is_alive()


@posix_only
@pytest.mark.every_python
def test_descriptors_of_a_worker(context, nothing_shared):
    """A worker needs two descriptors in its parent, and sees its parent like any process of multiprocessing."""
    from leftovers import descriptors

    there = []
    for count in (1, 3):
        with LowPriorityProcessPoolExecutor(count, context) as executor:
            futures = [executor.submit(see_parent) for _ in range(count)]
            assert {each.result(PATIENCE) for each in futures} == {(os.getpid(), True)}
            there.append(descriptors() - 2 * len(executor._processes))
    assert there[0] == there[1]


NOWHERE = """
import os, sys
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    if sys.argv[1] == "deleted":
        os.mkdir(sys.argv[2])
        os.chdir(sys.argv[2])
        os.rmdir(sys.argv[2])
    try:
        with LowPriorityProcessPoolExecutor(1, sys.argv[3]) as executor:
            print(executor.submit(abs, -1).result())
    except OSError as error:
        print(error)
"""


@posix_only
@pytest.mark.parametrize(
    ("what", "method", "said"),
    [
        ("deleted", "spawn", "change it with os.chdir"),
        # Since 3.14 Python uses another directory in this case.
        ("too long", "forkserver", "set TMPDIR, or pass mp_context=" if sys.version_info < (3, 14) else "1"),
        ("too long", "spawn", "1"),
    ],
)
def test_no_place_to_start_from(tmp_path, monkeypatch, what, method, said):
    """If the working directory is gone, or that for temporary files has too long a name, the error names a remedy."""
    (tmp_path / ("x" * 120)).mkdir()
    (tmp_path / "program.py").write_text(NOWHERE)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 120)))
    assert said in run_script(tmp_path / "program.py", what, tmp_path / "gone", method)
