"""The command line: run a program at a priority, set that of a running one, show what is in force, measure it."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .._levels import ProcessPriority, parse_priority
from .common import USAGE_ERROR, put, say
from .levels import set_level, show
from .run import run

_LONGEST: Final = 3600  # seconds

_LEVELS: Final = ", ".join(level.name.lower() for level in ProcessPriority)


class _Parser(argparse.ArgumentParser):
    """Says an error in one line, and help as everything else is written."""

    def error(self, message: str) -> NoReturn:
        say(message, self.prog)
        self.exit(USAGE_ERROR)

    def print_help(self, file: Any = None) -> None:
        if file is not None:
            super().print_help(file)
        elif status := put(self.format_help().rstrip("\n")):
            self.exit(status)


class _Version(argparse.Action):
    """Writes the version, which nothing else has to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        parser.exit(put(f"nicefutures {version('nicefutures')}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; `sys.argv` by default.

    Returns
    -------
    int
        Exit status. For ``run`` that of the program, and 125 to 127 after an error. Otherwise 2 after an error: also if
        only one process of several could not be set or shown, or the output could not be written. 141 if the reader of
        the output has gone, as of a program that SIGPIPE ends. From ``doctor`` 1 if lowering has no effect, 130 after
        Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["run"]:
        return run(arguments[1:])
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.command == "set":
        at_most = options.at_most is not None
        return set_level(options.at_most or options.priority, options.pid, at_most=at_most, tree=options.tree)
    if options.command == "doctor":
        from . import doctor  # measuring needs much that the others do without

        return doctor.run(isolate=options.isolate == "auto", as_json=options.json, seconds=options.seconds)
    return show(options.pid or [os.getpid()], as_json=options.json, tree=options.tree)


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="nicefutures", description="Run programs at a low priority, set and show priorities.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|set|show|doctor")

    commands.add_parser(
        "run", help="run a program at a priority", allow_abbrev=False
    )  # which reads its arguments itself

    set_ = commands.add_parser(
        "set", help="set the priority of running processes, every thread included", allow_abbrev=False
    )
    level = set_.add_mutually_exclusive_group(required=True)
    level.add_argument("-p", "--priority", type=_level, metavar="LEVEL", help=_LEVELS)
    level.add_argument(
        "--at-most",
        type=_level,
        metavar="LEVEL",
        help="lower what is above LEVEL, thread by thread, and leave the rest where it is",
    )
    set_.add_argument("--tree", action="store_true", help="and all processes that they have started")
    set_.add_argument("pid", type=_pid, nargs="+", metavar="PID", help="process id")

    show_ = commands.add_parser("show", help="show the priority of processes and of their threads", allow_abbrev=False)
    show_.add_argument("--json", action="store_true", help="for programs")
    show_.add_argument("--tree", action="store_true", help="and all processes that they have started")
    show_.add_argument("pid", type=_pid, nargs="*", metavar="PID", help="process id (default: this process)")

    doctor = commands.add_parser(
        "doctor", help="show what this machine offers, and measure whether lowering works", allow_abbrev=False
    )
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
