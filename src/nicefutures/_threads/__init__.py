"""The pools of threads: `PriorityThreadPoolExecutor` (`executor`), its worker threads, and how many run at once.

`interpreters` has the pool of Python 3.14 with an interpreter for each thread, `levelled` the base of both, `worker`
the first and last steps of a thread. With a latency target, workers take tasks through a `gate`, and a `regulator` sets
how many it lets in. The `controller` has one thread for all regulators: it measures waits for the GIL and CPU times
(`cpu_time`), and sets the switch interval (`gil`). After a long wait, `blame` finds the task (`tasks`) that kept the
GIL, for `stalls`. `pausing` pauses a pool, `stats` has its statistics, and `description` asks the system about workers.
"""
