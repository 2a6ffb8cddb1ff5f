"""Let tests take turns if several run at a time: a test that needs the machine alone waits for the others.

The test processes share a file. Each process locks its own byte of the file during a test, and all bytes during a test
that needs the machine alone.
"""

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:
    import msvcrt

_ALL = 10_000  # more than there are test processes


def _lock(file, start, length):
    if os.name == "posix":
        fcntl.lockf(file, fcntl.LOCK_EX, length, start)
        return None
    while True:
        os.lseek(file, start, os.SEEK_SET)
        try:
            return msvcrt.locking(file, msvcrt.LK_NBLCK, length)
        except OSError:
            time.sleep(0.05)


def _unlock(file, start, length):
    if os.name == "posix":
        fcntl.lockf(file, fcntl.LOCK_UN, length, start)
    else:
        os.lseek(file, start, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, length)


class Turns:
    """The turns of one of several test processes."""

    def __init__(self, folder, number):
        self._file = os.open(folder / "turns", os.O_RDWR | os.O_CREAT, 0o600)
        self._number = number

    @contextlib.contextmanager
    def take(self, *, alone):
        """Wait for a turn, and keep it during the block."""
        what = (0, _ALL) if alone else (self._number, 1)
        _lock(self._file, *what)
        try:
            yield
        finally:
            _unlock(self._file, *what)

    def close(self):
        os.close(self._file)


class Alone:
    """The turns of a single test process, which never waits."""

    def take(self, *, alone):
        return contextlib.nullcontext()

    def close(self):
        pass


def get_turns(config):
    """Return this process's turns. Their file is in the common parent of the temporary folders; pytest removes it."""
    if not hasattr(config, "workerinput"):
        return Alone()
    number = int(config.workerinput["workerid"].removeprefix("gw"))
    return Turns(Path(config.option.basetemp).parent, number)
