"""Gives public objects the module from which users import them: in tracebacks, in `help`, and in a `repr`."""

from typing import TypeVar

_T = TypeVar("_T", bound=object)


def public(obj: _T) -> _T:
    """Set the module of a public class or function to the package."""
    obj.__module__ = __package__ or ""
    return obj
