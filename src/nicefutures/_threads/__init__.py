"""The thread pool: `PriorityThreadPoolExecutor`, its worker threads, and how many of them run at once.

`executor` is the class, and `worker` what runs in each thread. With a latency target, workers take their tasks through
a `gate`, and a `regulator` decides how many the gate lets in. The `controller` has one thread for the regulators of all
pools: it measures waits for the GIL (`gil`) and CPU times (`cpu_time`). After a long wait, `blame` finds the task that
kept the GIL, and `stalls` remembers it. `stats` are what the pool tells; `description` asks the system about workers.
"""
