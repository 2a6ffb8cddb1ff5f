"""Tasks that report in which session and groups a worker is, or that keep it busy."""

import os
import signal
import time
from pathlib import Path

AUTOGROUP_FILE = Path("/proc/self/autogroup")


def place():
    """Return where a task runs: process, session, autogroup, control groups."""
    return os.getpid(), os.getsid(0), AUTOGROUP_FILE.read_text(), Path("/proc/self/cgroup").read_text()


def interrupted(path):
    """Wait for Ctrl-C; one file reports the start of the task, another one the interrupt."""
    try:
        Path(path, str(os.getpid())).touch()
        time.sleep(60)
    except KeyboardInterrupt:
        Path(path, f"interrupted {os.getpid()}").touch()


def count_up(path):
    """Write a new number to a file every 10 ms."""
    for number in range(6000):
        Path(path, "sign").write_text(str(number))
        time.sleep(0.01)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def place_slowly(_):
    time.sleep(0.05)
    return place()
