"""Pages whose files and commands can be run."""

import os
import re
import subprocess
import sys
from pathlib import Path

_FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (?P<name>\S+)\n\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n\$ (?P<command>.*?)\n(?P<output>.*?)^```$", re.DOTALL | re.MULTILINE)


class Page:
    """A page of the documentation, with its files, and its commands and their output."""

    def __init__(self, name):
        self.path = Path(__file__).parents[2] / "docs" / name
        self.text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        self.files = [match.groups() for match in _FILE.finditer(self.text)]
        self.runs = [match.groups() for match in _CONSOLE.finditer(self.text)]

    def write_files(self, folder):
        """Write the page's files."""
        for name, code in self.files:
            (folder / name).write_text(code, encoding="utf-8")

    def check(self):
        """Check that no block of the page is left out."""
        assert len(self.runs) == self.text.count("```console") > 0
        assert len(self.files) == self.text.count("```{code-block}") > 0


def run(command, folder, **environment):
    # As in a shell in which this environment is active. Open MPI needs two variables to run as root, and one for more
    # ranks than cores.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, "PATH": places, **root, "OMPI_MCA_rmaps_base_oversubscribe": "1", **environment}
    done = subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
