"""Tasks of a thread that is importing a module, and waits for them there.

It holds the module's lock until the import is over, and `pickle` imports the module of each function and class, so
another thread that pickles them waits for the lock. There is no public way to ask for it (`importlib._bootstrap`).
"""

import contextlib
import functools
import importlib._bootstrap
import io
import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

_locks: Final[dict[str, Any]] = getattr(importlib._bootstrap, "_module_locks", {})  # noqa: SLF001, see above


def is_importing() -> bool:
    """Return whether the calling thread is in the middle of an import."""
    if not _locks:
        return False
    ident = threading.get_ident()
    return any(getattr(reference(), "owner", None) == ident for reference in list(_locks.values()))


@contextlib.contextmanager
def unfinished_by_value() -> Iterator[None]:
    """Let what is of the modules that this thread is importing travel by value: who imports them does that, too."""
    import cloudpickle  # for who submits tasks at such a time

    ident = threading.get_ident()
    names = [name for name, lock in list(_locks.items()) if getattr(lock(), "owner", None) == ident]
    modules = [sys.modules[name] for name in names if name in sys.modules]
    new = [each for each in modules if each.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            with contextlib.suppress(ValueError):  # another thread has
                cloudpickle.unregister_pickle_by_value(module)


class Unpickler(pickle.Unpickler):
    """One that finds what a module has while it is being imported."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return functools.reduce(getattr, name.split("."), sys.modules[module])
        except (KeyError, AttributeError):
            return super().find_class(module, name)


def loads(data: bytes) -> Any:
    """Return what has been pickled."""
    return Unpickler(io.BytesIO(data)).load() if _locks else pickle.loads(data)  # noqa: S301, from ourselves
