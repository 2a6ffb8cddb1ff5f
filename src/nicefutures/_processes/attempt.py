"""Decide about a task whose worker dies: a state machine without processes, threads or time.

A task goes to a worker, and to another worker if a second try does no harm. The runner reports the events; an event
that ends an attempt has a verdict.
"""

from enum import IntEnum, auto
from typing import Final, Literal, TypeAlias

OnCrash: TypeAlias = Literal["break", "fail", "retry"]

# Number of crashes after which a task is not tried again.
_MOST_CRASHES: Final = 3
# How many workers in a row may be lost before one of them begins with a task: workers that die by themselves, workers
# that are killed (a kill says little about the next worker), and silent workers.
_MOST_LOST: Final = 10
_MOST_KILLED: Final = 100
_MOST_SILENT: Final = 3


class Phase(IntEnum):
    """How far a task has come with its worker."""

    STARTING = auto()  # the worker is not ready
    UNREAD = auto()  # the worker is ready, but has not read the whole task
    READ = auto()  # the worker has the whole task
    BEGUN = auto()  # the worker has reported that it makes the call


class Exit(IntEnum):
    """How a worker has ended."""

    KILLED = auto()  # by SIGKILL or SIGTERM, from outside
    TERMINATED = auto()  # by SIGTERM before its first task: the signal is meant for the pool
    OUT_OF_MEMORY = auto()  # killed by the kernel
    CRASHED = auto()
    LIMITED = auto()  # crashed with a memory limit: some libraries end the process when they reach it
    FAILED = auto()  # its initializer has raised, or the main module cannot be imported
    SILENT = auto()  # it has not reported that it is alive


class Verdict(IntEnum):
    """Reaction to an event."""

    RETURN = auto()  # the task has its answer
    RAISE = auto()  # this call ends with the crash as its error
    RESEND = auto()  # the calls from `Attempt.first` on go to another worker
    TIME_OUT = auto()  # the worker is ended, and this call ends with a TimeoutError
    BREAK = auto()  # the pool breaks


class _Rule(IntEnum):
    """An entry of the table."""

    BREAK = auto()
    RAISE = auto()
    AGAIN = auto()  # the event says nothing about the task: try another worker, a limited number of times
    COUNT = auto()  # a crash of this call: try again, except after the third crash


_BREAK, _RAISE, _AGAIN, _COUNT = _Rule

# The rules of on_crash="break", "fail" and "retry" for a lost worker.
_RULES: Final[dict[tuple[Phase, Exit], tuple[_Rule, _Rule, _Rule]]] = {
    (Phase.STARTING, Exit.KILLED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.TERMINATED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.OUT_OF_MEMORY): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.CRASHED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.LIMITED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.FAILED): (_BREAK, _BREAK, _BREAK),
    (Phase.STARTING, Exit.SILENT): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.KILLED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.TERMINATED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.OUT_OF_MEMORY): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.CRASHED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.LIMITED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.READ, Exit.KILLED): (_BREAK, _RAISE, _AGAIN),
    (Phase.READ, Exit.TERMINATED): (_BREAK, _RAISE, _AGAIN),
    (Phase.READ, Exit.OUT_OF_MEMORY): (_BREAK, _RAISE, _COUNT),
    (Phase.READ, Exit.CRASHED): (_BREAK, _RAISE, _COUNT),
    (Phase.READ, Exit.LIMITED): (_RAISE, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.KILLED): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.TERMINATED): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.OUT_OF_MEMORY): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.CRASHED): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.LIMITED): (_RAISE, _RAISE, _COUNT),
}
_COLUMNS: Final[dict[OnCrash, int]] = {"break": 0, "fail": 1, "retry": 2}


class Attempt:
    """The attempts to run one task, with one worker after the other."""

    # Class attributes, because most tasks change few of them.
    crashes = 0  # of this task, or of this call of a chunk, if it is tried again after crashes
    first = 0  # number of calls of a chunk that are done, and so the index of the first call for another worker
    phase = Phase.STARTING  # with this worker
    verdict: Verdict | None = None  # the final one: later events do not change it
    _lost = _silent = 0

    def __init__(self, on_crash: OnCrash, max_workers: int) -> None:
        self._on_crash = on_crash
        self._max_workers = max_workers  # all of which may have died while they were idle

    def ready(self) -> None:
        """Note that the worker is ready for the task."""
        self.phase = Phase.UNREAD

    def sent(self) -> None:
        """Note that the whole task is in the pipe."""
        self.phase = Phase.READ

    def begun(self) -> None:
        """Note that the worker makes the call."""
        self.phase = Phase.BEGUN
        self._lost = 0

    def part(self, count: int = 1) -> None:
        """Note that more calls of a chunk have returned."""
        self.begun()
        self.first += count
        self.crashes = 0

    def unreadable(self) -> None:
        """Note that the worker could not read the task, and that another one gets it in another form."""
        self.phase = Phase.STARTING

    def answer(self) -> Verdict:
        """End with the answer of the task."""
        return self._end(Verdict.RETURN)

    def deadline(self) -> Verdict:
        """End because the call has taken too long."""
        return self._end(Verdict.TIME_OUT)

    def lost(self, how: Exit, *, unread: bool = False) -> Verdict:
        """Note that the worker has ended, before it had read the whole task if `unread`; return the verdict."""
        if self.verdict is not None:
            return self.verdict
        if unread and self.phase is Phase.READ:
            self.phase = Phase.UNREAD
        phase, self.phase = self.phase, Phase.STARTING
        rule = _RULES[phase, how][_COLUMNS[self._on_crash]]
        if rule is _Rule.AGAIN:
            self._lost += 1
            self._silent += how is Exit.SILENT
            most = (_MOST_KILLED if how is Exit.KILLED else _MOST_LOST) + self._max_workers
            if self._lost < most and self._silent < _MOST_SILENT:
                return Verdict.RESEND
            rule = _Rule.BREAK if phase is Phase.STARTING or self._on_crash == "break" else _Rule.RAISE
        elif rule is _Rule.COUNT:
            self.crashes += 1
            if self.crashes < _MOST_CRASHES:
                return Verdict.RESEND
            rule = _Rule.RAISE
        return self._end(Verdict.BREAK if rule is _Rule.BREAK else Verdict.RAISE)

    def _end(self, verdict: Verdict) -> Verdict:
        if self.verdict is None:
            self.verdict = verdict
        return self.verdict
