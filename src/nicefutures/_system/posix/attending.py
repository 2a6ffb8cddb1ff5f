"""Runs a program as a child that this process represents: it passes on signals, and stops and ends like the program.

Both are in the same process group, so the program gets Ctrl-C, Ctrl-Z and the window's size from the terminal. Facts:

* sigwaitinfo(2) tells whether the terminal sent a signal, to the whole group. macOS has no such call.
* A shell waits for this process only, so this process must stop when the program stops, with the same signal. `fg`
  continues the group.
* SIGCONT continues a process even if the process blocks it, and discards pending stop signals.
* A stopped process gets a signal other than SIGKILL only when it continues.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Final

import psutil

from ..._levels import PriorityError, Shortfall
from ..protocols import Program

_os: Final[Any] = os  # a type checker's Windows lacks some of it
_signal: Final[Any] = signal

_STOP: Final = ("SIGTSTP", "SIGTTIN", "SIGTTOU")
_PASSED_ON: Final = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGWINCH")


def attend_fork(
    start: Callable[[Program | None], int], program: Program, end_with: Callable[[int], None] | None = None
) -> int:
    """Attend a program, as `protocols.Command.attend`. `end_with` is called in the child, to end it with its parent."""
    before = {number: signal.getsignal(number) for number in _find("SIGCHLD", "SIGCONT", *_STOP, *_PASSED_ON)}
    # The program keeps ignoring the signals that this process ignores, for example by nohup(1).
    taken = {number for number, old in before.items() if old != signal.SIG_IGN} | _find("SIGCHLD", "SIGCONT")
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, taken)
    for number in taken:
        signal.signal(number, _do_nothing)  # a blocked signal with the action "ignore" is lost
    this = os.getpid()
    try:
        pid = _os.fork()
    except OSError as error:
        shortfall = Shortfall("a process for the program", "", str(error.strerror), "End other programs.", "start")
        raise PriorityError(shortfall) from error
    if not pid:
        for number in taken:
            signal.signal(number, before[number])
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        if end_with is not None:
            end_with(this)
        return start(None)
    try:
        program.begin(pid)
        status = _wait(pid, program, taken)
    finally:
        program.end()
    code: int = _os.waitstatus_to_exitcode(status)
    if code < 0:
        _end_by(-code)
    return code if code >= 0 else 128 - code


def _wait(pid: int, program: Program, taken: set[int]) -> int:
    """Pass on all signals that this process gets; return the program's status."""
    stop = _find(*_STOP)
    while True:
        number, is_for_all = _next_signal(taken)
        if number == _signal.SIGCHLD:
            status = _follow(pid, program, stop)
            if status is not None:
                return status
        elif number == _signal.SIGCONT:
            program.recheck()
            if not program.is_paused() and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                os.kill(pid, number)
        elif number in stop and program.is_paused():
            _stop_by(number)
        else:
            if not is_for_all or number == _signal.SIGHUP:  # the terminal sends SIGHUP to the session's leader only
                os.kill(pid, number)
            if number not in stop and number != getattr(signal, "SIGWINCH", None):
                program.release()  # a stopped program cannot handle the signal


def _follow(pid: int, program: Program, stop: set[int]) -> int | None:
    """Stop if the program has stopped; return its status if it has ended."""
    while True:
        changed, status = _os.waitpid(pid, _os.WNOHANG | _os.WUNTRACED | _os.WCONTINUED)
        if not changed:
            return None
        if _os.WIFCONTINUED(status):
            program.recheck()
        elif not _os.WIFSTOPPED(status):
            return int(status)
        elif _os.WSTOPSIG(status) in stop:  # SIGSTOP is ours, or its sender will continue the program
            _stop_by(_os.WSTOPSIG(status))


def _next_signal(numbers: set[int]) -> tuple[int, bool]:
    """Wait for a signal; return it, and whether the whole process group got it."""
    if hasattr(signal, "sigwaitinfo"):
        info = _signal.sigwaitinfo(numbers)
        return info.si_signo, info.si_code != 0 and info.si_pid == 0
    return _signal.sigwait(numbers), _is_in_foreground()


def _is_in_foreground() -> bool:
    with contextlib.suppress(OSError):  # no terminal
        terminal = os.open("/dev/tty", os.O_RDONLY | _os.O_NOCTTY)
        try:
            return bool(_os.tcgetpgrp(terminal) == _os.getpgrp())
        finally:
            os.close(terminal)
    return False


def _stop_by(number: int) -> None:
    """Stop this process until it is continued."""
    old = signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    mask = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})  # it stops here
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    signal.signal(number, old)


def _end_by(number: int) -> None:
    """End by the signal that ended the program."""
    import resource

    limits: Any = resource
    limits.setrlimit(limits.RLIMIT_CORE, (0, limits.getrlimit(limits.RLIMIT_CORE)[1]))  # the program has dumped core
    with contextlib.suppress(OSError):  # the action of SIGKILL cannot be set
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})


def _find(*names: str) -> set[int]:
    return {getattr(signal, name) for name in names if hasattr(signal, name)}


def _do_nothing(*_: object) -> None:
    """Do nothing: this is the handler of signals that `_next_signal` waits for."""
