"""Continues stopped processes if this process ends, by a shell whose standard input only this process writes to."""

import _socket
import contextlib
import os
from typing import Any, Final

from ..._sockets import socket_pair

__all__ = ["SUSPENDS_COUNT", "Guard"]

SUSPENDS_COUNT: Final = False

_os: Final[Any] = os  # a type checker's Windows lacks some of it
_END: Final = b".\n"
_SCRIPT: Final = """
while read -r word; do
    case $word in
        .) exit ;;
        -*) others=
            for pid in $pids; do [ "-$pid" = "$word" ] || others="$others $pid"; done
            pids=$others ;;
        *) pids="$pids $word" ;;
    esac
done
kill -CONT $pids 2>/dev/null
"""
# Without this flag, a write to a killed shell ends a program in which SIGPIPE has its default action.
_NO_SIGNAL: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0)
_SO_NOSIGPIPE: Final = 0x1022  # macOS has this instead (sys/socket.h)


class Guard:
    """Continues processes if this process ends before `close`.

    It does not use `subprocess`, which waits for the end of a pipe that a worker forked meanwhile may hold open.
    """

    def __init__(self) -> None:
        self.end: Any
        self.end, theirs = socket_pair()
        if not _NO_SIGNAL:
            self.end.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        with contextlib.closing(theirs):
            self._pid = _start_shell(theirs.fileno())

    def add(self, pid: int) -> None:
        self._send(b"%d\n" % pid)

    def remove(self, pid: int) -> None:
        self._send(b"-%d\n" % pid)

    def close(self) -> None:
        self._send(_END)
        with contextlib.suppress(ChildProcessError):  # other code has read its exit status
            os.waitpid(self._pid, 0)

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the shell was killed
            self.end.sendall(line, _NO_SIGNAL)


def _start_shell(standard_input: int) -> int:
    files = [(_os.POSIX_SPAWN_DUP2, standard_input, 0)]
    # In a process group of its own, so that it does not get signals to the program's group.
    pid: int = _os.posix_spawn("/bin/sh", ["sh", "-c", _SCRIPT], {}, file_actions=files, setpgroup=0)
    return pid
