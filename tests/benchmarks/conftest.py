"""The benchmarks' tests need the packages of the benchmarks, and short baselines."""

import importlib.util

import pytest

_NEEDED = ("matplotlib", "numpy", "pyperf", "rich", "scipy", "threadpoolctl")
MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
if importlib.util.find_spec("benchmarks.record") is None:  # they are in the source tree only
    MISSING.append("benchmarks")
if MISSING:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def short_and_patient():
    """Shorten the idle baseline at the beginning and end of every run, and wait longer on a busy machine."""
    from benchmarks.measuring import run

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "BASELINE_S", 0.2)
        patched.setattr(run, "PATIENCE_S", 300.0)
        yield
