"""Nothing besides a level."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..._levels import ProcessPriority, Shortfall

if TYPE_CHECKING:
    import subprocess


def set_background(priority: ProcessPriority) -> Shortfall | None:
    return None


def start_child(priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
    popen()
    return None


def set_efficiency() -> Shortfall | None:
    return None


def end_with(lifeline: Any) -> None:
    """Do nothing: there is no way."""
