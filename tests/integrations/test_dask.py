"""Dask: what computes is lowered, what communicates is not."""

import pickle

import pytest

from asking import LINUX
from marks import linux_only, seccomp_only
from nicefutures import ProcessPriority, ThreadPriority
from nicefutures._threads.gil import has_gil
from programs import run_python, unprivileged

pytest.importorskip("numpy")
pytest.importorskip("distributed")

from nicefutures.integrations.dask import LowPriorityWorkers


@pytest.mark.parametrize(
    "scenario",
    [pytest.param("levels", marks=pytest.mark.every_python), "replaced", "leaving", "foreign", "in_process", "preload"],
)
def test_cluster(scenario):
    """On a real cluster, asked of the operating system: see the function of that name."""
    run_python("integrations/dask_main.py", scenario)


@linux_only
@pytest.mark.parametrize("scenario", ["late_libraries", "lifting", "full_machine"])
def test_cluster_on_linux(scenario):
    """What only Linux tells, or lets be done."""
    if scenario != "late_libraries" and not has_gil():
        pytest.skip("without the GIL nobody has to wait for it")
    run_python("integrations/dask_main.py", scenario)


@linux_only
def test_unprivileged():
    """As everybody, without the right to raise anything again."""
    run_python("integrations/dask_main.py", "unprivileged", command=unprivileged())


@seccomp_only
def test_forbidden():
    """A worker that may not lower anything stays, and says so."""
    run_python("integrations/dask_main.py", "forbidden", "forbid")


def test_levels_are_parsed_at_once():
    """An unknown level is an error on the client, before anything is sent."""
    with pytest.raises(ValueError, match="unknown priority 'low': use one of 'idle'"):
        LowPriorityWorkers("low")
    with pytest.raises(ValueError, match="only lowers"):
        LowPriorityWorkers("highest")
    with pytest.raises(ValueError, match="only lowers"):
        LowPriorityWorkers(ProcessPriority.HIGH)
    with pytest.raises(TypeError, match="not 19"):
        LowPriorityWorkers(19)


def test_pickles():
    """The plugin goes over the wire, and is called the same there."""
    plugin = pickle.loads(pickle.dumps(LowPriorityWorkers(ProcessPriority.BELOW_NORMAL)))
    assert plugin.priority is ThreadPriority.BELOW_NORMAL
    assert plugin.name == LowPriorityWorkers.name
    with pytest.raises(RuntimeError, match="worker_levels"):
        plugin.levels()


@pytest.mark.skipif(not LINUX, reason="one system's path is enough")
@pytest.mark.parametrize("engine", ["dask", "joblib"])
def test_engine_is_missing(engine):
    """Without the engine, the error names the extra."""
    needed = {"dask": "distributed", "joblib": "joblib"}[engine]
    printed = run_python(f"""
import sys
sys.modules[{needed!r}] = None
import nicefutures, nicefutures.integrations
try:
    import nicefutures.integrations.{engine}
except ImportError as error:
    print(error)
""")
    assert f"pip install 'nicefutures[{engine}]'" in printed


def test_no_engine_comes_along():
    """Importing the library imports none of the engines, and installing it installs none."""
    printed = run_python("""
import sys, nicefutures, nicefutures.integrations
print({"dask", "distributed", "joblib", "loky", "mpi4py"} & set(sys.modules))
""")
    assert printed.strip() == "set()"
    from importlib.metadata import requires

    always = [need for need in requires("nicefutures") if "extra" not in need]
    assert {need.partition(">")[0] for need in always} == {"cloudpickle", "psutil", "threadpoolctl"}
