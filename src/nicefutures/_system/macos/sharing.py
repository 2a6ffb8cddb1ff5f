"""macOS has POSIX shared memory, whose names stay when processes are killed: none of that."""

from ..unknown.sharing import find_shared_memory

__all__ = ["find_shared_memory"]
