"""The files that name the version and the dependencies agree."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "packaging" / "conda" / "meta.yaml"

if not RECIPE.is_file():
    pytest.skip("the recipe is not part of this copy", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _find(pattern, *parts):
    return re.findall(pattern, ROOT.joinpath(*parts).read_text(encoding="utf-8"), re.MULTILINE)


def test_version():
    """The version is the same everywhere, and the changelog begins with it, after what is not yet released."""
    version = PROJECT["version"]
    assert _find(r"^version: (\S+)", "CITATION.cff") == [version]
    assert _find(r'set version = "(\S+)"', "packaging", "conda", "meta.yaml") == [version]
    assert _find(r"^## \[(\d\S+)\]", "CHANGELOG.md")[0] == version


def test_recipe():
    """The recipe for conda-forge has the dependencies, the summary and the command of pyproject.toml."""
    recipe = RECIPE.read_text(encoding="utf-8")
    (run,) = re.findall(r"  run:\n((?:    - .*\n)+)", recipe)
    wanted = [re.sub(r"(>=.*)", r" \1", each) for each in PROJECT["dependencies"]]
    assert re.findall(r"- (.*)\n", run) == ["python >={{ python_min }}", *wanted]
    assert f'python_min = "{PROJECT["requires-python"].removeprefix(">=")}"' in recipe
    assert f"summary: '{PROJECT['description']}'" in recipe
    assert f"nicefutures = {PROJECT['scripts']['nicefutures']}" in recipe
