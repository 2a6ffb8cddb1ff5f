"""The logic of the Windows backend, through its seam."""

import errno

import pytest

from nicefutures import PriorityError, ProcessPriority, ThreadPriority
from nicefutures._levels import NoSuchProcessError, NotPermittedError
from nicefutures._system.common import count_cpus
from nicefutures._system.windows import accounting, background, command, memory, priority, seam, threads
from seams import FakeWindows, refuse

every_process_level = pytest.mark.parametrize("level", ProcessPriority, ids=lambda level: level.name)
every_thread_level = pytest.mark.parametrize("level", ThreadPriority, ids=lambda level: level.name)


@pytest.fixture
def win32(monkeypatch):
    fake = FakeWindows()
    monkeypatch.setattr(seam, "system", fake)
    return fake


@every_process_level
def test_levels(win32, level):
    """Each level is the priority class of its name, for this process and for another one."""
    win32.privileged = True
    for pid in (None, 500):
        assert priority.set_process(level, pid) is None
        assert priority.get_process(pid) == level
        assert win32.classes[pid] == priority.PriorityClass[f"{level.name}_PRIORITY_CLASS"]


def test_silent_downgrade(win32):
    """It is an error if Windows sets HIGH instead of REALTIME without reporting that."""
    with pytest.raises(PriorityError, match="SeIncreaseBasePriorityPrivilege") as caught:
        priority.set_process(ProcessPriority.REALTIME)
    assert caught.value.in_force == "HIGH (HIGH_PRIORITY_CLASS)"
    assert "administrator" in caught.value.remedy


def test_others(win32):
    """A process that does not exist and one of another user have errors of their own."""
    with pytest.raises(NoSuchProcessError):
        priority.set_process(ProcessPriority.IDLE, 77)
    win32.denied = {500}
    with pytest.raises(NotPermittedError, match="another user or to the system"):
        priority.set_process(ProcessPriority.IDLE, 500)
    with pytest.raises(NotPermittedError):
        priority.get_process(500)


@every_thread_level
def test_thread_levels(win32, level):
    """Each thread level is the number of its name; a thread that is released is at NORMAL."""
    saved = priority.save_thread()
    assert priority.set_thread(level) is None
    assert win32.thread_priorities[None] == level.value
    assert priority.get_thread() == level
    assert priority.restore_thread(saved) is None
    priority.set_thread(level)
    priority.release_thread()
    assert win32.thread_priorities[None] == 0


@pytest.mark.parametrize("what", ["refused", "ignored"])
def test_thread_failure(win32, monkeypatch, what):
    """A refusal and a call without effect are both errors."""
    monkeypatch.setattr(win32, "set_thread_priority", lambda _: refuse(errno.EACCES) if what == "refused" else None)
    with pytest.raises(PriorityError, match="refused" if what == "refused" else "without an error") as caught:
        priority.set_thread(ThreadPriority.IDLE)
    assert caught.value.in_force == "NORMAL (0)"
    assert priority.restore_thread(-2) is not None


def test_lower_already(win32, monkeypatch):
    """To stay below a requested low level is enough; to stay below a requested NORMAL is an error."""
    priority.set_process(ProcessPriority.IDLE)
    priority.set_thread(ThreadPriority.IDLE)
    monkeypatch.setattr(win32, "set_class", lambda *_: None)
    monkeypatch.setattr(win32, "set_thread_priority", lambda *_: None)
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert priority.set_thread(ThreadPriority.BELOW_NORMAL) is None
    with pytest.raises(PriorityError):
        priority.set_process(ProcessPriority.NORMAL)
    with pytest.raises(PriorityError):
        priority.set_thread(ThreadPriority.NORMAL)


@pytest.mark.parametrize(("value", "level"), [(-7, "LOWEST"), (5, "HIGHEST"), (12, "TIME_CRITICAL"), (-14, "IDLE")])
def test_nearest(win32, value, level):
    """A thread priority without a name, as the REALTIME class has them, is read as the nearest level."""
    win32.thread_priorities[None] = value
    assert priority.get_thread().name == level


def test_describe(win32):
    """Threads are counted by level; a thread that has ended is left out."""
    description = priority.describe(500)
    assert description.priority_class == "NORMAL_PRIORITY_CLASS"
    assert description.threads == {ThreadPriority.LOWEST: 1, ThreadPriority.NORMAL: 1}


def test_process_restore(win32):
    """The class is restored; if that fails, the result names the class that is set."""
    saved = priority.save_process()
    priority.set_process(ProcessPriority.IDLE)
    assert priority.restore_process(saved) is None
    assert win32.classes[None] == 0x20
    win32.classes[None] = 0x80
    assert priority.restore_process(0x100).in_force.startswith("HIGH")


def test_activity(win32):
    """CPU time comes from cycles; it is None for a thread that has ended, and where Windows does not count cycles."""
    accounting._cycles_per_ns.cache_clear()
    assert accounting.thread_cpu_time(11) == pytest.approx(12_345 / 2, rel=0.2)
    assert accounting.thread_cpu_time(99) is None
    accounting._cycles_per_ns.cache_clear()
    win32.thread_cycles = lambda _: 12_345
    assert accounting.thread_cpu_time(11) is None


def test_library_threads(win32, monkeypatch):
    """Threads that start in a library which is not part of Windows are lowered and restored."""
    monkeypatch.setenv("SYSTEMROOT", r"C:\Windows")
    assert threads.of_libraries() == [11]
    saved = threads.save_levels([11, 99])
    threads.set_levels([11, 99], ThreadPriority.IDLE)
    assert threads.get_levels([11, 99]) == {11: ThreadPriority.IDLE}
    assert threads.restore_levels(saved) is None
    assert win32.thread_priorities[11] == 0


def test_background(win32):
    """The level sets the I/O priority and the memory priority."""
    assert background.set_background(ProcessPriority.NORMAL) is None
    assert win32.noted == {}
    assert background.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert win32.noted == {"io": 1, "memory": 4}
    assert background.set_background(ProcessPriority.IDLE) is None
    assert win32.noted == {"io": 0, "memory": 1}
    assert priority.describe().io_class == "very_low"


@pytest.mark.parametrize(("number", "said"), [(1, False), (50, False), (120, False), (5, True)])
@pytest.mark.parametrize("what", ["io", "memory"])
def test_background_refused(win32, what, number, said):
    """A refusal is reported; the error of a Windows that lacks the setting is not."""
    win32.refusals[what] = number
    shortfall = background.set_background(ProcessPriority.IDLE)
    assert (shortfall is not None) is said


def test_efficiency(win32):
    """EcoQoS is set; a Windows without it is reported, because the user has requested EcoQoS itself."""
    assert background.set_efficiency() is None
    assert win32.noted == {"power": True}
    win32.refusals["power"] = 87
    assert "1709" in background.set_efficiency().remedy


def test_memory_limit(win32):
    """The job's memory limit is set, read back and removed."""
    limit = memory.open_limit()
    limit.hold(10**9)
    assert win32.noted["job"] == 10**9
    assert limit.in_force()
    limit.lift()
    assert win32.noted["job"] is None
    limit.hold(10**9)
    win32.forgets = True
    assert not limit.in_force()
    assert memory.in_use() == 10**8
    assert accounting.usable_cpus() == min(3, count_cpus())


def test_no_job(win32):
    """If Windows cannot end the program together with its wrapper, the program is not run, and the error says so."""
    win32.refusals = {"job": 5}
    with pytest.raises(PriorityError, match="a job object that ends the program") as caught:
        command.end_together()
    assert caught.value.in_force == ""
