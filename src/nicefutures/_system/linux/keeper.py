"""A process that manages isolated workers (Linux).

Workers in a session of their own neither get the terminal's Ctrl-C nor stop with their program, and a control group
is not removed by itself. The keeper is a child of the parent. For workers in sessions, it has a child in the parent's
process group, and passes on to the workers the interrupts and stops that this child gets. When the parent has ended in
any way, the keeper ends the workers, and removes the group.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any, Final

from ..common import AUTOGROUP, CGROUP, Group
from .cgroups import write_text

KEEPER_PROGRAM: Final = os.path.join(os.path.dirname(__file__), "keeper_main.py")
_LAST: Final = 0


class Keeper:
    """The parent's side; the context is the one that starts the workers, and the group is theirs."""

    def __init__(self, context: BaseContext, group: Group) -> None:
        self._group = group
        self._reader, self._writer = context.Pipe(duplex=False)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False

    @property
    def registry(self) -> Any:
        """The object by which a worker registers; it can be pickled while the worker's process starts."""
        return self._writer

    def start(self) -> None:
        """Create the group and start the process, unless that is done."""
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._start()
                self._started = True

    def _start(self) -> None:
        _make_group(self._group)
        passes_on = int(self._group.kind == AUTOGROUP)
        arguments = [os.getpid(), passes_on, self._group.directory, self._group.home]
        try:
            with _holding_signals_back():  # the keeper inherits the mask, until it can pass them on
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", KEEPER_PROGRAM, *map(str, arguments)],
                    stdin=self._reader.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                )
        except OSError:  # no more processes: the workers cannot register, stay in their group, and report that
            with contextlib.suppress(OSError):
                os.rmdir(self._group.directory)
        finally:
            self._reader.close()  # only the keeper has this end, so workers notice if it does not run

    def close(self) -> None:
        """Let the process end, after all workers, and wait for it."""
        with self._lock:
            self._started = True
            if self._process is not None:
                with contextlib.suppress(BrokenPipeError):  # it was killed
                    os.write(self._writer.fileno(), pid_message(_LAST))
                self._process.wait()
            self._reader.close()
            self._writer.close()


@contextlib.contextmanager
def _holding_signals_back() -> Iterator[None]:
    masks: Any = signal  # a type checker's Windows has none
    before = masks.pthread_sigmask(masks.SIG_BLOCK, (masks.SIGINT, masks.SIGTSTP, masks.SIGCONT))
    try:
        yield
    finally:
        masks.pthread_sigmask(masks.SIG_SETMASK, before)


def _make_group(group: Group) -> None:
    """Create the group, if it is a control group."""
    if group.kind != CGROUP:
        return
    with contextlib.suppress(OSError):  # the workers will fail to join it, and report why
        os.mkdir(group.directory)
        try:
            write_text(f"{group.directory}/cpu.idle", "1")
        except OSError:  # Linux before 5.15
            write_text(f"{group.directory}/cpu.weight", "1")


def pid_message(pid: int) -> bytes:
    """Return the message that registers a worker; it is so short that the kernel does not mix it with another one."""
    return pid.to_bytes(8, "little")
