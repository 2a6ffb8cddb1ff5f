"""``map`` with a buffer of limited size, as in Python 3.14, and with exceptions among its results."""

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, TypeVar

from .._originals import now

_T = TypeVar("_T")


def map_buffered(
    executor: Executor,
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    buffersize: int | None,
    return_exceptions: bool = False,
) -> tuple[Iterator[_T], Callable[[], object]]:
    """Return the results of calls in the order of their arguments, with at most `buffersize` calls submitted ahead.

    Also return a function that cancels the calls that have not begun. Without a `buffersize`, all calls are submitted
    at once. With `return_exceptions`, the exception of a call is a result.
    """
    deadline = None if timeout is None else now() + timeout
    # A generator: unlike `zip`, it does not ask the iterables again after their end.
    arguments = (args for args in zip(*iterables, strict=False))
    pending = deque(executor.submit(fn, *args) for args in itertools.islice(arguments, buffersize))
    # A separate generator, so that calls are submitted now; it does not keep the executor alive.
    rest = None if buffersize is None else arguments
    results = _results(weakref.ref(executor), fn, rest, pending, deadline, return_exceptions)
    return results, lambda: [future.cancel() for future in list(pending)]


def check_buffersize(buffersize: Any) -> None:
    """Raise unless `buffersize` is None or a positive integer."""
    if buffersize is None:
        return
    if not isinstance(buffersize, int):
        msg = f"buffersize must be an integer or None, not {buffersize!r}"
        raise TypeError(msg)
    if buffersize < 1:
        msg = f"buffersize must be None or > 0, not {buffersize!r}"
        raise ValueError(msg)


def _results(
    executor: weakref.ref[Executor],
    fn: Callable[..., _T],
    arguments: Iterator[tuple[Any, ...]] | None,
    pending: deque[Future[_T]],
    deadline: float | None,
    return_exceptions: bool,
) -> Iterator[_T]:
    take = _outcome_or_cancel if return_exceptions else _result_or_cancel
    try:
        while pending:
            if arguments is not None and (submitter := executor()) is not None:
                pending.extend(submitter.submit(fn, *args) for args in itertools.islice(arguments, 1))
                del submitter
            # No reference to a result is kept while the generator waits for its caller.
            yield take(pending.popleft(), deadline)
    finally:
        for future in pending:
            future.cancel()


def _result_or_cancel(future: Future[_T], deadline: float | None) -> _T:
    try:
        try:
            return future.result(None if deadline is None else deadline - now())
        finally:
            future.cancel()
    finally:
        del future  # the future has the exception, whose traceback has this frame


def _outcome_or_cancel(future: Future[Any], deadline: float | None) -> Any:
    try:
        try:
            error = future.exception(None if deadline is None else deadline - now())
        finally:
            future.cancel()
        return future.result() if error is None else error
    except CancelledError as error:
        return error
    finally:
        del future
