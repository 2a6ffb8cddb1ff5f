"""POSIX shared memory has names that stay when processes are killed: none of that."""

from ..unknown.sharing import find_shared_memory

__all__ = ["find_shared_memory"]
