"""What another process cannot find by its name.

Functions and classes are pickled by their names, and a worker imports the modules of these. Not all can be imported:
that of a notebook, of a session, or of what Python reads from elsewhere than a file (`main_module`).
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

MAIN: Final = "__main__"


class _Here(threading.local):
    """Of a thread that pickles for other processes.

    Attributes
    ----------
    is_main_known : bool
        Whether these have the main module as this process has it.
    sent : list, or None in a worker's thread
        What it has pickled by value: functions, classes, and what goes to each worker once.
    is_task_coming : bool
        Whether it is a worker's that unpickles what its parent has sent.
    of_task : set of str, or None
        In a worker's thread: the tokens of what has come with its task, if there are any.
    """

    is_main_known: bool = True

    def __init__(self) -> None:
        self.sent: list[Any] | None = []
        self.is_task_coming = False
        self.of_task: set[str] | None = None


here: Final = _Here()


@contextlib.contextmanager
def pickling(*, is_main_known: bool) -> Iterator[None]:
    """Let this thread pickle for workers, for a while; the argument is as in `here`."""
    before = here.is_main_known, here.sent, here.of_task
    here.is_main_known, here.sent, here.of_task = is_main_known, [], None  # in a worker, its own workers have no tokens
    try:
        yield
    finally:
        here.is_main_known, here.sent, here.of_task = before


_MAIN_ONLY: Final = (MAIN.encode(),)


def by_value() -> tuple[bytes, ...]:
    """Return the names of the modules whose functions and classes the calling thread does not pickle by name."""
    names = () if here.is_main_known else _MAIN_ONLY
    cloudpickle: Any = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return names
    registered: set[str] = getattr(cloudpickle, "list_registry_pickle_by_value", set)()
    return (*names, *(name.encode() for name in registered)) if registered else names
