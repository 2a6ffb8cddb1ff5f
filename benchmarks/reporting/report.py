"""The report of a record: one self-contained HTML page, and its figures as files."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from ..analysis.rows import Rows
from ..findings.kept import kept_by_load
from ..findings.tables import to_html
from ..suites.designs import DESIGNS
from ..suites.plain import PLAIN
from .bars import to_bars
from .figures import draw_figures, save_figures, to_svg
from .summary import Summary, is_warning, summarise

_CAPTIONS: Final = {
    "percentiles": "Delay of a window's frames. Read it so: where a line crosses 99 %, 1 frame in 100 is later than "
    "the delay on the left axis. 16.7 ms is one frame at 60 Hz.",
    "timeline": "Stalls in one round. Each stroke is a frame that was more than 16.7 ms late; its height is the delay.",
    "heatmap": "Thread priority and the GIL.",
    "drawing": "Delay of a window that draws in Python, while worker threads of the same process run Python code.",
    "limits": "How many workers our pool lets run, and how late the window is, in one round. The load changes at the "
    "dashed lines.",
}
_BARS_CAPTION: Final = (
    "Left: the speed of another program that computes all the time, relative to an idle machine. Right: the work of "
    "the job, relative to the standard library's executor."
)
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem 1.5rem 3rem;
  color: #1a1a1a; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1rem; font-weight: 600; color: #555; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { font-size: 1.3rem; line-height: 1.4; margin: .4rem 0 .8rem; }
.more { margin: .2rem 0; }
table { border-collapse: collapse; font-size: .82rem; margin: .8rem 0 1.4rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; max-width: calc(100vw - 3rem); }
th, td { padding: .18rem .4rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #999; }
th, td { overflow-wrap: normal; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
figure { margin: 1rem 0; overflow-x: auto; } figure svg { max-width: 100%; height: auto; }
figure svg:not([role]) { max-width: max(100%, 46rem); }
figcaption, footer { color: #555; font-size: .85rem; }
.warning { background: #fff3cd; padding: .5rem .8rem; border-left: 4px solid #e69f00; }
"""


def write_report(record: Mapping[str, Any], folder: Path, summary: Summary | None = None) -> Path:
    """Write ``report.html`` and the figures as SVG and PNG; return the path of the page.

    The run may have been interrupted. Pass the `summary` if you have it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(record)
    save_figures(figures, folder, record["suite"])
    page = folder / "report.html"
    drawn = "\n".join(
        [
            *_bars(record),
            *(
                f"<figure>{to_svg(figure)}<figcaption>{escape(_CAPTIONS[name])}</figcaption></figure>"
                for name, figure in figures.items()
            ),
        ]
    )
    page.write_text(_page(record, summary or summarise(record), drawn), encoding="utf-8")
    return page


def _bars(record: Mapping[str, Any]) -> list[str]:
    if record["suite"] not in ("quick", "neighbour"):
        return []
    return [
        f"<figure>{to_bars(executors)}<figcaption>{escape(title[0].upper() + title[1:])}. {_BARS_CAPTION}</figcaption>"
        "</figure>"
        for title, executors in kept_by_load(Rows(record)).items()
    ]


def _page(record: Mapping[str, Any], summary: Summary, figures: str) -> str:
    question = (PLAIN.get(record["suite"]) or DESIGNS[record["suite"]]).question
    first, *others = summary.verdict or ["The numbers are in the tables."]
    warnings = [note for note in summary.notes if is_warning(note)]
    notes = [note for note in summary.notes if note not in warnings]
    choice = [table for table in summary.full if table.title.startswith("Which")]
    rest = [table for table in summary.full if table not in choice]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>nicefutures: {escape(record["suite"])}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>nicefutures, {escape(record["suite"])}: {escape(question)}</h1>
<p class="verdict">{escape(first)}</p>
{"".join(f'<p class="more">{escape(sentence)}</p>' for sentence in others)}
{"".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings)}
{"".join(f'<div class="scroll">{to_html(table)}</div>' for table in choice)}
{figures}
<h2>All numbers</h2>
{"".join(f'<div class="scroll">{to_html(table)}</div>' for table in rest)}
<h2>How it was measured</h2>
<ul>{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>
<footer>Started {escape(record["started"])}, {record["rounds"]} rounds, seed {record["seed"]}.
Made from one JSON file by <code>python -m benchmarks report FILE</code>.</footer>
</body>
</html>
"""
