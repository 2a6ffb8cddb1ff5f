"""The seam to a POSIX system: all calls of it."""

import os
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..._sockets import Socket


class System(Protocol):
    """The seam to the operating system. `pid` 0 is the calling process."""

    def get_nice(self, pid: int) -> int: ...
    def set_nice(self, pid: int, nice: int) -> None: ...
    def get_address_limit(self) -> tuple[int, int]: ...
    def set_address_limit(self, limits: tuple[int, int]) -> None: ...
    def get_stack_limit(self) -> int: ...
    def address_space(self) -> int: ...
    def resident(self) -> int: ...
    def connect(self, address: str, seconds: float) -> "Socket": ...


if not TYPE_CHECKING or sys.platform != "win32":

    class _Calls:
        """Calls of the system that this process runs on."""

        def get_nice(self, pid: int) -> int:
            return os.getpriority(os.PRIO_PROCESS, pid)

        def set_nice(self, pid: int, nice: int) -> None:
            os.setpriority(os.PRIO_PROCESS, pid, nice)

        def get_address_limit(self) -> tuple[int, int]:
            import resource  # here, for processes with a memory limit

            return resource.getrlimit(resource.RLIMIT_AS)

        def set_address_limit(self, limits: tuple[int, int]) -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, limits)

        def get_stack_limit(self) -> int:
            import resource

            return resource.getrlimit(resource.RLIMIT_STACK)[0]

        def address_space(self) -> int:
            import psutil

            return int(psutil.Process().memory_info().vms)

        def resident(self) -> int:
            import psutil

            return int(psutil.Process().memory_info().rss)

        def connect(self, address: str, seconds: float) -> "Socket":
            from ..._sockets import connect  # here, for programs that watch for the user's input

            return connect(address, seconds)

    system: System = _Calls()
else:
    system: System
