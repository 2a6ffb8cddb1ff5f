"""Warn of random generators that go with a function: each call, or each worker, gets a copy in the same state."""

import functools
import sys
import warnings
from types import FunctionType
from typing import Any, Final

from .once import name_of

_KINDS: Final = (("random", "Random"), ("numpy.random", "Generator"), ("numpy.random", "RandomState"))
# From the line with `map` to the warning: `map`, `_map_results`, and the function here.
_DEPTH: Final = 4


def describe_generator(function: Any, parts: dict[str, Any]) -> str:
    """Return a warning if one of the objects that go with a function is a random generator; otherwise an empty text."""
    kinds = tuple(getattr(sys.modules.get(module), name, ()) for module, name in _KINDS)
    for name, each in parts.items():
        if any(issubclass(type(each), kind) for kind in kinds):
            return (
                f"{name_of((function, (), {}))} uses the random generator {name!r} of this process. Its calls get "
                "copies in the same state, so they return the same random numbers. Pass a seed to each call instead: "
                "numpy.random.SeedSequence(2026).spawn(n)"
            )
    return ""


def warn_of_copies(function: Any) -> None:
    """Warn at the line with `map` if its function is a method, a `partial` or an object that has a random generator."""
    if type(function) is not FunctionType and (text := describe_generator(function, _parts_of(function))):
        warnings.warn(text, RuntimeWarning, stacklevel=_DEPTH)


def _parts_of(function: Any) -> dict[str, Any]:
    if type(function) is functools.partial:
        arguments = {f"argument {number}": each for number, each in enumerate(function.args)}
        return {**_parts_of(function.func), **arguments, **function.keywords}
    owner = getattr(function, "__self__", function)
    return {"self": owner, **getattr(owner, "__dict__", {})}
