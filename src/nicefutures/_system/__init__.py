"""The operating system. Only this package asks which system the program runs on.

Each system is a package with one module for each topic that it supports. All other topics, and single functions that a
system does not support, come from ``unknown``, which makes no assumptions about the system.

* ``priority``: the priority of a process and of the calling thread; ``threads``: that of any thread of this process;
  ``background``: other settings of a low-priority process, such as its I/O priority.
* ``accounting``: the number of CPUs, and the CPU time of threads; ``memory``: the amount of memory, and its limits.
* ``groups``: task groups, within which a priority counts; ``sharing``: shared memory.
* ``guard``: continues or ends stopped processes when this process ends.
* ``command``: runs a program at a priority; ``survey``: describes the machine.
* ``activity``: the use of the machine by users and other programs, and its power supply.

``protocols`` lists the functions of each topic. All calls to a system go through one object, ``seam.system``.
Several systems share ``common``, ``limit`` and ``mapping``.

`backend` is the system that this process runs on: ``backend.priority.set_process(...)``.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Final

    from . import protocols

TOPICS: "Final" = "accounting activity background command groups guard memory priority sharing survey threads".split()  # noqa: SIM905
# The topics that each system supports, by package.
PLACES: "Final[dict[str, dict[str, str]]]" = {
    "linux": {
        "linux": "accounting activity background command groups memory priority sharing survey threads",
        "posix": "guard",
    },
    "windows": {"windows": "accounting activity background command guard memory priority sharing survey threads"},
    "macos": {"macos": "accounting activity background priority", "posix": "command guard"},
    "posix": {"posix": "activity command guard memory priority"},
    "unknown": {},
}

# The same for a type checker.
if sys.platform == "win32":
    _this = "windows"
    if TYPE_CHECKING:
        from . import unknown as groups
        from .windows import (
            accounting,
            activity,
            background,
            command,
            guard,
            memory,
            priority,
            sharing,
            survey,
            threads,
        )
elif sys.platform == "linux":
    _this = "linux"
    if TYPE_CHECKING:
        from .linux import accounting, activity, background, command, groups, memory, priority, sharing, survey, threads
        from .posix import guard
elif sys.platform == "darwin":
    _this = "macos"
    if TYPE_CHECKING:
        from . import unknown as groups
        from . import unknown as memory
        from . import unknown as sharing
        from . import unknown as survey
        from . import unknown as threads
        from .macos import accounting, activity, background, priority
        from .posix import command, guard
else:
    _this = "posix" if os.name == "posix" else "unknown"


def find(system: str, topic: str) -> "ModuleType":
    """Import the module that a system has for a topic."""
    name = f"{__name__}.unknown"
    for package, topics in PLACES[system].items():
        if topic in topics.split():
            name = f"{__name__}.{package}.{topic}"
    __import__(name)
    # Not the package's attribute: another thread that imports the module sets the attribute slightly later.
    return sys.modules[name]


class Backend:
    """All topics of a system. Each is imported at its first use, so a worker does not import topics without need."""

    if TYPE_CHECKING:  # here a type checker compares each module with its protocol
        accounting: protocols.Accounting = accounting
        activity: protocols.Activity = activity
        background: protocols.Background = background
        command: protocols.Command = command
        groups: protocols.Groups = groups
        guard: protocols.Guard = guard
        memory: protocols.Memory = memory
        priority: protocols.Priority = priority
        sharing: protocols.Sharing = sharing
        survey: protocols.Survey = survey
        threads: protocols.Threads = threads
    else:

        def __getattr__(self, topic: str) -> "Any":
            if topic not in TOPICS:
                msg = f"no such topic: {topic!r}"
                raise AttributeError(msg)
            module = find(_this, topic)
            setattr(self, topic, module)
            return module


backend: "Final" = Backend()
