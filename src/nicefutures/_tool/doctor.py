"""``nicefutures doctor``: whether low priorities work on this machine, and what to do if not."""

import contextlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from .._levels import PriorityWarning
from .._system import backend
from .common import fill_standard_files, printable, put, put_json, say
from .measure import FAILURES, Measurement, measure

_NO_EFFECT: Final = 1
_CANNOT_MEASURE: Final = 2
_INTERRUPTED: Final = 128 + signal.SIGINT

# Of the speed that the foreground has alone: less than that is no loss, and lowering has an effect if it gives back
# that part of it.
_WORTH_IT: Final = 0.1
_ENOUGH: Final = 0.5
# A round that much slower than another one, with nothing of ours beside it, had something else beside it.
_STEADY: Final = 0.75

_POOLS: Final = {
    "nothing": "nothing",
    "stdlib": "ProcessPoolExecutor",
    "low": "LowPriorityProcessPoolExecutor",
    "isolated": "LowPriorityProcessPoolExecutor, isolate=True",
}

_WHERE: Final = {
    "same": "for programs in the same session",
    "other": "for programs in other sessions (another terminal, the desktop)",
}

_BLAS: Final = """
import json
try:
    import numpy
    import threadpoolctl
except ImportError:
    print("null")
else:
    print(json.dumps([pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]))
"""


class Verdict(NamedTuple):
    """What the measurements say of one way to lower.

    Parameters
    ----------
    session, pool : str
        Against programs of which session, and whether with ``isolate=True``; see :class:`Measurement`.
    outcome : {"works", "no effect", "nothing to win"}
        What it does.
    counts : bool
        Whether the exit status depends on it.
    text : str
        All of it in plain words.
    """

    session: str
    pool: str
    outcome: str
    counts: bool
    text: str


def run(*, isolate: bool, as_json: bool, seconds: float, verbose: bool = False) -> int:
    """Look, measure for about `seconds` all in all, and print.

    Returns
    -------
    int
        Exit status: 0 if lowering works or there is nothing to be won, 1 if it has no effect, 2 if that cannot be
        measured, or the report not be written.
    """
    fill_standard_files()
    try:
        machine, measurements, said = _examine(isolate=isolate, seconds=seconds)
    except KeyboardInterrupt:
        return _INTERRUPTED
    verdicts = judge(measurements)
    works = not _failures(verdicts) if measurements else None
    status = {True: 0, False: _NO_EFFECT, None: _CANNOT_MEASURE}[works]
    if works is None:
        say(said[0])
    if as_json:
        report = {
            "machine": machine,
            "measurements": [measurement._asdict() for measurement in measurements],
            "verdicts": [verdict._asdict() for verdict in verdicts],
            "warnings": said,
            "works": works,
        }
        return put_json(report) or status
    if works is None:
        return status
    # A control group's name may have any character.
    return put("\n".join(map(printable, _report(machine if verbose else {}, measurements, said, verdicts)))) or status


def _examine(*, isolate: bool, seconds: float) -> tuple[dict[str, Any], list[Measurement], list[str]]:
    """Return what the machine offers, what was measured, nothing if that cannot be, and what is to be said about it."""
    begin = time.monotonic()
    progress = _Progress()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is to be left behind
    try:
        machine = survey()
        cpus = max(1, math.ceil(machine["usable_cpus"]))
        sessions = backend.survey.sessions_are_groups()
        left = seconds - (time.monotonic() - begin)
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            isolate = isolate and sessions
            try:
                measurements = measure(cpus, left, sessions=sessions, isolate=isolate, progress=progress.show)
            except FAILURES as error:
                return machine, [], [f"cannot measure: {str(error) or type(error).__name__}"]
    finally:
        progress.clear()
        signal.signal(signal.SIGTERM, before)
    return machine, measurements, [*_unique(entry.message for entry in log), *_doubts(measurements)]


# --- the machine


def survey() -> dict[str, Any]:
    """Return what this machine offers; None is what it does not tell."""
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "python": platform.python_version(),
        "gil": gil_enabled(),
        "cpus": os.cpu_count(),
        "usable_cpus": backend.accounting.usable_cpus(),
        "blas": _blas(),
        **backend.survey.describe_machine(),
    }


def _blas() -> list[dict[str, Any]] | None:
    """Return the BLAS libraries that NumPy brings, as threadpoolctl has them; None without NumPy."""
    try:
        asked = subprocess.run([sys.executable, "-c", _BLAS], capture_output=True, text=True, timeout=30, check=False)
        found: list[dict[str, Any]] | None = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found


# --- the verdict


def judge(measurements: Iterable[Measurement]) -> list[Verdict]:
    """Return what the measurements say of lowering against each session, without and with isolation."""
    cells = {(each.session, each.pool): each for each in measurements}
    outcomes = {
        (session, pool): _outcome(cells[session, "stdlib"], ours)
        for (session, pool), ours in cells.items()
        if pool in ("low", "isolated")
    }
    isolation = outcomes.get(("other", "isolated"))
    verdicts = []
    for (session, pool), outcome in outcomes.items():
        text = _words(outcome, cells[session, "stdlib"], cells[session, pool])
        if outcome == "no effect":
            text += _advice(session, pool, isolation)
        counts = isolation is None or (session, pool) != ("other", "low")
        verdicts.append(Verdict(session, pool, outcome, counts, text))
    return verdicts


def _outcome(stdlib: Measurement, ours: Measurement) -> str:
    taken = 1 - stdlib.share
    if taken < _WORTH_IT:
        return "nothing to win"
    return "works" if ours.share - stdlib.share >= _ENOUGH * taken else "no effect"


def _words(outcome: str, stdlib: Measurement, ours: Measurement) -> str:
    where, beside_stdlib = _WHERE[ours.session], f"{stdlib.share:.0%}"
    if outcome == "nothing to win":
        return f"Low priority is not needed {where}: they keep {beside_stdlib} of their speed beside an ordinary pool."
    how = "Low priority with isolate=True" if ours.pool == "isolated" else "Low priority"
    does = "works" if outcome == "works" else "has no effect"
    return (
        f"{how} {does} {where}: they keep {ours.share:.0%} of their speed instead of {beside_stdlib}, and their "
        f"slowest 5% of frames take {ours.p95_ms:.1f} ms or more instead of {stdlib.p95_ms:.1f} ms."
    )


def _advice(session: str, pool: str, isolation: str | None) -> str:
    if session == "same":
        return (
            " A container may forbid sched_setscheduler and setpriority, and an emulated system may ignore "
            "priorities: ask its administrator."
        )
    if pool == "isolated":
        return (
            " Give the work a control group with a low cpu.weight, or ask the administrator of this machine to do so."
        )
    return "" if isolation == "no effect" else " Use isolate=True."


def _failures(verdicts: list[Verdict]) -> list[Verdict]:
    """Return those of the sessions against which nothing has an effect."""
    works = {verdict.session for verdict in verdicts if verdict.outcome != "no effect"}
    return [verdict for verdict in verdicts if verdict.counts and verdict.session not in works]


def _unique(messages: Iterable[Warning | str]) -> list[str]:
    """Return the texts, without those that say of another process what has been said of one."""
    texts: dict[str, str] = {}
    for message in messages:
        key = message.reason if isinstance(message, PriorityWarning) else str(message)
        texts.setdefault(key, str(message))
    return list(texts.values())


def _doubts(measurements: Iterable[Measurement]) -> list[str]:
    if any(each.pool == "nothing" and each.spread < _STEADY for each in measurements):
        return ["Another program was busy during the measurement, so the result may be wrong. Repeat it."]
    return []


# --- the report


def _report(
    machine: dict[str, Any], measurements: Iterable[Measurement], said: Iterable[str], verdicts: list[Verdict]
) -> Iterable[str]:
    failures = _failures(verdicts)
    if failures:
        yield f"Low priority has no effect {' nor '.join(_WHERE[verdict.session] for verdict in failures)}."
    elif all(verdict.outcome == "nothing to win" for verdict in verdicts):
        yield "Low priority is not needed on this machine."
    elif any(verdict.outcome == "no effect" for verdict in verdicts):
        yield "Low priority works on this machine. For programs in other sessions, use isolate=True."
    else:
        yield "Low priority works on this machine."
    for text in said:
        yield f"Warning: {text}"
    yield ""
    yield from (f"- {verdict.text}" for verdict in verdicts)
    yield ""
    yield f"{'A program on every CPU':<71}FRAMES/S  P95 MS"
    for each in measurements:
        beside = f"  beside {_POOLS[each.pool]}, {each.session} session"
        yield f"{beside:<71}{each.frames_per_second:>8.0f}{each.p95_ms:>8.1f}"
    if machine:
        yield ""
        yield "This machine"
    for name, value in machine.items():
        yield f"  {name.replace('_', ' '):<22}{_cell(name, value)}"


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "no NumPy" if name == "blas" else "unknown"
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(
                f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in value
            )
        case dict():
            return ", ".join(f"{key} {_cell(key, item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Progress:
    """A bar on stderr, if that is a terminal."""

    _WIDTH: Final = 40

    def show(self, fraction: float) -> None:
        """Draw it."""
        done = round(min(fraction, 1) * self._WIDTH)
        self._write(f"\r[{'#' * done:<{self._WIDTH}}]")

    def clear(self) -> None:
        """Take it away."""
        self._write(f"\r{'':{self._WIDTH + 2}}\r")

    def _write(self, text: str) -> None:
        # A dumb terminal does not go back to the beginning of a line.
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError):  # the terminal is gone
                print(text, end="", file=sys.stderr, flush=True)
