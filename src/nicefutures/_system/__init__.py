"""The operating system: the only room that asks which one it is.

Each system is a package with the same modules, one a topic:

* ``priority``: the level of a process and of the calling thread; ``threads``: that of any thread of this process;
  ``background``: what else a low level brings with it, such as I/O.
* ``accounting``: CPUs, and what threads do with them; ``memory``: how much there is, and its limits.
* ``groups``: task groups, in which a level counts; ``sharing``: shared memory.
* ``command``: running a program at a level; ``survey``: what the machine says of itself.

The functions of a topic are those of its protocol in ``protocols``. Each system is reached through one object,
``seam.system``. What a system has nothing of it takes from ``unknown``, a system of which nothing is known. ``common``,
``limit`` and ``mapping`` are what several systems need.

`backend` is the system that this process runs on: ``backend.priority.set_process(...)``.

What ``nicefutures run`` imports, this package and ``command``, does without `typing`, `enum` and what else takes as
long as a Python's start.
"""

import os
import sys

if sys.platform == "win32":
    from . import windows as _this
elif sys.platform == "linux":
    from . import linux as _this
elif sys.platform == "darwin":
    from . import macos as _this
elif os.name == "posix":
    from . import posix as _this
else:
    from . import unknown as _this

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from . import protocols


class Backend:
    """All topics of a system. Each is imported when it is first asked for: a worker pays for what it uses."""

    if TYPE_CHECKING:  # this is where a type checker compares each module with its protocol
        accounting: protocols.Accounting = _this.accounting
        background: protocols.Background = _this.background
        command: protocols.Command = _this.command
        groups: protocols.Groups = _this.groups
        memory: protocols.Memory = _this.memory
        priority: protocols.Priority = _this.priority
        sharing: protocols.Sharing = _this.sharing
        survey: protocols.Survey = _this.survey
        threads: protocols.Threads = _this.threads
    else:

        def __getattr__(self, topic: str) -> "Any":
            if topic not in _this.__all__:
                msg = f"no such topic: {topic!r}"
                raise AttributeError(msg)
            name = f"{_this.__name__}.{topic}"
            __import__(name)
            # Not the package's attribute, which another thread that imports it sets a moment later.
            module = sys.modules[name]
            setattr(self, topic, module)
            return module


backend: "Final" = Backend()
