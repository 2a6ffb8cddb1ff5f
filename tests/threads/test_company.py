"""Thread pools work in programs that change how threads work: with gevent, or several interpreters."""

import sys

import pytest

from programs import run_python

pytestmark = pytest.mark.every_python

_USE = """
    with PriorityThreadPoolExecutor(4, latency_target={target}) as executor:
        assert executor.submit(abs, -1).result() == 1
        assert list(executor.map(lambda x: (time.sleep(0.02), x)[1], range(8))) == list(range(8))
        assert type(executor.submit(lambda: 1 / 0).exception()) is ZeroDivisionError
        assert executor.stats().tasks_done >= 9
        assert executor.stalls() == []
    forgotten = PriorityThreadPoolExecutor(2, latency_target={target})
    future = forgotten.submit(time.sleep, 0.02)
    del forgotten
    assert future.result() is None
"""


@pytest.mark.parametrize("target", [None, 0.005])
@pytest.mark.parametrize("patched", ["before", "after"])
def test_gevent(patched, target):
    """With gevent's threads, tasks run at the level of the program, and each pool gives one warning."""
    pytest.importorskip("gevent")
    patch = "from gevent import monkey; monkey.patch_all()"
    before, after = (patch, "") if patched == "before" else ("", patch)
    run_python(f"""
{before}
import time, warnings
from nicefutures import PriorityError, PriorityThreadPoolExecutor, PriorityWarning, get_thread_priority
{after}
level = get_thread_priority()
with warnings.catch_warnings(record=True) as log:
    warnings.simplefilter("always", PriorityWarning)
{_USE.format(target=target)}
assert [warning.category for warning in log] == [PriorityWarning] * 2  # one for each pool
assert "gevent" in log[0].message.reason
with PriorityThreadPoolExecutor(2, latency_target={target}, on_denied="ignore") as executor:
    assert executor.submit(get_thread_priority).result() == level
assert get_thread_priority() == level
""")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
@pytest.mark.parametrize("target", [None, 0.005])
def test_subinterpreter(target):
    """A pool does its tasks in an interpreter with its own GIL, while another one works in the main interpreter."""
    run_python(f"""
import sys, threading, time
import nicefutures._threads.tasks
from nicefutures import PriorityThreadPoolExecutor
code = '''if True:
    import time
    from nicefutures import PriorityThreadPoolExecutor
{_USE.format(target=target)}
'''
def beside():
    for _ in range(5):
{_USE.format(target=target).replace(chr(10), chr(10) + "    ")}
if sys.version_info >= (3, 14):
    from concurrent import interpreters
    run, end, inside = interpreters.Interpreter.exec, interpreters.Interpreter.close, interpreters.create()
else:
    import _interpreters
    end, inside = _interpreters.destroy, _interpreters.create("isolated")
    def run(interpreter, code):
        failed = _interpreters.exec(interpreter, code)
        assert failed is None, failed
thread = threading.Thread(target=beside)
thread.start()
run(inside, code)
end(inside)  # or the program hangs at its end if a thread is still in there, with the stdlib's pool as well
thread.join()
""")
