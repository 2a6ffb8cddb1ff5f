"""Texts for users are plain English, without the stiff phrases that readers had to read twice."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import nicefutures

ROOT = Path(__file__).parents[2]

if not (ROOT / "docs").is_dir():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

STIFF = re.compile(
    r"\b(to be had|anew|for want of|comes? to (its|an) end|in (no|any)body's way|what becomes of|hoped for|whoever|"
    r"no (amount|fraction) of|has no sense|had better|in the midst|are to be|nobody|somebody|anybody|"
    r"did not come to|do without)\b",
    re.IGNORECASE,
)
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages(page):
    """The README and the pages have no stiff phrases."""
    assert STIFF.findall(" ".join(page.read_text(encoding="utf-8").split())) == []


@pytest.mark.parametrize("name", nicefutures.__all__)
def test_docstrings(name):
    """The public docstrings have no stiff phrases."""
    public = getattr(nicefutures, name)
    members = inspect.getmembers(public, inspect.isfunction) if inspect.isclass(public) else []
    for each in [public, *(member for called, member in members if called[0] != "_")]:
        assert STIFF.findall(" ".join((each.__doc__ or "").split())) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_messages(path):
    """Messages, warnings, help and titles have no stiff phrases: no text of the source, except docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    assert [text for text in texts if STIFF.search(" ".join(text.split()))] == []
