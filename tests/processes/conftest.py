"""Fixtures for several tests of the process pool."""

import pytest

from asking import LINUX


@pytest.fixture
def nothing_shared():
    """Check that the test leaves no segment and no descriptor."""
    from leftovers import descriptors, ours, start_servers, wait_until_collected

    start_servers()
    before = descriptors()
    memory = ours() if LINUX else 0
    yield
    wait_until_collected(lambda: descriptors() <= before)
    if LINUX:
        wait_until_collected(lambda: ours() == memory)
