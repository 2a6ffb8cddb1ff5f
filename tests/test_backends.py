"""Each backend's logic, on any system, through its one seam to the operating system."""

import errno
import importlib
import inspect
import os
import sys
import threading
import time

import pytest

from marks import linux_only
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
        self.files = {"/proc/self/oom_score_adj": "0", "/proc/self/statm": "9 8 7 6 0 4 0"}
        self.data_limit = (-1, -1)

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

    def voluntary_switches(self):
        return 3

    def run_state(self, tid):
        self.read(tid)
        return "R" if tid == OWN else "S"

    def executable(self):
        return "/usr/bin/python3.11"

    def open_schedstat(self):
        raise FileNotFoundError

    def read_text(self, path):
        if path not in self.files:
            raise FileNotFoundError
        return self.files[path]

    def write_text(self, path, text):
        if "file" in self.forbidden:
            refuse(self.forbidden["file"])
        if not self.ignores:
            self.files[path] = text

    def get_data_limit(self):
        return self.data_limit

    def set_data_limit(self, limits):
        self.data_limit = limits

    def affinity(self):
        refuse(errno.ENOSYS)

    def page_size(self):
        return 4096

    def memory_pages(self):
        return 1000


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
        "BELOW_NORMAL": Scheduling(Policy.SCHED_BATCH, 0, 10, IoClass.BEST_EFFORT << 13 | 6),
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
    assert linux.thread_waits() == 3
    with linux.cpu_delay() as delay:
        assert delay() == delay() == 0


def test_linux_library_threads(kernel, monkeypatch):
    """Threads that neither Python started nor anybody named are libraries'; they go down, and back as they were."""
    kernel.processes[OWN] = [threading.get_native_id()]
    for tid in (71, 72, 73, 74):
        kernel.add(tid)
    kernel.state[72] = kernel.state[72]._replace(nice=3)
    names = {threading.get_native_id(): "a-program", 71: "a-program", 72: "python3.11", 73: "grpc_poll", 74: None}
    kernel.files |= {f"/proc/self/task/{tid}/comm": f"{name}\n" for tid, name in names.items() if name}
    only = [threading.current_thread()]
    monkeypatch.setattr(threading, "enumerate", lambda: only)
    assert linux.library_threads() == [71, 72]
    saved = linux.save_threads([71, 72, 99])
    linux.set_threads([71, 72, 99], ThreadPriority.IDLE)
    assert linux.get_threads([71, 72, 99]) == dict.fromkeys((71, 72), ThreadPriority.IDLE)
    assert linux.restore_threads(saved) is None
    assert [kernel.state[tid].nice for tid in (71, 72)] == [0, 3]
    linux.set_threads(saved, ThreadPriority.IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    assert linux.restore_threads(saved).in_force.startswith("IDLE")
    only.append(threading.Thread())  # it has not started yet
    assert linux.library_threads() == []


def test_linux_ready_threads(kernel):
    """How many threads want a CPU is told, where the system tells it."""
    assert linux.count_ready() is None
    kernel.files["/proc/loadavg"] = "0.20 0.18 0.12 7/80 11206\n"
    assert linux.count_ready() == 7


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
    waits = linux.thread_waits()
    time.sleep(0.01)
    assert linux.thread_waits() > waits
    with linux.cpu_delay() as delay:
        assert 0 <= delay() <= delay()


OOM_SCORE = "/proc/self/oom_score_adj"


def test_linux_background(kernel):
    """A lowered worker is the kernel's first choice when the memory runs out; what is higher already stays."""
    assert linux.set_background(ProcessPriority.NORMAL) is None
    assert kernel.files[OOM_SCORE] == "0"
    assert linux.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.files[OOM_SCORE] == "800"
    assert linux.set_background(ProcessPriority.IDLE) is None
    assert linux.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.files[OOM_SCORE] == "1000"


def test_linux_background_refused(kernel):
    """A kernel that refuses is named, one that has no such thing is not."""
    kernel.forbidden["file"] = errno.EACCES
    assert "forbids" in linux.set_background(ProcessPriority.IDLE).reason
    del kernel.forbidden["file"]
    kernel.ignores = True
    assert linux.set_background(ProcessPriority.IDLE).in_force == "0"
    del kernel.files[OOM_SCORE]
    assert linux.set_background(ProcessPriority.IDLE) is None


def test_linux_implied_io(kernel):
    """Where the I/O class cannot be set, nice 10 implies what BELOW_NORMAL asks for: nothing is missing."""
    kernel.forbidden["ioprio"] = errno.EPERM
    assert linux.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.state[OWN] == Scheduling(Policy.SCHED_BATCH, 0, 10, 0)


def test_linux_memory_limit(kernel):
    """The limit comes and goes; a stricter one stays."""
    limit = linux.open_memory_limit()
    limit.hold(10**9)
    assert kernel.data_limit == (10**9, -1)
    assert limit.in_force()
    limit.lift()
    assert kernel.data_limit == (-1, -1)
    assert not limit.in_force()
    kernel.data_limit = (10**8, 10**10)
    limit = linux.open_memory_limit()
    limit.hold(10**9)
    assert kernel.data_limit == (10**8, 10**10)
    assert linux.memory_in_use() == 4 * 4096
    assert linux.memory_unused() == 3 * 4096


def test_linux_without_affinity(kernel, monkeypatch):
    """A C library that has no affinity leaves Python's own count; a quota counts."""
    monkeypatch.setattr(linux, "count_cpus", lambda: 4)
    monkeypatch.setattr(linux, "cpu_quota", lambda: None)
    assert linux.usable_cpus() == 4
    monkeypatch.setattr(linux, "cpu_quota", lambda: 1.5)
    assert linux.usable_cpus() == 1.5
    monkeypatch.setattr(linux, "memory_limit", lambda: 5000)
    assert linux.total_memory() == 5000


class FakeWindows:
    """Priority classes by process, thread priorities by thread; None is the calling one."""

    def __init__(self):
        self.classes = {None: 0x20, 500: 0x20}
        self.thread_priorities = {None: 0, 11: 0, 12: -2}
        self.privileged = False
        self.denied = set()
        self.refusals = {}
        self.noted = {}
        self.forgets = False

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

    def set_thread_priority(self, priority, tid=None):
        if tid not in self.thread_priorities:
            refuse(errno.EINVAL)
        self.thread_priorities[tid] = priority

    def start_of_thread(self, tid):
        return {11: r"C:\Env\numpy.libs\libopenblas.dll", 12: r"C:\Windows\System32\ntdll.dll"}.get(tid, "")

    def thread_cycles(self, tid):
        if tid not in self.thread_priorities:
            refuse(errno.EINVAL)
        return 12_345

    def _note(self, what, value):
        if what in self.refusals:
            error = OSError(errno.EINVAL, "refused")
            error.winerror = self.refusals[what]
            raise error
        self.noted[what] = value

    def get_io_priority(self, pid):
        return self.noted.get("io", 2)

    def set_io_priority(self, priority):
        self._note("io", priority)

    def set_memory_priority(self, priority):
        self._note("memory", priority)

    def set_power_throttling(self):
        self._note("power", True)

    def open_job(self):
        return 77

    def set_job_limit(self, job, limit):
        assert job == 77
        self._note("job", limit)

    def get_job_limit(self, job):
        return None if self.forgets else self.noted.get("job")

    def affinity(self):
        return 3

    def committed(self):
        return 10**8


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


def test_windows_library_threads(win32, monkeypatch):
    """Threads that start in a library that is not Windows' own are put down, and back as they were."""
    monkeypatch.setenv("SYSTEMROOT", r"C:\Windows")
    assert windows.library_threads() == [11]
    saved = windows.save_threads([11, 99])
    windows.set_threads([11, 99], ThreadPriority.IDLE)
    assert windows.get_threads([11, 99]) == {11: ThreadPriority.IDLE}
    assert windows.restore_threads(saved) is None
    assert win32.thread_priorities[11] == 0


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
    assert backend.thread_waits() is None
    assert not backend.is_ready(1)
    with backend.cpu_delay() as delay:
        assert delay() == 0
    assert backend.count_ready() is None
    assert backend.library_threads() == []


@pytest.mark.parametrize("backend", [macos, posix], ids=lambda module: module.__name__)
def test_other_threads(backend):
    """Where a thread sets its own level only, the others are left alone."""
    assert backend.save_threads([1]) == backend.get_threads([1]) == {}
    backend.set_threads([1], ThreadPriority.IDLE)
    assert backend.restore_threads({}) is None


def test_windows_background(win32):
    """I/O and memory go with the level."""
    assert windows.set_background(ProcessPriority.NORMAL) is None
    assert win32.noted == {}
    assert windows.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert win32.noted == {"io": 1, "memory": 4}
    assert windows.set_background(ProcessPriority.IDLE) is None
    assert win32.noted == {"io": 0, "memory": 1}
    assert windows.describe().io_class == "very_low"


@pytest.mark.parametrize(("number", "said"), [(1, False), (50, False), (120, False), (5, True)])
@pytest.mark.parametrize("what", ["io", "memory"])
def test_windows_background_refused(win32, what, number, said):
    """A refusal is said; that this Windows has no such thing is not."""
    win32.refusals[what] = number
    shortfall = windows.set_background(ProcessPriority.IDLE)
    assert (shortfall is not None) is said


def test_windows_efficiency(win32):
    """EcoQoS is asked for, and a Windows without it is said, for it was asked for by itself."""
    assert windows.set_efficiency() is None
    assert win32.noted == {"power": True}
    win32.refusals["power"] = 87
    assert "1709" in windows.set_efficiency().remedy


def test_windows_memory_limit(win32):
    """The limit of the job comes and goes, and is read back."""
    limit = windows.open_memory_limit()
    limit.hold(10**9)
    assert win32.noted["job"] == 10**9
    assert limit.in_force()
    limit.lift()
    assert win32.noted["job"] is None
    limit.hold(10**9)
    win32.forgets = True
    assert not limit.in_force()
    assert windows.memory_in_use() == 10**8
    assert windows.usable_cpus() == min(3, windows.count_cpus())


class FakeNice:
    """Nice by process; 0 is the calling one."""

    def __init__(self):
        self.nice = {0: 0, 500: 0}
        self.error = None
        self.last = 20
        self.ignores = False
        self.address_limit = (-1, -1)

    def get_address_limit(self):
        return self.address_limit

    def set_address_limit(self, limits):
        self.address_limit = limits

    def address_space(self):
        return 10**9

    def resident(self):
        return 10**8

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


def test_posix_memory_limit(nice):
    """The address space is limited, whatever stands for no limit; a stricter limit stays."""
    for infinity in (-1, 2**63 - 1):
        nice.address_limit = (infinity, infinity)
        limit = posix.open_memory_limit()
        limit.hold(10**9)
        assert nice.address_limit == (10**9, infinity)
        assert limit.in_force()
        limit.lift()
        assert nice.address_limit == (infinity, infinity)
    nice.address_limit = (10**8, 10**10)
    posix.open_memory_limit().hold(10**9)
    assert nice.address_limit == (10**8, 10**10)
    assert posix.memory_in_use() == 10**9
    assert posix.memory_unused() == 9 * 10**8


@pytest.mark.parametrize("backend", [posix, macos, windows])
def test_no_groups(backend):
    """Only Linux has task groups that a level counts in."""
    assert backend.find_group() is None
    assert backend.join_group(None, None) is None


# --- macOS threads, I/O and efficiency


class FakeQos:
    """The calling thread's QoS class, and what its process has."""

    def __init__(self):
        self.qos = macos.Qos(0x21)
        self.error = None
        self.ignores = False
        self.io_policy = 0
        self.background = 0

    def get_io_policy(self):
        return self.io_policy

    def set_io_policy(self, policy):
        if self.error:
            refuse(self.error)
        if not self.ignores:
            self.io_policy = policy

    def get_darwin_background(self):
        return self.background

    def set_darwin_background(self, value):
        if self.error:
            refuse(self.error)
        if not self.ignores:
            self.background = int(value == 0x1000)

    def get_qos(self, thread=None):
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


def test_macos_background(qos):
    """I/O goes with the level."""
    assert macos.set_background(ProcessPriority.NORMAL) is None
    assert qos.io_policy == 0
    assert macos.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert qos.io_policy == 4
    assert macos.set_background(ProcessPriority.IDLE) is None
    assert qos.io_policy == 3


def test_macos_efficiency(qos):
    """The whole process is put in the background."""
    assert macos.set_efficiency() is None
    assert qos.background == 1


def test_macos_refusals(qos):
    """What is refused or ignored is said; and there is no memory limit."""
    qos.ignores = True
    assert "something else" in macos.set_background(ProcessPriority.IDLE).reason
    assert "did nothing" in macos.set_efficiency().reason
    qos.error = errno.EPERM
    assert "refused" in macos.set_background(ProcessPriority.IDLE).reason
    assert "refused" in macos.set_efficiency().reason
    with pytest.raises(OSError, match="does not enforce"):
        macos.open_memory_limit()


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
