"""The suites that are no conditions beside a window: what they have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import cluster, overhead, transport
from .cell import Suite


@dataclass(frozen=True)
class PlainSuite:
    """A suite with tables only.

    Parameters
    ----------
    question : str
        What it answers.
    rounds : int
        How often.
    make : callable
        Takes the seconds of a window, or None, and returns the cells.
    """

    question: str
    rounds: int
    make: Callable[[float | None], Suite]


PLAIN: Final = {
    module.NAME: PlainSuite(module.QUESTION, module.ROUNDS, module.make_suite)
    for module in (overhead, transport, cluster)
}
