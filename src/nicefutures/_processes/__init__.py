"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and what travels between them.

`executor` is the class, `crew` has the worker processes and what a thread of the pool does with one, and `worker` is
what runs in each process. Besides tasks and results they send each other what is in `message`, and exceptions as in
`errors`; `pipes` sends it, and keeps its ends from whoever else is forked. The `transport` carries large buffers,
`chunk` makes the calls of an automatic chunk, `memory` limits what a task may use, `importing` is for tasks of a thread
that is importing their module, `breakage` says how a worker ended, and `description` asks the system about workers.

For what may go wrong in a night: `task` is what can be stopped, `ending` ends a process with what it has started,
`interrupts` is about Ctrl-C, `telling` about what comes before an answer, and `relay` about what workers log.

For what has no name in another process: `naming` says what that is, `by_value` pickles it, `tokens` find it again when
it comes back, `once` lets a function of many tasks go to each worker once, and `culprit` says what cannot travel.
"""
