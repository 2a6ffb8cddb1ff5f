"""Nothing besides a level."""

from ..._levels import ProcessPriority, Shortfall


def set_background(priority: ProcessPriority) -> Shortfall | None:
    return None


def set_efficiency() -> Shortfall | None:
    return None
