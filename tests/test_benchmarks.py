"""The benchmarks run, write what they say, and show what they wrote. What they measure is not judged here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

for _needed in ("numpy", "scipy", "rich", "benchmarks"):  # the last is in the source tree only
    pytest.importorskip(_needed)

from benchmarks import _cli, _record, _run  # noqa: E402
from benchmarks._levels import describe  # noqa: E402
from benchmarks._machine import find_noise  # noqa: E402
from benchmarks._statistics import QUANTILE_POINTS, bootstrap, charge, quantile, thin  # noqa: E402
from benchmarks._tables import Column, Table, to_markdown, to_plain  # noqa: E402
from benchmarks._targets import Target  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
IDLE_LEVELS = {"linux": "SCHED_IDLE", "win32": "IDLE_PRIORITY_CLASS", "darwin": "nice 20"}


def _measure(tmp_path, *arguments):
    """Run a suite; return the exit code and the JSON."""
    path = tmp_path / "results.json"
    code = _cli.main([*arguments, "-o", str(path)])
    return code, json.loads(path.read_text(encoding="utf-8"))


def _is_alive(process):
    """Return whether a process still runs: one that its new parent has not yet collected does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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

    def test_bootstrap(self):
        """The interval contains the ratio that the samples were made with, and the same seed gives the same one."""
        pairs = [(100 + k % 7, 2 * (100 + k % 5)) for k in range(50)]
        interval = bootstrap(pairs, lambda a, b: b / a, seed=1)
        assert interval.low <= 2 <= interval.high
        assert interval.low <= interval.value <= interval.high
        assert interval == bootstrap(pairs, lambda a, b: b / a, seed=1)

    @pytest.mark.parametrize(("value", "met"), [(0.9, "no"), (0.97, "yes"), (None, None)])
    def test_target(self, value, met):
        """A number is judged by its limit."""
        assert Target("speed", least=0.97).judge(value)[-1] == met

    def test_target_not_clear(self):
        """A limit inside the interval is not said to be met."""
        interval = bootstrap([(1, 1), (1, 2), (1, 3)], lambda a, b: b / a, seed=0)
        assert Target("cost", most=2).judge(interval)[-1] == "not clear"

    def test_levels(self):
        """Different levels are counted, the same one is only named."""
        assert describe({"nice 0": 4}) == "nice 0"
        assert describe({"nice 19": 1, "nice 0": 2}) == "nice 0 (2 threads), nice 19 (1)"


class TestNoise:
    """What is said of a machine that was not quiet."""

    @pytest.mark.parametrize(("load", "after"), [(0.7, 100), (0.1, 89), (0.1, 111)])
    def test_noisy(self, load, after):
        """A load, or a drift of the baseline by more than 10 %, is named together with what to do."""
        (note,) = find_noise(load, 100, after)
        assert "noisy" in note
        assert "run again" in note

    @pytest.mark.parametrize("after", [95, 109, None])
    def test_quiet(self, after):
        """A quiet machine needs no words."""
        assert find_noise(0.3, 100, after) == []


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

    def test_json(self):
        """A table comes back from JSON as it was."""
        again = Table.from_json(json.loads(json.dumps(self.table.to_json())))
        assert to_plain(again) == to_plain(self.table)


class TestSuites:
    """Each suite, with as little as it can do."""

    def test_job(self, tmp_path, capsys):
        """The real job: both jobs in every cell, latenesses of both windows, the level that the workers have."""
        cells = ["low-process", "priority-thread"]
        options = ["--seconds", "0.2", "--rounds", "1", "--workers", "1", "--seed", "7", "--only", *cells]
        code, record = _measure(tmp_path, *options)
        assert code == 0
        assert record["complete"]
        assert record["seed"] == 7
        assert record["machine"]["cores"]["usable"] >= 1
        measured = {cell["name"]: cell["result"] for cell in record["cells"]}
        assert sorted(measured) == sorted([*cells, "baseline-before", "baseline-after"])
        for name in cells:
            assert [window["job"] for window in measured[name]["windows"]] == ["fit", "products"]
            for window in measured[name]["windows"]:
                assert window["frames_per_s"] > 0
                assert len(window["beat_us"]) == round(0.2 * 2 / 3 * 60)
                assert len(window["own_beat_us"]) == round(0.2 * 60)
        assert list(measured["low-process"]["levels"]) == [IDLE_LEVELS.get(sys.platform, "nice 20")]
        printed = capsys.readouterr()
        assert "LowPriorityProcessPoolExecutor" in printed.out
        assert "4 measurements" in printed.err

    def test_desktop(self, tmp_path, capsys):
        """The desktop: frames, products, the level of the workers. What is shown later is what was shown then."""
        cells = ["alone", "stdlib-process", "low-process-one-blas"]
        options = ["desktop", "--seconds", "0.3", "--rounds", "1", "--workers", "1", "--only", *cells]
        code, record = _measure(tmp_path, *options)
        assert code == 0
        measured = {cell["name"]: cell for cell in record["cells"]}
        assert measured["low-process-one-blas"]["blas_threads"] == 1
        assert list(measured["low-process-one-blas"]["result"]["levels"]) == [IDLE_LEVELS.get(sys.platform, "nice 20")]
        (window,) = measured["stdlib-process"]["result"]["windows"]
        assert window["done"] > 0
        assert window["frame_us"] == sorted(window["frame_us"])
        assert len(record["summary"]["tables"]) == 2

        at_the_end = capsys.readouterr().out
        assert _cli.main(["show", str(tmp_path / "results.json")]) == 0
        assert capsys.readouterr().out == at_the_end
        assert "LowPriorityProcessPoolExecutor, one BLAS thread" in at_the_end
        assert _cli.main(["show", str(tmp_path / "results.json"), "--markdown"]) == 0
        assert "| nothing | 1.00 |" in capsys.readouterr().out

    def test_overhead(self, tmp_path):
        """The overhead: pairs of samples, and an interval for each comparison."""
        cells = ["call-spawn", "call-thread", "start", "import"]
        options = ["overhead", "--rounds", "1", "--samples", "2", "--calls", "20", "--seconds", "0.2", "--only", *cells]
        code, record = _measure(tmp_path, *options)
        assert code == 0
        for cell in record["cells"]:
            if cell["name"] in cells:
                samples = cell["result"]["samples_s"]
                assert len(samples["stdlib"]) == len(samples["nicefutures"]) == 2
        (table,) = record["summary"]["tables"]
        assert len(table["rows"]) == len(cells)


class TestFailures:
    """What goes wrong is said, and the rest goes on."""

    def test_cell(self, capsys, tmp_path):
        """The standard error of a cell that failed is shown and saved; the others are measured."""
        broken = _run.Cell("broken", "benchmarks._cell", {"pool": "no such pool"}, 0.1)
        suite = _run.Suite("test", [broken], lambda _: {"tables": [], "notes": []}, baseline_s=0.1)
        record = _run.run_suite(suite, 1, 0, tmp_path / "results.json")
        before, failed, after = record["cells"]
        assert "result" in before
        assert "result" in after
        assert "TypeError" in failed["error"]
        assert "broken failed" in capsys.readouterr().err
        assert any("broken, round 1, failed: TypeError" in note for note in record["summary"]["notes"])

    @pytest.mark.skipif(sys.platform == "win32", reason="no way to press Ctrl-C for another process")
    def test_interrupt(self, tmp_path):
        """Ctrl-C leaves what was measured, and no process."""
        path = tmp_path / "results.json"
        options = ["--seconds", "30", "--rounds", "1", "--workers", "2", "--only", "stdlib-process", "-o", str(path)]
        # Short baseline, long cell: it is interrupted while its workers are busy.
        program = (
            "import sys; from benchmarks import _cli, _desktop, _run; make = _desktop.make_suite\n"
            "import dataclasses\n"
            "_desktop.make_suite = lambda *a: dataclasses.replace(make(*a), baseline_s=0.1)\n"
            "sys.exit(_cli.main(['desktop', *sys.argv[1:]]))"
        )
        command = [sys.executable, "-c", program, *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        driver = psutil.Process(process.pid)
        family: list[psutil.Process] = []
        deadline = time.monotonic() + 30
        while len(family) < 4 and time.monotonic() < deadline:  # the cell, the foreground, two workers
            time.sleep(0.05)
            family = driver.children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
        deadline = time.monotonic() + 10
        while (alive := [process for process in family if _is_alive(process)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive == []
        record = _record.load(path)
        assert not record["complete"]
        assert [cell["name"] for cell in record["cells"]] == ["baseline-before"]
        assert any("interrupted" in note for note in record["summary"]["notes"])

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--colour"], "allowed: --help, --only, --rounds, --seconds, --seed, --workers, -h, -o"),
            (["overhead", "--workers", "3"], "allowed: --calls"),
            (["destkop"], "invalid choice: 'destkop'"),
            (["desktop", "--only", "nothing"], "unknown cell: nothing; allowed: alone, stdlib-process"),
            (["--seconds", "0"], "must be seconds, above 0"),
            (["--rounds", "many"], "must be a positive integer, not 'many'"),
            (["-o", "no/such/folder/file.json"], "must be a file in a folder that exists"),
        ],
    )
    def test_arguments(self, arguments, expected, capsys):
        """A wrong argument is answered with those that are allowed."""
        with pytest.raises(SystemExit) as info:
            _cli.main(arguments)
        assert info.value.code == 2
        assert expected in capsys.readouterr().err

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}'])
    def test_show(self, content, tmp_path, capsys):
        """Another file is not shown."""
        path = tmp_path / "other.json"
        path.write_text(content, encoding="utf-8")
        assert _cli.main(["show", str(path)]) == 1
        assert "other.json" in capsys.readouterr().err

    def test_show_nothing(self, tmp_path, capsys):
        """A file that is not there is named."""
        assert _cli.main(["show", str(tmp_path / "none.json")]) == 1
        assert "none.json" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["job"], ["desktop"], ["overhead"], ["show"]], ids=" ".join)
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
