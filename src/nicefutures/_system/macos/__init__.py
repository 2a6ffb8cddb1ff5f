"""macOS: nice for a process, a quality-of-service class for a thread.

Some facts:

* ``setpriority(PRIO_PROCESS)`` is the whole process; there is no nice for one thread.
* A thread has a QoS class, ``<pthread/qos.h>``. It can be set on the calling thread only.
  ``PRIO_DARWIN_BG`` takes a thread's QoS class away: the two are never mixed.
* QOS_CLASS_BACKGROUND keeps a thread on the efficiency cores even if the machine has nothing else to do;
  UTILITY is the class for a long computation (Apple, "Energy Efficiency Guide for Mac Apps").
* There is no real-time class to be had through this interface.
* A process has an I/O policy for its disk accesses, ``setiopolicy_np(3)``; THROTTLE gives way to all others,
  UTILITY to those that somebody waits for.
* PRIO_DARWIN_BG puts a process on the efficiency cores and throttles its I/O (setpriority(2)).
* Limits of memory are accepted and not enforced (``RLIMIT_AS``, ``RLIMIT_DATA``).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import accounting, background, command, groups, memory, priority, sharing, survey, threads

__all__ = ["accounting", "background", "command", "groups", "memory", "priority", "sharing", "survey", "threads"]
