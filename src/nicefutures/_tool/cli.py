"""The command line: run a program at a priority, set or show the priority of running ones, measure the effect."""

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

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

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
    if not arguments:
        return put(parser.format_help().rstrip("\n"))
    options = parser.parse_args(arguments)
    if options.command == "set":
        at_most = options.at_most is not None
        return set_level(options.at_most or options.priority, options.pid, at_most=at_most, tree=options.tree)
    if options.command == "doctor":
        from . import doctor  # measuring needs much that the others do without

        return doctor.run(
            isolate=not options.no_isolate, as_json=options.json, seconds=options.seconds, verbose=options.verbose
        )
    return show(options.pid or [os.getpid()], as_json=options.json, tree=options.tree)


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="nicefutures",
        description="Run programs at a low priority. Set and show the priority of running programs.",
        epilog="example:\n  nicefutures run script.py\n\nhelp on a command:\n  nicefutures run --help",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|set|show|doctor")

    commands.add_parser("run", help="run a program at a low priority")  # which reads its arguments itself

    set_ = commands.add_parser(
        "set",
        help="set the priority of running processes",
        description="Set the priority of running processes, including all their threads.",
        epilog="examples:\n  nicefutures set -p idle 1234\n  nicefutures set --at-most below_normal --tree 1234 5678",
    )
    level = set_.add_mutually_exclusive_group(required=True)
    level.add_argument("-p", "--priority", type=_level, metavar="LEVEL", help=_LEVELS)
    level.add_argument(
        "--at-most",
        type=_level,
        metavar="LEVEL",
        help="lower each thread that is above LEVEL, and do not change the others",
    )
    set_.add_argument("--tree", action="store_true", help="include all descendants of each process")
    set_.add_argument("pid", type=_pid, nargs="+", metavar="PID", help="process id")

    show_ = commands.add_parser(
        "show",
        help="show the priority of processes and of their threads",
        description="Show the current priority of processes and of their threads.",
        epilog="examples:\n  nicefutures show 1234\n  nicefutures show --tree --json 1234",
    )
    show_.add_argument("--json", action="store_true", help="print JSON")
    show_.add_argument("--tree", action="store_true", help="include all descendants of each process")
    show_.add_argument(
        "pid",
        type=_pid,
        nargs="*",
        metavar="PID",
        help="process id (default: nicefutures itself, at the priority that your shell gives)",
    )

    doctor = commands.add_parser(
        "doctor",
        help="measure whether low priorities work on this machine",
        description="Measure whether low priorities work on this machine: how much of its speed another program keeps\n"
        "while a pool uses all CPUs. A session is a login, a terminal or a desktop.",
        epilog="example:\n  nicefutures doctor --seconds 60 --verbose",
    )
    doctor.add_argument(
        "--no-isolate", action="store_true", help="measure without a pool whose workers yield to other sessions"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="duration in s (default: 20)")
    doctor.add_argument("-v", "--verbose", action="store_true", help="describe the machine, too")
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
