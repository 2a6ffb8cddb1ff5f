"""Fake systems for each backend's seam, so that the backend's logic runs on any machine."""

import errno
import os
import threading
import time

from nicefutures._system.linux.scheduling import Policy, Scheduling
from nicefutures._system.macos.seam import Qos
from nicefutures._system.windows import activity

OWN = 1000


def refuse(number):
    raise OSError(number, os.strerror(number))


class FakeKernel:
    """The threads of processes, and the calls that are forbidden."""

    def __init__(self, **threads):
        self.state = {OWN: Scheduling(Policy.SCHED_OTHER, 0, 0, 0)}
        self.processes = {OWN: [OWN]}
        self.forbidden = {}
        self.births = []
        self.deaths = []
        self.ended = set()
        self.ours = True
        self.ignores = False
        self.proc = True
        self.files = {"/proc/self/oom_score_adj": "0", "/proc/self/statm": "9 8 7 6 0 4 0"}
        self.data_limit = (-1, -1)
        self.stack_limit = 8 * 2**20
        self.exit_signals = []
        self.ignored = set()
        self.directories = {}

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

    def has_ended(self, tid):
        return tid in self.ended

    def is_ours(self, pid):
        return self.ours

    def nice_limit(self):
        return 20

    def read(self, tid):
        tid = tid or OWN
        if tid not in self.state:
            raise ProcessLookupError
        return self.state[tid]

    def read_cpu(self, tid):
        now = self.read(tid)
        return now.policy, now.nice

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
        if self.births:  # started by a thread that has not been set yet
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

    def executable(self):
        return "/usr/bin/python3.11"

    def open_schedstat(self):
        raise FileNotFoundError

    def read_text(self, path):
        if path not in self.files:
            raise FileNotFoundError
        return self.files[path]

    def read_stat(self, path):
        return self.read_text(path).encode()

    def list_directory(self, path):
        if path not in self.directories:
            raise FileNotFoundError
        return self.directories[path]

    def connect(self, address, seconds):
        refuse(errno.ECONNREFUSED)

    def clock_ticks(self):
        return 100

    def write_text(self, path, text):
        if "file" in self.forbidden:
            refuse(self.forbidden["file"])
        if not self.ignores:
            self.files[path] = text

    def get_data_limit(self):
        return self.data_limit

    def set_data_limit(self, limits):
        self.data_limit = limits

    def get_stack_limit(self):
        return self.stack_limit

    def raise_at_exit(self, number):
        if "exit" in self.forbidden:
            refuse(self.forbidden["exit"])
        self.exit_signals.append(number)

    def set_signal(self, number, *, is_ignored):
        (self.ignored.add if is_ignored else self.ignored.discard)(number)

    def affinity(self):
        refuse(errno.ENOSYS)

    def page_size(self):
        return 4096

    def memory_pages(self):
        return 1000


def describe_process(pid, priority, used, *, thread_priorities=(8,), following=False):
    """Return a SYSTEM_PROCESS_INFORMATION and its threads; `used` has each thread's CPU time in units of 100 ns."""
    threads = [
        activity._THREAD.pack(0, each, 7, 0, 0, pid, number, 0, base, 0, 0, 0)
        for number, (each, base) in enumerate(zip(used, thread_priorities, strict=True))
    ]
    head = [0, len(used), 0, 0, 0, 0, 7, sum(used), 0, 0, 0, 0, priority, pid, 1, *[0] * 21]
    size = activity._PROCESS.size + sum(map(len, threads))
    head[0] = size * following
    return activity._PROCESS.pack(*head) + b"".join(threads)


class FakeWindows:
    """Priority classes by process, and thread priorities by thread; None is the calling process or thread."""

    def __init__(self):
        self.classes = {None: 0x20, 500: 0x20}
        self.thread_priorities = {None: 0, 11: 0, 12: -2}
        self.input_at, self.ticks_now = 1000, 3500
        self.power = (1, 1)
        self.memory_low = [False]
        self.listed = [
            describe_process(0, 0, [1_000_000], following=True),
            describe_process(1234, 8, [20_000_000, 5_000_000], thread_priorities=[8, 1]),
        ]
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
        if tid == threading.get_native_id():
            return 2 * time.perf_counter_ns()
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

    def set_io_priority(self, priority, pid=None):
        self._note("io", priority)

    def set_memory_priority(self, priority):
        self._note("memory", priority)

    def set_power_throttling(self, pid=None):
        self._note("power", True)

    def open_job(self):
        return 77

    def set_job_limit(self, job, limit, *, ends=False):
        assert job == 77
        self._note("job", limit)

    def get_job_limit(self, job):
        return None if self.forgets else self.noted.get("job")

    def affinity(self):
        return 3

    def last_input(self):
        return self.input_at

    def ticks(self):
        return self.ticks_now

    def ac_line(self):
        return self.power

    def open_memory_notification(self):
        return self.memory_low

    def query_memory_notification(self, handle):
        return handle[0]

    def list_processes(self):
        return b"".join(self.listed)

    def libraries(self, pid):
        self._known(pid)

    def committed(self):
        return 10**8


class FakeNice:
    """Nice values by process; 0 is the calling process."""

    def __init__(self):
        self.nice = {0: 0, 500: 0}
        self.error = None
        self.last = 20
        self.ignores = False
        self.address_limit = (-1, -1)
        self.stack_limit = 8 * 2**20

    def get_address_limit(self):
        return self.address_limit

    def set_address_limit(self, limits):
        self.address_limit = limits

    def get_stack_limit(self):
        return self.stack_limit

    def address_space(self):
        return 10**9

    def resident(self):
        return 10**8

    def connect(self, address, seconds):
        refuse(errno.ECONNREFUSED)

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


class FakeQos:
    """The QoS class of the calling thread, and the settings of its process."""

    def __init__(self):
        self.qos = Qos(0x21)
        self.pressure = 1
        self.error = None
        self.ignores = False
        self.io_policy = 0
        self.cpu_times = {7: 5_000_000}
        self.background = 0

    def seconds_since_input(self):
        return 2.5

    def memory_pressure(self):
        if self.error:
            refuse(self.error)
        return self.pressure

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

    def thread_cpu_time(self, tid):
        if tid not in self.cpu_times:
            refuse(errno.ESRCH)
        return self.cpu_times[tid]

    def get_qos(self, thread=None):
        return self.qos

    def set_qos(self, qos):
        if self.error:
            refuse(self.error)
        if qos.qos_class == 0:
            refuse(errno.EINVAL)
        if not self.ignores:
            self.qos = qos
