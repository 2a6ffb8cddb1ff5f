"""A command runs as a child of this process, which ends with it: both are in a job object."""

import contextlib
import os

from ..._levels import NoSuchProcessError, PriorityError, ProcessPriority, Shortfall
from . import seam
from .priority import CLASSES, set_process


def is_program(path: str) -> bool:
    extensions = os.environ.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").lower().split(";")
    return os.path.isfile(path) and os.path.splitext(path)[1].lower() in extensions


def lower_early(level: str) -> bool:
    return False


def become(command: list[str], level: str, *, efficiency: bool) -> int:
    """Run the command as a child, and return its exit status: no Windows process can be replaced."""
    import shutil  # here, because a worker does without
    import signal
    import subprocess

    priority = ProcessPriority[level.upper()]
    # CreateProcess would look for an .exe only.
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(2, "The system cannot find the file specified", command[0])
    # These reach the program too, and that decides what to do. What the runtime library ignores is not inherited.
    for name in ("SIGINT", "SIGBREAK"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    job = end_together()
    try:
        # A child inherits no class above BELOW_NORMAL.
        with subprocess.Popen([program, *command[1:]], creationflags=CLASSES[priority]) as process:
            with contextlib.suppress(NoSuchProcessError):  # done already
                set_process(priority, process.pid)  # read back; Wine does not heed the flag
            if efficiency:
                with contextlib.suppress(OSError):  # done already: for this process it went well
                    seam.system.set_power_throttling(process.pid)
            status = process.wait()
    finally:
        # This process ends by itself, and what the program leaves behind stays.
        seam.system.set_job_limit(job, None)
    # A crash is above 2**31, which sys.exit of older Pythons cannot pass on (python/cpython#125842); as a signed
    # number it is the same to Windows.
    return status - 2**32 if status >= 2**31 else status


def end_together() -> int:
    """Put this process into a job that ends all its processes when nobody has a handle on it any more."""
    try:
        job = seam.system.open_job()
        seam.system.set_job_limit(job, None, ends=True)
    except OSError as error:
        requested, remedy = "a job object that ends the program with nicefutures", "Run it outside of a sandbox."
        raise PriorityError(Shortfall(requested, "", f"Windows refused it ({error})", remedy)) from error
    return job
