"""Locks that no other thread may hold during a fork, and objects that the hooks of forks need."""

import os
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


def keep_through_forks(lock: Any) -> None:
    """Let no process fork while another thread holds a lock: the child would wait for the lock forever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class Living(Generic[_T]):
    """The objects that are alive, for hooks at the interpreter's exit and at forks.

    A thread may add an object while another thread iterates, which a `weakref.WeakSet` does not allow.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[_T]] = {}

    def add(self, obj: _T) -> None:
        """Remember an object for as long as it is alive."""
        key = id(obj)
        self._references[key] = weakref.ref(obj, lambda _: self._references.pop(key, None))

    def forget_in_children(self) -> None:
        """Forget all objects in each forked process, because they and their locks belong to its parent."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._references.clear)

    def __iter__(self) -> Iterator[_T]:
        for reference in list(self._references.values()):
            obj = reference()
            if obj is not None:
                yield obj
