"""Each backend's logic, on any system, through its one seam to the operating system."""

import errno
import importlib
import inspect
import os
import sys
import threading
import time

import pytest

from asking import linux_only
from nicefutures import PriorityError, PriorityThreadPoolExecutor, PriorityWarning, ProcessPriority, ThreadPriority
from nicefutures._platform import Backend
from nicefutures._platform import _linux as linux
from nicefutures._platform import _macos as macos
from nicefutures._platform import _posix as posix
from nicefutures._platform import _windows as windows
from nicefutures._platform._linux import IoClass, Policy, Scheduling
from nicefutures._priority import NoSuchProcessError, NotPermittedError

BACKENDS = [linux, macos, posix, windows]
OWN = 1000

every_process_level = pytest.mark.parametrize("level", ProcessPriority, ids=lambda level: level.name)
every_thread_level = pytest.mark.parametrize("level", ThreadPriority, ids=lambda level: level.name)


def refuse(number):
    raise OSError(number, os.strerror(number))


# --- all of them


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_same_functions(backend):
    """Every backend has the functions of the protocol with their signatures, and no others."""
    wanted = {name: f for name, f in vars(Backend).items() if not name.startswith("_") and inspect.isfunction(f)}
    assert set(backend.__all__) == set(wanted)
    for name, function in wanted.items():
        wanted_parameters = list(inspect.signature(function).parameters.values())[1:]
        found = inspect.signature(getattr(backend, name)).parameters.values()
        assert [(p.name, p.default) for p in found] == [(p.name, p.default) for p in wanted_parameters], name


@pytest.mark.parametrize(
    ("platform", "name"),
    [("win32", "_windows"), ("linux", "_linux"), ("darwin", "_macos"), ("freebsd14", "_posix"), ("sunos5", "_posix")],
)
def test_dispatch(monkeypatch, platform, name):
    """The platform decides on the backend; an unknown one is taken for POSIX."""
    package = importlib.import_module("nicefutures._platform")
    before = dict(vars(package))
    monkeypatch.setattr(sys, "platform", platform)
    try:
        importlib.reload(package)
        assert package.backend.__name__ == f"nicefutures._platform.{name}"
    finally:
        vars(package).update(before)


# --- Linux


class FakeKernel:
    """Threads of processes, and what may not be done to them."""

    def __init__(self, **threads):
        self.state = {OWN: Scheduling(Policy.SCHED_OTHER, 0, 0, 0)}
        self.processes = {OWN: [OWN]}
        self.forbidden = {}
        self.births = []
        self.deaths = []
        self.ours = True
        self.ignores = False
        self.proc = True

    def add(self, tid, pid=OWN, **scheduling):
        self.state[tid] = Scheduling(Policy.SCHED_OTHER, 0, 0, 0)._replace(**scheduling)
        self.processes.setdefault(pid, []).append(tid)

    def process_id(self):
        return OWN

    def threads(self, pid):
        if not self.proc or pid not in self.processes:
            raise FileNotFoundError
        return list(self.processes[pid])

    def exists(self, pid):
        return pid in self.processes

    def is_ours(self, pid):
        return self.ours

    def nice_limit(self):
        return 20

    def read(self, tid):
        tid = tid or OWN
        if tid not in self.state:
            raise ProcessLookupError
        return self.state[tid]

    def _change(self, tid, what, **values):
        tid = tid or OWN
        if what in self.forbidden:
            refuse(self.forbidden[what])
        if tid in self.deaths:
            self.deaths.remove(tid)
            del self.state[tid]
        if tid not in self.state:
            raise ProcessLookupError
        if not self.ignores:
            self.state[tid] = self.state[tid]._replace(**values)
        if self.births:  # made by a thread that has not been set yet
            self.add(self.births.pop())

    def set_policy(self, tid, policy, rt_priority):
        self._change(tid, "policy", policy=policy, rt_priority=rt_priority)

    def set_nice(self, tid, nice):
        self._change(tid, "nice", nice=nice)

    def set_ioprio(self, tid, ioprio):
        self._change(tid, "ioprio", ioprio=ioprio)

    def cpu_time(self, tid):
        self.read(tid)
        return 5_000_000

    def run_state(self, tid):
        self.read(tid)
        return "R" if tid == OWN else "S"

    def open_schedstat(self):
        raise FileNotFoundError


@pytest.fixture
def kernel(monkeypatch):
    fake = FakeKernel()
    monkeypatch.setattr(linux, "kernel", fake)
    return fake


IDLE_IO = IoClass.IDLE << 13


def test_linux_levels(kernel):
    """Each level is what the platform table says."""
    found = {}
    for level in ProcessPriority:
        assert linux.set_process(level) is None
        assert linux.get_process() == level
        found[level.name] = kernel.state[OWN]
    assert found == {
        "IDLE": Scheduling(Policy.SCHED_IDLE, 0, 0, IDLE_IO),
        "BELOW_NORMAL": Scheduling(Policy.SCHED_BATCH, 0, 10, 0),
        "NORMAL": Scheduling(Policy.SCHED_OTHER, 0, 0, 0),
        "ABOVE_NORMAL": Scheduling(Policy.SCHED_OTHER, 0, -5, 0),
        "HIGH": Scheduling(Policy.SCHED_OTHER, 0, -10, 0),
        "REALTIME": Scheduling(Policy.SCHED_RR, 1, -10, 0),
    }


@every_thread_level
def test_linux_thread_levels(kernel, level):
    """A thread's level reads back, and leaves other threads and the I/O class alone."""
    kernel.add(1001)
    kernel.state[OWN] = kernel.state[OWN]._replace(ioprio=IDLE_IO)
    saved = linux.save_thread()
    assert linux.set_thread(level) is None
    assert linux.get_thread() == level
    assert kernel.state[OWN].ioprio == IDLE_IO
    assert linux.restore_thread(saved) is None
    assert kernel.state[OWN] == saved
    assert kernel.state[1001] == Scheduling(0, 0, 0, 0)


def test_linux_new_threads(kernel):
    """Threads that come up during the walk are set too, until none is left."""
    kernel.add(1001)
    kernel.births = [1002, 1003, 1004, 1005]
    assert linux.set_process(ProcessPriority.IDLE) is None
    assert len(kernel.processes[OWN]) == 6
    assert {now.policy for now in kernel.state.values()} == {Policy.SCHED_IDLE}


def test_linux_dying_threads(kernel):
    """Threads that end during the walk are ignored."""
    for tid in (1001, 1002, 1003):
        kernel.add(tid)
    kernel.deaths = [1001, 1003]
    assert linux.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.state.keys() == {OWN, 1002}


@pytest.mark.parametrize(("number", "words"), [(errno.EPERM, "forbids"), (errno.EINVAL, "does not know")])
def test_linux_fallback(kernel, number, words):
    """Without SCHED_IDLE it is nice 19, and that is said; not an error, for the process is low."""
    kernel.add(1001)
    kernel.forbidden = {"policy": number}
    shortfall = linux.set_process(ProcessPriority.IDLE)
    assert {now.nice for now in kernel.state.values()} == {19}
    assert "SCHED_OTHER, nice 19" in shortfall.in_force
    assert words in shortfall.reason
    assert linux.get_process() == ProcessPriority.IDLE


def test_linux_no_fallback_upwards(kernel):
    """A level that cannot be raised to is an error that names the limit."""
    kernel.state[OWN] = kernel.state[OWN]._replace(nice=10)
    kernel.forbidden = {"nice": errno.EACCES}
    with pytest.raises(PriorityError, match="RLIMIT_NICE allows no raising at all") as caught:
        linux.set_process(ProcessPriority.NORMAL)
    assert caught.value.in_force == "BELOW_NORMAL (SCHED_OTHER, nice 10)"
    assert "limits.conf" in caught.value.remedy


@pytest.mark.parametrize("level", [ProcessPriority.BELOW_NORMAL, ProcessPriority.NORMAL])
def test_linux_cannot_leave_idle(kernel, level):
    """SCHED_IDLE is not left without the privilege; not half-way either."""
    kernel.state[OWN] = kernel.state[OWN]._replace(policy=Policy.SCHED_IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    with pytest.raises(PriorityError, match="may not raise"):
        linux.set_process(level)


def test_linux_realtime(kernel):
    """SCHED_RR without the privilege is an error that names the limit for it."""
    kernel.forbidden = {"policy": errno.EPERM}
    with pytest.raises(PriorityError, match="rtprio"):
        linux.set_process(ProcessPriority.REALTIME)


def test_linux_io_class_alone(kernel):
    """A missing I/O class is said; the rest is in force."""
    kernel.forbidden = {"ioprio": errno.ENOSYS}
    shortfall = linux.set_process(ProcessPriority.IDLE)
    assert "I/O class" in shortfall.reason
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE


def test_linux_ignored_call(kernel):
    """A call that does nothing, without an error, is found out."""
    kernel.ignores = True
    with pytest.raises(PriorityError, match="did nothing"):
        linux.set_process(ProcessPriority.IDLE)
    with pytest.raises(PriorityError, match="did nothing"):
        linux.set_thread(ThreadPriority.LOWEST)


def test_linux_others(kernel):
    """A process that does not exist, and one that is not ours."""
    with pytest.raises(NoSuchProcessError):
        linux.set_process(ProcessPriority.IDLE, 77)
    with pytest.raises(NoSuchProcessError):
        linux.describe(77)
    kernel.add(2000, 2000)
    kernel.ours = False
    kernel.forbidden = {"policy": errno.EPERM, "nice": errno.EPERM, "ioprio": errno.EPERM}
    with pytest.raises(NotPermittedError, match="another user"):
        linux.set_process(ProcessPriority.IDLE, 2000)


def test_linux_may_not_look(kernel, monkeypatch):
    """A process that may not even be looked at is a PriorityError and a PermissionError."""
    monkeypatch.setattr(kernel, "threads", lambda pid: refuse(errno.EPERM))
    for call in (linux.set_process, lambda _, pid: linux.describe(pid)):
        with pytest.raises(NotPermittedError, match="may not be looked at"):
            call(ProcessPriority.IDLE, OWN)


def test_linux_without_proc(kernel):
    """Without /proc only the main thread can be reached, and that is said."""
    kernel.add(1001)
    kernel.proc = False
    shortfall = linux.set_process(ProcessPriority.IDLE)
    assert "/proc" in shortfall.remedy
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE


def test_linux_reset_on_fork(kernel):
    """The reset-on-fork flag, which only a privilege clears, is kept."""
    kernel.state[OWN] = Scheduling(Policy.SCHED_OTHER | linux.RESET_ON_FORK, 0, 0, 0)
    assert linux.set_process(ProcessPriority.IDLE) is None
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE | linux.RESET_ON_FORK
    assert linux.get_process() == ProcessPriority.IDLE
    assert linux.describe().policy == "SCHED_IDLE"


@pytest.mark.parametrize(
    ("scheduling", "process", "thread"),
    [
        ({"nice": 7}, "BELOW_NORMAL", "BELOW_NORMAL"),
        ({"nice": 2}, "NORMAL", "NORMAL"),
        ({"nice": 15}, "IDLE", "LOWEST"),
        ({"nice": 19}, "IDLE", "LOWEST"),
        ({"nice": -20}, "HIGH", "HIGHEST"),
        ({"policy": Policy.SCHED_FIFO, "rt_priority": 50}, "REALTIME", "TIME_CRITICAL"),
        ({"policy": Policy.SCHED_DEADLINE}, "REALTIME", "TIME_CRITICAL"),
        ({"policy": Policy.SCHED_EXT, "nice": 10}, "BELOW_NORMAL", "BELOW_NORMAL"),
        ({"policy": 42}, "NORMAL", "NORMAL"),
    ],
)
def test_linux_nearest(kernel, scheduling, process, thread):
    """A foreign value is the nearest member."""
    kernel.state[OWN] = kernel.state[OWN]._replace(**scheduling)
    assert linux.get_process().name == process
    assert linux.get_thread().name == thread
    assert linux.describe().level.name == process


def test_linux_restore(kernel):
    """Everything goes back to what it was, per thread; a new thread goes where the main thread goes."""
    kernel.add(1001, nice=3, ioprio=2 << 13)
    kernel.add(1002, policy=Policy.SCHED_RR, rt_priority=9)
    before = dict(kernel.state)
    saved = linux.save_process()
    linux.set_process(ProcessPriority.IDLE)
    kernel.add(1003, policy=Policy.SCHED_IDLE, ioprio=IDLE_IO)
    assert linux.restore_process(saved) is None
    assert kernel.state == {**before, 1003: before[OWN]}


def test_linux_restore_refused(kernel):
    """What cannot be put back is returned."""
    saved = linux.save_process()
    linux.set_process(ProcessPriority.IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    shortfall = linux.restore_process(saved)
    assert shortfall.in_force.startswith("IDLE")
    assert "may not raise" in shortfall.reason


# --- Windows


def test_linux_activity(kernel):
    """What a thread does is told; of one that is gone, and by a kernel without statistics, nothing is."""
    kernel.add(7)
    assert (linux.thread_cpu_time(7), linux.is_ready(7), linux.is_ready(OWN)) == (5_000_000, False, True)
    assert (linux.thread_cpu_time(8), linux.is_ready(8)) == (None, False)
    with linux.cpu_delay() as delay:
        assert delay() == delay() == 0


@linux_only
def test_linux_activity_of_the_system():
    """The system tells a thread that computes from one that waits, and who has no CPU how long that was."""
    ends, computes = threading.Event(), threading.Event()

    def compute():
        computes.set()
        while not ends.is_set():
            pass

    busy, idle = threading.Thread(target=compute), threading.Thread(target=ends.wait)
    for thread in (busy, idle):
        thread.start()
    computes.wait()
    before = [linux.thread_cpu_time(thread.native_id) for thread in (busy, idle)]
    time.sleep(0.2)
    used = [linux.thread_cpu_time(t.native_id) - b for t, b in zip((busy, idle), before, strict=True)]
    ready = linux.is_ready(idle.native_id)
    ends.set()
    for thread in (busy, idle):
        thread.join()
    assert used[0] > 10 * used[1]
    assert not ready
    assert linux.is_ready(threading.get_native_id())
    assert linux.thread_cpu_time(busy.native_id) is None
    with linux.cpu_delay() as delay:
        assert 0 <= delay() <= delay()


class FakeWindows:
    """Priority classes by process, thread priorities by thread; None is the calling one."""

    def __init__(self):
        self.classes = {None: 0x20, 500: 0x20}
        self.thread_priorities = {None: 0, 11: 0, 12: -2}
        self.privileged = False
        self.denied = set()

    def _known(self, pid):
        if pid not in self.classes:
            raise ProcessLookupError
        if pid in self.denied:
            raise PermissionError

    def get_class(self, pid):
        self._known(pid)
        return self.classes[pid]

    def set_class(self, pid, priority_class):
        self._known(pid)
        if priority_class == 0x100 and not self.privileged:
            priority_class = 0x80
        self.classes[pid] = priority_class

    def threads(self, pid):
        self._known(pid)
        return [11, 12, 13]

    def get_thread_priority(self, tid=None):
        if tid not in self.thread_priorities:
            refuse(errno.EINVAL)
        return self.thread_priorities[tid]

    def set_thread_priority(self, priority):
        self.thread_priorities[None] = priority

    def thread_cycles(self, tid):
        if tid not in self.thread_priorities:
            refuse(errno.EINVAL)
        return 12_345


@pytest.fixture
def win32(monkeypatch):
    fake = FakeWindows()
    monkeypatch.setattr(windows, "system", fake)
    return fake


@every_process_level
def test_windows_levels(win32, level):
    """Each level is the class of its name, for this process and another."""
    win32.privileged = True
    for pid in (None, 500):
        assert windows.set_process(level, pid) is None
        assert windows.get_process(pid) == level
        assert win32.classes[pid] == windows.PriorityClass[f"{level.name}_PRIORITY_CLASS"]


def test_windows_silent_downgrade(win32):
    """REALTIME that becomes HIGH without a word is an error."""
    with pytest.raises(PriorityError, match="SeIncreaseBasePriorityPrivilege") as caught:
        windows.set_process(ProcessPriority.REALTIME)
    assert caught.value.in_force == "HIGH (HIGH_PRIORITY_CLASS)"
    assert "administrator" in caught.value.remedy


def test_windows_others(win32):
    """A process that does not exist, and one that is not ours."""
    with pytest.raises(NoSuchProcessError):
        windows.set_process(ProcessPriority.IDLE, 77)
    win32.denied = {500}
    with pytest.raises(NotPermittedError, match="another user or to the system"):
        windows.set_process(ProcessPriority.IDLE, 500)
    with pytest.raises(NotPermittedError):
        windows.get_process(500)


@every_thread_level
def test_windows_thread_levels(win32, level):
    """Each thread level is the number of its name."""
    saved = windows.save_thread()
    assert windows.set_thread(level) is None
    assert win32.thread_priorities[None] == level.value
    assert windows.get_thread() == level
    assert windows.restore_thread(saved) is None
    windows.set_thread(level)
    windows.release_thread()
    assert win32.thread_priorities[None] == 0


@pytest.mark.parametrize("what", ["refused", "ignored"])
def test_windows_thread_failure(win32, monkeypatch, what):
    """A refusal and a call without effect are both errors."""
    monkeypatch.setattr(win32, "set_thread_priority", lambda _: refuse(errno.EACCES) if what == "refused" else None)
    with pytest.raises(PriorityError, match="refused" if what == "refused" else "without an error") as caught:
        windows.set_thread(ThreadPriority.IDLE)
    assert caught.value.in_force == "NORMAL (0)"
    assert windows.restore_thread(-2) is not None


@pytest.mark.parametrize(("value", "level"), [(-7, "LOWEST"), (5, "HIGHEST"), (12, "TIME_CRITICAL"), (-14, "IDLE")])
def test_windows_nearest(win32, value, level):
    """A foreign thread priority, as the REALTIME class has them, is the nearest member."""
    win32.thread_priorities[None] = value
    assert windows.get_thread().name == level


def test_windows_describe(win32):
    """Threads are counted by level; one that is gone is left out."""
    description = windows.describe(500)
    assert description.priority_class == "NORMAL_PRIORITY_CLASS"
    assert description.threads == {ThreadPriority.LOWEST: 1, ThreadPriority.NORMAL: 1}


def test_windows_process_restore(win32):
    """The class goes back."""
    saved = windows.save_process()
    windows.set_process(ProcessPriority.IDLE)
    assert windows.restore_process(saved) is None
    assert win32.classes[None] == 0x20
    win32.classes[None] = 0x80
    assert windows.restore_process(0x100).in_force.startswith("HIGH")


# --- nice, for macOS and others


def test_windows_activity(win32):
    """CPU time is told in cycles; of a thread that is gone, none."""
    assert (windows.thread_cpu_time(11), windows.thread_cpu_time(99), windows.is_ready(11)) == (12_345, None, False)


@pytest.mark.parametrize("backend", [linux, macos, posix, windows], ids=lambda module: module.__name__)
def test_pause(backend):
    """It lasts as long as was asked for, unless the lock is to be had."""
    lock = threading.Lock()
    lock.acquire()
    assert backend.pause(lock, 0.001) is False
    lock.release()
    assert backend.pause(lock, 0.001) is True


@pytest.mark.parametrize("backend", [macos, posix], ids=lambda module: module.__name__)
def test_unknown_activity(backend):
    """Where the system does not tell, nothing is claimed."""
    assert backend.thread_cpu_time(1) is None
    assert not backend.is_ready(1)
    with backend.cpu_delay() as delay:
        assert delay() == 0


class FakeNice:
    """Nice by process; 0 is the calling one."""

    def __init__(self):
        self.nice = {0: 0, 500: 0}
        self.error = None
        self.last = 20
        self.ignores = False

    def get_nice(self, pid):
        if pid not in self.nice:
            raise ProcessLookupError
        return self.nice[pid]

    def set_nice(self, pid, nice):
        self.get_nice(pid)
        if self.error:
            refuse(self.error)
        if not self.ignores:
            self.nice[pid] = min(nice, self.last)


@pytest.fixture
def nice(monkeypatch):
    fake = FakeNice()
    monkeypatch.setattr(posix, "system", fake)
    return fake


@pytest.mark.parametrize("backend", [posix, macos])
@pytest.mark.parametrize("last", [19, 20])
def test_posix_levels(nice, backend, last):
    """Each level is a nice value, on systems whose last one is 19 too."""
    nice.last = last
    for pid in (None, 500):
        for level in list(ProcessPriority)[:-1]:
            assert backend.set_process(level, pid) is None
            assert backend.get_process(pid) == level
    assert nice.nice == {0: -10, 500: -10}
    assert backend.describe().nice == -10


def test_posix_failures(nice):
    """No real-time level, no such process, not ours, no raising, no effect."""
    with pytest.raises(PriorityError, match="no such level"):
        posix.set_process(ProcessPriority.REALTIME)
    with pytest.raises(NoSuchProcessError):
        posix.set_process(ProcessPriority.IDLE, 77)
    with pytest.raises(NoSuchProcessError):
        posix.get_process(77)
    nice.nice[0] = 20
    nice.error = errno.EACCES
    with pytest.raises(PriorityError, match="may not raise") as caught:
        posix.set_process(ProcessPriority.NORMAL)
    assert caught.value.in_force == "IDLE (nice 20)"
    assert posix.restore_process(0).in_force == "IDLE (nice 20)"
    nice.error = errno.EPERM
    with pytest.raises(NotPermittedError, match="another user"):
        posix.set_process(ProcessPriority.IDLE, 500)
    nice.error = None
    nice.ignores = True
    with pytest.raises(PriorityError, match="did something else"):
        posix.set_process(ProcessPriority.NORMAL)


def test_posix_restore(nice):
    """A foreign value is put back exactly."""
    nice.nice[0] = 7
    saved = posix.save_process()
    posix.set_process(ProcessPriority.IDLE)
    assert posix.restore_process(saved) is None
    assert nice.nice[0] == 7


def test_posix_threads(nice):
    """A thread's priority is not supported: said, not raised."""
    nice.nice[0] = 10
    assert "not supported" in posix.set_thread(ThreadPriority.LOWEST).reason
    assert posix.get_thread() == ThreadPriority.BELOW_NORMAL
    assert posix.save_thread() is None
    assert posix.restore_thread(None) is None


# --- macOS threads


class FakeQos:
    """The calling thread's QoS class."""

    def __init__(self):
        self.qos = macos.Qos(0x21)
        self.error = None
        self.ignores = False

    def get_qos(self):
        return self.qos

    def set_qos(self, qos):
        if self.error:
            refuse(self.error)
        if qos.qos_class == 0:
            refuse(errno.EINVAL)
        if not self.ignores:
            self.qos = qos


@pytest.fixture
def qos(monkeypatch):
    fake = FakeQos()
    monkeypatch.setattr(macos, "system", fake)
    return fake


def test_macos_thread_levels(qos):
    """Each level is a QoS class; the two lowest share one."""
    found = {}
    for level in list(ThreadPriority)[:-1]:
        assert macos.set_thread(level) is None
        found[level.name] = qos.qos.qos_class
        assert macos.get_thread() == (ThreadPriority.IDLE if level == ThreadPriority.LOWEST else level)
    assert list(found.values()) == [0x09, 0x09, 0x11, 0x15, 0x19, 0x21]


def test_macos_thread_failures(qos):
    """No real-time level; a thread that left QoS; a call without effect."""
    with pytest.raises(PriorityError, match="no such level"):
        macos.set_thread(ThreadPriority.TIME_CRITICAL)
    qos.error = errno.EPERM
    with pytest.raises(PriorityError, match="QoS") as caught:
        macos.set_thread(ThreadPriority.LOWEST)
    assert caught.value.in_force == "HIGHEST (QoS class 0x21)"
    assert macos.restore_thread(macos.Qos(0x15)) is not None
    qos.error = None
    qos.ignores = True
    with pytest.raises(PriorityError, match="something else"):
        macos.set_thread(ThreadPriority.LOWEST)


def test_macos_restore(qos):
    """Class and relative priority are put back; an unspecified class, which cannot be set, becomes the default one."""
    qos.qos = macos.Qos(0x19, -3)
    saved = macos.save_thread()
    macos.set_thread(ThreadPriority.IDLE)
    assert macos.restore_thread(saved) is None
    assert qos.qos == (0x19, -3)
    qos.qos = macos.Qos(0)
    assert macos.get_thread() == ThreadPriority.NORMAL
    assert macos.restore_thread(macos.Qos(0)) is None
    assert qos.qos == (0x15, 0)


# --- what no backend foresees


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_unforeseen_refusal(monkeypatch, on_failure):
    """A system that forbids even to look does not break a pool."""

    def forbid(priority):
        refuse(errno.EPERM)

    monkeypatch.setattr("nicefutures._initializer.backend.set_thread", forbid)
    executor = PriorityThreadPoolExecutor(2, on_failure=on_failure)
    if on_failure == "raise":
        with pytest.raises(PriorityError, match="not permitted"):
            executor.submit(abs, -1).result()
    else:
        with pytest.warns(PriorityWarning, match="not permitted"):
            assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
