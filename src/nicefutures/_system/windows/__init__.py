"""Windows: a priority class for a process, a priority level for a thread.

Some facts:

* The class applies to the whole process, including threads that exist already. A child inherits IDLE and
  BELOW_NORMAL from its parent, and no other class ("Inheritance", ``CreateProcess``).
* A thread's level is relative to the class of its process; both together make the base priority. Scheduling is strict:
  a lower base priority runs only when no higher one is ready ("Scheduling Priorities").
* Without SeIncreaseBasePriorityPrivilege, REALTIME becomes HIGH without an error, so a new class is always read back.
* PROCESS_MODE_BACKGROUND_BEGIN and THREAD_MODE_BACKGROUND_BEGIN are not used: the first caps the working set at
  32 MiB (osquery#8149).
* A job object limits the memory that its processes may commit; requests beyond the limit fail as if the system were out
  of memory (``JOBOBJECT_EXTENDED_LIMIT_INFORMATION``). A process cannot leave its job, but jobs nest, and limits can
  change ("Nested Jobs", Windows 8). JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE ends its processes when its last handle closes.
* The memory priority decides whose pages are taken first (``SetProcessInformation``, Windows 8); EcoQoS selects
  efficient cores and clocks ("Quality of Service", Windows 10 1709).
* A thread of low priority may hold the loader lock while it ends (crbug.com/1096203): `release_thread`.
"""
