"""The troubleshooting page lists each warning and each error that users can meet."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "nicefutures"
PAGE = ROOT / "docs" / "troubleshooting.md"

if not PAGE.is_file():
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

# An error for an argument lists the allowed values. An error of the system becomes the reason in another text.
NOT_LISTED = {"ValueError", "TypeError", "AttributeError", "AssertionError", "_RefusedError"}
NOT_LISTED |= {"argparse.ArgumentTypeError", "OSError", "PermissionError", "ProcessLookupError", "FileNotFoundError"}
NOT_LISTED |= {"ConnectionResetError"}
LOGS = re.compile(r"(LOGGER|getLogger\(.*\)|warnings|warn)\.(warn|warning|exception)$")


def _words(text):
    return re.findall(r"[\w()']+", text.lower())


def _find_parts(node, named):
    """Return the literal parts of a text, which may be an f-string or a name; no paths, no single words."""
    parts = []
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            parts.append(each.value)
        elif isinstance(each, ast.Name):
            parts += named.get(each.id, [])
    return [part for part in parts if len(part.split()) > 2]


def _find_told(node, function):
    """Return the expressions of the texts that a node tells users."""
    if isinstance(node, ast.Return) and function.lstrip("_").startswith(("describe_", "explain_")):
        return [node.value] if node.value is not None else []
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        name = ast.unparse(node.exc.func)
        return [] if name in NOT_LISTED or " if " in name else node.exc.args
    return node.args if isinstance(node, ast.Call) and LOGS.search(ast.unparse(node.func)) else []


def _find_messages():
    """Yield the place and the literal parts of each warning, log record and error."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            named = {}
            for node in [*tree.body, *ast.walk(scope)]:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    named.setdefault(node.targets[0].id, []).extend(_find_parts(node.value, {}))
            for node in ast.walk(scope):
                if parts := [part for each in _find_told(node, scope.name) for part in _find_parts(each, named)]:
                    yield f"{path.relative_to(SOURCE).as_posix()}:{node.lineno}", parts


def test_messages():
    """Three consecutive words of each message are on the page."""
    page = " ".join(_words(PAGE.read_text(encoding="utf-8")))
    missing = []
    for place, parts in _find_messages():
        runs = [" ".join(words[at : at + 3]) for words in map(_words, parts) for at in range(len(words) - 2)]
        if not any(run in page for run in runs):
            missing.append(f"{place}: {' … '.join(parts)}")
    assert missing == []
