"""The suites that do not measure conditions next to a window, and their common interface."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import cluster, engine, overhead, pausing, transport
from .cell import Suite


@dataclass(frozen=True)
class PlainSuite:
    """A suite with tables only.

    Parameters
    ----------
    question : str
        The question that the suite answers.
    rounds : int
        Number of rounds.
    make : callable
        Takes the seconds of a measurement, or None, and returns the suite.
    """

    question: str
    rounds: int
    make: Callable[[float | None], Suite]


PLAIN: Final = {
    module.NAME: PlainSuite(module.QUESTION, module.ROUNDS, module.make_suite)
    for module in (overhead, engine, transport, cluster, pausing)
}
