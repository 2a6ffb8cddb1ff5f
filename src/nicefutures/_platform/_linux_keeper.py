"""A process that looks after isolated workers (Linux).

Workers in a session of their own do not get the terminal's Ctrl-C, and a control group does not go away by itself.
The keeper is a child of the parent and stays in its process group. It passes on what the terminal sends; when the
parent is gone, however that went, it ends the workers, and removes the group.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final

from ._common import AUTOGROUP, Group
from ._linux_groups import KEEPER_PROGRAM, make_group, pid_message

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101, for a type checker's other platforms

_LAST: Final = 0


class Keeper:
    """The parent's side.

    Parameters
    ----------
    context : multiprocessing.context.BaseContext
        Context that starts the workers.
    group : Group
        Where they go.
    """

    def __init__(self, context: BaseContext, group: Group) -> None:
        self._group = group
        self._reader, self._writer = context.Pipe(duplex=False)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False

    @property
    def registry(self) -> Any:
        """What a worker registers with; it can be pickled while the process starts."""
        return self._writer

    def start(self) -> None:
        """Make the group and start the process, unless that is done."""
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._start()
                self._started = True

    def _start(self) -> None:
        make_group(self._group)
        pipe, passes_on = self._reader.fileno(), int(self._group.kind == AUTOGROUP)
        arguments = [os.getpid(), pipe, passes_on, self._group.directory, self._group.home]
        # Not to be hit by a signal before it can pass it on: it inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTSTP, signal.SIGCONT))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", KEEPER_PROGRAM, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[pipe],
                cwd="/",
            )
        except OSError:  # no more processes: the workers find nobody to register with, stay where they are, and say so
            with contextlib.suppress(OSError):
                os.rmdir(self._group.directory)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._reader.close()  # the keeper's alone, so that workers notice if there is none

    def close(self) -> None:
        """Let the process end, and wait for it: no worker is left."""
        with self._lock:
            self._started = True
            if self._process is not None:
                with contextlib.suppress(BrokenPipeError):  # somebody has ended it
                    os.write(self._writer.fileno(), pid_message(_LAST))
                self._process.wait()
            self._reader.close()
            self._writer.close()
