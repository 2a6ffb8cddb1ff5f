"""The code on the page "From your laptop to a cluster" runs, and prints the output on the page."""

import shutil

import pytest

from marks import thorough
from runnable import Page, run

PAGE = Page("cluster.md")

if not PAGE.text:
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

pytest.importorskip("scipy")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the page's files."""
    PAGE.write_files(tmp_path)
    return tmp_path


def test_all_is_found():
    """No block of the page is left out."""
    PAGE.check()
    assert "```python" not in PAGE.text


@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param(command, output, marks=[] if command == "python on_laptop.py" else thorough, id=command)
        for command, output in PAGE.runs
    ],
)
def test_command(command, output, folder):
    """Each command prints the output on the page."""
    if "dask" in command:
        pytest.importorskip("distributed")
    if command.startswith("mpiexec"):
        pytest.importorskip("mpi4py")
        if shutil.which("mpiexec") is None:
            pytest.skip("no MPI here")
    assert run(command, folder) == output


@thorough
def test_preload(folder):
    """The administrator's file lowers the priority of Dask's workers."""
    pytest.importorskip("distributed")
    (folder / "check.py").write_text(
        "from distributed import Client, LocalCluster\n"
        "from nicefutures import get_thread_priority\n"
        'if __name__ == "__main__":\n'
        '    cluster = LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address=None)\n'
        "    with cluster, Client(cluster) as client:\n"
        "        print(client.submit(get_thread_priority).result().name)\n"
    )
    assert run("python check.py", folder, DASK_CONFIG=str(folder / "nicefutures.yaml")) == "IDLE\n"


@thorough
def test_joblib(folder):
    """The code of `lower_joblib.py` lowers the priority of joblib's workers."""
    pytest.importorskip("joblib", minversion="1.5")
    (folder / "check.py").write_text(
        "import lower_joblib\n"
        "from joblib import Parallel, delayed\n"
        "from nicefutures import get_process_priority\n"
        'if __name__ == "__main__":\n'
        "    print({level.name for level in Parallel(2)(delayed(get_process_priority)() for _ in range(4))})\n"
    )
    assert run("python check.py", folder) == "{'IDLE'}\n"
