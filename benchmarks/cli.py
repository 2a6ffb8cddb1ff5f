"""The command line."""

import argparse
import dataclasses
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from .measuring.available import find_pythons, missing_parts, open_screen
from .measuring.run import expected_s, run_suite
from .record import load
from .subjects.condition import FEEDINGS, Condition
from .subjects.executors import EXECUTORS
from .subjects.loads import TITLES
from .suites.cell import Suite, make_cell
from .suites.designs import DESIGNS, THREAD_LEVELS, Axes, Design, conditions_of
from .suites.plain import PLAIN
from .watching.windows import UIS

_INTERRUPTED: Final = 130
_DESCRIPTION: Final = """\
How responsive a user interface stays under heavy NumPy loads, and what the GIL does to thread priority.
Without a command: the quick suite, in a minute.
"""
SUITES: Final = (*DESIGNS, *PLAIN)
# Number of rounds, and the duration of a measurement relative to the suite's.
_PRESETS: Final = {"quick": (1, 0.5), "full": (5, 1.5)}
_MOST_SECONDS: Final = 3600


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 1 if something could not be measured or shown, 130 after Ctrl-C."""
    parser = _make_parser()
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["run", "quick", *arguments]
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(options.parser, unknown)
    if options.run in (_run, _list):
        return int(options.run(options))
    try:
        return int(options.run(options))
    except (OSError, ValueError) as error:  # from a file that the user named
        print(error, file=sys.stderr)
        return 1


def _refuse(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """Exit with the options of this command; argparse itself would print those of the main parser."""
    allowed = ", ".join(sorted(name for action in parser._actions for name in action.option_strings))  # noqa: SLF001
    parser.error(f"unknown: {' '.join(unknown)}; allowed: {allowed}")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_DESCRIPTION)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)

    report = commands.add_parser("report", help="make the report and the figures of a file")
    report.add_argument("file", type=Path, metavar="FILE")
    report.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: beside the file")
    report.set_defaults(run=_report, parser=report)

    shown = commands.add_parser("show", help="print the tables of a file")
    shown.add_argument("file", type=Path, metavar="FILE")
    shown.add_argument("--markdown", action="store_true", help="for a document")
    shown.add_argument("--table", metavar="TEXT", help="only the tables with this text in their title")
    shown.set_defaults(run=_show, parser=shown)

    compared = commands.add_parser("compare", help="two runs of a suite: do they agree?")
    compared.add_argument("first", type=Path, metavar="A")
    compared.add_argument("second", type=Path, metavar="B")
    compared.set_defaults(run=_compare, parser=compared)

    listed = commands.add_parser("list", help="the suites, and what can be measured here")
    listed.set_defaults(run=_list, parser=listed)
    return parser


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help=f"measure a suite: {', '.join(SUITES)}",
        description="Measure a suite. --ui, --load, --executor, --priority, --workers, --blas-threads, --foreign, "
        "--switch-interval, --drawing and --feeding take several values each and replace the suite's own choice by all "
        "combinations of them.",
    )
    parser.add_argument("suite", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--ui", nargs="+", choices=[*UIS], help=f"the window of the program: {', '.join(UIS)}")
    parser.add_argument("--load", nargs="+", choices=[*TITLES], metavar="LOAD", help=", ".join(TITLES))
    parser.add_argument("--executor", nargs="+", choices=[*EXECUTORS], metavar="EXECUTOR", help=", ".join(EXECUTORS))
    parser.add_argument("--priority", nargs="+", choices=THREAD_LEVELS, metavar="LEVEL", help=", ".join(THREAD_LEVELS))
    parser.add_argument("--workers", nargs="+", type=_positive, metavar="N", help="of each executor")
    parser.add_argument("--blas-threads", nargs="+", type=_positive, metavar="N", help="at most, in each process")
    parser.add_argument("--foreign", nargs="+", type=_count, metavar="N", help="busy processes beside it all")
    parser.add_argument(
        "--switch-interval", dest="switch_ms", nargs="+", type=_seconds, metavar="MS", help="of the interpreter, in ms"
    )
    parser.add_argument(
        "--drawing",
        dest="drawing_ms",
        nargs="+",
        type=_seconds,
        metavar="MS",
        help="of the window, for each frame, in ms",
    )
    parser.add_argument("--feeding", nargs="+", choices=FEEDINGS, help=f"how tasks come: {', '.join(FEEDINGS)}")
    parser.add_argument("--python", nargs="+", default=[], metavar="PATH", help="further interpreters to measure with")
    parser.add_argument("--rounds", type=_positive, help="how often (default: the suite's)")
    parser.add_argument("--seconds", type=_seconds, help="length of a window (default: the suite's)")
    preset = parser.add_mutually_exclusive_group()
    preset.add_argument("--quick", dest="preset", action="store_const", const="quick", help="one round, short windows")
    preset.add_argument("--full", dest="preset", action="store_const", const="full", help="five rounds, long windows")
    parser.add_argument("--seed", type=int, help="of the order (default: another one each time)")
    parser.add_argument("-o", "--output", type=_output, metavar="FILE", help="default: nicefutures-SUITE.json")
    parser.add_argument("--no-report", dest="report", action="store_false", help="write the JSON file only")
    parser.add_argument("-v", "--verbose", action="store_true", help="print all tables, too")
    parser.set_defaults(run=_run, parser=parser)


def _positive(text: str) -> int:
    return _whole(text, 1, "a positive integer")


def _count(text: str) -> int:
    return _whole(text, 0, "an integer, 0 or above")


def _whole(text: str, least: int, kind: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if number < least:
        msg = f"must be {kind}, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST_SECONDS:
        msg = f"must be a number above 0 and at most {_MOST_SECONDS}, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _output(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"must be a file in a folder that exists, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return path


def _run(options: argparse.Namespace) -> int:
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else int(options.seed)
    path = options.output or Path(f"nicefutures-{options.suite}.json")
    axes = _axes(options)
    if options.suite in PLAIN:
        if axes.chosen or options.python:
            options.parser.error(f"{options.suite} has no --ui, --load and so on: it compares all that it has")
        plain = PLAIN[options.suite]
        suite = plain.make(options.seconds)
        return _finish(run_suite(suite, _rounds(options, plain.rounds), seed, path), path, options)
    design = DESIGNS[options.suite]
    seconds = options.seconds or design.seconds * _PRESETS.get(options.preset, (0, 1.0))[1]
    pythons, skipped = find_pythons(options.python)
    conditions = conditions_of(design, axes, [*pythons])
    with open_screen([condition.ui for condition in conditions]) as environment:
        missing = missing_parts(conditions, pythons, environment)
        skipped += [{"what": condition.name, "reason": reason} for condition, reason in missing.items()]
        cells = [make_cell(condition, seconds, seed) for condition in conditions if condition not in missing]
        settings = {"seconds": seconds, "preset": options.preset, "pythons": [*pythons], "axes": axes.chosen}
        suite = Suite(design.name, cells, settings, skipped, pythons, environment)
        for each in skipped:
            print(f"skipped: {each['what']}: {each['reason']}", file=sys.stderr)
        record = run_suite(suite, _rounds(options, design.rounds), seed, path)
    return _finish(record, path, options)


def _axes(options: argparse.Namespace) -> Axes:
    axes = Axes(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Axes)})
    for executor in options.executor or ():
        allowed = EXECUTORS[executor].priorities
        if options.priority and allowed and not set(options.priority) & set(allowed):
            options.parser.error(f"{executor} takes the priorities {', '.join(allowed)}")
    return axes


def _rounds(options: argparse.Namespace, usual: int) -> int:
    rounds: int = options.rounds or _PRESETS.get(options.preset, (usual, 1.0))[0]
    return rounds


def _finish(record: dict[str, Any], path: Path, options: argparse.Namespace) -> int:
    from .reporting.printing import show, show_verdict
    from .reporting.report import write_report

    print()
    (show if options.verbose else show_verdict)(record)
    if options.report:
        print(f"\nThe report: {write_report(record, _beside(path))}")
    if not record["complete"]:
        return _INTERRUPTED
    return int(any("error" in cell for cell in record["cells"]))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-report")


def _report(options: argparse.Namespace) -> int:
    from .reporting.report import write_report

    print(write_report(load(options.file), options.output or _beside(options.file)))
    return 0


def _show(options: argparse.Namespace) -> int:
    from .reporting.printing import show

    show(load(options.file), markdown=options.markdown, only=options.table)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from .reporting.compare import compare
    from .reporting.printing import print_tables

    print_tables(*compare(load(options.first), load(options.second)))
    return 0


def _list(_options: argparse.Namespace) -> int:
    for design in DESIGNS.values():
        print(f"{design.name:10}  {design.question} ({_time(design)})")
    for name, plain in PLAIN.items():
        print(f"{name:10}  {plain.question}")
    with open_screen([*UIS]) as environment:
        for title, names, field in (("ui", UIS, "ui"), ("executor", EXECUTORS, "executor")):
            print(f"\n--{title}")
            for name in names:
                condition = Condition(ui=name) if field == "ui" else Condition(executor=name)
                problem = missing_parts([condition], {}, environment).get(condition)
                print(f"  {name:18} {f'not here: {problem}' if problem else _describe(field, name)}")
    print("\n--load")
    for name, text in TITLES.items():
        print(f"  {name:18} {text}")
    return 0


def _describe(field: str, name: str) -> str:
    if field == "ui":
        return (UIS[name].__doc__ or "").strip().removeprefix("Open ").rstrip(".")
    kind = EXECUTORS[name]
    return f"{kind.title}; --priority {', '.join(kind.priorities)}" if kind.priorities else kind.title


def _time(design: Design) -> str:
    cells = [make_cell(condition, design.seconds, 0) for condition in conditions_of(design, Axes(), ())]
    minutes = expected_s(Suite(design.name, cells), design.rounds) / 60
    return f"{len(cells)} conditions, {design.rounds} rounds, about {minutes:.0f} min"
