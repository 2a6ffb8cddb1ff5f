"""The suites that do not measure conditions next to a window, and their common interface."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import cluster, engine, overhead, pausing, transport
from .cell import Suite


@dataclass(frozen=True)
class PlainSuite:
    """A suite with tables only."""

    question: str  # that the suite answers
    rounds: int
    make: Callable[[float | None], Suite]  # takes the seconds of a measurement, or None


PLAIN: Final = {
    module.NAME: PlainSuite(module.QUESTION, module.ROUNDS, module.make_suite)
    for module in (overhead, engine, transport, cluster, pausing)
}
