"""Find out which objects another process can find by name.

Functions and classes are pickled by name, and a worker imports their modules. Some main modules cannot be imported:
those of a notebook, of a session, or of a program that Python does not read from a file (`main_module`). And a function
that was defined again since the workers started is another function there.
"""

import contextlib
import functools
import operator
import re
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

MAIN: Final = "__main__"
_MAIN: Final = MAIN.encode()
# Messages of `pickle` and of the import for a missing name: "Can't get attribute 'A.b' on <module 'c' …", from Python
# 3.14 on "Can't resolve path 'A.b' on module 'c'" and "module 'c' has no attribute 'A'"; "No module named 'c'".
_ATTRIBUTE: Final = re.compile(r"(?:attribute|path) '([^'.]+)")
_MODULE: Final = re.compile(r"\bmodule (?:named )?'([^']+)'")


class Names:
    """The names that can be found by the processes that get our pickles ("they" below).

    `main` is the main module, if they have it as it is now. `version` grows when `learn` notes a new missing name.
    """

    def __init__(self, main: ModuleType | None) -> None:
        self.version = 0
        # The modules that they lack, at least in part.
        self._unknown: tuple[str, ...] = (MAIN,) if main is None else ()
        self._main = main
        # The objects, not their ids: another object may get the same id later.
        self._known = {} if main is None else dict(defined_in(main))

    def has(self, obj: Any) -> bool:
        """Return whether they find exactly this function or class; in the main module, as it was at their start."""
        module = obj.__module__
        first, *rest = obj.__qualname__.split(".")
        found = self._known.get(first) if module == MAIN else getattr(sys.modules.get(module), first, None)
        for name in rest:
            found = getattr(found, name, None)
        return found is obj and (module == MAIN or not self.lacks(module))

    def find(self, obj: Any) -> bool:
        """Return whether they find an object by its name."""
        path = getattr(obj, "__qualname__", getattr(obj, "__name__", "")).split(".")
        try:
            is_found = functools.reduce(getattr, path, sys.modules[obj.__module__]) is obj
        except (AttributeError, KeyError):
            return False
        return is_found and not self.lacks(obj.__module__)

    def lacks(self, module: str | None) -> bool:
        """Return whether they lack a part of a module, or must not use their own (`register_pickle_by_value`)."""
        lacking = self._lacking()
        return bool(lacking) and any(f"{module}.".startswith(f"{name}.") for name in lacking)

    def _lacking(self) -> tuple[str, ...]:
        cloudpickle: Any = sys.modules.get("cloudpickle")
        # cloudpickle lacks this function while another thread imports it.
        registered: Any = getattr(cloudpickle, "list_registry_pickle_by_value", tuple)()
        return (*self._unknown, *registered) if registered else self._unknown

    def are_missing(self, mentions: Callable[[bytes], bool], only: Any = None) -> bool:
        """Return whether a pickle, which `mentions` some names, may refer to an object that they do not find.

        `only` is the only object that the pickle refers to, if that is known.
        """
        is_found = type(only) is FunctionType and self._known.get(only.__qualname__) is only
        if not is_found and self._known and mentions(_MAIN) and not self._is_as_it_was():
            self._unknown = tuple({*self._unknown, MAIN})
        lacking = self._lacking()
        return bool(lacking) and any(mentions(name.encode()) for name in lacking)

    def _is_as_it_was(self) -> bool:
        main = sys.modules.get(MAIN)
        return main is self._main and all(map(operator.is_, map(vars(main).get, self._known), self._known.values()))

    def learn(self, error: BaseException, version: int) -> bool:
        """Note the name that a process has not found, from the text of the error that unpickling has raised there.

        Return whether a new pickle, with the object by value, may work: the failed one was made at `version`.
        """
        module, attribute = (
            match and match[1] for match in (each.search(str(error)) for each in (_MODULE, _ATTRIBUTE))
        )
        module = str(module).replace("__mp_main__", MAIN)
        if attribute is None:
            is_here = any(f"{each}.".startswith(f"{module}.") for each in list(sys.modules))
        else:  # the user's code may raise an error with such a text, too, for a name that nothing has
            is_here = module in sys.modules and hasattr(sys.modules[module], attribute)
        if is_here:
            known = {name: each for name, each in self._known.items() if (module, attribute) != (MAIN, name)}
            if module not in self._unknown or len(known) < len(self._known):
                self._unknown, self._known = tuple({*self._unknown, module}), known
                self.version += 1
        return self.version > version


def defined_in(main: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes of a main module, by name."""
    for name, each in list(vars(main).items()):
        # Not isinstance, for which a proxy answers with the class of its object.
        if (type(each) is FunctionType or issubclass(type(each), type)) and each.__module__ == MAIN:
            yield name, each


class _Here(threading.local):
    """State of a thread that pickles for other processes."""

    names: Names = Names(ModuleType(MAIN))  # of these processes

    def __init__(self) -> None:
        # The objects that it has pickled by value: functions, classes, and each `Once`. None in a worker.
        self.sent: list[Any] | None = []
        self.is_task_coming = False  # in a worker: it is unpickling data from its parent
        self.of_task: set[str] | None = (
            None  # in a worker: the tokens of the objects that have come with its task, if there are any
        )


here: Final = _Here()


@contextlib.contextmanager
def pickling(names: Names) -> Iterator[None]:
    """Let this thread pickle for workers with these names, in this block."""
    before = here.names, here.sent, here.of_task
    here.names, here.sent, here.of_task = names, [], None  # in a worker: its own workers have no tokens
    try:
        yield
    finally:
        here.names, here.sent, here.of_task = before
