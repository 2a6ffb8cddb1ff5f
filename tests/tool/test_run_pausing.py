"""``nicefutures run --pause-when``, tested with real processes and terminals. The machine's battery is a fake."""

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest

from asking import LINUX
from marks import linux_only, posix_only, windows_only
from patience import PATIENCE, wait_until
from programs import environment

# The command line, on a machine that runs on its battery while the file ON_BATTERY exists.
TOOL = """
import os, sys
from nicefutures._system import backend
backend.activity.open_battery = lambda: lambda: os.path.exists(os.environ["ON_BATTERY"])
from nicefutures.__main__ import main
sys.exit(main())
"""
# Starts a child, and writes the signals that it gets to a file; ends when a second file exists.
PROGRAM = """
import os, signal, subprocess, sys, time
path = sys.argv[1]
def tell(text):
    with open(path, "a") as file: file.write(f"{text}\\n")
child = subprocess.Popen([sys.executable, "-c", "import time\\nwhile True: time.sleep(0.01)"])
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), lambda number, _: tell(signal.Signals(number).name))
tell(f"{os.getpid()} {child.pid}")
while not os.path.exists(path + ".end"):
    time.sleep(0.01)
    with open(path + ".beats", "w") as file: file.write(str(time.time()))
child.kill()
child.wait()
tell("end")
sys.exit(7)
"""


class Run:
    """A program under ``nicefutures run --pause-when on_battery``."""

    def __init__(self, folder):
        names = "battery", "told", "told.end", "told.beats"
        self.battery, self.told, self.end, self.beats = (folder / name for name in names)
        self.tool = folder / "nicefutures"
        self.tool.write_text(TOOL)
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.environment = environment(ON_BATTERY=str(self.battery))
        self.process = None
        self.pids = []

    def command(self, *signals):
        options = ["run", "--pause-when", "on_battery", "--idle-after", "0.01"]
        return list(map(str, [sys.executable, self.tool, *options, self.program, self.told, *signals]))

    def start(self, *signals, **options):
        self.process = subprocess.Popen(self.command(*signals), env=self.environment, **options)
        return self.wait()

    def wait(self):
        wait_until(lambda: self.beats.exists() and "\n" in self.told.read_text())
        self.pids = [int(pid) for pid in self.told.read_text().splitlines()[0].split()]
        return self

    def lines(self):
        return self.told.read_text().splitlines()[1:]

    def are_still(self):
        return all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in self.pids)

    def pause(self):
        self.battery.touch()
        wait_until(self.are_still)

    def resume(self):
        self.battery.unlink()
        wait_until(self.are_running)

    def are_running(self):
        return not any(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in self.pids)

    def does_nothing(self):
        """Return whether the program makes no progress for 0.5 s, because Wine does not report suspended processes."""
        before = self.beats.read_text()
        time.sleep(0.5)
        return before == self.beats.read_text()

    def are_gone(self):
        return not any(map(is_alive, self.pids))

    def finish(self):
        self.end.touch()
        assert self.process.wait(PATIENCE) == 7
        wait_until(self.are_gone)
        assert self.lines()[-1] == "end"


def is_alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def run(tmp_path):
    """Return a program that is killed after the test."""
    run = Run(tmp_path)
    yield run
    for pid in (*run.pids, *([run.process.pid] if run.process else [])):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    if run.process:
        run.process.wait(PATIENCE)


@posix_only
@pytest.mark.every_python
def test_pauses_and_resumes(run):
    """The program and its child are stopped while the condition is met, and `show` shows that with the reason."""
    run.start()
    assert run.are_running()
    for _ in range(2):
        run.pause()
        command = [sys.executable, "-m", "nicefutures", "show", "--json", *map(str, run.pids)]
        rows = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert {(row["state"], row["level"]) for row in rows} == {("stopped", "idle")}
        assert {row["paused_by"] for row in rows} == {f"nicefutures run (PID {run.process.pid}): on_battery"}
        run.resume()
    run.finish()


@posix_only
def test_continued_from_outside(run):
    """If another process continues the program, it is stopped again."""
    run.start()
    run.pause()
    for _ in range(5):
        os.kill(run.pids[0], signal.SIGCONT)
        wait_until(run.are_still)
    run.resume()
    run.finish()


@posix_only
@pytest.mark.parametrize("is_paused", [False, True])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_signals(run, name, is_paused):
    """A signal to nicefutures reaches the program once, and a paused program runs until the condition is met again."""
    run.start(name)
    if is_paused:
        run.pause()
    run.process.send_signal(getattr(signal, name))
    wait_until(lambda: run.lines() == [name])
    if is_paused:
        assert run.are_running()
        run.battery.unlink()
    run.finish()
    assert run.lines() == [name, "end"]


@posix_only
@pytest.mark.parametrize("is_paused", [False, True])
def test_ended_by_a_signal(run, is_paused):
    """If a signal ends the program, it ends nicefutures, too, so that the shell sees it; no process stays stopped."""
    run.start()
    if is_paused:
        run.pause()
    run.process.terminate()
    assert run.process.wait(PATIENCE) == -signal.SIGTERM
    wait_until(lambda: psutil.Process(run.pids[1]).status() != psutil.STATUS_STOPPED)


@linux_only
@pytest.mark.every_python
@pytest.mark.parametrize("is_paused", [False, True])
def test_killed(run, is_paused):
    """If nicefutures is killed, so is the program, as without the option; its child survives and is not stopped."""
    run.start()
    if is_paused:
        run.pause()
    run.process.kill()
    run.process.wait(PATIENCE)
    wait_until(lambda: not is_alive(run.pids[0]))
    wait_until(lambda: psutil.Process(run.pids[1]).status() != psutil.STATUS_STOPPED)


LINES = [
    "{} sh -c 'exit 42'",
    "{} sh -c 'kill -TERM $$'",
    "{} sh -c 'kill -KILL $$'",
    "{} sh -c 'kill -INT $$'",
    "ulimit -c 0; {} sh -c 'kill -SEGV $$'",
    "{} no-such-command",
    "{} ''",
    "{} cat <&-",
    "echo in | {} cat",
    "{} yes | head -n 1; echo ${{PIPESTATUS[0]}}",
    "(trap '' INT; {} sh -c 'kill -INT $$; echo survived')",
    "(trap '' CHLD HUP; {} sh -c 'exit 3')",
]
if LINUX:
    LINES += [
        "{} grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status",
        "(trap '' CHLD HUP; {} grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status)",
        "{} sh -c 'ls /proc/$$/fd'",
    ]


@posix_only
@pytest.mark.parametrize("line", LINES)
def test_as_without(run, line):
    """Output, exit status and signal are the same as without the option."""
    found = []
    for option in "", "--pause-when on_battery":
        prefix = f"{shlex.join([sys.executable, str(run.tool)])} run {option} --"
        shell = ["bash", "-c", line.format(prefix)]
        result = subprocess.run(
            shell, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=run.environment
        )
        found.append((result.stdout, result.stderr, result.returncode))
    assert found[0] == found[1]


# --- at a terminal


class Terminal:
    """A shell with job control on its own terminal."""

    def __init__(self, environment):
        import pty

        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**environment, "PS1": "$ ", "TERM": "dumb"})
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, text):
        """Wait until the terminal shows `text`, after the text of the previous call."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 4096).decode()
        self.seen = self.seen.partition(text)[2]

    def close(self):
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(run):
    terminal = Terminal(run.environment)
    yield terminal
    terminal.close()


@posix_only
@pytest.mark.parametrize("is_paused", [False, True])
def test_ctrl_c(run, terminal, is_paused):
    """Ctrl-C reaches the program once, also while it is paused."""
    terminal.type(f"{shlex.join(run.command('SIGINT'))}; echo =$?=\n")
    run.wait()
    if is_paused:
        run.pause()
    terminal.type("\x03")
    wait_until(lambda: run.lines() == ["SIGINT"])
    run.end.touch()
    terminal.wait_for("=7=")
    assert run.lines() == ["SIGINT", "end"]


@posix_only
@pytest.mark.parametrize("is_paused", [False, True])
def test_ctrl_c_ends(run, terminal, is_paused):
    """Ctrl-C ends a program that does not handle it, and the shell sees nicefutures end by SIGINT."""
    terminal.type(f"{shlex.join(run.command())}\n")
    run.wait()
    if is_paused:
        run.pause()
    terminal.type("\x03")
    wait_until(run.are_gone)
    terminal.type("echo =$?=\n")
    terminal.wait_for("=130=")


@posix_only
def test_ctrl_z_and_fg(run, terminal):
    """Ctrl-Z stops the job, which the shell reports, and `fg` continues it."""
    terminal.type(f"{shlex.join(run.command())}\n")
    run.wait()
    for _ in range(3):
        terminal.type("\x1a")
        terminal.wait_for("Stopped")
        wait_until(run.are_still)
        terminal.type("fg\n")
        wait_until(run.are_running)
    run.end.touch()
    terminal.wait_for("$ ")
    terminal.type("echo =$?=\n")
    terminal.wait_for("=7=")


@posix_only
def test_ctrl_z_while_paused(run, terminal):
    """Ctrl-Z stops the job of a paused program; it continues when the condition ends, not at `fg`."""
    terminal.type(f"{shlex.join(run.command())}\n")
    run.wait()
    run.pause()
    nicefutures = psutil.Process(run.pids[0]).parent()
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    assert run.are_still()
    terminal.type("fg\n")
    wait_until(lambda: nicefutures.status() != psutil.STATUS_STOPPED)
    wait_until(run.are_still)
    run.resume()
    run.end.touch()
    terminal.wait_for("$ ")
    terminal.type("echo =$?=\n")
    terminal.wait_for("=7=")


@posix_only
def test_ignores_ctrl_z(run, terminal):
    """If a program handles Ctrl-Z and continues, the shell does not see a stopped job."""
    terminal.type(f"{shlex.join(run.command('SIGTSTP'))}; echo =$?=\n")
    run.wait()
    terminal.type("\x1a")
    wait_until(lambda: run.lines() == ["SIGTSTP"])
    run.end.touch()
    terminal.wait_for("=7=")


@posix_only
def test_window_size(run, terminal):
    """If the window size changes, the program gets SIGWINCH once, from the terminal."""
    import fcntl
    import struct
    import termios

    terminal.type(f"{shlex.join(run.command('SIGWINCH'))}; echo =$?=\n")
    run.wait()
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    wait_until(lambda: run.lines() == ["SIGWINCH"])
    run.end.touch()
    terminal.wait_for("=7=")
    assert run.lines() == ["SIGWINCH", "end"]


@posix_only
def test_terminal_closes(run, terminal):
    """If the window of the terminal is closed, SIGHUP ends the program even while it is paused."""
    terminal.type(f"{shlex.join(run.command())}\n")
    run.wait()
    run.pause()
    os.kill(terminal.pid, signal.SIGHUP)
    wait_until(lambda: not is_alive(run.pids[0]))


# --- conditions


@linux_only
def test_cannot_tell(tmp_path):
    """If a condition cannot be detected, the program is not run, and one line has the reason and a remedy."""
    no_desktop = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE")
    }
    no_desktop |= {
        "XDG_RUNTIME_DIR": str(tmp_path),
        "DBUS_SESSION_BUS_ADDRESS": "",
        "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/",
    }
    command = [sys.executable, "-m", "nicefutures", "run", "--pause-when", "user_active", "--", "echo", "ran"]
    result = subprocess.run(command, capture_output=True, text=True, env=no_desktop)
    assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 125)
    assert "Could not detect the condition 'user_active'" in result.stderr


# --- on Windows


@windows_only
def test_pauses_and_resumes_on_windows(run, tmp_path):
    """The program and its child are suspended while the condition is met, and its exit status is passed on."""
    run.start()
    for _ in range(2):
        run.battery.touch()
        wait_until(run.does_nothing)
        run.battery.unlink()
        wait_until(lambda: not run.does_nothing())
    run.finish()


@windows_only
@pytest.mark.parametrize("is_paused", [False, True])
def test_killed_on_windows(run, is_paused):
    """If nicefutures is killed, the program and its child end, also while they are suspended."""
    run.start()
    if is_paused:
        run.battery.touch()
        wait_until(run.does_nothing)
    run.process.kill()
    wait_until(run.are_gone)
