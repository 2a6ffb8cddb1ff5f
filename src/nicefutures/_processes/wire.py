"""What a worker and its parent say to each other: the kinds of message, and how an exception travels.

Knows no worker and no pool. Large buffers are `transport`'s, frames are those of `pipes`.
"""

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from enum import IntEnum
from typing import Any, Final, NamedTuple

from .transport.pickling import pickle_whole

# An exception of so many bytes at most goes for itself, so that something says what it was if it cannot be unpickled.
_MOST_BYTES: Final = 2**16


class ToWorker(IntEnum):
    """What a parent says.

    Attributes
    ----------
    TASK
        A call.
    FUNCTION
        A token, and what tasks mean by it from now on.
    FORGET
        A token that no task means any more.
    END
        There are no more tasks.
    """

    TASK = 1
    FUNCTION = 2
    FORGET = 3
    END = 4


class ToParent(IntEnum):
    """What a worker says.

    Attributes
    ----------
    ALIVE
        It runs our code, and has run nobody else's.
    READY
        A `WorkerReport`: it takes tasks from now on.
    FAILED
        A `StartError`: it takes none, and ends.
    NOTE
        Of anything else: a shortfall, what was logged, a question, `Spent`.
    BEGUN
        The task has been unpickled; said if its time is limited or a crash is not its end.
    PART
        What a call of a chunk has returned; others follow.
    REST
        From which call of a chunk on others are to make them.
    RESULT
        What the task has returned.
    PLAIN
        The same, if it is plain data: to unpickle it runs nobody's code.
    ERROR
        What the task has raised, a `SentError`.
    UNREADABLE
        Why the task cannot be unpickled, a `SentError`: no call has begun.
    """

    ALIVE = 1
    READY = 2
    FAILED = 3
    NOTE = 4
    BEGUN = 5
    PART = 6
    REST = 7
    RESULT = 8
    PLAIN = 9
    ERROR = 10
    UNREADABLE = 11


class WorkerReport(NamedTuple):
    """What only a worker itself knows.

    Attributes
    ----------
    blas_threads : int or None
        How many threads its BLAS libraries use; None if it has none.
    has_memory_limit : bool
        Whether its tasks are limited, as was asked for.
    """

    blas_threads: int | None
    has_memory_limit: bool


class StartError(NamedTuple):
    """Why a worker takes no tasks.

    Attributes
    ----------
    what : str
        What has failed: its initializer, or the import of the main module.
    error : Any
        A `SentError` until it is with the parent.
    """

    what: str
    error: Any


class Spent(NamedTuple):
    """What comes before the answer to a task that has left too little of its worker for the next one."""


class ParentGoneError(BaseException):
    """In a worker: nobody has the other end of the pipe."""


class SentError:
    """An exception on its way to the parent, where it becomes one again, or one that says what it was.

    Raises
    ------
    Exception
        What pickling it raises.
    """

    def __init__(self, error: BaseException) -> None:
        traceback: Any = error.__traceback__
        self._with_traceback = process._ExceptionWithTraceback(error, traceback)  # noqa: SLF001, as the stdlib's worker
        self._name = f"{type(error).__module__}.{type(error).__qualname__}"
        self._pickle = pickle_whole(self._with_traceback)

    def __reduce__(self) -> Any:
        if len(self._pickle) > _MOST_BYTES:  # as it is, with what is large in it
            return self._with_traceback.__reduce__()
        return _rebuild, (self._pickle, self._name, self._with_traceback.tb)


def sendable(error: BaseException) -> SentError:
    """Return how an exception goes to the parent, or one that says what it was if it cannot be pickled."""
    try:
        return SentError(error)
    except BaseException as reason:  # noqa: BLE001, whatever pickling it runs
        msg = f"{type(error).__name__}: {error} (and this cannot be pickled: {type(reason).__name__}: {reason})"
        return SentError(pickle.PicklingError(msg).with_traceback(error.__traceback__))


def _rebuild(pickled: bytes, name: str, traceback: Any) -> BaseException:
    try:
        error: BaseException = pickle.loads(pickled)  # noqa: S301, from ourselves
    except BaseException as reason:  # noqa: BLE001, whatever the user's class does
        error = BrokenProcessPool(
            f"The task raised {name}, which could not be unpickled here: {type(reason).__name__}: {reason}. "
            "Python rebuilds an exception by calling its class with Exception.args: accept these arguments, or define "
            "__reduce__."
        )
        error.__cause__ = process._RemoteTraceback(traceback)  # noqa: SLF001, as the stdlib's
    return error


class _Here(threading.local):
    """Of the worker that this thread is."""

    say: Callable[[ToParent, Any], None]


_here: Final = _Here()


def tell_with(say: Callable[[ToParent, Any], None]) -> None:
    """Let this thread tell its parent in this way."""
    _here.say = say


def teller() -> Callable[[ToParent, Any], None]:
    """Return what another thread can tell the parent of this worker with."""
    return _here.say


def tell(kind: ToParent, something: Any = None) -> None:
    """Tell the parent something during a task."""
    _here.say(kind, something)
