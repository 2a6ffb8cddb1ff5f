"""Runs a command as a child of this process. Both are in a job object, so the child ends with this process."""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..._levels import NoSuchProcessError, PriorityError, ProcessPriority, Shortfall
from ..protocols import Program
from . import seam
from .priority import CLASSES, set_process

if TYPE_CHECKING:
    import subprocess

# Seconds after which Ctrl-C reaches a paused program.
_STEP: Final = 0.2


def is_program(path: str) -> bool:
    extensions = os.environ.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").lower().split(";")
    return os.path.isfile(path) and os.path.splitext(path)[1].lower() in extensions


def become(command: list[str], priority: ProcessPriority, *, efficiency: bool, program: Program | None = None) -> int:
    """Run the command as a child, and return its exit status: Windows cannot replace a process."""
    import shutil  # here, because workers do not need it
    import signal
    import subprocess

    # CreateProcess would look only for an .exe.
    path = shutil.which(command[0])
    if path is None:
        raise FileNotFoundError(2, "The system cannot find the file specified", command[0])
    # The program gets these signals too, and handles them. It does not inherit that the runtime library ignores them.
    for name in ("SIGINT", "SIGBREAK"):
        release = signal.SIG_IGN if program is None else functools.partial(_release, program)
        signal.signal(getattr(signal, name), release)
    job = end_together()
    try:
        # A child inherits no class above BELOW_NORMAL.
        with subprocess.Popen([path, *command[1:]], creationflags=CLASSES[priority]) as process:
            with contextlib.suppress(NoSuchProcessError):  # the program has ended
                set_process(priority, process.pid)  # reads it back; Wine ignores the flag
            if efficiency:
                with contextlib.suppress(OSError):  # it has ended: for this process, the call succeeded
                    seam.system.set_power_throttling(process.pid)
            status = process.wait() if program is None else _attend(process, program)
    finally:
        # Processes that the program leaves behind stay when this process ends.
        seam.system.set_job_limit(job, None)
    # The status of a crash is above 2**31, which sys.exit of older Pythons cannot pass on (python/cpython#125842). As a
    # signed number it is the same status to Windows.
    return status - 2**32 if status >= 2**31 else status


def attend(start: Callable[[Program | None], int], program: Program) -> int:
    return start(program)


def _attend(process: "subprocess.Popen[bytes]", program: Program) -> int:
    import subprocess

    program.begin(process.pid)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):  # no signal interrupts a wait
                return process.wait(_STEP)
    finally:
        program.end()


def _release(program: Program, *_: object) -> None:
    program.release()


def end_together() -> int:
    """Put this process into a job that ends all its processes when the last handle of the job closes."""
    try:
        job = seam.system.open_job()
        seam.system.set_job_limit(job, None, ends=True)
    except OSError as error:
        requested, remedy = "a job object that ends the program with nicefutures", "Run it outside of a sandbox."
        raise PriorityError(Shortfall(requested, "", f"Windows refused it ({error})", remedy)) from error
    return job
