"""Objects that are sent by value carry a token, so that both processes recognize them.

If a worker sends back an object of its task, it sends the token. So the parent finds its own function or class again,
and not a copy, nor the state that the object has in the worker.
"""

import os
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .._forks import keep_through_forks
from .naming import MAIN, here


class _Entry(NamedTuple):
    """The token of an object, and whether the object is from this process."""

    reference: "weakref.ref[Any]"
    token: str
    is_own: bool


# Entries by the id of an object, because a metaclass may define equality or remove the hash; and objects by token.
_entries: Final[dict[int, _Entry]] = {}
_objects: Final[weakref.WeakValueDictionary[str, Any]] = weakref.WeakValueDictionary()
# Tokens of new objects that have no state yet.
_unfinished: Final[set[str]] = set()
_lock: Final = threading.RLock()
keep_through_forks(_lock)


def token_of_task(obj: Any) -> str | None:
    """Return the token of an object that has come to a worker with its task."""
    if here.of_task is None:
        return None
    entry = _entry_of(obj)
    return entry.token if entry is not None and entry.token in here.of_task else None


def token_of(obj: Any) -> str:
    """Return the token of an object, a new one if it has none."""
    with _lock:
        entry = _entry_of(obj) or _remember(os.urandom(8).hex(), obj, is_own=True)
    return entry.token


def _entry_of(obj: Any) -> _Entry | None:
    entry = _entries.get(id(obj))
    return entry if entry is not None and entry.reference() is obj else None


def _remember(token: str, obj: Any, *, is_own: bool) -> _Entry:
    key, forget = id(obj), _entries.pop  # bound: at the interpreter's exit a module may have lost its names
    entry = _entries[key] = _Entry(weakref.ref(obj, lambda _: forget(key, None)), token, is_own)
    _objects[token] = obj
    return entry


def find(token: str) -> Any:
    """Return the object of a token, in the process that it came from."""
    return _objects[token]


def make(token: str, create: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return the object of a token, a new one if this process has none."""
    if here.is_task_coming:
        here.of_task = {token, *(here.of_task or ())}
    found = _known(token)
    if found is not None:
        return found
    made = create(*args)  # without the lock: this takes cloudpickle's lock, and runs metaclasses
    with _lock:
        found = _known(token)
        if found is not None:
            return found
        _remember(token, made, is_own=False)
        _unfinished.add(token)
        return made


def _known(token: str) -> Any:
    found = _objects.get(token)
    entry = _entry_of(found)
    # A function that comes again may have other globals than before.
    return found if entry and (isinstance(found, type) or (entry.is_own and not here.is_task_coming)) else None


def set_state(obj: Any, state: tuple[str, Callable[[Any, Any], None], Any]) -> None:
    """Set the state of a new object. An object that exists here keeps its own state, except in a worker."""
    token, setter, content = state
    if here.is_task_coming or token in _unfinished:
        setter(obj, content)
        _unfinished.discard(token)
    if here.is_task_coming and type(obj) is types.FunctionType:
        obj.__globals__.update(_set_at_start.get(obj.__globals__.get("__name__"), {}))


# Global variables that a worker's initializer has set, by the name of the module.
_set_at_start: Final[dict[Any, dict[str, Any]]] = {}


def keep_globals(initialize: Callable[[], None]) -> None:
    """Run an initializer, and give the globals that it sets to functions of its module that come by value."""
    main = vars(sys.modules[MAIN])
    functions = [each for each in list(_objects.values()) if type(each) is types.FunctionType]
    places = {id(each): each for each in (main, *(function.__globals__ for function in functions))}
    before = {key: dict(place) for key, place in places.items()}
    initialize()
    for key, place in places.items():
        name = MAIN if place is main else place.get("__name__")
        news = {name: each for name, each in place.items() if before[key].get(name, before) is not each}
        _set_at_start.setdefault(name, {}).update(news)
    main.update(_set_at_start[MAIN])
