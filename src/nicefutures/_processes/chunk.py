"""The calls of a chunk of automatic size, in a worker process, and how they come back."""

import pickle
import time
from collections.abc import Callable
from concurrent.futures import process
from typing import Any, Final

from .._map.automatic import Done
from .transport.pickling import pickle_whole
from .transport.worker import Result

# Seconds after which a task comes back with what is done, and the rest is sent again.
_LONGEST_S: Final = 0.04


class _Sent(Result):
    """How that comes back: if something in it cannot be pickled, up to there, and with the error that this raises."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        try:
            return super().__reduce__()
        except BaseException as error:  # noqa: BLE001, as the stdlib's worker
            self._value = _up_to_failure(self._value, error)
            return super().__reduce__()


def _up_to_failure(done: Done, failure: BaseException) -> Done:
    for count, each in enumerate((*done.results, done.error)):
        error = sending_error(each)
        if error is not None:
            return done._replace(results=done.results[:count], error=_to_send(error))
    return done._replace(results=[], error=_to_send(failure))  # each for itself can be pickled


def sending_error(obj: Any) -> BaseException | None:
    """Return what pickling an object raises, or None."""
    try:
        pickle_whole(obj)
    except BaseException as error:  # noqa: BLE001, as the stdlib's worker
        return error
    return None


def _to_send(error: BaseException) -> Any:
    """Return what can be sent of what pickling has raised."""
    sent = _with_traceback(error)
    return sent if sending_error(sent) is None else pickle.PicklingError(f"{type(error).__name__}: {error}")


def _with_traceback(error: BaseException) -> Any:
    """Return what the stdlib's worker sends of an error, with the traceback as a text."""
    traceback: Any = error.__traceback__
    return process._ExceptionWithTraceback(error, traceback)  # noqa: SLF001


def run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> _Sent:
    """Make the calls until the time is over, the first in any case."""
    results: list[Any] = []
    slowest = 0.0
    try:
        began = before = time.perf_counter()
        for args in calls:
            results.append(fn(*args))
            now = time.perf_counter()
            slowest = max(slowest, now - before)
            if now - began > _LONGEST_S:
                break
            before = now
        return _Sent(Done(results, None, len(results), slowest))
    except BaseException as error:  # noqa: BLE001, as the stdlib's worker; also of a signal's handler
        return _Sent(Done(results, _with_traceback(error), len(results) + 1, slowest))
