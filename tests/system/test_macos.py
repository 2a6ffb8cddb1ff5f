"""The logic of the macOS backend, through its seam: threads, I/O and efficiency."""

import errno

import pytest

from nicefutures import PriorityError, ProcessPriority, ThreadPriority
from nicefutures._system import find
from nicefutures._system.macos import accounting, background, priority, seam
from nicefutures._system.macos.seam import Qos
from seams import FakeQos


@pytest.fixture
def qos(monkeypatch):
    fake = FakeQos()
    monkeypatch.setattr(seam, "system", fake)
    return fake


def test_thread_levels(qos):
    """Each level is a QoS class; the two lowest share one."""
    found = {}
    for level in list(ThreadPriority)[:-1]:
        assert priority.set_thread(level) is None
        found[level.name] = qos.qos.qos_class
        assert priority.get_thread() == (ThreadPriority.IDLE if level == ThreadPriority.LOWEST else level)
    assert list(found.values()) == [0x09, 0x09, 0x11, 0x15, 0x19, 0x21]


def test_activity(qos):
    """Each thread has a CPU time, which is None for a thread that has ended."""
    assert (accounting.thread_cpu_time(7), accounting.thread_cpu_time(8)) == (5_000_000, None)


def test_thread_failures(qos):
    """Each failure is an error: no real-time level, a thread that has left QoS, a call without effect."""
    with pytest.raises(PriorityError, match="no such level"):
        priority.set_thread(ThreadPriority.TIME_CRITICAL)
    qos.error = errno.EPERM
    with pytest.raises(PriorityError, match="QoS") as caught:
        priority.set_thread(ThreadPriority.LOWEST)
    assert caught.value.in_force == "HIGHEST (QoS class 0x21)"
    assert priority.restore_thread(Qos(0x15)) is not None
    qos.error = None
    qos.ignores = True
    with pytest.raises(PriorityError, match="something else"):
        priority.set_thread(ThreadPriority.LOWEST)


def test_restore(qos):
    """Class and relative priority are restored; an unspecified class, which cannot be set, becomes the default."""
    qos.qos = Qos(0x19, -3)
    saved = priority.save_thread()
    priority.set_thread(ThreadPriority.IDLE)
    assert priority.restore_thread(saved) is None
    assert qos.qos == (0x19, -3)
    qos.qos = Qos(0)
    assert priority.get_thread() == ThreadPriority.NORMAL
    assert priority.restore_thread(Qos(0)) is None
    assert qos.qos == (0x15, 0)


def test_background(qos):
    """The level sets the I/O policy."""
    assert background.set_background(ProcessPriority.NORMAL) is None
    assert qos.io_policy == 0
    assert background.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert qos.io_policy == 4
    assert background.set_background(ProcessPriority.IDLE) is None
    assert qos.io_policy == 3


def test_efficiency(qos):
    """The whole process is put in the background."""
    assert background.set_efficiency() is None
    assert qos.background == 1


def test_refusals(qos):
    """A refused or ignored call is reported; there is no memory limit, because macOS accepts one and ignores it."""
    qos.ignores = True
    assert "something else" in background.set_background(ProcessPriority.IDLE).reason
    assert "did nothing" in background.set_efficiency().reason
    qos.error = errno.EPERM
    assert "refused" in background.set_background(ProcessPriority.IDLE).reason
    assert "refused" in background.set_efficiency().reason
    with pytest.raises(OSError, match="that this system enforces"):
        find("macos", "memory").open_limit()
