"""`nicefutures doctor`: its survey of the machine, its verdict on given numbers, and that it leaves nothing behind.

Only a quiet machine can show whether measured numbers are right, so no test here depends on time.
"""

import contextlib
import io
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from asking import LINUX, may_raise
from marks import linux_only, needs_privilege, posix_only, seccomp_only
from nicefutures import PriorityWarning
from nicefutures._arguments import CONDITIONS
from nicefutures._levels import Shortfall
from nicefutures._system import backend
from nicefutures._system.common import CannotTellError
from nicefutures._system.linux import seam as linux_seam
from nicefutures._system.linux import survey as linux_survey
from nicefutures._tool import doctor as _doctor
from nicefutures._tool import measure as _measure
from nicefutures._tool.measure import Measurement
from patience import PATIENCE
from programs import FORBID, run_python, unprivileged

DOCTOR = [sys.executable, "-m", "nicefutures", "doctor"]


def doctor(*arguments, command=()):
    return subprocess.run(
        [*command, *DOCTOR, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# --- the machine


def test_survey():
    """The values that the survey has on every system agree with those of Python."""
    machine = _doctor.survey()
    assert machine["python"] == platform.python_version()
    assert machine["gil"] is getattr(sys, "_is_gil_enabled", lambda: True)()
    assert machine["cpus"] == os.cpu_count()
    assert 0 < machine["usable_cpus"] <= machine["cpus"]
    assert {library["user_api"] for library in machine["blas"]} == {"blas"}


@linux_only
def test_survey_linux():
    """The survey of Linux agrees with the files of the kernel."""
    machine = linux_survey.describe_machine()
    assert machine["kernel"] == os.uname().release
    assert machine["user_id"] == os.geteuid()
    assert machine["cap_sys_nice"] == may_raise
    assert machine["may_set"] == {"SCHED_BATCH": True, "I/O class idle": True, "nice 19": True, "SCHED_IDLE": True}
    autogroup = Path("/proc/sys/kernel/sched_autogroup_enabled")
    assert machine["autogroup"] == (autogroup.read_text() == "1\n" if autogroup.exists() else None)
    for device, scheduler in machine["io_schedulers"].items():
        assert scheduler in Path(f"/sys/block/{device}/queue/scheduler").read_text()
    if machine["cpu_cgroup"] is not None:
        assert f":{machine['cpu_cgroup']['path']}\n" in Path("/proc/self/cgroup").read_text()


_PRINT_SURVEY = (
    "import json; from nicefutures._system import backend; print(json.dumps(backend.survey.describe_machine()))"
)


@linux_only
def test_survey_unprivileged():
    """A user who may only lower priorities may set each of the low ones."""
    machine = json.loads(run_python(_PRINT_SURVEY, command=unprivileged()))
    assert machine["cap_sys_nice"] is False
    assert set(machine["may_set"].values()) == {True}


@linux_only
@pytest.mark.parametrize(("limit", "reported"), [(-10, -10), (0, 0), (19, 19), (20, "none")])
def test_survey_limit(monkeypatch, limit, reported):
    """RLIMIT_NICE is reported as the lowest nice value that it allows, or "none" if no process may raise itself."""
    monkeypatch.setattr(linux_seam.system, "nice_limit", lambda: limit)
    assert linux_survey.describe_machine()["rlimit_nice_down_to"] == reported


@seccomp_only
def test_survey_forbidden():
    """The survey reports which settings a sandbox forbids, and which it allows."""
    machine = json.loads(run_python(f"{FORBID}    forbid(SCHED_SETSCHEDULER)\n    {_PRINT_SURVEY}"))
    assert machine["may_set"] == {"SCHED_BATCH": False, "I/O class idle": True, "nice 19": True, "SCHED_IDLE": False}


def test_survey_unknown(monkeypatch):
    """A value that the system does not report is None, without an error."""

    class Nothing:
        def __getattr__(self, name):
            raise OSError

    monkeypatch.setattr(linux_seam, "system", Nothing())
    monkeypatch.setattr(sys, "executable", "missing")
    machine = linux_survey.describe_machine()
    unknown = {"user_id", "cap_sys_nice", "rlimit_nice_down_to", "may_set", "autogroup", "autogroup_nice"}
    assert {machine[name] for name in unknown} == {None}
    assert _doctor.survey()["blas"] is None


def test_conditions(monkeypatch):
    """Each condition that cannot be detected has a reason and a remedy; no thread is left."""

    def cannot_tell():
        raise CannotTellError("it has no battery gauge", "Ask it for one")

    threads = threading.enumerate()
    monkeypatch.setattr(backend.activity, "open_battery", cannot_tell)
    monkeypatch.setattr(backend.activity, "open_memory", lambda: lambda: True)
    found = {each["condition"]: each for each in _doctor.survey_conditions()}
    assert tuple(found) == CONDITIONS
    assert found["on_battery"] == {
        "condition": "on_battery",
        "detected": False,
        "reason": "it has no battery gauge",
        "remedy": "Ask it for one",
    }
    assert found["memory_low"] == {"condition": "memory_low", "detected": True, "reason": None, "remedy": None}
    assert threading.enumerate() == threads


# --- the verdict


def numbers(session, alone, stdlib, low, isolated=None):
    """Return the measurements of one session, made from the frames per second."""
    speeds = {"nothing": alone, "stdlib": stdlib, "low": low, "isolated": isolated}
    return [
        Measurement(session, pool, speed, speed / max(alone, 1), 1.0, round(2000 / max(speed, 1), 1))
        for pool, speed in speeds.items()
        if speed is not None
    ]


SAME_WORKS = numbers("same", 1000, 300, 990)


@pytest.mark.parametrize(
    ("measurements", "outcomes", "works", "words"),
    [
        (
            SAME_WORKS,
            ["works"],
            True,
            ["works for programs in the same session: they keep 99% of their speed instead of 30%", "2.0 ms"],
        ),
        (numbers("same", 1000, 300, 651), ["works"], True, ["65% of their speed instead of 30%"]),
        (
            numbers("same", 1000, 300, 640),
            ["no effect"],
            False,
            ["has no effect for programs in the same session", "sched_setscheduler"],
        ),
        (numbers("same", 1000, 0, 0), ["no effect"], False, ["0% of their speed instead of 0%"]),
        (
            numbers("same", 1000, 910, 900),
            ["nothing to win"],
            True,
            ["not needed for programs in the same session", "91%"],
        ),
        (numbers("same", 0, 0, 0), ["no effect"], False, []),
        (
            SAME_WORKS + numbers("other", 1000, 600, 610),
            ["works", "no effect"],
            False,
            ["has no effect for programs in other sessions", "Use isolate=True."],
        ),
        (
            SAME_WORKS + numbers("other", 1000, 600, 610, 950),
            ["works", "no effect", "works"],
            True,
            ["Use isolate=True.", "with isolate=True works for programs in other sessions", "95% of their speed"],
        ),
        (
            SAME_WORKS + numbers("other", 1000, 600, 610, 590),
            ["works", "no effect", "no effect"],
            False,
            ["with isolate=True has no effect for programs in other sessions", "cpu.weight"],
        ),
        (
            numbers("same", 1000, 300, 310) + numbers("other", 1000, 600, 610, 590),
            ["no effect", "no effect", "no effect"],
            False,
            ["has no effect for programs in the same session nor for programs in other sessions"],
        ),
        (
            numbers("same", 1000, 990, 990) + numbers("other", 1000, 990, 990, 990),
            ["nothing to win"] * 3,
            True,
            ["Low priority is not needed on this machine."],
        ),
    ],
)
def test_verdict(monkeypatch, capsys, measurements, outcomes, works, words):
    """The text, the exit status and the JSON have the verdict that the numbers give."""
    monkeypatch.setattr(_doctor, "measure", lambda *arguments, **options: measurements)
    monkeypatch.setattr(_doctor, "survey", lambda: {"usable_cpus": 2.0, "kernel": "\udcff", "blas": None, "gil": True})
    status = _doctor.run(isolate=True, as_json=False, seconds=1)
    assert "This machine\n" not in capsys.readouterr().out
    assert _doctor.run(isolate=True, as_json=False, seconds=1, verbose=True) == status
    text = capsys.readouterr().out
    assert status == (0 if works else 1)
    assert ("Low priority has no effect" in text.splitlines()[0]) is not works
    assert "This machine\n" in text
    assert "Conditions of pause_when\n  user_active " in text
    for word in words:
        assert word in text
    if outcomes[-2:] == ["no effect", "no effect"]:
        assert "Use isolate" not in text

    assert _doctor.run(isolate=True, as_json=True, seconds=1) == status
    report = json.loads(capsys.readouterr().out)
    assert report["works"] is works
    assert [verdict["outcome"] for verdict in report["verdicts"]] == outcomes
    assert all(verdict["text"] in text for verdict in report["verdicts"])


def test_warnings(monkeypatch, capsys):
    """A warning that each pool has about its own workers is reported once, and so is a busy machine."""

    def measure(*arguments, **options):
        for pid in (1, 2):
            shortfall = Shortfall(f"priority IDLE of process {pid}", "nice 19", "it is forbidden", "Allow it.")
            _doctor.warnings.warn(PriorityWarning(shortfall), stacklevel=1)
        return [each._replace(spread=0.5) for each in SAME_WORKS]

    monkeypatch.setattr(_doctor, "measure", measure)
    monkeypatch.setattr(_doctor, "survey", lambda: {"usable_cpus": 0.5})
    assert _doctor.run(isolate=True, as_json=True, seconds=1) == 0
    forbidden, busy = json.loads(capsys.readouterr().out)["warnings"]
    assert "process 1: it is forbidden" in forbidden
    assert "busy" in busy


def test_busy_machine(monkeypatch, capsys):
    """If another busy program makes a verdict impossible, the exit status is 0."""
    measurements = [each._replace(spread=0.5) for each in numbers("same", 1000, 300, 310)]
    monkeypatch.setattr(_doctor, "measure", lambda *arguments, **options: measurements)
    monkeypatch.setattr(_doctor, "survey", lambda: {"usable_cpus": 2.0})
    assert _doctor.run(isolate=True, as_json=True, seconds=1) == 0
    assert json.loads(capsys.readouterr().out)["works"] is None
    assert _doctor.run(isolate=True, as_json=False, seconds=1) == 0
    text = capsys.readouterr().out
    assert "too busy to tell" in text.splitlines()[0]
    assert "sched_setscheduler" not in text


def test_uncertain(monkeypatch, capsys):
    """On a busy machine the first line is not certain, and no advice comes from the numbers."""
    cells = SAME_WORKS + numbers("other", 1000, 600, 610, 950)
    measurements = [cell._replace(spread=0.5) for cell in cells]
    monkeypatch.setattr(_doctor, "measure", lambda *arguments, **options: measurements)
    monkeypatch.setattr(_doctor, "survey", lambda: {"usable_cpus": 2.0})
    assert _doctor.run(isolate=True, as_json=False, seconds=1) == 0
    text = capsys.readouterr().out
    assert text.startswith("Not certain: low priority works on this machine.\n")
    assert "se isolate=True" not in text


def test_names_pools():
    """No two verdicts have the same text, because each names the pool."""
    verdicts = _doctor.judge(numbers("same", 1000, 990, 990) + numbers("other", 1000, 990, 990, 990))
    assert len({verdict.text for verdict in verdicts}) == 3
    assert verdicts[-1].text.startswith("Low priority with isolate=True is not needed")


def test_summary():
    """The speed is the median of the rounds, the percentile that of all frames; an unfinished frame counts."""
    ms = 1_000_000
    alone = [[2 * ms] * 200, [2 * ms] * 50, []]
    summary = _measure._summarize("same", "low", [[2 * ms] * 100, [4 * ms] * 50, []], alone, 0.5)
    assert summary == Measurement("same", "low", 100.0, 0.5, 0.0, 4.0)
    assert _measure._summarize("same", "low", [[]] * 3, [[]] * 3, 0.5) == Measurement(
        "same", "low", 0.0, 0.0, 0.0, 500.0
    )


# --- the command


def test_command():
    """A short run makes all measurements, and prints one JSON object that agrees with the exit status."""
    result = doctor("--json", "--seconds", "0.1")
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert set(report) == {"machine", "measurements", "verdicts", "conditions", "warnings", "works"}
    assert result.returncode == (report["works"] is False)
    cells = [(each["session"], each["pool"]) for each in report["measurements"]]
    pools = ["nothing", "stdlib", "low"]
    others = [("other", pool) for pool in [*pools, "isolated"]] if LINUX else []
    assert cells == [("same", pool) for pool in pools] + others
    assert all(each["p95_ms"] > 0 for each in report["measurements"])
    assert len(report["verdicts"]) == (3 if LINUX else 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "not a number of seconds up to 3600: '0'"),
        (["--seconds", "nan"], "'nan'"),
        (["--seconds", "1e9"], "'1e9'"),
        (["--seconds", "soon"], "'soon'"),
        (["--isolate"], "--isolate"),
        (["now"], "now"),
    ],
)
def test_errors(arguments, message):
    """A wrong argument is one line on stderr and exit status 2."""
    result = doctor(*arguments)
    assert message in result.stderr
    assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)


@linux_only
@needs_privilege
def test_no_processes():
    """If no process can be started, there is one line on stderr and exit status 2; the JSON has the other results."""
    limited = [*unprivileged(), "prlimit", "--nproc=2"]
    result = doctor(command=limited)
    assert "cannot measure" in result.stderr
    assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 2)
    result = doctor("--json", command=limited)
    report = json.loads(result.stdout)
    assert (report["works"], report["measurements"]) == (None, [])
    assert report["machine"]["cpus"] == os.cpu_count()
    assert result.stderr == f"nicefutures: {report['warnings'][0]}\n"
    assert result.returncode == 2


@posix_only
def test_closed_files():
    """If standard files are closed, the processes of the measurement write to no file in their place."""
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *DOCTOR, "--json", "--seconds", "0.1"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.returncode == (json.loads(result.stdout)["works"] is False)


# The doctor with given measurements, so that its report takes no time.
_REPORT = """
import sys
from nicefutures._tool import cli, doctor
from nicefutures._tool.measure import Measurement
doctor.measure = lambda *args, **options: [
    Measurement("same", pool, 1.0, share, 1.0, 1.0) for pool, share in (("nothing", 1), ("stdlib", 0.2), ("low", 0.2))
]
sys.exit(cli.main(["doctor", *sys.argv[1:]]))
"""


@posix_only
@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "JSON"])
@pytest.mark.parametrize(
    ("redirection", "stderr", "status"),
    [
        (">/dev/null", "", 1),
        (">/dev/null 2>&-", "", 1),
        (">&-", "nicefutures: write error: Bad file descriptor\n", 2),
        (">&- 2>&- <&-", "", 2),
        (">/dev/full", "nicefutures: write error: No space left on device\n", 2),
    ],
)
def test_no_output(arguments, redirection, stderr, status):
    """If the report cannot be written, the exit status differs from that of "no effect"."""
    if "/dev/full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    result = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", _REPORT, *arguments],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (result.stdout, result.stderr, result.returncode) == ("", stderr, status)


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "JSON"])
def test_nobody_reads(arguments):
    """If the reader of the report has gone, there is no message."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", _REPORT, *arguments]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE)
    os.close(writer)
    assert (result.stderr, result.returncode) == (b"", 141)


def has_workers(pid):
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # the child has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                return True
    return False


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_interrupted(number):
    """Ctrl-C, which reaches every process of the terminal, and SIGTERM end the doctor; no process is left."""
    process = subprocess.Popen(DOCTOR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while not has_workers(process.pid):
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
    else:
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)  # a process that is just starting may print an error
    assert process.returncode == 130


def test_progress(monkeypatch):
    """The progress bar is drawn only on a terminal that can erase it, and is erased at the end."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = _doctor._Progress()
        progress.show(0.5)
        assert ("####" in stream.getvalue()) is shown
        progress.clear()
        assert not stream.getvalue().rpartition("]")[2].strip()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", Terminal())
    _doctor._Progress().show(0.5)
    assert sys.stderr.getvalue() == ""
