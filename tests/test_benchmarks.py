"""The benchmarks run, write what they say, and show what they wrote. What they measure is not judged here."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

for _needed in ("numpy", "scipy", "rich", "matplotlib", "pyperf", "threadpoolctl", "benchmarks"):
    pytest.importorskip(_needed)  # the last is in the source tree only

import numpy as np  # noqa: E402
from benchmarks import _available, _cli, _cluster, _overhead, _record, _run, _transport  # noqa: E402
from benchmarks._bootstrap import Interval, compare_medians, quantile_ratio  # noqa: E402
from benchmarks._compare import compare  # noqa: E402
from benchmarks._condition import Condition  # noqa: E402
from benchmarks._designs import DESIGNS, Axes, conditions_of  # noqa: E402
from benchmarks._executors import EXECUTORS, LOW_PROCESS, STDLIB_PROCESS, STDLIB_THREAD, open_executor  # noqa: E402
from benchmarks._heartbeat import charge  # noqa: E402
from benchmarks._levels import describe  # noqa: E402
from benchmarks._loads import LOADS  # noqa: E402
from benchmarks._machine import find_noise  # noqa: E402
from benchmarks._report import write_report  # noqa: E402
from benchmarks._rows import BETTER, SAME, WORSE, Rows  # noqa: E402
from benchmarks._statistics import QUANTILE_POINTS, quantile, thin  # noqa: E402
from benchmarks._summary import choose, summarise  # noqa: E402
from benchmarks._tables import Column, Table, to_html, to_markdown, to_plain  # noqa: E402
from benchmarks._targets import Target  # noqa: E402

from nicefutures._threads.gil import has_gil  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
IDLE_LEVELS = {"linux": "SCHED_IDLE", "win32": "IDLE_PRIORITY_CLASS", "darwin": "nice 20"}
SCHEMA = ROOT / "docs" / "results.schema.json"
SHORT = ["--seconds", "0.3", "--rounds", "1", "--workers", "1", "--seed", "7"]


def _measure(tmp_path, *arguments):
    """Run a suite; return the exit code and the JSON."""
    path = tmp_path / "results.json"
    code = _cli.main(["run", *arguments, "-o", str(path)])
    return code, json.loads(path.read_text(encoding="utf-8"))


def _is_alive(process):
    """Return whether a process still runs: one that its new parent has not yet collected does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _check_schema(record):
    jsonschema = pytest.importorskip("jsonschema")
    if SCHEMA.exists():
        jsonschema.validate(record, json.loads(SCHEMA.read_text(encoding="utf-8")))


def _results(record):
    return {cell["name"]: cell["result"] for cell in record["cells"] if "result" in cell}


MACHINE = {
    "cpu": "a CPU",
    "cores": {"usable": 2},
    "os": "an OS",
    "python": "CPython",
    "gil": True,
    "packages": {},
    "load_before": 0.0,
}


def _record_of(suite, measured, rounds=3):
    """Return a record in which each condition has the given latenesses, in ms, and rate of work in every round."""
    draw = np.random.default_rng(1)
    cells = []
    for number in range(1, rounds + 1):
        for condition, (late_ms, rate) in measured.items():
            late = draw.permutation(np.asarray(late_ms) * 1e6).astype(int).tolist()
            seen = {
                "first_due_ns": 0,
                "lateness_ns": late,
                "cpu_share": 0.001,
                "frames_per_s": 2000.0,
                "frame_ns": [400_000],
            }
            result = {
                "seconds": 2.0,
                "done": round(2 * rate),
                "ui": seen if condition.ui else None,
                "foreground": seen if condition.foreground else None,
                "machine": None,
                "levels": {},
                "gil": True,
            }
            cell = {"round": number, "name": condition.name, "condition": condition.to_json(), "result": result}
            cells.append(cell)
    return {
        "format": _record.FORMAT,
        "suite": suite,
        "settings": {},
        "seed": 3,
        "rounds": rounds,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": None,
        "complete": True,
        "machine": MACHINE,
        "skipped": [],
        "cells": cells,
    }


LATE, VERY_LATE, ON_TIME = [1.0] * 90 + [30.0] * 30, [1.0] * 90 + [300.0] * 30, [0.2] * 120
PYTHON = Condition(workers=4, ui="thread", load="python")


class TestCharge:
    """A schedule in which the k-th beat is due at 100 + 10 k."""

    def test_on_time(self):
        """A frame that is drawn on time is charged with its drawing."""
        assert charge([(100, 103), (111, 114)], 100, 10, 2) == [3, 4]

    @pytest.mark.parametrize("swallowed", [1, 2, 30])
    def test_stall(self, swallowed):
        """A stall is charged to each beat that it swallowed, each one period less than the one before."""
        woken = 100 + 10 * swallowed
        frames = [(100, 101), (woken, woken + 1)]
        expected = [1, *(10 * missed + 1 for missed in range(swallowed - 1, -1, -1))]
        assert charge(frames, 100, 10, swallowed + 1) == expected

    def test_slow_drawing(self):
        """A beat that falls due during a slow drawing is charged until the next frame is drawn."""
        assert charge([(100, 125), (125, 126)], 100, 10, 3) == [25, 16, 6]

    def test_early(self):
        """A frame before its beat is due does not count for it."""
        assert charge([(100, 101), (109, 110), (110, 112)], 100, 10, 2) == [1, 2]

    def test_end(self):
        """No more beats are charged than the schedule has."""
        assert charge([(100, 101), (500, 501)], 100, 10, 3) == [1, 391, 381]


class TestStatistics:
    """Quantiles and intervals."""

    @pytest.mark.parametrize(("fraction", "expected"), [(0, 1), (0.25, 2), (0.5, 3), (0.95, 4.8), (1, 5)])
    def test_quantile(self, fraction, expected):
        """Quantiles are interpolated, and the samples may come in any order."""
        assert quantile([5, 3, 1, 4, 2], fraction) == pytest.approx(expected)

    def test_quantile_of_one(self):
        """One sample is every quantile."""
        assert quantile([7], 0.99) == 7

    def test_thin(self):
        """Many samples are kept as quantiles, from which the percentiles are the same."""
        values = [(k * 7919) % 100_000 for k in range(100_000)]
        kept = thin(values)
        assert len(kept) == QUANTILE_POINTS
        for percent in (0, 50, 95, 99, 100):
            assert quantile(kept, percent / 100) == pytest.approx(quantile(values, percent / 100), abs=1)

    def test_thin_few(self):
        """Few samples are kept."""
        assert thin([3, 1, 2]) == [1, 2, 3]

    def test_medians(self):
        """The interval contains the ratio that the samples were made with, and the same seed gives the same one."""
        pairs = [(2 * (100 + k % 5), 100 + k % 7) for k in range(50)]
        interval = compare_medians(pairs, lambda a, b: a / b, seed=1)
        assert interval.low <= 2 <= interval.high
        assert interval.low <= interval.value <= interval.high
        assert interval == compare_medians(pairs, lambda a, b: a / b, seed=1)

    def test_quantile_ratio(self):
        """The interval contains the true ratio of quantiles in about as many cases as it promises."""
        hits = 0
        for seed in range(40):
            draw = np.random.default_rng(seed)
            ours, theirs = ([draw.exponential(scale, 300) for _ in range(4)] for scale in (3.0, 1.0))
            interval = quantile_ratio(ours, theirs, 0.9, seed)
            hits += interval.low <= 3 <= interval.high
        assert hits >= 36

    def test_quantile_ratio_of_frames(self):
        """Rounds with more or fewer frames, sorted as they are kept, count alike."""
        rounds = [np.linspace(0, 10, 1001), np.linspace(0, 10, 101)]
        interval = quantile_ratio(rounds, [np.linspace(0, 5, 500)] * 2, 0.99, 0, block=1)
        assert interval.value == pytest.approx(2, rel=0.01)
        assert interval.low == pytest.approx(2, rel=0.1)
        assert interval.high == pytest.approx(2, rel=0.1)

    def test_quantile_ratio_of_the_same(self):
        """The same beats have the ratio 1, whatever is resampled."""
        rounds = [np.full(60, 5.0)] * 3
        assert quantile_ratio(rounds, rounds, 0.99, 0) == Interval(1.0, 1.0, 1.0)

    @pytest.mark.parametrize(("value", "met"), [(0.9, "no"), (0.97, "yes"), (None, None)])
    def test_target(self, value, met):
        """A number is judged by its limit."""
        assert Target("speed", least=0.97).judge(value)[-1] == met

    def test_target_not_clear(self):
        """A limit inside the interval is not said to be met."""
        assert Target("cost", most=2).judge(Interval(2.1, 1.5, 3.0))[-1] == "not clear"

    def test_levels(self):
        """Different levels are counted, the same one is only named."""
        assert describe({"nice 0": 4}) == "nice 0"
        assert describe({"nice 19": 1, "nice 0": 2}) == "nice 0 (2 threads), nice 19 (1)"


class TestNoise:
    """What is said of a machine that was not quiet."""

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
        """A load, a late heartbeat or a drift of the baseline is named together with what to do."""
        (note,) = find_noise(load, before, after, speeds)
        assert "noisy" in note
        assert "run again" in note

    def test_quiet(self):
        """A quiet machine needs no words; nor does one that was not looked at."""
        assert find_noise(0.3, 0.2, 0.3, [100, 95]) == []
        assert find_noise(0.3, None, None, []) == []


class TestTables:
    """One table, three ways to print it."""

    table = Table("Title", (Column("what"), Column("ms", 1)), (("first", 1.25), ("second", None)))

    def test_plain(self):
        """Columns are aligned; what was not measured is a dash."""
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


class TestVerdicts:
    """What is made of latenesses that are known."""

    @pytest.mark.parametrize(
        ("late", "expected"), [(VERY_LATE, WORSE), (ON_TIME, BETTER), (LATE, SAME)], ids=["worse", "better", "same"]
    )
    def test_verdict(self, late, expected):
        """A clear difference is said, none is not."""
        ours = PYTHON.with_executor("priority-thread", "idle")
        rows = Rows(_record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 10), ours: (late, 10)}))
        row = rows[ours]
        assert row.verdict(rows.reference(row)) == expected

    def test_invisible(self):
        """A difference below 2 ms is none that anybody sees, however certain it is."""
        ours = PYTHON.with_executor("priority-thread", "idle")
        rows = Rows(_record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): ([0.2] * 120, 1), ours: ([0.6] * 120, 1)}))
        assert rows[ours].latency_ratio(rows.reference(rows[ours])) == pytest.approx((3, 3, 3))
        assert rows[ours].verdict(rows.reference(rows[ours])) == SAME

    def test_machine(self):
        """Beats in which the machine itself stood still are left out, and counted."""
        record = _record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (ON_TIME, 1)}, rounds=1)
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

    def test_row(self):
        """Percentiles, shares and rates are those of the beats; p99.9 needs a thousand of them."""
        row = next(iter(Rows(_record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 10)}))))
        assert row.percentile(50) == 1
        assert row.p99 == row.maximum == 30
        assert row.percentile(99.9) is None
        assert row.share_over(1000 / 60) == 25
        assert row.share_over(50) == 0
        assert row.rate == 10

    def test_choice(self):
        """Of the executors that stay within a frame the one that does most is to be taken; else the least late."""
        thread, process = PYTHON.with_executor(STDLIB_THREAD), PYTHON.with_executor(STDLIB_PROCESS)
        low = PYTHON.with_executor(LOW_PROCESS, "idle")
        rows = Rows(_record_of("ui", {thread: (VERY_LATE, 99), process: (ON_TIME, 10), low: (ON_TIME, 12)}))
        assert choose([*rows], rows).condition == low
        assert choose([rows[thread]], rows).condition == thread

    def test_choice_by_speed(self):
        """An executor that takes the speed of other programs is not to be taken, however much it does."""
        base = dataclasses.replace(PYTHON, foreground="same-session")
        process, low = base.with_executor(STDLIB_PROCESS), base.with_executor(LOW_PROCESS, "idle")
        record = _record_of(
            "quick", {base.without_background(): (ON_TIME, 0), process: (ON_TIME, 9), low: (ON_TIME, 5)}
        )
        for cell in record["cells"]:
            if cell["name"] == process.name:
                cell["result"]["foreground"] = cell["result"]["foreground"] | {"frames_per_s": 1000.0}
        rows = Rows(record)
        assert choose([rows[process], rows[low]], rows).condition == low

    @pytest.mark.parametrize("name", DESIGNS)
    def test_every_suite(self, name, tmp_path):
        """Whatever a suite measures has a verdict, tables and a report; so has what an interrupted run left."""
        measured = dict.fromkeys(conditions_of(DESIGNS[name], Axes(), ["3.13.5t"]), (LATE, 10))
        record = _record_of(name, measured, rounds=1)
        summary = summarise(record)
        assert summary.verdict
        assert len(summary.tables) > 1
        half = record | {"cells": record["cells"][: len(measured) // 2], "complete": False}
        page = write_report(half, tmp_path).read_text(encoding="utf-8")
        assert page.index('class="verdict"') < page.index("<table>") < page.index("<svg")
        assert "Not complete" in page
        # Self-contained: nothing is loaded from anywhere.
        assert not any(text in page for text in ("<script", "<link", "<img", "@import"))
        assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".svg", ".png"}

    def test_compare(self):
        """A run agrees with itself, and not with one that says the opposite."""
        stdlib, ours = PYTHON.with_executor(STDLIB_THREAD), PYTHON.with_executor("priority-thread", "idle")
        worse = _record_of("gil", {stdlib: (LATE, 1), ours: (VERY_LATE, 1)})
        better = _record_of("gil", {stdlib: (LATE, 1), ours: (ON_TIME, 1)})
        (_, (said, *_)), (_, (contradicted, *_)) = compare(worse, worse), compare(worse, better)
        assert said == (
            "1 of 1 verdicts agree; of 1 that are better or worse in A, 1 are the same in B; "
            "1 of the 1 that are better or worse in both are so in the same direction."
        )
        assert contradicted == (
            "0 of 1 verdicts agree; of 1 that are better or worse in A, 0 are the same in B; "
            "0 of the 1 that are better or worse in both are so in the same direction."
        )

    def test_compare_others(self):
        """Different suites cannot be compared."""
        record = _record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 1)})
        with pytest.raises(ValueError, match="give two files of the same suite"):
            compare(record, record | {"suite": "ui"})


class TestDesigns:
    """Which conditions are measured."""

    @pytest.mark.parametrize("name", DESIGNS)
    def test_references(self, name):
        """Every executor is measured beside the standard library's and beside an idle machine."""
        rows = Rows(_record_of(name, dict.fromkeys(conditions_of(DESIGNS[name], Axes(), ["3.14.0"]), (LATE, 1)), 1))
        for row in rows:
            if row.condition.load:
                assert rows.alone(row) is not None, row.condition
                if row.condition.executor not in (STDLIB_PROCESS, STDLIB_THREAD):
                    assert rows.reference(row) is not None, row.condition

    def test_axes(self):
        """What the user gives is combined, with the standard library's executor and an idle machine beside it."""
        axes = Axes(executor=["priority-thread"], priority=["idle", "lowest"], load=["python"], foreign=[0, 4])
        found = conditions_of(DESIGNS["gil"], axes, [])
        assert len(found) == len(set(found)) == 2 * (1 + 1 + 2)
        assert {condition.workers for condition in found} == {0, 4}

    def test_names(self):
        """Every condition has a name of its own."""
        for design in DESIGNS.values():
            conditions = conditions_of(design, Axes(), ["3.14.0"])
            assert len({condition.name for condition in conditions}) == len(conditions)

    def test_json(self):
        """A condition comes back from JSON as it was."""
        condition = Condition(executor="pool", load="exp", workers=3, blas_threads=1, foreign=2, switch_ms=0.5)
        assert Condition.from_json(json.loads(json.dumps(condition.to_json()))) == condition


@pytest.mark.parametrize("name", EXECUTORS)
def test_executors(name):
    """Every executor that is measured does its tasks, and its workers end."""
    if EXECUTORS[name].problem:
        pytest.skip(EXECUTORS[name].problem)
    if EXECUTORS[name].needs:
        pytest.importorskip(EXECUTORS[name].needs)
    with open_executor(name, 1, None) as executor:
        assert executor.submit(abs, -1).result(60) == 1
        assert [future.result(60) for future in [executor.submit(abs, -k) for k in range(5)]] == [*range(5)]


@pytest.mark.parametrize("name", [name for name in LOADS if name != "stall"])
def test_loads(name):
    """Every load runs."""
    LOADS[name].task()


class TestSuites:
    """Each suite, with as little as it can do."""

    def test_quick(self, tmp_path, capsys):
        """Both windows, the work, the level that the workers have; a table, a file, a report."""
        chosen = ["--executor", LOW_PROCESS, "priority-thread", "--load", "matmul"]
        code, record = _measure(tmp_path, "quick", *SHORT, *chosen)
        assert code == 0
        assert record["complete"]
        assert record["seed"] == 7
        _check_schema(record)
        measured = _results(record)
        result = measured["low-process idle, matmul, ui thread, 1 workers"]
        assert len(result["ui"]["lateness_ns"]) == 18
        assert len(result["foreground"]["lateness_ns"]) == 12
        assert result["foreground"]["frames_per_s"] > 0
        assert list(result["levels"]) == [IDLE_LEVELS.get(sys.platform, "nice 20")]
        printed = capsys.readouterr()
        assert "LowPriorityProcessPoolExecutor" in printed.out
        assert "For products of 700 x 700 matrices, take" in printed.out
        assert f"The report: {tmp_path / 'results-report' / 'report.html'}" in printed.out
        assert "measurements, about" in printed.err

        assert _cli.main(["show", str(tmp_path / "results.json")]) == 0
        assert capsys.readouterr().out.strip() == printed.out.partition("\nThe report")[0].strip()
        assert _cli.main(["show", str(tmp_path / "results.json"), "--markdown", "--table", "in another process"]) == 0
        assert "| nothing |" in capsys.readouterr().out
        assert _cli.main(["report", str(tmp_path / "results.json"), "-o", str(tmp_path / "again")]) == 0
        written = [(tmp_path / name / "report.html").read_bytes() for name in ("results-report", "again")]
        assert written[0] == written[1]

    def test_desktop(self, tmp_path):
        """Another process, in this session and in another one."""
        code, record = _measure(tmp_path, "desktop", *SHORT, "--executor", LOW_PROCESS, "--blas-threads", "1")
        assert code == 0
        _check_schema(record)
        result = _results(record)["low-process idle, matmul, 1 workers, BLAS threads 1"]
        assert result["ui"] is None
        assert result["foreground"]["frame_ns"] == sorted(result["foreground"]["frame_ns"])
        assert result["done"] > 0
        assert all(library["num_threads"] == 1 for library in result["blas"])

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions of that kind")
    def test_other_session(self):
        """A foreground in another session beats, too."""
        condition = Condition(foreground="other-session")
        assert _run.run_cell(_run.make_cell(condition, 0.2, 0))["foreground"]["lateness_ns"]

    def test_ui(self, tmp_path):
        """The windows that can be opened here are measured; of the others the reason is told."""
        chosen = ["--ui", "thread", "asyncio", "tk", "qt", "--executor", "priority-thread", "--load", "python"]
        code, record = _measure(tmp_path, "ui", *SHORT, *chosen)
        assert code == 0
        _check_schema(record)
        measured = {cell["condition"]["ui"] for cell in record["cells"]}
        assert measured >= {"thread", "asyncio"}
        assert len(measured) + len({each["reason"] for each in record["skipped"]}) >= 4
        assert all(each["what"] and each["reason"] for each in record["skipped"])

    def test_gil(self, tmp_path):
        """Foreign processes, switch intervals, another interpreter that is this one."""
        chosen = ["--load", "python", "--priority", "idle", "--foreign", "1", "--switch-interval", "1"]
        code, record = _measure(tmp_path, "gil", *SHORT, *chosen, "--python", sys.executable)
        assert code == 0
        _check_schema(record)
        version = record["settings"]["pythons"][0]
        names = [name for name in _results(record) if "idle" in name]
        assert len(names) == 2
        assert sum(version in name for name in names) == 1

    def test_cluster(self, tmp_path):
        """Dask's workers beside busy programs."""
        pytest.importorskip("distributed")
        suite = _cluster.make_suite(1.0)
        few = [cell for cell in suite.cells if cell.name.startswith("products")]
        record = _run.run_suite(dataclasses.replace(suite, cells=few), 1, 0, tmp_path / "results.json")
        _check_schema(record)
        assert [cell for cell in record["cells"] if "error" in cell] == []
        assert {tuple(cell["cluster"]) for cell in record["cells"] if "cluster" in cell} == {
            ("products", None),
            ("products", "idle"),
        }
        assert [len(table.rows) for table in summarise(record).tables] == [2, 3]
        assert write_report(record, tmp_path / "report").exists()

    @pytest.mark.parametrize(("kind", "peer"), [("results", "pool"), ("arguments", "joblib"), ("one", "low-spawn")])
    def test_transport(self, kind, peer, tmp_path):
        """Arrays of one size, one way, through one pool and the standard library's."""
        suite = _transport.make_suite(0.1)
        wanted = [[kind, 10**8 if kind == "one" else 10**6, each] for each in (peer, "stdlib-spawn")]
        few = [cell for cell in suite.cells if cell.record["transport"] in wanted]
        record = _run.run_suite(dataclasses.replace(suite, cells=few), 1, 0, tmp_path / "results.json")
        _check_schema(record)
        assert [cell for cell in record["cells"] if "error" in cell] == []
        rows = summarise(record).tables[0].rows
        assert len(rows) == 2
        if kind == "one" and not has_gil():  # its allocator keeps what was freed: the stdlib's copies may not show
            rows = [rows[0][:-1], rows[1]]
        assert all(number > 0 for row in rows for number in row if isinstance(number, float))
        assert write_report(record, tmp_path / "report").exists()

    def test_overhead(self, tmp_path):
        """Costs by pyperf, and work."""
        wanted = [
            "call stdlib-spawn",
            "call low-spawn",
            "start low-spawn",
            "import low-spawn",
            "map joblib",
            "map joblib-low",
            "map pool",
            "map low-spawn-auto",
            "map 10 us low-spawn",
            "map 100 ms low-spawn",
            "map 100 ms low-spawn-auto",
        ]
        suite = _overhead.make_suite(0.2)
        few = [cell for cell in suite.cells if cell.name in wanted or cell.name.startswith("stdlib-process")]
        record = _run.run_suite(dataclasses.replace(suite, cells=few), 1, 0, tmp_path / "results.json")
        _check_schema(record)
        assert [cell for cell in record["cells"] if "error" in cell] == []
        assert len(_overhead.values(record, "call", "low-spawn")) == 3
        titles = [table.title for table in summarise(record).tables]
        assert titles[0] == "a call and its result"
        assert titles[-3:] == [
            "what was hoped for of small calls",
            "through joblib",
            "products of 700 x 700, nothing beside",
        ]
        assert write_report(record, tmp_path / "report").exists()


class TestFailures:
    """What goes wrong is said, and the rest goes on."""

    def test_cell(self, capsys, tmp_path):
        """The standard error of a cell that failed is shown and saved; the others are measured."""
        broken = _run.make_cell(dataclasses.replace(PYTHON, executor="no such executor"), 0.1, 0)
        record = _run.run_suite(_run.Suite("gil", [broken]), 1, 0, tmp_path / "results.json")
        _check_schema(record)
        before, failed, after = record["cells"]
        assert "result" in before
        assert "result" in after
        assert "KeyError" in failed["error"]
        assert "no such executor" in capsys.readouterr().err
        assert any("failed: KeyError" in note for note in summarise(record).notes)

    def test_python(self, tmp_path, capsys):
        """An interpreter that cannot be used is skipped, with the reason and the remedy in the report."""
        path = str(tmp_path / "python")
        found, skipped = _available.find_pythons([path])
        assert found == {}
        assert skipped[0]["what"] == "the interpreter python"
        assert "-m pip install" in skipped[0]["reason"]
        code, record = _measure(tmp_path, "gil", *SHORT, "--load", "python", "--python", path)
        assert code == 0
        assert "skipped: the interpreter python" in capsys.readouterr().err
        assert any(note.startswith("Skipped: the interpreter python") for note in summarise(record).notes)

    @pytest.mark.skipif(sys.platform == "win32", reason="no way to press Ctrl-C for another process")
    def test_interrupt(self, tmp_path):
        """Ctrl-C leaves what was measured, from which the report is made, and no process."""
        path = tmp_path / "results.json"
        options = ["--full", "--seconds", "30", "--executor", STDLIB_PROCESS, "--workers", "2", "-o", str(path)]
        # A shell that runs the tests in the background has them ignore Ctrl-C.
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from benchmarks._cli import main; sys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", program, "run", "desktop", *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        driver = psutil.Process(process.pid)
        family: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while (not path.exists() or len(family) < 2) and time.monotonic() < deadline:  # a cell and its foreground
            time.sleep(0.05)
            family = driver.children(recursive=True)
        time.sleep(1)
        family = driver.children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "report.html" in printed
        deadline = time.monotonic() + 10
        while (alive := [process for process in family if _is_alive(process)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive == []
        record = _record.load(path)
        _check_schema(record)
        assert not record["complete"]
        assert [cell["round"] for cell in record["cells"]] == [0]
        assert _cli.main(["report", str(path), "-o", str(tmp_path / "report")]) == 0
        assert "Not complete" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--colour"], "allowed: --blas-threads, --executor, --foreign"),
            (["run", "destkop"], "(choose from"),
            (["rum", "gil"], "invalid choice: 'rum'"),
            (["run", "gil", "--load", "pyton"], "invalid choice: 'pyton'"),
            (["run", "gil", "--priority", "lazy"], "invalid choice: 'lazy'"),
            (["run", "desktop", "--executor", LOW_PROCESS, "--priority", "highest"], "takes the priorities idle"),
            (["run", "overhead", "--ui", "tk"], "overhead has no --ui"),
            (["run", "gil", "--quick", "--full"], "not allowed with"),
            (["--seconds", "0"], "must be a number above 0"),
            (["--rounds", "many"], "must be a positive integer, not 'many'"),
            (["--foreign", "-1"], "--foreign"),
            (["-o", "no/such/folder/file.json"], "must be a file in a folder that exists"),
        ],
    )
    def test_arguments(self, arguments, expected, capsys):
        """A wrong argument is answered with those that are allowed."""
        with pytest.raises(SystemExit) as info:
            _cli.main(arguments)
        assert info.value.code == 2
        assert expected in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["show", "report"])
    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}'])
    def test_other_files(self, command, content, tmp_path, capsys):
        """Another file is not shown."""
        path = tmp_path / "other.json"
        path.write_text(content, encoding="utf-8")
        assert _cli.main([command, str(path)]) == 1
        assert "other.json" in capsys.readouterr().err

    def test_no_file(self, tmp_path, capsys):
        """A file that is not there is named."""
        assert _cli.main(["show", str(tmp_path / "none.json")]) == 1
        assert "none.json" in capsys.readouterr().err

    def test_no_table(self, tmp_path, capsys):
        """A table that is not there is answered with those that are."""
        record = _record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 1)})
        _record.save(record, tmp_path / "results.json")
        assert _cli.main(["show", str(tmp_path / "results.json"), "--table", "nothing"]) == 1
        assert "there are: pure Python" in capsys.readouterr().err


def test_list(capsys):
    """The list has every suite, load, executor and window."""
    assert _cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*_cli.SUITES, *LOADS, *EXECUTORS, "tk", "qt"))


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["show"], ["compare"], ["list"]], ids=" ".join)
def test_help(command, capsys):
    """``--help`` of every command works."""
    with pytest.raises(SystemExit) as info:
        _cli.main([*command, "--help"])
    assert info.value.code == 0
    assert "usage: python -m benchmarks" in capsys.readouterr().out


def test_module():
    """``python -m benchmarks`` is the command line."""
    run = [sys.executable, "-m", "benchmarks", "--help"]
    answer = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "desktop" in answer.stdout


def test_extra_missing():
    """Without the extra, one line says how to get it."""
    program = (
        "import importlib.util, runpy, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'scipy' else find(name, *a)\n"
        "runpy.run_module('benchmarks', run_name='__main__')"
    )
    run = [sys.executable, "-c", program]
    answer = subprocess.run(run, cwd=ROOT, check=False, capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr == 'no scipy: install the extra: python -m pip install -e ".[bench]"\n'
