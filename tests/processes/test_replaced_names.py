"""Tools that replace names of the standard library: gevent, eventlet, pytest-socket, pyfakefs, freezegun."""

import importlib.util

import pytest

from asking import WINDOWS
from programs import run_python

pytestmark = pytest.mark.every_python


@pytest.mark.skipif(WINDOWS, reason="its pipes are multiprocessing's own, of no class of sockets")
def test_sockets_and_files():
    """A pool works where sockets and the files of the real system are forbidden."""
    run_python("""
import socket, sys
from nicefutures import LowPriorityProcessPoolExecutor
import os as real
class Fake:
    def __getattr__(self, name):
        if name in ("read", "write", "close", "open", "pipe"):
            raise AssertionError(name)
        return getattr(real, name)
class Refused:
    def __init__(self, *_, **__):
        raise AssertionError("socket")
if __name__ == "__main__":
    # A fork server is reached through `socket`, by the standard library.
    executor = LowPriorityProcessPoolExecutor(2, "fork", share_min_size=1000)
    assert executor.submit(abs, -1).result() == 1
    for name, module in list(sys.modules.items()):  # as pyfakefs does
        if name.startswith("nicefutures") and getattr(module, "os", None) is real:
            module.os = Fake()
    socket.socket = Refused
    with executor, LowPriorityProcessPoolExecutor(2, mp_context="fork") as another:
        for each in (executor, another):
            assert list(each.map(bytes, [3, 10**6])) == [bytes(3), bytes(10**6)]
""")


_FREEZE = """
import sys, time
def freeze(name):  # as freezegun does, which leaves multiprocessing and threading alone
    real = getattr(time, name)
    def frozen():
        return 0 if sys._getframe(1).f_globals["__name__"].startswith("nicefutures") else real()
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is real:
            setattr(module, name, frozen)
for name in ("time", "monotonic", "perf_counter", "perf_counter_ns"):
    freeze(name)
"""


@pytest.mark.parametrize("imported", ["before", "after"])
def test_frozen_clock(imported):
    """Time limits of tasks and of results work although the program's clocks stand still."""
    if WINDOWS and imported == "after":
        pytest.skip("there is no other clock")
    use = "from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor"
    run_python(f"""
{use + chr(10) + "LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor" if imported == "before" else ""}
{_FREEZE}
{use}
with LowPriorityProcessPoolExecutor(1, task_timeout=0.1) as executor:
    assert type(executor.submit(time.sleep, 1000).exception()) is TimeoutError
with LowPriorityProcessPoolExecutor(1) as executor, PriorityThreadPoolExecutor(1) as threads:
    for each in (executor, threads):
        try:
            list(each.map(time.sleep, [0.4], timeout=0.01, buffersize=1))
        except TimeoutError:
            continue
        raise AssertionError
""")


_GEVENT = "from gevent import monkey, spawn_later; monkey.patch_all()"
_EVENTLET = "import eventlet; eventlet.monkey_patch(); spawn_later = eventlet.spawn_after"


@pytest.mark.skipif(WINDOWS, reason="multiprocessing waits there in C, so the standard library's pool blocks, too")
@pytest.mark.parametrize(("library", "method"), [("gevent", "fork"), ("gevent", "spawn"), ("eventlet", "fork")])
@pytest.mark.parametrize("patched", ["before", "after"])
def test_green_threads(patched, library, method, tmp_path):
    """A task does not block the loop of these libraries: it ends when a greenlet of the parent has made a file."""
    if importlib.util.find_spec(library) is None:  # importing eventlet here would warn of each fork
        pytest.skip(f"{library} is not installed")
    patch = _GEVENT if library == "gevent" else _EVENTLET
    before, after = (patch, "") if patched == "before" else ("", patch)
    printed = run_python(f"""
{before}
from nicefutures import LowPriorityProcessPoolExecutor
from tasks import hold_until
LowPriorityProcessPoolExecutor
{after}
import pathlib
gate = pathlib.Path({str(tmp_path / "gate")!r})
spawn_later(0.05, gate.touch)
with LowPriorityProcessPoolExecutor(2, mp_context={method!r}) as executor:
    assert list(executor.map(hold_until, [gate] * 3, range(3))) == [0, 1, 2]
    forgotten = LowPriorityProcessPoolExecutor(1, mp_context={method!r})
    assert forgotten.submit(abs, -1).result() == 1
    del forgotten
print("ended")
""")
    assert printed == "ended\n"
