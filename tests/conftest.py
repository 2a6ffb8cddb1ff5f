"""No test leaves a process, a thread or a lowered test run behind; what is to be alone on the machine comes last."""

import contextlib
import glob
import multiprocessing
import os
import signal
import threading
import time

import psutil
import pytest

from asking import LINUX, PROCESS, ask_threads
from marks import METHODS
from nicefutures import ProcessPriority
from patience import PATIENCE
from turns import get_turns

# A shell lets what it starts in the background ignore Ctrl-C, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- several tests at a time


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Without another word, and where pytest-xdist is installed, tests run as with ``-n auto``."""
    options = config.option
    if getattr(options, "numprocesses", 0) is None and not hasattr(config, "workerinput"):
        options.numprocesses = 0 if options.usepdb or options.tx else "auto"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are CPUs: most tests wait for processes that start."""
    return os.cpu_count() + 1


def pytest_collection_modifyitems(items):
    """What is to be alone comes last."""
    items.sort(key=_is_alone)


def _is_alone(item):
    return item.get_closest_marker("alone") is not None


_TURNS = pytest.StashKey()


def pytest_configure(config):
    config.stash[_TURNS] = get_turns(config)
    if LINUX and hasattr(config, "workerinput"):
        # A low level counts among the programs of one session (sched(7), "The autogroup feature"): with one of its own,
        # what a test does at IDLE gets its turn beside whatever is busy in the terminal.
        with contextlib.suppress(PermissionError):  # this process leads a group
            os.setsid()


def pytest_unconfigure(config):
    config.stash[_TURNS].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Run when it is the test's turn."""
    with item.config.stash[_TURNS].take(alone=_is_alone(item)):
        return (yield)


# --- what every test does


def _children(pid):
    """Return the processes that a process has started; on Linux, without a look at all others of the machine."""
    if not LINUX:
        return psutil.Process(pid).children()
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError, psutil.Error), open(path, encoding="ascii") as children:  # it ends just now
            found += [psutil.Process(int(child)) for child in children.read().split()]
    return found


def _processes():
    """Return the processes below this one, but for multiprocessing's two servers, which stay."""
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
    """The test leaves no process, no thread, and the test run at the level that it had."""
    threads, processes = set(threading.enumerate()), _processes()
    yield
    assert not _wait_until_empty(lambda: set(threading.enumerate()) - threads)
    assert not _wait_until_empty(lambda: _processes() - processes)
    # A thread that is gone for Python may still be on its way out for the system.
    assert not _wait_until_empty(lambda: set(ask_threads()) - {PROCESS[ProcessPriority.NORMAL]})


@pytest.fixture(params=METHODS)
def context(request):
    """A context of each start method."""
    return multiprocessing.get_context(request.param)
