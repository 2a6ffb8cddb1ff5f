"""The thread pool: `PriorityThreadPoolExecutor`, its worker threads, and who decides how many of them run at once.

`executor` is the class, and `worker` what runs in each thread. Workers take their tasks through a `gate`; its
`regulator` decides how many it lets through. The `controller` has one `watcher` for the regulators of all pools, a
thread that measures how long it waits for the GIL (`gil`), and `blame` finds the task that kept it. `cpu_time` is that
of threads, `stats` are what the pool tells, and `description` asks the system about workers.
"""
