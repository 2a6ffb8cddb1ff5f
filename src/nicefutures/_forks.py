"""What is not to be in the middle of something when a process is forked."""

import os
from typing import Any


def keep_through_forks(lock: Any) -> None:
    """Let no process be forked while another thread holds a lock, which the child would wait for in vain."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
