"""Isolated workers below a real systemd user manager.

``.ci/with-user-manager python3 tests/system/user_manager.py KIND``, where KIND is the place that the workers must get:
"scope", "cgroup", or "nowhere".
"""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from nicefutures import LowPriorityProcessPoolExecutor, PriorityWarning

ROOT = Path("/sys/fs/cgroup")


def place(_=None):
    """Return the id of this process, its control group, and the ``cpu.idle`` of that group."""
    time.sleep(0.1)
    group = Path("/proc/self/cgroup").read_text().strip().partition("::")[2]
    idle = ROOT / group.lstrip("/") / "cpu.idle"  # only a group with the CPU controller has it
    return os.getpid(), group, idle.read_text().strip() if idle.exists() else "0"


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def groups():
    """Return the control groups of the library that exist."""
    return [path for path, *_ in os.walk(ROOT) if "nicefutures" in path]


def wait_until_clean():
    deadline = time.monotonic() + 20
    while groups():
        assert time.monotonic() < deadline, groups()
        time.sleep(0.1)


def check(kind):
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        with LowPriorityProcessPoolExecutor(2, isolate=True) as executor:
            found = set(executor.map(place, range(4)))
            parent = place()
    assert len(log) == (kind == "nowhere"), [str(warning.message) for warning in log]
    assert parent[2] == "0"
    for _, group, idle in found:
        if kind == "nowhere":
            assert group == parent[1]
        else:
            assert idle == "1"
            manager, _, ours = group.rpartition("/")
            assert manager.endswith(f"user@{os.getuid()}.service")
            assert ours.startswith("nicefutures-")
            assert ours.endswith(".scope") == (kind == "scope")
    if kind == "nowhere":
        assert log[0].category is PriorityWarning
        assert "systemd-run" in log[0].message.remedy
    wait_until_clean()
    print(kind, sorted(found))


def check_run(kind):
    """`nicefutures run --isolate` puts its program into a scope, and does not run it where no scope can be made."""
    code = "import user_manager; print(*user_manager.place())"
    command = [sys.executable, "-m", "nicefutures", "run", "--isolate", "--", sys.executable, "-c", code]
    path = f"{Path(__file__).parent}:{os.environ['PYTHONPATH']}"
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    if kind == "scope":
        _, group, idle = result.stdout.split()
        assert (group.endswith(".scope"), idle, result.returncode) == (True, "1", 0), result
        assert "nicefutures-" in group
    else:
        assert (result.stdout, result.stderr.count("\n"), result.returncode) == ("", 1, 125), result
    wait_until_clean()
    print(kind, "run", result.stdout)


def check_ends(kind):
    """A broken pool and a killed parent leave no control group."""
    with LowPriorityProcessPoolExecutor(2, isolate=True) as executor:
        executor.submit(place).result()
        assert "SIGKILL" in str(executor.submit(die).exception())
    wait_until_clean()
    child = subprocess.Popen([sys.executable, __file__, kind, "child"], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    assert groups()
    child.kill()
    child.wait()
    wait_until_clean()
    print(kind, "nothing left")


if __name__ == "__main__":
    if sys.argv[2:] == ["child"]:
        child = LowPriorityProcessPoolExecutor(2, isolate=True)
        list(child.map(place, range(4)))
        print("ready", flush=True)
        child.submit(time.sleep, 60).result()
    check(sys.argv[1])
    check_run(sys.argv[1])
    if sys.argv[1] != "nowhere":
        check_ends(sys.argv[1])
