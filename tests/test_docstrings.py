"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import nicefutures
from asking import LINUX
from programs import run_python

pytestmark = pytest.mark.every_python

ENGINES = {
    "nicefutures.integrations.dask": "distributed",
    "nicefutures.integrations._gil_guard": "tornado",
    "nicefutures.integrations.joblib": "joblib",
}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(nicefutures.__path__, "nicefutures.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """Every example gives what it says."""
    if name.endswith(".linux.sharing") and not LINUX:
        pytest.skip("made of what Linux has")
    if name in ENGINES:
        pytest.importorskip(ENGINES[name])
        # In a process of their own, for the engines leave threads and processes behind.
        run_python(f"import doctest, {name} as module; assert doctest.testmod(module).failed == 0")
    else:
        assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", nicefutures.__all__)
def test_documented(name):
    """Every public name says what it is, in one sentence to begin with."""
    assert getattr(nicefutures, name).__doc__.splitlines()[0].endswith((".", ":"))
