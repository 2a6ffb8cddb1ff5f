"""What the pages promise is true."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

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
FILES = sorted(RESULTS.RESULTS.glob("*.json"))


@pytest.mark.parametrize("page", RESULTS.PAGES, ids=lambda path: path.name)
def test_tables(page):
    """Every table of results is what the file in the repository says."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- results:begin" in text
    assert RESULTS.render(text) == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_results(path):
    """Every file of results follows the schema, is of a whole run, and has its report and figures beside it."""
    import jsonschema

    record = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(record, json.loads((ROOT / "docs" / "results.schema.json").read_text(encoding="utf-8")))
    assert record["complete"]
    assert (path.with_suffix("") / "report.html").exists()
    for text in ("/root", "/home", "/tmp"):
        assert text not in path.read_text(encoding="utf-8")


def test_two_commands():
    """The README has the two lines that run the main job and pass the tests."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert 'python -m pip install -e ".[bench]" && python -m benchmarks' in lines
    assert 'python -m pip install -e ".[test]" && python -m pytest' in lines


def test_no_platform_elsewhere():
    """Only one module asks which system it is; the backends' guards for type checkers aside."""
    source = ROOT / "src" / "nicefutures"
    asking = [p for p in source.rglob("*.py") if "sys.platform" in p.read_text(encoding="utf-8")]
    assert {path.parent for path in asking} == {source / "_platform"}
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
