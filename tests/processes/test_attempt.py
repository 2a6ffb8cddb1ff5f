"""The verdict on a task whose worker dies: every event in every state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicefutures._processes.attempt import Attempt, Exit, Phase, Verdict

MODES = ("break", "fail", "retry")
WORKERS = 4
OF_STARTS = {Exit.FAILED, Exit.SILENT}  # only for a worker that is not ready
WAYS = [each for each in Exit if each not in OF_STARTS]


def attempt_in(phase, on_crash):
    attempt = Attempt(on_crash, WORKERS)
    for step in (attempt.ready, attempt.sent, attempt.begun)[: phase - 1]:
        step()
    assert attempt.phase is phase
    return attempt


# The verdict on the first death of a worker, for on_crash="break", "fail" and "retry".
FIRST = {
    Phase.STARTING: {
        Exit.KILLED: "resend resend resend",
        Exit.TERMINATED: "break resend resend",
        Exit.OUT_OF_MEMORY: "resend resend resend",
        Exit.CRASHED: "break resend resend",
        Exit.LIMITED: "break resend resend",
        Exit.FAILED: "break break break",
        Exit.SILENT: "resend resend resend",
    },
    Phase.UNREAD: dict.fromkeys(WAYS, "resend resend resend") | {Exit.TERMINATED: "break resend resend"},
    Phase.READ: {
        Exit.KILLED: "break raise resend",
        Exit.TERMINATED: "break raise resend",
        Exit.OUT_OF_MEMORY: "break raise resend",
        Exit.CRASHED: "break raise resend",
        Exit.LIMITED: "raise raise resend",
    },
    Phase.BEGUN: {
        Exit.KILLED: "break raise resend",
        Exit.TERMINATED: "break raise resend",
        Exit.OUT_OF_MEMORY: "break raise resend",
        Exit.CRASHED: "break raise resend",
        Exit.LIMITED: "raise raise resend",
    },
}
CASES = [
    (phase, how, on_crash, verdict)
    for phase, rows in FIRST.items()
    for how, verdicts in rows.items()
    for on_crash, verdict in zip(MODES, verdicts.split(), strict=True)
]


@pytest.mark.parametrize(("phase", "how", "on_crash", "verdict"), CASES)
def test_first_death(phase, how, on_crash, verdict):
    """The first death of a worker has the verdict of the table."""
    attempt = attempt_in(phase, on_crash)
    assert attempt.lost(how).name.lower() == verdict
    assert (attempt.verdict is None) == (verdict == "resend")
    assert attempt.phase is Phase.STARTING  # with the next worker


def test_unread():
    """If a worker dies before it has read all of a sent task, the task is sent again."""
    attempt = attempt_in(Phase.READ, "break")
    assert attempt.lost(Exit.CRASHED, unread=True) is Verdict.RESEND


def count_losses(attempt, how, *steps):
    """Return how many workers a task may lose in this way, and the verdict on the last loss."""
    count, verdict = 0, Verdict.RESEND
    while verdict is Verdict.RESEND:
        count += 1
        for step in steps:
            getattr(attempt, step)()
        verdict = attempt.lost(how)
    return count, verdict


def test_limits():
    """Every kind of repeated loss has a limit."""
    assert count_losses(attempt_in(Phase.STARTING, "retry"), Exit.CRASHED, "ready", "sent", "begun") == (
        3,
        Verdict.RAISE,
    )
    assert count_losses(attempt_in(Phase.STARTING, "break"), Exit.SILENT) == (3, Verdict.BREAK)
    for on_crash in MODES:
        count, verdict = count_losses(attempt_in(Phase.STARTING, on_crash), Exit.KILLED)
        assert count > WORKERS
        assert verdict is Verdict.BREAK
        count, verdict = count_losses(attempt_in(Phase.STARTING, on_crash), Exit.KILLED, "ready")
        assert count > WORKERS  # all idle workers may be dead
        assert verdict is (Verdict.BREAK if on_crash == "break" else Verdict.RAISE)


def test_crashes_of_each_call():
    """A call of a chunk that has returned is not repeated, and the next call has its own count of crashes."""
    attempt = Attempt("retry", WORKERS)
    for first in range(1, 6):
        for _ in range(2):
            attempt.ready()
            attempt.sent()
            assert attempt.lost(Exit.CRASHED) is Verdict.RESEND
        attempt.ready()
        attempt.sent()
        attempt.part()
        assert attempt.first == first
    assert attempt.answer() is Verdict.RETURN


@pytest.mark.parametrize("event", ["answer", "deadline"])
def test_ends(event):
    """An answer and a deadline have one verdict each."""
    attempt = attempt_in(Phase.BEGUN, "retry")
    verdict = getattr(attempt, event)()
    assert verdict.name == {"answer": "RETURN", "deadline": "TIME_OUT"}[event]


class Machine:
    """A task whose workers may make progress or die at any time."""

    STEPS = ("ready", "sent", "begun", "part")

    def __init__(self, on_crash):
        self.attempt = Attempt(on_crash, WORKERS)

    def do(self, event, how, *, unread):
        """Apply the event if it is possible now; return the verdict if there is one."""
        if event == "lost":
            if how in OF_STARTS and self.attempt.phase is not Phase.STARTING:
                how = Exit.KILLED
            return self.attempt.lost(how, unread=unread)
        if event in ("answer", "deadline"):
            return getattr(self.attempt, event)()
        place = self.STEPS.index(event)
        if self.attempt.phase == place + 1 or (event == "part" and self.attempt.phase >= Phase.READ):
            getattr(self.attempt, event)()
        return None


EVENTS = st.tuples(
    st.sampled_from((*Machine.STEPS, *Machine.STEPS, "lost", "lost", "answer", "deadline")),
    st.sampled_from(Exit),
    st.booleans(),
)


@given(st.sampled_from(MODES), st.lists(EVENTS, max_size=80))
def test_any_events(on_crash, events):
    """The first final verdict stays, no finished call is repeated, and "break" resends no task that was read."""
    machine = Machine(on_crash)
    final, first = None, 0
    for event, how, unread in events:
        was_read = machine.attempt.phase is Phase.BEGUN or (machine.attempt.phase is Phase.READ and not unread)
        verdict = machine.do(event, how, unread=unread)
        assert machine.attempt.first >= first
        first = machine.attempt.first
        if final is not None:
            assert verdict in (None, final)
        elif verdict is not Verdict.RESEND:
            final = verdict
        else:
            assert not (was_read and on_crash == "break")
        assert machine.attempt.verdict is final


def test_unreadable():
    """A worker that dies before it reads the task in another form says nothing about the task."""
    attempt = Attempt("break", 1)
    attempt.ready()
    attempt.sent()
    attempt.begun()
    attempt.unreadable()
    assert attempt.lost(Exit.KILLED) is Verdict.RESEND
