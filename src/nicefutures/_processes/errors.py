"""How an exception goes from a worker to its parent."""

import pickle
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from .transport.pickling import pickle_whole

# An exception of so many bytes at most goes for itself, so that something says what it was if it cannot be unpickled.
_MOST_BYTES: Final = 2**16


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
