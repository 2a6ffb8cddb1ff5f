"""What has travelled by value has a token, here and in the process where it is then.

A worker that sends something of its task back sends the token, so the parent finds its own function or class again, and
not a copy; neither does it get the state that this has in a worker.
"""

import threading
import types
import weakref
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

from .._forks import keep_through_forks
from .naming import MAIN, here

# An object's token, and back.
_tokens: Final[weakref.WeakKeyDictionary[Any, str]] = weakref.WeakKeyDictionary()
_objects: Final[weakref.WeakValueDictionary[str, Any]] = weakref.WeakValueDictionary()
# What did not come from elsewhere.
_own: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
# What is being made.
_unfinished: Final[set[str]] = set()
_lock: Final = threading.RLock()
keep_through_forks(_lock)


def token_of_task(obj: Any) -> str | None:
    """Return the token of what has come to a worker with its task."""
    if here.of_task is None:
        return None
    token = _tokens.get(obj)
    return token if token in here.of_task else None


def token_of(obj: Any) -> str:
    """Return an object's token, a new one perhaps."""
    with _lock:
        token = _tokens.get(obj)
        if token is None:
            token = token_hex(8)
            _own.add(obj)
            _remember(token, obj)
    return token


def announce(main: types.ModuleType) -> None:
    """Give tokens to what a forked worker has of this process, so that it is the same when it comes back."""
    for each in list(vars(main).values()):
        if isinstance(each, type | types.FunctionType) and each.__module__ == MAIN:
            token_of(each)


def _remember(token: str, obj: Any) -> None:
    _tokens[obj] = token
    _objects[token] = obj


def find(token: str) -> Any:
    """Return what a token stands for, where that came from."""
    return _objects[token]


def make(token: str, create: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return what a token stands for: a new object, if this process has none."""
    if here.is_task_coming:
        here.of_task = {token, *(here.of_task or ())}
    found = _known(token)
    if found is not None:
        return found
    made = create(*args)  # with no lock: it takes cloudpickle's, and runs what metaclasses do
    with _lock:
        found = _known(token)
        if found is not None:
            return found
        _remember(token, made)
        _unfinished.add(token)
        return made


def _known(token: str) -> Any:
    found = _objects.get(token)
    # A function that comes again has other globals than before.
    if found is not None and (isinstance(found, type) or (found in _own and not here.is_task_coming)):
        return found
    return None


def set_state(obj: Any, state: tuple[str, Callable[[Any, Any], None], Any]) -> None:
    """Let a new object have its state; one that is here already keeps its own, if it is not a worker's."""
    token, setter, content = state
    if here.is_task_coming or token in _unfinished:
        setter(obj, content)
        _unfinished.discard(token)
