"""The messages between a worker and its parent: their kinds, and how an exception is sent.

This module does not use workers or pools. `transport` carries large buffers, and `pipes` sends frames.
"""

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from enum import IntEnum
from typing import Any, Final, NamedTuple

from .transport.pickling import pickle_whole


class ToWorker(IntEnum):
    """Messages of a parent."""

    TASK = 1  # a call
    FUNCTION = 2  # a token, and the pickle of the function that it stands for from now on
    FORGET = 3  # a token that no task uses any more
    END = 4  # there are no more tasks
    HELD = 5  # the task may enter its `no_pause` block, and does not stand still from now on
    LEVEL = 6  # the number of the worker's new priority


class ToParent(IntEnum):
    """Messages of a worker."""

    ALIVE = 1  # it runs our code, and has run no code of the user so far
    READY = 2  # a `WorkerReport`: it takes tasks from now on
    FAILED = 3  # a `StartError`: it takes none, and ends
    NOTE = 4  # anything else: a shortfall, a log record, a warning, a question, `Spent`, `Hold`
    BEGUN = 5  # the task has been unpickled; sent if tasks have a time limit, or are tried again after a crash
    PART = 6  # results of a chunk, which goes on, as in the list of its `Done`
    REST = 7  # the index of the first call of a chunk that other workers must make
    RESULT = 8  # the result of the task
    PLAIN = 9  # the same, if it is plain data: unpickling it runs no code of the user
    ERROR = 10  # the exception of the task, a `SentError`
    UNREADABLE = 11  # the error of unpickling the task, a `SentError`: no call has begun


class WorkerReport(NamedTuple):
    """Facts that only a worker knows: how many threads its BLAS libraries use, and whether its memory is limited."""

    blas_threads: int | None
    has_memory_limit: bool


class StartError(NamedTuple):
    """Why a worker takes no tasks: its initializer, or the import of the main module, has failed with an error."""

    what: str
    error: Any  # a `SentError` until the parent unpickles it


class Spent(NamedTuple):
    """Sent before an answer, if the task has left its worker with too little memory for another task."""


class Hold(NamedTuple):
    """Sent by a task before it enters a `no_pause` block, and at the end of the block."""

    begins: bool


class ParentGoneError(BaseException):
    """In a worker: no process has the other end of the pipe any more."""


class UnreadableError(Exception):
    """In a worker: no call of the task has begun, because `reason` was raised when the first one was unpickled."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


class SentError:
    """An exception on its way to the parent, which unpickles it, or else makes a BrokenProcessPool that names it.

    The exception is pickled separately, so that only it is lost if it cannot be unpickled.
    """

    def __init__(self, error: BaseException) -> None:
        traceback: Any = error.__traceback__
        self._with_traceback = process._ExceptionWithTraceback(error, traceback)  # noqa: SLF001, as the stdlib's worker
        self._name = f"{type(error).__module__}.{type(error).__qualname__}"
        self._pickle = pickle_whole(self._with_traceback)

    def __reduce__(self) -> Any:
        return _rebuild, (self._pickle, self._name, self._with_traceback.tb)


def sendable(error: BaseException) -> SentError:
    """Return a `SentError` of an exception, or of a PicklingError that names it if it cannot be pickled."""
    traceback = error.__traceback__  # `SentError` removes it
    try:
        return SentError(error)
    except BaseException as reason:  # noqa: BLE001, pickling may raise anything
        msg = f"{type(error).__name__}: {error} (and this cannot be pickled: {type(reason).__name__}: {reason})"
        return SentError(pickle.PicklingError(msg).with_traceback(traceback))


def _rebuild(pickled: bytes, name: str, traceback: Any) -> BaseException:
    try:
        error: BaseException = pickle.loads(pickled)  # noqa: S301, from ourselves
    except BaseException as reason:  # noqa: BLE001, the user's class may raise anything
        error = BrokenProcessPool(
            f"The task raised {name}, which could not be unpickled here: {type(reason).__name__}: {reason}. "
            "Python rebuilds an exception by calling its class with Exception.args: accept these arguments, or define "
            "__reduce__."
        )
        error.__cause__ = process._RemoteTraceback(traceback)  # noqa: SLF001, as the stdlib's
    return error


class _Here(threading.local):
    """State of the worker that runs in this thread."""

    say: Callable[[ToParent, Any], None]  # sends a message to the parent
    load: Callable[[bytes], Any]  # unpickles data from the parent
    dump: Callable[[Any], tuple[bytes, bool]]  # pickles a result; also returns whether segments belong to it


here: Final = _Here()
