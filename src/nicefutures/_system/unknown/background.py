"""Nothing besides a level."""

from typing import Any

from ..._levels import ProcessPriority, Shortfall


def set_background(priority: ProcessPriority) -> Shortfall | None:
    return None


def set_efficiency() -> Shortfall | None:
    return None


def end_with(lifeline: Any) -> None:
    """Do nothing: there is no way."""
