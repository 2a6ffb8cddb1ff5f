"""The error of a broken pool says which worker ended, and how."""

import multiprocessing
import os
import signal

import pytest

from asking import WINDOWS
from marks import posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from tasks import identify
from using import kill_myself

pytestmark = pytest.mark.every_python


@posix_only
@pytest.mark.parametrize("number", [signal.SIGKILL if not WINDOWS else 0, signal.SIGTERM], ids=["KILL", "TERM"])
def test_killed_worker(context, number):
    """The error names the worker and the signal that ended it."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        worker = executor.submit(identify).result()
        error = executor.submit(kill_myself, number).exception()
    assert f"Worker {worker} was" in str(error)
    assert signal.Signals(number).name in str(error)


def test_exited_worker():
    """The error names the exit status of a worker."""
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        error = executor.submit(os._exit, 3).exception()
    assert "exit status 3" in str(error)
