"""What a worker says before the answer to a task: that it has started, what a call has returned, how it is left."""

import threading
from collections.abc import Callable

from .message import Part, Spent, Started


class _Here(threading.local):
    """Of the worker that this thread is."""

    say: Callable[[Part | Started | Spent], None]


_here = _Here()


def tell_with(say: Callable[[Part | Started | Spent], None]) -> None:
    """Let this thread tell its parent in this way."""
    _here.say = say


def tell(part: Part | Started | Spent) -> None:
    """Tell the parent."""
    _here.say(part)
