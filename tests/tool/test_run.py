"""``nicefutures run``, tested with real processes."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from asking import LINUX, MACOS, PROCESS, WINDOWS, ask_threads
from marks import linux_only, needs_privilege, posix_only, windows_only
from nicefutures import ProcessPriority
from nicefutures._blas import VARIABLES
from patience import PATIENCE, wait_until
from programs import unprivileged

RUN = [sys.executable, "-m", "nicefutures", "run"]
SHOW = [sys.executable, "-m", "nicefutures", "show", "--json"]


def run(*arguments, stdin="", command=(), **options):
    return subprocess.run(
        [*command, *RUN, *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def script(tmp_path):
    """Return a script that prints its arguments, its input and its level, and ends with status 3."""
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom nicefutures import get_process_priority\n"
        "print(sys.argv[1:], sys.stdin.read(), get_process_priority().name)\n"
        "print('error', file=sys.stderr)\nsys.exit(3)\n"
    )
    return path


# --- scripts, modules and commands


def test_script(script):
    """A script gets its arguments and options, its input and its level; its output and exit status are passed on."""
    result = run(script, "-p", "--json", "--", "-m", stdin="in")
    assert result.stdout == "['-p', '--json', '--', '-m'] in IDLE\n"
    assert result.stderr == "error\n"
    assert result.returncode == 3


@pytest.mark.parametrize("option", [["-p", "below_normal"], ["-pbelow_normal"], ["--priority=Below_Normal"]])
def test_level(script, option):
    """-p sets the level."""
    assert "BELOW_NORMAL" in run(*option, script).stdout


@pytest.mark.parametrize("module", [["-m", "json.tool"], ["-mjson.tool"]])
def test_module(module):
    """-m runs a module."""
    result = run(*module, "--compact", stdin='{"a": 1}')
    assert (result.stdout.strip(), result.returncode) == ('{"a":1}', 0)


@pytest.mark.parametrize("level", [level for level in ProcessPriority if level <= ProcessPriority.NORMAL])
def test_command(level):
    """A command after `--` runs at the given level."""
    (shown,) = json.loads(run("-p", level.name, "--", *SHOW).stdout)
    assert shown["level"] == level.name.lower()
    assert set(shown["threads"].values()) == {sum(shown["threads"].values())} or WINDOWS


@needs_privilege
@pytest.mark.parametrize("level", ["above_normal", "high", "realtime"])
def test_raised(level):
    """With the privilege, a higher level can be set, too."""
    (shown,) = json.loads(run("-p", level, "--", *SHOW).stdout)
    assert shown["level"] == level


@pytest.mark.every_python
@pytest.mark.parametrize("level", ["idle", "below_normal"])
def test_all_of_a_level(level):
    """The program has the settings of a worker at that level, including those of I/O."""
    process = subprocess.Popen(
        [*RUN, "-p", level, "--", sys.executable, "-c", "import os; print(os.getpid(), flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = int(process.stdout.readline())
    assert set(ask_threads(pid)) == {PROCESS[ProcessPriority[level.upper()]]}
    if LINUX:  # if memory runs out, the kernel kills it first
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= {"idle": 1000, "below_normal": 800}[level]
    process.communicate("\n")


PYTHON_TEXT = "import sys; print('python', sys.argv[1:])\n"
SHELL_TEXT = "echo shell $*\n"


@posix_only
@pytest.mark.parametrize("content", [b"#!/home/pythonista/bash\necho ran\n", b"\x7fELF\0\0"])
def test_not_for_python(tmp_path, content):
    """A file that may not be executed and is not a Python file is not passed to Python."""
    (tmp_path / "a").write_bytes(content)
    result = run("./a", cwd=tmp_path)
    assert (result.stdout, result.stderr, result.returncode) == (
        "",
        "nicefutures: run: cannot run './a': Permission denied\n",
        126,
    )


@posix_only
@pytest.mark.parametrize(
    ("name", "text", "executable", "who"),
    [
        ("a.py", PYTHON_TEXT, False, "python"),
        ("a.py", "#!/bin/sh\n" + PYTHON_TEXT, True, "python"),
        ("a.PYW", PYTHON_TEXT, True, "python"),
        ("a", PYTHON_TEXT, False, "python"),
        ("a", "#!/usr/bin/env python3\n" + PYTHON_TEXT, True, "python"),
        ("a", SHELL_TEXT, True, "shell"),
        ("a.sh", "#!/bin/sh\n" + SHELL_TEXT, True, "shell"),
        ("a.sh", "#! /usr/bin/env bash\n" + SHELL_TEXT, True, "shell"),
        ("python", "#!/bin/sh -e\n" + SHELL_TEXT, True, "shell"),
        ("a", "#!/usr/bin/env -i python3 -E\n" + PYTHON_TEXT, False, "python"),
    ],
)
@pytest.mark.parametrize("folder", ["", "./"])
def test_file(tmp_path, name, text, executable, who, folder):
    """Without `--`, an executable file is a command unless it ends in .py or .pyw or names Python in its first line."""
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755 if executable else 0o644)
    result = run(folder + name, "x", cwd=tmp_path)
    assert result.stdout == {"python": "python ['x']\n", "shell": "shell x\n"}[who]
    assert (result.stderr, result.returncode) == ("", 0)


@posix_only
def test_binary():
    """Without `--`, a binary is a command."""
    assert run(shutil.which("echo"), "hi").stdout == "hi\n"


@pytest.mark.parametrize("name", ["folder", "program.pyz", "program"])
def test_archive(tmp_path, name):
    """Python runs a folder or a zip file with a `__main__`, even if the file is executable."""
    if name == "folder":
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(PYTHON_TEXT)
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("__main__.py", PYTHON_TEXT)
        (tmp_path / name).chmod(0o755)
    assert run(tmp_path / name, "x").stdout == "python ['x']\n"


@posix_only
def test_pipe_as_script():
    """A script can come through a pipe, which only Python reads."""
    line = f"{shlex.join(RUN)} <(echo 'print(42)')"
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout == "42\n"


# --- as nice(1) and env(1)

LINES = [
    "{} true",
    "{} false",
    "{} sh -c 'exit 42'",
    "{} sh -c 'exit 125'",
    "{} echo a 'b c' '' '*' -p --",
    "{} sh -c 'echo $0 $#' a b",
    "{} sh -c 'echo out; echo err >&2'",
    "printf in | {} cat",
    "echo 'echo $1' | {} sh -s a",
    "{} cat <&-",
    "{} printf '%s' $'\\xff\\xc3\\xa9'",
    "{} pwd",
    "{} sh -c 'ulimit -n; umask'",
    "{} sh -c 'echo x >&3' 3>&1",
    "{} ./shebang x y",
    "{} ./no-shebang x y",
    "PATH=.:$PATH {} no-shebang x",
    "PATH= {} ./no-shebang x",
    "PATH=/nowhere:./no-shebang {} true",
    "{} ./no-interpreter",
    "{} ./not-executable",
    "{} ./not-executable/x",
    "{} .",
    "{} no-such-command",
    "{} ./no-such-file",
    "{} ''",
    "{} sh -c 'kill -TERM $$'",
    "{} sh -c 'kill -KILL $$'",
    "{} sh -c 'kill -INT $$'",
    "ulimit -c 0; {} sh -c 'kill -SEGV $$'",
    "{} yes | head -n 1; echo ${{PIPESTATUS[0]}}",
    "(trap '' INT; {} sh -c 'kill -INT $$; echo survived')",
    "env -i PATH=$PATH PYTHONPATH=$PYTHONPATH {} env | grep -v ^_=",
    "env -i PATH=$PATH PYTHONPATH=$PYTHONPATH LANG=C {} env | grep -v ^_=",
    "env -i PATH=$PATH PYTHONPATH=$PYTHONPATH LC_CTYPE=POSIX {} env | grep -v ^_=",
    "env -i PATH=$PATH PYTHONPATH=$PYTHONPATH LC_CTYPE=C.UTF-8 {} env | grep -v ^_=",
    "env -i PATH=$PATH PYTHONPATH=$PYTHONPATH LC_ALL=C {} env | grep -v ^_=",
]
if LINUX:
    LINES += [
        "{} grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status",
        "{} sh -c 'ls /proc/$$/fd'",
        "{} sh -c 'cat /proc/$$/limits'",
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with files, some of which cannot be run."""
    folder = tmp_path_factory.mktemp("files")
    for name, text, mode in [
        ("shebang", "#!/bin/sh\necho shebang $0 $*\n", 0o755),
        ("no-shebang", "echo plain $0 $*\n", 0o755),
        ("no-interpreter", "#!/no/such/interpreter\n", 0o755),
        ("not-executable", "#!/bin/sh\n", 0o644),
    ]:
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    return folder


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize("line", LINES)
def test_as_nice(files, line):
    """A command line has the same output, exit status and signal under nice, env and `nicefutures run`."""
    nice, env = shutil.which("nice"), shutil.which("env")
    if nice is None or env is None:
        pytest.skip("needs nice and env")
    ways = {"nice": f"{nice} -n 19", "env": env, "run": f"{shlex.join(RUN)} --"}
    found = {}
    for way, prefix in ways.items():
        shell = ["bash", "-c", line.format(prefix)]
        result = subprocess.run(shell, cwd=files, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        # Each has its own message about a command that cannot be run.
        said = bool(result.stderr) if result.returncode in (126, 127) else result.stderr
        found[way] = (result.stdout, said, result.returncode)
    assert found["run"] == found["nice"] == found["env"]


@posix_only
def test_becomes_the_program():
    """The program replaces `nicefutures run`, so that signals to this process id reach the program."""
    process = subprocess.Popen(
        [*RUN, "--", sys.executable, "-c", "import os; print(os.getpid()); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    process.stdout.close()
    process.stdin.close()


@posix_only
@pytest.mark.every_python
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        *(
            (module, ["run", "--", "echo", "ran"])
            for module in ("_tool.cli", "_tool.run", "_system", "_system.posix.command")
        ),
        *((module, ["show"]) for module in ("_tool.cli", "_system")),
    ],
)
def test_interrupted_start(module, arguments):
    """Ctrl-C while `nicefutures` starts ends it by SIGINT, without a message."""
    code = (
        "import os, signal, sys\n"
        "from nicefutures.__main__ import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'nicefutures.{module}': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"sys.argv[1:] = {arguments}\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", -signal.SIGINT)


# --- on Windows


@windows_only
def test_crash():
    """The exit status of a crash, which has its highest bit set, is passed on unchanged."""
    command = [sys.executable, "-c", "import os; os._exit(0xC0000005 - 2**32)"]
    assert run("--", *command).returncode == 0xC0000005


@windows_only
def test_ends_with_its_wrapper():
    """If `nicefutures run` is killed, the program and its children end."""
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "import os; print(os.getpid(), child.pid, flush=True); input()"
    )
    process = subprocess.Popen(
        [*RUN, "--", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pids = list(map(int, process.stdout.readline().split()))
    process.kill()
    process.communicate()
    assert wait_until(lambda: not any(map(psutil.pid_exists, pids)))


@windows_only
def test_leaves_what_the_program_leaves():
    """A child that the program leaves behind is not killed, as on other systems."""
    code = (
        "import subprocess as s, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print(s.Popen(sleep, stdin=s.DEVNULL, stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    )
    child = psutil.Process(int(run("--", sys.executable, "-c", code).stdout))
    assert child.is_running()
    child.kill()
    child.wait(PATIENCE)


@windows_only
def test_program_file(tmp_path):
    """Without `--`, a batch file is a command."""
    (tmp_path / "a.bat").write_text("@echo batch %1\n")
    assert run(tmp_path / "a.bat", "x").stdout.strip() == "batch x"


# --- options of the pools

SAY_LIMIT = (
    "try: b = bytearray(10**9); print('allocated')\n"
    "except MemoryError: print('MemoryError')\n"
)  # fmt: skip


@pytest.mark.parametrize("size", ["500 MB", "500000000"])
def test_memory_limit(size):
    """With --memory-limit, allocating more fails; where no limit can be set, the program is not run."""
    result = run("--memory-limit", size, "--", sys.executable, "-c", SAY_LIMIT)
    if MACOS or (WINDOWS and result.returncode):  # as under Wine, which accepts a limit and sets none
        assert (result.stdout, result.returncode) == ("", 125)
        assert "could not set --memory-limit" in result.stderr
    else:
        assert (result.stdout, result.stderr, result.returncode) == ("MemoryError\n", "", 0)
        assert run("--", sys.executable, "-c", SAY_LIMIT).stdout == "allocated\n"


@linux_only
def test_memory_limit_of_each_process():
    """--memory-limit applies to each process of the program; a stricter limit of the shell remains."""
    line = f"ulimit -d 400000; {shlex.join(RUN)} --memory-limit '1 GiB' -- sh -c 'ulimit -d; sh -c \"ulimit -d\"'"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE)
    assert result.stdout.split() == ["400000", "400000"]
    assert run("--memory-limit", 0.5, "--", "sh", "-c", "ulimit -d").stdout.strip().isdecimal()


def test_blas_threads():
    """--blas-threads sets the variables that BLAS and OpenMP libraries read, as the pools do."""
    code = f"import os; print([os.environ.get(variable) for variable in {VARIABLES}])"
    assert run("--blas-threads", 3, "--", sys.executable, "-c", code).stdout.strip() == str(["3"] * len(VARIABLES))


def test_efficiency():
    """--efficiency can be set, or the program is not run and one line says why."""
    result = run("--efficiency", "--", sys.executable, "-c", "print('ran')")
    said = result.stderr.splitlines()
    assert (result.stdout, len(said), result.returncode) in [("ran\n", 0, 0), ("", 1, 125)]


def test_isolate():
    """--isolate needs a group that disappears with the program; if there is none, the program is not run."""
    result = run("--isolate", "--", sys.executable, "-c", "print('ran')")
    said = result.stderr.splitlines()
    assert (result.stdout, len(said), result.returncode) in [("ran\n", 0, 0), ("", LINUX, 125)]
    assert all("isolate" in line for line in said)


# --- errors

PROGRAM = os.path.join(os.path.dirname(__file__), "..", "asking.py")


@pytest.mark.every_python
@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["missing.py"], "nicefutures run -- missing.py", 127),
        (["--", "no-such-command"], "cannot run 'no-such-command'", 127),
        (["--", ""], "cannot run ''", 127),
        ([], "give a script", 125),
        (["--"], "give a script", 125),
        (["-m"], "give a script", 125),
        (["-p"], "-p", 125),
        (["-p", "lazy", PROGRAM], "'idle', 'below_normal'", 125),
        (["--what", PROGRAM], "--what", 125),
        (["--prio", "idle", PROGRAM], "--prio", 125),
        (["--memory-limit", "much", PROGRAM], "'much'", 125),
        (["--memory-limit", "1 kB", PROGRAM], "'1 kB'", 125),
        (["--blas-threads", "many", PROGRAM], "'many'", 125),
        (["--blas-threads=0", PROGRAM], "between 1 and", 125),
        (["--pause-when", "on_battery,lazy", PROGRAM], "'lazy': use one or more of user_active,", 125),
        (["--pause-when=", PROGRAM], "''", 125),
        (["--pause-when=on_battery", "--idle-after=0", PROGRAM], "'0'", 125),
        (["--pause-when=on_battery", "--idle-after=nan", PROGRAM], "'nan'", 125),
        (["--pause-when=on_battery", "--idle-after=soon", PROGRAM], "'soon'", 125),
        (["--idle-after=60", PROGRAM], "--pause-when", 125),
    ],
)
def test_refused(arguments, message, status, monkeypatch):
    """An error is one line on standard error, with an exit status that programs seldom use."""
    # As for a shell, a folder of PATH that may not be searched makes an unknown command a refused one.
    folders = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(each for each in folders if os.access(each, os.X_OK)))
    result = run(*arguments)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == status


@posix_only
def test_unprivileged():
    """Without the privilege, a higher level is refused, and the program is not run."""
    result = run("-p", "high", "--", "echo", "ran", command=unprivileged())
    assert (result.stdout, result.returncode) == ("", 125)
    assert "root" in result.stderr
    assert result.stderr.count("\n") == 1


def test_help():
    """--help names the options."""
    result = run("--help")
    assert result.returncode == 0
    assert set(re.findall(r"--[a-z-]+", result.stdout)) >= {
        "--priority", "--memory-limit", "--blas-threads", "--pause-when", "--idle-after",
    }  # fmt: skip
