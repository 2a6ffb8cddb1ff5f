"""No test leaves a process, a thread or a lowered test run behind."""

import multiprocessing
import signal
import threading
import time

import psutil
import pytest

from asking import PROCESS, ask_threads
from nicefutures import ProcessPriority

# A shell lets what it starts in the background ignore Ctrl-C, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _processes():
    """Return the processes below this one, but for multiprocessing's two servers, which stay."""
    this = psutil.Process()
    found = set()
    for child in this.children(recursive=True):
        try:
            command, parent = " ".join(child.cmdline()), child.ppid()
        except psutil.Error:
            continue
        server = "resource_tracker" in command or "forkserver" in command
        if child.status() != psutil.STATUS_ZOMBIE and not (server and parent == this.pid):
            found.add(child.pid)
    return found


def _wait_until_empty(leftovers, seconds=10):
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


@pytest.fixture(params=multiprocessing.get_all_start_methods())
def context(request):
    """A context of each start method."""
    return multiprocessing.get_context(request.param)
