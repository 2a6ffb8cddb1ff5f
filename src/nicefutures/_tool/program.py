"""A program that pauses by itself: ``nicefutures run --pause-when``."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from .._arguments import Condition
from .._levels import Shortfall
from .._pausing import Reasons
from .._standstill import Standstill
from .._watch import watch

_IDLE_AFTER_S: Final = 60.0


class Program:
    """A program whose processes are stopped while a condition is met: all of them, whichever condition it is.

    The arguments are its name, and those of `watch`; an `idle_after` of None means 60 s.
    """

    def __init__(
        self,
        name: str,
        conditions: Iterable[Condition],
        idle_after: float | None,
        tell: Callable[[Shortfall], None],
    ) -> None:
        self.reasons = Reasons()
        self._name = name
        self._pid = 0
        # Reentrant: on Windows a signal handler takes it, too.
        self._lock = threading.RLock()
        self._standstill = Standstill(_keep, _close)
        self._watch = watch(self, conditions, idle_after or _IDLE_AFTER_S, tell)

    def __str__(self) -> str:
        return self._name

    # --- for code that waits for the program's end

    def begin(self, pid: int) -> None:
        """Watch the program, whose process has this id."""
        self._pid = pid
        self._watch.wake()

    def is_paused(self) -> bool:
        """Return whether there is a reason to stop the program."""
        return self.reasons.left is not None

    def recheck(self) -> None:
        """Stop the program again if there is a reason: another process may have continued it."""
        with self._lock:
            if self._pid and self.is_paused():
                self._standstill.stop([self._pid])

    def release(self) -> None:
        """Continue the program until there is a new reason."""
        with self._lock:
            self.reasons.clear()
            self._standstill.resume()

    def end(self) -> None:
        """Stop watching the program, because it has ended."""
        self._watch.close()
        with self._lock:
            self._pid = 0
            self.release()

    # --- for the watching thread

    def pause(self, reason: str, leave: int = 0) -> None:  # noqa: ARG002, the protocol
        """Stop the program, for one more reason. It counts as one task, so `leave` is ignored."""
        with self._lock:
            self.reasons.add(reason)
            self.recheck()

    def resume(self, reason: str) -> None:
        """Continue the program if there is no other reason."""
        with self._lock:
            if self.reasons.remove(reason) and not self.is_paused():
                self._standstill.resume()

    def has_work(self) -> bool:
        """Return whether the program has a process."""
        return bool(self._pid)

    def pids(self) -> list[int]:
        """Return the id of the program's process, if there is one."""
        return [self._pid] if self._pid else []


def _keep(_: Any) -> None:
    """Do nothing: this process has no other child."""


def _close(end: Any) -> None:
    end.close()
