"""The command line, through real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from asking import PROCESS, WINDOWS, ask_threads
from marks import linux_only, needs_privilege, posix_only, windows_only
from nicefutures import ProcessPriority
from patience import PATIENCE
from programs import unprivileged

SHOW = [sys.executable, "-m", "nicefutures", "show", "--json"]


def nicefutures(*arguments, stdin="", command=(), **options):
    return subprocess.run(
        [*command, sys.executable, "-m", "nicefutures", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def script(tmp_path):
    """A script that prints its arguments, its input and its level, and ends with 3."""
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom nicefutures import get_process_priority\n"
        "print(sys.argv[1:], sys.stdin.read(), get_process_priority().name)\n"
        "print('error', file=sys.stderr)\nsys.exit(3)\n"
    )
    return path


def test_run_script(script):
    """A script gets its arguments, options among them, its input, its level; its output and exit status come back."""
    result = nicefutures("run", script, "-p", "--json", "--", "-m", stdin="in")
    assert result.stdout == "['-p', '--json', '--', '-m'] in IDLE\n"
    assert result.stderr == "error\n"
    assert result.returncode == 3


@pytest.mark.parametrize("option", [["-p", "below_normal"], ["-pbelow_normal"], ["--priority=Below_Normal"]])
def test_run_level(script, option):
    """-p chooses the level."""
    assert "BELOW_NORMAL" in nicefutures("run", *option, script).stdout


def test_run_module():
    """-m runs a module."""
    result = nicefutures("run", "-m", "json.tool", "--compact", stdin='{"a": 1}')
    assert (result.stdout.strip(), result.returncode) == ('{"a":1}', 0)


@pytest.mark.parametrize("level", [level for level in ProcessPriority if level <= ProcessPriority.NORMAL])
def test_run_command(level):
    """Any command runs after `--`, at the level that its process then shows."""
    (shown,) = json.loads(nicefutures("run", "-p", level.name, "--", *SHOW).stdout)
    assert shown["level"] == level.name.lower()
    assert set(shown["threads"].values()) == {sum(shown["threads"].values())} or WINDOWS


@needs_privilege
@pytest.mark.parametrize("level", ["above_normal", "high", "realtime"])
def test_run_raised(level):
    """A higher level works too, with the privilege."""
    (shown,) = json.loads(nicefutures("run", "-p", level, "--", *SHOW).stdout)
    assert shown["level"] == level


@windows_only
def test_run_crash():
    """The exit status of a crash, which has its highest bit set, comes back as it is."""
    command = [sys.executable, "-c", "import os; os._exit(0xC0000005 - 2**32)"]
    assert nicefutures("run", "--", *command).returncode == 0xC0000005


@posix_only
def test_run_becomes_the_program():
    """The program takes the place of the command, so that its process id is the one to send signals to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nicefutures", "run", "--",
         sys.executable, "-c", "import os; print(os.getpid()); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    process.stdout.close()
    process.stdin.close()


@posix_only
def test_run_leaves_signals_alone():
    """A pipe whose reader goes ends the program, as without us; Python itself ignores that signal."""
    pipe = f"{sys.executable} -m nicefutures run -- yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert result.stdout.split() == ["y", str(128 + signal.SIGPIPE)]
    assert not result.stderr


@pytest.mark.every_python
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "missing.py"], "nicefutures run -- missing.py"),
        (["run"], "Give a script"),
        (["run", "--"], "Give a script"),
        (["run", "-p", "lazy", "x.py"], "'lazy': use one of idle, below_normal"),
        (["run", "--what", "x.py"], "--what"),
        (["run", "--prio", "idle", "x.py"], "--prio"),
        (["run", "--", "no-such-command"], "no-such-command"),
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
    assert "script.py" in nicefutures("run", "--help").stdout
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
    """Without the privilege a raise is an error, and the program is not run."""
    result = nicefutures("run", "-p", "high", "--", "echo", "ran", command=unprivileged())
    assert (result.stdout, result.returncode) == ("", 2)
    assert "root" in result.stderr
    assert result.stderr.count("\n") == 1
    if os.geteuid() == 0:
        result = nicefutures("set", "-p", "idle", os.getpid(), command=unprivileged())
        assert result.returncode == 2
        assert "another user" in result.stderr
