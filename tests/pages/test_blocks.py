"""Every block of Python code in the README and on the pages runs as it stands there.

A comment before a block says what is special about it: that it continues the block before it, what it needs, or why it
does not run. The pages with files and commands have tests of their own.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if not (ROOT / "docs").is_dir():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

for _needed in ("scipy", "tqdm"):
    pytest.importorskip(_needed)

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<note>[^\n]+) -->\n *)?```python\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE
)


def _find_blocks():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = ""
        text = page.read_text(encoding="utf-8")
        blocks = list(_BLOCK.finditer(text))
        assert len(blocks) == text.count("```python"), page
        for number, match in enumerate(blocks, 1):
            note = match["note"] or ""
            code = match["code"].replace("\n" + match["indent"], "\n").removeprefix(match["indent"])
            before = f"{before}\n{code}" if note == "continues" else code
            yield pytest.param(before, note, id=f"{page.stem}-{number}")


@pytest.mark.parametrize(("code", "note"), [*_find_blocks()])
def test_block(code, note, tmp_path):
    """It ends without an error, and without a traceback of a worker."""
    if note.startswith("not run: "):
        compile(code, "block", "exec")
        return
    if note == "needs a screen":
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
    """No line of code is wider than its box on the pages, where commands wrap."""
    inside, wide = False, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside and "python" in line
        elif inside and len(line) > 88:
            wide.append(line)
    assert wide == []
