"""The two sides of a background job: the speed that it leaves to other programs, and the work that it does."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.rows import Row, Rows
from ..subjects.condition import NOTHING
from ..subjects.executors import stdlib_of
from ..subjects.loads import TITLES
from ..suites.designs import DESIGNS
from .wording import background_of


@dataclass(frozen=True)
class Kept:
    """One executor."""

    name: str  # with its priority
    speed: float  # of another program while the job runs, over its speed on an idle machine; at most 1
    work: float  # that the job does per second, over that of the standard library's executor


def kept_by_load(rows: Rows) -> dict[str, Sequence[Kept]]:
    """Return the executors by the title of their load, where the suite measures both sides at its base condition."""
    base = DESIGNS[rows.record["suite"]].base
    found: dict[str, Sequence[Kept]] = {}
    for load, title in TITLES.items():
        place = base.but(load=load)
        here = rows.where(load=load, ui=place.ui, foreground=place.foreground)
        kept = [each for row in here if (each := _kept(row, rows)) is not None]
        if len(kept) > 1:
            found[title] = sorted(kept, key=lambda each: each.name)
    return found


def _kept(row: Row, rows: Rows) -> Kept | None:
    condition = row.condition
    stdlib = rows.get(condition.with_executor(stdlib_of(condition.executor)))
    speed = row.speed_kept(rows.alone(row))
    if condition.executor == NOTHING or stdlib is None or not stdlib.rate or speed is None:
        return None
    return Kept(background_of(condition), min(speed, 1.0), (row.rate or 0.0) / stdlib.rate)
