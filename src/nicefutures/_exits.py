"""Calls functions at the interpreter's exit, before it waits for the threads of executors."""

import threading
from collections.abc import Callable


def call_at_exit(function: Callable[[], None]) -> None:
    """Call a function at the interpreter's exit, before the exit function of concurrent.futures.thread.

    The latter has been registered earlier, so it is called later. The registration is private, and exists from
    Python 3.9 to 3.15. Without it, the program ends when its tasks do.
    """
    register: Callable[..., object] | None = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(function)
