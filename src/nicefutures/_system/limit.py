"""A resource limit of a POSIX process: ``getrlimit``, ``setrlimit``."""

import threading
from collections.abc import Callable
from typing import Final

_USUAL_STACK: Final = 8 * 2**20  # if there is no limit
_HUGE: Final = 2**40  # RLIM_INFINITY is -1 on some systems, and huge on others


def default_stack_size(limit: int) -> int:
    """Return the largest size of a new thread's stack in bytes, by RLIMIT_STACK."""
    return threading.stack_size() or (limit if 0 < limit < _HUGE else _USUAL_STACK)


class ResourceLimit:
    """A soft limit of this process. If a stricter one is already set, it stays; `lift` restores the earlier limit.

    `get` and `set_` read and change the soft and the hard limit.
    """

    def __init__(self, get: Callable[[], tuple[int, int]], set_: Callable[[tuple[int, int]], None]) -> None:
        self._get = get
        self._set = set_
        self._before = self._ours = get()

    def hold(self, limit: int) -> None:
        self._before = self._get()
        stricter = [each for each in self._before if each >= 0]
        self._ours = (min([limit, *stricter]), self._before[1])
        self._set(self._ours)

    def lift(self) -> None:
        self._set(self._before)

    def in_force(self) -> bool:
        return self._get()[0] == self._ours[0]
