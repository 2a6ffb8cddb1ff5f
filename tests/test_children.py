"""A task can start a process at another level than its own. The started process asks the system for its level."""

import subprocess
import sys
from pathlib import Path

import pytest

from asking import LINUX, PROCESS, ask_threads
from marks import linux_only, needs_privilege, posix_only
from nicefutures import (
    LowPriorityProcessPoolExecutor,
    ProcessPriority,
    get_process_priority,
    get_thread_priority,
    start_process,
)
from programs import environment, run_python, unprivileged

_OOM_SCORE = Path("/proc/self/oom_score_adj")
# Prints its levels as soon as it runs, and its OOM score, with which the kernel chooses the process that it kills.
_SAY = """
from pathlib import Path
from asking import LINUX, ask_threads
print(*set(ask_threads()), Path("/proc/self/oom_score_adj").read_text().strip() if LINUX else 0, sep=";")
"""
_OOM_SCORES = {ProcessPriority.IDLE: 1000, ProcessPriority.BELOW_NORMAL: 800}


def start_and_ask(**options):
    with start_process(
        [sys.executable, "-c", _SAY], env=environment(), stdout=subprocess.PIPE, text=True, **options
    ) as process:
        said = process.communicate()[0]
    assert process.returncode == 0
    return said.strip().split(";")


def ask_around(**options):
    """Start a process in a worker; return its level and OOM score, and the worker's levels before and after."""
    before = ask_threads()
    return start_and_ask(**options), before, ask_threads()


@needs_privilege
@pytest.mark.parametrize("level", [ProcessPriority.NORMAL, ProcessPriority.BELOW_NORMAL, ProcessPriority.HIGH])
def test_in_a_worker(level):
    """A process that a task starts is at its level from the beginning, and the worker keeps its own."""
    own = _OOM_SCORE.read_text().strip() if LINUX else "0"
    with LowPriorityProcessPoolExecutor(1) as executor:
        (level_there, oom_score), before, after = executor.submit(ask_around, priority=level).result()
    assert level_there == str(PROCESS[level])
    assert oom_score == (str(max(int(own), _OOM_SCORES.get(level, int(own)))) if LINUX else "0")
    assert before == after == [PROCESS[ProcessPriority.IDLE]]


@posix_only  # on Windows as well, but Wine differs
def test_without_it():
    """Without `start_process`, a process that a task starts has the level of its worker, however low."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        code = [sys.executable, "-c", _SAY]
        said = executor.submit(subprocess.check_output, code, env=environment(), text=True).result()
    assert said.strip().split(";")[0] == str(PROCESS[ProcessPriority.IDLE])


def test_lower():
    """A process may start at a lower level than this one, which keeps its own level."""
    before = get_process_priority(), get_thread_priority()
    assert start_and_ask(priority="idle")[0] == str(PROCESS[ProcessPriority.IDLE])
    assert (get_process_priority(), get_thread_priority()) == before


def test_errors(tmp_path):
    """A wrong argument is an error before any process starts, and so is a missing program."""
    with pytest.raises(ValueError, match="unknown priority 'low'"):
        start_process(["true"], priority="low")
    with pytest.raises(ValueError, match="on_denied="):
        start_process(["true"], on_denied="stop")
    with pytest.raises(FileNotFoundError):
        start_process([str(tmp_path / "missing")])


@pytest.mark.parametrize("how", ["after the main thread", "atexit"])
def test_at_the_end(how):
    """A process can be started while the program ends, as with `subprocess.Popen`."""
    code = """
import atexit, sys, threading, time
from nicefutures import start_process
def start():
    time.sleep(0.3)
    with start_process([sys.executable, "-c", "print('ran')"], priority="idle", stdout=-1, text=True) as process:
        print(process.communicate()[0], end="")
if sys.argv[1] == "atexit":
    atexit.register(start)
else:
    threading.Thread(target=start).start()
"""
    assert run_python(code, how) == "ran\n"


@linux_only
def test_unprivileged(tmp_path):
    """Without a privilege, a new process cannot get a higher CPU level, and a warning says so. All else is set."""
    printed = run_python(
        """
import os, psutil, sys, warnings
from nicefutures import *
from test_children import start_and_ask
from nicefutures._system import backend
if __name__ == "__main__":
    backend.background.set_background(ProcessPriority.IDLE)
    set_process_priority("idle")
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        said = start_and_ask(priority="normal")
    warning, = log
    assert warning.category is PriorityWarning and "root" in warning.message.remedy, warning
    assert os.path.basename(warning.filename) == "test_children.py", warning
    warnings.simplefilter("error")
    try:
        start_process(["sleep", "600"])
        raise AssertionError
    except PriorityWarning:
        assert not psutil.Process().children()
    assert start_and_ask(priority="normal", on_denied="ignore") == said
    try:
        start_process(["touch", sys.argv[1]], priority="normal", on_denied="raise")
        raise AssertionError
    except PriorityError as error:
        assert error.requested.startswith("priority NORMAL of a new process")
    assert not os.path.exists(sys.argv[1])
    print(*said, sep=";")
""",
        str(tmp_path / "sign"),
        command=unprivileged(),
    )
    level, oom_score = printed.strip().split(";")
    assert level == "('SCHED_IDLE', 0, 'NONE')"
    assert oom_score == _OOM_SCORE.read_text().strip()
