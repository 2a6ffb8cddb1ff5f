"""A connection to a server of the desktop, with a time limit for each answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..._originals import now, os

if TYPE_CHECKING:
    from ..._sockets import Socket

# Time limit in seconds for an answer.
PATIENCE_S: Final = 0.2

Connect = Callable[[str, float], "Socket"]  # the function of the seam


def runtime_directory() -> str:
    """Return the directory of the sockets of this user's desktop servers."""
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{getattr(os, 'getuid', int)()}"


class Link:
    """A connection to the first of the addresses that has a server. All its failures are OSErrors."""

    def __init__(self, connect: Connect, *addresses: str) -> None:
        for address in addresses:
            try:
                self._socket = connect(address, PATIENCE_S)
                break
            except OSError as error:
                reason = OSError(f"{address}: {error.strerror or error}")
        else:
            raise reason
        self._deadline = 0.0

    def send(self, data: bytes) -> None:
        """Send a request. The time for its answer begins now."""
        self._deadline = now() + PATIENCE_S
        self._wait()
        self._socket.sendall(data)

    def receive(self, most: int) -> bytes:
        """Return some bytes of an answer, at least one."""
        self._wait()
        data = self._socket.recv(most)
        if not data:
            msg = "the server has closed the connection"
            raise ConnectionResetError(msg)
        return data

    def receive_all(self, size: int) -> bytes:
        """Return `size` bytes of an answer."""
        data = b""
        while len(data) < size:
            data += self.receive(size - len(data))
        return data

    def receive_waiting(self) -> bytes:
        """Return the data that the server has sent without a request; empty if there is none."""
        self._deadline = 0.0
        try:
            return self.receive(2**16)
        except (BlockingIOError, TimeoutError):
            return b""

    def _wait(self) -> None:
        self._socket.settimeout(max(self._deadline - now(), 0.0))
