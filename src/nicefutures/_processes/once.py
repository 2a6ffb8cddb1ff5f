"""Send a function of many tasks to each worker once, by value, with all objects that it refers to."""

import functools
import itertools
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from .naming import here

_TOKEN_BYTES: Final = 8
# A function with a cache is one, too: its cache is for all calls.
FUNCTIONS: Final[frozenset[type]] = frozenset({FunctionType, type(functools.cache(len))})

_numbers: Final = itertools.count(1)
_there: Final[weakref.WeakValueDictionary[bytes, "Once"]] = weakref.WeakValueDictionary()


class Once:
    """A callable in the parent. In the pickle of a task, it stands for the one that the worker has kept.

    `data` is the pickle of the function, and `needed` the objects that must live as long as this one.
    """

    def __init__(self, function: Any, data: bytes, needed: Any) -> None:
        self.function = function
        self.token = next(_numbers).to_bytes(_TOKEN_BYTES)
        self.data = data
        self._needed = needed
        self._version = here.names.version
        _there[self.token] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        if self._version != here.names.version:  # workers did not find a name, perhaps one in it
            return functools.partial, (self.function,)
        if here.sent is not None:
            here.sent += [*self._needed.sent, self]
        return get, (self.token,)


def is_ours(function: Any) -> bool:
    """Return whether a function is one of this library. A builtin method has no module."""
    return str(getattr(function, "__module__", None)).startswith("nicefutures.")


def name_of(call: Any) -> str:
    """Return the name of a task's function."""
    fn: Any
    fn, args, _ = call
    while True:
        if type(fn) is Once:
            fn = fn.function
        elif type(fn) is functools.partial:
            fn, args = fn.func, (*fn.args, *args)
        elif args and is_ours(fn):  # it runs the user's function
            fn, args = args[0], args[1:]
        else:
            names = getattr(fn, "__module__", None), getattr(fn, "__qualname__", type(fn).__qualname__)
            return ".".join(map(str, filter(None, names)))


def forgotten(tokens: set[bytes]) -> list[bytes]:
    """Return the tokens of the functions that are not needed any more."""
    return [token for token in tokens if token not in _there]


class _Kept:
    """A callable that has come to a worker.

    It is unpickled for its first task, because only then does the parent listen to questions that this may cause. A
    function then stays as it is, like a function of a module. Each call gets its own copy of another callable, whose
    state it may change.
    """

    def __init__(self, data: bytes, load: Callable[[bytes], Any]) -> None:
        self._load = functools.partial(load, data)
        # The function, and the tokens of the objects in it.
        self._opened: tuple[Any, set[str] | None] | None = None

    def get(self) -> Any:
        of_task, here.of_task = here.of_task, None
        tokens: set[str] | None = None
        try:
            if self._opened is not None:
                value, tokens = self._opened
            else:
                (value,), tokens = self._load(), here.of_task
                if type(value) in FUNCTIONS:
                    self._opened = value, tokens
                    del self._load  # with the pickle
        finally:
            here.of_task = of_task if tokens is None else tokens | (of_task or set())
        return value


_kept: Final[dict[bytes, _Kept]] = {}


def take(data: bytes, load: Callable[[bytes], Any]) -> None:
    """Keep a function that has come to a worker: its token, and its pickle."""
    _kept[data[:_TOKEN_BYTES]] = _Kept(data[_TOKEN_BYTES:], load)


def drop(token: bytes) -> None:
    """Forget the function of a token."""
    del _kept[token]


def get(token: bytes) -> Any:
    """Return the function that a worker has kept for a token."""
    return _kept[token].get()
