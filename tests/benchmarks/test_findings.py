"""Tables, targets, notes on the machine, and the choice of an executor."""

import dataclasses

import pytest
from benchmarks.analysis.bootstrap import Interval
from benchmarks.analysis.rows import Rows
from benchmarks.findings import gil
from benchmarks.findings.choice import choose
from benchmarks.findings.notes import find_noise
from benchmarks.findings.tables import Column, Table, to_html, to_markdown, to_plain
from benchmarks.findings.targets import Target
from benchmarks.subjects.executors import LOW_PROCESS, PRIORITY_INTERPRETER, STDLIB_PROCESS, STDLIB_THREAD

from records import ON_TIME, PYTHON, VERY_LATE, record_of


class TestTables:
    """One table in three formats."""

    table = Table("Title", (Column("what"), Column("ms", 1)), (("first", 1.25), ("second", None)))

    def test_plain(self):
        """Columns are aligned; a missing value is a dash."""
        assert to_plain(self.table).splitlines() == ["Title", "what     ms", "first   1.2", "second    -"]

    def test_markdown(self):
        """Numbers are aligned to the right."""
        assert to_markdown(self.table).splitlines()[2:] == [
            "| what | ms |",
            "| --- | ---: |",
            "| first | 1.2 |",
            "| second | - |",
        ]

    def test_html(self):
        """Text is escaped."""
        assert "<td>1 &lt; 2</td>" in to_html(Table("Title", (Column("what"),), (("1 < 2",),)))


@pytest.mark.parametrize(("value", "met"), [(0.9, "no"), (0.97, "yes"), (None, None)])
def test_target(value, met):
    """A number is judged by its limit."""
    assert Target("speed", least=0.97).judge(value)[-1] == met


def test_target_not_clear():
    """If the limit is inside the interval, the verdict is not clear."""
    assert Target("cost", most=2).judge(Interval(2.1, 1.5, 3.0))[-1] == "not clear"


def test_interpreters():
    """Interpreters are compared with threads, and their lower levels with the default level."""
    own, low = (PYTHON.with_executor(PRIORITY_INTERPRETER, level) for level in ("below_normal", "idle"))
    measured = {PYTHON.with_executor(STDLIB_THREAD): (VERY_LATE, 10), own: (ON_TIME, 19), low: (VERY_LATE, 19)}
    found = {table.title: table.rows for table in gil.tables(Rows(record_of("gil", measured)))}
    assert [row[-1] for row in found["Pure Python in interpreters at below_normal"]] == ["yes", "yes"]
    (line,) = found["Lower levels of interpreters over the default"]
    assert "worse" in line


class TestNoise:
    """The note on a machine that was not quiet."""

    @pytest.mark.parametrize(
        ("load", "before", "after", "speeds"),
        [
            (0.7, 0.2, 0.2, [100, 100]),
            (0.1, 3.0, 0.2, [100, 100]),
            (0.1, 0.2, 3.0, [100, 100]),
            (0.1, 0.2, 0.2, [100, 89]),
        ],
        ids=["load", "late before", "late after", "speed"],
    )
    def test_noisy(self, load, before, after, speeds):
        """The note names a load, a late heartbeat or a drift of the baseline, and a remedy."""
        (note,) = find_noise(load, before, after, speeds)
        assert "noisy" in note
        assert "run again" in note

    def test_quiet(self):
        """There is no note on a quiet machine, or on one that was not measured."""
        assert find_noise(0.3, 0.2, 0.3, [100, 95]) == []
        assert find_noise(0.3, None, None, []) == []


def test_choice():
    """Of the executors that stay within a frame, the one that does most work is chosen; otherwise the least late."""
    thread, process = PYTHON.with_executor(STDLIB_THREAD), PYTHON.with_executor(STDLIB_PROCESS)
    low = PYTHON.with_executor(LOW_PROCESS, "idle")
    rows = Rows(record_of("ui", {thread: (VERY_LATE, 99), process: (ON_TIME, 10), low: (ON_TIME, 12)}))
    assert choose([*rows], rows).condition == low
    assert choose([rows[thread]], rows).condition == thread


def test_choice_by_speed():
    """An executor that slows down other programs is not chosen, however much work it does."""
    base = dataclasses.replace(PYTHON, foreground="same-session")
    process, low = base.with_executor(STDLIB_PROCESS), base.with_executor(LOW_PROCESS, "idle")
    record = record_of("quick", {base.without_background(): (ON_TIME, 0), process: (ON_TIME, 9), low: (ON_TIME, 5)})
    for cell in record["cells"]:
        if cell["name"] == process.name:
            cell["result"]["foreground"] = cell["result"]["foreground"] | {"frames_per_s": 1000.0}
    rows = Rows(record)
    assert choose([rows[process], rows[low]], rows).condition == low
