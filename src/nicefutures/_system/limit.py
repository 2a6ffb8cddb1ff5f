"""A limit that POSIX has for a process: ``getrlimit``, ``setrlimit``."""

from collections.abc import Callable


class ResourceLimit:
    """A soft limit of this process. One that is there meanwhile counts if it is stricter, and is put back by `lift`.

    Parameters
    ----------
    get, set_ : callable
        Read and change the soft and the hard limit.
    """

    def __init__(self, get: Callable[[], tuple[int, int]], set_: Callable[[tuple[int, int]], None]) -> None:
        self._get = get
        self._set = set_
        self._before = self._ours = get()

    def hold(self, limit: int) -> None:
        self._before = self._get()
        stricter = [each for each in self._before if each >= 0]  # RLIM_INFINITY is -1 on some systems, else huge
        self._ours = (min([limit, *stricter]), self._before[1])
        self._set(self._ours)

    def lift(self) -> None:
        self._set(self._before)

    def in_force(self) -> bool:
        return self._get()[0] == self._ours[0]
