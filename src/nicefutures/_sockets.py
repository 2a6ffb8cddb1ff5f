"""Connected sockets of Python's own class, not of that which gevent, pytest-socket and others put into `socket`."""

import _socket
from multiprocessing import reduction
from typing import Any, Final

_module: Final[Any] = _socket  # Any: for a type checker, Windows has no pairs and no DupFd
_reduction: Final[Any] = reduction


class Socket(_socket.socket):
    """A connected socket, which a process may get from its parent when it starts."""

    def __reduce__(self) -> Any:
        return _open_copy, (_reduction.DupFd(self.fileno()),)

    def __del__(self) -> None:
        self.close()  # without a ResourceWarning


def _open_copy(copy: Any) -> Socket:
    return Socket(fileno=copy.detach())


def socket_pair(kind: int = _socket.SOCK_STREAM) -> tuple[Socket, Socket]:
    """Return the two ends of a connection of this kind."""
    one, other = _module.socketpair(_module.AF_UNIX, kind)
    return Socket(fileno=one.detach()), Socket(fileno=other.detach())


def connect(address: str, seconds: float) -> Socket:
    """Return a connection to a server on this machine, with a timeout for each answer."""
    connection = Socket(_module.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(seconds)
    connection.connect(address)
    return connection
