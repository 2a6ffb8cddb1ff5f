"""Confidence intervals, and the rows of a record with known latenesses."""

import numpy as np
import pytest
from benchmarks.analysis.bootstrap import Interval, compare_medians, quantile_ratio
from benchmarks.analysis.rows import BETTER, SAME, WORSE, Rows
from benchmarks.subjects.executors import STDLIB_THREAD

from records import LATE, ON_TIME, PYTHON, VERY_LATE, record_of


def test_medians():
    """The interval contains the ratio that the samples were made with, and the same seed gives the same interval."""
    pairs = [(2 * (100 + k % 5), 100 + k % 7) for k in range(50)]
    interval = compare_medians(pairs, lambda a, b: a / b, seed=1)
    assert interval.low <= 2 <= interval.high
    assert interval.low <= interval.value <= interval.high
    assert interval == compare_medians(pairs, lambda a, b: a / b, seed=1)


def test_quantile_ratio():
    """The interval contains the true ratio of quantiles in about as many cases as it promises."""
    hits = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        ours, theirs = ([draw.exponential(scale, 120) for _ in range(4)] for scale in (3.0, 1.0))
        interval = quantile_ratio(ours, theirs, 0.9, seed)
        hits += interval.low <= 3 <= interval.high
    assert hits >= 36


def test_quantile_ratio_of_frames():
    """Rounds of sorted frames count equally, whether they have many frames or few."""
    rounds = [np.linspace(0, 10, 1001), np.linspace(0, 10, 101)]
    interval = quantile_ratio(rounds, [np.linspace(0, 5, 500)] * 2, 0.99, 0, block=1)
    assert interval.value == pytest.approx(2, rel=0.01)
    assert interval.low == pytest.approx(2, rel=0.1)
    assert interval.high == pytest.approx(2, rel=0.1)


def test_quantile_ratio_of_the_same():
    """Equal beats have the ratio 1 in every resample."""
    rounds = [np.full(60, 5.0)] * 3
    assert quantile_ratio(rounds, rounds, 0.99, 0) == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("late", "expected"), [(VERY_LATE, WORSE), (ON_TIME, BETTER), (LATE, SAME)], ids=["worse", "better", "same"]
)
def test_verdict(late, expected):
    """A difference is reported if it is clear, and only then."""
    ours = PYTHON.with_executor("priority-thread", "idle")
    rows = Rows(record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 10), ours: (late, 10)}))
    row = rows[ours]
    assert row.verdict(rows.reference(row)) == expected


def test_invisible():
    """A difference below 2 ms is not significant, however certain it is, because no user sees it."""
    ours = PYTHON.with_executor("priority-thread", "idle")
    rows = Rows(record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): ([0.2] * 120, 1), ours: ([0.6] * 120, 1)}))
    assert rows[ours].latency_ratio(rows.reference(rows[ours])) == pytest.approx((3, 3, 3))
    assert rows[ours].verdict(rows.reference(rows[ours])) == SAME


def test_row():
    """Percentiles, shares and rates are those of the beats; p99.9 needs a thousand of them."""
    row = next(iter(Rows(record_of("gil", {PYTHON.with_executor(STDLIB_THREAD): (LATE, 10)}))))
    assert row.percentile(50) == 1
    assert row.p99 == row.maximum == 30
    assert row.percentile(99.9) is None
    assert row.share_over(1000 / 60) == 25
    assert row.share_over(50) == 0
    assert row.rate == 10
