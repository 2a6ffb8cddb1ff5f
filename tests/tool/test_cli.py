"""The command line, tested with real processes."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from asking import PROCESS, ask_threads
from marks import linux_only, posix_only
from nicefutures import ProcessPriority, get_process_priority
from nicefutures._tool import levels
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
        (["set", "-p", "idle", 2**31 - 1], "no process with PID"),
        (["set", "--prio", "idle", 2**31 - 1], "'idle'"),
        (["show", "--jso"], "--jso"),
        (["show", 2**31 - 1], "no process with PID"),
        (["stop"], "stop"),
    ],
)
def test_errors(arguments, message):
    """An error is one line on stderr and exit status 2."""
    result = nicefutures(*arguments)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == 2


@linux_only
@pytest.mark.parametrize("command", [["set", "-p", "below_normal"], ["show"], ["pause"], ["resume"]], ids=str)
def test_thread(command):
    """The id of a thread is not taken for that of its process."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    result = nicefutures(*command, thread.native_id)
    over.set()
    thread.join()
    assert f"no process with PID {thread.native_id}" in result.stderr
    assert result.returncode == 2


@pytest.mark.every_python
def test_help():
    """--help and --version work; without arguments the help is shown, and the help of each command has an example."""
    result = nicefutures()
    assert (result.stdout, result.returncode) == (nicefutures("--help").stdout, 0)
    assert "run|set|show|pause|resume|doctor" in result.stdout
    for command in ("run", "set", "show", "pause", "resume", "doctor"):
        assert f"\n  nicefutures {command} " in nicefutures(command, "--help").stdout
    assert nicefutures("--version").stdout.startswith("nicefutures ")


@pytest.fixture
def sleepers():
    """Start two other processes."""
    started = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    yield started
    for process in started:
        process.communicate()


def test_set_and_show(sleepers):
    """`set` sets several processes; `show` shows them, as a table and as JSON."""
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
    """If one process id is wrong, the other processes are still set or shown."""
    pid = sleepers[0].pid
    result = nicefutures("set", "-p", "idle", 2**31 - 1, pid)
    assert result.returncode == 2
    assert set(ask_threads(pid)) == {PROCESS[ProcessPriority.IDLE]}
    result = nicefutures("show", "--json", 2**31 - 1, pid)
    assert result.returncode == 2
    assert [row["pid"] for row in json.loads(result.stdout)] == [pid]
    assert result.stderr.count("\n") == 1


@linux_only
def test_show_threads():
    """`show` counts the threads of each level, and shows policy, nice value and I/O class."""
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
        "ppid": os.getpid(),
        "level": "normal",
        "threads": {"idle": 1, "normal": 1},
        "policy": "SCHED_OTHER",
        "nice": 0,
        "priority_class": None,
        "io_class": "none",
        "state": None,
        "paused_by": None,
    }


@linux_only
@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        (b"n\xc3\xafce", "n\u00efce", r"n\xefce"),
        (b"a\x1b[31m\nb", "a\x1b[31m\nb", r"a\x1b[31m\nb"),
        (b"a\xe2\x80\xaeb", "a\u202eb", r"a\u202eb"),
        (b"a\xffb", r"a\udcffb", r"a\udcffb"),
    ],
    ids=["no ASCII", "colour and newline", "from right to left", "no UTF-8"],
)
def test_show_any_name(name, text, shown):
    """A process with any name has one printable line in the table, and the JSON is ASCII."""
    code = f"open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); input()"
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C", "TERM": "dumb", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        table = nicefutures("show", process.pid, env=ascii_only)
        document = nicefutures("show", "--json", process.pid, env=ascii_only)
        process.communicate(b"\n")
    header, row = table.stdout.splitlines()
    assert row.split()[1] == shown
    assert (header + row).isprintable()
    assert document.stdout.isascii()
    assert json.loads(document.stdout)[0]["name"] == text
    assert table.stderr == document.stderr == ""


@linux_only
def test_show_and_set_zombie():
    """`show` shows a process whose exit status its parent has not read as a zombie; for `set` it is an error."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    result = nicefutures("show", "--json", process.pid)
    (row,) = json.loads(result.stdout)
    assert (row["state"], row["level"], row["threads"]) == ("zombie", None, None)
    assert (result.stderr, result.returncode) == ("", 0)
    for meaning in ("--priority", "--at-most"):
        result = nicefutures("set", meaning, "idle", process.pid)
        assert "has ended, and its parent" in result.stderr
        assert (result.stderr.count("\n"), result.returncode) == (1, 2)
    with pytest.raises(ProcessLookupError, match="zombie"):
        get_process_priority(process.pid)
    process.wait()


@linux_only
def test_show_and_set_without_main_thread():
    """If the main thread has ended before the others, those are set and shown, without an error."""
    code = (
        "import ctypes, os, threading\n"
        "def live():\n"
        "    while open(f'/proc/{os.getpid()}/stat').read().rpartition(')')[2].split()[0] != 'Z': pass\n"
        "    print(threading.get_native_id(), flush=True); input(); os._exit(0)\n"
        "threading.Thread(target=live).start(); ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        tid = int(process.stdout.readline())
        result = nicefutures("set", "-p", "idle", process.pid)
        policy = os.sched_getscheduler(tid)
        (row,) = json.loads(nicefutures("show", "--json", process.pid).stdout)
        process.communicate(b"\n")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert policy == os.SCHED_IDLE
    assert (row["state"], row["level"], row["threads"]) == ("main thread ended", "idle", {"idle": 1})


@linux_only
def test_show_and_set_hidden(sleepers):
    """Of another user's process that /proc hides, `show` shows the known values; setting it is an error."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("not allowed to mount")
    script = 'mount -t proc -o hidepid=2 none /proc && exec "$@"'
    hidden = ["unshare", "--mount", "sh", "-c", script, "sh", *unprivileged()]
    result = nicefutures("show", "--json", sleepers[0].pid, command=hidden)
    if "unshare" in result.stderr or "mount:" in result.stderr:
        pytest.skip("not allowed to mount")
    (row,) = json.loads(result.stdout)
    assert (row["level"], row["threads"], row["state"]) == ("normal", None, "threads unknown")
    result = nicefutures("set", "-p", "idle", sleepers[0].pid, command=hidden)
    assert "belongs to another user, and /proc hides its threads" in result.stderr
    assert (result.stderr.count("\n"), result.returncode) == (1, 2)


# --- at most


@pytest.mark.parametrize(
    ("before", "at_most", "after"),
    [
        ("normal", "below_normal", "below_normal"),
        ("idle", "below_normal", "idle"),
        ("below_normal", "normal", "below_normal"),
        ("normal", "high", "normal"),
    ],
)
def test_set_at_most(sleepers, before, at_most, after):
    """`set --at-most` lowers a process above the level, and does not change any other."""
    pid = sleepers[0].pid
    nicefutures("set", "-p", before, pid)
    result = nicefutures("set", "--at-most", at_most, pid)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert set(ask_threads(pid)) == {PROCESS[ProcessPriority[after.upper()]]}


@linux_only
def test_set_at_most_threads():
    """On Linux each thread is checked separately, and a thread that is low already needs no privilege."""
    code = (
        "import os, threading; e = threading.Event()\n"
        "def low(): os.setpriority(os.PRIO_PROCESS, 0, 15); print('ready', flush=True); e.wait()\n"
        "threading.Thread(target=low).start(); input(); e.set()"
    )
    command = [*unprivileged(), sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        result = nicefutures("set", "--at-most", "below_normal", process.pid, command=unprivileged())
        levels = ask_threads(process.pid)
        process.communicate(b"\n")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert sorted(levels) == [("SCHED_BATCH", 10, "BE"), ("SCHED_OTHER", 15, "NONE")]


# --- trees


@pytest.fixture
def family():
    """Start a process, its child and its grandchild; return their ids."""
    tell = "import os, subprocess, sys; print(os.getpid(), flush=True); "
    code = tell + "input()"
    for _ in range(2):
        code = f"{tell}subprocess.run([sys.executable, '-c', {code!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield [int(process.stdout.readline()) for _ in range(3)]
    process.communicate("\n")


def test_tree(family):
    """With --tree, `set` sets a process and its descendants, and `show` shows them as a tree."""
    result = nicefutures("set", "--tree", "-p", "below_normal", family[0])
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    for pid in family:
        assert set(ask_threads(pid)) == {PROCESS[ProcessPriority.BELOW_NORMAL]}
    result = nicefutures("set", "--tree", "--at-most", "idle", family[1])
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    rows = json.loads(nicefutures("show", "--tree", "--json", family[0]).stdout)
    assert [(row["pid"], row["ppid"]) for row in rows] == list(zip(family, [os.getpid(), *family], strict=False))
    assert [row["level"] for row in rows] == ["below_normal", "idle", "idle"]
    header, *table = nicefutures("show", "--tree", family[0]).stdout.splitlines()
    name = header.index("NAME")
    assert [len(line[name:]) - len(line[name:].lstrip()) for line in table] == [0, 2, 4]


def test_tree_that_grows():
    """A process that starts while the others are being set is set, too."""
    tree, children = levels.growing_tree(os.getpid()), []
    assert next(tree) == os.getpid()
    for _ in range(2):
        children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        found = next(tree)
        while found != children[-1].pid:  # another child of the tests
            found = next(tree)
    for child in children:
        child.communicate()


@posix_only
def test_tree_that_ends():
    """A descendant that has ended does not cause an error."""
    code = (
        "import os, subprocess; child = subprocess.Popen(['true'])\n"
        "os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT); print(flush=True); input(); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        for command in (["set", "-p", "idle"], ["show"]):
            result = nicefutures(*command, "--tree", process.pid)
            assert (result.stderr, result.returncode) == ("", 0)
        process.communicate(b"\n")


# --- where the output goes

BAD, FULL = "nicefutures: write error: Bad file descriptor\n", "nicefutures: write error: No space left on device\n"


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("line", "stderr", "status"),
    [
        ("show >&-", BAD, 2),
        ("show --json >&-", BAD, 2),
        ("--version >&-", BAD, 2),
        ("show --help >&-", BAD, 2),
        ("show >/dev/full", FULL, 2),
        ("--help >/dev/full", FULL, 2),
        ("run --help >&-", BAD, 125),
        ("show >&- 2>&- <&-", "", 2),
        ("show 2>&- >/dev/null", "", 0),
        ("show 2147483647 2>&-", "", 2),
        ("show 2147483647 2>/dev/full", "", 2),
        ("stop 2>&-", "", 2),
        ("stop 2>/dev/full", "", 2),
        ("set -p normal $$ >&-", "", 0),
    ],
)
def test_no_output(line, stderr, status, unbuffered):
    """If output cannot be written, there is one line on stderr, if that is open, and exit status 2, or 125 of `run`."""
    if "/dev/full" in line and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    result = subprocess.run(
        ["sh", "-c", f'"$0" -m nicefutures {line}', sys.executable],
        capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert (result.stdout, result.stderr, result.returncode) == ("", stderr, status)


@pytest.mark.every_python
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", [["show"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_nobody_reads(command, unbuffered):
    """If the reader of the output has gone, there is no message; the exit status is that after SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "nicefutures", *command],
        stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    os.close(writer)
    assert (result.stderr, result.returncode) == (b"", 141)


@posix_only
def test_unprivileged():
    """Without the privilege, `set` does not set the process of another user."""
    if os.geteuid() == 0:
        result = nicefutures("set", "-p", "idle", os.getpid(), command=unprivileged())
        assert result.returncode == 2
        assert "another user" in result.stderr
