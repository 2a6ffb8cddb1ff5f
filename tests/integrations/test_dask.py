"""In Dask workers, threads that compute are lowered, and threads that communicate are not."""

import pickle

import pytest

from asking import LINUX
from marks import linux_only, seccomp_only, thorough
from nicefutures import ProcessPriority, ThreadPriority
from nicefutures._threads.gil import has_gil
from programs import run_python, unprivileged

pytest.importorskip("numpy")
pytest.importorskip("distributed")

from nicefutures.integrations.dask import LowPriorityWorkers


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param("in_process", marks=pytest.mark.every_python),
        *(pytest.param(name, marks=thorough) for name in ("levels", "replaced", "leaving", "foreign", "preload")),
    ],
)
def test_cluster(scenario):
    """A real cluster has the right levels, as the system reports them: see the scenario's function in dask_main."""
    run_python("integrations/dask_main.py", scenario)


@linux_only
@thorough
@pytest.mark.parametrize("scenario", ["late_libraries", "lifting", "full_machine"])
def test_cluster_on_linux(scenario):
    """Scenarios that only Linux allows, or reports, work on a real cluster."""
    if scenario != "late_libraries" and not has_gil():
        pytest.skip("without the GIL nobody has to wait for it")
    run_python("integrations/dask_main.py", scenario)


@linux_only
@thorough
def test_unprivileged():
    """The plugin works for a user who may not raise a priority again."""
    run_python("integrations/dask_main.py", "unprivileged", command=unprivileged())


@seccomp_only
@thorough
def test_forbidden():
    """A worker that may not lower its threads continues, and says so."""
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
    """The plugin can be pickled, and keeps its level and its name."""
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
