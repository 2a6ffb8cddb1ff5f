"""The page "A job for the night": its program runs as it is written, and prints what is written there."""

import csv

import pytest

from runnable import Page, run

PAGE = Page("night.md")

if not PAGE.text:
    pytest.skip("the pages are not part of this copy", allow_module_level=True)

pytest.importorskip("numpy")
pytest.importorskip("joblib")


def test_night(tmp_path):
    """Whatever goes wrong with some tasks, the results of all others are there, and the log says what went wrong."""
    PAGE.check()
    PAGE.write_files(tmp_path)
    ((command, output),) = PAGE.runs
    for _ in range(2):  # the second time most of it is known
        assert run(command, tmp_path) == output
        with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
            assert {int(row[0]) for row in csv.reader(file)} == set(range(1, 101)) - {30, 50, 80}
    log = (tmp_path / "night.log").read_text(encoding="utf-8")
    assert all(f"seed {seed}\n" in log for seed in range(1, 101))
    assert "exit status 1" in log
    assert "task_timeout=3.0 s" in log
