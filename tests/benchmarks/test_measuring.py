"""Each suite is measured with little work. Errors are reported, and the other cells are still measured."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from benchmarks.findings import overhead as costs
from benchmarks.measuring import available, run
from benchmarks.reporting.report import write_report
from benchmarks.reporting.summary import summarise
from benchmarks.subjects.condition import Condition
from benchmarks.subjects.executors import LOW_PROCESS, PRIORITY_INTERPRETER, STDLIB_PROCESS
from benchmarks.suites import cluster, engine, overhead, pausing, transport
from benchmarks.suites.cell import Suite, make_cell

from benchmarks import cli
from benchmarks import record as files
from marks import needs_interpreters, thorough
from records import PYTHON, ROOT, check_schema

# Not idle, so that the tests also finish on a busy machine.
LEVEL = "below_normal"
LEVELS = {"linux": "SCHED_BATCH nice 10", "win32": "BELOW_NORMAL_PRIORITY_CLASS", "darwin": "nice 10"}
SHORT = ["--seconds", "0.3", "--rounds", "1", "--workers", "1", "--seed", "7"]


def measure(folder, *arguments):
    """Run a suite; return the exit code and the JSON."""
    path = folder / "results.json"
    code = cli.main(["run", *arguments, "-o", str(path)])
    record = json.loads(path.read_text(encoding="utf-8"))
    check_schema(record)
    return code, record


def measure_cells(suite, cells, folder):
    """Run some cells of a suite that has no options; check that none failed, and return the JSON."""
    record = run.run_suite(dataclasses.replace(suite, cells=cells), 1, 0, folder / "results.json")
    check_schema(record)
    assert [cell for cell in record["cells"] if "error" in cell] == []
    return record


def results_of(record):
    return {cell["name"]: cell["result"] for cell in record["cells"] if "result" in cell}


def is_alive(process):
    """Return whether a process still runs. A zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_quick(tmp_path, capsys):
    """The quick suite records both windows, the work and the workers' level, and gives a table, a file and a report."""
    chosen = ["--executor", LOW_PROCESS, "priority-thread", "--priority", LEVEL, "--load", "matmul", "--verbose"]
    code, record = measure(tmp_path, "quick", *SHORT, *chosen)
    assert code == 0
    assert record["complete"]
    assert record["seed"] == 7
    result = results_of(record)[f"low-process {LEVEL}, matmul, ui thread, 1 workers"]
    assert len(result["ui"]["lateness_ns"]) == 18
    assert len(result["foreground"]["lateness_ns"]) == 12
    assert result["foreground"]["frames_per_s"] > 0
    assert list(result["levels"]) == [LEVELS.get(sys.platform, "nice 10")]
    printed = capsys.readouterr()
    assert "LowPriorityProcessPoolExecutor" in printed.out
    assert "For products of 700 x 700 matrices, use" in printed.out
    assert f"The report: {tmp_path / 'results-report' / 'report.html'}" in printed.out
    assert "measurements, about" in printed.err

    assert cli.main(["show", str(tmp_path / "results.json")]) == 0
    assert capsys.readouterr().out.strip() == printed.out.partition("\nThe report")[0].strip()
    assert cli.main(["show", str(tmp_path / "results.json"), "--markdown", "--table", "in another process"]) == 0
    assert "| nothing |" in capsys.readouterr().out
    assert cli.main(["report", str(tmp_path / "results.json"), "-o", str(tmp_path / "again")]) == 0
    written = [(tmp_path / name / "report.html").read_bytes() for name in ("results-report", "again")]
    assert written[0] == written[1]


@thorough
def test_desktop(tmp_path):
    """The desktop suite measures another process, in the session of the workers and in another one."""
    chosen = ["--executor", LOW_PROCESS, "--priority", LEVEL, "--blas-threads", "1", "--no-report"]
    code, record = measure(tmp_path, "desktop", *SHORT, *chosen)
    assert code == 0
    result = results_of(record)[f"low-process {LEVEL}, matmul, 1 workers, BLAS threads 1"]
    assert result["ui"] is None
    assert result["foreground"]["frame_ns"] == sorted(result["foreground"]["frame_ns"])
    assert result["done"] >= 0
    assert all(library["num_threads"] == 1 for library in result["blas"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions of that kind")
def test_other_session():
    """A foreground in another session beats as well."""
    condition = Condition(foreground="other-session")
    assert run.run_cell(make_cell(condition, 0.2, 0))["foreground"]["lateness_ns"]


@thorough
def test_ui(tmp_path):
    """Windows that can be opened here are measured; for the others, the reason is recorded."""
    chosen = ["--ui", "asyncio", "tk", "qt", "--executor", "priority-thread", "--load", "python", "--no-report"]
    code, record = measure(tmp_path, "ui", *SHORT, *chosen)
    assert code == 0
    measured = {cell["condition"]["ui"] for cell in record["cells"] if cell["round"] == 1}
    assert "asyncio" in measured
    assert len(measured) + len({each["reason"] for each in record["skipped"]}) >= 3
    assert all(each["what"] and each["reason"] for each in record["skipped"])


@thorough
def test_gil(tmp_path, capsys):
    """Foreign processes, switch intervals and a second interpreter (this one) are measured; a missing one is not."""
    chosen = ["--load", "python", "--priority", LEVEL, "--foreign", "1", "--switch-interval", "1", "--no-report"]
    missing = str(tmp_path / "python")
    code, record = measure(tmp_path, "gil", *SHORT, *chosen, "--python", sys.executable, missing)
    assert code == 0
    (version,) = record["settings"]["pythons"]
    names = [name for name in results_of(record) if LEVEL in name]
    assert len(names) == 2
    assert sum(version in name for name in names) == 1
    assert "skipped: the interpreter python" in capsys.readouterr().err
    assert any(note.startswith("Skipped: the interpreter python") for note in summarise(record).notes)


@pytest.mark.every_python
@needs_interpreters
def test_interpreters(tmp_path):
    """Interpreters run loads without NumPy while a window allocates memory; other loads are skipped."""
    chosen = ["--executor", PRIORITY_INTERPRETER, "--priority", "lowest", "--load", "objects", "ufuncs"]
    code, record = measure(tmp_path, "gil", *SHORT, *chosen, "--ui", "memory", "--no-report")
    assert code == 0
    (found,) = [result for name, result in results_of(record).items() if PRIORITY_INTERPRETER in name]
    assert found["levels"] == ({"SCHED_OTHER nice 19": 1} if sys.platform == "linux" else found["levels"])
    assert {each["reason"] for each in record["skipped"]} == {"interpreters cannot load NumPy"}


def test_python(tmp_path):
    """An interpreter that cannot be used is skipped, with the reason and a remedy."""
    found, skipped = available.find_pythons([str(tmp_path / "python")])
    assert found == {}
    assert skipped[0]["what"] == "the interpreter python"
    assert "-m pip install" in skipped[0]["reason"]


@thorough
def test_cluster(tmp_path):
    """The cluster suite measures Dask's workers with and without busy programs."""
    pytest.importorskip("distributed")
    suite = cluster.make_suite(0.5)
    record = measure_cells(suite, [cell for cell in suite.cells if cell.name.startswith("products")], tmp_path)
    assert {tuple(cell["cluster"]) for cell in record["cells"] if "cluster" in cell} == {
        (*each, foreign) for each in (("products", None), ("products", "idle")) for foreign in (0, cluster.FOREIGN)
    }
    assert [len(table.rows) for table in summarise(record).tables] == [2, 2, 4]
    assert write_report(record, tmp_path / "report").exists()


# The pool for each kind of transfer.
TRANSPORTED = {"results": "pool", "arguments": "joblib", "one": "low-spawn"}


@thorough
def test_transport(tmp_path):
    """The transport suite sends arrays of 1 MB, each way, through one pool and the standard library's."""
    suite = transport.make_suite(0.1)
    wanted = [
        [kind, 10**8 if kind == "one" else 10**6, each]
        for kind, peer in TRANSPORTED.items()
        for each in (peer, "stdlib-spawn")
    ]
    cells = [
        dataclasses.replace(cell, spec={**cell.spec, "size": 10**6})
        for cell in suite.cells
        if cell.record["transport"] in wanted
    ]
    record = measure_cells(suite, cells, tmp_path)
    tables = summarise(record).tables
    for kind in TRANSPORTED:
        title = transport.KINDS.get(kind, "one array of")
        (table,) = [table for table in tables if table.title.startswith(title)]
        assert len(table.rows) == 2
        # The copies of such a small array cannot be told from other changes of the memory.
        rows = [row[:-1] if kind == "one" else row for row in table.rows]
        assert all(number > 0 for row in rows for number in row if isinstance(number, float))
    if sys.platform == "linux":
        copies = [cell["result"]["copies"] for cell in record["cells"] if cell.get("transport", [""])[0] == "one"]
        assert None not in copies
    assert write_report(record, tmp_path / "report").exists()


@thorough
def test_overhead(tmp_path):
    """The overhead suite measures costs with pyperf, and work."""
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
    suite = overhead.make_suite(0.2)
    cells = [
        dataclasses.replace(cell, spec={**cell.spec, "loops": max(1, cell.spec["loops"] // 10)})
        for cell in suite.cells
        if cell.name in wanted
    ]
    cells += [cell for cell in suite.cells if cell.name.startswith("stdlib-process")]
    record = measure_cells(suite, cells, tmp_path)
    assert len(costs.values(record, "call", "low-spawn")) == 3
    titles = [table.title for table in summarise(record).tables]
    assert titles[0] == "a call and its result"
    assert titles[-3:] == [
        "Targets for small calls",
        "through joblib",
        "products of 700 x 700, nothing beside",
    ]
    assert write_report(record, tmp_path / "report").exists()


@thorough
def test_engine(tmp_path):
    """The engine suite measures both pools in turn; each kind of cell has a row with its target."""
    kinds = ["call, array", "item, class", "waiting", "cancelled", "search", "returned", "start", "window"]
    wanted = [f"{kind}, spawn" for kind in kinds]
    suite = engine.make_suite(0.1)
    cells = [
        dataclasses.replace(cell, spec={**cell.spec, "pairs": 1, "loops": 150 if cell.spec["loops"] > 150 else 1})
        for cell in suite.cells
        if cell.name in wanted
    ]
    record = measure_cells(suite, cells, tmp_path)
    (table,) = summarise(record).tables
    assert len(table.rows) == len(wanted)
    assert all(row[3] > 0 < row[4] and row[-1] in {"yes", "no", "not clear"} for row in table.rows)
    assert write_report(record, tmp_path / "report").exists()


@thorough
@pytest.mark.parametrize("program", ["gather", "pool"])
def test_pausing(program, tmp_path):
    """A program is measured alone, with a pool that pauses and with one that does not; each claim has a target."""
    suite = pausing.make_suite(0.4)
    short = {"skip_s": 0.3, "settle_s": 0.3, "idle_after": 0.5}
    cells = [
        dataclasses.replace(cell, spec={**cell.spec, **short})
        for cell in suite.cells
        if cell.record["pausing"] == program
    ]
    record = measure_cells(suite, cells, tmp_path)
    programs, targets = summarise(record).tables
    assert [row[0] for row in programs.rows] == [pausing.PROGRAMS[program]] * 2
    assert len(targets.rows) == 8
    assert write_report(record, tmp_path / "report").exists()


def test_failed_cell(capsys, tmp_path):
    """The standard error of a cell that failed is shown and saved; the others are measured."""
    broken = make_cell(dataclasses.replace(PYTHON, executor="no such executor"), 0.1, 0)
    record = run.run_suite(Suite("gil", [broken]), 1, 0, tmp_path / "results.json")
    check_schema(record)
    before, failed, after = record["cells"]
    assert "result" in before
    assert "result" in after
    assert "KeyError" in failed["error"]
    assert "no such executor" in capsys.readouterr().err
    assert any("failed: KeyError" in note for note in summarise(record).notes)


@pytest.mark.skipif(sys.platform == "win32", reason="no way to press Ctrl-C for another process")
def test_interrupt(tmp_path):
    """Ctrl-C leaves the finished measurements, which are enough for a report, and no process."""
    path = tmp_path / "results.json"
    # With this seed, the cell with workers is the first one.
    options = ["--seconds", "30", "--executor", STDLIB_PROCESS, "--workers", "2", "--seed", "5", "-o", str(path)]
    # If a shell runs the tests in the background, they ignore Ctrl-C.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from benchmarks import cli; from benchmarks.measuring import run; run.BASELINE_S = 0.2\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "run", "desktop", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    driver = psutil.Process(process.pid)
    family: list[psutil.Process] = []
    deadline = time.monotonic() + 300
    # The cell, its foreground and its two workers.
    while (not path.exists() or len(family) < 4) and time.monotonic() < deadline:
        time.sleep(0.05)
        family = driver.children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "report.html" in printed
    deadline = time.monotonic() + 60
    while (alive := [process for process in family if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []
    record = files.load(path)
    check_schema(record)
    assert not record["complete"]
    assert [cell["round"] for cell in record["cells"]] == [0]
    assert cli.main(["report", str(path), "-o", str(tmp_path / "report")]) == 0
    assert "Not complete" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
