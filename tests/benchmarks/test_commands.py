"""The command line of the benchmarks."""

import subprocess
import sys

import pytest
from benchmarks.subjects.executors import EXECUTORS, LOW_PROCESS, STDLIB_THREAD
from benchmarks.subjects.loads import LOADS

from benchmarks import cli
from benchmarks import record as files
from records import LATE, PYTHON, ROOT, record_of


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--colour"], "allowed: --blas-threads, --drawing, --executor"),
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
def test_arguments(arguments, expected, capsys):
    """The error for a wrong argument says what is allowed."""
    with pytest.raises(SystemExit) as info:
        cli.main(arguments)
    assert info.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}'])
def test_other_files(command, content, tmp_path, capsys):
    """A file that is not a record is not shown; the error names it."""
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    assert cli.main([command, str(path)]) == 1
    assert "other.json" in capsys.readouterr().err


def test_no_file(tmp_path, capsys):
    """The error for a missing file names it."""
    assert cli.main(["show", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_no_table(tmp_path, capsys):
    """The error for an unknown table lists the existing ones."""
    record = record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 1)})
    files.save(record, tmp_path / "results.json")
    assert cli.main(["show", str(tmp_path / "results.json"), "--table", "nothing"]) == 1
    assert "there are: pure Python" in capsys.readouterr().err


def test_list(capsys):
    """The list has every suite, load, executor and window."""
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*cli.SUITES, *LOADS, *EXECUTORS, "tk", "qt"))


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["show"], ["compare"], ["list"]], ids=" ".join)
def test_help(command, capsys):
    """``--help`` of every command works."""
    with pytest.raises(SystemExit) as info:
        cli.main([*command, "--help"])
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
