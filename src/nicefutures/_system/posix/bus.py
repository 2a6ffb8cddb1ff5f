"""A D-Bus client: jeepney's messages over a connection of our own, which limits the time for each answer."""

import errno
import itertools
from typing import Any

from ..._originals import os
from .link import Connect, Link, runtime_directory


class Bus:
    """A connection to a bus of the kind "SESSION" or "SYSTEM".

    It raises an ImportError if there may be such a bus, but jeepney is not installed, and an OSError if the bus does
    not exist, or does not answer.
    """

    def __init__(self, connect: Connect, kind: str) -> None:
        usual = "/var/run/dbus/system_bus_socket" if kind == "SYSTEM" else f"{runtime_directory()}/bus"
        if not os.environ.get(f"DBUS_{kind}_BUS_ADDRESS") and not os.path.exists(usual):  # jeepney would not help
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), usual)
        from jeepney import Parser, message_bus
        from jeepney.auth import BEGIN, AuthenticationError, Authenticator
        from jeepney.bus import get_bus

        try:
            address = get_bus(kind)
        except (KeyError, RuntimeError, ValueError):
            address = usual  # the variable is not set, for example in a systemd service
        self._link = Link(connect, address)
        self._serials = itertools.count(1)
        self._parser = Parser()
        authenticator = Authenticator()
        try:
            for line in authenticator:
                self._link.send(line)
                authenticator.feed(self._link.receive(1024))
        except AuthenticationError as error:
            raise PermissionError(str(error)) from error
        self._link.send(BEGIN)
        self._exchange(message_bus.Hello())

    def call(self, service: str, path: str, interface: str, method: str, *arguments: str) -> Any:
        """Call a method of a running service; return the first value of its answer."""
        from jeepney import DBusAddress, MessageFlag, new_method_call

        address = DBusAddress(path, bus_name=service, interface=interface)
        message = new_method_call(address, method, "s" * len(arguments) or None, arguments)
        message.header.flags = MessageFlag.no_auto_start
        return self._exchange(message)[0]

    def _exchange(self, message: Any) -> Any:
        from jeepney import HeaderFields, MessageType

        serial = next(self._serials)
        self._link.send(message.serialise(serial))
        while True:
            while (answer := self._parser.get_next_message()) is None:
                self._parser.add_data(self._link.receive(4096))
            if answer.header.fields.get(HeaderFields.reply_serial) != serial:
                continue  # a signal to all clients
            if answer.header.message_type is MessageType.error:
                raise OSError(answer.header.fields[HeaderFields.error_name])
            return answer.body
