"""Every suite has a summary and a report, also for an incomplete run, and two runs can be compared."""

import pytest
from benchmarks.analysis.rows import Rows
from benchmarks.reporting.compare import compare
from benchmarks.reporting.report import write_report
from benchmarks.reporting.summary import summarise
from benchmarks.subjects.executors import STDLIB_THREAD
from benchmarks.suites.designs import DESIGNS, Axes, conditions_of

from marks import thorough
from records import LATE, ON_TIME, PYTHON, VERY_LATE, record_of


@pytest.mark.parametrize("name", [pytest.param(name, marks=[thorough] * (name != "quick")) for name in DESIGNS])
def test_every_suite(name, tmp_path):
    """Every suite has a verdict, tables and a report, also after an interrupted run."""
    measured = dict.fromkeys(conditions_of(DESIGNS[name], Axes(), ["3.13.5t"]), (LATE, 10))
    record = record_of(name, measured, rounds=1)
    summary = summarise(record)
    assert summary.verdict
    assert len(summary.tables) > 1
    half = record | {"cells": record["cells"][: len(measured) // 2], "complete": False}
    page = write_report(half, tmp_path).read_text(encoding="utf-8")
    assert page.index('class="verdict"') < page.index("<table>") < page.index("<svg")
    assert "Not complete" in page
    # The report loads no other files.
    assert not any(text in page for text in ("<script", "<link", "<img", "@import"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".svg", ".png"}


def test_machine():
    """Beats during which the machine itself stood still are left out, and counted."""
    record = record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (ON_TIME, 1)}, rounds=1)
    result = record["cells"][0]["result"]
    result["ui"]["lateness_ns"][50:53] = [400_000_000, 383_333_333, 366_666_666]
    due = 50 * 1_000_000_000 // 60
    result["machine"] = {"stalls_ns": [[due + 5_000_000, due + 400_000_000]], "cpu_share": 0.002}
    (row,) = Rows(record)
    assert row.maximum < 1
    out, every = row.left_out
    assert every == 120
    assert 24 <= out <= 25
    assert any(note.startswith(f"Left out: {out} of 120") for note in summarise(record).notes)


def test_compare():
    """A run agrees with itself, and not with a run of the opposite result."""
    stdlib, ours = PYTHON.with_executor(STDLIB_THREAD), PYTHON.with_executor("priority-thread", "idle")
    worse = record_of("gil", {stdlib: (LATE, 1), ours: (VERY_LATE, 1)})
    better = record_of("gil", {stdlib: (LATE, 1), ours: (ON_TIME, 1)})
    (_, (said, *_)), (_, (contradicted, *_)) = compare(worse, worse), compare(worse, better)
    assert said == (
        "1 of 1 verdicts agree; of 1 that are better or worse in A, 1 are the same in B; "
        "1 of the 1 that are better or worse in both are so in the same direction."
    )
    assert contradicted == (
        "0 of 1 verdicts agree; of 1 that are better or worse in A, 0 are the same in B; "
        "0 of the 1 that are better or worse in both are so in the same direction."
    )


def test_compare_others():
    """Different suites cannot be compared."""
    record = record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 1)})
    with pytest.raises(ValueError, match="give two files of the same suite"):
        compare(record, record | {"suite": "ui"})
