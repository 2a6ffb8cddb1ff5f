"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and the messages between them.

From the outside in:

- `executor` has the class, with one life cycle;
- `runner` is the code of the pool's threads: each lets a worker run a task, or chunks of a map. `attempt` decides about
  a task whose worker dies, `task` is a task that can be stopped, `chunk` makes the calls of a chunk in a worker;
- `pool` is the registry of workers, `handle` is one worker in the parent, and `worker_main` is the worker itself;
- `packing` pickles tasks; `transport` carries large buffers;
- `wire` defines the kinds of messages, and how an exception is sent; `pipes` sends the frames.

Around these: `breakage` describes how a worker ended, `ending` ends a worker and its child processes, `interrupts`
handles Ctrl-C, `relay` forwards log records, `memory` limits the memory of a task, `main_module` imports the main
module, and `description` asks the system about workers. Some objects have no name in another process: `naming` finds
out which, `by_value` pickles them, `tokens` recognize them, and `once` sends a function to each worker once.
"""
