"""The calls of a chunk, in a worker process."""

import time
from collections.abc import Callable
from typing import Any, Final

from .._map.automatic import Done
from .errors import sendable
from .message import Part
from .telling import tell
from .transport.pickling import pickle_whole

# Seconds after which a task comes back with what is done, and the rest is sent again.
_LONGEST_S: Final = 0.04


def run_chunk(
    fn: Callable[..., Any], calls: list[tuple[Any, ...]], *, longest_s: float = _LONGEST_S, tells: bool = False
) -> Done:
    """Make the calls until the time is over, the first in any case.

    Parameters
    ----------
    fn, calls
        What to call, with what.
    longest_s : float
        Seconds until that time is over.
    tells : bool
        Whether each result goes to the parent as soon as it is there: it is not lost with those that follow.
    """
    results: list[Any] = []
    made = 0
    slowest = 0.0
    try:
        began = before = time.perf_counter()
        for args in calls:
            result = fn(*args)
            if tells:
                tell(Part(result))
            else:
                results.append(result)
                made += 1
            now = time.perf_counter()
            slowest = max(slowest, now - before)
            if now - began > longest_s:
                break
            before = now
        return Done(results, None, made, slowest)
    except BaseException as error:  # noqa: BLE001, as the stdlib's worker; also of a signal's handler
        return Done(results, sendable(error), made + 1, slowest)


def rescue(value: Any, failure: BaseException) -> Done | None:
    """Return what can be sent of a chunk whose results cannot be pickled, with what that raises; None if it is none."""
    if not isinstance(value, Done):
        return None
    for count, result in enumerate(value.results):
        error = sending_error(result)
        if error is not None:
            return value._replace(results=value.results[:count], error=sendable(error))
    return value._replace(results=[], error=sendable(failure))  # each for itself can be pickled


def sending_error(obj: Any) -> BaseException | None:
    """Return what pickling an object raises, or None."""
    try:
        pickle_whole(obj)
    except BaseException as error:  # noqa: BLE001, as the stdlib's worker
        return error
    return None
