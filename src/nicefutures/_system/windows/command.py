"""A command runs as a child of this process."""

import contextlib

from ..._levels import NoSuchProcessError, ProcessPriority
from .priority import CLASSES, set_process


def become(command: list[str], priority: ProcessPriority) -> int:
    """Run the command as a child, and return its exit status: no Windows process can be replaced."""
    import shutil  # here, because a worker does without
    import signal
    import subprocess

    # CreateProcess would look for an .exe only. A child inherits no class above BELOW_NORMAL.
    program = shutil.which(command[0]) or command[0]
    with subprocess.Popen([program, *command[1:]], creationflags=CLASSES[priority]) as process:
        with contextlib.suppress(NoSuchProcessError):  # done already
            set_process(priority, process.pid)  # read back; Wine does not heed the flag
        # Ctrl-C reaches the program too, and that decides what to do.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = process.wait()
    # A crash is above 2**31, which sys.exit of older Pythons cannot pass on (python/cpython#125842); as a signed
    # number it is the same to Windows.
    return status - 2**32 if status >= 2**31 else status
