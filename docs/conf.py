# ruff: noqa: INP001 (Sphinx runs this file, no module imports it)
"""Configuration of Sphinx: ``sphinx-build -W -n docs docs/_build``."""

import os
import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "nicefutures"
author = "The nicefutures developers"
project_copyright = author
release = _version("nicefutures")
version = release

extensions = [
    "myst_parser",
    "results_in_pages",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_results"]
# The files of results as they are, and the reports and figures that are made from them.
html_extra_path = ["results", "_results/reports"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_mock_imports = ["dask", "distributed", "joblib", "tornado"]  # extras
autodoc_typehints = "none"  # the docstrings have them
napoleon_google_docstring = False
napoleon_preprocess_types = True
napoleon_use_ivar = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"nicefutures {release}"
html_theme_options = {
    "source_repository": "https://github.com/nicefutures/nicefutures/",
    "source_branch": "main",
    "source_directory": "docs/",
}

# Links to Python's own documentation need its inventory, so they are only made where a network is certain.
if os.environ.get("READTHEDOCS") or os.environ.get("NICEFUTURES_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}

# Names of the standard library, and words in the docstrings' type descriptions that are not classes.
nitpick_ignore_regex = [
    (r"py:.*", r"(concurrent\.futures|collections\.abc|contextlib|multiprocessing|subprocess|threading|enum)\..*"),
    (r"py:(class|exc)", r"(OSError|PermissionError|ProcessLookupError|RuntimeWarning|TypeError|ValueError)"),
    (r"py:class", r"(bool|callable|context|default|int|None|optional|str|tuple)"),
    (r"py:.*", r"nicefutures\._.*"),
    # The integrations' docstrings name the levels like the other docstrings, but from their modules this is no link.
    (r"py:class", r"(ProcessPriority|ThreadPriority)(\.\w+)?"),
    (r"py:class", r"(distributed|joblib)\..*"),
    (r"py:exc", r"BrokenExecutor"),  # of concurrent.futures
]
