"""Checks of what the executors are given, where the stdlib's own come late or say little."""

import numbers
import operator
import re
from typing import Any, Final

from ._blas import ThreadCap
from ._system import backend

# More than any BLAS library was built for.
_MOST_THREADS: Final = 1024
# A worker cannot do much with less than this, whatever it imports.
_LEAST_MEMORY: Final = 16 * 2**20
# A letter alone is a power of 1024, as Docker, systemd, Slurm and the JVM have it; with "B" and with "iB" as the SI and
# the IEC have it.
_UNITS: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000 ** (power + 1) for power, prefix in enumerate("KMGT")},
    **{f"{prefix}{unit}": 1024 ** (power + 1) for power, prefix in enumerate("KMGT") for unit in ("", "I", "IB")},
}
_UNITS_HELP: Final = "M, Mi and MiB are 1024 * 1024 bytes, MB is 1000 * 1000, in any case, and so with K, G and T"
_MEMORY_HELP: Final = (
    'use bytes (an int), a text such as "2 GiB", "512m" or "1.5 GB", or a fraction of the memory such as 0.25 (a '
    f"float); {_UNITS_HELP}"
)
_SIZE_HELP: Final = f'use bytes (an int), a text such as "256 KiB" or "1 MB", or None to share nothing; {_UNITS_HELP}'


def check_max_workers(max_workers: Any) -> None:
    """Raise a TypeError that names the value if it is not a number, and a ValueError if it is not above 0."""
    try:
        is_right = max_workers is None or max_workers > 0
    except TypeError:
        msg = f"max_workers must be a positive integer or None, not {max_workers!r}"
        raise TypeError(msg) from None
    if not is_right:
        msg = f"max_workers must be greater than 0, not {max_workers!r}"
        raise ValueError(msg)


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


def check_max_tasks(max_tasks_per_child: Any, context: Any) -> None:
    """Raise for what is no number of tasks, and where workers are forked: that is for a process without threads."""
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


def check_latency_target(target: Any) -> float | None:
    """Return `target` as a float; raise for what is no time in s that anybody would wait for a window."""
    if target is None:
        return None
    # A float first: to ask the abstract class costs a pool that is made for a few tasks only.
    if type(target) is not float and (isinstance(target, bool) or not isinstance(target, numbers.Real)):
        msg = f"latency_target must be a number of seconds or None, not {target!r}"
        raise TypeError(msg)
    seconds = float(target)
    if not 0 < seconds <= 1:
        msg = f"latency_target must be above 0 and at most 1, in seconds, or None, not {target!r}"
        raise ValueError(msg)
    return seconds


def parse_blas_threads(value: Any, workers: int) -> ThreadCap | None:
    """Return the cap that `blas_threads` asks for.

    Parameters
    ----------
    value : "auto", int or None
        As the executors take it.
    workers : int
        Number of workers that share the CPUs.
    """
    if value is None:
        return None
    if isinstance(value, str) and value == "auto":
        return ThreadCap(max(1, int(backend.accounting.usable_cpus() / workers)), exact=False)
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        msg = f"blas_threads must be 'auto', a number of threads, or None, not {value!r}"
        raise (ValueError if isinstance(value, str) else TypeError)(msg)
    count = operator.index(value)
    if not 1 <= count <= _MOST_THREADS:
        msg = f"blas_threads must be between 1 and {_MOST_THREADS}, not {value!r}; None leaves the libraries alone"
        raise ValueError(msg)
    return ThreadCap(count, exact=True)


def parse_memory_limit(value: Any) -> int | None:
    """Return `memory_limit` in bytes.

    Parameters
    ----------
    value : int, str, float or None
        As the executor takes it.
    """
    if value is None:
        return None
    limit = _to_bytes(value)
    total = backend.memory.total()
    if limit > total:
        msg = (
            f"memory_limit={value!r} is more than all the memory that there is, {total:,} bytes: it would limit nothing"
        )
        raise ValueError(msg)
    if limit < _LEAST_MEMORY:
        msg = (
            f"memory_limit={value!r} is less than a worker uses for itself: it must be {_LEAST_MEMORY:,} bytes at least"
        )
        raise ValueError(msg)
    return limit


def _to_bytes(value: Any) -> int:
    if isinstance(value, str):
        return _text_to_bytes("memory_limit", value, _MEMORY_HELP)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"memory_limit must not be {value!r}: {_MEMORY_HELP}"
        raise TypeError(msg)
    if isinstance(value, numbers.Integral):
        return int(value)
    fraction = float(value)
    if not 0 < fraction <= 1:
        msg = f"memory_limit={value!r} is no fraction of the memory: {_MEMORY_HELP}"
        raise ValueError(msg)
    return int(fraction * backend.memory.total())


def _text_to_bytes(name: str, text: str, remedy: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    factor = match and _UNITS.get(match[2].upper())
    # "0.25" alone: of a byte, of a gigabyte, of the memory?
    if not match or not factor or ("." in match[1] and factor == 1):
        msg = f"{name}={text!r} is no amount of memory: {remedy}"
        raise ValueError(msg)
    return round(float(match[1]) * int(factor))


def check_chunksize(chunksize: Any) -> Any:
    """Return `chunksize`; raise a ValueError for a text other than "auto"; the stdlib checks numbers."""
    if isinstance(chunksize, str) and chunksize != "auto":
        msg = f"chunksize must be a positive integer or 'auto', not {chunksize!r}"
        raise ValueError(msg)
    return chunksize


def parse_share_over(value: Any) -> int | None:
    """Return `share_over` in bytes.

    Parameters
    ----------
    value : int, str or None
        As the executor takes it.
    """
    if value is None:
        return None
    if isinstance(value, str):
        size = _text_to_bytes("share_over", value, _SIZE_HELP)
    elif isinstance(value, bool) or not hasattr(type(value), "__index__"):
        msg = f"share_over must not be {value!r}: {_SIZE_HELP}"
        raise TypeError(msg)
    else:
        size = operator.index(value)
    if size < 1:
        msg = f"share_over must be 1 byte at least, not {value!r}: {_SIZE_HELP}"
        raise ValueError(msg)
    return size


def check_flag(name: str, value: object) -> None:
    """Raise a TypeError for what is neither true nor false."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)


def check_isolate(isolate: object) -> None:
    """Raise for what is no way to isolate workers."""
    if isolate is None or isolate == "auto":
        return
    msg = f"isolate must be 'auto' or None, not {isolate!r}"
    raise (ValueError if isinstance(isolate, str) else TypeError)(msg)


def check_on_crash(on_crash: object) -> None:
    """Raise for what says nothing of tasks whose worker dies."""
    if on_crash not in ("break", "fail", "retry"):
        msg = f"on_crash must be 'break', 'fail' or 'retry', not {on_crash!r}"
        raise ValueError(msg)


def check_task_timeout(timeout: Any) -> float | None:
    """Return a number of seconds; raise for what is none, and for none that a task could take."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, numbers.Real):
        msg = f"task_timeout must be a number of seconds or None, not {timeout!r}"
        raise TypeError(msg)
    seconds = float(timeout)
    if not seconds > 0:
        msg = f"task_timeout must be positive, in seconds, or None: no limit; not {timeout!r}"
        raise ValueError(msg)
    return seconds
