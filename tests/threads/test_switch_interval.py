"""Python's switch interval is short while tasks run, and nobody else's is lost."""

import functools
import sys

import pytest

from feeding import Feed
from marks import needs_gil
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.gil import SwitchInterval
from patience import wait_until
from tasks import compute

pytestmark = pytest.mark.every_python


@needs_gil
def test_switch_interval():
    """It is short while tasks run, and what it was as soon as the pool is shut down, or idle."""
    before = sys.getswitchinterval()
    with PriorityThreadPoolExecutor(2, latency_target=0.01) as executor:
        assert sys.getswitchinterval() == before
        with Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.002))
        wait_until(lambda: sys.getswitchinterval() == before)
        with Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.002))
    assert sys.getswitchinterval() == before


@needs_gil
def test_switch_interval_of_two():
    """Two pools have the shorter of theirs; after both have ended it is what it was."""
    before = sys.getswitchinterval()
    with PriorityThreadPoolExecutor(2, latency_target=0.02) as first, Feed(first, functools.partial(compute, 0.002)):
        wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.004))
        with (
            PriorityThreadPoolExecutor(2, latency_target=0.005) as second,
            Feed(second, functools.partial(compute, 0.002)),
        ):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.001))
    assert sys.getswitchinterval() == before


@needs_gil
def test_switch_interval_of_the_user():
    """What the user sets meanwhile stays."""
    before = sys.getswitchinterval()
    try:
        with (
            PriorityThreadPoolExecutor(2, latency_target=0.005) as executor,
            Feed(executor, functools.partial(compute, 0.002)),
        ):
            wait_until(lambda: sys.getswitchinterval() != before)
            sys.setswitchinterval(0.003)
        assert sys.getswitchinterval() == pytest.approx(0.003)
    finally:
        sys.setswitchinterval(before)


def test_short_switch_interval():
    """One that is shorter already stays, too."""
    before = sys.getswitchinterval()
    interval = SwitchInterval()
    try:
        sys.setswitchinterval(0.0005)
        interval.shorten(0.001)
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        interval.put_back()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)
