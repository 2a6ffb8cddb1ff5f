"""The lateness that is charged to the beats, and the samples that are kept."""

import pytest
from benchmarks.watching.heartbeat import charge
from benchmarks.watching.levels import describe
from benchmarks.watching.samples import QUANTILE_POINTS, quantile, thin


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
        """A frame that begins before a beat is due does not count for this beat."""
        assert charge([(100, 101), (109, 110), (110, 112)], 100, 10, 2) == [1, 2]

    def test_end(self):
        """No more beats are charged than the schedule has."""
        assert charge([(100, 101), (500, 501)], 100, 10, 3) == [1, 391, 381]


@pytest.mark.parametrize(("fraction", "expected"), [(0, 1), (0.25, 2), (0.5, 3), (0.95, 4.8), (1, 5)])
def test_quantile(fraction, expected):
    """Quantiles are interpolated, and the samples may come in any order."""
    assert quantile([5, 3, 1, 4, 2], fraction) == pytest.approx(expected)


def test_quantile_of_one():
    """One sample is every quantile."""
    assert quantile([7], 0.99) == 7


def test_thin():
    """Many samples are kept as quantiles, from which the percentiles are the same."""
    values = [(k * 7919) % 100_000 for k in range(100_000)]
    kept = thin(values)
    assert len(kept) == QUANTILE_POINTS
    for percent in (0, 50, 95, 99, 100):
        assert quantile(kept, percent / 100) == pytest.approx(quantile(values, percent / 100), abs=1)


def test_thin_few():
    """Few samples are all kept, sorted."""
    assert thin([3, 1, 2]) == [1, 2, 3]


def test_levels():
    """Different levels are counted; a single level is only named."""
    assert describe({"nice 0": 4}) == "nice 0"
    assert describe({"nice 19": 1, "nice 0": 2}) == "nice 0 (2 threads), nice 19 (1)"
