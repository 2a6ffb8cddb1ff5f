"""Wait for events, however busy the machine is."""

import time

# Seconds: long enough for every event that happens at all, even if low-priority work has to wait for busy programs.
PATIENCE = 300


def wait_until(condition, seconds=PATIENCE):
    """Wait until a condition is true; return its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return found
