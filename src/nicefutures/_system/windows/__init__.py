"""Windows: a priority class for a process, a priority level for a thread.

Some facts:

* The class holds for the whole process, threads that exist already included. A child inherits IDLE and
  BELOW_NORMAL from its parent, and no other class ("Inheritance", ``CreateProcess``).
* A thread's level is relative to the class of its process; both together make the base priority. Scheduling is strict:
  a lower base priority runs only when no higher one is ready ("Scheduling Priorities").
* REALTIME without SeIncreaseBasePriorityPrivilege becomes HIGH without an error: what was set is always read back.
* PROCESS_MODE_BACKGROUND_BEGIN and THREAD_MODE_BACKGROUND_BEGIN are not used: the first caps the working set at
  32 MiB (osquery#8149).
* A job object limits what its processes may commit; what is beyond fails as if the system were out of memory
  (``JOBOBJECT_EXTENDED_LIMIT_INFORMATION``). A process cannot leave its job, but jobs nest, and limits change
  ("Nested Jobs", Windows 8). With JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE its processes end when nobody has a handle on it.
* The memory priority says whose pages are taken first (``SetProcessInformation``, Windows 8); EcoQoS is for efficient
  cores and clocks ("Quality of Service", Windows 10 1709).
* A thread of low priority may hold the loader lock while it ends (crbug.com/1096203): `release_thread`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import accounting, background, command, groups, memory, priority, sharing, survey, threads

__all__ = ["accounting", "background", "command", "groups", "memory", "priority", "sharing", "survey", "threads"]
