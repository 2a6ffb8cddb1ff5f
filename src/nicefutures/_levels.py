"""The priorities, how to parse one that a caller passes, and how to report one that could not be set.

Nothing here depends on the operating system: :mod:`nicefutures._system` defines each priority for each system.
"""

import enum
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from ._public import public


@public
class ProcessPriority(enum.IntEnum):
    """Priority of a process: the names of Windows' priority classes.

    The members are ordered; the value is the base priority that Windows gives a normal thread of that class.

    Notes
    -----
    ``IDLE`` runs when nothing else wants the CPU, ``BELOW_NORMAL`` yields to ordinary programs but gets its share.
    Priorities above ``NORMAL`` need a privilege on Linux and macOS, ``REALTIME`` needs one on Windows too.

    See `Scheduling Priorities <https://learn.microsoft.com/windows/win32/procthread/scheduling-priorities>`_.
    """

    IDLE = 4
    BELOW_NORMAL = 6
    NORMAL = 8
    ABOVE_NORMAL = 10
    HIGH = 13
    REALTIME = 24


@public
class ThreadPriority(enum.IntEnum):
    """Priority of a thread: the names and values of Windows' thread priority levels (``winbase.h``).

    The members are ordered. On Windows a thread's priority is relative to the priority class of its process;
    on Linux and macOS it is absolute.
    """

    IDLE = -15
    LOWEST = -2
    BELOW_NORMAL = -1
    NORMAL = 0
    ABOVE_NORMAL = 1
    HIGHEST = 2
    TIME_CRITICAL = 15


OnDenied: TypeAlias = Literal["warn", "raise", "ignore"]

_ON_DENIED: Final[tuple[str, ...]] = get_args(OnDenied)

_Level = TypeVar("_Level", ProcessPriority, ThreadPriority)


def parse_priority(kind: type[_Level], value: _Level | str) -> _Level:
    """Return the member of `kind` that `value` is or names, in any case.

    Raise a ValueError if no member has that name, and a TypeError if `value` is neither a name nor a member of `kind`.
    """
    if isinstance(value, kind):
        return value
    allowed = ", ".join(repr(member.name.lower()) for member in kind)
    if isinstance(value, str):
        try:
            return kind[value.upper()]
        except KeyError:
            msg = f"unknown priority {value!r}: use one of {allowed}, or a {kind.__name__}"
            raise ValueError(msg) from None
    msg = f"priority must be one of {allowed}, or a {kind.__name__}, not {value!r}"
    raise TypeError(msg)


def parse_on_denied(value: str) -> str:
    """Return `value` if it is a valid `on_denied`; otherwise raise ValueError."""
    if value in _ON_DENIED:
        return value
    msg = f"on_denied={value!r} is unknown: use one of {', '.join(map(repr, _ON_DENIED))}"
    raise ValueError(msg)


class Shortfall(NamedTuple):
    """A description of a requested priority, or another setting, that could not be set.

    A named tuple because a worker sends it to its parent.
    """

    requested: str
    in_force: str  # what the operating system reports instead; empty if that is not known
    reason: str
    remedy: str  # how to solve it
    action: str = "set"  # that failed: "set", "restore", "read", "detect"; "fully set": another low one is set instead

    @property
    def text(self) -> str:
        """The complete message in one line."""
        when = "now" if self.action == "fully set" else "still"
        now = f" It is {when} at {self.in_force}." if self.in_force else ""
        return f"Could not {self.action} {self.requested}: {self.reason}.{now} {self.remedy}"


class _Told:
    """The common base of :class:`PriorityError` and :class:`PriorityWarning`."""

    args: tuple[Shortfall]

    @property
    def requested(self) -> str:
        """The requested priority."""
        return self.args[0].requested

    @property
    def in_force(self) -> str:
        """The priority that the operating system reports instead; empty if that is not known."""
        return self.args[0].in_force

    @property
    def reason(self) -> str:
        """Why the requested priority could not be set."""
        return self.args[0].reason

    @property
    def remedy(self) -> str:
        """How to solve it."""
        return self.args[0].remedy

    def __str__(self) -> str:
        return self.args[0].text


@public
class PriorityError(_Told, OSError):
    """A priority could not be set.

    For a process that does not exist or that belongs to another user, a subclass is raised that is also a
    :class:`ProcessLookupError` or a :class:`PermissionError`.

    Attributes
    ----------
    requested, in_force, reason, remedy : str
        The requested priority, the one that the operating system reports instead (empty if that is not known), why, and
        how to solve it.
    """

    def __init__(self, shortfall: Shortfall) -> None:
        super().__init__(shortfall)


class NoSuchProcessError(PriorityError, ProcessLookupError):
    """The process whose priority should be read or set does not exist."""

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


class NotPermittedError(PriorityError, PermissionError):
    """The process whose priority should be set belongs to another user."""


@public
class PriorityWarning(_Told, RuntimeWarning):
    """A requested priority could not be set, or not fully. The work continues.

    Attributes
    ----------
    requested, in_force, reason, remedy : str
        The requested priority, the one that the operating system reports instead (empty if that is not known), why, and
        how to solve it.
    """

    def __init__(self, shortfall: Shortfall) -> None:
        super().__init__(shortfall)
