"""What goes to each worker once: a function of many tasks that travels by value, with all that it refers to."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any, Final

from .naming import here

_TOKEN_BYTES: Final = 8

_numbers: Final = itertools.count(1)
_there: Final[weakref.WeakValueDictionary[bytes, "Once"]] = weakref.WeakValueDictionary()


class Once:
    """A function in the parent; a task that is pickled with it has what the worker has kept.

    Parameters
    ----------
    function : Any
        What it stands for.
    data : bytes
        Its pickle.
    needed : Any
        What is kept for that.
    """

    def __init__(self, function: Any, data: bytes, needed: Any) -> None:
        self.function = function
        self.token = next(_numbers).to_bytes(_TOKEN_BYTES)
        self.data = data
        self._needed = needed
        _there[self.token] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        if here.sent is not None:
            here.sent.append(self)
        return get, (self.token,)


def forgotten(tokens: set[bytes]) -> list[bytes]:
    """Return the tokens of what is not needed any more."""
    return [token for token in tokens if token not in _there]


class _Kept:
    """In a worker: what has come, with the tokens of what was in it.

    It is unpickled for the first task, for only then does the parent listen to what this may ask for.
    """

    def __init__(self, data: bytes, load: Callable[[bytes], Any]) -> None:
        self._data: bytes | None = data
        self._load = load
        self._value: Any = None
        self._error: BaseException | None = None
        self._of_task: set[str] | None = None

    def get(self) -> Any:
        if self._data is not None:
            self._open(self._data)
            self._data = None
        if self._error is not None:
            raise self._error
        if self._of_task is not None:
            here.of_task = self._of_task | (here.of_task or set())
        return self._value

    def _open(self, data: bytes) -> None:
        of_task = here.of_task
        try:
            self._value = self._load(data)[0]
        except BaseException as error:  # noqa: BLE001, whatever is in it: the task has that error
            self._error = error
        self._of_task = here.of_task
        here.of_task, here.is_task_coming = of_task, True


_kept: Final[dict[bytes, _Kept]] = {}


def take(data: bytes, load: Callable[[bytes], Any]) -> None:
    """Keep what has come to a worker: a token, and a pickle."""
    _kept[data[:_TOKEN_BYTES]] = _Kept(data[_TOKEN_BYTES:], load)


def drop(token: bytes) -> None:
    """Keep it no longer."""
    del _kept[token]


def get(token: bytes) -> Any:
    """Return what a worker has kept."""
    return _kept[token].get()
