"""Ask the operating system for the current levels, where possible by other means than the library's own.

Workers import this module for the tasks that report levels, so it imports only modules that they need.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time

import psutil

from nicefutures import ProcessPriority, ThreadPriority

LINUX = sys.platform == "linux"
WINDOWS = sys.platform == "win32"
MACOS = sys.platform == "darwin"
may_raise = WINDOWS or os.geteuid() == 0

# (policy, nice, I/O class) of a thread on Linux, the priority class of a process on Windows, its nice value elsewhere.
if LINUX:
    PROCESS = {
        ProcessPriority.IDLE: ("SCHED_IDLE", 0, "IDLE"),
        ProcessPriority.BELOW_NORMAL: ("SCHED_BATCH", 10, "BE"),
        ProcessPriority.NORMAL: ("SCHED_OTHER", 0, "NONE"),
        ProcessPriority.ABOVE_NORMAL: ("SCHED_OTHER", -5, "NONE"),
        ProcessPriority.HIGH: ("SCHED_OTHER", -10, "NONE"),
        ProcessPriority.REALTIME: ("SCHED_RR", 0, "NONE"),
    }
elif WINDOWS:
    PROCESS = {level: getattr(psutil, f"{level.name}_PRIORITY_CLASS") for level in ProcessPriority}
else:
    PROCESS = dict(zip(ProcessPriority, (20, 10, 0, -5, -10), strict=False))

if LINUX:
    THREAD = {
        ThreadPriority.IDLE: ("SCHED_IDLE", 0),
        ThreadPriority.LOWEST: ("SCHED_OTHER", 19),
        ThreadPriority.BELOW_NORMAL: ("SCHED_OTHER", 5),
        ThreadPriority.NORMAL: ("SCHED_OTHER", 0),
        ThreadPriority.ABOVE_NORMAL: ("SCHED_OTHER", -5),
        ThreadPriority.HIGHEST: ("SCHED_OTHER", -10),
        ThreadPriority.TIME_CRITICAL: ("SCHED_RR", 0),
    }
elif WINDOWS:
    THREAD = {level: level.value for level in ThreadPriority}
elif MACOS:
    THREAD = dict(zip(ThreadPriority, (0x09, 0x09, 0x11, 0x15, 0x19, 0x21), strict=False))


def _kernel32():
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    for name in ("GetCurrentThread", "GetCurrentProcess", "OpenThread"):
        getattr(kernel32, name).restype = ctypes.c_void_p
    for name in ("GetThreadPriority", "GetPriorityClass", "CloseHandle"):
        getattr(kernel32, name).argtypes = (ctypes.c_void_p,)
    return kernel32


def _linux_thread(tid):
    policies = {getattr(os, name): name for name in ("SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_RR")}
    return policies[os.sched_getscheduler(tid)], os.getpriority(os.PRIO_PROCESS, tid)


def ask_threads(pid=None):
    """Return the levels of all threads of a process (Linux), or of the process."""
    if LINUX:
        found = []
        for tid in os.listdir(f"/proc/{pid or os.getpid()}/task"):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                io_class = psutil.Process(int(tid)).ionice().ioclass.name.removeprefix("IOPRIO_CLASS_")
                found.append((*_linux_thread(int(tid)), io_class))
        return found
    if WINDOWS:
        if pid is None:
            kernel32 = _kernel32()
            return [kernel32.GetPriorityClass(kernel32.GetCurrentProcess())]
        return [psutil.Process(pid).nice()]
    return [os.getpriority(os.PRIO_PROCESS, pid or 0)]


def ask_thread(tid=0):
    """Return the level of the calling thread; on Linux also of another one."""
    if LINUX:
        return _linux_thread(tid)
    if WINDOWS:
        kernel32 = _kernel32()
        return kernel32.GetThreadPriority(kernel32.GetCurrentThread())
    return ctypes.CDLL(None).qos_class_self()


def open_thread(tid):
    """Return a handle on a thread, valid also after the end of the thread (Windows)."""
    return _kernel32().OpenThread(0x0800, False, tid)


def ask_thread_handle(handle):
    """Return the level of a thread from its handle (Windows)."""
    return _kernel32().GetThreadPriority(handle)


# --- tasks


def report(seconds=0.0):
    """Return the worker's process id and levels."""
    time.sleep(seconds)
    return os.getpid(), ask_threads()


def report_blas(_=None):
    """Return the worker's process id, and its levels while it has BLAS threads and a thread of its own."""
    import numpy as np

    square = np.ones((300, 300))
    square @ square
    asked = threading.Event()
    thread = threading.Thread(target=asked.wait)
    thread.start()
    levels = ask_threads()
    asked.set()
    thread.join()
    return os.getpid(), levels


def send_levels(connection):
    """Send the current levels to the parent."""
    connection.send(ask_threads())
