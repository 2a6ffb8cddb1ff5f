"""A command takes the place of this process."""

import os
import signal

from ..._levels import ProcessPriority


def become(command: list[str], priority: ProcessPriority) -> int:
    """Replace this process by the command; does not return."""
    # Python ignores these, and a program inherits what is ignored (signal(7)): a pipe's end would not end it.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvp(command[0], command)
