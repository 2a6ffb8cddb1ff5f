"""Finds the tasks of threads on their stacks."""

import concurrent.futures.thread
import contextlib
import functools
import importlib
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

# Private names of concurrent.futures, the same from Python 3.11 to 3.15. A worker's stack begins with the second one;
# during a task, the first one is on the stack.
_RUN: Final = concurrent.futures.thread._WorkItem.run.__code__  # noqa: SLF001
_WORKER: Final = concurrent.futures.thread._worker.__code__  # noqa: SLF001

# Libraries whose functions run other libraries' functions: the name of the inner function is the useful one.
_CARRIERS: Final = frozenset(
    {"asyncio", "concurrent", "contextvars", "dask", "distributed", "functools", "nicefutures"}
)


def _find_list_interpreters() -> Callable[[], list[Any]] | None:
    """Return the function that lists all interpreters; None up to Python 3.11, where they share the GIL."""
    for name in ("_interpreters", "_xxsubinterpreters") if sys.version_info >= (3, 12) else ():
        with contextlib.suppress(ImportError):
            list_all: Callable[[], list[Any]] = importlib.import_module(name).list_all
            return list_all
    return None


# Found now, because threads of a pool should import nothing.
_list_interpreters: Final = _find_list_interpreters()

Frames = dict[int, types.FrameType]
# The position of a thread in its code: its innermost frame, and the instruction there.
Place = tuple[int, int]


def current_frames() -> Frames:
    """Return the innermost frame of each thread; nothing if there are other interpreters.

    Frames keep their objects alive, so release them soon. Python looks at the threads of all interpreters, and threads
    with a GIL of their own run meanwhile: 3.13.0 crashes (``Python/pystate.c``, ``_PyThread_CurrentFrames``).
    """
    if _list_interpreters is not None and len(_list_interpreters()) > 1:
        return {}
    return sys._current_frames()  # noqa: SLF001, documented, for this kind of purpose


def place_of(frame: types.FrameType | None) -> Place | None:
    """Return the position of a thread in its code, from its innermost frame."""
    return None if frame is None else (id(frame), frame.f_lasti)


def count_running(idents: Iterable[int | None]) -> int:
    """Return how many of these workers have a task."""
    frames = current_frames()
    try:
        return sum(is_in_task(frames.get(ident)) for ident in idents if ident is not None)
    finally:
        frames.clear()  # this frame is one of them, and would keep itself and its callers alive


def is_in_task(frame: types.FrameType | None) -> bool:
    """Return whether a worker has a task, from its innermost frame."""
    while frame is not None and frame.f_code is not _WORKER:
        if frame.f_code is _RUN:
            return True
        frame = frame.f_back
    return False


def name_task(frame: types.FrameType | None) -> str:
    """Return the qualified name of the function that a worker runs for its user, from its innermost frame."""
    try:
        return _name_task(frame)
    except Exception:  # noqa: BLE001, a user's callable may run any code when it is inspected
        return "unknown"


def _name_task(frame: types.FrameType | None) -> str:
    above = []  # the frames of the task, the outermost last
    while frame is not None and frame.f_code is not _RUN:
        above.append(frame)
        frame = frame.f_back
    if frame is None:
        return "unknown"
    item = frame.f_locals.get("self")
    function = None if item is None else unwrap(*_function_of(item))
    if function is not None and not _is_carrier(function):
        return name_of(function)
    for each in reversed(above):
        if not _is_carrier_module(each.f_globals.get("__name__", "")):
            return f"{each.f_globals['__name__']}.{each.f_code.co_qualname}"
    return "unknown" if function is None else name_of(function)


def _function_of(item: Any) -> tuple[Any, tuple[Any, ...]]:
    # Up to 3.13 the item has these as attributes, from 3.14 on as one tuple.
    return (item.fn, item.args) if hasattr(item, "fn") else item.task[:2]


def unwrap(function: Any, args: tuple[Any, ...] = ()) -> Any:
    """Return the user's function inside a submitted callable.

    The callable may be a partial, `contextvars.Context.run` (`asyncio.to_thread` submits that), a function made with
    `functools.wraps`, or a local function that takes any arguments and has one callable from outside. Libraries that
    trace tasks (OpenTelemetry, Sentry) wrap them in the last way.
    """
    for _ in range(100):  # it may wrap itself
        if isinstance(function, functools.partial):
            function, args = function.func, (*function.args, *args)
        elif _is_context_run(function):
            function, args = args[0], args[1:]
        elif (inner := getattr(function, "__wrapped__", None)) is not None or (
            inner := _passed_on(function)
        ) is not None:
            function = inner
        else:
            break
    return function


def _is_context_run(function: Any) -> bool:
    return (
        isinstance(function, types.BuiltinMethodType)
        and type(function.__self__).__name__ == "Context"
        and (function.__name__ == "run")
    )


def _passed_on(function: Any) -> Any:
    """Return the only callable in the closure of a local function of ``*args`` and ``**kwargs``, or None."""
    if not isinstance(function, types.FunctionType) or function.__closure__ is None:
        return None
    code = function.__code__
    takes_all = code.co_flags & 0x04 and code.co_flags & 0x08 and not code.co_argcount
    inner = [cell.cell_contents for cell in function.__closure__] if takes_all else []
    callables = [each for each in inner if callable(each)]
    return callables[0] if len(callables) == 1 else None


def _is_carrier(function: Any) -> bool:
    return _is_carrier_module(getattr(function, "__module__", None) or "")


def _is_carrier_module(module: str) -> bool:
    return module.partition(".")[0] in _CARRIERS


def name_of(function: Any) -> str:
    """Return the qualified name of a callable."""
    if not hasattr(function, "__qualname__"):
        function = type(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{function.__qualname__}" if module else str(function.__qualname__)
