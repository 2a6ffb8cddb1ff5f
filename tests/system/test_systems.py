"""The contract of all systems: the same tests for each of them, through its seam, on any machine."""

import errno
import importlib
import inspect
import os
import platform
import sys
import threading

import pytest

from marks import INTERPRETER_POOLS
from nicefutures import PriorityError, PriorityThreadPoolExecutor, PriorityWarning, ProcessPriority, ThreadPriority
from nicefutures._levels import Shortfall
from nicefutures._system import TOPICS, find, protocols
from nicefutures._system.common import CannotTellError, Group, Usage
from seams import FakeKernel, FakeNice, FakeQos, FakeWindows, refuse

SEAMS = {
    "linux": {"linux": FakeKernel},
    "windows": {"windows": FakeWindows},
    "macos": {"macos": FakeQos, "posix": FakeNice},
    "posix": {"posix": FakeNice},
    "unknown": {},
}
NOBODY = 999_999_999


def topic_of(name, topic):
    try:
        return find(name, topic)
    except ImportError:  # Linux' shared memory needs fcntl, and Windows has no such module
        assert (name, topic, os.name) == ("linux", "sharing", "nt")
        pytest.skip("needs Linux")


@pytest.fixture(params=SEAMS)
def system(request, monkeypatch):
    """Return a function from a topic to its module, for each system, with a fake behind its seam."""
    for name, fake in SEAMS[request.param].items():
        monkeypatch.setattr(f"nicefutures._system.{name}.seam.system", fake())
    return lambda topic: topic_of(request.param, topic)


def is_told(shortfall):
    """Return whether a shortfall has a request, a reason and a remedy."""
    told = isinstance(shortfall, Shortfall) and shortfall
    return told and all([told.requested, told.reason, told.remedy])


def outcome_of(set_level, level):
    """Return the shortfall that `set_level` raises, or None, and the one that it returns, or None."""
    try:
        return None, set_level(level)
    except PriorityError as error:
        return error.args[0], None


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("name", SEAMS)
def test_same_functions(name, topic):
    """Every system has the topics of the protocols, and each topic their functions with the same signatures."""
    module, protocol = topic_of(name, topic), getattr(protocols, topic.capitalize())
    wanted = {name: f for name, f in vars(protocol).items() if not name.startswith("_") and inspect.isfunction(f)}
    assert wanted
    for function, protocol in wanted.items():
        wanted_parameters = list(inspect.signature(protocol).parameters.values())[1:]
        found = inspect.signature(getattr(module, function)).parameters.values()
        assert [(p.name, p.default) for p in found] == [(p.name, p.default) for p in wanted_parameters], function


@pytest.mark.parametrize(
    ("platform", "os_name", "name"),
    [
        ("win32", "nt", "windows"),
        ("linux", "posix", "linux"),
        ("darwin", "posix", "macos"),
        ("freebsd14", "posix", "posix"),
        ("sunos5", "posix", "posix"),
        ("plan9", "plan9", "unknown"),
    ],
)
def test_dispatch(monkeypatch, platform, os_name, name):
    """The platform selects the system; a platform that is not known and not POSIX gets "unknown"."""
    package = importlib.import_module("nicefutures._system")
    before = dict(vars(package))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "name", os_name)
    try:
        importlib.reload(package)
        assert package.backend.priority is find(name, "priority")
    finally:
        vars(package).update(before)


def test_no_such_topic():
    """A name that is not a topic is not an attribute."""
    backend = importlib.import_module("nicefutures._system").backend
    with pytest.raises(AttributeError, match="no such topic: 'seam'"):
        _ = backend.seam


@pytest.mark.parametrize("level", ProcessPriority, ids=lambda level: level.name)
def test_process_level(system, level):
    """A process gets the level, or the error says why not; afterwards it can be restored."""
    priority = system("priority")
    before, saved = priority.get_process(), priority.save_process()
    refusal, shortfall = outcome_of(priority.set_process, level)
    if refusal is None:
        assert shortfall is None or is_told(shortfall)
        assert priority.get_process() == priority.describe().level == level
    assert priority.restore_process(saved) is None
    assert priority.get_process() == before == ProcessPriority.NORMAL
    assert refusal is None or is_told(refusal)


@pytest.mark.parametrize("level", ProcessPriority, ids=lambda level: level.name)
def test_capped_process(system, level):
    """A process above a level is lowered to it, or the error says why not; any other process stays as it is."""
    priority = system("priority")
    before = priority.get_process()
    refusal, shortfall = outcome_of(priority.cap_process, level)
    assert shortfall is None
    if refusal is None:
        assert priority.get_process() == min(level, before)
    else:
        assert is_told(refusal)
        assert level < before


@pytest.mark.parametrize("level", ThreadPriority, ids=lambda level: level.name)
def test_thread_level(system, level):
    """The calling thread gets the level, or an equal one, or learns why not; afterwards it can be restored."""
    priority = system("priority")
    before, saved = priority.get_thread(), priority.save_thread()
    refusal, shortfall = outcome_of(priority.set_thread, level)
    if refusal is None:
        equal = {level, ThreadPriority.IDLE} if level == ThreadPriority.LOWEST else {level}  # both are one QoS class
        assert is_told(shortfall) or (shortfall is None and priority.get_thread() in equal)
    assert priority.restore_thread(saved) is None
    assert priority.get_thread() == before
    assert refusal is None or is_told(refusal)
    if priority.release_thread is not None:
        priority.release_thread()


def test_background(system):
    """The other settings of a level are set, or a shortfall says why not; NORMAL has none."""
    background = system("background")
    assert background.set_background(ProcessPriority.NORMAL) is None
    for level in (ProcessPriority.BELOW_NORMAL, ProcessPriority.IDLE):
        shortfall = background.set_background(level)
        assert shortfall is None or is_told(shortfall)
    shortfall = background.set_efficiency()
    assert shortfall is None or is_told(shortfall)


def test_threads(system):
    """Threads that exist are lowered and restored; those that have ended are left out."""
    threads = system("threads")
    assert NOBODY not in threads.of_libraries()
    saved = threads.save_levels([11, NOBODY])
    before = threads.get_levels([11, NOBODY])
    assert saved.keys() == before.keys() <= {11}
    threads.set_levels([11, NOBODY], ThreadPriority.IDLE)
    assert set(threads.get_levels([11]).values()) <= {ThreadPriority.IDLE}
    assert threads.restore_levels(saved) is None
    assert threads.get_levels([11, NOBODY]) == before


def test_accounting(system):
    """CPUs are counted; a thread that has ended has no CPU time and no delay; no delay is negative."""
    accounting = system("accounting")
    assert accounting.usable_cpus() > 0
    assert accounting.thread_cpu_time(NOBODY) is None
    assert accounting.thread_cpu_delay(NOBODY) == 0
    for number in (accounting.count_ready(), accounting.thread_waits()):
        assert number is None or number >= 0
    with accounting.cpu_delay() as delay:
        assert 0 <= delay() <= delay()


def test_pause(system):
    """A pause lasts as long as requested, unless the lock can be acquired."""
    lock = threading.Lock()
    lock.acquire()
    assert system("accounting").pause(lock, 0.001) is False
    lock.release()
    assert system("accounting").pause(lock, 0.001) is True


def test_memory(system):
    """Memory is counted; a limit can be set and removed, or the error says that there is none."""
    memory = system("memory")
    assert memory.total() > 0
    assert 0 <= memory.unused() <= memory.in_use()
    kills = memory.count_oom_kills()
    assert kills is None or kills >= 0
    assert memory.loaded_libraries(NOBODY) == set()
    assert memory.stack_size() >= 0
    assert not memory.is_trapped(0)
    try:
        limit = memory.open_limit()
    except OSError as error:
        assert error.strerror  # noqa: PT017, one of two right answers
    else:
        limit.hold(10**9)
        assert limit.in_force()
        limit.lift()


@pytest.mark.parametrize(("name", "kind"), [("open_idle_clock", float), ("open_battery", bool), ("open_memory", bool)])
def test_activity(system, name, kind):
    """The system answers each time, or the error says why not, and names a remedy."""
    try:
        ask = getattr(system("activity"), name)()
        assert [type(ask()), type(ask())] == [kind, kind]
        assert ask() >= 0
    except CannotTellError as error:
        assert error.reason  # noqa: PT017, one of two right answers
        assert error.remedy  # noqa: PT017


def test_usage(system):
    """CPU time is known for the machine and for each process; a process that has ended is not listed."""
    activity = system("activity")
    try:
        assert activity.busy_seconds() >= 0
        usage = activity.list_usage()
    except CannotTellError:
        return
    assert all(isinstance(each, Usage) and each.seconds >= 0 for each in usage.values())
    pid = next(iter(usage), NOBODY)
    assert activity.list_usage([pid, NOBODY]).keys() <= {pid}
    assert activity.list_threads(NOBODY) == {}


def test_groups(system):
    """There is a group for workers, or none is needed, or a shortfall says why there is none."""
    groups = system("groups")
    group = groups.find()
    assert group is None or isinstance(group, Group) or is_told(group)
    if group is None:
        assert groups.join(None, None) is None


def test_shared_memory(system):
    """Shared memory can create segments and open them, if the system has it."""
    memory = system("sharing").find_shared_memory() if system("sharing").__name__.split(".")[2] == HERE else None
    if memory is not None:
        segment = memory.create(1000)
        segment.write(memoryview(b"content"), 100)
        opened = memory.open(segment.address)
        target = bytearray(7)
        opened.read_into(memoryview(target), 100)
        assert target == b"content"
        assert opened.view(100, 107) == b"content"
        opened.close()
        segment.close()


HERE = importlib.import_module("nicefutures._system").backend.priority.__name__.split(".")[2]


def fake_version(monkeypatch):
    class Version:
        platform_version = (10, 0, 22631)

    platform.uname()  # calls the same function on Windows, and keeps its result
    monkeypatch.setattr(sys, "getwindowsversion", Version, raising=False)


def test_survey(system, monkeypatch):
    """The survey describes the machine, and says whether sessions are groups."""
    fake_version(monkeypatch)
    assert isinstance(system("survey").sessions_are_groups(), bool)
    assert any(system("survey").describe_machine().values())


def test_survey_elsewhere(monkeypatch):
    """The survey has the version of Windows or macOS, and of the kernel on other systems."""
    fake_version(monkeypatch)
    assert topic_of("windows", "survey").describe_machine() == {"windows": "10.0.22631"}
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    assert topic_of("macos", "survey").describe_machine() == {"macos": "14.5"}
    monkeypatch.setattr(platform, "mac_ver", lambda: ("", ("", "", ""), ""))
    for name in ("macos", "posix", "unknown"):
        kernel = f"{platform.system()} {platform.release()}"
        assert topic_of(name, "survey").describe_machine() == {"kernel": kernel}


def test_unknown_level():
    """On an unknown system only NORMAL can be set, and errors and shortfalls say so."""
    priority = topic_of("unknown", "priority")
    with pytest.raises(PriorityError, match="nothing is known of this system's priorities"):
        priority.set_process(ProcessPriority.IDLE)
    assert "normal" in priority.set_thread(ThreadPriority.LOWEST).remedy


@pytest.mark.parametrize("name", ["windows", "macos", "posix", "unknown"])
def test_no_groups(name):
    """Only Linux has task groups inside which a level counts."""
    groups = topic_of(name, "groups")
    assert groups.find() is None
    assert groups.join(None, None) is None


# --- refusals that no backend foresees


@pytest.mark.parametrize("pool", [PriorityThreadPoolExecutor, *INTERPRETER_POOLS])
@pytest.mark.parametrize("on_denied", ["warn", "raise"])
def test_unforeseen_refusal(monkeypatch, pool, on_denied):
    """If setting a thread raises an unforeseen error, the pool warns or fails the task, as `on_denied` says."""

    def forbid(priority):
        refuse(errno.EPERM)

    monkeypatch.setattr("nicefutures._threads.worker.backend.priority.set_thread", forbid)
    executor = pool(2, on_denied=on_denied)
    if on_denied == "raise":
        with pytest.raises(PriorityError, match="not permitted"):
            executor.submit(abs, -1).result()
    else:
        with pytest.warns(PriorityWarning, match="not permitted"):
            assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
