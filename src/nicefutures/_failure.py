"""What becomes of a worker that could not be put where it was asked to be: `on_denied` of both executors.

It works all the same and one warning says so (:class:`WarnOnce`), or nothing does (:func:`ignore`), or its tasks end
with the reason (:func:`refuse`).
"""

import contextvars
import sys
import threading
import warnings
from collections.abc import Callable, Iterable

from ._levels import PriorityError, PriorityWarning, Shortfall


class WarnOnce:
    """One PriorityWarning at most, at the line that made the executor.

    Parameters
    ----------
    depth : int
        How many calls up from the caller that line is.
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
        """Let the warning filters of the caller's context decide; from Python 3.14 on they may belong to a context."""
        if self._context is None:
            self._context = contextvars.copy_context()

    def __call__(self, shortfall: Shortfall) -> None:
        """Warn, from any thread."""
        with self._lock:
            if self._said:
                return
            self._said = True
        try:
            (self._context or contextvars.copy_context()).run(self._warn, shortfall)
        except Exception as error:  # noqa: BLE001, the filters make it an error, or a hook of the user's fails
            self._raised = error  # here nobody would see it

    def _warn(self, shortfall: Shortfall) -> None:
        warnings.warn_explicit(
            PriorityWarning(shortfall), PriorityWarning, self._filename, self._lineno, self._module, self._registry
        )

    @property
    def is_pending(self) -> bool:
        """Whether there is something to raise."""
        return self._raised is not None

    def raise_pending(self) -> None:
        """Raise the warning, once, if the filters made it an error; or what kept it from being shown."""
        error, self._raised = self._raised, None
        if error is not None:
            raise error


# --- in the worker


class _Here(threading.local):
    """State of the worker that this thread is: tasks run in the thread that ran the initializer."""

    refusal: Shortfall | None = None


_here = _Here()


def settle(steps: Iterable[Callable[[], Shortfall | None]], on_denied: Callable[[Shortfall], None]) -> None:
    """Take all steps, and tell of what is missing, in one."""
    _here.refusal = None  # a worker may have been forked by one that refuses its tasks
    shortfalls = [shortfall for step in steps if (shortfall := attempt(step)) is not None]
    if shortfalls:
        on_denied(shortfalls[0] if len(shortfalls) == 1 else _combine(shortfalls))


def attempt(step: Callable[[], Shortfall | None]) -> Shortfall | None:
    """Take a step; return what is missing, even if the system forbade all of it."""
    try:
        return step()
    except PriorityError as error:
        return error.args[0]
    except OSError as error:  # from a sandbox that forbids even to look: no reason to break the pool
        remedy = "Ask the administrator of this machine or container."
        return Shortfall("the level of this worker", "", str(error), remedy)


def _combine(shortfalls: list[Shortfall]) -> Shortfall:
    """Return one shortfall that says all of several, each part once."""
    *texts, actions = zip(*shortfalls, strict=True)
    action = actions[0] if len(set(actions)) == 1 else "set"
    requested, in_force, reason, remedy = (list(dict.fromkeys(filter(None, parts))) for parts in texts)
    return Shortfall("; ".join(requested), "; ".join(in_force), "; ".join(reason), " ".join(remedy), action)


def ignore(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level work, and say nothing."""


def refuse(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level answer every task with the reason."""
    _here.refusal = shortfall


def initialize(initializer: Callable[..., object] | None, initargs: tuple[object, ...]) -> None:
    """Run the user's own initializer, unless this worker refuses its tasks."""
    if initializer is not None and _here.refusal is None:
        initializer(*initargs)


def raise_if_refusing() -> None:
    """Raise a PriorityError if this worker refuses its tasks."""
    if _here.refusal is not None:
        raise PriorityError(_here.refusal)
