"""macOS: nice for a process, a quality-of-service class for a thread.

Some facts:

* ``setpriority(PRIO_PROCESS)`` sets the whole process; a single thread has no nice.
* A thread has a QoS class, ``<pthread/qos.h>``. It can be set for the calling thread only.
  ``PRIO_DARWIN_BG`` removes a thread's QoS class, so the two are never mixed.
* QOS_CLASS_BACKGROUND keeps a thread on the efficiency cores even on an idle machine;
  UTILITY is the class for a long computation (Apple, "Energy Efficiency Guide for Mac Apps").
* This interface has no real-time class.
* A process has an I/O policy for its disk accesses, ``setiopolicy_np(3)``; THROTTLE yields to all others,
  UTILITY to those that a user waits for.
* PRIO_DARWIN_BG puts a process on the efficiency cores and throttles its I/O (setpriority(2)).
* macOS accepts limits of memory, but does not enforce them (``RLIMIT_AS``, ``RLIMIT_DATA``).
"""
