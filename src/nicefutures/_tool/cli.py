"""The command line: run a program at a priority, set that of a running one, show what is in force, measure it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final, NoReturn

import psutil

from .._levels import PriorityError, ProcessPriority, parse_priority
from .._system import backend
from .._system.common import ProcessDescription

_USAGE_ERROR: Final = 2
_LONGEST: Final = 3600  # seconds

_LEVELS: Final = ", ".join(level.name.lower() for level in ProcessPriority)

_RUN_USAGE: Final = """\
nicefutures run [-p LEVEL] script.py [ARG ...]
       nicefutures run [-p LEVEL] -m module [ARG ...]
       nicefutures run [-p LEVEL] -- command [ARG ...]"""


class _Parser(argparse.ArgumentParser):
    """Says an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; `sys.argv` by default.

    Returns
    -------
    int
        Exit status: 2 after an error, that of the program for ``run``, 1 from ``doctor`` if lowering has no effect.
    """
    own, program = _split_program(sys.argv[1:] if arguments is None else arguments)
    parser = _make_parser()
    options = parser.parse_args(own)
    if options.command == "run":
        return _run(parser, options.priority, program)
    if options.command == "set":
        return _set(options.priority, options.pid)
    if options.command == "doctor":
        from . import doctor  # measuring needs much that the others do without

        return doctor.run(isolate=options.isolate == "auto", as_json=options.json, seconds=options.seconds)
    return _show(options.pid or [os.getpid()], as_json=options.json)


def _split_program(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split at the program that ``run`` is to run: argparse would take the program's options for ours."""
    if not arguments or arguments[0] != "run":
        return list(arguments), []
    end = 1
    while end < len(arguments) and arguments[end].startswith("-") and arguments[end] not in ("-m", "--"):
        end += 2 if arguments[end] in ("-p", "--priority") else 1
    return list(arguments[:end]), list(arguments[end:])


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="nicefutures", description="Run programs at a low priority, set and show priorities.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"nicefutures {version('nicefutures')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|set|show|doctor")

    run = commands.add_parser("run", help="run a program at a priority", usage=_RUN_USAGE, allow_abbrev=False)
    run.add_argument("-p", "--priority", type=_level, default=ProcessPriority.IDLE, metavar="LEVEL", help=_LEVELS)

    set_ = commands.add_parser("set", help="set the priority of running processes, every thread included")
    set_.add_argument("-p", "--priority", type=_level, required=True, metavar="LEVEL", help=_LEVELS)
    set_.add_argument("pid", type=_pid, nargs="+", metavar="PID", help="process id")

    show = commands.add_parser("show", help="show the priority of processes and of their threads")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument("pid", type=_pid, nargs="*", metavar="PID", help="process id (default: this process)")

    doctor = commands.add_parser("doctor", help="show what this machine offers, and measure whether lowering works")
    doctor.add_argument(
        "--isolate",
        choices=["auto", "off"],
        default="auto",
        help="whether a pool may leave its session (default: auto)",
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long (default: 20)")
    return parser


def _level(name: str) -> ProcessPriority:
    try:
        return parse_priority(ProcessPriority, name)
    except ValueError:
        msg = f"unknown level {name!r}: use one of {_LEVELS}"
        raise argparse.ArgumentTypeError(msg) from None


def _pid(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        msg = f"not a process id: {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST:
        msg = f"not a number of seconds up to {_LONGEST}: {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _say(message: object) -> None:
    print(f"nicefutures: {message}", file=sys.stderr)


# --- run


def _run(parser: _Parser, priority: ProcessPriority, program: list[str]) -> int:
    command = _command(parser, program)
    if _set(priority, [None]) != 0:
        return _USAGE_ERROR
    try:
        return backend.command.become(command, priority)
    except PriorityError as error:
        _say(error)
    except OSError as error:
        _say(f"cannot run {command[0]!r}: {error.strerror}")
    return _USAGE_ERROR


def _command(parser: _Parser, program: list[str]) -> list[str]:
    """Return the command that the user means by what follows our own options."""
    match program:
        case ["--", _, *_]:
            return program[1:]
        case ["-m", _, *_]:
            return [sys.executable, *program]
        case [] | ["--"] | ["-m"]:
            parser.error("run: what? Give a script, '-m module' or '-- command'")
        case [script, *_] if os.path.exists(script):
            return [sys.executable, *program]
        case [script, *_]:
            parser.error(f"run: there is no script {script!r}; for a command write: nicefutures run -- {script}")
    raise AssertionError(program)


# --- set


def _set(priority: ProcessPriority, pids: Sequence[int | None]) -> int:
    status = 0
    for pid in pids:
        try:
            shortfall = backend.priority.set_process(priority, pid)
        except PriorityError as error:
            _say(error)
            status = _USAGE_ERROR
        else:
            if shortfall is not None:
                _say(shortfall.text)
    return status


# --- show


def _show(pids: list[int], *, as_json: bool) -> int:
    status = 0
    rows = []
    for pid in pids:
        try:
            rows.append(_row(pid, backend.priority.describe(pid)))
        except PriorityError as error:
            _say(error)
            status = _USAGE_ERROR
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        table = _table(rows)
        encoding = sys.stdout.encoding or "ascii"
        print(table.encode(encoding, "backslashreplace").decode(encoding))  # a name may have any character
    return status


def _row(pid: int, description: ProcessDescription) -> dict[str, Any]:
    threads = description.threads
    return {
        "pid": pid,
        "name": _process_name(pid),
        **description._asdict(),
        "level": description.level.name.lower(),
        "threads": threads and {level.name.lower(): count for level, count in threads.items()},
    }


def _process_name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, OSError):  # gone, not ours to look at, or a system without the call
        return None


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay out the columns that this system has."""
    columns = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    cells = [[key.replace("_", " ").upper() for key in columns]]
    cells += [[_cell(row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {level}" for level, count in value.items())
    return "-" if value is None else str(value)
