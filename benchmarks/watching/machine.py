"""Stalls of the machine itself, from a process of :mod:`benchmarks.watching.control`."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def control_machine() -> "Iterator[subprocess.Popen[str]]":
    """Start the process that detects stalls of the machine itself; end it on exit."""
    command = [sys.executable, "-S", "-m", "benchmarks.watching.control"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ask_control(control: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """End that process and return its report; None if it could not detect stalls."""
    if pipe_of(control.stdout).readline() != "ready\n":
        return None
    pipe_of(control.stdin).close()
    return dict(json.loads(pipe_of(control.stdout).readline()))


def pipe_of(pipe: Any) -> Any:
    """Return a pipe of a process, after a check that it exists."""
    if pipe is None:
        msg = "the process has no pipes"
        raise RuntimeError(msg)
    return pipe
