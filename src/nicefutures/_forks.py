"""What is not to be in the middle of something when a process is forked, and what a fork's hooks look at."""

import os
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


def keep_through_forks(lock: Any) -> None:
    """Let no process be forked while another thread holds a lock, which the child would wait for in vain."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class Living(Generic[_T]):
    """Those objects that are alive, for hooks at the end of the interpreter and at forks.

    Any thread may add one while another looks at them, which a `weakref.WeakSet` does not allow.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[_T]] = {}

    def add(self, obj: _T) -> None:
        """Remember an object for as long as it is alive."""
        key = id(obj)
        self._references[key] = weakref.ref(obj, lambda _: self._references.pop(key, None))

    def __iter__(self) -> Iterator[_T]:
        for reference in list(self._references.values()):
            obj = reference()
            if obj is not None:
                yield obj
