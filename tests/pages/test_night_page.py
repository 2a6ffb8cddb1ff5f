"""The program on the page "A job for the night" runs, and prints the output on the page."""

import csv

import pytest

from marks import thorough
from runnable import Page, run

PAGE = Page("night.md")

if not PAGE.text:
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

pytest.importorskip("numpy")


@thorough
@pytest.mark.alone  # its tasks have a time limit
def test_night(tmp_path):
    """If some tasks fail, the results of all others are there, and the log says how the tasks failed."""
    PAGE.check()
    PAGE.write_files(tmp_path)
    ((command, output),) = PAGE.runs
    for _ in range(2):  # the second time, most results are known
        assert sorted(run(command, tmp_path).splitlines()) == sorted(output.splitlines())
        with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
            seeds = [int(row[0]) for row in csv.reader(file)]
        assert sorted(seeds) == sorted({*range(1, 101)} - {30, 50, 80})
    log = (tmp_path / "night.log").read_text(encoding="utf-8")
    assert all(f"seed {seed}\n" in log for seed in range(1, 101))
    assert "exit status 1" in log
    assert "task_timeout=3.0 s" in log
