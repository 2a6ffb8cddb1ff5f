"""Isolated workers have their own group, still get the terminal's signals, and leave no group behind (Linux)."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from asking import LINUX
from marks import linux_only
from nicefutures import LowPriorityProcessPoolExecutor, PriorityError, PriorityWarning
from nicefutures._system import backend
from nicefutures._system.common import AUTOGROUP, CGROUP, Group
from nicefutures._system.linux import groups
from patience import PATIENCE, wait_until
from places import die, place, place_slowly
from programs import environment, run_python, unprivileged
from tasks import identify


def isolate(*arguments, **options):
    return LowPriorityProcessPoolExecutor(*arguments, isolate=True, **options)


def keepers(parent=None):
    """Return the process ids of the keepers that a process has started, by default this one."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        _, _, script, owner, *_ = [*(process.info["cmdline"] or ())[1:], "", "", "", ""]
        if script.endswith("keeper_main.py") and owner == str(parent or os.getpid()):
            found.add(process.pid)
    return found


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def group():
    """Return the group that workers get here; skip the test if there is none."""
    found = backend.groups.find() if LINUX else None
    if not isinstance(found, Group):
        pytest.skip("the workers cannot have a task group here")
    return found


@pytest.mark.every_python
def test_workers_leave(group, context):
    """Each worker moves to a group where a low level counts; the parent stays in its own."""
    before = place()
    with isolate(2, context) as executor:
        for pid, session, autogroup, control_groups in executor.map(place_slowly, range(4)):
            if group.kind == AUTOGROUP:
                assert session == pid
                assert autogroup.endswith("nice 19\n")
            else:
                assert control_groups != before[3]
        assert keepers()
    assert place() == before
    assert not keepers()


def test_replaced_workers_leave(group):
    """A worker that replaces another one moves to such a group, too."""
    with isolate(1, max_tasks_per_child=1) as executor:
        found = list(executor.map(place_slowly, range(3)))
    assert len({pid for pid, *_ in found}) == 3
    if group.kind == AUTOGROUP:
        assert all(autogroup.endswith("nice 19\n") for _, _, autogroup, _ in found)


@pytest.mark.parametrize("ending", ["no wait", "forgotten", "unused", "broken"])
def test_nothing_is_left(group, context, ending):
    """However a pool ends, none of its processes, sessions and groups remains."""
    # One worker where it dies: the standard library may not notice the end of a worker that it has just started.
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
    wait_until(lambda: not keepers())
    assert not (group.directory and os.path.exists(group.directory))


_CHILD = """
import os, sys, time
from nicefutures import *
import places, tasks
if __name__ == "__main__":
    how, path = sys.argv[1:]
    executor = LowPriorityProcessPoolExecutor(2, isolate=True)
    pids = set(executor.map(tasks.identify, [0.1] * 4))
    print(*pids, flush=True)
    if how == "exit":
        sys.exit()
    try:
        for future in [executor.submit(getattr(places, how), path) for _ in range(2)]:
            future.result()
    except KeyboardInterrupt:
        executor.shutdown()
        print("interrupted", flush=True)
"""


@pytest.fixture
def start_child(group, tmp_path):
    """Return a function that starts a program in its own process group, and returns it and its workers' ids."""
    running = []

    def start(how):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, how, str(tmp_path)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        running.append(child)
        return child, [int(pid) for pid in child.stdout.readline().split()]

    yield start
    for child in running:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("closed", [[0], [1], [0, 1, 2]])
def test_closed_descriptors(group, context, closed):
    """A program without standard input, without standard output, or without all three files can isolate its workers."""
    run_python(
        """
import multiprocessing, os, sys, warnings
from nicefutures import LowPriorityProcessPoolExecutor
from places import place
if __name__ == "__main__":
    method, *closed = sys.argv[1:]
    for number in map(int, closed):
        os.close(number)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    executor = LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method), isolate=True)
    assert executor.submit(place).result() != place()
    executor.shutdown()
""",
        context.get_start_method(),
        *map(str, closed),
    )


def test_interrupt(start_child, tmp_path):
    """Ctrl-C reaches parent and workers, as it does without isolation."""
    child, _ = start_child("interrupted")
    workers = wait_until(lambda: len(found := list(tmp_path.iterdir())) == 2 and found)
    os.killpg(child.pid, signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    assert child.wait(PATIENCE) == 0
    for worker in workers:
        assert Path(tmp_path, f"interrupted {worker.name}").exists()
    wait_until(lambda: not keepers(child.pid))


@pytest.mark.parametrize("how", ["SIGTSTP", "SIGSTOP"], ids=["Ctrl-Z", "batch system"])
def test_stop_and_continue(start_child, tmp_path, how):
    """A signal that stops the program stops its workers, too; SIGCONT continues all of them."""
    child, pids = start_child("count_up")
    sign = tmp_path / "sign"
    wait_until(sign.exists)
    os.killpg(child.pid, getattr(signal, how))
    wait_until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids))
    os.killpg(child.pid, signal.SIGCONT)
    wait_until(lambda: all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids))
    child.kill()
    wait_until(lambda: all(map(is_gone, pids)))


def test_killed_parent(start_child):
    """When the parent is killed, its workers and their keeper end."""
    child, pids = start_child("count_up")
    assert not any(map(is_gone, pids))
    assert keepers(child.pid)
    child.kill()
    wait_until(lambda: all(map(is_gone, pids)))
    wait_until(lambda: not keepers(child.pid))


def test_exit_without_shutdown(start_child):
    """A program that ends without a shutdown leaves no worker and no keeper."""
    child, pids = start_child("exit")
    assert child.wait(PATIENCE) == 0
    wait_until(lambda: all(map(is_gone, pids)) and not keepers(child.pid))


def test_unprivileged(group):
    """Isolation needs no privilege, although unprivileged workers must take turns to set their autogroup."""
    printed = run_python(
        """
import json, warnings
from nicefutures import *
import places, tasks
if __name__ == "__main__":
    warnings.simplefilter("error")
    with LowPriorityProcessPoolExecutor(3, isolate=True) as executor:
        print(json.dumps(list(executor.map(places.place_slowly, range(6)))))
""",
        command=unprivileged(),
    )
    for pid, session, autogroup, _ in json.loads(printed):
        if group.kind == AUTOGROUP:
            assert session == pid
            assert autogroup.endswith("nice 19\n")


@linux_only
@pytest.mark.parametrize("on_denied", ["warn", "raise", "ignore"])
def test_nowhere_to_go(monkeypatch, tmp_path, on_denied):
    """If there is no group, `on_denied` decides: one warning with a remedy, an error, or a pool that works without."""
    (tmp_path / "enabled").write_text("0\n")
    monkeypatch.setattr(groups, "_AUTOGROUP_ENABLED", str(tmp_path / "enabled"))
    monkeypatch.setattr(groups, "find_cgroup", lambda controller: None)
    context = contextlib.nullcontext()
    if on_denied == "warn":
        context = pytest.warns(PriorityWarning, match="autogroup is off.*systemd-run")
    with context, isolate(2, on_denied=on_denied) as executor:
        if on_denied == "raise":
            assert isinstance(executor.submit(identify).exception(), PriorityError)
        else:
            assert executor.submit(identify).result() != os.getpid()
        assert not keepers()


@linux_only
@pytest.mark.parametrize("obstacle", ["frozen", "no interpreter", "no pidfd"])
def test_no_keeper(monkeypatch, obstacle):
    """Where no keeper can run, there is no group for the workers, and the shortfall names a remedy."""
    if obstacle == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif obstacle == "no interpreter":
        monkeypatch.setattr(sys, "executable", "")
    else:
        monkeypatch.delattr(os, "pidfd_open")
    assert "systemd-run" in groups.find().remedy


def test_ended_keeper(group):
    """Workers that find no keeper stay in the parent's group, with a warning."""
    with pytest.warns(PriorityWarning, match="Broken pipe"), isolate(1, max_tasks_per_child=1) as executor:  # noqa: PT031
        assert executor.submit(identify).result()
        for pid in keepers():
            os.kill(pid, signal.SIGKILL)
            wait_until(functools.partial(is_gone, pid))
        assert executor.submit(identify).result()
        assert executor.submit(identify).result()


@linux_only
@pytest.mark.asks_for_fork
def test_leader_of_a_group(group):
    """A worker that cannot leave the parent's session does not change the autogroup of that session."""
    if group.kind != AUTOGROUP:
        pytest.skip("sessions do not matter here")
    printed = run_python("""
import os
from nicefutures import *
import places, tasks
if __name__ == "__main__":
    os.register_at_fork(after_in_child=os.setpgrp)
    before = places.AUTOGROUP_FILE.read_text()
    import multiprocessing, warnings
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        context = multiprocessing.get_context("fork")
        with LowPriorityProcessPoolExecutor(1, context, isolate=True) as executor:
            executor.submit(abs, -1).result()
    assert places.AUTOGROUP_FILE.read_text() == before
    print(*[warning.message for warning in log if warning.category is PriorityWarning])
""")
    assert "cannot leave its session" in printed


@linux_only
def test_group_that_cannot_be_made(monkeypatch, tmp_path):
    """A worker that cannot join its group warns why, and works in the parent's group."""
    lost = Group(CGROUP, str(tmp_path / "none" / "group"), str(tmp_path))
    monkeypatch.setattr(groups, "find", lambda: lost)
    with pytest.warns(PriorityWarning, match="control group: .*No such file"), isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()


@pytest.mark.parametrize("wrong", ["auto", None, 1])
def test_wrong_isolate(wrong):
    """`isolate` must be True or False."""
    with pytest.raises(TypeError, match="isolate must be True or False"):
        LowPriorityProcessPoolExecutor(1, isolate=wrong)


@pytest.mark.skipif(LINUX, reason="not on Linux")
def test_no_groups_elsewhere():
    """Other systems rank all programs together, so isolated workers need no group."""
    with isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()
