"""Replaces this process by a command.

Before our code runs, Python makes two changes that the command would inherit:

* It ignores SIGPIPE and SIGXFSZ. Their earlier actions cannot be found out, so they get the default actions, which
  nearly always were the earlier ones.
* If the locale is "C", it sets LC_CTYPE in the environment (PEP 538).
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from typing import NoReturn

import psutil

from ..._levels import ProcessPriority
from ..protocols import Program
from .attending import attend_fork

_SHELL = "/bin/sh"
# The errors at which execvp(3) tries the next directory of PATH, in glibc.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.EACCES)
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def is_program(path: str) -> bool:
    if not os.path.isfile(path):  # a directory, or a pipe, which can be read only once
        return False
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:  # a program may be executable but not readable
        line = b""
    if line.startswith(b"PK\3\4"):  # Python runs zip files
        return False
    # A file that is not for Python counts even if it may not be executed: the attempt to run it raises the error.
    return os.access(path, os.X_OK) or b"\0" in line or (line.startswith(b"#!") and not _names_python(line[2:]))


def _names_python(interpreter: bytes) -> bool:
    """Return whether Python runs a script, by the first line after its "#!"."""
    names = [word.rpartition(b"/")[2] for word in interpreter.split() if not word.startswith(b"-") and b"=" not in word]
    if names[:1] == [b"env"]:
        del names[0]
    return not names or names[0].startswith((b"python", b"pypy"))


def become(command: list[str], priority: ProcessPriority, *, efficiency: bool, program: Program | None = None) -> int:
    replace_process(command)


def attend(start: Callable[[Program | None], int], program: Program) -> int:
    return attend_fork(start, program)


def replace_process(command: list[str]) -> NoReturn:
    """Undo Python's changes, and replace this process by the command; raise OSError if it cannot be run."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    if os.environ.get("LC_CTYPE") in _COERCED:
        with contextlib.suppress(psutil.Error, OSError, AttributeError):  # psutil lacks it on some systems
            locale = psutil.Process().environ().get("LC_CTYPE")  # the one that this process was started with
            if locale is None:
                del os.environ["LC_CTYPE"]
            else:
                os.environ["LC_CTYPE"] = locale
    _execute(command)


def _execute(command: list[str]) -> NoReturn:
    """Replace this process as execvp(3) does, with the shell for a script without "#!"; `os.execvp` lacks that."""
    name, *arguments = command
    if os.sep in name:
        paths = [name]
    else:
        paths = [os.path.join(folder, name) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if name]
    failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            os.execv(path, command)
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execv(_SHELL, [_SHELL, path, *arguments])
            if error.errno not in _NOT_THERE:
                raise
            if failure.errno != errno.EACCES:
                failure = error
    raise failure
