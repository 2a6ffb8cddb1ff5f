"""Tasks that wait for each other at random finish, as they do in the standard library's pool."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nicefutures import PriorityThreadPoolExecutor

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from patience import PATIENCE
from tasks import compute

pytestmark = pytest.mark.every_python


def do(executor, what):
    """Do one step of a task. If tasks wait for other tasks, one worker more than there are waiting tasks is enough."""
    if what == "compute":
        compute(0.01)
    elif what == "sleep":
        time.sleep(0.005)
    elif what == "meet":
        meeting = threading.Barrier(2)
        executor.submit(meeting.wait, PATIENCE)
        meeting.wait(PATIENCE)
    elif what == "consume":
        stock = threading.Semaphore(0)
        executor.submit(stock.release)
        assert stock.acquire(timeout=PATIENCE)
    elif what == "result":
        assert executor.submit(sum, range(100)).result(PATIENCE) == 4950
    elif what == "spawn":
        executor.submit(compute, 0.002)
    else:
        raise LookupError(what)


def run_programs(kind, programs):
    """Run tasks of several steps; return the result or the exception of each."""

    def run(program):
        for what in program:
            do(executor, what)
        return len(program)

    with kind(len(programs) + 1) as executor:
        futures = [executor.submit(run, program) for program in programs]
        return [repr(future.exception(PATIENCE) or future.result()) for future in futures]


steps = st.sampled_from(["compute", "sleep", "meet", "consume", "result", "spawn", "fail"])


@given(st.lists(st.lists(steps, min_size=1, max_size=6), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_random_tasks(programs):
    """Tasks with any steps end as in the standard library's pool."""
    assert run_programs(PriorityThreadPoolExecutor, programs) == run_programs(ThreadPoolExecutor, programs)
