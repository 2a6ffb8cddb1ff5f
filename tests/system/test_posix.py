"""The logic of the POSIX backend, through its seam: nice values, which macOS uses, too."""

import errno
import os
import subprocess
import sys

import pytest

from marks import posix_only
from nicefutures import PriorityError, ProcessPriority, ThreadPriority
from nicefutures._levels import NoSuchProcessError, NotPermittedError
from nicefutures._system.macos import priority as macos
from nicefutures._system.posix import memory, priority, seam
from patience import PATIENCE
from seams import FakeNice


@pytest.fixture
def nice(monkeypatch):
    fake = FakeNice()
    monkeypatch.setattr(seam, "system", fake)
    return fake


@pytest.mark.parametrize("priority", [priority, macos], ids=["posix", "macos"])
@pytest.mark.parametrize("last", [19, 20])
def test_levels(nice, priority, last):
    """Each level is a nice value, also on systems whose highest nice value is 19."""
    nice.last = last
    for pid in (None, 500):
        for level in list(ProcessPriority)[:-1]:
            assert priority.set_process(level, pid) is None
            assert priority.get_process(pid) == level
    assert nice.nice == {0: -10, 500: -10}
    assert priority.describe().nice == -10


def test_failures(nice):
    """Each failure is an error: no real-time level, no process, another user, no right to raise, another result."""
    with pytest.raises(PriorityError, match="no such level"):
        priority.set_process(ProcessPriority.REALTIME)
    with pytest.raises(NoSuchProcessError):
        priority.set_process(ProcessPriority.IDLE, 77)
    with pytest.raises(NoSuchProcessError):
        priority.get_process(77)
    nice.nice[0] = 20
    nice.error = errno.EACCES
    with pytest.raises(PriorityError, match="may not raise") as caught:
        priority.set_process(ProcessPriority.NORMAL)
    assert caught.value.in_force == "IDLE (nice 20)"
    assert priority.restore_process(0).in_force == "IDLE (nice 20)"
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None  # it is already lower
    nice.nice[0] = 5
    with pytest.raises(PriorityError, match="may not raise"):
        priority.set_process(ProcessPriority.BELOW_NORMAL)
    nice.nice[0] = 20
    nice.error = errno.EPERM
    with pytest.raises(NotPermittedError, match="another user"):
        priority.set_process(ProcessPriority.IDLE, 500)
    nice.error = None
    nice.ignores = True
    with pytest.raises(PriorityError, match="did something else"):
        priority.set_process(ProcessPriority.NORMAL)


def test_restore(nice):
    """A nice value between the levels is restored exactly."""
    nice.nice[0] = 7
    saved = priority.save_process()
    priority.set_process(ProcessPriority.IDLE)
    assert priority.restore_process(saved) is None
    assert nice.nice[0] == 7


def test_threads(nice):
    """Thread priorities are not supported: a shortfall says so, and no error is raised."""
    nice.nice[0] = 10
    assert "not supported" in priority.set_thread(ThreadPriority.LOWEST).reason
    assert priority.get_thread() == ThreadPriority.BELOW_NORMAL
    assert priority.save_thread() is None
    assert priority.restore_thread(None) is None


def test_memory_limit(nice):
    """The address space is limited, for both numbers that mean no limit; a stricter limit stays."""
    for infinity in (-1, 2**63 - 1):
        nice.address_limit = (infinity, infinity)
        limit = memory.open_limit()
        limit.hold(10**9)
        assert nice.address_limit == (10**9, infinity)
        assert limit.in_force()
        limit.lift()
        assert nice.address_limit == (infinity, infinity)
    nice.address_limit = (10**8, 10**10)
    memory.open_limit().hold(10**9)
    assert nice.address_limit == (10**8, 10**10)
    assert memory.in_use() == 10**9
    assert memory.unused() == 9 * 10**8
    assert memory.stack_size() == 8 * 2**20


@posix_only
@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_CTYPE": "POSIX"}, {"LC_CTYPE": "C.UTF-8"}])
def test_locale(locale):
    """A command gets the locale that this process was started with, although Python may have changed it."""
    code = "from nicefutures._system.posix.command import become; become(['env'], 'idle', efficiency=False)"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **locale}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert result.stderr == ""
    variables = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert {name: value for name, value in variables.items() if name.startswith("L")} == locale
