"""Efficiency cores, on systems where a program can request them."""

import warnings

from marks import linux_only, windows_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._system import backend
from tasks import identify


@linux_only
def test_efficiency_on_linux():
    """Linux has no interface for efficiency cores: nothing is set, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LowPriorityProcessPoolExecutor(1, efficiency=True) as executor:
            assert executor.submit(identify).result()


@windows_only
def test_efficiency_on_windows():
    """EcoQoS is requested; if Windows or Wine does not have it, the shortfall names it."""
    shortfall = backend.background.set_efficiency()
    assert shortfall is None or "EcoQoS" in shortfall.text
