"""Functions and classes in the cells of a notebook, in a real kernel."""

import os
import signal
import sys
import threading

import pytest

from asking import WINDOWS
from marks import METHODS, one_less

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("scipy")

CELLS = [
    """
import dataclasses, multiprocessing, sys, time
import numpy as np
from scipy.optimize import differential_evolution
from nicefutures import LowPriorityProcessPoolExecutor

FACTOR, table = 3, np.arange(100_000.0)

@dataclasses.dataclass
class Point:
    x: float

def scaled(point):
    return Point(FACTOR * point.x + float(table[-1]))

def begin(point):
    global begun
    begun = point

executor = LowPriorityProcessPoolExecutor(
    2, multiprocessing.get_context({method!r}), initializer=begin, initargs=(Point(1),)
)
point = executor.submit(scaled, Point(2)).result()
print(type(point) is Point, point.x)
""",
    """
def closure(by):
    return lambda number: number + by

print(executor.submit(lambda: FACTOR).result(), list(executor.map(closure(7), range(3), chunksize="auto")))
print([each.x for each in executor.map(scaled, map(Point, range(3)), chunksize="auto")])
""",
    """
def scaled(point):
    return Point(-FACTOR * point.x)
""",
    """
print(executor.submit(scaled, Point(2)).result(), [each.x for each in executor.map(scaled, [Point(1)])])
""",
    """
def bowl(x):
    return float(((x - FACTOR) ** 2).sum())

best = differential_evolution(bowl, [(-5, 5)] * 2, updating="deferred", workers=executor.map, seed=0, maxiter=5)
print(best.x.round(1))
""",
    """
print(sorted(executor._processes) == sorted(each.pid for each in executor.workers()))
pids = sorted(executor._processes)
try:
    print("waits")
    list(executor.map(time.sleep, [600] * 10))
except KeyboardInterrupt:
    print("interrupted")
""",
    """
print([each.x for each in executor.map(scaled, map(Point, range(3)))], sorted(executor._processes) == pids)
executor.shutdown()
""",
]
WANTED = [
    "True 100005.0\n",
    "3 [7, 8, 9]\n[99999.0, 100002.0, 100005.0]\n",
    "",
    "Point(x=-6) [-3]\n",
    "[3. 3.]\n",
    "True\nwaits\ninterrupted\n",
    "[0, -3, -6] True\n",
]


@pytest.mark.skipif(WINDOWS, reason="a kernel needs a running event loop that Wine has not")
@pytest.mark.parametrize("method", one_less(METHODS))
def test_cells(method):
    """Functions and classes of cells work, the newest one counts, and the pool outlives "interrupt the kernel"."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text.replace("{method!r}", repr(method))) for text in CELLS]
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")

    def interrupt(**_):
        # Like a notebook's server: all processes of the kernel's group get the signal.
        process = client.km.provisioner
        timer = threading.Timer(1, lambda: os.killpg(os.getpgid(process.pid), signal.SIGINT))
        timer.start()

    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if "waits" in cell.source:
                interrupt()
            client.execute_cell(cell, index)
    found = ["".join(each.get("text", str(each)) for each in cell.outputs) for cell in notebook.cells]
    assert found == WANTED


def test_ipython(tmp_path):
    """A session of IPython works, also with a script that it has run."""
    import subprocess

    pytest.importorskip("IPython")
    from programs import environment

    (tmp_path / "script.py").write_text(
        "import multiprocessing\nfrom nicefutures import LowPriorityProcessPoolExecutor as Pool\n"
        "print('top level')\ndef f(x): return x + 1\n"
        "with Pool(1, multiprocessing.get_context('spawn')) as pool: print(pool.submit(f, 1).result())\n"
    )
    typed = "def g(x): return f(x) * 2\n\npool = Pool(1, multiprocessing.get_context('spawn'))\n"
    typed += "print(list(pool.map(g, [1, 2])))\npool.shutdown()\n"
    command = [sys.executable, "-m", "IPython", "--no-banner", "--simple-prompt", "--quick", "--colors=NoColor"]
    done = subprocess.run(
        [*command, "-i", "-c", "%run script.py"], input=typed, capture_output=True, text=True, timeout=60,
        check=False, cwd=tmp_path, env=environment(IPYTHONDIR=str(tmp_path)),
    )  # fmt: skip
    assert done.stdout.count("top level") == 1, done.stdout + done.stderr
    assert "[4, 6]" in done.stdout, done.stdout + done.stderr
