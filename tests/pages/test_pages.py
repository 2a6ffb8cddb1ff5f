"""The statements of the pages are true."""

import functools
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest

from marks import thorough

ROOT = Path(__file__).parents[2]

if not (ROOT / "docs").is_dir():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)


for _needed in ("numpy", "scipy", "rich", "matplotlib", "pyperf", "threadpoolctl", "jsonschema", "benchmarks.record"):
    pytest.importorskip(_needed)


def _load_script():
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULTS = _load_script()
SCHEMA = json.loads((ROOT / "docs" / "results.schema.json").read_text(encoding="utf-8"))
FILES = sorted(RESULTS.RESULTS.glob("*.json"))
PAGES = sorted((ROOT / "docs").glob("*.md"))
ASKED = re.compile(r"^```\{results\}\n(.+)\n```$", re.MULTILINE)


def test_picture_of_the_readme():
    """The picture shows the numbers of the file in the repository, on a light page and on a dark one."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = RESULTS.draw_pictures()
    assert len(pictures) == 2
    for path, text in pictures.items():
        assert path.read_text(encoding="utf-8") == text
        assert path.relative_to(ROOT).as_posix() in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_nothing_made_is_in_a_page(page):
    """A page only names the files of its results; Sphinx inserts the results, and fails if a file is missing."""
    text = page.read_text(encoding="utf-8")
    assert "results:begin" not in text
    assert text.count("{results}") == len(ASKED.findall(text))
    for what in ASKED.findall(text):
        assert RESULTS.RESULTS / what.partition(": ")[0] in FILES


def test_parts():
    """A part is the verdict, a sentence or a table of its file; the error for a missing part says what exists."""
    parts_of = functools.cache(RESULTS.compute_parts)
    assert RESULTS.find_part("quick.json", parts_of).startswith("- For products")
    assert "CPUs" in RESULTS.find_part("quick.json: the machine", parts_of)
    assert "| --- |" in RESULTS.find_part("quick.json: Which executor", parts_of)
    with pytest.raises(ValueError, match=r"0 tables with that text in their title; there are: .*Which executor"):
        RESULTS.find_part("quick.json: none", parts_of)
    with pytest.raises(ValueError, match=r"no file none\.json in docs/results"):
        RESULTS.find_part("none.json", parts_of)


@thorough
def test_made_once(tmp_path, monkeypatch):
    """A report, its figures and its parts are made from a file, and made again only after a change."""
    monkeypatch.setattr(RESULTS, "MADE", tmp_path)
    path = RESULTS.RESULTS / "changing.json"
    parts = RESULTS.make(path)
    report = tmp_path / "reports" / "changing"
    assert {each.suffix for each in report.iterdir()} == {".html", ".svg", ".png"}
    assert json.loads(parts.read_text(encoding="utf-8"))["verdict"] == RESULTS.read_parts(path)["verdict"]
    (report / "report.html").unlink()
    RESULTS.make(path)
    assert not (report / "report.html").exists()
    os.utime(parts, (0, 0))
    RESULTS.make(path)
    assert (report / "report.html").exists()


@thorough
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_results(path):
    """Every file of results follows the schema, comes from a complete run, and names no private folders."""
    import jsonschema

    text = path.read_text(encoding="utf-8")
    record = json.loads(text)
    jsonschema.validate(record, SCHEMA)
    assert record["complete"]
    assert not any(folder in text for folder in ("/root", "/home", "/tmp"))


def test_two_commands():
    """The README has the two lines that run the benchmarks and the tests."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert 'python -m pip install -e ".[bench]" && python -m benchmarks' in lines
    assert 'python -m pip install -e ".[test]" && python -m pytest' in lines


def test_no_platform_elsewhere():
    """Only `_system` asks which system this is, in its `__init__.py`, apart from guards for type checkers."""
    source = ROOT / "src" / "nicefutures"
    asking = [path for path in source.rglob("*.py") if "sys.platform" in path.read_text(encoding="utf-8")]
    assert asking
    assert [path for path in asking if source / "_system" not in path.parents] == []
    for path in asking:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "sys.platform" in line and path.name != "__init__.py":
                assert "TYPE_CHECKING" in line or "sys.maxsize" in line, (path, line)


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are the same everywhere")
def test_every_public_name_is_documented():
    """The reference has every public name."""
    import nicefutures

    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert all(name in reference for name in nicefutures.__all__)
