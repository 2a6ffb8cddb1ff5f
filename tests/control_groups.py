"""Control groups that tests make."""

import time


def remove_group(group):
    """Remove a control group. A fork server and a resource tracker may leave it later than their program."""
    deadline = time.monotonic() + 10
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
