"""What keeps something from being pickled, and what refers to that."""

import contextlib
import dis
import functools
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

# A call is a function, its arguments, and those with names.
_CALL: Final = 3


def say_why(obj: Any, error: Exception, fails: Callable[[Any], bool]) -> Exception:
    """Return an error that says where there is what cannot be pickled.

    Parameters
    ----------
    obj : Any
        What was to be pickled.
    error : Exception
        Why it could not.
    fails : callable
        Whether something cannot be pickled.
    """
    if type(error) not in (TypeError, AttributeError, pickle.PicklingError):
        return error
    path: list[str] = []
    seen: set[int] = set()
    parts = _parts_of_call(*obj) if type(obj) is tuple and len(obj) == _CALL else _parts(obj)
    while (part := _culprit(parts, fails, seen)) is not None:
        name, obj = part
        path += [name] if name else []
        parts = _parts(obj)
    if not path:
        return error
    where = " of ".join(reversed(path))
    return type(error)(f"{error}: it is {where}")


def _culprit(parts: Iterator[tuple[str, Any]], fails: Callable[[Any], bool], seen: set[int]) -> tuple[str, Any] | None:
    for name, part in parts:
        if id(part) not in seen:
            seen.add(id(part))
            if fails(part):
                return name, part
    return None


def _parts_of_call(function: Any, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    yield "", function
    yield from ((f"argument {place}", each) for place, each in enumerate(args))
    yield from ((f"argument {name!r}", each) for name, each in kwargs.items())


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object refers to, and what to call that."""
    kind = type(obj)
    if kind is types.FunctionType:
        yield from _parts_of_function(obj)
    elif kind is types.MethodType:
        yield f"the object of method {obj.__name__!r}", obj.__self__
        yield "", obj.__func__
    elif kind is functools.partial:
        yield "", obj.func
        yield from ((f"argument {place} of the partial", each) for place, each in enumerate(obj.args))
        yield from ((f"argument {name!r} of the partial", each) for name, each in obj.keywords.items())
    elif isinstance(obj, dict):
        yield from ((f"item {key!r}", value) for key, value in obj.items())
    elif isinstance(obj, list | tuple | set | frozenset):
        yield from ((f"item {place}", each) for place, each in enumerate(obj))
    elif isinstance(obj, type):
        yield from ((f"{name!r} of class {obj.__qualname__}", each) for name, each in vars(obj).items())
    else:
        state = getattr(obj, "__dict__", None)
        if type(state) is dict:
            yield from ((f"attribute {name!r} of {kind.__qualname__}", each) for name, each in state.items())


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    whose = f"of function {function.__qualname__}"
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r} {whose}", function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it is empty
            yield f"variable {name!r} {whose}", cell.cell_contents
    for each in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default {whose}", each
    yield from ((f"attribute {name!r} {whose}", each) for name, each in vars(function).items())


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
