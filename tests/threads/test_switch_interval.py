"""Python's switch interval is short while tasks run, and a value of the program is never lost."""

import functools
import sys

import pytest

from feeding import Feed
from marks import needs_gil
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.controller import controller
from nicefutures._threads.gil import SwitchInterval
from nicefutures._threads.regulator import Regulator
from patience import wait_until
from tasks import compute

pytestmark = pytest.mark.every_python


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch):
    """Let no more workers in, however busy the machine is, because each of them makes the interval longer."""
    monkeypatch.setattr(Regulator, "_let_more_in", lambda *_: None)


@needs_gil
def test_switch_interval():
    """The interval is short while tasks run, and is restored when the pool is idle or shut down."""
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
    """Two pools use the shorter of their intervals; after both have ended, the earlier value is restored."""
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
    """A value that the user sets meanwhile stays."""
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


@needs_gil
@pytest.mark.parametrize("shut_down", [False, True])
def test_switch_interval_of_a_library(shut_down):
    """If a library sets the interval while the pool works, and restores it later, it does not stay short."""
    before = sys.getswitchinterval()
    executor = PriorityThreadPoolExecutor(2, latency_target=0.005)
    try:
        with Feed(executor, functools.partial(compute, 0.002)):
            wait_until(lambda: sys.getswitchinterval() == pytest.approx(0.001))
            saved = sys.getswitchinterval()
            sys.setswitchinterval(0.02)
        if shut_down:
            executor.shutdown()
        wait_until(lambda: not controller.awake)
        assert sys.getswitchinterval() == pytest.approx(0.02)
        sys.setswitchinterval(saved)
        wait_until(lambda: sys.getswitchinterval() == before)
    finally:
        executor.shutdown()
        sys.setswitchinterval(before)


@pytest.mark.parametrize("set_meanwhile", [0.02, 0.0001])
def test_look_again(set_meanwhile):
    """A value that the program has set is checked again, less and less often, and never changed."""
    before = sys.getswitchinterval()
    interval = SwitchInterval()
    try:
        interval.shorten(0.001)
        sys.setswitchinterval(set_meanwhile)
        pauses = []
        for _ in range(12):
            interval.put_back()
            pauses.append(interval.recheck_s)
            interval.shorten(0.001)  # the pool works again meanwhile
            assert sys.getswitchinterval() == pytest.approx(set_meanwhile)
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.25, 60.0)
        sys.setswitchinterval(before)
        interval.shorten(0.001)
        assert interval.recheck_s is None
        assert sys.getswitchinterval() == pytest.approx(0.001)
        interval.put_back()
        assert sys.getswitchinterval() == before
    finally:
        sys.setswitchinterval(before)


def test_short_switch_interval():
    """An interval that is already shorter stays."""
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
