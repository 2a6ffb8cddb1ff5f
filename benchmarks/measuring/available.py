"""Checks of the machine for what conditions need: user interfaces, interpreters, packages, a screen."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..subjects.condition import Condition
from ..subjects.executors import EXECUTORS
from ..subjects.loads import PLAIN_LOADS
from ..system import WINDOWS
from ..watching.windows import has_screen

_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE_S: Final = 60.0
_LABEL: Final = (
    "import platform, sys, sysconfig; import nicefutures, numpy, psutil, scipy; "
    "print(platform.python_version() + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
)


def find_pythons(paths: Sequence[str]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the interpreters of ``--python`` by their version, and those that cannot be measured with the reason."""
    found: dict[str, str] = {}
    skipped: list[dict[str, str]] = []
    for path in paths:
        label, reason = _ask([path, "-c", _LABEL], {})
        if reason:
            fix = f'install it there: {Path(path).name} -m pip install -e ".[bench]"'
            skipped.append({"what": f"the interpreter {Path(path).name}", "reason": f"{reason}; {fix}"})
        else:
            found[label] = path
    return found, skipped


def missing_parts(
    conditions: Sequence[Condition], pythons: Mapping[str, str], environment: Mapping[str, str]
) -> dict[Condition, str]:
    """Return the conditions that cannot be measured here, and why."""
    reasons: dict[Condition, str] = {}
    uis: dict[tuple[str, str], str] = {}
    for condition in conditions:
        if condition.executor in EXECUTORS:
            kind = EXECUTORS[condition.executor]
            if kind.problem:
                reasons[condition] = kind.problem
            elif kind.needs and importlib.util.find_spec(kind.needs) is None:
                reasons[condition] = f"{kind.needs} is not installed"
            elif kind.interpreters and condition.load and condition.load not in PLAIN_LOADS:
                reasons[condition] = "interpreters cannot load NumPy"
        if condition.foreground in ("other-session", "busy-session") and WINDOWS:
            reasons[condition] = "Windows has no sessions of that kind"
        if condition.ui in ("tk", "qt"):
            key = (condition.python, condition.ui)
            if key not in uis:
                python = pythons.get(condition.python, sys.executable)
                uis[key] = ui_problem(condition.ui, python, environment)
            if uis[key]:
                reasons[condition] = uis[key]
    return reasons


def ui_problem(ui: str, python: str, environment: Mapping[str, str]) -> str:
    """Return why a user interface does not work, "" if it does."""
    answer, reason = _ask([python, "-m", "benchmarks.watching.windows", ui], environment)
    return reason or answer


def _ask(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the last line of a command's output, and the last line of its error if it failed."""
    try:
        answer = subprocess.run(
            command,
            cwd=_ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if answer.returncode != 0:
        return "", _last_line(answer.stderr) or f"it ended with code {answer.returncode}"
    return _last_line(answer.stdout), ""


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@contextlib.contextmanager
def open_screen(uis: Sequence[str | None]) -> Iterator[dict[str, str]]:
    """Yield environment variables for windows: on Linux without a screen, Xvfb for Tk; Qt draws without a screen."""
    xvfb = shutil.which("Xvfb")
    # Windows and macOS have a screen, and no Xvfb.
    if "tk" not in uis or has_screen() or xvfb is None:
        yield {}
        return
    reader, writer = os.pipe()
    command = [xvfb, "-displayfd", str(writer), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    process = subprocess.Popen(
        command, pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with open(reader, encoding="ascii") as answer:
            number = answer.readline().strip()
        # Empty if Xvfb failed: then Tk says that there is no display.
        yield {"DISPLAY": f":{number}", "NICEFUTURES_VIRTUAL_SCREEN": "1"} if number else {}
    finally:
        process.terminate()
        process.wait()
