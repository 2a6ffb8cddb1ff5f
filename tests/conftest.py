"""No test leaves a process, a thread or a lowered test run behind; tests that need the machine alone come last."""

import contextlib
import glob
import multiprocessing
import os
import re
import signal
import sys
import threading
import time

import psutil
import pytest

from asking import LINUX, PROCESS, ask_threads
from marks import METHODS, one_less
from nicefutures import ProcessPriority
from patience import PATIENCE
from turns import get_turns

# A program that a shell starts in the background ignores Ctrl-C, and under nohup the end of the terminal. The programs
# that the tests interrupt would inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGHUP", "SIGQUIT"):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
# Thousands of processes start here, and each would compile the library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A fork server imports these once for all of its workers. NumPy is not among them, because it starts threads.
_OFTEN = ["nicefutures._processes.executor", "nicefutures._processes.worker_main", "cloudpickle", "psutil", "pytest"]
if hasattr(os, "fork"):
    multiprocessing.set_forkserver_preload([*_OFTEN, "threadpoolctl"])


# --- several tests at a time


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run tests as with ``-n auto`` if pytest-xdist is installed and no number is given."""
    options = config.option
    if getattr(options, "numprocesses", 0) is None and not hasattr(config, "workerinput"):
        options.numprocesses = 0 if options.usepdb or options.tx else "auto"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return one more than the number of CPUs, because most tests wait for processes that start."""
    return os.cpu_count() + 1


# The test run has threads, also those of BLAS libraries.
_FORK_WARNING = "ignore:This process .* is multi-threaded:DeprecationWarning"


def pytest_collection_modifyitems(items):
    """Put tests that run alone last; ignore Python's warning about fork only in tests that use fork."""
    items.sort(key=_is_alone)
    for item in items:
        asks = item.get_closest_marker("asks_for_fork") or re.search(r"\bfork\b", item.name)
        asks = asks or "fork" in item.function.__code__.co_consts  # it passes mp_context="fork"
        if asks or METHODS[0] == "fork":  # the default before Python 3.14
            item.add_marker(pytest.mark.filterwarnings(_FORK_WARNING))


def _is_alone(item):
    return item.get_closest_marker("alone") is not None


_TURNS = pytest.StashKey()


def pytest_configure(config):
    config.stash[_TURNS] = get_turns(config)
    if LINUX and hasattr(config, "workerinput"):
        # A low level only counts within a session (sched(7), "The autogroup feature"). With its own session, a test at
        # IDLE gets CPU time even if other programs of the terminal are busy.
        with contextlib.suppress(PermissionError):  # this process already leads a group
            os.setsid()


def pytest_unconfigure(config):
    config.stash[_TURNS].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Run a test when it is its turn."""
    with item.config.stash[_TURNS].take(alone=_is_alone(item)):
        return (yield)


# --- for every test


def _children(pid):
    """Return the processes that a process has started; on Linux, without listing all others of the machine."""
    if not LINUX:
        return psutil.Process(pid).children()
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError, psutil.Error), open(path, encoding="ascii") as children:  # it has just ended
            found += [psutil.Process(int(child)) for child in children.read().split()]
    return found


def _processes():
    """Return the ids of all descendants of this process, except multiprocessing's two servers, which stay."""
    this, found = os.getpid(), set()
    unseen = _children(this)
    while unseen:
        child = unseen.pop()
        with contextlib.suppress(psutil.Error):
            command, parent = " ".join(child.cmdline()), child.ppid()
            server = "resource_tracker" in command or "forkserver" in command
            if child.status() != psutil.STATUS_ZOMBIE and not (server and parent == this):
                found.add(child.pid)
            unseen += _children(child.pid)
    return found


def _wait_until_empty(leftovers, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Check that the test leaves no process, no thread, no short switch interval, and no lowered test run."""
    threads, processes, interval = set(threading.enumerate()), _processes(), sys.getswitchinterval()
    yield
    assert not _wait_until_empty(lambda: sys.getswitchinterval() != interval)
    assert not _wait_until_empty(lambda: set(threading.enumerate()) - threads)
    assert not _wait_until_empty(lambda: _processes() - processes)
    # A thread that has ended for Python may not yet have ended for the system.
    assert not _wait_until_empty(lambda: set(ask_threads()) - {PROCESS[ProcessPriority.NORMAL]})


@pytest.fixture(scope="session", autouse=sys.version_info >= (3, 14))
def interpreters_find_the_tests():
    """Give interpreters the current path: they start with the process's first one, without the folders of pytest."""
    from concurrent import interpreters

    create = interpreters.create

    def create_with_path():
        interpreter = create()
        interpreter.exec(f"import sys; sys.path[:] = {sys.path!r}")
        return interpreter

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreters, "create", create_with_path)
        yield


@pytest.fixture(params=one_less(METHODS))
def context(request):
    """Return a context of each start method."""
    return multiprocessing.get_context(request.param)
