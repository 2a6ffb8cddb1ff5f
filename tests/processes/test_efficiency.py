"""Efficiency cores, where a system can be asked for them."""

import warnings

from marks import linux_only, windows_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._system import backend
from tasks import identify


@linux_only
def test_efficiency_on_linux():
    """Linux has no interface for it: nothing is set, and nothing is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LowPriorityProcessPoolExecutor(1, efficiency=True) as executor:
            assert executor.submit(identify).result()


@windows_only
def test_efficiency_on_windows():
    """EcoQoS is asked for; a Windows, or a Wine, that has none is named in a warning."""
    shortfall = backend.background.set_efficiency()
    assert shortfall is None or "EcoQoS" in shortfall.text
