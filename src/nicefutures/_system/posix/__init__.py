"""POSIX systems without a package of their own (the BSDs and others): nice for a process, nothing for a thread.

``setpriority(PRIO_PROCESS)`` sets the whole process (POSIX.1, ``setpriority``). The largest nice is 20 on the BSDs and
19 elsewhere; larger values become the largest. RLIMIT_AS limits the whole address space (POSIX.1, ``getrlimit``).
"""
