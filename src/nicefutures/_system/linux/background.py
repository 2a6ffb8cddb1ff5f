"""Whose memory the kernel takes first. I/O is part of the level, thread by thread."""

from typing import Final

from ..._levels import ProcessPriority, Shortfall
from . import seam

# Added to a thousandth for each thousandth of the memory that is used: at 1000 the process comes before any other.
_OOM_SCORES: Final = {ProcessPriority.IDLE: 1000, ProcessPriority.BELOW_NORMAL: 800}


def set_background(priority: ProcessPriority) -> Shortfall | None:
    """Let the kernel take this process first when the memory runs out. I/O is part of the level, thread by thread."""
    wanted = _OOM_SCORES.get(priority)
    if wanted is None:
        return None
    path = "/proc/self/oom_score_adj"
    try:
        before = int(seam.system.read_text(path))
        if before < wanted:
            seam.system.write_text(path, str(wanted))
        now = int(seam.system.read_text(path))
    except FileNotFoundError:  # not in this kernel, or /proc is not mounted, which the level has said
        return None
    except OSError as error:
        requested, remedy = f"oom_score_adj {wanted}", "Ask whoever runs this machine or container."
        return Shortfall(requested, "as before", f"the system forbids it ({error.strerror})", remedy)
    if now >= wanted:
        return None
    reason = "the kernel accepted the call and did nothing"
    return Shortfall(f"oom_score_adj {wanted}", str(now), reason, "Ask whoever runs this machine or container.")


def set_efficiency() -> Shortfall | None:
    """Nothing to ask for: Linux has no interface by which a program asks for efficient cores or a slower clock."""
    return None
