# ruff: noqa: INP001 (Sphinx imports it by its name)
"""Put the results into the pages when Sphinx builds them.

A page asks for a part of a file in ``docs/results/`` by its title, which becomes a heading with a table::

    ```{results}
    desktop.json: In short
    ```

The reports and figures are made at the beginning, so that the pages can show and link them.
"""

import re
from typing import Any

import results
from sphinx.application import Sphinx

_IN_PAGE = re.compile(r"^```\{results\}\n(?P<what>[^\n]+)\n```$", re.MULTILINE)


def _make(_app: Sphinx, _config: object) -> None:
    for path in sorted(results.RESULTS.glob("*.json")):
        results.make(path)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    def part(match: re.Match[str]) -> str:
        file = match["what"].partition(": ")[0]
        app.env.note_dependency(str(results.MADE / "parts" / file), docname=page)
        return results.find_part(match["what"], results.read_parts)

    source[0] = _IN_PAGE.sub(part, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect both functions to Sphinx."""
    app.connect("config-inited", _make)
    app.connect("source-read", _fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
