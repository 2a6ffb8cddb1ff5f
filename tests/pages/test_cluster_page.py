"""The page "From your laptop to a cluster": its code runs as it is written, and prints what is written there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"

if not PAGE.exists():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

pytest.importorskip("scipy")

_FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (?P<name>\S+)\n\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n\$ (?P<command>.*?)\n(?P<output>.*?)^```$", re.DOTALL | re.MULTILINE)
_TEXT = PAGE.read_text(encoding="utf-8")
RUNS = [match.groups() for match in _CONSOLE.finditer(_TEXT)]


@pytest.fixture
def folder(tmp_path):
    """A folder with the page's files."""
    for match in _FILE.finditer(_TEXT):
        (tmp_path / match["name"]).write_text(match["code"], encoding="utf-8")
    return tmp_path


def run(command, folder, **environment):
    # As in a shell in which this environment is active. Open MPI wants to be asked twice by root, and to be told that
    # there may be more ranks than cores.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, "PATH": places, **root, "OMPI_MCA_rmaps_base_oversubscribe": "1", **environment}
    done = subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_is_found():
    """None of the page's blocks is left out."""
    assert len(RUNS) == _TEXT.count("```console")
    assert len(_FILE.findall(_TEXT)) == _TEXT.count("```{code-block}")
    assert "```python" not in _TEXT


@pytest.mark.parametrize(("command", "output"), RUNS, ids=[command for command, _ in RUNS])
def test_command(command, output, folder):
    """Each command prints what the page says."""
    if "dask" in command:
        pytest.importorskip("distributed")
    if command.startswith("mpiexec"):
        pytest.importorskip("mpi4py")
        if shutil.which("mpiexec") is None:
            pytest.skip("no MPI here")
    assert run(command, folder) == output


def test_preload(folder):
    """The administrator's file makes Dask's workers low."""
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


def test_joblib(folder):
    """What goes into `sitecustomize.py` makes joblib's workers low."""
    pytest.importorskip("joblib", minversion="1.5")
    (folder / "check.py").write_text(
        "import lower_joblib\n"
        "from joblib import Parallel, delayed\n"
        "from nicefutures import get_process_priority\n"
        'if __name__ == "__main__":\n'
        "    print({level.name for level in Parallel(2)(delayed(get_process_priority)() for _ in range(4))})\n"
    )
    assert run("python check.py", folder) == "{'IDLE'}\n"
