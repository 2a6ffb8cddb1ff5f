"""Isolated workers: a group of their own, that the terminal still reaches, and that nobody finds afterwards (Linux)."""

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
    """Process ids of the keepers that a process has started, this one by default."""
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
    """The group that is to be had here; skips if there is none."""
    found = backend.groups.find() if LINUX else None
    if not isinstance(found, Group):
        pytest.skip("no task group of their own is to be had for the workers here")
    return found


@pytest.mark.every_python
def test_workers_leave(group, context):
    """Each worker is where a low level counts, and the parent stays where it is."""
    before = place()
    with isolate(2, context) as executor:
        for pid, session, autogroup, control_groups in executor.map(place_slowly, range(4)):
            if group.kind == AUTOGROUP:
                assert session == pid
                assert autogroup.endswith("nice 19\n")
            else:
                assert control_groups != before[3]
        assert len(keepers()) == 1
    assert place() == before
    assert not keepers()


def test_replaced_workers_leave(group):
    """So is a worker that takes another one's place."""
    with isolate(1, max_tasks_per_child=1) as executor:
        found = list(executor.map(place_slowly, range(3)))
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
    """Start a program with isolated workers, in a session of its own as a terminal would; give it and their ids."""
    running = []

    def start(how):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, how, str(tmp_path)],
            env=environment(),
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


@pytest.mark.parametrize("closed", [[0], [1], [0, 1, 2]])
def test_closed_descriptors(group, context, closed):
    """A program without standard input, output or both has isolated workers as others do."""
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


def test_stop_and_continue(start_child, tmp_path):
    """Ctrl-Z stops the workers, too, and fg lets them go on."""
    child, pids = start_child("count_up")
    sign = tmp_path / "sign"
    wait_until(sign.exists)
    os.killpg(child.pid, signal.SIGTSTP)
    wait_until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids))
    os.killpg(child.pid, signal.SIGCONT)
    wait_until(lambda: all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids))
    child.kill()
    wait_until(lambda: all(map(is_gone, pids)))


def test_killed_parent(start_child):
    """When the parent is killed, its workers end, and so does what looks after them."""
    child, pids = start_child("count_up")
    assert not any(map(is_gone, pids))
    assert len(keepers(child.pid)) == 1
    child.kill()
    wait_until(lambda: all(map(is_gone, pids)))
    wait_until(lambda: not keepers(child.pid))


def test_exit_without_shutdown(start_child):
    """A program that just ends leaves nothing."""
    child, pids = start_child("exit")
    assert child.wait(PATIENCE) == 0
    wait_until(lambda: all(map(is_gone, pids)) and not keepers(child.pid))


def test_unprivileged(group):
    """It needs no privilege, although unprivileged workers have to take turns."""
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
    """Without any such group there is one warning with a remedy, or what `on_denied` says; the pool works."""
    monkeypatch.setattr(groups, "_AUTOGROUP_ENABLED", str(tmp_path / "none"))
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
            wait_until(functools.partial(is_gone, pid))
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
    """A worker that does not get in says why, and works where it is."""
    lost = Group(CGROUP, str(tmp_path / "none" / "group"), str(tmp_path))
    monkeypatch.setattr(groups, "find", lambda: lost)
    with pytest.warns(PriorityWarning, match="control group: .*No such file"), isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()


@pytest.mark.parametrize("wrong", ["auto", None, 1])
def test_wrong_isolate(wrong):
    """It is either true or false."""
    with pytest.raises(TypeError, match="isolate must be True or False"):
        LowPriorityProcessPoolExecutor(1, isolate=wrong)


@pytest.mark.skipif(LINUX, reason="not on Linux")
def test_no_groups_elsewhere():
    """Other systems rank all programs together, so there is nothing to do."""
    with isolate(1) as executor:
        assert executor.submit(identify).result() != os.getpid()
