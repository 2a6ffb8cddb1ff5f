"""The joblib backend."""

import pytest

from marks import seccomp_only, thorough
from programs import run_python

pytest.importorskip("numpy")
pytest.importorskip("joblib", minversion="1.5")

import joblib

from nicefutures.integrations.joblib import LowPriorityBackend, register


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param("levels", marks=pytest.mark.every_python),
        *(pytest.param(name, marks=thorough) for name in ("memory", "nested")),
    ],
)
def test_parallel(scenario):
    """Real workers have the right levels, as the system reports them: see the scenario's function in joblib_main."""
    run_python("integrations/joblib_main.py", scenario)


@thorough
def test_scikit_learn():
    """A library that uses joblib gets low-priority workers without changes."""
    pytest.importorskip("sklearn")
    run_python("integrations/joblib_main.py", "scikit_learn")


@seccomp_only
@thorough
def test_forbidden():
    """A worker that may not lower itself still works, and a warning says so."""
    run_python("integrations/joblib_main.py", "forbidden")


def test_bad_input():
    """A wrong argument is an error where it is passed."""
    register()
    with pytest.raises(ValueError, match="unknown priority 'low': use one of 'idle'"):
        joblib.parallel_config("nicefutures", n_jobs=2, priority="low")
    with pytest.raises(ValueError, match="only lowers"):
        LowPriorityBackend(priority="high")
    with pytest.raises(ValueError, match="on_denied"):
        LowPriorityBackend(on_denied="maybe")
    with pytest.raises(TypeError, match="initializer"):
        LowPriorityBackend(initializer=3)


def test_options_of_the_executor():
    """Joblib ignores keywords that it does not know, so an option that has no effect is an error."""
    register()
    with pytest.raises(TypeError, match="this backend has no task_timeout"):
        LowPriorityBackend(task_timeout=1)
    with pytest.raises(TypeError, match=r"pass priority to joblib\.parallel_config"):
        joblib.Parallel(2, backend="nicefutures", priority="normal")(joblib.delayed(abs)(-1) for _ in range(2))
