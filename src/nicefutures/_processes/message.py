"""What travels between a worker and its parent, besides tasks and results; their large buffers are `transport`'s."""

from typing import Any, Final, NamedTuple

_STOP: Final = ord(".")  # of each pickle the last (pickletools)
_ASIDE: Final = b"a"
_PART: Final = b"p"


def aside(pickled: bytes, *, is_part: bool) -> bytes:
    """Return what to send of something that is no answer to a task: `pickle` does not look behind a pickle's end."""
    return pickled + (_PART if is_part else _ASIDE)


def is_answer(data: bytes) -> bool:
    """Return whether something is an answer, whether it can be unpickled or not."""
    return data[-1] == _STOP


def is_part(data: bytes) -> bool:
    """Return whether it is a part of one."""
    return data.endswith(_PART)


class WorkerReport(NamedTuple):
    """What only a worker itself knows: it says so when it is ready for tasks.

    Attributes
    ----------
    blas_threads : int or None
        How many threads its BLAS libraries use; None if it has none.
    has_memory_limit : bool
        Whether its tasks are limited, as was asked for.
    """

    blas_threads: int | None
    has_memory_limit: bool


class Question(NamedTuple):
    """What a worker asks its parent for.

    Attributes
    ----------
    what : Any
        What it wants to have.
    reply_to : Any
        Where it waits for that.
    """

    what: Any
    reply_to: Any


class Failure(NamedTuple):
    """What comes in the place of a result.

    Attributes
    ----------
    error : Any
        With the worker's traceback as its cause, as the stdlib's has it; a `SentError` until it is with the parent.
    is_initializers : bool
        Whether it is that of the initializer, so that the worker takes no task.
    """

    error: Any
    is_initializers: bool = False


class Started(NamedTuple):
    """What comes when a task has been unpickled, if its time is limited or a crash is not its end."""


class Spent(NamedTuple):
    """What comes before the answer to a task that has left too little of its worker for the next one."""


class Part(NamedTuple):
    """What a call of a chunk has returned; others follow."""

    result: Any
