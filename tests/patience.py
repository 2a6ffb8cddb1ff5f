"""Waiting for what has to come, however busy the machine is."""

import time

# Seconds: so long that only what would never come is still not there, even where low-priority work has to wait for
# busy programs.
PATIENCE = 300


def wait_until(condition, seconds=PATIENCE):
    """Wait until something holds; return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return found
