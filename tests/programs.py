"""Programs that run in their own interpreter: as another user, in a sandbox, or to be killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE

TESTS = Path(__file__).parent
# Folders from which a program can import: all folders of tests.
_ROOMS = sorted({str(path.parent) for path in TESTS.rglob("*.py")})


def environment(**variables):
    """Return the environment of a program that imports helpers of the tests."""
    path = [*_ROOMS, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables}


def run_python(code, *arguments, command=(), timeout=2 * PATIENCE, **options):
    """Run code, or a script of this folder, in a fresh interpreter; return what it printed."""
    start = [TESTS / code] if code.endswith(".py") else ["-c", code]
    result = subprocess.run(
        [*command, sys.executable, *start, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(),
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def unprivileged():
    """Return a prefix for a command, with which it runs as a user who may only lower priorities."""
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


# A seccomp filter forbids calls, as a container does with sched_setscheduler.
FORBID = """
import ctypes, struct, sys, warnings
from nicefutures import *
from asking import *
from tasks import *

EPERM, ENOSYS, KILL = 0x00050000 | 1, 0x00050000 | 38, 0x80000000

def forbid(*numbers, answer=EPERM):
    # Classic BPF (linux/filter.h, linux/seccomp.h): load the call's number, answer so if it is one of these.
    program = [(0x20, 0, 0, 0)]
    for number in numbers:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, answer)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    class Filter(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    assert libc.prctl(38, 1, None, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    fprog = Filter(len(program), code)
    assert libc.prctl(22, 2, ctypes.addressof(fprog), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, filter

SCHED_SETSCHEDULER, SETPRIORITY, IOPRIO_SET, IOPRIO_GET, SCHED_GETAFFINITY = 144, 141, 251, 252, 204  # x86_64
record = warnings.catch_warnings(record=True)
log = record.__enter__()
warnings.simplefilter("always")
# As in conftest.py. A thread that was joined may still be there for the system.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
if __name__ == "__main__":
"""
