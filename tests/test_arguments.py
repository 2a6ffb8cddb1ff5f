"""A wrong argument is refused where it is passed, with the value and the allowed ones."""

import builtins
import pickle

import psutil
import pytest

from marks import INTERPRETER_POOLS
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
from nicefutures._arguments import check_idle_after, parse_memory_limit, parse_pause_when
from nicefutures._levels import NoSuchProcessError, NotPermittedError, Shortfall, parse_priority
from nicefutures._system import backend
from tasks import identify

pytestmark = pytest.mark.every_python

MIB = 2**20
POOLS = [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor, *INTERPRETER_POOLS]
every_pool = pytest.mark.parametrize("pool", POOLS)


@pytest.mark.parametrize("name", ["idle", "IDLE", "Below_Normal", ProcessPriority.HIGH])
def test_parse(name):
    """A priority is a member or its name in any case."""
    assert parse_priority(ProcessPriority, name).name == getattr(name, "name", name).upper()


def test_order():
    """Levels are ordered by priority, and have the names of the Windows API."""
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
    """Every function that takes a priority names a wrong one, and lists the right ones."""
    with pytest.raises(error) as caught:
        take(wrong)
    assert repr(wrong) in str(caught.value)
    assert "'idle'" in str(caught.value)
    assert "'below_normal'" in str(caught.value)


def test_wrong_kind_of_priority():
    """A process does not accept the level of a thread."""
    with pytest.raises(TypeError, match="ProcessPriority"):
        set_process_priority(ThreadPriority.IDLE)


@pytest.mark.parametrize("level", ["above_normal", "HIGH", ProcessPriority.REALTIME])
def test_process_pool_only_lowers(level):
    """A level above NORMAL is refused, and the error says what to use instead."""
    with pytest.raises(ValueError, match=r"initializer=nicefutures\.set_process_priority"):
        LowPriorityProcessPoolExecutor(priority=level)


@every_pool
def test_wrong_on_denied(pool):
    """A typo in on_denied is a ValueError that lists the allowed values."""
    with pytest.raises(ValueError, match=r"'wran'.*'warn', 'raise', 'ignore'"):
        pool(on_denied="wran")
    with pytest.raises(ValueError, match=r"\['warn'\]"):
        pool(on_denied=["warn"])


@every_pool
@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_range(pool, number):
    """`max_workers` must be greater than 0, as in the stdlib."""
    with pytest.raises(ValueError, match="greater than 0"):
        pool(number)


@every_pool
@pytest.mark.parametrize("wrong", ["idle", 2.5, 2.0])
def test_max_workers_type(pool, wrong):
    """A priority or a float in the place of max_workers is a TypeError that says so."""
    with pytest.raises(TypeError, match=rf"max_workers must be .* not {wrong!r}"):
        pool(wrong)


@every_pool
def test_initializer(pool):
    """An initializer that would break every worker is refused at once."""
    with pytest.raises(TypeError, match="initializer must be a callable"):
        pool(initializer="nice")
    with pytest.raises(TypeError, match="initargs must be a tuple"):
        pool(initializer=identify, initargs=5)


@every_pool
def test_no_initializer(pool):
    """Without an initializer, its arguments do not matter, as in the standard library."""
    pool(1, initializer=None, initargs=None).shutdown()


def test_mp_context_name():
    """A start method can be passed by its name."""
    builtins.not_in_a_spawned_worker = True
    with LowPriorityProcessPoolExecutor(1, mp_context="spawn") as executor:
        assert not executor.submit(eval, "hasattr(__import__('builtins'), 'not_in_a_spawned_worker')").result()
    del builtins.not_in_a_spawned_worker
    with pytest.raises(ValueError, match=r"'spawn'.* not 'spoon'"):
        LowPriorityProcessPoolExecutor(mp_context="spoon")


@every_pool
def test_repr(pool):
    """An executor shows its level, its workers, and whether it accepts tasks."""
    with pool(3, priority="below_normal") as executor:
        assert repr(executor) == f"<{pool.__name__} priority='below_normal' max_workers=3 open>"
    assert repr(executor).endswith(" closed>")


def test_max_tasks_per_child():
    """`max_tasks_per_child` must be at least 1, as in the stdlib."""
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
        with pytest.raises(PriorityError, match=f"no process with PID {pid}") as caught:
            call()
        assert isinstance(caught.value, ProcessLookupError)


@pytest.mark.parametrize("kind", [PriorityError, PriorityWarning, NoSuchProcessError, NotPermittedError])
def test_errors_pickle(kind):
    """Errors and warnings have four texts, and keep them between processes."""
    error = pickle.loads(pickle.dumps(kind(Shortfall("IDLE", "NORMAL", "because", "Do this."))))
    assert type(error) is kind
    assert (error.requested, error.in_force, error.reason, error.remedy) == ("IDLE", "NORMAL", "because", "Do this.")


@pytest.mark.parametrize(
    ("action", "in_force", "text"),
    [
        ("set", "NORMAL", "Could not set IDLE: because. It is still at NORMAL. Do this."),
        ("set", "", "Could not set IDLE: because. Do this."),
        ("fully set", "nice 19", "Could not fully set IDLE: because. It is now at nice 19. Do this."),
        ("restore", "NORMAL", "Could not restore IDLE: because. It is still at NORMAL. Do this."),
    ],
)
def test_error_text(action, in_force, text):
    """An error says what failed, why, the current level, and how to solve it."""
    assert str(PriorityError(Shortfall("IDLE", in_force, "because", "Do this.", action))) == text


@pytest.mark.parametrize("function", [set_process_priority, set_thread_priority])
def test_setters_pickle(function):
    """The setters can be initializers in any pool."""
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
    """A number of threads of the wrong type is a TypeError in both executors."""
    for pool in (LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor):
        with pytest.raises(TypeError, match="blas_threads"):
            pool(2, blas_threads=wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (256 * MIB, 256 * MIB),
        (2.56e8, 256_000_000),
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
    """A limit can also be a fraction of the total memory."""
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
        float("inf"),
        0.0,
        -0.5,
        float("nan"),
    ],
)
def test_wrong_memory_limit(wrong):
    """An invalid amount of memory is refused with the value."""
    with pytest.raises(ValueError, match="memory_limit") as caught:
        LowPriorityProcessPoolExecutor(1, memory_limit=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [2, 64, 2.5])
def test_memory_limit_without_a_unit(wrong):
    """A number that was most likely meant in GiB is refused, and the error suggests the text with its unit."""
    with pytest.raises(ValueError, match=f'Did you mean "{wrong} GiB"'):
        LowPriorityProcessPoolExecutor(1, memory_limit=wrong)


@pytest.mark.parametrize("wrong", [True, b"2 GiB", [1], 1j])
def test_wrong_type_of_memory_limit(wrong):
    """A limit of the wrong type is a TypeError."""
    with pytest.raises(TypeError, match="memory_limit"):
        LowPriorityProcessPoolExecutor(1, memory_limit=wrong)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_wrong_efficiency(wrong):
    """`efficiency` must be a bool."""
    with pytest.raises(TypeError, match="efficiency"):
        LowPriorityProcessPoolExecutor(1, efficiency=wrong)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, ValueError, "at least 1 byte"),
        (-5, ValueError, "at least 1 byte"),
        ("2 potatoes", ValueError, "not a valid amount of memory"),
        ("", ValueError, "not a valid amount of memory"),
        (0.5, TypeError, "256 KiB"),
        (True, TypeError, "256 KiB"),
        ([1], TypeError, "256 KiB"),
    ],
)
def test_wrong_share(value, kind, text):
    """An invalid `share_min_size` is refused at once."""
    with pytest.raises(kind, match=text) as caught:
        LowPriorityProcessPoolExecutor(1, share_min_size=value)
    assert "share_min_size" in str(caught.value)


def ask():
    return False


class Wish:
    def __call__(self):
        return False


WISH = Wish()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((), ()),
        (["user_active", "ON_battery"], ("user_active", "on_battery")),
        ("cpu_busy", ("cpu_busy",)),
        (ask, (ask,)),
        ({"memory_low"}, ("memory_low",)),
        (iter([ask, "cpu_busy", WISH, "CPU_BUSY", ask]), (ask, "cpu_busy", WISH)),
    ],
)
def test_pause_when(value, expected):
    """Conditions are names in any case, or functions, each once; a single one needs no list."""
    assert parse_pause_when(value) == expected


async def wait():
    pass


class Waits:
    async def __call__(self):
        pass


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("user", ValueError, "pause_when has an unknown condition 'user': use 'user_active', 'on_battery', 'cpu_busy'"),
        ("user_active,on_battery", ValueError, "unknown condition 'user_active,on_battery'"),
        (["on_batery"], ValueError, "unknown condition 'on_batery'"),
        (None, TypeError, "pause_when must be a list of conditions, not None"),
        (b"cpu_busy", TypeError, "not b'cpu_busy'"),
        (3, TypeError, "or functions without arguments that return a bool"),
        ([None], TypeError, "pause_when must not contain None"),
        ([True], TypeError, "pause_when must not contain True"),
        ([wait], TypeError, "the coroutine function <function wait"),
        ([Waits()], TypeError, "the coroutine function <test_arguments.Waits"),
    ],
)
def test_wrong_conditions(value, error, text):
    """An unknown condition is refused with the allowed ones, a wrong type with the right one."""
    with pytest.raises(error, match=text):
        parse_pause_when(value)


@pytest.mark.parametrize("value", [1, 0.5, 60.0, 3600])
def test_idle_after(value):
    """`idle_after` is a number of seconds."""
    assert check_idle_after(value) == value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (float("inf"), ValueError),
        (10**400, ValueError),
        (float("nan"), ValueError),
        (None, TypeError),
        (True, TypeError),
        ("60", TypeError),
    ],
)
def test_wrong_idle_after(value, error):
    """An invalid time, or one after which no pool could continue, is refused."""
    with pytest.raises(error, match=r"idle_after must be a (positive )?number of seconds, not "):
        check_idle_after(value)
