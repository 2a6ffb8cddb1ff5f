"""Every thread of every worker has the priority, and no other process has it."""

import multiprocessing
import os
import sys
import warnings

import psutil
import pytest

from asking import LINUX, PROCESS, ask_threads, report, send_levels
from marks import FRESH, linux_only, one_less
from nicefutures import LowPriorityProcessPoolExecutor, PriorityWarning, ProcessPriority
from nicefutures._levels import Shortfall
from patience import PATIENCE
from programs import run_python
from tasks import hold

pytestmark = pytest.mark.every_python

LEVELS = [ProcessPriority.IDLE, ProcessPriority.BELOW_NORMAL, ProcessPriority.NORMAL]
every_level = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)


@every_level
def test_level(context, level):
    """Workers have the priority under every start method."""
    with LowPriorityProcessPoolExecutor(2, context, priority=level) as executor:
        for pid, levels in executor.map(report, [0.05] * 6):
            assert pid != os.getpid()
            assert set(levels) == {PROCESS[level]}
            assert set(ask_threads(pid)) == {PROCESS[level]}


@linux_only
def test_only_lowers():
    """Workers of a program with a lower priority keep it, even if they may be raised."""
    run_python("""
import os
from asking import report
from nicefutures import LowPriorityProcessPoolExecutor

os.nice(19)
with LowPriorityProcessPoolExecutor(1, "fork", priority="below_normal") as executor:
    assert {nice for _, nice, _ in executor.submit(report).result()[1]} == {19}
""")


@pytest.mark.parametrize("on_denied", ["warn", "raise", "ignore"])
@pytest.mark.parametrize("priority", ["idle", "Below_Normal"])
def test_priority_by_name(priority, on_denied):
    """The priority may be given by name, with any `on_denied`."""
    with LowPriorityProcessPoolExecutor(1, priority=priority, on_denied=on_denied) as executor:
        assert set(executor.submit(report).result()[1]) == {PROCESS[ProcessPriority[priority.upper()]]}


def test_default():
    """The default priority is IDLE."""
    with LowPriorityProcessPoolExecutor(1) as executor:
        assert set(executor.submit(report).result()[1]) == {PROCESS[ProcessPriority.IDLE]}


@pytest.mark.parametrize("method", one_less(FRESH))
def test_servers_stay(method):
    """Only the workers are lowered: neither this process, nor the fork server, nor the resource tracker."""
    context = multiprocessing.get_context(method)
    with context.Manager() as manager, LowPriorityProcessPoolExecutor(1, context) as executor:
        barrier = manager.Barrier(2)
        future = executor.submit(hold, barrier)
        barrier.wait(PATIENCE)
        levels = {
            child.pid: set(ask_threads(child.pid))
            for child in psutil.Process().children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE
        }
        barrier.wait(PATIENCE)
        future.result()
    low = [pid for pid, found in levels.items() if found == {PROCESS[ProcessPriority.IDLE]}]
    assert len(low) == 1
    assert all(found == {PROCESS[ProcessPriority.NORMAL]} for pid, found in levels.items() if pid not in low)


def test_initializer_runs_at_the_level():
    """The user's initializer runs after the priority has been set."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    with LowPriorityProcessPoolExecutor(1, context, initializer=send_levels, initargs=(writer,)) as executor:
        executor.submit(report).result()
    assert reader.poll(PATIENCE)
    assert set(reader.recv()) == {PROCESS[ProcessPriority.IDLE]}
    reader.close()
    writer.close()


@linux_only
def test_threads_that_come_up_meanwhile():
    """Every thread is lowered, although the process starts threads all the time."""
    code = """
import threading, time
from asking import ask_threads
from nicefutures import set_process_priority

def breed(generations):
    if generations:
        threading.Thread(target=breed, args=(generations - 1,)).start()
        time.sleep(0.3)

for _ in range(4):
    threading.Thread(target=breed, args=(200,)).start()
set_process_priority("idle")
for _ in range(20):
    assert {t[0] for t in ask_threads()} == {"SCHED_IDLE"}, ask_threads()
    time.sleep(0.01)
"""
    run_python(code)


def test_failures_are_told(context):
    """The parent warns once, before the first result, about settings that its workers lack, on every platform."""
    executor = LowPriorityProcessPoolExecutor(2, context)
    demands = executor._settings.demands._replace(group=Shortfall("IDLE", "NORMAL", "a test", "None."))
    executor._settings = executor._settings._replace(demands=demands)
    with pytest.warns(PriorityWarning, match="Could not set IDLE: a test") as log:
        executor.submit(abs, -1).result()
    with warnings.catch_warnings(action="error", category=PriorityWarning), executor:
        list(executor.map(abs, range(10)))
    # Since 3.12 Python warns of forks beside threads too.
    ours = [warning for warning in log if isinstance(warning.message, PriorityWarning)]
    assert [(warning.filename, warning.message.remedy) for warning in ours] == [(__file__, "None.")]


def test_import_is_light():
    """Neither the import nor `set_process_priority` loads a heavy library, which each worker would pay for."""
    code = """
import sys
import nicefutures
from nicefutures import set_process_priority
set_process_priority("idle")
print(*sorted({"numpy", "scipy", "rich", "psutil", "asyncio", "threadpoolctl"} & set(sys.modules)))
"""
    allowed = {"psutil"} if sys.platform == "win32" else set()
    assert set(run_python(code).split()) <= allowed


def test_executors_are_light():
    """The import and simple executors load no heavy library."""
    printed = run_python("""
import sys
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor
LowPriorityProcessPoolExecutor(2).shutdown()
PriorityThreadPoolExecutor(2).shutdown()
print([name for name in ("numpy", "threadpoolctl", "psutil") if name in sys.modules])
""")
    assert printed.strip() == "[]" or not LINUX  # elsewhere psutil does more of the work
