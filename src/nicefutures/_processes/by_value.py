"""Functions and classes by value, as cloudpickle has them."""

import functools
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable
from typing import IO, Any, Final

import cloudpickle

from .._forks import keep_through_forks
from .naming import MAIN, here
from .tokens import find, make, set_state, token_of, token_of_task

# Private, and there in cloudpickle 3.1: it is held for a moment whenever a class is pickled.
_lock: Final[Any] = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_LOCK", None)
if _lock is not None:
    keep_through_forks(_lock)
# Items of what `__reduce__` may return (pickle: "state_setter").
_WITH_SETTER: Final = 6


class Pickler(cloudpickle.Pickler):
    """Pickles functions and classes by value if another process cannot find them by name.

    Parameters
    ----------
    file, buffer_callback
        As for :class:`pickle.Pickler`.
    registered : dict
        Reducers of other types.
    reduce : callable, optional
        Returns how an object of another type goes, or NotImplemented; called with these reducers as well.
    """

    def __init__(
        self,
        file: IO[bytes],
        buffer_callback: Any,
        registered: dict[Any, Any],
        reduce: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL, buffer_callback)
        self.dispatch_table = ChainMap(registered, cloudpickle.Pickler.dispatch_table)
        self._reduce = reduce

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is not types.FunctionType and not issubclass(kind, type):
            return NotImplemented if self._reduce is None else self._reduce(obj, self.dispatch_table)
        if here.is_main_known and getattr(obj, "__module__", None) == MAIN and _is_found(obj):
            return NotImplemented
        if (token := token_of_task(obj)) is not None:
            return find, (token,)
        reduced = super().reducer_override(obj)
        if type(reduced) is not tuple or len(reduced) != _WITH_SETTER:
            return reduced
        create, args, state, _, _, setter = reduced
        token = token_of(obj)
        if here.sent is not None:
            here.sent.append(obj)
        return make, (token, create, args), (token, setter, state), None, None, set_state


def _is_found(obj: Any) -> bool:
    try:
        return functools.reduce(getattr, obj.__qualname__.split("."), sys.modules[MAIN]) is obj
    except AttributeError:
        return False
