"""Checks of what the executors are given, where the stdlib's own come late or say little."""

import numbers
from typing import Any


def check_max_workers(max_workers: Any) -> None:
    """Raise a TypeError that names the value if it is not a number; its range is checked by the stdlib."""
    try:
        _ = max_workers is None or max_workers > 0
    except TypeError:
        msg = f"max_workers must be a positive integer or None, not {max_workers!r}"
        raise TypeError(msg) from None


def check_initializer(initializer: object, initargs: Any) -> tuple[Any, ...]:
    """Return `initargs` as a tuple; raise a TypeError for what would break every worker later."""
    if initializer is not None and not callable(initializer):
        msg = f"initializer must be a callable or None, not {initializer!r}"
        raise TypeError(msg)
    try:
        return tuple(initargs)
    except TypeError:
        msg = f"initargs must be a tuple of the initializer's arguments, not {initargs!r}"
        raise TypeError(msg) from None


def check_context(mp_context: object) -> None:
    """Raise a TypeError for the name of a start method, which others take and the stdlib does not."""
    if isinstance(mp_context, str):
        msg = f"mp_context must be a context, not {mp_context!r}: use multiprocessing.get_context({mp_context!r})"
        raise TypeError(msg)


def check_latency_target(target: Any) -> float | None:
    """Return `target` as a float; raise for what is no time in s that anybody would wait for a window."""
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, numbers.Real):
        msg = f"latency_target must be a number of seconds or None, not {target!r}"
        raise TypeError(msg)
    seconds = float(target)
    if not 0 < seconds <= 1:
        msg = f"latency_target must be above 0 and at most 1, in seconds, or None, not {target!r}"
        raise ValueError(msg)
    return seconds
