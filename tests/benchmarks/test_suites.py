"""The suites measure the right conditions, and each part of a condition runs."""

import json
import sys
from dataclasses import asdict

import pytest
from benchmarks.analysis.rows import Rows
from benchmarks.subjects.condition import Condition
from benchmarks.subjects.executors import EXECUTORS, STDLIB_PROCESS, STDLIB_THREAD
from benchmarks.subjects.loads import LOADS
from benchmarks.suites.designs import DESIGNS, Axes, conditions_of

from records import LATE, record_of


@pytest.mark.parametrize("name", DESIGNS)
def test_references(name):
    """For every executor, the standard library's and an idle machine are measured as references."""
    rows = Rows(record_of(name, dict.fromkeys(conditions_of(DESIGNS[name], Axes(), ["3.14.0"]), (LATE, 1)), 1))
    for row in rows:
        if row.condition.load:
            assert rows.alone(row) is not None, row.condition
            if row.condition.executor not in (STDLIB_PROCESS, STDLIB_THREAD):
                assert rows.reference(row) is not None, row.condition


def test_axes():
    """The user's choices are combined, and the standard library's executor and an idle machine are added."""
    axes = Axes(executor=["priority-thread"], priority=["idle", "lowest"], load=["python"], foreign=[0, 4])
    found = conditions_of(DESIGNS["gil"], axes, [])
    assert len(found) == len(set(found)) == 2 * (1 + 1 + 2)
    assert {condition.workers for condition in found} == {0, 4}


def test_names():
    """Every condition has a name of its own."""
    for design in DESIGNS.values():
        conditions = conditions_of(design, Axes(), ["3.14.0"])
        assert len({condition.name for condition in conditions}) == len(conditions)


def test_json():
    """A condition comes back from JSON as it was."""
    condition = Condition(executor="pool", load="exp", workers=3, blas_threads=1, foreign=2, switch_ms=0.5)
    assert Condition(**json.loads(json.dumps(asdict(condition)))) == condition


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.every_python] * ("interpreter" in name)) for name in EXECUTORS],
)
def test_executors(name):
    """Every measured executor does its tasks, and its workers end."""
    if EXECUTORS[name].problem:
        pytest.skip(EXECUTORS[name].problem)
    if EXECUTORS[name].needs:
        pytest.importorskip(EXECUTORS[name].needs)
    interval = sys.getswitchinterval()  # one of them sets it, usually in its own process
    try:
        with EXECUTORS[name].make(1, None) as executor:
            assert executor.submit(abs, -1).result(60) == 1
            assert [future.result(60) for future in [executor.submit(abs, -k) for k in range(5)]] == [*range(5)]
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", [name for name in LOADS if name != "stall"])
def test_loads(name):
    """Every load runs."""
    LOADS[name].task()
