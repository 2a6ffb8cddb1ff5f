"""Levels are set, read and restored, as the operating system reports them."""

import os
import subprocess
import sys
import threading

import pytest

from asking import LINUX, PROCESS, THREAD, ask_thread, ask_threads, may_raise
from marks import linux_only, needs_privilege, posix_only, windows_only
from nicefutures import (
    PriorityError,
    ProcessPriority,
    ThreadPriority,
    get_process_priority,
    get_thread_priority,
    process_priority,
    set_process_priority,
    set_thread_priority,
    thread_priority,
)
from programs import run_python, unprivileged

PROCESS_LEVELS = [p for p in ProcessPriority if p in PROCESS and (may_raise or p <= ProcessPriority.NORMAL)]
THREAD_LEVELS = [p for p in ThreadPriority if p in THREAD and (may_raise or p <= ThreadPriority.NORMAL)]


def in_thread(function):
    """Call a function in a new thread, whose level affects no other test; return the result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


@pytest.fixture
def sleeper():
    """Yield another process of this user."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.stdin.close()


@needs_privilege
@pytest.mark.parametrize("level", PROCESS_LEVELS, ids=lambda level: level.name)
def test_process_priority(level):
    """The context manager sets every thread and restores every thread."""
    before = ask_threads()
    with process_priority(level):
        assert set(ask_threads()) == {PROCESS[level]}
        assert get_process_priority() == level
        with process_priority("normal"):
            assert set(ask_threads()) == {PROCESS[ProcessPriority.NORMAL]}
        assert set(ask_threads()) == {PROCESS[level]}
    assert set(ask_threads()) == set(before)  # a thread of another test may just have gone


@needs_privilege
@pytest.mark.parametrize("level", THREAD_LEVELS, ids=lambda level: level.name)
def test_thread_priority(level):
    """The context manager sets the calling thread and restores it; other threads keep their level."""

    def look():
        with thread_priority(level):
            inside = ask_thread(), get_thread_priority()
        return *inside, ask_thread()

    asked, named, after = in_thread(look)
    assert asked == THREAD[level]
    assert named == level or (sys.platform == "darwin" and level == ThreadPriority.LOWEST)
    assert after == THREAD[ThreadPriority.NORMAL]
    assert ask_thread() == THREAD[ThreadPriority.NORMAL]


@needs_privilege
def test_context_manager_puts_back_after_an_exception():
    """The context manager also restores the level after an exception, and does not swallow the exception."""
    with pytest.raises(KeyError), process_priority("idle"):
        raise KeyError
    assert get_process_priority() == ProcessPriority.NORMAL


@needs_privilege
@linux_only
def test_foreign_values_are_put_back():
    """The earlier values are restored exactly, for each thread, even if they are none of our levels."""
    code = """
import os, threading
from nicefutures import process_priority
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
os.setpriority(os.PRIO_PROCESS, 0, 7)
os.sched_setscheduler(thread.native_id, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(3))
before = [(os.sched_getscheduler(t), os.getpriority(os.PRIO_PROCESS, t)) for t in (0, thread.native_id)]
late = threading.Thread(target=stop.wait)
with process_priority("idle"):
    late.start()
    policies = {os.sched_getscheduler(int(t)) & ~os.SCHED_RESET_ON_FORK for t in os.listdir("/proc/self/task")}
    assert policies == {os.SCHED_IDLE}
assert [(os.sched_getscheduler(t), os.getpriority(os.PRIO_PROCESS, t)) for t in (0, thread.native_id)] == before
# A thread that came up inside goes where the main thread goes.
assert (os.sched_getscheduler(late.native_id), os.getpriority(os.PRIO_PROCESS, late.native_id)) == before[0]
stop.set()
"""
    run_python(code)


@pytest.mark.parametrize("level", PROCESS_LEVELS, ids=lambda level: level.name)
def test_other_process(sleeper, level):
    """With `pid`, the level of another process is set and read."""
    set_process_priority(level, sleeper.pid)
    assert set(ask_threads(sleeper.pid)) == {PROCESS[level]}
    assert get_process_priority(sleeper.pid) == level


@posix_only
@pytest.mark.parametrize(
    ("nice", "level"),
    [(7, "BELOW_NORMAL"), (4, "NORMAL"), (5, "BELOW_NORMAL"), (19, "IDLE"), (-3, "ABOVE_NORMAL"), (-20, "HIGH")],
)
def test_nearest(sleeper, nice, level):
    """A value that is none of our levels is read as the nearest one, and half-way between two as the lower one."""
    if nice < 0 and not may_raise:
        pytest.skip("raising a priority needs a privilege here")
    os.setpriority(os.PRIO_PROCESS, sleeper.pid, nice)
    assert get_process_priority(sleeper.pid).name == level


def test_repeated():
    """A level is absolute: setting it twice has the same effect as setting it once."""
    code = """
from asking import ask_threads
from nicefutures import set_process_priority, set_thread_priority
for level in ("below_normal", "below_normal", "idle", "idle"):
    set_process_priority(level)
    print(ask_threads()[0])
"""
    lines = run_python(code).splitlines()
    assert lines[0] == lines[1]
    assert lines[2] == lines[3]


@posix_only
def test_not_ours(sleeper):
    """For another user's process, the error is a PriorityError and a PermissionError, with a remedy."""
    pid = 1 if os.geteuid() != 0 else sleeper.pid
    code = """
import sys
from nicefutures import PriorityError, get_process_priority, set_process_priority
for level in ("idle", "below_normal"):
    try:
        set_process_priority(level, int(sys.argv[1]))
    except PriorityError as error:
        assert isinstance(error, PermissionError), type(error)
        assert "another user" in error.reason and error.remedy
        print(error.in_force)
print(get_process_priority(int(sys.argv[1])).name)
"""
    printed = run_python(code, str(pid), command=unprivileged()).split("\n")
    assert printed[0] == printed[1]
    if os.geteuid() == 0:
        assert set(ask_threads(pid)) == {PROCESS[ProcessPriority.NORMAL]}


@windows_only
def test_thread_ends_while_set():
    """Short-lived threads do not disturb the description of a process."""
    from nicefutures._system import backend

    stop = threading.Event()

    def breed():
        while not stop.is_set():
            in_thread(lambda: None)

    breeder = threading.Thread(target=breed)
    breeder.start()
    for _ in range(20):
        assert backend.priority.describe().level == ProcessPriority.NORMAL
    stop.set()
    breeder.join()


@linux_only
def test_threads_that_end_meanwhile():
    """A thread that ends while the process is set is ignored."""
    code = """
import threading
from nicefutures import PriorityWarning, process_priority, set_process_priority
stop = threading.Event()

def breed():
    while not stop.is_set():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

breeders = [threading.Thread(target=breed) for _ in range(3)]
for breeder in breeders:
    breeder.start()
for _ in range(200):
    set_process_priority("below_normal")
stop.set()
"""
    run_python(code)


@posix_only
def test_set_thread_priority_of_main():
    """Setting the level of the main thread does not change the other threads of the process."""
    code = """
import threading
from asking import ask_thread
from nicefutures import set_thread_priority
found = []
go = threading.Event()
other = threading.Thread(target=lambda: (go.wait(), found.append(ask_thread())))
other.start()
set_thread_priority("idle")
go.set(); other.join()
print(ask_thread() != found[0])
"""
    assert run_python(code).strip() == "True"


@pytest.mark.skipif(may_raise and not LINUX, reason="raising needs no privilege here")
def test_error_leaves_things_as_they_were():
    """Entering a context manager whose level cannot be set raises, and changes nothing."""
    code = """
from asking import ask_threads
from nicefutures import PriorityError, process_priority, thread_priority
before = ask_threads()
for manager in (process_priority("high"), process_priority("realtime"), thread_priority("highest")):
    try:
        with manager:
            raise AssertionError("entered")
    except PriorityError as error:
        print(error.remedy)
assert ask_threads() == before
"""
    assert len(run_python(code, command=unprivileged()).splitlines()) == 3


def test_error_is_a_priority_error():
    """A PriorityError is an OSError."""
    assert issubclass(PriorityError, OSError)


@needs_privilege
def test_set_thread_priority():
    """The system reports each level that is set."""

    def cycle():
        found = []
        for level in THREAD_LEVELS:
            set_thread_priority(level)
            found.append(ask_thread())
            set_thread_priority("normal")
        return found

    assert in_thread(cycle) == [THREAD[level] for level in THREAD_LEVELS]
