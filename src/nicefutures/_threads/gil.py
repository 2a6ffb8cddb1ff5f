"""The GIL of this interpreter: whether there is one, and how soon it is handed over."""

import sys


def has_gil() -> bool:
    """Return whether this interpreter has a GIL in force."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class SwitchInterval:
    """The interpreter's switch interval, shorter for a while. What the user sets meanwhile is left alone."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._wanted = self._ours = 0.0

    def shorten(self, seconds: float) -> None:
        """Make it `seconds` unless it is shorter already."""
        now = sys.getswitchinterval()
        if self._before is None:
            if now <= seconds:
                return
            self._before = now
        elif now != self._ours or seconds in (self._wanted, now):
            return
        self._wanted = min(seconds, self._before)
        sys.setswitchinterval(self._wanted)
        self._ours = sys.getswitchinterval()  # as rounded by the interpreter

    def put_back(self) -> None:
        """Make it what it was."""
        before, self._before = self._before, None
        if before is not None and sys.getswitchinterval() == self._ours:
            sys.setswitchinterval(before)
