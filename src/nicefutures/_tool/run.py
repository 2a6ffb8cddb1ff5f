"""``nicefutures run``: a program at a priority."""

import argparse
import functools
import os
import sys
from typing import Final

from .._blas import VARIABLES
from .._levels import PriorityError, Shortfall
from .._system import backend
from .._system.protocols import MemoryLimit
from .common import say
from .program import Program

# As in nice(1), env(1) and timeout(1).
FAILED: Final = 125
CANNOT_RUN: Final = 126
NOT_FOUND: Final = 127

_PYTHON_FILES: Final = (".py", ".pyw", ".pyz", ".pyc")


class _RefusedError(Exception):
    """An option cannot be applied: the message, and the exit status."""

    def __init__(self, message: object, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def run(options: argparse.Namespace) -> int:
    """Run a program in place of this process; where that returns, return the exit status."""
    try:
        command = _find_command(options.program)
        if options.pause_when is None:
            return _run(options, command)
        program = Program(command[0], options.pause_when, options.idle_after, _refuse)
        return backend.command.attend(functools.partial(_run, options, command), program)
    except (_RefusedError, PriorityError) as refused:
        say(f"run: {refused}")
        return getattr(refused, "status", FAILED)


def _find_command(program: list[str]) -> list[str]:
    """Return the command that the words after our own options mean."""
    if program in ([], ["--"], ["-m"]):
        msg = "nothing to run: give a script, '-m module' or '-- command' (see nicefutures run --help)"
        raise _RefusedError(msg)
    first = program[0]
    if first == "--":
        return program[1:]
    if first.startswith("-m"):
        return [sys.executable, *program]
    if not os.path.exists(first):
        msg = f"there is no script {first!r}; for a command write: nicefutures run -- {first}"
        raise _RefusedError(msg, NOT_FOUND)
    if first.lower().endswith(_PYTHON_FILES) or not backend.command.is_program(first):
        return [sys.executable, *program]
    return [os.path.join(os.path.dirname(first) or os.curdir, os.path.basename(first)), *program[1:]]


def _run(options: argparse.Namespace, command: list[str], program: Program | None = None) -> int:
    if options.blas_threads is not None:
        os.environ.update(dict.fromkeys(VARIABLES, str(options.blas_threads)))
    if options.isolate:
        shortfall = backend.groups.enter()
        _refuse(shortfall and shortfall._replace(requested="--isolate"))
    shortfall = backend.priority.set_process(options.priority)
    if shortfall is not None:  # lowered by a substitute
        say(shortfall.text)
    if options.efficiency:
        _refuse(backend.background.set_efficiency())
    # Last, because the limit also applies to this process.
    limit = None if options.memory_limit is None else _limit_memory(options.memory_limit)
    try:
        return backend.command.become(command, options.priority, efficiency=options.efficiency, program=program)
    except OSError as error:
        if limit is not None:
            limit.lift()  # the error message needs memory
        if isinstance(error, PriorityError):
            raise
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
        msg = f"cannot run {command[0]!r}: {error.strerror}"
        raise _RefusedError(msg, status) from None


def _refuse(shortfall: Shortfall | None) -> None:
    if shortfall is not None:
        raise _RefusedError(shortfall.text)


def _limit_memory(size: int) -> MemoryLimit:
    try:
        limit = backend.memory.open_limit()
        limit.hold(size)
    except OSError as error:
        msg = f"could not set --memory-limit: {error.strerror}"
        raise _RefusedError(msg) from None
    if not limit.in_force():
        msg = "could not set --memory-limit: the system accepted it and reports no limit"
        raise _RefusedError(msg)
    return limit
