"""Remembers which functions stalled the interpreter."""

import types
from collections.abc import Mapping
from typing import Final

from .stats import Stall

# The shortest stall that is recorded, in multiples of the target; and the number of functions that are kept.
_TARGETS: Final = 10
_KEPT: Final = 10
# The wait for the GIL begins later than the stall, by up to the time between two beats of the watching thread.
_LATER_S: Final = 0.020


class Stalls:
    """The functions of one pool that stalled the interpreter.

    The target is the time in s that another thread may have to wait for the GIL.
    """

    def __init__(self, target: float) -> None:
        self.shortest_s = max(_TARGETS * target - _LATER_S, _LATER_S)  # the shortest wait for the GIL that counts
        self._worst: Mapping[str, Stall] = types.MappingProxyType({})

    def add(self, name: str, seconds: float) -> bool:
        """Record a function that stalled the interpreter; return whether it is new."""
        known = self._worst.get(name)
        times, longest = (known.times, known.seconds) if known else (0, 0.0)
        stalls = {**self._worst, name: Stall(name, max(seconds, longest), times + 1)}
        self._worst = dict(sorted(stalls.items(), key=lambda item: -item[1].seconds)[:_KEPT])
        return known is None

    @property
    def worst(self) -> list[Stall]:
        """The functions, the longest stall first."""
        return list(self._worst.values())
