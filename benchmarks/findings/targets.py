"""Targets, and whether they are reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.bootstrap import Interval
from .tables import Table, Value, columns


@dataclass(frozen=True)
class Target:
    """A lower or an upper limit for a number."""

    what: str  # name of the number, with its unit
    least: float | None = None
    most: float | None = None

    def judge(self, value: float | Interval | None) -> Sequence[Value]:
        """Return a row of :func:`target_table`.

        A number with a confidence interval is "not clear" if the limit is inside the interval.
        """
        limit = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        if value is None:
            return (self.what, None, limit, None)
        interval = value if isinstance(value, Interval) else Interval(value, value, value)
        met = {self._holds(interval.low), self._holds(interval.high)}
        return (self.what, interval.value, limit, "not clear" if len(met) > 1 else "yes" if met == {True} else "no")

    def _holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def target_table(title: str, rows: Sequence[Sequence[Value]]) -> Table:
    """Return a table of targets."""
    return Table(title, columns("what | measured:2 | target | reached"), rows)
