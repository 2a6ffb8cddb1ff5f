"""Bad input is refused where it is passed, with the value and what is allowed."""

import pickle

import psutil
import pytest

from nicefutures import (
    LowPriorityProcessPoolExecutor,
    PriorityError,
    PriorityThreadPoolExecutor,
    PriorityWarning,
    ProcessPriority,
    ThreadPriority,
    get_process_priority,
    process_priority,
    set_process_priority,
    set_thread_priority,
    thread_priority,
)
from nicefutures._arguments import parse_memory_limit
from nicefutures._levels import NoSuchProcessError, NotPermittedError, Shortfall, parse_priority
from nicefutures._system import backend
from tasks import identify

pytestmark = pytest.mark.every_python

MIB = 2**20
POOLS = [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor]
every_pool = pytest.mark.parametrize("pool", POOLS)


@pytest.mark.parametrize("name", ["idle", "IDLE", "Below_Normal", ProcessPriority.HIGH])
def test_parse(name):
    """A priority is a member or its name in any case."""
    assert parse_priority(ProcessPriority, name).name == getattr(name, "name", name).upper()


def test_order():
    """Levels compare by what they mean, and have the names of the Windows API."""
    assert list(ProcessPriority) == sorted(ProcessPriority)
    assert list(ThreadPriority) == sorted(ThreadPriority)
    assert [p.name for p in ProcessPriority] == ["IDLE", "BELOW_NORMAL", "NORMAL", "ABOVE_NORMAL", "HIGH", "REALTIME"]
    assert [p.value for p in ThreadPriority] == [-15, -2, -1, 0, 1, 2, 15]


@pytest.mark.parametrize(
    "take",
    [
        lambda priority: LowPriorityProcessPoolExecutor(priority=priority),
        lambda priority: PriorityThreadPoolExecutor(priority=priority),
        set_process_priority,
        set_thread_priority,
        process_priority,
        thread_priority,
    ],
    ids=["process pool", "thread pool", "set process", "set thread", "process", "thread"],
)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [("lazy", ValueError), ("", ValueError), (19, TypeError), (None, TypeError), (b"idle", TypeError)],
)
def test_wrong_priority(take, wrong, error):
    """A wrong priority is named, with the right ones, by whatever takes one."""
    with pytest.raises(error) as caught:
        take(wrong)
    assert repr(wrong) in str(caught.value)
    assert "'idle'" in str(caught.value)
    assert "'below_normal'" in str(caught.value)


def test_wrong_kind_of_priority():
    """A thread's level is not a process' level."""
    with pytest.raises(TypeError, match="ProcessPriority"):
        set_process_priority(ThreadPriority.IDLE)


@pytest.mark.parametrize("level", ["above_normal", "HIGH", ProcessPriority.REALTIME])
def test_process_pool_only_lowers(level):
    """A level above NORMAL is refused with what to use instead."""
    with pytest.raises(ValueError, match=r"initializer=nicefutures\.set_process_priority"):
        LowPriorityProcessPoolExecutor(priority=level)


@every_pool
def test_wrong_on_failure(pool):
    """A typo in on_failure is a ValueError that lists what is allowed."""
    with pytest.raises(ValueError, match=r"'wran'.*'warn', 'raise', 'ignore'"):
        pool(on_failure="wran")
    with pytest.raises(ValueError, match=r"\['warn'\]"):
        pool(on_failure=["warn"])


@every_pool
@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_range(pool, number):
    """As in the stdlib."""
    with pytest.raises(ValueError, match="greater than 0"):
        pool(number)


@every_pool
def test_max_workers_type(pool):
    """A priority in the place of max_workers is a TypeError that says so."""
    with pytest.raises(TypeError, match=r"max_workers must be .* not 'idle'"):
        pool("idle")


@every_pool
def test_initializer(pool):
    """What would break every worker is refused at once."""
    with pytest.raises(TypeError, match="initializer must be a callable"):
        pool(initializer="nice")
    with pytest.raises(TypeError, match="initargs must be a tuple"):
        pool(initializer=identify, initargs=5)


def test_mp_context_name():
    """A start method's name is not a context; the message has the call that makes one."""
    with pytest.raises(TypeError, match=r"multiprocessing\.get_context\('spawn'\)"):
        LowPriorityProcessPoolExecutor(mp_context="spawn")


def test_max_tasks_per_child():
    """As in the stdlib."""
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        LowPriorityProcessPoolExecutor(max_tasks_per_child=0)


@pytest.mark.parametrize(("pid", "error"), [(0, ValueError), (-5, ValueError), ("1", TypeError), (1.5, TypeError)])
def test_wrong_pid(pid, error):
    """A process id is a positive integer."""
    with pytest.raises(error, match="pid must be"):
        get_process_priority(pid)
    with pytest.raises(error, match="pid must be"):
        set_process_priority("idle", pid)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1, 2**70])
def test_no_such_process(pid):
    """A process that does not exist is a PriorityError and a ProcessLookupError."""
    for call in (lambda: get_process_priority(pid), lambda: set_process_priority("idle", pid)):
        with pytest.raises(PriorityError, match=f"no process with the id {pid}") as caught:
            call()
        assert isinstance(caught.value, ProcessLookupError)


@pytest.mark.parametrize("kind", [PriorityError, PriorityWarning, NoSuchProcessError, NotPermittedError])
def test_errors_pickle(kind):
    """Errors and warnings carry four texts, and keep them on their way between processes."""
    error = pickle.loads(pickle.dumps(kind(Shortfall("IDLE", "NORMAL", "because", "Do this."))))
    assert type(error) is kind
    assert (error.requested, error.in_force, error.reason, error.remedy) == ("IDLE", "NORMAL", "because", "Do this.")
    assert str(error) == "IDLE is not to be had: because. In force: NORMAL. Do this."


@pytest.mark.parametrize("function", [set_process_priority, set_thread_priority])
def test_setters_pickle(function):
    """The setters can be initializers in anyone's pool."""
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize("wrong", [0, -1, 2000, "many", "2"])
def test_wrong_threads(wrong):
    """A number of threads that makes no sense is refused with the value, by both executors."""
    for pool in (LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor):
        with pytest.raises(ValueError, match="blas_threads") as caught:
            pool(2, blas_threads=wrong)
        assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [1.5, True, b"auto", [1]])
def test_wrong_type_of_threads(wrong):
    """So is what is no number."""
    for pool in (LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor):
        with pytest.raises(TypeError, match="blas_threads"):
            pool(2, blas_threads=wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (256 * MIB, 256 * MIB),
        ("256 MiB", 256 * MIB),
        ("0.25GiB", 256 * MIB),
        ("256m", 256 * MIB),
        ("256M", 256 * MIB),
        ("0.25g", 256 * MIB),
        (" 256 Mi ", 256 * MIB),
        ("0.25gib", 256 * MIB),
        ("300 MB", 300_000_000),
        ("0.3gb", 300_000_000),
        ("300000 kB", 300_000_000),
        ("300000000", 300_000_000),
        ("300000000 B", 300_000_000),
    ],
)
def test_memory_limit_by_text(given, expected):
    """A limit is a number of bytes, or a text with a unit."""
    assert parse_memory_limit(given) == expected


def test_memory_limit_by_fraction():
    """Or a fraction of the memory that there is."""
    assert parse_memory_limit(0.5) == int(0.5 * backend.memory.total())
    assert backend.memory.total() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        -1,
        1,
        "2 potatoes",
        "",
        "GiB",
        "-2 GiB",
        "2 GG",
        "512 Mbit",
        "1e3 M",
        "1,5 GB",
        "0.25",
        "50%",
        "1 MiB",
        "9999 TiB",
        1.5,
        0.0,
        -0.5,
        float("nan"),
    ],
)
def test_wrong_memory_limit(wrong):
    """An amount that is none, or makes no sense, is refused with the value."""
    with pytest.raises(ValueError, match="memory_limit") as caught:
        LowPriorityProcessPoolExecutor(1, memory_limit=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [True, b"2 GiB", [1], 1j])
def test_wrong_type_of_memory_limit(wrong):
    """So is what is no amount."""
    with pytest.raises(TypeError, match="memory_limit"):
        LowPriorityProcessPoolExecutor(1, memory_limit=wrong)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_wrong_efficiency(wrong):
    """It is either true or false."""
    with pytest.raises(TypeError, match="efficiency"):
        LowPriorityProcessPoolExecutor(1, efficiency=wrong)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, ValueError, "1 byte at least"),
        (-5, ValueError, "1 byte at least"),
        ("2 potatoes", ValueError, "no amount of memory"),
        ("", ValueError, "no amount of memory"),
        (0.5, TypeError, "256 KiB"),
        (True, TypeError, "256 KiB"),
        ([1], TypeError, "256 KiB"),
    ],
)
def test_wrong_share(value, kind, text):
    """A limit that is none is refused at once."""
    with pytest.raises(kind, match=text) as caught:
        LowPriorityProcessPoolExecutor(1, share_over=value)
    assert "share_over" in str(caught.value)
