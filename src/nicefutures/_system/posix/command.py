"""A command takes the place of this process.

Nothing here goes through the seam, whose imports take longer than many a program that is to be run.

What Python changes before any code of ours runs, and a program would inherit:

* It ignores SIGPIPE and SIGXFSZ. What they were is not to be found out: they get their defaults, which is nearly always
  what they were.
* Where the locale is "C", it sets LC_CTYPE in the environment (PEP 538).
"""

import errno
import os

from ..._signals import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_posix: "Any" = os  # a type checker's Windows lacks what is called here

_SHELL = "/bin/sh"
# Where execvp(3) goes on to the next directory of PATH, in glibc.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.EACCES)
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
_NICE = {"idle": 20, "below_normal": 10}
_LAST_BUT_ONE_NICE = 19


def is_program(path: str) -> bool:
    if not os.path.isfile(path):  # a folder, or a pipe, which can be read only once
        return False
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:  # a program may be run without being read
        line = b""
    if line.startswith(b"PK\3\4"):  # a zip file is Python's
        return False
    # What may not be run says so when it is tried, if it is nothing for Python.
    return os.access(path, os.X_OK) or b"\0" in line or (line.startswith(b"#!") and not _names_python(line[2:]))


def _names_python(interpreter: bytes) -> bool:
    """Return whether Python reads a script, by the rest of its first line."""
    names = [word.rpartition(b"/")[2] for word in interpreter.split() if not word.startswith(b"-") and b"=" not in word]
    if names[:1] == [b"env"]:
        del names[0]
    return not names or names[0].startswith((b"python", b"pypy"))


def lower_early(level: str) -> bool:
    wanted = _NICE.get(level)
    if wanted is None or _get_nice() > wanted:  # lower already
        return False
    try:
        _posix.setpriority(_posix.PRIO_PROCESS, 0, wanted)
    except OSError:
        return False
    return min(_get_nice(), _LAST_BUT_ONE_NICE) == min(wanted, _LAST_BUT_ONE_NICE)


def _get_nice() -> int:
    nice: int = _posix.getpriority(_posix.PRIO_PROCESS, 0)
    return nice


def become(command: list[str], level: str, *, efficiency: bool) -> int:
    replace_process(command, _ask_psutil)


def replace_process(command: list[str], first_locale: "Callable[[], str | None]") -> "NoReturn":
    """Put back what Python has changed, and replace this process by the command; OSError if it cannot be run.

    `first_locale` returns the LC_CTYPE that this process was started with; OSError if that is not known.
    """
    reset("SIGPIPE", "SIGXFSZ")
    if os.environ.get("LC_CTYPE") in _COERCED:
        try:
            locale = first_locale()
        except OSError:
            pass
        else:
            if locale is None:
                del os.environ["LC_CTYPE"]
            else:
                os.environ["LC_CTYPE"] = locale
    _execute(command)


def _ask_psutil() -> str | None:
    import psutil

    try:
        return psutil.Process().environ().get("LC_CTYPE")
    except (psutil.Error, AttributeError) as error:  # not everywhere
        raise OSError(errno.ENOTSUP, str(error)) from error


def _execute(command: list[str]) -> "NoReturn":
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
