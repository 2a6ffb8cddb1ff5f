"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and what travels between them.

`executor` is the class, `crew` has the worker processes and what a thread of the pool does with one, and `worker` is
what runs in each process. Besides tasks and results they send each other what is in `message`, and exceptions as in
`errors`; `pipes` keeps the parent's ends from whoever else is forked. The `transport` carries large buffers, `chunk`
makes the calls of an automatic chunk, `memory` limits what a task may use, `importing` is for tasks of a thread that is
importing their module, `breakage` says how a worker ended, and `description` asks the system about workers.
"""
