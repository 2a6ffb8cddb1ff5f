"""Pickle functions and classes by value, with cloudpickle."""

import contextlib
import contextvars
import functools
import io
import os
import pickle
import sys
import types
import warnings
import weakref
from typing import IO, Any, Final, NewType, ParamSpec, TypeVarTuple

import cloudpickle

from .._forks import keep_through_forks
from .generators import describe_generator
from .naming import MAIN, here
from .tokens import find, make, set_state, token_of, token_of_task

# Private, in cloudpickle 3.1. cloudpickle holds this lock briefly whenever it pickles a class.
_lock: Final[Any] = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_LOCK", None)
if _lock is not None:
    keep_through_forks(_lock)
# Names that the import sets in a module.
_OF_IMPORT: Final = ("__builtins__", "__loader__", "__spec__")
# Length of a tuple from `__reduce__` with a setter (pickle: "state_setter").
_WITH_SETTER: Final = 6
_cloudpickle: Final[Any] = cloudpickle.cloudpickle
# Objects of which each process must use its own, but that cloudpickle would copy: modules, and names there.
_SINGLETONS: Final = (
    ("dataclasses", "MISSING"),
    ("dataclasses", "KW_ONLY"),
    ("dataclasses", "_HAS_DEFAULT_FACTORY"),
    ("os", "environ"),
    ("random", "_inst"),
    ("numpy.random.mtrand", "_rand"),
    ("sys", "stdout"),
    ("sys", "stderr"),
)
_DISPATCHER: Final = getattr(functools.singledispatch(len), "__code__", None)  # of all singledispatch functions
_HASH: Final[Any] = type.__hash__  # the hash of classes whose metaclass does not define equality
# ContextVars of sessions, by the process that made them and their id there. Never removed: no weak references exist.
_variables: Final[dict[tuple[int, int], Any]] = {}


class Pickler(cloudpickle.Pickler):
    """Pickles functions and classes by value if another process cannot find them by name."""

    def __init__(self, file: IO[bytes], buffer_callback: Any, reducers: dict[Any, Any]) -> None:
        types_of_singletons = (type(getattr(sys.modules.get(module), name, None)) for module, name in _SINGLETONS)
        own = {**_REDUCERS, **dict.fromkeys(types_of_singletons, _reduce_singleton)}
        self.dispatch_table = {**cloudpickle.Pickler.dispatch_table, **own, **reducers}  # first: __init__ reads it
        super().__init__(file, pickle.HIGHEST_PROTOCOL, buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.ModuleType and here.names.lacks(obj.__name__):
            return self._reduce_unknown(obj)
        if kind is not types.FunctionType and not issubclass(kind, type):
            return NotImplemented
        module = getattr(obj, "__module__", None)
        if module == MAIN and here.names.has(obj):
            return NotImplemented
        if (token := token_of_task(obj)) is not None:
            return find, (token,)
        return self._with_token(obj, kind, self._reduce(obj, kind, is_unknown=here.names.lacks(module)))

    def _reduce(self, obj: Any, kind: type, *, is_unknown: bool) -> Any:
        if kind is not types.FunctionType and kind.__hash__ is not _HASH:  # cloudpickle confuses classes that are equal
            return NotImplemented if here.names.find(obj) else _reduce_class(obj)
        return self._reduce_unknown(obj) if is_unknown else super().reducer_override(obj)

    def _with_token(self, obj: Any, kind: type, reduced: Any) -> Any:
        if type(reduced) is not tuple or len(reduced) != _WITH_SETTER:
            return reduced
        create, args, state, _, _, setter = reduced
        if kind is types.FunctionType and obj.__code__ is _DISPATCHER:
            create, args = functools.singledispatch, (obj.registry[object],)
            state, setter = dict(obj.registry), _register
        token = token_of(obj)
        if here.sent is not None:
            here.sent.append(obj)
            if kind is types.FunctionType and obj not in _warned:
                _warn_of_generators(obj, reduced[2][1]["__globals__"])
        return make, (token, create, args), (token, setter, state), None, None, set_state

    def _reduce_unknown(self, obj: Any) -> Any:
        """Return the reduction by value of a module, function or class that other processes do not find."""
        # Private, in cloudpickle 3.1.
        if type(obj) is types.ModuleType:
            state = {name: each for name, each in vars(obj).items() if name not in _OF_IMPORT}
            return _cloudpickle.dynamic_subimport, (obj.__name__, state)
        if type(obj) is types.FunctionType:
            return self._dynamic_function_reduce(obj)
        return _cloudpickle._dynamic_class_reduce(obj)  # noqa: SLF001


def _reduce_class(obj: Any) -> Any:
    """Return the reduction of a class whose metaclass defines equality."""
    # Private, in cloudpickle 3.1.
    args = (type(obj), obj.__name__, _cloudpickle._get_bases(obj), {"__module__": obj.__module__}, None, None)  # noqa: SLF001
    state, setter = _cloudpickle._class_getstate(obj), _cloudpickle._class_setstate  # noqa: SLF001
    return _cloudpickle._make_skeleton_class, args, state, None, None, setter  # noqa: SLF001


def _register(function: Any, registry: dict[Any, Any]) -> None:
    for kind, implementation in registry.items():
        function.register(kind, implementation)


def _find_singleton(obj: Any) -> tuple[Any, str] | None:
    for module, name in _SINGLETONS:
        if obj is not None and getattr(sys.modules.get(module), name, None) is obj:
            return sys.modules[module], name
    return None


def _reduce_singleton(obj: Any) -> Any:
    if (place := _find_singleton(obj)) is not None:
        return getattr, place
    return obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # raises for an open file, as in the stdlib


def _reduce_cached(function: Any) -> Any:
    """Return the reduction of a function with `functools.lru_cache`. Cached results stay in this process."""
    if here.names.find(function):
        return function.__reduce__()
    return _cache, (function.__wrapped__, function.cache_parameters())


def _cache(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduce_cached_property(prop: Any) -> Any:
    state = {name: value for name, value in vars(prop).items() if name != "lock"}  # Python 3.11 has one
    return functools.cached_property, (prop.func,), state


def _reduce_variable(variable: Any) -> Any:
    """Return the reduction of a ContextVar. It does not know its module, so search all; its value stays here."""
    for module in list(sys.modules.values()):
        if type(module) is types.ModuleType and not here.names.lacks(module.__name__):
            for name, each in list(vars(module).items()):
                if each is variable:
                    return getattr, (module, name)
    key = next((key for key, each in list(_variables.items()) if each is variable), (os.getpid(), id(variable)))
    _variables[key] = variable
    try:
        return _variable, (key, variable.name, contextvars.Context().run(variable.get))
    except LookupError:  # it has no default
        return _variable, (key, variable.name)


def _variable(key: tuple[int, int], name: str, *default: Any) -> Any:
    return _variables.setdefault(key, contextvars.ContextVar(name, **dict(zip(["default"], default, strict=False))))


def _reduce_named(obj: Any) -> Any:
    """Return the reduction of a NewType, ParamSpec or TypeVarTuple."""
    if here.names.find(obj):
        return obj.__reduce__()
    return type(obj), (obj.__name__, *([obj.__supertype__] if type(obj) is NewType else []))


_REDUCERS: Final = {
    type(functools.cache(len)): _reduce_cached,
    functools.cached_property: _reduce_cached_property,
    contextvars.ContextVar: _reduce_variable,
    io.TextIOWrapper: _reduce_singleton,
    memoryview: _reduce_singleton,
    **dict.fromkeys((NewType, ParamSpec, TypeVarTuple), _reduce_named),
}

# Functions that were checked for random generators.
_warned: Final[weakref.WeakSet[types.FunctionType]] = weakref.WeakSet()


def _warn_of_generators(function: types.FunctionType, used: dict[str, Any]) -> None:
    """Warn of random generators in a function: each worker or call gets a copy in the same state."""
    for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars, strict=True):
        with contextlib.suppress(ValueError):  # the cell is empty
            used = {**used, name: cell.cell_contents}
    defaults = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    used = {**used, **dict(zip(names[-len(defaults) :], defaults, strict=False)), **(function.__kwdefaults__ or {})}
    copied = {name: each for name, each in used.items() if _find_singleton(each) is None}
    if text := describe_generator(function, copied):
        code = function.__code__
        warnings.warn_explicit(text, RuntimeWarning, code.co_filename, code.co_firstlineno, function.__module__)
    _warned.add(function)
