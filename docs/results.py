# ruff: noqa: INP001 (a script beside the pages that it writes)
"""Make everything that comes from the files in ``docs/results/``: ``python docs/results.py``.

It writes the reports and figures beside the files, and the tables into the pages. There, a table stands between two
comments, the first of which names the file and a text of the table's title; without a text, the verdict stands there.
"""

import functools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
_NAMES = ("benchmarks.md", "cluster.md", "latency.md", "resources.md", "threads.md")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / name for name in _NAMES)]
_PART = re.compile(
    r"(<!-- results:begin (?P<file>[\w-]+\.json)(?:: (?P<title>[^\n]*?))? -->\n).*?(<!-- results:end -->)", re.DOTALL
)

sys.path.insert(0, str(ROOT))

from benchmarks.findings.tables import to_markdown  # noqa: E402
from benchmarks.record import load  # noqa: E402
from benchmarks.reporting.compare import compare  # noqa: E402
from benchmarks.reporting.report import write_report  # noqa: E402
from benchmarks.reporting.summary import Summary, summarise  # noqa: E402


@functools.cache
def _summary(file: str) -> Summary:
    return summarise(load(RESULTS / file))


def render(page: str) -> str:
    """Return the page with every part as its file says."""
    return _PART.sub(lambda match: f"{match[1]}\n{_part(match['file'], match['title'])}\n\n{match[4]}", page)


def _part(file: str, title: str | None) -> str:
    if title == "the machine":
        return _summary(file).notes[-1]
    if title == "the tool":
        return next(note for note in _summary(file).notes if note.startswith("The tool itself"))
    if title == "agreement":
        name = Path(file).stem
        return compare(load(RESULTS / file), load(RESULTS / f"{name}-again.json"))[1][0]
    summary = _summary(file)
    if title is None:
        return "\n".join(f"- {sentence}" for sentence in summary.verdict)
    (table,) = [table for table in summary.tables if title in table.title]
    return to_markdown(table)


def main() -> None:
    """Write the reports, the figures and the tables."""
    for path in sorted(RESULTS.glob("*.json")):
        print(write_report(load(path), RESULTS / path.stem))
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
