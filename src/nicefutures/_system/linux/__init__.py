"""Linux: every thread of a process, one by one.

``walk`` sets and reads threads, ``scheduling`` is what the kernel schedules one by and what each level asks of it.
``cgroups`` reads control groups, and the ``keeper`` looks after workers in a group of their own.

Some facts:

* Nice and the scheduling policy belong to a thread, not to a process (sched(7); getpriority(2), BUGS). Setting them
  for a process id reaches its main thread and the threads that it makes later, and no thread that exists already,
  such as the pool that OpenBLAS makes when NumPy is imported. So the threads are walked, in ``/proc/<pid>/task``.
  All calls here take a thread id where their manual speaks of a process id; 0 is the calling thread.
* A new thread inherits policy, nice and I/O priority from the one that made it. A thread that appears during the walk
  was either made by one that had been set already, and needs nothing, or shows up in the next round.
* SCHED_IDLE (weight 3 against 1024 for nice 0) is preempted by a normal thread as soon as that wakes; a thread at
  nice 19 (weight 15) may finish its slice first. SCHED_IDLE ignores nice (sched(7)).
* Without CAP_SYS_NICE, nice goes up only, and SCHED_IDLE is not left, unless RLIMIT_NICE allows it
  (setrlimit(2), sched(7)): ``setpriority`` then fails with EACCES, ``sched_setscheduler`` with EPERM.
  ``setpriority`` with EPERM means somebody else's process (setpriority(2)).
* SCHED_RESET_ON_FORK cannot be cleared without CAP_SYS_NICE (sched_setscheduler(2)), so it is kept as it is.
* musl's ``sched_setscheduler`` and ``sched_getscheduler`` always fail with ENOSYS, for POSIX means them for processes.
* I/O priority ``IOPRIO_CLASS_NONE`` follows the CPU's policy and nice: best effort, level (nice + 20) / 5
  (ioprio_set(2)). The C library has no function for ``ioprio_set``; the system call's number depends on the
  architecture.
* ``oom_score_adj`` goes up without a privilege, and back to what it was (proc_pid_oom_score_adj(5)).
* RLIMIT_DATA counts what a process may write to and does not share, mappings included, from Linux 4.7 on
  (setrlimit(2)); ``data`` in ``/proc/self/statm`` is that and the stack. Only the soft limit is changed here, so that
  it can be put back.
* ``exit`` runs its handlers, the latest first (``__cxa_atexit``, Linux Standard Base), and in the midst of a process
  some hang: OpenBLAS, which calls it for want of memory, waits there for threads that a forked child does not have.
* Policy and nice rank a thread within its own task group only (autogroup, CPU cgroup: sched(7)).
* The second number of ``/proc/<pid>/task/<tid>/schedstat`` is the time that the thread was ready to run and had no CPU,
  in ns (Documentation/scheduler/sched-stats.rst).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import accounting, background, command, groups, memory, priority, sharing, survey, threads

__all__ = ["accounting", "background", "command", "groups", "memory", "priority", "sharing", "survey", "threads"]
