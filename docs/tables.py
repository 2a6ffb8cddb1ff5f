# ruff: noqa: INP001 (a script beside the pages that it writes)
"""Write the tables of results into the pages: ``python docs/tables.py``.

A table stands between two comments, the first of which names the command that prints it.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"]
_TABLE = re.compile(
    r"(<!-- (?P<name>[\w-]+):begin \(python (?P<command>[^)]*)\) -->\n).*?(<!-- (?P=name):end -->)", re.DOTALL
)


def render(page: str) -> str:
    """Return the page with every table as its command prints it."""
    return _TABLE.sub(lambda match: f"{match[1]}\n{_run(match['command'])}\n{match[4]}", page)


def _run(command: str) -> str:
    arguments = [sys.executable, *shlex.split(command)]
    return subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")
