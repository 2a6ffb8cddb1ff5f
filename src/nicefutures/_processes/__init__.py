"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and what travels between them.

`executor` is the class, and `worker` what runs in each process. Through the `channel` a worker tells its parent what it
is like. The `transport` carries large buffers, `chunk` makes the calls of an automatic chunk, `memory` limits what a
task may use, `breakage` says why a pool broke, and `description` asks the system about workers.
"""
