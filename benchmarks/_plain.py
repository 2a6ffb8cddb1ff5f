"""The suites that are no conditions beside a window: what they have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import _cluster, _overhead, _transport
from ._run import Suite
from ._tables import Table


@dataclass(frozen=True)
class PlainSuite:
    """A suite with tables only.

    Parameters
    ----------
    question : str
        What it answers.
    note : str
        How to read its tables.
    rounds : int
        How often.
    make : callable
        Takes the seconds of a window, or None, and returns the cells.
    tables : callable
        Takes a record.
    """

    question: str
    note: str
    rounds: int
    make: Callable[[float | None], Suite]
    tables: Callable[[Mapping[str, Any]], Sequence[Table]]


PLAIN: Final = {
    module.NAME: PlainSuite(module.QUESTION, module.NOTE, module.ROUNDS, module.make_suite, module.tables)
    for module in (_overhead, _transport, _cluster)
}
