"""Handles workers whose priority, or another setting, could not be set: `on_denied` of all executors.

Such a worker runs its tasks, with one warning (:class:`WarnOnce`) or without (:func:`ignore`), or its tasks end with
the reason (:func:`refuse`).
"""

import contextvars
import sys
import threading
import warnings
from collections.abc import Callable, Iterable

from ._levels import PriorityError, PriorityWarning, Shortfall


class WarnOnce:
    """Warns at the line that made the executor; as a callable, it warns of the first shortfall only.

    `depth` is the number of calls from the caller up to that line.
    """

    def __init__(self, depth: int) -> None:
        frame = sys._getframe(depth + 1)  # noqa: SLF001, as logging and warnings do
        self._filename = frame.f_code.co_filename
        self._lineno = frame.f_lineno
        self._module = frame.f_globals.get("__name__", "<unknown>")
        self._registry = frame.f_globals.setdefault("__warningregistry__", {})
        self._context: contextvars.Context | None = None
        self._lock = threading.Lock()
        self._said = False
        self._raised: Exception | None = None

    def heed_filters(self) -> None:
        """Use the warning filters of the caller's context; from Python 3.14 on, filters may belong to a context."""
        if self._context is None:
            self._context = contextvars.copy_context()

    def __call__(self, shortfall: Shortfall) -> None:
        """Warn of the first shortfall, from any thread."""
        with self._lock:
            if self._said:
                return
            self._said = True
        self.warn_of(shortfall)

    def warn_of(self, shortfall: Shortfall) -> None:
        """Warn of one more shortfall."""
        self.warn(PriorityWarning(shortfall))

    def warn(self, warning: Warning) -> None:
        """Show another warning, at the same line."""
        try:
            (self._context or contextvars.copy_context()).run(self._warn, warning)
        except Exception as error:  # noqa: BLE001, filters make it an error, or a user's hook fails
            self._raised = error  # no caller would see it here

    def _warn(self, warning: Warning) -> None:
        warnings.warn_explicit(warning, type(warning), self._filename, self._lineno, self._module, self._registry)

    @property
    def is_pending(self) -> bool:
        """Whether `raise_pending` has an error to raise."""
        return self._raised is not None

    def raise_pending(self) -> None:
        """Raise the warning, once, if the filters made it an error; or the error that occurred instead."""
        error, self._raised = self._raised, None
        if error is not None:
            raise error


# --- in the worker


class _Here(threading.local):
    """State of the worker in this thread: tasks run in the thread that ran the initializer."""

    refusal: Shortfall | None = None


_here = _Here()


def settle(steps: Iterable[Callable[[], Shortfall | None]], on_denied: Callable[[Shortfall], None]) -> None:
    """Run all steps, and report all shortfalls as one."""
    _here.refusal = None  # a worker may have been forked by one that refuses its tasks
    shortfalls = [shortfall for step in steps if (shortfall := attempt(step)) is not None]
    if shortfalls:
        on_denied(shortfalls[0] if len(shortfalls) == 1 else _combine(shortfalls))


def attempt(step: Callable[[], Shortfall | None]) -> Shortfall | None:
    """Run a step; return its shortfall, even if the system refused all of it."""
    try:
        return step()
    except PriorityError as error:
        return error.args[0]
    except OSError as error:  # from a sandbox that forbids even reads: no reason to break the pool
        remedy = "Ask the administrator of this machine or container."
        return Shortfall("the level of this worker", "", str(error), remedy)


def _combine(shortfalls: list[Shortfall]) -> Shortfall:
    """Return one shortfall with the texts of several, each part once."""
    *texts, actions = zip(*shortfalls, strict=True)
    action = actions[0] if len(set(actions)) == 1 else "set"
    requested, in_force, reason, remedy = (list(dict.fromkeys(filter(None, parts))) for parts in texts)
    return Shortfall("; ".join(requested), "; ".join(in_force), "; ".join(reason), " ".join(remedy), action)


def ignore(shortfall: Shortfall) -> None:
    """Let a worker with a shortfall run its tasks, without a warning."""


def refuse(shortfall: Shortfall) -> None:
    """Let a worker with a shortfall answer every task with the reason."""
    _here.refusal = shortfall


def initialize(initializer: Callable[..., object] | None, initargs: tuple[object, ...]) -> None:
    """Run the user's initializer, unless this worker refuses its tasks."""
    if initializer is not None and _here.refusal is None:
        initializer(*initargs)


def raise_if_refusing() -> None:
    """Raise a PriorityError if this worker refuses its tasks."""
    if _here.refusal is not None:
        raise PriorityError(_here.refusal)
