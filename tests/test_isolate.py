"""Isolated workers: a group of their own, that the terminal still reaches, and that nobody finds afterwards (Linux)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from asking import LINUX, identify, linux_only, run_python, unprivileged
from nicefutures import LowPriorityProcessPoolExecutor, PriorityError, PriorityWarning
from nicefutures._system import backend
from nicefutures._system.common import AUTOGROUP, CGROUP, Group
from nicefutures._system.linux import cgroups, groups

AUTOGROUP_FILE = Path("/proc/self/autogroup")


def isolate(*arguments, **options):
    return LowPriorityProcessPoolExecutor(*arguments, isolate="auto", **options)


def place():
    """Where a task runs: process, session, autogroup, control groups."""
    return os.getpid(), os.getsid(0), AUTOGROUP_FILE.read_text(), Path("/proc/self/cgroup").read_text()


def interrupted(path):
    """Wait for Ctrl-C, and leave a note of it."""
    Path(path, str(os.getpid())).touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(path, f"interrupted {os.getpid()}").touch()


def count_up(path):
    """Show a sign of life every few milliseconds."""
    for number in range(6000):
        Path(path, "sign").write_text(str(number))
        time.sleep(0.01)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def keepers(parent=None):
    """Process ids of the keepers that a process has started, this one by default."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        _, _, script, owner, *_ = [*(process.info["cmdline"] or ())[1:], "", "", "", ""]
        if script.endswith("/keeper_main.py") and owner == str(parent or os.getpid()):
            found.add(process.pid)
    return found


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def group():
    """The group that is to be had here; skips if there is none."""
    found = backend.groups.find() if LINUX else None
    if not isinstance(found, Group):
        pytest.skip("no task group of their own is to be had for the workers here")
    return found


def test_workers_leave(group, context):
    """Each worker is where a low level counts, and the parent stays where it is."""
    before = place()
    with isolate(2, context) as executor:
        for pid, session, autogroup, control_groups in executor.map(_place_slowly, range(4)):
            if group.kind == AUTOGROUP:
                assert session == pid
                assert autogroup.endswith("nice 19\n")
            else:
                assert control_groups != before[3]
        assert len(keepers()) == 1
    assert place() == before
    assert not keepers()


def _place_slowly(_):
    time.sleep(0.05)
    return place()


def test_replaced_workers_leave(group):
    """So is a worker that takes another one's place."""
    with isolate(1, max_tasks_per_child=1) as executor:
        found = list(executor.map(_place_slowly, range(3)))
    assert len({pid for pid, *_ in found}) == 3
    if group.kind == AUTOGROUP:
        assert all(autogroup.endswith("nice 19\n") for _, _, autogroup, _ in found)


@pytest.mark.parametrize("ending", ["no wait", "forgotten", "unused", "broken"])
def test_nothing_is_left(group, context, ending):
    """However a pool ends, no process, session or group of it stays."""
    # One worker where it dies: of one that it has just started, the stdlib may not notice the end.
    executor = isolate(1 if ending == "broken" else 2, context)
    if ending == "unused":
        executor.shutdown()
    elif ending == "broken":
        assert executor.submit(identify).result()
        assert "SIGKILL" in str(executor.submit(die).exception())
        executor.shutdown()
    else:
        future = executor.submit(identify, 0.2)
        if ending == "no wait":
            executor.shutdown(wait=False)
        del executor
        assert future.result()
    wait_for(lambda: not keepers())
    assert not (group.directory and os.path.exists(group.directory))


_CHILD = """
import os, sys, time
from nicefutures import *
import test_isolate
if __name__ == "__main__":
    how, path = sys.argv[1:]
    executor = LowPriorityProcessPoolExecutor(2, isolate="auto")
    pids = set(executor.map(test_isolate.identify, [0.1] * 4))
    print(*pids, flush=True)
    if how == "exit":
        sys.exit()
    try:
        for future in [executor.submit(getattr(test_isolate, how), path) for _ in range(2)]:
            future.result()
    except KeyboardInterrupt:
        executor.shutdown()
        print("interrupted", flush=True)
"""


@pytest.fixture
def start_child(group, tmp_path):
    """Start a program with isolated workers, in a session of its own as a terminal would; give it and their ids."""
    running = []

    def start(how):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, how, str(tmp_path)],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(child)
        return child, [int(pid) for pid in child.stdout.readline().split()]

    yield start
    for child in running:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        child.stdout.close()


def test_interrupt(start_child, tmp_path):
    """Ctrl-C reaches parent and workers, as it does without isolation."""
    child, _ = start_child("interrupted")
    workers = wait_for(lambda: len(found := list(tmp_path.iterdir())) == 2 and found)
    os.killpg(child.pid, signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    assert child.wait(20) == 0
    for worker in workers:
        assert Path(tmp_path, f"interrupted {worker.name}").exists()
    wait_for(lambda: not keepers(child.pid))


def test_stop_and_continue(start_child, tmp_path):
    """Ctrl-Z stops the workers, too, and fg lets them go on."""
    child, pids = start_child("count_up")
    sign = tmp_path / "sign"
    wait_for(sign.exists)
    os.killpg(child.pid, signal.SIGTSTP)
    wait_for(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids))
    os.killpg(child.pid, signal.SIGCONT)
    wait_for(lambda: all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids))
    child.kill()
    wait_for(lambda: all(map(is_gone, pids)))


def test_killed_parent(start_child):
    """When the parent is killed, its workers end, and so does what looks after them."""
    child, pids = start_child("count_up")
    assert not any(map(is_gone, pids))
    assert len(keepers(child.pid)) == 1
    child.kill()
    wait_for(lambda: all(map(is_gone, pids)))
    wait_for(lambda: not keepers(child.pid))


def test_exit_without_shutdown(start_child):
    """A program that just ends leaves nothing."""
    child, pids = start_child("exit")
    assert child.wait(20) == 0
    wait_for(lambda: all(map(is_gone, pids)) and not keepers(child.pid))


def test_unprivileged(group):
    """It needs no privilege, although unprivileged workers have to take turns."""
    printed = run_python(
        """
import json, warnings
from nicefutures import *
import test_isolate
if __name__ == "__main__":
    warnings.simplefilter("error")
    with LowPriorityProcessPoolExecutor(3, isolate="auto") as executor:
        print(json.dumps(list(executor.map(test_isolate._place_slowly, range(6)))))
""",
        command=unprivileged(),
    )
    for pid, session, autogroup, _ in json.loads(printed):
        if group.kind == AUTOGROUP:
            assert session == pid
            assert autogroup.endswith("nice 19\n")


@linux_only
@pytest.mark.parametrize("on_failure", ["warn", "raise", "ignore"])
def test_nowhere_to_go(monkeypatch, tmp_path, on_failure):
    """Without any such group there is one warning with a remedy, or what `on_failure` says; the pool works."""
    monkeypatch.setattr(groups, "_AUTOGROUP_ENABLED", str(tmp_path / "none"))
    monkeypatch.setattr(groups, "find_cgroup", lambda controller: None)
    context = contextlib.nullcontext()
    if on_failure == "warn":
        context = pytest.warns(PriorityWarning, match="autogroup is off.*systemd-run")
    with context, isolate(2, on_failure=on_failure) as executor:
        if on_failure == "raise":
            assert isinstance(executor.submit(identify).exception(), PriorityError)
        else:
            assert executor.submit(identify).result() != os.getpid()
        assert not keepers()


@linux_only
@pytest.mark.parametrize("obstacle", ["frozen", "no interpreter", "no pidfd"])
def test_no_keeper(monkeypatch, obstacle):
    """Where nobody could look after isolated workers they stay where they are, and that is said."""
    if obstacle == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif obstacle == "no interpreter":
        monkeypatch.setattr(sys, "executable", "")
    else:
        monkeypatch.delattr(os, "pidfd_open")
    assert "systemd-run" in groups.find().remedy


def test_ended_keeper(group):
    """Workers that find no keeper stay where they are, and say so."""
    with pytest.warns(PriorityWarning, match="Broken pipe"), isolate(1, max_tasks_per_child=1) as executor:  # noqa: PT031
        assert executor.submit(identify).result()
        for pid in keepers():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: executor._keeper._process.poll() is not None)
        assert executor.submit(identify).result()
        assert executor.submit(identify).result()


@linux_only
def test_leader_of_a_group(group):
    """A worker that cannot leave its session leaves the parent's as it is."""
    if group.kind != AUTOGROUP:
        pytest.skip("sessions do not matter here")
    printed = run_python("""
import os
from nicefutures import *
import test_isolate
if __name__ == "__main__":
    os.register_at_fork(after_in_child=os.setpgrp)
    before = test_isolate.AUTOGROUP_FILE.read_text()
    import multiprocessing, warnings
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        context = multiprocessing.get_context("fork")
        with LowPriorityProcessPoolExecutor(1, context, isolate="auto") as executor:
            executor.submit(abs, -1).result()
    assert test_isolate.AUTOGROUP_FILE.read_text() == before
    print(*[warning.message for warning in log if warning.category is PriorityWarning])
""")
    assert "cannot leave its session" in printed


@linux_only
def test_group_that_cannot_be_made(monkeypatch, tmp_path):
    """A worker that does not get in says why, and works where it is."""
    lost = Group(CGROUP, str(tmp_path / "none" / "group"), str(tmp_path))
    monkeypatch.setattr(groups, "find", lambda: lost)
    with pytest.warns(PriorityWarning, match="control group: .*No such file"), isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()


@pytest.mark.parametrize(("wrong", "error"), [("cgroup", ValueError), (True, TypeError), (1, TypeError)])
def test_wrong_isolate(wrong, error):
    """There is "auto" and None."""
    with pytest.raises(error, match="isolate"):
        LowPriorityProcessPoolExecutor(1, isolate=wrong)


@pytest.mark.skipif(LINUX, reason="not on Linux")
def test_no_groups_elsewhere():
    """Other systems rank all programs together, so there is nothing to do."""
    with isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()


# --- which group, on machines that this one is not


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A hierarchy of control groups, with the CPU controller for groups below those in `divided`."""

    def make(name, *, divided, writable=(), version=2):
        (tmp_path / "proc").mkdir()
        mount = tmp_path / "sys fs"
        own = mount
        for part in ["", *name.strip("/").split("/")]:
            own /= part
            own.mkdir(exist_ok=True)
            here = "/" + str(own.relative_to(mount)).strip(".")
            (own / "cgroup.procs").touch()
            (own / "cgroup.controllers").write_text("cpu memory\n")
            (own / "cgroup.subtree_control").write_text("cpu\n" if here in divided else "\n")
            if here != "/" and str(Path(here).parent) in divided:
                (own / "cpu.weight").write_text("100\n")
        line = f"0::{name}" if version == 2 else f"3:cpu,cpuacct:{name}"
        kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,cpu,cpuacct"
        (tmp_path / "proc" / "cgroup").write_text(f"1:name=x:/other\n{line}\n")
        mounted = str(mount).replace(" ", "\\040")
        (tmp_path / "proc" / "mountinfo").write_text(f"1 2 0:1 / {mounted} rw shared:1 - {kind}\n")
        monkeypatch.setattr(groups, "find_cgroup", lambda _: cgroups.find_cgroup("cpu", str(tmp_path / "proc")))
        allowed = {os.path.normpath(f"{mount}/{each}") for each in writable}
        monkeypatch.setattr(
            groups.os, "access", lambda path, _: os.path.normpath(path.removesuffix("/cgroup.procs")) in allowed
        )
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        enabled = tmp_path / "enabled"
        enabled.write_text("1\n")
        monkeypatch.setattr(groups, "_AUTOGROUP_ENABLED", str(enabled))
        return mount

    return make


_SERVICE = "/user.slice/user-7.slice/user@7.service"


@linux_only
def test_user_manager(machine, tmp_path):
    """Below a user manager that can be called: a scope."""
    machine(f"{_SERVICE}/app.slice/x.scope", divided=("/", "/user.slice", "/user.slice/user-7.slice", _SERVICE))
    assert not isinstance(groups.find(), Group)
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "bus").touch()
    (tmp_path / "run" / "systemd" / "private").touch()
    assert groups.find().kind == "systemd scope"


@linux_only
def test_login_session(machine, tmp_path):
    """Beside it, in a login session, a scope would be no lower: nothing is to be had."""
    machine("/user.slice/user-7.slice/session-1.scope", divided=("/", "/user.slice", "/user.slice/user-7.slice"))
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "bus").touch()
    (tmp_path / "run" / "systemd" / "private").touch()
    assert "control group keeps autogroup from counting" in groups.find().reason


@linux_only
def test_delegated_group(machine):
    """The highest group that may be divided, so that as many programs as possible come before the workers."""
    mount = machine("/a/b/c/d", divided=("/", "/a", "/a/b", "/a/b/c"), writable=("/a/b", "/a/b/c", "/a/b/c/d"))
    found = groups.find()
    assert found.kind == CGROUP
    assert Path(found.directory).parent == mount / "a" / "b"
    assert Path(found.home) == mount / "a" / "b" / "c" / "d"


@linux_only
def test_threaded_group(machine):
    """A threaded group takes no processes."""
    mount = machine("/a/b", divided=("/", "/a"), writable=("/a",))
    (mount / "a" / "cgroup.type").write_text("domain threaded\n")
    assert not isinstance(groups.find(), Group)


@linux_only
def test_no_controller(machine):
    """Where no group has the CPU controller, autogroup decides."""
    machine("/user.slice/session.scope", divided=())
    assert groups.find() == Group(AUTOGROUP)


@linux_only
@pytest.mark.parametrize(("name", "decides"), [("/", True), ("/docker/1", False)])
def test_version_1(machine, name, decides):
    """In version 1 it decides for the root group."""
    mount = machine(name, divided=(), version=1)
    assert not isinstance(groups.find(), Group)  # a container's own root
    (mount / "release_agent").touch()
    assert isinstance(groups.find(), Group) is decides


# --- limits of groups


def test_quotas(tmp_path):
    """The strictest quota on the way up counts, also in a container that sees its own hierarchy only."""
    (tmp_path / "cgroup").write_text("0::/pod/container\n")
    mount = tmp_path / "mount"
    inner = mount / "container"
    inner.mkdir(parents=True)
    (tmp_path / "mountinfo").write_text(f"1 2 0:1 /pod {mount} rw - cgroup2 cgroup2 rw\n")
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None
    (mount / "cpu.max").write_text("150000 100000\n")
    (mount / "memory.max").write_text("1000000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 1.5
    assert cgroups.memory_limit(str(tmp_path)) == 1_000_000
    (inner / "cpu.max").write_text("50000 100000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 0.5


def test_quotas_of_version_1(tmp_path):
    """Version 1 has files of its own, and a hierarchy for each controller; a path from outside leads to the mount."""
    (tmp_path / "cgroup").write_text("4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n")
    for controller in ("cpu,cpuacct", "memory"):
        (tmp_path / controller).mkdir()
    (tmp_path / "mountinfo").write_text(
        f"1 2 0:1 /docker/1 {tmp_path}/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        f"1 2 0:1 /docker/1 {tmp_path}/memory ro - cgroup cgroup rw,memory\n"
    )
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None
    (tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("250000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2000000\n")
    assert cgroups.cpu_quota(str(tmp_path)) == 2.5
    assert cgroups.memory_limit(str(tmp_path)) == 2_000_000


def test_no_groups(tmp_path):
    """A system without control groups has no quotas."""
    assert cgroups.cpu_quota(str(tmp_path)) is None
    assert cgroups.memory_limit(str(tmp_path)) is None
