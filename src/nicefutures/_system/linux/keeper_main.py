"""The keeper's own program, see :mod:`nicefutures._system.linux.keeper`.

It imports nothing of the library, to be small and quick. Process ids of workers come from standard input. Arguments:
the parent's process id, whether to pass signals on, and the group's directory and where its processes go when it is
removed, or nothing.
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

# What to send to the workers for what the terminal sends.
_PASS_ON = {
    getattr(signal, name): getattr(signal, sent)
    for name, sent in (("SIGINT", "SIGINT"), ("SIGTSTP", "SIGSTOP"), ("SIGCONT", "SIGCONT"))
    if hasattr(signal, name)  # Windows has not, where nobody runs this and tests import it
}
_IGNORED = ("SIGTERM", "SIGHUP", "SIGQUIT")
_PIPE = 0
_MESSAGE_SIZE = 8
# Seconds without news, after which no worker is on its way any more once the parent has gone.
_PATIENCE = 2.0


class _Keeper:
    """Waits for what happens.

    Workers and the parent are files that become readable when they end (pidfd_open(2)).
    """

    def __init__(self, parent: int, *, passes_on: bool) -> None:
        self._passes_on = passes_on
        self._workers: set[int] = set()
        self._is_last = self._is_orphan = False
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._watch(_catch_signals(), self._hear_terminal)
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
                return

    def _hear_pipe(self, pipe: int) -> None:
        pid = int.from_bytes(os.read(pipe, _MESSAGE_SIZE), "little")
        if pid:
            with contextlib.suppress(OSError):  # it has ended, or there are too many
                worker = os.pidfd_open(pid)
                self._workers.add(worker)
                self._watch(worker, self._lose_worker)
        else:  # the last message, or nobody is left who could send one
            self._is_last = True
            self._poll.unregister(pipe)

    def _hear_terminal(self, wake: int) -> None:
        for number in os.read(wake, 100):
            if self._passes_on and number in _PASS_ON:
                self._send(_PASS_ON[signal.Signals(number)])

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


def _catch_signals() -> int:
    """Return the file that numbers of signals come from."""
    wake, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for each in (*_PASS_ON, *(getattr(signal, name) for name in _IGNORED)):
        signal.signal(each, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASS_ON)
    return wake


def _remove(directory: str, home: str) -> None:
    """Remove a control group; what is left in it are children that a task has started and left behind."""
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
    _Keeper(int(parent), passes_on=passes_on == "1").run()
    if directory:
        _remove(directory, home)
