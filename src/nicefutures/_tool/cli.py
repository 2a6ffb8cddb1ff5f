"""The command line: run a program at a priority, set or show that of running programs, pause them, run the doctor."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

from .._arguments import (
    CONDITIONS,
    Condition,
    check_idle_after,
    parse_blas_threads,
    parse_memory_limit,
    parse_pause_when,
)
from .._levels import ProcessPriority, parse_priority
from .common import CANNOT_WRITE, USAGE_ERROR, put, say
from .levels import set_level, show
from .run import FAILED, run
from .still import pause, resume

_T = TypeVar("_T")

_LONGEST: Final = 3600  # seconds

_LEVELS: Final = ", ".join(level.name.lower() for level in ProcessPriority)
_STILL: Final = {"pause": pause, "resume": resume}
# Prefix of words that argparse must not take for options. No argument of a program can contain this character.
_NO_OPTION: Final = "\0"


class _Parser(argparse.ArgumentParser):
    """Writes an error in one line, and help in the same way as all other output."""

    def __init__(self, *, status: int = USAGE_ERROR, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._status = status

    def error(self, message: str) -> NoReturn:
        say(message.replace(_NO_OPTION, ""), self.prog)
        self.exit(self._status)

    def print_help(self, file: Any = None) -> None:
        if file is not None:
            super().print_help(file)
        elif status := put(self.format_help().rstrip("\n")):
            self.exit(self._status if status == CANNOT_WRITE else status)


class _Version(argparse.Action):
    """Writes the version. It is looked up here, because no other option needs it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        parser.exit(put(f"nicefutures {version('nicefutures')}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: the words after the program's name, by default those of `sys.argv`.

    Return the exit status. For ``run`` it is that of the program, or 125 to 127 after an error. For other commands it
    is 2 after an error, even if only one of several processes could not be set, shown, paused or resumed, or if the
    output could not be written; 141 if the reader of the output has gone, as for a program that SIGPIPE ends. For
    ``doctor`` it is also 1 if lowering has no effect on a quiet machine, and 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _make_parser()
    if not arguments:
        return put(parser.format_help().rstrip("\n"))
    # The program begins at `-m`, and argparse must not read its options.
    options, unknown = parser.parse_known_args([_NO_OPTION * word.startswith("-m") + word for word in arguments])
    if unknown:
        options.parser.error(f"unknown: {' '.join(unknown)}")
    if options.command == "run":
        options.program = [word.removeprefix(_NO_OPTION) for word in options.program]
        if options.idle_after is not None and options.pause_when is None:
            options.parser.error("--idle-after needs --pause-when")
        return run(options)
    if options.command == "set":
        at_most = options.at_most is not None
        return set_level(options.at_most or options.priority, options.pid, at_most=at_most, tree=options.tree)
    if options.command in _STILL:
        return _STILL[options.command](options.pid)
    if options.command == "doctor":
        from . import doctor  # measuring needs many imports that other commands do not need

        return doctor.run(
            isolate=not options.no_isolate, as_json=options.json, seconds=options.seconds, verbose=options.verbose
        )
    return show(options.pid or [os.getpid()], as_json=options.json, tree=options.tree)


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="nicefutures",
        description="Run programs at a low priority. Set and show the priority of running programs, and pause them.",
        epilog="example:\n  nicefutures run script.py\n\nhelp on a command:\n  nicefutures run --help",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|set|show|pause|resume|doctor")

    run_ = commands.add_parser(
        "run",
        help="run a program at a low priority",
        usage="nicefutures run [OPTION ...] script.py [ARG ...]\n"
        "       nicefutures run [OPTION ...] -m module [ARG ...]\n"
        "       nicefutures run [OPTION ...] -- command [ARG ...]",
        description="Run a program at a low priority, which its child processes inherit. An executable file that is\n"
        "not a Python script runs as a command.",
        epilog='example:\n  nicefutures run -p below_normal --memory-limit "2 GiB" simulate.py --seed 1\n\n'
        "exit status: that of the program; 125 if nicefutures fails, 126 if the program cannot be run, 127 if it is\n"
        "not found",
        status=FAILED,
    )
    run_.add_argument(
        "-p", "--priority", type=_level, default="idle", metavar="LEVEL", help=f"{_LEVELS} (default: idle)"
    )
    run_.add_argument(
        "--memory-limit",
        type=_memory_limit,
        metavar="SIZE",
        help='limit for each process of the program, such as "2 GiB" or 0.25 (a fraction of the memory)',
    )
    run_.add_argument(
        "--blas-threads",
        type=_blas_threads,
        metavar="N",
        help="number of threads for BLAS and OpenMP libraries, set through environment variables",
    )
    run_.add_argument("--efficiency", action="store_true", help="use efficient cores and clocks only (Windows, macOS)")
    run_.add_argument(
        "--isolate",
        action="store_true",
        help="yield to programs in other sessions, too (Linux, below a systemd user manager)",
    )
    run_.add_argument(
        "--pause-when",
        type=_conditions,
        metavar="WHEN",
        help=f"pause the program while one of these conditions is met: {', '.join(CONDITIONS)} (separated by commas)",
    )
    run_.add_argument(
        "--idle-after",
        type=_idle_after,
        metavar="S",
        help="resume the program when no condition has been met for S seconds (default: 60)",
    )
    run_.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

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
        help="show the priority of processes and of their threads, and which are paused",
        description="Show the current priority of processes and of their threads, and which processes are paused.",
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

    pause_ = commands.add_parser(
        "pause",
        help="pause running programs",
        description="Pause running programs: each process and all its descendants. They stay stopped until you resume\n"
        "them, and keep their memory and their locks.",
        epilog="example:\n  nicefutures pause 1234 5678",
    )
    resume_ = commands.add_parser(
        "resume",
        help="resume paused programs",
        description="Resume paused programs: each process and all its descendants, whatever has stopped them.",
        epilog="example:\n  nicefutures resume 1234 5678",
    )
    for each in (pause_, resume_):
        each.add_argument("pid", type=_pid, nargs="+", metavar="PID", help="process id")

    doctor = commands.add_parser(
        "doctor",
        help="measure whether low priorities work on this machine",
        description="Measure whether low priorities work on this machine: how much of its speed another program keeps\n"
        "while a pool uses all CPUs. A session is a login, a terminal or a desktop. Say which conditions can pause a\n"
        "program (run --pause-when).",
        epilog="example:\n  nicefutures doctor --seconds 60 --verbose",
    )
    doctor.add_argument(
        "--no-isolate", action="store_true", help="measure without a pool whose workers yield to other sessions"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="duration in s (default: 20)")
    doctor.add_argument("-v", "--verbose", action="store_true", help="describe the machine, too")
    for each in (run_, set_, show_, pause_, resume_, doctor):
        each.set_defaults(parser=each)  # errors begin with its name
    return parser


def _level(name: str) -> ProcessPriority:
    level: ProcessPriority = _checked(parse_priority, ProcessPriority, name)
    return level


def _memory_limit(text: str) -> int | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return _checked(parse_memory_limit, kind(text), "--memory-limit")
    return _checked(parse_memory_limit, text, "--memory-limit")


def _conditions(text: str) -> tuple[Condition, ...]:
    for word in text.split(","):
        if word.strip().lower() not in CONDITIONS:
            msg = f"unknown condition {word!r}: use one or more of {', '.join(CONDITIONS)}, separated by commas"
            raise argparse.ArgumentTypeError(msg)
    return parse_pause_when(map(str.strip, text.split(",")))


def _idle_after(text: str) -> float:
    try:
        return check_idle_after(float(text))
    except ValueError:
        msg = f"--idle-after must be a positive number of seconds, not {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _blas_threads(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        msg = f"--blas-threads must be a number of threads, not {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    _checked(parse_blas_threads, number, 1)
    return number


def _checked(parse: Callable[..., _T], *arguments: Any) -> _T:
    """Return the result of one of the library's checks. If it fails, keep its message, which argparse would drop."""
    try:
        return parse(*arguments)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
