"""The time since the last input (keyboard or mouse), from a Wayland compositor: the protocol ext-idle-notify-v1.

The compositor does not tell a time. It sends an event when a seat has been idle for a while, and at the next input.

Sources: "The Wayland Protocol", "Wire Format"; ``wayland.xml``; ``ext-idle-notify-v1.xml``.
"""

import itertools
import struct
from collections.abc import Iterator
from typing import Final

from ..._originals import now, os
from .link import Connect, Link, runtime_directory

# Seconds without input after which the compositor sends the event.
_IDLE_S: Final = 1.0
_DISPLAY: Final = 1
_NOTIFIER: Final = b"ext_idle_notifier_v1"
_SEAT: Final = b"wl_seat"


class Notifier:
    """A connection to the compositor of this session.

    It raises an OSError if there is no compositor, or it does not answer, or does not have the protocol.
    """

    def __init__(self, connect: Connect) -> None:
        name = os.environ.get("WAYLAND_DISPLAY") or "wayland-0"
        self._link = Link(connect, os.path.join(runtime_directory(), name))
        self._ids = itertools.count(2)
        self._data = b""
        self._idle_since: float | None = None
        self._notification = 0
        self._open()

    def idle_seconds(self) -> float:
        """Return the seconds since the last input; 0 for less than a second."""
        while data := self._link.receive_waiting():
            self._data += data
        for sender, code, _ in self._events():
            if sender == self._notification:  # idled, resumed
                self._idle_since = None if code else now() - _IDLE_S
        return 0.0 if self._idle_since is None else now() - self._idle_since

    def _open(self) -> None:
        """List the compositor's objects, and request idle events of the first seat."""
        registry = self._request(_DISPLAY, 1, b"")
        found: dict[bytes, tuple[int, int]] = {}
        for code, body in self._sync(registry):
            if code == 0:  # global: its number, interface and version
                number, size = struct.unpack_from("=II", body)
                interface, end = body[8 : 8 + size - 1], 8 + size + -size % 4
                found.setdefault(interface, (number, struct.unpack_from("=I", body, end)[0]))
        if not {_NOTIFIER, _SEAT} <= found.keys():
            msg = f"the compositor has no {_NOTIFIER.decode()}"
            raise OSError(msg)
        ids = []
        for interface, most in ((_NOTIFIER, 2), (_SEAT, 1)):
            number, version = found[interface]
            bound = struct.pack("=II", number, len(interface) + 1) + interface + bytes(4 - len(interface) % 4)
            ids.append(self._request(registry, 0, bound + struct.pack("=I", min(version, most))))
        notifier, seat = ids
        # get_input_idle_notification of version 2 ignores inhibitors, such as a video player's.
        code = 2 if found[_NOTIFIER][1] > 1 else 1
        self._notification = next(self._ids)
        self._send(notifier, code, struct.pack("=III", self._notification, round(_IDLE_S * 1000), seat))
        self._sync()

    def _request(self, target: int, code: int, body: bytes) -> int:
        """Request a new object; return its number."""
        new = next(self._ids)
        self._send(target, code, body + struct.pack("=I", new))
        return new

    def _send(self, target: int, code: int, body: bytes) -> None:
        self._link.send(struct.pack("=IHH", target, code, 8 + len(body)) + body)

    def _sync(self, sender: int = 0) -> list[tuple[int, bytes]]:
        """Wait until all requests are done; return the events that object `sender` has sent meanwhile."""
        found: list[tuple[int, bytes]] = []
        done = self._request(_DISPLAY, 0, b"")
        while True:
            for origin, code, body in self._events():
                if origin == done:
                    return found
                if origin == sender:
                    found.append((code, body))
            self._data += self._link.receive(2**16)

    def _events(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the received events: sender, number and data."""
        while len(self._data) >= 8:  # noqa: PLR2004
            sender, code, size = struct.unpack_from("=IHH", self._data)
            if len(self._data) < size:
                return
            body, self._data = self._data[8:size], self._data[size:]
            if (sender, code) == (_DISPLAY, 0):
                msg = f"the compositor refuses: {body[12:].rstrip(bytes(1)).decode(errors='replace')}"
                raise OSError(msg)
            yield sender, code, body
