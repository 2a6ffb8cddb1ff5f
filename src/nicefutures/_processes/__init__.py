"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and what travels between them.

From the outside in:

- `executor` is the class, with one life cycle;
- `runner` is what a thread of the pool does: it lets a worker run a task, or chunks of a map. `attempt` decides what
  becomes of a task whose worker dies, `task` is what can be stopped, `chunk` makes the calls of a chunk in a worker;
- `pool` is the registry of workers, `handle` one of them, as its parent has it, and `worker_main` as it runs;
- `packing` says how tasks are pickled; `transport` carries large buffers;
- `wire` has the kinds of message, and how an exception travels; `pipes` the frames.

Around these: `breakage` says how a worker ended, `ending` ends one with what it has started, `interrupts` is about
Ctrl-C, `relay` about what workers log, `memory` limits what a task may use, `main_module` imports the main module, and
`description` asks the system about workers. For what has no name in another process: `naming` says what that is,
`by_value` pickles it, `tokens` find it again when it comes back, and `once` lets a function go to each worker once.
"""
