"""A level that cannot be set gives one warning in the parent, at the line that made the executor; no pool breaks."""

import pytest

from marks import linux_only, needs_interpreters, posix_only, seccomp_only
from nicefutures._failure import settle
from nicefutures._levels import Shortfall
from programs import FORBID, run_python, unprivileged

pytestmark = [posix_only, pytest.mark.every_python]

# Runs as a user who may only lower priorities, in a process that is already lowered.
_LOWERED = """
import multiprocessing, sys, time, warnings
from nicefutures import *
from asking import *
from tasks import *
set_process_priority("below_normal")

def caught():
    record = warnings.catch_warnings(record=True)
    log = record.__enter__()
    warnings.simplefilter("always")
    # As in conftest.py. A thread that was joined may still be there for the system.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    return log
"""


def run_lowered(code, *arguments):
    # With -c there is no __main__ that a spawned worker could import, so the worker imports none.
    return run_python(_LOWERED + 'if __name__ == "__main__":\n' + code, *arguments, command=unprivileged())


def test_set_process_priority():
    """Raising gives a PriorityError with the current level, the reason and a remedy; lowering still works."""
    printed = run_lowered("""
    try:
        set_process_priority("normal")
    except PriorityError as error:
        print(error.requested, error.in_force, error.reason, error.remedy, sep="\\n")
    assert get_process_priority() == ProcessPriority.BELOW_NORMAL
    set_process_priority("idle")
    assert get_process_priority() == ProcessPriority.IDLE
    for level in ProcessPriority:
        if level >= ProcessPriority.NORMAL:
            try:
                set_process_priority(level)
                raise AssertionError(level)
            except PriorityError as error:
                assert "root" in error.remedy
""")
    requested, in_force, reason, remedy = printed.splitlines()
    assert "NORMAL" in requested
    assert "BELOW_NORMAL" in in_force
    assert "unprivileged" in reason
    assert "root" in remedy


_ALREADY = [
    'set_process_priority("below_normal"); set_thread_priority("below_normal")',
    'with process_priority("below_normal"), thread_priority("below_normal"): pass',
    'with multiprocessing.Pool(1, set_process_priority, ("below_normal",)) as pool: assert pool.apply(abs, (-1,)) == 1',
    'with LowPriorityProcessPoolExecutor(1, priority="below_normal") as executor: executor.submit(abs, -1).result()',
    "with PriorityThreadPoolExecutor(1) as executor: executor.submit(abs, -1).result()",
    'subprocess.run([sys.executable, "-m", "nicefutures", "run", "-p", "below_normal", "--", "true"], check=True)',
    'subprocess.run([sys.executable, "-m", "nicefutures", "set", "-p", "below_normal", str(os.getpid())], check=True)',
]


@pytest.mark.parametrize("lower", ["os.nice(15)", 'set_process_priority("idle")'], ids=["nice 15", "idle"])
@pytest.mark.parametrize("code", _ALREADY)
def test_already_lower(lower, code):
    """A process or thread that is already lower than the requested low level, and may not be raised, stays there."""
    printed = run_python(
        f"""
import multiprocessing, os, subprocess, sys, warnings
from asking import ask_threads
from nicefutures import *
if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    {lower}
    before = get_process_priority(), get_thread_priority()
    {code}
    assert (get_process_priority(), get_thread_priority()) == before, before
    print("fine")
""",
        command=unprivileged(),
    )
    assert printed == "fine\n"


@pytest.mark.parametrize("how", ["result", "map", "shutdown", "no wait", "forgotten"])
def test_process_pool_warns_once(context, how):
    """One PriorityWarning per executor, before the first result of a worker that is not at its level."""
    printed = run_lowered(
        """
    method, how = sys.argv[1:]
    log = caught()
    executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(method), priority="normal")
    if how == "result":
        assert executor.submit(abs, -1).result() == 1
        assert len(log) == 1
    elif how == "map":
        assert list(executor.map(abs, range(20))) == list(range(20))
        assert len(log) == 1
    elif how == "no wait":
        future = executor.submit(abs, -1)
        executor.shutdown(wait=False)
        assert future.result() == 1
        assert len(log) == 1
    elif how == "forgotten":
        future = executor.submit(abs, -1)
        del executor
        executor = LowPriorityProcessPoolExecutor(1, on_denied="ignore")
        assert future.result() == 1
        assert len(log) == 1
    else:
        executor.submit(abs, -1)
    executor.shutdown()
    warning, = log
    assert warning.category is PriorityWarning
    assert warning.message.in_force.startswith("BELOW_NORMAL"), warning.message
    print(warning.filename, warning.lineno, sep="\\n")
""",
        context.get_start_method(),
        how,
    )
    filename, line = printed.splitlines()
    assert filename == "<string>"
    source = (_LOWERED + 'if __name__ == "__main__":\n').count("\n") + 4
    assert int(line) == source


def test_replaced_workers_warn_once():
    """Workers that replace others do not warn again, and do not hang."""
    run_lowered("""
    log = caught()
    with LowPriorityProcessPoolExecutor(2, priority="normal", max_tasks_per_child=1) as executor:
        assert len(set(executor.map(identify, [0] * 6))) == 6
    assert len(log) == 1
""")


def test_process_pool_raises(context):
    """With "raise" every task ends with a complete PriorityError, and the pool is not broken."""
    run_lowered(
        """
    with LowPriorityProcessPoolExecutor(
        2, multiprocessing.get_context(sys.argv[1]), priority="normal", on_denied="raise"
    ) as executor:
        for future in [executor.submit(abs, -1) for _ in range(5)]:
            error = future.exception()
            assert type(error) is PriorityError, error
            assert error.in_force.startswith("BELOW_NORMAL") and "root" in error.remedy
        try:
            list(executor.map(abs, range(3)))
            raise AssertionError
        except PriorityError:
            pass
""",
        context.get_start_method(),
    )


def test_process_pool_ignores(context):
    """With "ignore" the workers work, without a warning."""
    run_lowered(
        """
    warnings.simplefilter("error")
    with LowPriorityProcessPoolExecutor(
        2, multiprocessing.get_context(sys.argv[1]), priority="normal", on_denied="ignore"
    ) as executor:
        assert list(executor.map(abs, range(3))) == [0, 1, 2]
""",
        context.get_start_method(),
    )


_THREAD_POOLS = [
    "PriorityThreadPoolExecutor",
    pytest.param("PriorityInterpreterPoolExecutor", marks=[needs_interpreters, pytest.mark.every_python]),
]


@pytest.mark.parametrize("pool", _THREAD_POOLS)
def test_thread_pool(pool):
    """A pool of threads or interpreters warns, raises or ignores."""
    run_lowered(f"""
    log = caught()
    with {pool}(4, priority="highest") as executor:
        assert list(executor.map(abs, range(9))) == list(range(9))
    # Not before: one worker warns, and the others go to work meanwhile.
    assert len(log) == 1
    with {pool}(4, priority="highest", on_denied="ignore") as executor:
        assert list(executor.map(abs, range(9))) == list(range(9))
    assert len(log) == 1
    called = []
    with {pool}(4, "x", called.append, (1,), priority="time_critical", on_denied="raise") as executor:
        errors = [future.exception() for future in [executor.submit(abs, -1) for _ in range(5)]]
    assert [type(error) for error in errors] == [PriorityError] * 5
    assert "root" in str(errors[0])
    assert not called
""")


@pytest.mark.parametrize(
    "pool",
    [
        "LowPriorityProcessPoolExecutor(2, priority='normal')",
        "PriorityThreadPoolExecutor(2, priority='highest')",
        pytest.param("PriorityInterpreterPoolExecutor(2, priority='highest')", marks=needs_interpreters),
    ],
)
def test_warning_as_error(pool):
    """If the filters make the warning an error, the next `submit` raises it, and no result is lost."""
    run_lowered(f"""
    warnings.simplefilter("error")
    executor = {pool}
    assert executor.submit(abs, -1).result() == 1
    try:
        executor.submit(abs, -1)
        raise AssertionError
    except PriorityWarning as warning:
        assert warning.remedy
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
""")


def test_initializer_of_others():
    """In a pool of another library, lowering works as the initializer."""
    run_lowered("""
    with multiprocessing.get_context("spawn").Pool(2, set_process_priority, ("idle",)) as pool:
        assert pool.apply(get_process_priority) == ProcessPriority.IDLE
""")


@pytest.mark.parametrize("manager", ["process_priority", "thread_priority"])
def test_context_manager_cannot_go_back(manager):
    """A level that cannot be restored gives a PriorityWarning when the block ends, in the user's file."""
    run_lowered(f"""
    log = caught()
    with {manager}("idle"):
        assert not log
    warning, = log
    assert warning.category is PriorityWarning
    assert warning.filename == "<string>"
    assert warning.message.in_force.startswith("IDLE")
    assert "root" in warning.message.remedy
""")


def test_failing_hook():
    """A hook for warnings that fails breaks no pool; `shutdown` raises its error."""
    run_lowered("""
    def fail(*arguments):
        raise BrokenPipeError("log")
    warnings.simplefilter("always")
    warnings.showwarning = fail
    for executor in (
        LowPriorityProcessPoolExecutor(2, priority="normal"), PriorityThreadPoolExecutor(2, priority="highest")
    ):
        assert executor.submit(abs, -1).result() == 1
        try:
            executor.shutdown()
            raise AssertionError
        except BrokenPipeError:
            pass
""")


def test_kill_workers_with_warning_as_error():
    """The workers are killed even if the filters make the pending warning an error (Python 3.14)."""
    run_lowered("""
    from concurrent.futures.process import BrokenProcessPool
    warnings.simplefilter("error")
    executor = LowPriorityProcessPoolExecutor(1, priority="normal")
    future = executor.submit(identify, 60)
    while not future.running():
        time.sleep(0.01)
    time.sleep(0.3)
    if hasattr(executor, "kill_workers"):
        executor.kill_workers()
    else:
        for process in executor._processes.values():
            process.kill()
    assert type(future.exception(timeout=300)) is BrokenProcessPool
""")


@linux_only
def test_context_manager_with_warning_as_error():
    """If the filters make the warning an error, the block is not entered, and the level is restored."""
    run_python(
        """
import os, posix, warnings
def forbid(*arguments):
    raise PermissionError(1, "no")
posix.sched_setscheduler = forbid  # before the library takes it from there
from nicefutures import PriorityWarning, process_priority
warnings.simplefilter("error")
try:
    with process_priority("idle"):
        raise AssertionError
except PriorityWarning:
    pass
if os.geteuid() == 0:
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
"""
    )


@linux_only
def test_one_thread_lower():
    """A thread that is lower than the others stays there, without a warning."""
    run_lowered("""
    with PriorityThreadPoolExecutor(1, priority="lowest", latency_target=None) as executor:
        executor.submit(int).result()
        try:
            set_process_priority("normal")
            raise AssertionError
        except PriorityError as error:
            assert error.in_force.startswith("BELOW_NORMAL"), error.in_force
        set_process_priority("below_normal")
        assert sorted(nice for _, nice, _ in ask_threads()) == [10, 19]
""")


@linux_only
def test_c_library_without_scheduler():
    """On musl, whose sched_* functions always fail, the workers are at nice 19, and a warning says so."""
    run_python("""
import errno, multiprocessing, os, posix, warnings
def missing(*arguments):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
# Before the library takes them from there.
posix.sched_getscheduler = posix.sched_getparam = posix.sched_setscheduler = missing
from nicefutures import LowPriorityProcessPoolExecutor, get_process_priority
def look():
    return [os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in os.listdir("/proc/self/task")]
with warnings.catch_warnings(record=True) as log:
    warnings.simplefilter("always")
    with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        assert set(executor.submit(look).result()) == {19}
    assert get_process_priority().name == "NORMAL"
warning, = [entry for entry in log if "Priority" in entry.category.__name__]
assert "glibc" in warning.message.remedy
""")


# --- a container that forbids sched_setscheduler


@seccomp_only
def test_forbidden_scheduler_falls_back_to_nice():
    """Where sched_setscheduler is forbidden, nice 19 is set on every thread, and a warning says so."""
    run_python(
        FORBID
        + """
    forbid(SCHED_SETSCHEDULER)
    with LowPriorityProcessPoolExecutor(2) as executor:
        for _, levels in executor.map(report, [0.05] * 4):
            assert set(levels) == {("SCHED_OTHER", 19, "IDLE")}
    warning, = log
    assert "nice 19" in warning.message.in_force and "IDLE" in warning.message.in_force
    assert "container" in warning.message.remedy
    with LowPriorityProcessPoolExecutor(2, on_denied="raise") as executor:
        assert type(executor.submit(report).exception()) is PriorityError
    with LowPriorityProcessPoolExecutor(2, priority="below_normal", on_denied="ignore") as executor:
        assert set(executor.submit(report).result()[1]) == {("SCHED_OTHER", 10, "BE")}
    set_process_priority("idle")  # a warning, no error
    assert len(log) == 2 and log[1].filename == "<string>"
"""
    )


@seccomp_only
def test_everything_forbidden():
    """If no level may be set, the workers still work, and the parent gets a warning."""
    run_python(
        FORBID
        + """
    forbid(SCHED_SETSCHEDULER, SETPRIORITY, IOPRIO_SET, IOPRIO_GET)
    with LowPriorityProcessPoolExecutor(2) as executor:
        assert set(executor.map(abs, range(4))) == {0, 1, 2, 3}
    warning, = log
    assert warning.message.in_force.startswith("NORMAL")
    try:
        set_process_priority("idle")
        raise AssertionError
    except PriorityError as error:
        assert "container" in error.remedy
"""
    )


@seccomp_only
@pytest.mark.parametrize("answer", ["EPERM", "ENOSYS"])
def test_forbidden_to_count(answer):
    """If a sandbox hides the CPUs, or says that a call is missing, the pool works, and a warning names the sandbox."""
    run_python(
        FORBID
        + f"""
    forbid(SCHED_SETSCHEDULER, SCHED_GETAFFINITY, answer={answer})
    with LowPriorityProcessPoolExecutor(2, "fork") as executor:
        assert set(executor.map(abs, range(4))) == {{0, 1, 2, 3}}
    warning, = log
    assert "sandbox, allow sched_setscheduler" in warning.message.remedy
"""
    )


@seccomp_only
def test_sandbox_that_kills():
    """If a sandbox kills a worker, the error says so, and how to make the call fail instead."""
    run_python(
        FORBID
        + """
    forbid(SCHED_SETSCHEDULER, answer=KILL)
    with LowPriorityProcessPoolExecutor(1, "fork") as executor:
        error = executor.submit(abs, -1).exception()
    assert "was terminated by SIGSYS. A sandbox" in str(error) and "SystemCallErrorNumber=EPERM" in str(error)
"""
    )


@seccomp_only
def test_forbidden_io_class():
    """If only the I/O class cannot be set, the warning says that the CPU level is set without it."""
    run_python(
        FORBID
        + """
    forbid(IOPRIO_SET)
    set_process_priority("idle")
    warning, = log
    assert "I/O class" in warning.message.reason
    assert warning.message.in_force.startswith("IDLE (SCHED_IDLE")
"""
    )


@linux_only
def test_worker_that_dies_while_it_reports():
    """A worker that is killed while it reports its failure is replaced, and nothing hangs."""
    run_lowered("""
    warnings.simplefilter("ignore")
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        executor = LowPriorityProcessPoolExecutor(
            2, multiprocessing.get_context("spawn"), priority="normal", on_crash="retry"
        )
        futures = [executor.submit(identify, 0.1) for _ in range(3)]
        time.sleep(delay)
        for process in list(executor._processes.values()):
            process.kill()
        for future in futures:
            future.result(timeout=300)
        executor.shutdown()
""")


def test_combined():
    """Several shortfalls become one text, which has each part once, and no empty parts."""
    lowered = Shortfall("IDLE", "nice 19", "it is forbidden", "Allow it.", "fully set")
    unlimited = Shortfall("memory_limit", "", "it is forbidden", "Leave it out.")
    steps = [lambda: lowered, lambda: unlimited]
    said = []
    settle(steps, said.append)
    text = "Could not set IDLE; memory_limit: it is forbidden. It is still at nice 19. Allow it. Leave it out."
    assert [shortfall.text for shortfall in said] == [text]
