"""Linux: the priority of a process is set thread by thread.

``walk`` sets and reads threads, ``scheduling`` defines their scheduling parameters and those of each priority.
``cgroups`` reads control groups, and the ``keeper`` manages workers in a group of their own.

Some facts:

* Nice and the scheduling policy belong to a thread, not to a process (sched(7); getpriority(2), BUGS). Setting them
  for a process id affects its main thread and the threads that it starts later, but no thread that exists already,
  such as the threads that OpenBLAS starts when NumPy is imported. So ``walk`` sets each thread in ``/proc/<pid>/task``.
  All calls here take a thread id where their manual speaks of a process id; 0 is the calling thread.
* A new thread inherits policy, nice and I/O priority from the thread that started it. A thread that appears during the
  walk either was started by a thread that was already set, and needs nothing, or is found in the next round.
* A normal thread preempts SCHED_IDLE (weight 3 against 1024 for nice 0) as soon as it wakes; a thread at
  nice 19 (weight 15) may finish its slice first. SCHED_IDLE ignores nice (sched(7)).
* Without CAP_SYS_NICE, a thread can only raise its nice, and cannot leave SCHED_IDLE, unless RLIMIT_NICE allows it
  (setrlimit(2), sched(7)): ``setpriority`` then fails with EACCES, ``sched_setscheduler`` with EPERM.
  If ``setpriority`` fails with EPERM, the process belongs to another user (setpriority(2)).
* SCHED_RESET_ON_FORK cannot be cleared without CAP_SYS_NICE (sched_setscheduler(2)), so it is kept.
* musl's ``sched_setscheduler`` and ``sched_getscheduler`` always fail with ENOSYS: in POSIX they apply to processes.
* I/O priority ``IOPRIO_CLASS_NONE`` follows the CPU's policy and nice: best effort, level (nice + 20) / 5
  (ioprio_set(2)). The C library has no function for ``ioprio_set``; the system call's number depends on the
  architecture.
* ``oom_score_adj`` can be raised, and restored, without a privilege (proc_pid_oom_score_adj(5)).
* RLIMIT_DATA counts private writable memory, mappings included, from Linux 4.7 on (setrlimit(2)); ``data`` in
  ``/proc/self/statm`` is the same plus the stack. Only the soft limit is changed here, so that it can be restored.
* ``exit`` runs its handlers, the latest first (``__cxa_atexit``, Linux Standard Base). Some of them hang if the process
  is not at its end: OpenBLAS calls ``exit`` for lack of memory, and then waits for threads that a forked child lacks.
* Policy and nice rank a thread only within its own task group (autogroup, CPU cgroup: sched(7)).
* The second number of ``/proc/<pid>/task/<tid>/schedstat`` is the time that the thread was ready to run without a CPU,
  in ns (Documentation/scheduler/sched-stats.rst).
"""
