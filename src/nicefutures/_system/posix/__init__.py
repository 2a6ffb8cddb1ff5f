"""POSIX systems without a package of their own (the BSDs and others): nice for a process, nothing for a thread.

``setpriority(PRIO_PROCESS)`` is the whole process there (POSIX.1, ``setpriority``). Nice goes up to 20 on the BSDs and
to 19 elsewhere; a value beyond the end becomes the end. RLIMIT_AS is the whole address space (POSIX.1, ``getrlimit``).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import accounting, background, command, groups, memory, priority, sharing, survey, threads

__all__ = ["accounting", "background", "command", "groups", "memory", "priority", "sharing", "survey", "threads"]
