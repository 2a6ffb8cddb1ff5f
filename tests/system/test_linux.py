"""The logic of the Linux backend, through its seam to the kernel."""

import contextlib
import errno
import os
import threading
import time

import psutil
import pytest

from marks import linux_only
from nicefutures import PriorityError, ProcessPriority, ThreadPriority
from nicefutures._levels import NoSuchProcessError, NotPermittedError
from nicefutures._system.linux import accounting, background, memory, priority, scheduling, seam, threads
from nicefutures._system.linux.ioprio import IoprioCalls
from nicefutures._system.linux.scheduling import Io, IoClass, Policy, Scheduling
from seams import OWN, FakeKernel, refuse

every_thread_level = pytest.mark.parametrize("level", ThreadPriority, ids=lambda level: level.name)


@pytest.fixture
def kernel(monkeypatch):
    fake = FakeKernel()
    monkeypatch.setattr(seam, "system", fake)
    return fake


IDLE_IO = IoClass.IDLE << 13


def test_levels(kernel):
    """Each level has the settings of the table in docs/platforms.md."""
    found = {}
    for level in ProcessPriority:
        assert priority.set_process(level) is None
        assert priority.get_process() == level
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
def test_thread_levels(kernel, level):
    """A thread's level can be read back; other threads and the I/O class stay as they are."""
    kernel.add(1001)
    kernel.state[OWN] = kernel.state[OWN]._replace(ioprio=IDLE_IO)
    saved = priority.save_thread()
    assert priority.set_thread(level) is None
    assert priority.get_thread() == level
    assert kernel.state[OWN].ioprio == IDLE_IO
    assert priority.restore_thread(saved) is None
    assert kernel.state[OWN] == saved
    assert kernel.state[1001] == Scheduling(0, 0, 0, 0)


def test_new_threads(kernel):
    """Threads that start during the walk are set, too, until no new thread is found."""
    kernel.add(1001)
    kernel.births = [1002, 1003, 1004, 1005]
    assert priority.set_process(ProcessPriority.IDLE) is None
    assert len(kernel.processes[OWN]) == 6
    assert {now.policy for now in kernel.state.values()} == {Policy.SCHED_IDLE}


def test_dying_threads(kernel):
    """Threads that end during the walk are ignored."""
    for tid in (1001, 1002, 1003):
        kernel.add(tid)
    kernel.deaths = [1001, 1003]
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.state.keys() == {OWN, 1002}


@pytest.mark.parametrize(("number", "words"), [(errno.EPERM, "forbids"), (errno.EINVAL, "does not know")])
def test_fallback(kernel, number, words):
    """Without SCHED_IDLE the process gets nice 19: a shortfall, but no error, because the process is low."""
    kernel.add(1001)
    kernel.forbidden = {"policy": number}
    shortfall = priority.set_process(ProcessPriority.IDLE)
    assert {now.nice for now in kernel.state.values()} == {19}
    assert "SCHED_OTHER, nice 19" in shortfall.in_force
    assert words in shortfall.reason
    assert priority.get_process() == ProcessPriority.IDLE


def test_no_fallback_upwards(kernel):
    """If a process may not be raised to a level, the error names the limit."""
    kernel.state[OWN] = kernel.state[OWN]._replace(nice=10)
    kernel.forbidden = {"nice": errno.EACCES}
    with pytest.raises(PriorityError, match="RLIMIT_NICE allows no raising at all") as caught:
        priority.set_process(ProcessPriority.NORMAL)
    assert caught.value.in_force == "BELOW_NORMAL (SCHED_OTHER, nice 10)"
    assert "limits.conf" in caught.value.remedy


def test_cannot_leave_idle(kernel):
    """Without the privilege, a process cannot leave SCHED_IDLE: enough for a low level, an error for NORMAL."""
    kernel.state[OWN] = kernel.state[OWN]._replace(policy=Policy.SCHED_IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    with pytest.raises(PriorityError, match="may not raise"):
        priority.set_process(ProcessPriority.NORMAL)
    assert priority.get_process() == ProcessPriority.IDLE


def test_lower_with_io(kernel):
    """A process that stays below the requested level keeps its I/O class; one that is raised to it does not."""
    kernel.state[OWN] = kernel.state[OWN]._replace(nice=15, ioprio=Io.IDLE)
    kernel.forbidden = {"nice": errno.EACCES}
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert (kernel.state[OWN].nice, kernel.state[OWN].ioprio) == (15, Io.IDLE)
    kernel.forbidden = {}
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert (kernel.state[OWN].nice, kernel.state[OWN].ioprio) == (10, Io.BELOW_NORMAL)


def test_one_thread_behind(kernel):
    """If one thread is below the requested level and another one above, the one above is reported."""
    kernel.add(1001)
    kernel.state[OWN] = kernel.state[OWN]._replace(nice=15)
    kernel.forbidden = {"nice": errno.EACCES}
    with pytest.raises(PriorityError, match="1 of 2 threads"):
        priority.set_process(ProcessPriority.BELOW_NORMAL)


def test_realtime(kernel):
    """SCHED_RR without the privilege is an error that names its limit."""
    kernel.forbidden = {"policy": errno.EPERM}
    with pytest.raises(PriorityError, match="rtprio"):
        priority.set_process(ProcessPriority.REALTIME)


def test_io_class_alone(kernel):
    """If the I/O class cannot be set, a shortfall says so; the policy is set."""
    kernel.forbidden = {"ioprio": errno.ENOSYS}
    shortfall = priority.set_process(ProcessPriority.IDLE)
    assert "I/O class" in shortfall.reason
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE


def test_ignored_call(kernel):
    """A call that succeeds without an effect is detected."""
    kernel.ignores = True
    with pytest.raises(PriorityError, match="did nothing"):
        priority.set_process(ProcessPriority.IDLE)
    with pytest.raises(PriorityError, match="did nothing"):
        priority.set_thread(ThreadPriority.LOWEST)


def test_others(kernel):
    """A process that does not exist and one of another user have errors of their own."""
    with pytest.raises(NoSuchProcessError):
        priority.set_process(ProcessPriority.IDLE, 77)
    with pytest.raises(NoSuchProcessError):
        priority.describe(77)
    kernel.add(2000, 2000)
    kernel.ours = False
    kernel.forbidden = {"policy": errno.EPERM, "nice": errno.EPERM, "ioprio": errno.EPERM}
    with pytest.raises(NotPermittedError, match="another user"):
        priority.set_process(ProcessPriority.IDLE, 2000)


def test_may_not_look(kernel, monkeypatch):
    """If the threads of a process may not be listed, that is a PriorityError and a PermissionError."""
    monkeypatch.setattr(kernel, "threads", lambda pid: refuse(errno.EPERM))
    for call in (priority.set_process, lambda _, pid: priority.describe(pid)):
        with pytest.raises(NotPermittedError, match="is forbidden"):
            call(ProcessPriority.IDLE, OWN)


def test_without_proc(kernel):
    """Without /proc only the main thread can be set, and the shortfall says so."""
    kernel.add(1001)
    kernel.proc = False
    shortfall = priority.set_process(ProcessPriority.IDLE)
    assert shortfall.remedy == "Mount /proc."
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE
    assert priority.describe().threads is None


def test_hidden(kernel, monkeypatch):
    """If /proc hides a process, only its main thread is set and shown, and the shortfall says why."""
    kernel.add(2000, 2000)
    monkeypatch.setattr(kernel, "threads", lambda pid: [OWN] if pid == OWN else refuse(errno.ENOENT))
    shortfall = priority.set_process(ProcessPriority.IDLE, 2000)
    assert "hides the process" in shortfall.reason
    kernel.forbidden = {"nice": errno.EACCES, "policy": errno.EPERM}
    with pytest.raises(PriorityError, match=r"\(SCHED_IDLE, nice 0\) for the main thread\."):
        priority.set_process(ProcessPriority.NORMAL, 2000)
    description = priority.describe(2000)
    assert (description.threads, description.state) == (None, "threads unknown")


def test_ended(kernel):
    """A main thread that has ended before the others is left out; a process that has ended is an error."""
    kernel.add(1001)
    kernel.ended = {OWN}
    saved = priority.save_process()
    assert priority.set_process(ProcessPriority.IDLE) is None
    assert kernel.state[1001].policy == Policy.SCHED_IDLE
    description = priority.describe()
    assert (description.level, description.state) == (ProcessPriority.IDLE, "main thread ended")
    assert description.threads == {ThreadPriority.IDLE: 1}
    assert priority.restore_process(saved) is None
    assert kernel.state[1001].policy == Policy.SCHED_OTHER
    kernel.add(2000, 2000)
    kernel.ended.add(2000)
    for call in (priority.set_process, priority.cap_process, lambda _, pid: priority.describe(pid)):
        with pytest.raises(NoSuchProcessError, match="has ended, and its parent"):
            call(ProcessPriority.IDLE, 2000)


_LOW_IO, _IDLE_IO = 2 << 13 | 6, 3 << 13


@pytest.mark.parametrize(
    ("before", "level", "after"),
    [
        (("SCHED_OTHER", 7, 0), "BELOW_NORMAL", ("SCHED_BATCH", 10, _LOW_IO)),
        (("SCHED_OTHER", 10, 0), "BELOW_NORMAL", None),
        (("SCHED_OTHER", 19, 0), "BELOW_NORMAL", None),
        (("SCHED_OTHER", 19, 0), "IDLE", ("SCHED_IDLE", 19, _IDLE_IO)),
        (("SCHED_IDLE", 0, 2 << 13), "BELOW_NORMAL", None),
        (("SCHED_OTHER", 0, _IDLE_IO), "BELOW_NORMAL", ("SCHED_BATCH", 10, _IDLE_IO)),
        (("SCHED_OTHER", -3, 0), "NORMAL", ("SCHED_OTHER", 0, 0)),
        (("SCHED_FIFO", 15, 0), "BELOW_NORMAL", ("SCHED_BATCH", 15, _LOW_IO)),
        (("SCHED_FIFO", 0, 0), "REALTIME", None),
    ],
)
def test_capped(kernel, before, level, after):
    """A thread above the level is lowered, and none of its settings is raised; any other thread stays as it is."""
    policy, nice, ioprio = before
    kernel.add(1001, policy=Policy[policy], nice=nice, ioprio=ioprio)
    assert priority.cap_process(ProcessPriority[level]) is None
    now = kernel.state[1001]
    assert (Policy(now.policy).name, now.nice, now.ioprio) == (after or before)


def test_capped_in_vain(kernel):
    """It is an error if a thread above the level cannot be lowered."""
    kernel.ignores = True
    with pytest.raises(PriorityError, match="did nothing"):
        priority.cap_process(ProcessPriority.IDLE)


def test_reset_on_fork(kernel):
    """The reset-on-fork flag, which only a privilege clears, is kept."""
    kernel.state[OWN] = Scheduling(Policy.SCHED_OTHER | scheduling.RESET_ON_FORK, 0, 0, 0)
    assert priority.set_process(ProcessPriority.IDLE) is None
    assert kernel.state[OWN].policy == Policy.SCHED_IDLE | scheduling.RESET_ON_FORK
    assert priority.get_process() == ProcessPriority.IDLE
    assert priority.describe().policy == "SCHED_IDLE"


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
def test_nearest(kernel, scheduling, process, thread):
    """Settings between the levels are read as the nearest level."""
    kernel.state[OWN] = kernel.state[OWN]._replace(**scheduling)
    assert priority.get_process().name == process
    assert priority.get_thread().name == thread
    assert priority.describe().level.name == process


def test_restore(kernel):
    """Each thread gets its old settings back; a new thread gets those of the main thread."""
    kernel.add(1001, nice=3, ioprio=2 << 13)
    kernel.add(1002, policy=Policy.SCHED_RR, rt_priority=9)
    before = dict(kernel.state)
    saved = priority.save_process()
    priority.set_process(ProcessPriority.IDLE)
    kernel.add(1003, policy=Policy.SCHED_IDLE, ioprio=IDLE_IO)
    assert priority.restore_process(saved) is None
    assert kernel.state == {**before, 1003: before[OWN]}


def test_restore_refused(kernel):
    """A setting that cannot be restored is returned as a shortfall."""
    saved = priority.save_process()
    priority.set_process(ProcessPriority.IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    shortfall = priority.restore_process(saved)
    assert shortfall.in_force.startswith("IDLE")
    assert "may not raise" in shortfall.reason


def test_activity(kernel):
    """A thread's CPU time and delay are read; an ended thread and a kernel without statistics have none."""
    kernel.add(7)
    kernel.files["/proc/self/task/7/schedstat"] = "6000000 70000 12\n"
    assert (accounting.thread_cpu_time(7), accounting.thread_cpu_delay(7)) == (5_000_000, 70_000)
    assert (accounting.thread_cpu_time(8), accounting.thread_cpu_delay(8)) == (None, 0)
    assert accounting.thread_waits() == 3
    with accounting.cpu_delay() as delay:
        assert delay() == delay() == 0


def test_library_threads(kernel, monkeypatch):
    """Threads that Python did not start, without a name of their own, are libraries'; they are lowered and restored."""
    kernel.processes[OWN] = [threading.get_native_id()]
    for tid in (71, 72, 73, 74):
        kernel.add(tid)
    kernel.state[72] = kernel.state[72]._replace(nice=3)
    names = {threading.get_native_id(): "a-program", 71: "a-program", 72: "python3.11", 73: "grpc_poll", 74: None}
    kernel.files |= {f"/proc/self/task/{tid}/comm": f"{name}\n" for tid, name in names.items() if name}
    only = [threading.current_thread()]
    monkeypatch.setattr(threading, "enumerate", lambda: only)
    assert threads.of_libraries() == [71, 72]
    saved = threads.save_levels([71, 72, 99])
    threads.set_levels([71, 72, 99], ThreadPriority.IDLE)
    assert threads.get_levels([71, 72, 99]) == dict.fromkeys((71, 72), ThreadPriority.IDLE)
    assert threads.restore_levels(saved) is None
    assert [kernel.state[tid].nice for tid in (71, 72)] == [0, 3]
    threads.set_levels(saved, ThreadPriority.IDLE)
    kernel.forbidden = {"policy": errno.EPERM}
    assert threads.restore_levels(saved).in_force.startswith("IDLE")
    only.append(threading.Thread())  # not started yet
    assert threads.of_libraries() == []


def test_ready_threads(kernel):
    """The number of threads that run or wait for a CPU is read, if the system counts them."""
    assert accounting.count_ready() is None
    kernel.files["/proc/loadavg"] = "0.20 0.18 0.12 7/80 11206\n"
    assert accounting.count_ready() == 7


@linux_only
def test_activity_of_the_system():
    """CPU times distinguish a thread that computes from one that waits; delays and waits are counted."""
    ends, computes = threading.Event(), threading.Event()

    def compute():
        computes.set()
        while not ends.is_set():
            pass

    busy, idle = threading.Thread(target=compute), threading.Thread(target=ends.wait)
    for thread in (busy, idle):
        thread.start()
    computes.wait()
    before = [accounting.thread_cpu_time(thread.native_id) for thread in (busy, idle)]

    def used():
        return [accounting.thread_cpu_time(t.native_id) - b for t, b in zip((busy, idle), before, strict=True)]

    deadline = time.monotonic() + 60
    while used()[0] <= 10 * used()[1] + 1_000_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    computed, waited = used()
    delays = [accounting.thread_cpu_delay(thread.native_id) for thread in (busy, idle)]
    ends.set()
    for thread in (busy, idle):
        thread.join()
    assert computed > 10 * waited
    assert all(delay >= 0 for delay in delays)
    while accounting.thread_cpu_time(busy.native_id) is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # it ends for Python before it ends for the system
    assert accounting.thread_cpu_time(busy.native_id) is None
    waits = accounting.thread_waits()
    time.sleep(0.01)
    assert accounting.thread_waits() > waits
    with accounting.cpu_delay() as delay:
        assert 0 <= delay() <= delay()


@linux_only
def test_closed_files():
    """If a program closes all files, as a daemon does, a thread that reads its delay continues."""
    with accounting.cpu_delay() as delay:
        before = delay()
        closed = 0
        for opened in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
                if os.readlink(f"/proc/self/fd/{opened}").endswith(f"/task/{threading.get_native_id()}/schedstat"):
                    os.close(int(opened))
                    closed += 1
        assert closed == 1
        assert delay() == before


OOM_SCORE = "/proc/self/oom_score_adj"


def test_background(kernel):
    """A lowered worker is the kernel's first choice when the memory runs out; a higher score stays."""
    assert background.set_background(ProcessPriority.NORMAL) is None
    assert kernel.files[OOM_SCORE] == "0"
    assert background.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.files[OOM_SCORE] == "800"
    assert background.set_background(ProcessPriority.IDLE) is None
    assert background.set_background(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.files[OOM_SCORE] == "1000"


def test_background_refused(kernel):
    """A refusal by the kernel is reported; a kernel without the setting is not."""
    kernel.forbidden["file"] = errno.EACCES
    assert "forbids" in background.set_background(ProcessPriority.IDLE).reason
    del kernel.forbidden["file"]
    kernel.ignores = True
    assert background.set_background(ProcessPriority.IDLE).in_force == "0"
    del kernel.files[OOM_SCORE]
    assert background.set_background(ProcessPriority.IDLE) is None


def test_implied_io(kernel):
    """If the I/O class cannot be set, nice 10 implies the I/O priority of BELOW_NORMAL, so there is no shortfall."""
    kernel.forbidden["ioprio"] = errno.EPERM
    assert priority.set_process(ProcessPriority.BELOW_NORMAL) is None
    assert kernel.state[OWN] == Scheduling(Policy.SCHED_BATCH, 0, 10, 0)


def test_memory_limit(kernel):
    """The limit is set and removed; a stricter one stays."""
    limit = memory.open_limit()
    limit.hold(10**9)
    assert kernel.data_limit == (10**9, -1)
    assert limit.in_force()
    limit.lift()
    assert kernel.data_limit == (-1, -1)
    assert not limit.in_force()
    kernel.data_limit = (10**8, 10**10)
    limit = memory.open_limit()
    limit.hold(10**9)
    assert kernel.data_limit == (10**8, 10**10)
    assert memory.in_use() == 4 * 4096
    assert memory.unused() == 3 * 4096


@pytest.mark.parametrize(("limit", "size"), [(2**20, 2**20), (-1, 8 * 2**20), (2**64 - 1, 8 * 2**20)])
def test_stack_size(kernel, limit, size):
    """A thread's stack has the size of RLIMIT_STACK, or 8 MiB for both numbers that mean no limit."""
    kernel.stack_limit = limit
    assert memory.stack_size() == size


def test_exit_trap(kernel):
    """The signal that `exit` raises first is ignored, except while the trap is set."""
    trap = memory.open_exit_trap()
    trap.set()
    assert not kernel.ignored
    trap.unset()
    trap.lay()
    (number,) = kernel.ignored
    assert kernel.exit_signals == [number] * 2
    assert memory.is_trapped(-number)
    kernel.forbidden["exit"] = errno.ENOMEM
    memory.open_exit_trap()  # no error: the process has no trap


def test_without_affinity(kernel, monkeypatch):
    """If the C library has no call for the affinity, Python's count is used; quotas and memory limits count, too."""
    monkeypatch.setattr(accounting, "count_cpus", lambda: 4)
    monkeypatch.setattr(accounting, "cpu_quota", lambda: None)
    assert accounting.usable_cpus() == 4
    monkeypatch.setattr(accounting, "cpu_quota", lambda: 1.5)
    assert accounting.usable_cpus() == 1.5
    monkeypatch.setattr(memory, "memory_limit", lambda: 5000)
    assert memory.total() == 5000


@linux_only
@pytest.mark.every_python
@pytest.mark.parametrize("lacks", [None, "dlsym", "_SimpleCData", "FUNCFLAG_USE_ERRNO"])
def test_ioprio_calls(monkeypatch, lacks):
    """I/O priorities can be set and read, even if the C part of ctypes in this Python lacks a name."""
    if lacks:
        monkeypatch.delattr(f"_ctypes.{lacks}")
    calls, found = IoprioCalls(), []

    def lower():
        calls.set(0, IDLE_IO)
        found.append((calls.get(0), psutil.Process(threading.get_native_id()).ionice().ioclass))

    thread = threading.Thread(target=lower)
    thread.start()
    thread.join()
    assert found == [(IDLE_IO, psutil.IOPRIO_CLASS_IDLE)]
    with pytest.raises(ProcessLookupError):
        calls.get(2**31 - 1)
