"""Control groups that tests make."""

import time


def remove_group(group):
    """Remove a control group: a fork server and a resource tracker leave it after their program."""
    deadline = time.monotonic() + 10
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
