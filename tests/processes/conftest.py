"""What several tests of the process pool need."""

import pytest

from asking import LINUX


@pytest.fixture
def nothing_shared():
    """No segment, no descriptor is left by the test."""
    from leftovers import descriptors, ours, start_servers, wait_until_collected

    start_servers()
    before = descriptors()
    memory = ours() if LINUX else 0
    yield
    wait_until_collected(lambda: descriptors() <= before)
    if LINUX:
        wait_until_collected(lambda: ours() == memory)
