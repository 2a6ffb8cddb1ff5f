"""Every block of Python code in the README and on the pages runs as it stands there.

A comment before a block says that it continues the block before it, that it needs a module or a screen, or why it does
not run. The pages with files and commands have their own tests.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from marks import thorough

ROOT = Path(__file__).parents[2]

if not (ROOT / "docs").is_dir():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

for _needed in ("scipy", "tqdm"):
    pytest.importorskip(_needed)

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<note>[^\n]+) -->\n *)?```python\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE
)
# Calls in the blocks that take long.
_JOBS = ("differential_evolution(", "np.linalg.svd,", "from sklearn")


def _find_blocks():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        blocks = list(_BLOCK.finditer(text))
        assert len(blocks) == text.count("```python"), page
        programs = []
        for number, match in enumerate(blocks, 1):
            note = match["note"] or ""
            code = match["code"].replace("\n" + match["indent"], "\n").removeprefix(match["indent"])
            if note == "continues":
                programs[-1] = f"{programs[-1][0]}\n{code}", *programs[-1][1:]
            else:
                programs.append((code, note, number))
        for code, note, number in programs:
            marks = [thorough] * any(job in code for job in _JOBS)
            marks += [pytest.mark.every_python] * ("interpreters" in note)  # which only some Pythons have
            yield pytest.param(code, note, marks=marks, id=f"{page.stem}-{number}")


@pytest.mark.parametrize(("code", "note"), [*_find_blocks()])
def test_block(code, note, tmp_path):
    """A block ends without an error, and without a traceback of a worker."""
    if note.startswith("not run: "):
        compile(code, "block", "exec")
        return
    if note == "needs a screen":
        pytest.importorskip("tkinter")  # some distributions leave it out
        if shutil.which("xvfb-run") is None:
            pytest.skip("no Xvfb here")
        command = ["xvfb-run", "-a", sys.executable]
    else:
        if note.startswith("needs "):
            pytest.importorskip(note.removeprefix("needs "), exc_type=ImportError)
        command = [sys.executable]
    (tmp_path / "block.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [*command, "block.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_width(path):
    """No line of Python code is wider than its box on the page. Commands wrap."""
    inside, wide = False, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside and "python" in line
        elif inside and len(line) > 88:
            wide.append(line)
    assert wide == []


@thorough
def test_types(tmp_path):
    """A type checker, as in the editors of users, finds no error in the blocks."""
    pytest.importorskip("mypy")
    for each in _find_blocks():
        code, note = each.values
        if not note.startswith("not run: "):  # they are for another system
            (tmp_path / f"{each.id.replace('-', '_')}.py").write_text(code, encoding="utf-8")
    # SciPy's stubs reject a list of bounds, which `differential_evolution` takes.
    (tmp_path / "mypy.ini").write_text("[mypy-scipy.*]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n")
    command = [sys.executable, "-m", "mypy", "--check-untyped-defs", "--ignore-missing-imports", "."]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
