"""Ask the operating system what is in force, by other means than the library's own where there are any.

Functions that workers run are here, so that a spawned worker can import them.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from nicefutures import ProcessPriority, ThreadPriority

LINUX = sys.platform == "linux"
WINDOWS = sys.platform == "win32"
MACOS = sys.platform == "darwin"

linux_only = pytest.mark.skipif(not LINUX, reason="Linux only")
windows_only = pytest.mark.skipif(not WINDOWS, reason="Windows only")
posix_only = pytest.mark.skipif(WINDOWS, reason="POSIX only")
may_raise = WINDOWS or os.geteuid() == 0
needs_privilege = pytest.mark.skipif(not may_raise, reason="raising a priority needs a privilege here")

# One thread's (policy, nice, I/O class) on Linux, its process' class on Windows, its process' nice elsewhere.
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
    """Every thread of a process (Linux), or the process."""
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


def ask_thread():
    """The calling thread."""
    if LINUX:
        return _linux_thread(0)
    if WINDOWS:
        kernel32 = _kernel32()
        return kernel32.GetThreadPriority(kernel32.GetCurrentThread())
    return ctypes.CDLL(None).qos_class_self()


def open_thread(tid):
    """Return a handle on a thread that outlives it (Windows)."""
    return _kernel32().OpenThread(0x0800, False, tid)


def ask_thread_handle(handle):
    """The thread that the handle is of (Windows)."""
    return _kernel32().GetThreadPriority(handle)


# --- tasks


def report(seconds=0.0):
    """Worker's process id and levels."""
    time.sleep(seconds)
    return os.getpid(), ask_threads()


def report_blas(_=None):
    """Worker's levels after it made threads of its own."""
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


def identify(seconds=0.0):
    """Worker's process id."""
    time.sleep(seconds)
    return os.getpid()


# --- other processes


def run_python(code, *arguments, command=(), timeout=120, **options):
    """Run code, or a script of this folder, in a fresh interpreter; return what it printed."""
    start = [code] if code.endswith(".py") else ["-c", code]
    result = subprocess.run(
        [*command, sys.executable, *start, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=Path(__file__).parent,
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def unprivileged():
    """Return what to put before a command so that it runs as a user who may lower only."""
    if os.geteuid() != 0:
        return []
    keep = "-all,+dac_read_search"  # the interpreter may lie in root's home
    prefix = [
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}",
    ]  # fmt: skip
    try:
        works = subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip("needs setpriv (util-linux) to become another user")
    return prefix
