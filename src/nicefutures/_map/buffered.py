"""``map`` with a buffer of limited size, which Python 3.14 has, and with exceptions among its results."""

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

MAP_NOTE: Final = """
        `buffersize` works on every Python version, as in Python 3.14: it is the number of tasks that are submitted
        ahead of the next result. Inputs are read as you read results, so neither must fit into the memory. None, the
        default, submits all tasks at once.

        With ``return_exceptions=True`` the exception of a call is an item of the results, as in :func:`asyncio.gather`,
        and the other results follow. The TimeoutError of `timeout` is still raised.
        """


def map_buffered(
    executor: Executor,
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    buffersize: int | None,
    return_exceptions: bool = False,
) -> Iterator[_T]:
    """Return the results of calls in the order of their arguments, with so many calls at most submitted ahead.

    Parameters
    ----------
    executor, fn, iterables, timeout
        As for :meth:`concurrent.futures.Executor.map`.
    buffersize : int or None
        How many calls may be submitted whose results have not been yielded; None: all are, at once.
    return_exceptions : bool, optional
        Whether what a call raises is a result.

    Raises
    ------
    TypeError
        If `buffersize` is no integer.
    ValueError
        If it is not positive.
    """
    check_buffersize(buffersize)
    deadline = None if timeout is None else time.monotonic() + timeout
    arguments = zip(*iterables, strict=False)
    pending = deque(executor.submit(fn, *args) for args in itertools.islice(arguments, buffersize))
    # A generator of its own, so that calls are submitted now; the executor may be forgotten meanwhile.
    return _results(weakref.ref(executor), fn, arguments, pending, deadline, return_exceptions)


def check_buffersize(buffersize: Any) -> None:
    """Raise for what is neither None nor a positive integer."""
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
    arguments: Iterator[tuple[Any, ...]],
    pending: deque[Future[_T]],
    deadline: float | None,
    return_exceptions: bool,
) -> Iterator[_T]:
    take = _outcome_or_cancel if return_exceptions else _result_or_cancel
    try:
        while pending:
            submitter = executor()
            if submitter is not None:
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
            return future.result(None if deadline is None else deadline - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # an exception's traceback has this frame, and the future the exception


def _outcome_or_cancel(future: Future[Any], deadline: float | None) -> Any:
    try:
        try:
            error = future.exception(None if deadline is None else deadline - time.monotonic())
        finally:
            future.cancel()
        return future.result() if error is None else error
    except CancelledError as error:
        return error
    finally:
        del future
