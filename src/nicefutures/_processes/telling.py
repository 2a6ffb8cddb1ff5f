"""What a worker says before the answer to a task: that it has started, and what a call of a chunk has returned."""

import threading
from collections.abc import Callable

from .message import Part, Started


class _Here(threading.local):
    """Of the worker that this thread is."""

    say: Callable[[Part | Started], None]


_here = _Here()


def tell_with(say: Callable[[Part | Started], None]) -> None:
    """Let this thread tell its parent in this way."""
    _here.say = say


def tell(part: Part | Started) -> None:
    """Tell the parent."""
    _here.say(part)
