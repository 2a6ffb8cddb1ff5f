"""What becomes of a task whose worker dies: a state machine that knows no process, no thread and no clock.

A task goes to a worker, and to another one if that does it no harm. The runner reports the events; an event that ends
an attempt has a verdict.
"""

from enum import IntEnum, auto
from typing import Final, Literal, NamedTuple, TypeAlias

OnCrash: TypeAlias = Literal["break", "fail", "retry"]

# A task that has crashed so often is not tried again.
_MOST_CRASHES: Final = 3
# So many workers, one after the other, may die before they have begun with a task: of themselves, or because somebody
# kills them, which says little of how the next one will fare. And so many may stay silent.
_MOST_LOST: Final = 10
_MOST_KILLED: Final = 100
_MOST_SILENT: Final = 3


class Phase(IntEnum):
    """How far a task has come with its worker."""

    STARTING = auto()  # the worker is not ready
    UNREAD = auto()  # it was ready, and died before it had read the whole task
    READ = auto()  # it had the whole task
    BEGUN = auto()  # it has said that it makes the call


class Exit(IntEnum):
    """How a worker has ended."""

    KILLED = auto()  # by SIGKILL or SIGTERM, from outside
    OUT_OF_MEMORY = auto()  # killed by the kernel
    CRASHED = auto()
    LIMITED = auto()  # crashed where its memory is limited, which some libraries answer by ending the process
    FAILED = auto()  # its initializer has raised, or the main module cannot be imported
    SILENT = auto()  # it has not said that it is alive


class Verdict(IntEnum):
    """What is done about an event."""

    RETURN = auto()  # the task has its answer
    RAISE = auto()  # the crash is an error of this call
    RESEND = auto()  # the calls from `Attempt.first` on go to another worker
    TIME_OUT = auto()  # the worker is ended, and that is an error of this call
    CANCEL = auto()  # the worker is ended, and the task cancelled
    BREAK = auto()  # the pool ends


class _Rule(IntEnum):
    """An entry of the table."""

    BREAK = auto()
    RAISE = auto()
    AGAIN = auto()  # it says nothing of the task: with another worker, but not for ever
    COUNT = auto()  # a crash of this call: again, but for the third


_BREAK, _RAISE, _AGAIN, _COUNT = _Rule

# What on_crash="break", "fail" and "retry" make of a worker that is lost.
_RULES: Final[dict[tuple[Phase, Exit], tuple[_Rule, _Rule, _Rule]]] = {
    (Phase.STARTING, Exit.KILLED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.OUT_OF_MEMORY): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.CRASHED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.LIMITED): (_BREAK, _AGAIN, _AGAIN),
    (Phase.STARTING, Exit.FAILED): (_BREAK, _BREAK, _BREAK),
    (Phase.STARTING, Exit.SILENT): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.KILLED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.OUT_OF_MEMORY): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.CRASHED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.UNREAD, Exit.LIMITED): (_AGAIN, _AGAIN, _AGAIN),
    (Phase.READ, Exit.KILLED): (_BREAK, _RAISE, _AGAIN),
    (Phase.READ, Exit.OUT_OF_MEMORY): (_BREAK, _RAISE, _COUNT),
    (Phase.READ, Exit.CRASHED): (_BREAK, _RAISE, _COUNT),
    (Phase.READ, Exit.LIMITED): (_RAISE, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.KILLED): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.OUT_OF_MEMORY): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.CRASHED): (_BREAK, _RAISE, _COUNT),
    (Phase.BEGUN, Exit.LIMITED): (_RAISE, _RAISE, _COUNT),
}
_COLUMNS: Final[dict[OnCrash, int]] = {"break": 0, "fail": 1, "retry": 2}


class Policy(NamedTuple):
    """What a pool does about workers that die.

    Attributes
    ----------
    on_crash : str
        As the executor takes it.
    max_workers : int
        All that are idle may be dead.
    """

    on_crash: OnCrash
    max_workers: int


class Attempt:
    """A task with one worker after the other.

    Parameters
    ----------
    policy : Policy
        The pool's.

    Attributes
    ----------
    phase : Phase
        How far it has come with this worker.
    first : int
        How many calls of a chunk are done, so the first one that another worker has to make.
    verdict : Verdict or None
        The final one: whatever comes after that changes nothing.
    """

    # Of the class, for most tasks see none of this.
    _crashes = _lost = _silent = first = 0
    phase = Phase.STARTING
    verdict: Verdict | None = None

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def ready(self) -> None:
        """Note that its worker takes tasks."""
        self.phase = Phase.UNREAD

    def sent(self) -> None:
        """Note that the whole task is in the pipe."""
        self.phase = Phase.READ

    def begun(self) -> None:
        """Note that the worker makes the call."""
        self.phase = Phase.BEGUN
        self._lost = 0

    def part(self) -> None:
        """Note that a call of a chunk has returned."""
        self.begun()
        self.first += 1
        self._crashes = 0

    def answer(self) -> Verdict:
        """End with the answer of the task."""
        return self._end(Verdict.RETURN)

    def deadline(self) -> Verdict:
        """End because the call has taken too long."""
        return self._end(Verdict.TIME_OUT)

    def stop(self) -> Verdict:
        """End because somebody has cancelled the task."""
        return self._end(Verdict.CANCEL)

    def lost(self, how: Exit, *, unread: bool = False) -> Verdict:
        """Note that the worker has ended, in the middle of reading the task if it is `unread`; return what to do."""
        if self.verdict is not None:
            return self.verdict
        if unread and self.phase is Phase.READ:
            self.phase = Phase.UNREAD
        phase, self.phase = self.phase, Phase.STARTING
        rule = _RULES[phase, how][_COLUMNS[self._policy.on_crash]]
        if rule is _Rule.AGAIN:
            self._lost += 1
            self._silent += how is Exit.SILENT
            most = (_MOST_KILLED if how is Exit.KILLED else _MOST_LOST) + self._policy.max_workers
            if self._lost < most and self._silent < _MOST_SILENT:
                return Verdict.RESEND
            rule = _Rule.BREAK if phase is Phase.STARTING or self._policy.on_crash == "break" else _Rule.RAISE
        elif rule is _Rule.COUNT:
            self._crashes += 1
            if self._crashes < _MOST_CRASHES:
                return Verdict.RESEND
            rule = _Rule.RAISE
        return self._end(Verdict.BREAK if rule is _Rule.BREAK else Verdict.RAISE)

    def _end(self, verdict: Verdict) -> Verdict:
        if self.verdict is None:
            self.verdict = verdict
        return self.verdict
