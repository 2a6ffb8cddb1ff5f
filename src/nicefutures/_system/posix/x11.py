"""The time since the last input (keyboard or mouse), from an X server: its MIT-SCREEN-SAVER extension.

This client uses the socket without Xlib, which would end this process if the server ends (``XSetIOErrorHandler(3)``).

Sources: "X Window System Protocol", chapters 8 and 9 and appendix B; "X11 Screen Saver Extension"; Xsecurity(7) and
``Xauth.h`` for the file of cookies.
"""

import io
import struct
import sys
from collections.abc import Iterator
from typing import Final

from ..._originals import os
from .link import Connect, Link

_BYTE_ORDER: Final = b"l" if sys.byteorder == "little" else b"B"
_QUERY_EXTENSION: Final = 98
_QUERY_INFO: Final = 1  # of the extension
_ERROR: Final = 0
_REPLY: Final = 1
_ANSWER_SIZE: Final = 32
_FAMILIES: Final = (256, 65535)  # FamilyLocal, FamilyWild
_COOKIE: Final = b"MIT-MAGIC-COOKIE-1"


class Display:
    """A connection to the X server of this session.

    It raises an OSError if there is no server, or it does not answer, or refuses.
    """

    def __init__(self, connect: Connect) -> None:
        name = os.environ.get("DISPLAY", "")
        host, _, rest = name.rpartition(":")
        number = rest.partition(".")[0]
        if host not in ("", "unix") or not number.isdecimal():
            msg = f"DISPLAY={name!r} is no display of this machine" if name else "DISPLAY is not set"
            raise OSError(msg)
        path = f"/tmp/.X11-unix/X{number}"  # noqa: S108, X servers use this path
        self._link = Link(connect, path, f"\0{path}")
        self.root = self._set_up(_find_cookie(number.encode()))
        self._extension = self.find_extension(b"MIT-SCREEN-SAVER")
        if not self._extension:
            msg = "the server has no extension MIT-SCREEN-SAVER"
            raise OSError(msg)

    def idle_seconds(self) -> float:
        """Return the seconds since the last input."""
        answer = self.request(self._extension, _QUERY_INFO, struct.pack("=I", self.root))
        return float(struct.unpack_from("=I", answer, 16)[0] / 1000)

    def find_extension(self, name: bytes) -> int:
        """Return the number with which requests to an extension begin; 0 if the server does not have it."""
        answer = self.request(_QUERY_EXTENSION, 0, struct.pack("=Hxx", len(name)) + _padded(name))
        return answer[9] if answer[8] else 0

    def request(self, number: int, detail: int, data: bytes, *, answers: bool = True) -> bytes:
        """Send a request, and return the answer of 32 bytes; empty without `answers`."""
        self._link.send(struct.pack("=BBH", number, detail, 1 + len(data) // 4) + data)
        while answers:
            answer = self._link.receive_all(_ANSWER_SIZE)
            if answer[0] == _ERROR:
                msg = f"the server refuses (error {answer[1]})"
                raise OSError(msg)
            if answer[0] == _REPLY:
                return answer
            # Otherwise it is an event: MappingNotify goes to all clients.
        return b""

    def _set_up(self, cookie: bytes) -> int:
        """Set up the connection; return the root window of the first screen."""
        name = _COOKIE if cookie else b""
        head = struct.pack("=cxHHHHxx", _BYTE_ORDER, 11, 0, len(name), len(cookie))
        self._link.send(head + _padded(name) + _padded(cookie))
        success, _, words = struct.unpack("=BB4xH", self._link.receive_all(8))
        answer = self._link.receive_all(4 * words)
        if success != 1:
            msg = "the server refuses this client: is XAUTHORITY set?"
            raise OSError(msg)
        vendor, formats = struct.unpack_from("=H", answer, 16)[0], answer[21]
        root: int = struct.unpack_from("=I", answer, 32 + vendor + -vendor % 4 + 8 * formats)[0]
        return root


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _find_cookie(number: bytes) -> bytes:
    """Return the cookie for a display of this machine; empty if there is none."""
    path = os.environ.get("XAUTHORITY") or f"{os.environ.get('HOME', '')}/.Xauthority"
    try:
        with io.FileIO(path) as file:
            data = file.read()
    except OSError:
        return b""
    for family, _, display, name, cookie in _entries(data):
        if family in _FAMILIES and display in (b"", number) and name == _COOKIE:
            return cookie
    return b""


def _entries(data: bytes) -> Iterator[tuple[int, bytes, bytes, bytes, bytes]]:
    """Yield family, address, number of the display, and name and data of the authorization."""
    at = 0
    while at < len(data):
        family = int.from_bytes(data[at : at + 2], "big")
        at += 2
        words = []
        for _ in range(4):
            size = int.from_bytes(data[at : at + 2], "big")
            words.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        yield family, words[0], words[1], words[2], words[3]
