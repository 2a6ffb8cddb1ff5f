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
    "nicefutures._threads.interpreters": "concurrent.interpreters",
    "nicefutures.integrations.dask": "distributed",
    "nicefutures.integrations._gil_guard": "tornado",
    "nicefutures.integrations.joblib": "joblib",
}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(nicefutures.__path__, "nicefutures.")
    if not module.name.endswith("__main__")
]
PUBLIC = {name: getattr(nicefutures, name) for name in nicefutures.__all__}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """Every example gives the result that it shows."""
    if name.endswith(".linux.sharing") and not LINUX:
        pytest.skip("made of what Linux has")
    if name in ENGINES:
        pytest.importorskip(ENGINES[name])
        # In a separate process, because the engines leave threads and processes behind.
        run_python(f"import doctest, {name} as module; assert doctest.testmod(module).failed == 0")
    else:
        assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", PUBLIC)
def test_public(name):
    """Every public name is documented, with examples that hold, and shows no private module in `help`."""
    public = PUBLIC[name]
    assert public.__doc__.splitlines()[0].endswith((".", ":"))
    assert (public.__module__, public.__qualname__) == ("nicefutures", name)
    for test in doctest.DocTestFinder().find(public, name, module=False):
        assert doctest.DocTestRunner().run(test).failed == 0


def test_names():
    """Completion offers exactly the public names, and there is a version."""
    assert {name for name in dir(nicefutures) if not name.startswith("_")} == set(nicefutures.__all__)
    assert nicefutures.__version__.split(".")[0].isdigit()
