"""The contract of all systems: the same questions to each of them, through its seam, on any machine."""

import errno
import importlib
import inspect
import os
import platform
import sys
import threading

import pytest

from nicefutures import PriorityError, PriorityThreadPoolExecutor, PriorityWarning, ProcessPriority, ThreadPriority
from nicefutures._levels import Shortfall
from nicefutures._system import protocols
from nicefutures._system.common import Group
from seams import FakeKernel, FakeNice, FakeQos, FakeWindows, refuse

SEAMS = {
    "linux": {"linux": FakeKernel},
    "windows": {"windows": FakeWindows},
    "macos": {"macos": FakeQos, "posix": FakeNice},
    "posix": {"posix": FakeNice},
    "unknown": {},
}
TOPICS = {name.lower(): getattr(protocols, name) for name in (
    "Accounting", "Background", "Command", "Groups", "Memory", "Priority", "Sharing", "Survey", "Threads"
)}  # fmt: skip
NOBODY = 999_999_999


def package_of(name):
    return importlib.import_module(f"nicefutures._system.{name}")


def topic_of(name, topic):
    try:
        return importlib.import_module(f"nicefutures._system.{name}.{topic}")
    except ImportError:  # Linux' shared memory needs fcntl, and Windows has no such module
        assert (name, topic, os.name) == ("linux", "sharing", "nt")
        pytest.skip("needs Linux")


@pytest.fixture(params=SEAMS)
def system(request, monkeypatch):
    """Each system, with another one behind its seam, as a function from a topic to its module."""
    for name, fake in SEAMS[request.param].items():
        monkeypatch.setattr(topic_of(name, "seam"), "system", fake())
    return lambda topic: topic_of(request.param, topic)


def is_told(shortfall):
    """Return whether a shortfall says all that it has to say."""
    told = isinstance(shortfall, Shortfall) and shortfall
    return told and all([told.requested, told.reason, told.remedy])


def outcome_of(set_level, level):
    """Return what is missing because it was refused, and what is missing all the same."""
    try:
        return None, set_level(level)
    except PriorityError as error:
        return error.args[0], None


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("name", SEAMS)
def test_same_functions(name, topic):
    """Every system has the topics of the protocols, and each topic their functions with the same signatures."""
    assert package_of(name).__all__ == list(TOPICS)
    module = topic_of(name, topic)
    wanted = {name: f for name, f in vars(TOPICS[topic]).items() if not name.startswith("_") and inspect.isfunction(f)}
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
    """The platform decides on the system; one that is not POSIX either is one of which nothing is known."""
    package = importlib.import_module("nicefutures._system")
    before = dict(vars(package))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "name", os_name)
    try:
        importlib.reload(package)
        assert package.backend.priority.__name__ == f"nicefutures._system.{name}.priority"
    finally:
        vars(package).update(before)


def test_no_such_topic():
    """What is no topic is no attribute."""
    backend = importlib.import_module("nicefutures._system").backend
    with pytest.raises(AttributeError, match="no such topic: 'seam'"):
        _ = backend.seam


@pytest.mark.parametrize("level", ProcessPriority, ids=lambda level: level.name)
def test_process_level(system, level):
    """A process is at the level afterwards, or is told why not and stays where it is; then it is put back."""
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
    """A process that is above a level is put there, or is told why not; one that is not stays where it is."""
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
    """The calling thread is at the level afterwards, or at its equal, or is told why not; then it is put back."""
    priority = system("priority")
    before, saved = priority.get_thread(), priority.save_thread()
    refusal, shortfall = outcome_of(priority.set_thread, level)
    if refusal is None:
        equal = {level, ThreadPriority.IDLE} if level == ThreadPriority.LOWEST else {level}  # one QoS class
        assert is_told(shortfall) or (shortfall is None and priority.get_thread() in equal)
    assert priority.restore_thread(saved) is None
    assert priority.get_thread() == before
    assert refusal is None or is_told(refusal)
    if priority.release_thread is not None:
        priority.release_thread()


def test_background(system):
    """What goes with a level is set, or is told to be missing; NORMAL asks for nothing."""
    background = system("background")
    assert background.set_background(ProcessPriority.NORMAL) is None
    for level in (ProcessPriority.BELOW_NORMAL, ProcessPriority.IDLE):
        shortfall = background.set_background(level)
        assert shortfall is None or is_told(shortfall)
    shortfall = background.set_efficiency()
    assert shortfall is None or is_told(shortfall)


def test_threads(system):
    """Threads that are known go down and back; those that are gone are left out."""
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
    """CPUs are counted; of a thread that is gone nothing is told; who is delayed hears of no negative times."""
    accounting = system("accounting")
    assert accounting.usable_cpus() > 0
    assert accounting.thread_cpu_time(NOBODY) is None
    assert accounting.thread_cpu_delay(NOBODY) == 0
    for number in (accounting.count_ready(), accounting.thread_waits()):
        assert number is None or number >= 0
    with accounting.cpu_delay() as delay:
        assert 0 <= delay() <= delay()


def test_pause(system):
    """It lasts as long as was asked for, unless the lock is to be had."""
    lock = threading.Lock()
    lock.acquire()
    assert system("accounting").pause(lock, 0.001) is False
    lock.release()
    assert system("accounting").pause(lock, 0.001) is True


def test_memory(system):
    """Memory is counted; a limit comes and goes, or there is none, which is said."""
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


def test_groups(system):
    """There is a group to go to, or none is needed, or it is told why there is none."""
    groups = system("groups")
    group = groups.find()
    assert group is None or isinstance(group, Group) or is_told(group)
    if group is None:
        assert groups.join(None, None) is None


def test_shared_memory(system):
    """Shared memory makes segments and opens them, or there is none."""
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


def test_survey(system, monkeypatch):
    """A machine describes itself, and says whether sessions are groups."""

    class Version:
        platform_version = (10, 0, 22631)

    monkeypatch.setattr(sys, "getwindowsversion", Version, raising=False)
    assert isinstance(system("survey").sessions_are_groups(), bool)
    assert any(system("survey").describe_machine().values())


def test_survey_elsewhere(monkeypatch):
    """Windows tells its version, macOS its own, another system its kernel's."""

    class Version:
        platform_version = (10, 0, 22631)

    monkeypatch.setattr(sys, "getwindowsversion", Version, raising=False)
    assert topic_of("windows", "survey").describe_machine() == {"windows": "10.0.22631"}
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    assert topic_of("macos", "survey").describe_machine() == {"macos": "14.5"}
    monkeypatch.setattr(platform, "mac_ver", lambda: ("", ("", "", ""), ""))
    for name in ("macos", "posix", "unknown"):
        kernel = f"{platform.system()} {platform.release()}"
        assert topic_of(name, "survey").describe_machine() == {"kernel": kernel}


def test_unknown_level():
    """Where nothing is known, only NORMAL is to be had, and that is said."""
    priority = topic_of("unknown", "priority")
    with pytest.raises(PriorityError, match="nothing is known of this system's priorities"):
        priority.set_process(ProcessPriority.IDLE)
    assert "normal" in priority.set_thread(ThreadPriority.LOWEST).remedy


@pytest.mark.parametrize("name", ["windows", "macos", "posix", "unknown"])
def test_no_groups(name):
    """Only Linux has task groups that a level counts in."""
    groups = topic_of(name, "groups")
    assert groups.find() is None
    assert groups.join(None, None) is None


# --- what no backend foresees


@pytest.mark.parametrize("on_denied", ["warn", "raise"])
def test_unforeseen_refusal(monkeypatch, on_denied):
    """A system that forbids even to look does not break a pool."""

    def forbid(priority):
        refuse(errno.EPERM)

    monkeypatch.setattr("nicefutures._threads.worker.backend.priority.set_thread", forbid)
    executor = PriorityThreadPoolExecutor(2, on_denied=on_denied)
    if on_denied == "raise":
        with pytest.raises(PriorityError, match="not permitted"):
            executor.submit(abs, -1).result()
    else:
        with pytest.warns(PriorityWarning, match="not permitted"):
            assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
