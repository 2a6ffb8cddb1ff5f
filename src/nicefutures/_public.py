"""What is public has the name under which users import it: in tracebacks, in `help`, and in a `repr`."""

from typing import TypeVar

_T = TypeVar("_T", bound=object)


def public(obj: _T) -> _T:
    """Give a public class or function the package as its module."""
    obj.__module__ = __package__ or ""
    return obj
