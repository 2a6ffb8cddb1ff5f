"""``nicefutures run``: a program at a priority."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from .._levels import PriorityError, ProcessPriority
from .._system import backend
from .common import USAGE_ERROR, say
from .levels import set_level


def split_program(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split at the program that ``run`` is to run: argparse would take the program's options for ours."""
    if not arguments or arguments[0] != "run":
        return list(arguments), []
    end = 1
    while end < len(arguments) and arguments[end].startswith("-") and arguments[end] not in ("-m", "--"):
        end += 2 if arguments[end] in ("-p", "--priority") else 1
    return list(arguments[:end]), list(arguments[end:])


def run(error: Callable[[str], NoReturn], priority: ProcessPriority, program: list[str]) -> int:
    """Run a program in place of this process; return the exit status where that returns."""
    command = _command(error, program)
    if set_level(priority, [None]) != 0:
        return USAGE_ERROR
    try:
        return backend.command.become(command, priority)
    except PriorityError as refused:
        say(refused)
    except OSError as refused:
        say(f"cannot run {command[0]!r}: {refused.strerror}")
    return USAGE_ERROR


def _command(error: Callable[[str], NoReturn], program: list[str]) -> list[str]:
    """Return the command that the user means by what follows our own options."""
    match program:
        case ["--", _, *_]:
            return program[1:]
        case ["-m", _, *_]:
            return [sys.executable, *program]
        case [] | ["--"] | ["-m"]:
            error("run: what? Give a script, '-m module' or '-- command'")
        case [script, *_] if os.path.exists(script):
            return [sys.executable, *program]
        case [script, *_]:
            error(f"run: there is no script {script!r}; for a command write: nicefutures run -- {script}")
    raise AssertionError(program)
