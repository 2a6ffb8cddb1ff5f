"""``nicefutures run``: a program at a priority.

Light: imports what a usual start needs, and reads its few options by itself, for argparse takes as long as Python does
to start.
"""

import os
import sys

from .._system import backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._levels import Shortfall
    from .._system.protocols import MemoryLimit

# As nice(1), env(1) and timeout(1) have them.
FAILED = 125
CANNOT_RUN = 126
NOT_FOUND = 127

_USUAL_LEVELS = ("idle", "below_normal")
_WITH_VALUE = {
    "-p": "priority",
    "--priority": "priority",
    "--memory-limit": "memory_limit",
    "--blas-threads": "blas_threads",
}
_FLAGS = {"--efficiency": "efficiency", "--isolate": "isolate"}
_PYTHON_FILES = (".py", ".pyw", ".pyz", ".pyc")

_HELP = """\
usage: nicefutures run [OPTION ...] script.py [ARG ...]
       nicefutures run [OPTION ...] -m module [ARG ...]
       nicefutures run [OPTION ...] -- command [ARG ...]

Run a program at a low priority, which its child processes inherit. An executable file that is not a Python script
runs as a command.

example:
  nicefutures run -p below_normal --memory-limit "2 GiB" simulate.py --seed 1

options:
  -h, --help            show this help message and exit
  -p, --priority LEVEL  idle (the default), below_normal, normal, above_normal, high, realtime
  --memory-limit SIZE   limit for each process of the program, such as "2 GiB" or 0.25 (a fraction of the memory)
  --blas-threads N      number of threads for BLAS and OpenMP libraries, set through environment variables
  --efficiency          use efficient cores and clocks only (Windows, macOS)
  --isolate             yield to programs in other sessions, too (Linux, below a systemd user manager)

exit status: that of the program; 125 if nicefutures fails, 126 if the program cannot be run, 127 if it is not found
"""


class _RefusedError(Exception):
    """What was asked for cannot be had: the message, and the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def run(arguments: "Sequence[str]") -> int:
    """Run a program in place of this process; return the exit status where that returns.

    `arguments` are what follows ``run``.
    """
    try:
        options, program = _parse(arguments)
        if "help" in options:
            from .common import CANNOT_WRITE, put

            status = put(_HELP.rstrip("\n"))
            return FAILED if status == CANNOT_WRITE else status
        command = _find_command(program)
        level = _check_level(options.get("priority", "idle"))
        memory_limit = _check_memory_limit(options.get("memory_limit"))
        blas_threads = _check_blas_threads(options.get("blas_threads"))
        if blas_threads is not None:
            _limit_blas(blas_threads)
        if "isolate" in options:
            shortfall = backend.groups.enter()
            _refuse(shortfall and shortfall._replace(requested="--isolate"))
        _lower(level)
        efficiency = "efficiency" in options
        if efficiency:
            _refuse(backend.background.set_efficiency())
        return _become(command, level, efficiency, memory_limit)
    except _RefusedError as refused:
        from .common import say

        say(f"run: {refused}")
        return refused.status


# --- what was typed


def _parse(arguments: "Sequence[str]") -> tuple[dict[str, str], list[str]]:
    """Return our options by name, and the rest, which begins at the first word that is none."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--" and not rest[0].startswith("-m"):
        word = rest.pop(0)
        if word in ("-h", "--help"):
            options["help"] = ""
        elif word in _FLAGS:
            options[_FLAGS[word]] = ""
        else:
            option, has_value, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
            if option not in _WITH_VALUE:
                msg = f"unknown option {word!r}; a command that begins with it is written: nicefutures run -- {word}"
                raise _RefusedError(msg)
            if not has_value and not rest:
                msg = f"option {option} needs a value"
                raise _RefusedError(msg)
            options[_WITH_VALUE[option]] = value if has_value else rest.pop(0)
    return options, rest


def _find_command(program: list[str]) -> list[str]:
    """Return the command that the user means by what follows our own options."""
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


def _check_level(name: str) -> str:
    """Return the level's name in lower case."""
    level = name.lower()
    if level not in _USUAL_LEVELS:
        from .._levels import ProcessPriority, parse_priority

        try:
            parse_priority(ProcessPriority, name)
        except ValueError as error:
            raise _RefusedError(str(error)) from None
    return level


def _check_memory_limit(text: str | None) -> int | None:
    """Return a size in bytes."""
    if text is None:
        return None
    from .._arguments import parse_memory_limit

    for kind in (int, float, str):
        try:
            value = kind(text)
            break
        except ValueError:
            continue
    try:
        return parse_memory_limit(value, "--memory-limit")
    except ValueError as error:
        raise _RefusedError(str(error)) from None


def _check_blas_threads(text: str | None) -> int | None:
    if text is None:
        return None
    from .._arguments import parse_blas_threads

    try:
        number = int(text)
    except ValueError:
        msg = f"--blas-threads must be a number of threads, not {text!r}"
        raise _RefusedError(msg) from None
    try:
        cap = parse_blas_threads(number, 1)
    except ValueError as error:
        raise _RefusedError(str(error)) from None
    return cap and cap.threads


# --- what is done


def _limit_blas(threads: int) -> None:
    from .._blas import VARIABLES

    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))


def _lower(level: str) -> None:
    if backend.command.lower_early(level):
        return
    from .._levels import PriorityError, ProcessPriority
    from .common import say

    try:
        shortfall = backend.priority.set_process(ProcessPriority[level.upper()])
    except PriorityError as error:
        raise _RefusedError(str(error)) from None
    if shortfall is not None:  # lowered in another way
        say(shortfall.text)


def _refuse(shortfall: "Shortfall | None") -> None:
    if shortfall is not None:
        raise _RefusedError(shortfall.text)


def _become(command: list[str], level: str, efficiency: bool, memory_limit: int | None) -> int:
    """Become the command. The memory limit comes last: it holds for this process, too."""
    limit = None if memory_limit is None else _limit_memory(memory_limit)
    try:
        return backend.command.become(command, level, efficiency=efficiency)
    except OSError as error:
        if limit is not None:
            limit.lift()  # there has to be memory to say what happened
        from .._levels import PriorityError

        if isinstance(error, PriorityError):
            raise _RefusedError(str(error)) from None
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
        msg = f"cannot run {command[0]!r}: {error.strerror}"
        raise _RefusedError(msg, status) from None


def _limit_memory(size: int) -> "MemoryLimit":
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
