"""Workers that die, are silent, or never become ready: each wait has an end, and nothing is lost that need not be."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import CancelledError, as_completed, wait

import pytest

from handing_over import same
from marks import posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import hold_until, identify

MODES = ["break", "fail", "retry"]


def run_script(path, *arguments):
    done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", MODES)
@pytest.mark.parametrize("waits", [True, pytest.param(False, marks=posix_only)])  # see `End.receive`
def test_all_idle_workers_are_killed(context, on_crash, waits):
    """As the OOM killer does, which they volunteer for: they are replaced, and no task notices."""
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
    """Start for ever, if nobody has yet."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    time.sleep(PATIENCE)


@pytest.mark.every_python
def test_stop_a_worker_that_starts(context, tmp_path):
    """A task whose worker does not become ready can be stopped, and the next one has another worker."""
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
@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers", "shutdown"])
def test_end_workers_that_start(context, how, tmp_path):
    """Nothing waits for a worker that does not become ready."""
    path = tmp_path / "starts"
    executor = LowPriorityProcessPoolExecutor(2, context, initializer=sleep_at_first, initargs=(path,))
    futures = [executor.submit(hold_until, path.with_suffix(".go")) for _ in range(5)]
    wait_until(path.exists)
    if how == "shutdown":
        (tmp_path / "starts.go").touch()
        executor.shutdown(wait=True, cancel_futures=True)
        assert any(future.cancelled() for future in futures)
    else:
        getattr(executor, how)()
    wait_until(lambda: all(future.done() for future in futures))


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
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_sigpipe_at_its_default(method, tmp_path):
    """Programs of the command line have it; they outlive their workers."""
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
    """Who asks for workers that are replaced gets a start method that threads do not harm; nothing warns."""
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
    """A worker that does not run any code is replaced; three in a row are a reason to give up."""
    (tmp_path / "two").mkdir()
    assert run_python(SILENT, "2", str(tmp_path / "two")).split("\n")[:2] == ["no error", "end"]
    (tmp_path / "three").mkdir()
    printed = run_python(SILENT, "3", str(tmp_path / "three"))
    assert printed.startswith("Three worker processes in a row did not run any code within 0.5 s")
    assert printed.endswith("end\n")


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_interrupted_while_a_worker_starts(method, nothing_shared, monkeypatch):
    """Ctrl-C comes when the process is there: the pool has it, and ends it."""
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
    """It is cancelled, as any other, for all who wait for it."""
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
    """What a worker says besides, such as what it logs, may not be readable here: that costs no worker and no task."""
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
    """The error says what has failed, and what to do."""
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
    """Its number may be that of another process by now: nothing is done to that one's children."""
    from nicefutures._processes.ending import _children

    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    assert _children(process) == set()
