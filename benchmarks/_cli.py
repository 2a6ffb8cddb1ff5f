"""The command line."""

import argparse
import dataclasses
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from . import _desktop, _job, _overhead
from ._pools import usable_cpus
from ._record import load, show
from ._run import Suite, run_suite

_DEFAULT: Final = "job"
_INTERRUPTED: Final = 130
_DESCRIPTION: Final = "Measure what nicefutures buys, and what it costs. Without a command: job."


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns
    -------
    int
        0, or 1 if something could not be measured or shown, 130 after Ctrl-C.
    """
    parser = _make_parser()
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = [_DEFAULT, *arguments]
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(options.parser, unknown)
    return int(options.run(options))


def _refuse(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """End with what is allowed; argparse itself would tell that of the main parser."""
    allowed = ", ".join(sorted(name for action in parser._actions for name in action.option_strings))  # noqa: SLF001
    parser.error(f"unknown: {' '.join(unknown)}; allowed: {allowed}")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_DESCRIPTION)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    job = commands.add_parser("job", help="a real job beside a program in use, one minute on 2 cores")
    _add_common(job, "job", rounds=2)
    _add_seconds(job, 1.6)
    job.add_argument("--workers", type=_positive, default=usable_cpus(), help="of each executor (default: the CPUs)")
    job.set_defaults(run=_run_job, parser=job)

    desktop = commands.add_parser("desktop", help="the recipes and the library beside a program that computes")
    _add_common(desktop, "desktop", rounds=3)
    _add_seconds(desktop, 8.0)
    desktop.add_argument("--workers", type=_positive, default=4, help="of each executor (default: %(default)s)")
    desktop.set_defaults(run=_run_desktop, parser=desktop)

    overhead = commands.add_parser("overhead", help="what the library costs beside the stdlib, on an idle machine")
    _add_common(overhead, "overhead", rounds=7)
    _add_seconds(overhead, 1.5)
    overhead.add_argument("--calls", type=_positive, default=4000, help="calls in a sample (default: %(default)s)")
    overhead.add_argument("--samples", type=_positive, default=3, help="samples in a round (default: %(default)s)")
    overhead.set_defaults(run=_run_overhead, parser=overhead)

    shown = commands.add_parser("show", help="print the tables of a file")
    shown.add_argument("file", type=Path, metavar="FILE")
    shown.add_argument("--markdown", action="store_true", help="for a document")
    shown.set_defaults(run=_show, parser=shown)
    return parser


def _add_common(parser: argparse.ArgumentParser, name: str, rounds: int) -> None:
    parser.add_argument("--rounds", type=_positive, default=rounds, help="how often (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the order (default: another one each time)")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="measure these cells only")
    parser.add_argument(
        "-o",
        dest="output",
        type=_output,
        default=Path(f"nicefutures-{name}.json"),
        metavar="FILE",
        help="where the results go (default: %(default)s)",
    )


def _add_seconds(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument("--seconds", type=_seconds, default=default, help="length of a window (default: %(default)s)")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number <= 0:
        msg = f"must be a positive integer, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:  # noqa: PLR2004
        msg = f"must be seconds, above 0 and at most 3600, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _output(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"must be a file in a folder that exists, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return path


def _run_job(options: argparse.Namespace) -> int:
    seed = _seed(options)
    return _run(_job.make_suite(options.seconds, options.workers, seed), options, seed)


def _run_desktop(options: argparse.Namespace) -> int:
    return _run(_desktop.make_suite(options.seconds, options.workers), options, _seed(options))


def _run_overhead(options: argparse.Namespace) -> int:
    suite = _overhead.make_suite(options.seconds, options.calls, options.samples)
    return _run(suite, options, _seed(options))


def _seed(options: argparse.Namespace) -> int:
    return random.SystemRandom().randrange(2**31) if options.seed is None else int(options.seed)


def _run(suite: Suite, options: argparse.Namespace, seed: int) -> int:
    record = run_suite(_select(suite, options), options.rounds, seed, options.output)
    show(record)
    if not record["complete"]:
        return _INTERRUPTED
    return int(any("error" in cell for cell in record["cells"]))


def _select(suite: Suite, options: argparse.Namespace) -> Suite:
    """Return the suite with the cells of ``--only``."""
    if options.only is None:
        return suite
    names = [cell.name for cell in suite.cells]
    unknown = sorted(set(options.only) - set(names))
    if unknown:
        options.parser.error(f"unknown cell: {' '.join(unknown)}; allowed: {', '.join(names)}")
    return dataclasses.replace(suite, cells=[cell for cell in suite.cells if cell.name in options.only])


def _show(options: argparse.Namespace) -> int:
    try:
        record = load(options.file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    show(record, markdown=options.markdown)
    return 0
