"""``nicefutures doctor``: whether low priorities and `pause_when` work on this machine, and what to do if not."""

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

from .._arguments import CONDITIONS
from .._levels import PriorityWarning, Shortfall
from .._system import backend
from .common import fill_standard_files, printable, put, put_json, say
from .measure import FAILURES, Measurement, measure
from .program import Program

_NO_EFFECT: Final = 1
_CANNOT_MEASURE: Final = 2
_INTERRUPTED: Final = 128 + signal.SIGINT

# A smaller loss of the foreground's speed does not count; lowering has an effect if it restores at least the second
# fraction of the loss.
_WORTH_IT: Final = 0.1
_ENOUGH: Final = 0.5
# If the slowest round without a pool is below this fraction of the fastest one, another program was busy.
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
    """The result of the measurements for one way to lower."""

    session: str  # of the other programs, as in a :class:`Measurement`
    pool: str  # whether it has ``isolate=True``, as in a :class:`Measurement`
    outcome: str  # "works", "no effect" or "nothing to win"
    counts: bool  # the exit status depends on it
    text: str  # the result in words


def run(*, isolate: bool, as_json: bool, seconds: float, verbose: bool = False) -> int:
    """Examine the machine, measure for about `seconds` in total, and print the report.

    Return the exit status: 1 if lowering has no effect, 2 if the measurement failed or the report could not be written,
    and 130 after Ctrl-C. Otherwise 0: lowering works, is not needed, or the machine was too busy to tell.
    """
    fill_standard_files()
    try:
        machine, measurements, said = _examine(isolate=isolate, seconds=seconds)
        conditions = survey_conditions()
    except KeyboardInterrupt:
        return _INTERRUPTED
    verdicts = judge(measurements)
    fails = bool(_failures(verdicts))
    works = None if not measurements or (fails and _was_busy(measurements)) else not fails
    status = _NO_EFFECT if works is False else 0 if measurements else _CANNOT_MEASURE
    if not measurements:
        say(said[0])
    if as_json:
        report = {
            "machine": machine,
            "measurements": [measurement._asdict() for measurement in measurements],
            "verdicts": [verdict._asdict() for verdict in verdicts],
            "conditions": conditions,
            "warnings": said,
            "works": works,
        }
        return put_json(report) or status
    if not measurements:
        return status
    # The name of a control group may contain any character.
    return (
        put(
            "\n".join(
                map(printable, _report(machine if verbose else {}, measurements, said, verdicts, conditions, works))
            )
        )
        or status
    )


def _examine(*, isolate: bool, seconds: float) -> tuple[dict[str, Any], list[Measurement], list[str]]:
    """Return a description of the machine, the measurements (none if they failed), and warnings about them."""
    begin = time.monotonic()
    progress = _Progress()
    # No process is left behind after these. Under `nohup` the second one stays ignored.
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {each: signal.getsignal(each) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, signal.default_int_handler)
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
        for each, handler in before.items():
            signal.signal(each, handler)
    said = _unique(entry.message for entry in log)
    if _was_busy(measurements):
        said.append("Another program was busy during the measurement, so the result may be wrong. Repeat it.")
    return machine, measurements, said


# --- the machine


def survey() -> dict[str, Any]:
    """Return a description of this machine; unknown values are None."""
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "python": platform.python_version(),
        "gil": gil_enabled(),
        "cpus": os.cpu_count(),
        "usable_cpus": backend.accounting.usable_cpus(),
        "blas": _blas(),
        **backend.survey.describe_machine(),
    }


def survey_conditions() -> list[dict[str, Any]]:
    """Return which conditions of `pause_when` can be detected here, and why the others cannot."""
    conditions = []
    for name in CONDITIONS:
        missing: list[Shortfall] = []
        Program("", [name], None, missing.append).end()
        reason, remedy = (missing[0].reason, missing[0].remedy) if missing else (None, None)
        conditions.append({"condition": name, "detected": not missing, "reason": reason, "remedy": remedy})
    return conditions


def _blas() -> list[dict[str, Any]] | None:
    """Return NumPy's BLAS libraries, as threadpoolctl reports them; None without NumPy or threadpoolctl."""
    try:
        asked = subprocess.run([sys.executable, "-c", _BLAS], capture_output=True, text=True, timeout=30, check=False)
        found: list[dict[str, Any]] | None = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found


# --- the verdict


def judge(measurements: list[Measurement]) -> list[Verdict]:
    """Return the verdicts for each session, without and with isolation. On a busy machine they have no advice."""
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
        if outcome == "no effect" and not _was_busy(measurements):
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
    how = "Low priority with isolate=True" if ours.pool == "isolated" else "Low priority"
    if outcome == "nothing to win":
        return f"{how} is not needed {where}: they keep {beside_stdlib} of their speed beside an ordinary pool."
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
    """Return the verdicts of the sessions for which no way to lower has an effect."""
    works = {verdict.session for verdict in verdicts if verdict.outcome != "no effect"}
    return [verdict for verdict in verdicts if verdict.counts and verdict.session not in works]


def _unique(messages: Iterable[Warning | str]) -> list[str]:
    """Return the texts; of warnings that differ only in the process, return one."""
    texts: dict[str, str] = {}
    for message in messages:
        key = message.reason if isinstance(message, PriorityWarning) else str(message)
        texts.setdefault(key, str(message))
    return list(texts.values())


def _was_busy(measurements: Iterable[Measurement]) -> bool:
    return any(each.pool == "nothing" and each.spread < _STEADY for each in measurements)


# --- the report


def _report(
    machine: dict[str, Any],
    measurements: Iterable[Measurement],
    said: Iterable[str],
    verdicts: list[Verdict],
    conditions: Iterable[dict[str, Any]],
    works: bool | None,
) -> Iterable[str]:
    failures, is_busy = _failures(verdicts), _was_busy(measurements)
    low_priority = "Not certain: low priority" if is_busy else "Low priority"
    if works is None:
        yield "The machine was too busy to tell whether low priority works."
    elif failures:
        yield f"Low priority has no effect {' nor '.join(_WHERE[verdict.session] for verdict in failures)}."
    elif all(verdict.outcome == "nothing to win" for verdict in verdicts):
        yield f"{low_priority} is not needed on this machine."
    elif not is_busy and any(verdict.outcome == "no effect" for verdict in verdicts):
        yield "Low priority works on this machine. For programs in other sessions, use isolate=True."
    else:
        yield f"{low_priority} works on this machine."
    for text in said:
        yield f"Warning: {text}"
    yield ""
    yield from (f"- {verdict.text}" for verdict in verdicts)
    yield ""
    yield f"{'A program on every CPU':<71}FRAMES/S  P95 MS"
    for each in measurements:
        beside = f"  beside {_POOLS[each.pool]}, {each.session} session"
        yield f"{beside:<71}{each.frames_per_second:>8.0f}{each.p95_ms:>8.1f}"
    yield ""
    yield "Conditions of pause_when"
    for condition in conditions:
        answer = "can be detected" if condition["detected"] else "no: {reason}. {remedy}".format_map(condition)
        yield f"  {condition['condition']:<22}{answer}"
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
    """A progress bar on stderr, if that is a terminal."""

    _WIDTH: Final = 40

    def show(self, fraction: float) -> None:
        """Draw the bar."""
        done = round(min(fraction, 1) * self._WIDTH)
        self._write(f"\r[{'#' * done:<{self._WIDTH}}]")

    def clear(self) -> None:
        """Remove the bar."""
        self._write(f"\r{'':{self._WIDTH + 2}}\r")

    def _write(self, text: str) -> None:
        # A dumb terminal cannot go back to the beginning of a line.
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError):  # the terminal is gone
                print(text, end="", file=sys.stderr, flush=True)
