"""The GIL of this interpreter: whether there is one, and its switch interval."""

import sys
from typing import Final

# Seconds between two checks of a switch interval that other code has set, at first and at most.
_FIRST_RECHECK_S: Final = 0.25
_LONGEST_RECHECK_S: Final = 60.0


def has_gil() -> bool:
    """Return whether this interpreter has a GIL, and uses it."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class SwitchInterval:
    """The interpreter's switch interval, which is shortened for a while.

    A value that the program sets meanwhile is left alone. It may be permanent, or a library may set it for one call and
    then restore our short interval. So the original interval is remembered as long as that value is set.
    """

    def __init__(self) -> None:
        self.recheck_s: float | None = None  # when to call `put_back` again; None: there is nothing left to restore
        self._before: float | None = None
        self._wanted = self._ours = 0.0

    def shorten(self, seconds: float) -> None:
        """Set the interval to `seconds` unless it is shorter already."""
        now = sys.getswitchinterval()
        if self._before is None or now == self._before:
            if now <= seconds:
                return
            self._before = now
        elif now != self._ours or seconds in (self._wanted, now):
            return
        self._wanted = min(seconds, self._before)
        sys.setswitchinterval(self._wanted)
        self._ours = sys.getswitchinterval()  # as rounded by the interpreter
        self.recheck_s = None

    def put_back(self) -> None:
        """Restore the interval. If the program has set it meanwhile, leave it, and set `recheck_s`."""
        now = sys.getswitchinterval()
        if self._before is None or now == self._before:
            self._before = self.recheck_s = None
        elif now == self._ours:
            sys.setswitchinterval(self._before)
            self._before = self.recheck_s = None
        else:
            self.recheck_s = min(2 * (self.recheck_s or _FIRST_RECHECK_S / 2), _LONGEST_RECHECK_S)
