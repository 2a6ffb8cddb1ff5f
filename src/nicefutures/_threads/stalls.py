"""Remembers which functions stalled the interpreter."""

import types
from collections.abc import Mapping
from typing import Final

from .stats import Stall

# A stall worth naming, in targets, and how many functions are kept.
_TARGETS: Final = 10
_KEPT: Final = 10
# The wait for the GIL begins later than the stall, by up to the time from one beat of the watching thread to the next.
_LATER_S: Final = 0.020


class Stalls:
    """The functions of one pool that stalled the interpreter.

    Parameters
    ----------
    target : float
        Seconds that another thread may have to wait for the GIL.

    Attributes
    ----------
    shortest_s : float
        How long a wait for the GIL has to be to count, in s.
    """

    def __init__(self, target: float) -> None:
        self.shortest_s = max(_TARGETS * target - _LATER_S, _LATER_S)
        self._worst: Mapping[str, Stall] = types.MappingProxyType({})

    def add(self, name: str, seconds: float) -> bool:
        """Take note of a function that stalled the interpreter; return whether it is new."""
        known = self._worst.get(name)
        times, longest = (known.times, known.seconds) if known else (0, 0.0)
        stalls = {**self._worst, name: Stall(name, max(seconds, longest), times + 1)}
        self._worst = dict(sorted(stalls.items(), key=lambda item: -item[1].seconds)[:_KEPT])
        return known is None

    @property
    def worst(self) -> list[Stall]:
        """The functions, the worst one first."""
        return list(self._worst.values())
