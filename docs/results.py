# ruff: noqa: INP001 (a script beside the pages)
"""Make reports, parts and pictures from the files in ``docs/results/``: ``python docs/results.py``.

Each file gives a report with its figures, in ``docs/_results/reports/``, and parts for the pages: tables and sentences.
A page asks for a part by the file and a text of the table's title; without a text, it gets the verdict.
:mod:`results_in_pages` inserts the parts when the pages are built. Parts that are up to date are not made again.

The README's picture is ``docs/images/kept-light.svg`` and ``kept-dark.svg``, from ``neighbour.json``.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "docs" / "results"
MADE = ROOT / "docs" / "_results"
# The executors of neighbour.json that the picture shows, and their names in it.
_IN_PICTURE = {
    "ProcessPoolExecutor": "ProcessPoolExecutor",
    "ProcessPoolExecutor, psutil nice()": "with the psutil nice() recipe",
    "LowPriorityProcessPoolExecutor, idle": "LowPriorityProcessPoolExecutor",
}

sys.path.insert(0, str(ROOT))

from benchmarks.analysis.rows import Rows  # noqa: E402
from benchmarks.findings.kept import kept_by_load  # noqa: E402
from benchmarks.findings.tables import to_markdown  # noqa: E402
from benchmarks.record import load  # noqa: E402
from benchmarks.reporting.bars import to_bars  # noqa: E402
from benchmarks.reporting.compare import compare  # noqa: E402
from benchmarks.reporting.report import write_report  # noqa: E402
from benchmarks.reporting.summary import Summary, summarise  # noqa: E402

Parts = dict[str, Any]


def make(path: Path) -> Path:
    """Make the report, the figures and the parts of a file, unless they are up to date; return the file of parts."""
    parts = MADE / "parts" / path.name
    if not parts.exists() or parts.stat().st_mtime < _last_change(path):
        record = load(path)
        summary = summarise(record)
        write_report(record, MADE / "reports" / path.stem, summary)
        parts.parent.mkdir(parents=True, exist_ok=True)
        # Written last, because this file means that all others exist.
        parts.write_text(json.dumps(_parts_of(path, record, summary)), encoding="utf-8")
    return parts


def _again(path: Path) -> Path:
    """Return the file of the second run of the same suite, which may not exist."""
    return path.with_stem(f"{path.stem}-again")


def _last_change(path: Path) -> float:
    sources = [path, _again(path), Path(__file__), *(ROOT / "benchmarks").rglob("*.py")]
    return max(source.stat().st_mtime for source in sources if source.exists())


def compute_parts(path: Path) -> Parts:
    """Compute the parts of a file, even if they have been made before."""
    record = load(path)
    return _parts_of(path, record, summarise(record))


def read_parts(path: Path) -> Parts:
    """Return the parts of a file; make them if necessary."""
    return dict(json.loads(make(path).read_text(encoding="utf-8")))


def _parts_of(path: Path, record: dict[str, Any], summary: Summary) -> Parts:
    parts = {
        "verdict": "\n".join(f"- {sentence}" for sentence in summary.verdict),
        "tables": [(table.title, to_markdown(table)) for table in summary.tables],
        "the machine": summary.notes[-1],
        "the tool": next((note for note in summary.notes if note.startswith("The tool itself")), ""),
    }
    if _again(path).exists():
        parts["agreement"] = compare(record, load(_again(path)))[1][0]
    return parts


def find_part(what: str, parts_of: Callable[[Path], Parts]) -> str:
    """Return a part as Markdown.

    Parameters
    ----------
    what : str
        The file and a text of the table's title, as in "desktop.json: In short". "the machine", "the tool" and
        "agreement" are not tables.
    parts_of : callable
        Takes a path, and returns its parts.

    Raises
    ------
    ValueError
        If there is no such file, or not exactly one such table.
    """
    file, _, title = what.partition(": ")
    path = RESULTS / file
    if not path.is_file():
        msg = f"{what!r}: there is no file {file} in docs/results"
        raise ValueError(msg)
    parts = parts_of(path)
    if not title:
        return str(parts["verdict"])
    if title in parts:
        return str(parts[title])
    found = [markdown for name, markdown in parts["tables"] if title in name]
    if len(found) != 1:
        titles = "; ".join(name for name, _ in parts["tables"])
        msg = f"{what!r}: {len(found)} tables with that text in their title; there are: {titles}"
        raise ValueError(msg)
    return str(found[0])


def draw_pictures() -> dict[Path, str]:
    """Return the text of each file of the README's picture."""
    rows = Rows(load(RESULTS / "neighbour.json"))
    (kept,) = kept_by_load(rows).values()
    by_name = {each.name: each for each in kept}
    shown = [dataclasses.replace(by_name[name], name=short) for name, short in _IN_PICTURE.items()]
    return {IMAGES / f"kept-{mode}.svg": f"{to_bars(shown, dark=mode == 'dark')}\n" for mode in ("light", "dark")}


def main() -> None:
    """Make all reports, parts and pictures."""
    for path in sorted(RESULTS.glob("*.json")):
        make(path)
        print(MADE / "reports" / path.stem / "report.html")
    for path, text in draw_pictures().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
