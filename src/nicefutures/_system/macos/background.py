"""The I/O policy, and the efficiency cores."""

from typing import Final

from ..._levels import ProcessPriority, Shortfall
from ..unknown import end_with, start_child
from . import seam

__all__ = ["end_with", "set_background", "set_efficiency", "start_child"]

IOPOL_THROTTLE: Final = 3  # <sys/resource.h>
IOPOL_UTILITY: Final = 4
PRIO_DARWIN_BG: Final = 0x1000

_IO_POLICIES: Final = {ProcessPriority.IDLE: IOPOL_THROTTLE, ProcessPriority.BELOW_NORMAL: IOPOL_UTILITY}


def set_background(priority: ProcessPriority) -> Shortfall | None:
    policy = _IO_POLICIES.get(priority)
    if policy is None:
        return None
    requested = f"I/O policy {policy} of this process (IOPOL_{'THROTTLE' if policy == IOPOL_THROTTLE else 'UTILITY'})"
    try:
        seam.system.set_io_policy(policy)
        now = seam.system.get_io_policy()
    except OSError as error:
        return Shortfall(requested, "", f"macOS refused it: {error.strerror}", "Run it outside the sandbox.")
    reason = "macOS accepted the call and did something else"
    return (
        None
        if now == policy
        else Shortfall(requested, f"policy {now}", reason, "Ask the administrator of this machine.")
    )


def set_efficiency() -> Shortfall | None:
    requested = "efficiency cores for this process (PRIO_DARWIN_BG)"
    try:
        seam.system.set_darwin_background(PRIO_DARWIN_BG)
        now = seam.system.get_darwin_background()
    except OSError as error:
        return Shortfall(requested, "full speed", f"macOS refused it: {error.strerror}", "Run it outside the sandbox.")
    reason = "macOS accepted the call and did nothing"
    return None if now else Shortfall(requested, "full speed", reason, "Ask the administrator of this machine.")
