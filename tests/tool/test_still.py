"""``nicefutures pause`` and ``resume``, and how ``show`` shows paused programs, tested with real processes."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from asking import LINUX, WINDOWS
from marks import posix_only
from patience import PATIENCE, wait_until
from programs import unprivileged

# Counts in a file, and starts a child that does the same.
COUNT = (
    "import subprocess, sys, time\n"
    "def count(path):\n"
    "    number = 0\n"
    "    while True:\n"
    "        number += 1\n"
    "        with open(path, 'w') as file: file.write(str(number))\n"
    "        time.sleep(0.002)\n"
    "if sys.argv[2:]: subprocess.Popen([sys.executable, *sys.orig_argv[1:3], sys.argv[2]])\n"
    "count(sys.argv[1])\n"
)


def nicefutures(*arguments, command=()):
    return subprocess.run(
        [*command, sys.executable, "-m", "nicefutures", *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


def is_still(pid):
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


@pytest.fixture
def tree(tmp_path):
    """Start a program with a child, both of which count; return their ids and their files."""
    paths = [tmp_path / "parent", tmp_path / "child"]
    program = subprocess.Popen([sys.executable, "-c", COUNT, *map(str, paths)])
    wait_until(lambda: all(path.exists() for path in paths))
    (child,) = psutil.Process(program.pid).children()
    yield [program.pid, child.pid], paths
    for process in program, child:
        process.kill()
        process.wait(PATIENCE)


def test_pause_and_resume(tree):
    """A program and its child stay stopped after one or two `pause` commands, and continue after one `resume`."""
    pids, paths = tree
    for _ in range(1 if WINDOWS else 2):  # Windows counts suspends; Wine does not report the first
        result = nicefutures("pause", pids[0])
        assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert WINDOWS or all(map(is_still, pids))  # Wine does not report it
    texts = [path.read_text() for path in paths]
    time.sleep(0.2)
    assert [path.read_text() for path in paths] == texts
    result = nicefutures("resume", pids[0])
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    wait_until(lambda: all(path.read_text() not in ("", text) for path, text in zip(paths, texts, strict=True)))


@posix_only
def test_show(tree):
    """`show` shows which processes are stopped, and no reason if none is known."""
    (parent, child), _ = tree
    nicefutures("pause", child)
    rows = json.loads(nicefutures("show", "--json", parent, child).stdout)
    assert [(row["state"], row["paused_by"]) for row in rows] == [(None, None), ("stopped", None)]
    header, *lines = nicefutures("show", parent, child).stdout.splitlines()
    assert header.split()[-1] == "STATE"
    assert [line.endswith("  stopped") for line in lines] == [False, True]


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_errors(command, tree):
    """A wrong PID is one line on stderr; the other programs are paused or resumed."""
    (pid, _), _ = tree
    if command == "resume":
        nicefutures("pause", pid)
    result = nicefutures(command, 2**31 - 1, pid)
    assert "no process with PID" in result.stderr
    assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)
    assert WINDOWS or is_still(pid) == (command == "pause")
    for wrong, message in ([], "PID"), (["0"], "'0'"), (["--all", "1"], "--all"):
        result = nicefutures(command, *wrong)
        assert message in result.stderr
        assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)


def test_own_ancestors():
    """The command does not stop a process tree that contains itself."""
    for pid in os.getpid(), os.getppid():
        result = nicefutures("pause", pid)
        assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)
        assert f"Could not pause process {pid}: nicefutures itself" in result.stderr


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="needs another user")
def test_of_another_user(tree):
    """A program of another user is neither stopped nor continued, and one line says why."""
    (pid, _), _ = tree
    result = nicefutures("pause", pid, command=unprivileged())
    assert "belongs to another user" in result.stderr
    assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)
    assert not is_still(pid)
    nicefutures("pause", pid)
    # In the same session, any user may continue a process (kill(2)).
    result = nicefutures("resume", pid, command=["setsid", "--wait", *unprivileged()])
    assert "belongs to another user" in result.stderr
    assert (result.stderr.count("\n"), result.returncode) == (1, 2)
    assert is_still(pid)


@pytest.mark.skipif(not LINUX, reason="elsewhere zombies are not seen")
def test_zombie():
    """A process that has only its exit status left is neither paused nor resumed."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    for command in "pause", "resume":
        result = nicefutures(command, process.pid)
        assert "a zombie" in result.stderr
        assert (result.stderr.count("\n"), result.returncode) == (1, 2)
    process.wait()
