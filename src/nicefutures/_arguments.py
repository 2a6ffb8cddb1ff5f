"""Checks the arguments of the executors where the stdlib's checks come late or say little."""

import math
import numbers
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from ._blas import ThreadCap
from ._levels import ProcessPriority, parse_priority
from ._system import backend

# More than any BLAS library was built for.
_MOST_THREADS: Final = 1024
# With less memory than this, a worker cannot do much, whatever it imports.
_LEAST_MEMORY: Final = 16 * 2**20
# A limit up to this number was most likely meant to be in GiB.
_MOST_GIGABYTES: Final = 1024
# A letter alone is a power of 1024, as in Docker, systemd, Slurm and the JVM. "B" and "iB" after it have the meaning of
# the SI and the IEC.
_UNITS: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000 ** (power + 1) for power, prefix in enumerate("KMGT")},
    **{f"{prefix}{unit}": 1024 ** (power + 1) for power, prefix in enumerate("KMGT") for unit in ("", "I", "IB")},
}
_UNITS_HELP: Final = (
    "M, Mi and MiB mean 1024 * 1024 bytes, MB means 1000 * 1000 (likewise K, G and T, in upper or lower case)"
)
_MEMORY_HELP: Final = (
    'use a number of bytes, a text such as "2 GiB", "512m" or "1.5 GB", or a fraction of the memory such as 0.25; '
    f"{_UNITS_HELP}"
)
# The names of conditions in `pause_when`.
CONDITIONS: Final = ("user_active", "on_battery", "cpu_busy", "memory_low")
Condition = str | Callable[[], object]
_CONDITIONS_HELP: Final = f"use {', '.join(map(repr, CONDITIONS))}, or functions without arguments that return a bool"
_CO_ASYNC: Final = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR of `inspect`, which is a long import
_SIZE_HELP: Final = (
    f'use a number of bytes, a text such as "256 KiB" or "1 MB", or None to share nothing; {_UNITS_HELP}'
)


def check_max_workers(max_workers: Any) -> int | None:
    """Return `max_workers` as an int or None; raise a TypeError or ValueError that names the value."""
    if max_workers is None:
        return None
    try:
        count = operator.index(max_workers)
    except TypeError:
        msg = f"max_workers must be a positive integer or None, not {max_workers!r}"
        raise TypeError(msg) from None
    if count <= 0:
        msg = f"max_workers must be greater than 0, not {max_workers!r}"
        raise ValueError(msg)
    return count


def check_initializer(initializer: object, initargs: Any) -> tuple[Any, ...]:
    """Return `initargs` as a tuple; raise a TypeError for values that would break every worker later."""
    if initializer is not None and not callable(initializer):
        msg = f"initializer must be a callable or None, not {initializer!r}"
        raise TypeError(msg)
    if initializer is None:
        return ()  # as in the stdlib, which does not look at them
    try:
        return tuple(initargs)
    except TypeError:
        msg = f"initargs must be a tuple of the initializer's arguments, not {initargs!r}"
        raise TypeError(msg) from None


def parse_context(mp_context: Any, *, replaces: bool) -> Any:
    """Return the context for the name of a start method or for None; return a context unchanged.

    A pool that `replaces` workers while it runs does not fork them by default, because it has threads. Raise a
    ValueError if this system has no such start method.
    """
    import multiprocessing  # not needed for a thread pool

    methods = multiprocessing.get_all_start_methods()
    if mp_context is None:
        default = multiprocessing.get_start_method(allow_none=True) or methods[0]
        if replaces and default == "fork" and "forkserver" in methods:
            return multiprocessing.get_context("forkserver")  # Python 3.14's default
        return multiprocessing.get_context()
    if not isinstance(mp_context, str):
        return mp_context
    if mp_context not in methods:
        allowed = ", ".join(map(repr, methods))
        msg = f"mp_context must be one of {allowed}, a context of multiprocessing, or None, not {mp_context!r}"
        raise ValueError(msg)
    return multiprocessing.get_context(mp_context)


def check_max_tasks(max_tasks_per_child: Any, context: Any) -> None:
    """Raise if it is not a number of tasks, or if workers are forked: a fork needs a process without threads."""
    if max_tasks_per_child is None:
        return
    if not isinstance(max_tasks_per_child, int):
        msg = f"max_tasks_per_child must be an integer or None, not {max_tasks_per_child!r}"
        raise TypeError(msg)
    if max_tasks_per_child < 1:
        msg = f"max_tasks_per_child must be >= 1, not {max_tasks_per_child!r}"
        raise ValueError(msg)
    if context.get_start_method() == "fork":
        msg = "max_tasks_per_child is incompatible with the start method 'fork': use mp_context=get_context('spawn')"
        raise ValueError(msg)


def _to_seconds(name: str, value: Any, otherwise: str = "") -> float:
    # A float first: the test of the abstract class is slow for a pool that is made for a few tasks only.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        msg = f"{name} must be a number of seconds{otherwise}, not {value!r}"
        raise TypeError(msg)
    try:
        return float(value)
    except OverflowError:  # an int or a fraction
        return -math.inf if value < 0 else math.inf


def check_latency_target(target: Any) -> float | None:
    """Return `target` as a float; raise if it is not a number of seconds above 0 and at most 1."""
    if target is None:
        return None
    seconds = _to_seconds("latency_target", target, " or None")
    if not 0 < seconds <= 1:
        msg = f"latency_target must be above 0 and at most 1, in seconds, or None, not {target!r}"
        raise ValueError(msg)
    return seconds


def parse_blas_threads(value: Any, workers: int) -> ThreadCap | None:
    """Return the cap for `blas_threads`, for this number of workers, which share the CPUs."""
    if value is None:
        return None
    if isinstance(value, str) and value == "auto":
        return ThreadCap(max(1, int(backend.accounting.usable_cpus() / workers)), exact=False)
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        msg = f"blas_threads must be 'auto', a number of threads, or None, not {value!r}"
        raise (ValueError if isinstance(value, str) else TypeError)(msg)
    count = operator.index(value)
    if not 1 <= count <= _MOST_THREADS:
        msg = f"blas_threads must be between 1 and {_MOST_THREADS}, not {value!r}; None does not limit the libraries"
        raise ValueError(msg)
    return ThreadCap(count, exact=True)


def parse_memory_limit(value: Any, name: str = "memory_limit") -> int | None:
    """Return `memory_limit` in bytes; messages call the argument by this name."""
    if value is None:
        return None
    limit = _to_bytes(name, value)
    total = backend.memory.total()
    if limit > total:
        msg = f"{name}={value!r} is more than the memory of this machine ({total / 2**30:.1f} GiB)"
        raise ValueError(msg)
    if limit < _LEAST_MEMORY:
        msg = f"{name}={value!r} is too small: it must be at least {_LEAST_MEMORY // 2**20} MiB"
        if not isinstance(value, str) and 1 < value <= _MOST_GIGABYTES:
            msg += f'. Did you mean "{value} GiB"? A number is in bytes'
        raise ValueError(msg)
    return limit


def _to_bytes(name: str, value: Any) -> int:
    number: Any = value
    if isinstance(value, str):
        return _text_to_bytes(name, value, _MEMORY_HELP)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must not be {value!r}: {_MEMORY_HELP}"
        raise TypeError(msg)
    if not 0 < number < math.inf:
        msg = f"{name}={value!r} is not a valid amount of memory: {_MEMORY_HELP}"
        raise ValueError(msg)
    if number <= 1 and not isinstance(value, numbers.Integral):
        return int(number * backend.memory.total())
    return int(number)


def _text_to_bytes(name: str, text: str, remedy: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    factor = match and _UNITS.get(match[2].upper())
    # "0.25" alone may mean 0.25 bytes, gigabytes, or a quarter of the memory.
    if not match or not factor or ("." in match[1] and factor == 1):
        msg = f"{name}={text!r} is not a valid amount of memory: {remedy}"
        raise ValueError(msg)
    return round(float(match[1]) * int(factor))


def check_chunksize(chunksize: Any) -> int | None:
    """Return `chunksize`, or None for "auto"; raise if it is not a number of calls."""
    if isinstance(chunksize, str) and chunksize == "auto":
        return None
    if isinstance(chunksize, str):
        msg = f"chunksize must be a positive integer or 'auto', not {chunksize!r}"
        raise ValueError(msg)  # noqa: TRY004, a string is allowed, but not this one
    if chunksize < 1:
        msg = "chunksize must be >= 1."  # the stdlib's text
        raise ValueError(msg)
    return operator.index(chunksize)


def parse_share_min_size(value: Any) -> int | None:
    """Return `share_min_size` in bytes."""
    if value is None:
        return None
    if isinstance(value, str):
        size = _text_to_bytes("share_min_size", value, _SIZE_HELP)
    elif isinstance(value, bool) or not hasattr(type(value), "__index__"):
        msg = f"share_min_size must not be {value!r}: {_SIZE_HELP}"
        raise TypeError(msg)
    else:
        size = operator.index(value)
    if size < 1:
        msg = f"share_min_size must be at least 1 byte, not {value!r}: {_SIZE_HELP}"
        raise ValueError(msg)
    return size


def check_flag(name: str, value: object) -> None:
    """Raise a TypeError if a value is not a bool."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)


def check_on_crash(on_crash: object) -> None:
    """Raise a ValueError if `on_crash` is unknown."""
    if on_crash not in ("break", "fail", "retry"):
        msg = f"on_crash must be 'break', 'fail' or 'retry', not {on_crash!r}"
        raise ValueError(msg)


def check_task_timeout(timeout: Any) -> float | None:
    """Return `timeout` as a float; raise if it is not a positive number of seconds."""
    if timeout is None:
        return None
    seconds = _to_seconds("task_timeout", timeout, " or None")
    if not seconds > 0:
        msg = f"task_timeout must be a positive number of seconds, or None for no limit, not {timeout!r}"
        raise ValueError(msg)
    return seconds


def parse_low_priority(priority: ProcessPriority | str) -> ProcessPriority:
    """Return a priority; raise if it is above the normal one."""
    level = parse_priority(ProcessPriority, priority)
    if level > ProcessPriority.NORMAL:
        msg = (
            f"priority must be 'idle', 'below_normal' or 'normal', not {priority!r}: this executor only lowers. "
            "For a higher one use ProcessPoolExecutor(initializer=nicefutures.set_process_priority, "
            f"initargs=({level.name.lower()!r},))"
        )
        raise ValueError(msg)
    return level


def parse_pause_when(value: Any) -> tuple[Condition, ...]:
    """Return the conditions, each once: names in lower case, and functions. A single condition needs no list."""
    items = (value,) if isinstance(value, str) or callable(value) else value
    if not isinstance(items, Iterable) or isinstance(items, (bytes, bytearray)):
        msg = f"pause_when must be a list of conditions, not {value!r}: {_CONDITIONS_HELP}"
        raise TypeError(msg)
    found: list[Condition] = []
    for item in items:
        condition = item.lower() if isinstance(item, str) else item
        if isinstance(condition, str) and condition not in CONDITIONS:
            msg = f"pause_when has an unknown condition {item!r}: {_CONDITIONS_HELP}"
            raise ValueError(msg)
        if not isinstance(condition, str) and not callable(condition):
            msg = f"pause_when must not contain {item!r}: {_CONDITIONS_HELP}"
            raise TypeError(msg)
        call = getattr(type(condition), "__call__", None)  # noqa: B004, of an object that may be called
        flags = (getattr(getattr(each, "__code__", None), "co_flags", 0) for each in (condition, call))
        if any(each & _CO_ASYNC for each in flags):
            msg = (
                f"pause_when must not contain the coroutine function {item!r}, which nothing awaits: {_CONDITIONS_HELP}"
            )
            raise TypeError(msg)
        if condition not in found:
            found.append(condition)
    return tuple(found)


def check_idle_after(value: Any) -> float:
    """Return `value` as a float; raise if it is not a positive, finite number of seconds."""
    seconds = _to_seconds("idle_after", value)
    if not 0 < seconds < math.inf:
        msg = f"idle_after must be a positive number of seconds, not {value!r}"
        raise ValueError(msg)
    return seconds
