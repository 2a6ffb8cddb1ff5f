"""The program of the keeper, see :mod:`nicefutures._system.linux.keeper`.

It imports nothing of the library, to be small and fast. It reads the workers' process ids from standard input. Its
arguments: the parent's process id, whether to pass signals on, the group's directory, and the directory of the group to
which its processes move at the end, or empty strings.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101, for a type checker's other platforms

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP")
_PIPE = 0
_MESSAGE_SIZE = 8
# Seconds without an event after the parent's end, after which no worker can still be starting.
_PATIENCE = 2.0


class _Keeper:
    """Waits for events.

    Each worker and the parent have a file that becomes readable when the process ends (pidfd_open(2)).
    """

    def __init__(self, parent: int, *, passes_on: bool) -> None:
        self._workers: set[int] = set()
        self._is_last = self._is_orphan = False
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._canary = 0
        if passes_on:
            self._canary, interrupts = _leave_canary()
            self._watch(interrupts, self._hear_interrupt)
            self._watch(_hear_children(), self._look_at_canary)
        self._watch(_PIPE, self._hear_pipe)
        self._watch(os.pidfd_open(parent), self._lose_parent)

    def run(self) -> None:
        """Return when no worker is left."""
        while True:
            events = self._poll.poll(_PATIENCE * 1000 if self._is_orphan else None)
            for file, _ in events:
                self._handlers[file](file)
            if self._is_orphan:
                self._send(signal.SIGKILL)
            if not self._workers and (self._is_last or (self._is_orphan and not events)):
                break
        if self._canary:
            with contextlib.suppress(OSError):  # it was killed
                os.kill(self._canary, signal.SIGKILL)
                os.waitpid(self._canary, 0)

    def _hear_pipe(self, pipe: int) -> None:
        pid = int.from_bytes(os.read(pipe, _MESSAGE_SIZE), "little")
        if pid:
            with contextlib.suppress(OSError):  # the worker has ended, or there are too many files
                worker = os.pidfd_open(pid)
                self._workers.add(worker)
                self._watch(worker, self._lose_worker)
        else:  # the last message, or the end of the pipe
            self._is_last = True
            self._poll.unregister(pipe)

    def _hear_interrupt(self, interrupts: int) -> None:
        if os.read(interrupts, 100):
            self._send(signal.SIGINT)
        else:  # the canary was killed
            self._poll.unregister(interrupts)

    def _look_at_canary(self, wake: int) -> None:
        os.read(wake, 100)
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self._canary, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if os.WIFSTOPPED(status):
                self._send(signal.SIGSTOP)
            elif os.WIFCONTINUED(status):
                self._send(signal.SIGCONT)

    def _lose_worker(self, worker: int) -> None:
        self._poll.unregister(worker)
        self._workers.remove(worker)
        os.close(worker)

    def _lose_parent(self, parent: int) -> None:
        self._poll.unregister(parent)
        self._is_orphan = True

    def _watch(self, file: int, handler: Callable[[int], None]) -> None:
        self._handlers[file] = handler
        self._poll.register(file, select.POLLIN)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, number)


def _leave_canary() -> tuple[int, int]:
    """Fork a child in the program's process group, leave that, and return the child's id and a file that Ctrl-C fills.

    The child stops and continues with the group, whichever process sends the signal, and ends with this process.
    """
    heard, hears = os.pipe()
    until, keeps = os.pipe()
    canary = os.fork()
    if not canary:
        os.close(keeps)
        os.close(_PIPE)
        signal.signal(signal.SIGINT, lambda *_: os.write(hears, b"!"))
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.read(until, 1)
        os._exit(0)
    os.close(hears)
    os.setsid()
    return canary, heard


def _hear_children() -> int:
    """Return a file that becomes readable when a child stops or continues."""
    wake, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


def _remove(directory: str, home: str) -> None:
    """Remove a control group, and move to `home` the processes that tasks have started and left in it."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError:
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as processes:
                for pid in processes:
                    with contextlib.suppress(OSError), open(f"{home}/cgroup.procs", "w", encoding="ascii") as procs:
                        procs.write(pid)
            time.sleep(0.01)
        else:
            return


if __name__ == "__main__":
    parent, passes_on, directory, home = sys.argv[1:]
    for each in _IGNORED:
        signal.signal(getattr(signal, each), signal.SIG_IGN)
    _Keeper(int(parent), passes_on=passes_on == "1").run()
    if directory:
        _remove(directory, home)
