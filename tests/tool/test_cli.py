"""The command line, through real processes."""

import json
import os
import subprocess
import sys

import pytest

from asking import PROCESS, ask_threads
from marks import linux_only, posix_only
from nicefutures import ProcessPriority
from patience import PATIENCE
from programs import unprivileged

SHOW = [sys.executable, "-m", "nicefutures", "show", "--json"]


def nicefutures(*arguments, stdin="", command=(), **options):
    return subprocess.run(
        [*command, sys.executable, "-m", "nicefutures", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
    )  # fmt: skip


@pytest.mark.every_python
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "-p", "idle", "0"], "not a process id: '0'"),
        (["set", "-p", "idle", "me"], "not a process id: 'me'"),
        (["set", "-p", "idle"], "PID"),
        (["set", "12"], "-p"),
        (["set", "-p", "idle", 2**31 - 1], "no process with the id"),
        (["show", 2**31 - 1], "no process with the id"),
        (["stop"], "stop"),
        ([], "run"),
    ],
)
def test_errors(arguments, message):
    """An error is one line on stderr and exit status 2."""
    result = nicefutures(*arguments)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == 2


@pytest.mark.every_python
def test_help():
    """--help and --version answer."""
    assert "run|set|show" in nicefutures("--help").stdout
    assert nicefutures("--version").stdout.startswith("nicefutures ")


@pytest.fixture
def sleepers():
    """Two other processes."""
    started = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    yield started
    for process in started:
        process.communicate()


def test_set_and_show(sleepers):
    """`set` sets several processes, `show` shows them, for people and for programs."""
    pids = [process.pid for process in sleepers]
    result = nicefutures("set", "-p", "below_normal", *pids)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    for pid in pids:
        assert set(ask_threads(pid)) == {PROCESS[ProcessPriority.BELOW_NORMAL]}
    shown = json.loads(nicefutures("show", "--json", *pids).stdout)
    assert [row["pid"] for row in shown] == pids
    assert {row["level"] for row in shown} == {"below_normal"}
    table = nicefutures("show", *pids).stdout.splitlines()
    assert {"PID", "LEVEL"} <= set(table[0].split())
    assert [line.split()[0] for line in table[1:]] == [str(pid) for pid in pids]
    assert all("below_normal" in line for line in table[1:])


def test_the_others_are_done(sleepers):
    """One wrong process id does not keep the others from being set or shown."""
    pid = sleepers[0].pid
    result = nicefutures("set", "-p", "idle", 2**31 - 1, pid)
    assert result.returncode == 2
    assert set(ask_threads(pid)) == {PROCESS[ProcessPriority.IDLE]}
    result = nicefutures("show", "--json", 2**31 - 1, pid)
    assert result.returncode == 2
    assert [row["pid"] for row in json.loads(result.stdout)] == [pid]


@linux_only
def test_show_threads():
    """`show` counts the threads of each level, and knows policy, nice and I/O class."""
    code = (
        "import threading, nicefutures as n; e = threading.Event()\n"
        "def low(): n.set_thread_priority('idle'); print('ready', flush=True); e.wait()\n"
        "threading.Thread(target=low).start(); input(); e.set()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (shown,) = json.loads(nicefutures("show", "--json", process.pid).stdout)
        process.communicate(b"\n")
    del shown["pid"], shown["name"]
    assert shown == {
        "level": "normal",
        "threads": {"idle": 1, "normal": 1},
        "policy": "SCHED_OTHER",
        "nice": 0,
        "priority_class": None,
        "io_class": "none",
    }


@linux_only
def test_show_any_name():
    """A process whose name the terminal's encoding lacks is shown all the same."""
    code = "open('/proc/self/comm', 'w').write('n\u00efce'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        result = nicefutures("show", process.pid, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        process.communicate(b"\n")
    assert "n\\xefce" in result.stdout
    assert not result.stderr


@posix_only
def test_unprivileged():
    """Without the privilege another user's process is not set."""
    if os.geteuid() == 0:
        result = nicefutures("set", "-p", "idle", os.getpid(), command=unprivileged())
        assert result.returncode == 2
        assert "another user" in result.stderr
