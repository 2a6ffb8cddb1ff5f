"""The GIL of this interpreter: whether there is one, and how soon it is handed over."""

import sys
from typing import Final

# Seconds from one look at another library's switch interval to the next, at first and at most.
_FIRST_RECHECK_S: Final = 0.25
_LONGEST_RECHECK_S: Final = 60.0


def has_gil() -> bool:
    """Return whether this interpreter has a GIL, and uses it."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class SwitchInterval:
    """The interpreter's switch interval, shorter for a while.

    A value that the program sets meanwhile is left alone. It may have come to stay, or a library may set it for a call
    and put our short one back afterwards. So as long as it stands, what the interval was before is not forgotten.

    Attributes
    ----------
    recheck_s : float or None
        In how many seconds `put_back` is to be called again; None if there is nothing left to put back.
    """

    def __init__(self) -> None:
        self.recheck_s: float | None = None
        self._before: float | None = None
        self._wanted = self._ours = 0.0

    def shorten(self, seconds: float) -> None:
        """Make it `seconds` unless it is shorter already."""
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
        """Make it what it was, unless the program has set it meanwhile; then look again later."""
        now = sys.getswitchinterval()
        if self._before is None or now == self._before:
            self._before = self.recheck_s = None
        elif now == self._ours:
            sys.setswitchinterval(self._before)
            self._before = self.recheck_s = None
        else:
            self.recheck_s = min(2 * (self.recheck_s or _FIRST_RECHECK_S / 2), _LONGEST_RECHECK_S)
