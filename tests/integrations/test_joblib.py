"""The joblib backend."""

import pytest

from marks import seccomp_only
from programs import run_python

pytest.importorskip("numpy")
pytest.importorskip("joblib", minversion="1.5")

import joblib

from nicefutures.integrations.joblib import LowPriorityBackend, register


@pytest.mark.parametrize("scenario", [pytest.param("levels", marks=pytest.mark.every_python), "memory", "nested"])
def test_parallel(scenario):
    """On real workers, asked of the operating system: see the function of that name."""
    run_python("integrations/joblib_main.py", scenario)


def test_scikit_learn():
    """Who uses joblib below gets low-priority workers without being touched."""
    pytest.importorskip("sklearn")
    run_python("integrations/joblib_main.py", "scikit_learn")


@seccomp_only
def test_forbidden():
    """A worker that may not lower itself works, and that is said."""
    run_python("integrations/joblib_main.py", "forbidden")


def test_bad_input():
    """What is wrong is said where it is passed."""
    register()
    with pytest.raises(ValueError, match="unknown priority 'low': use one of 'idle'"):
        joblib.parallel_config("nicefutures", n_jobs=2, priority="low")
    with pytest.raises(ValueError, match="only lowers"):
        LowPriorityBackend(priority="high")
    with pytest.raises(ValueError, match="on_denied"):
        LowPriorityBackend(on_denied="maybe")
    with pytest.raises(TypeError, match="initializer"):
        LowPriorityBackend(initializer=3)
