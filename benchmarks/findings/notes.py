"""Notes on the numbers: failures, noise, beats that are left out, and the cost of the tool itself."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..analysis.rows import Row, Rows
from ..subjects.condition import Condition
from ..subjects.executors import AWARE_THREAD

_MAX_LOAD: Final = 0.5
_MAX_DRIFT: Final = 0.1
_MAX_LATENESS_MS: Final = 2.0


def describe_in_a_line(machine: Mapping[str, Any]) -> str:
    """Return a line about the machine, to be shown below a table."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    gil = "" if machine["gil"] else " without the GIL"
    return f"{machine['cpu']}, {machine['cores']['usable']} CPUs, {machine['os']}, {machine['python']}{gil}, {packages}"


def find_noise(load: float, before_ms: float | None, after_ms: float | None, speeds: Sequence[float]) -> list[str]:
    """Return a warning if the machine was noisy.

    `load` is the load average of the minute before. `before_ms` and `after_ms` are the tool's own lateness, p95 with no
    background work, before and after all cells; None if not measured. `speeds` are the frames per second with no
    background work, before and after.

    Examples
    --------
    >>> find_noise(0.1, 0.2, 0.3, [2000, 2050])
    []
    """
    signs: list[str] = []
    if load > _MAX_LOAD:
        signs.append(f"the load average was {load:.2f} before")
    for when, lateness in (("before", before_ms), ("after", after_ms)):
        if lateness is not None and lateness > _MAX_LATENESS_MS:
            signs.append(f"an idle window was {lateness:.1f} ms late {when} (p95)")
    if speeds and max(speeds) / min(speeds) - 1 > _MAX_DRIFT:
        listed = " and then ".join(f"{speed:.0f}" for speed in speeds)
        signs.append(f"on its own, the other program computed {listed} frames/s")
    if not signs:
        return []
    return [f"The machine was noisy: {', '.join(signs)}. Close other programs, wait a minute, and run again."]


def notes_of(record: Mapping[str, Any]) -> list[str]:
    """Return notes on failures, noise and an interruption of the run, and on the machine."""
    return [*_failures(record), *_noise(record), *_incomplete(record), describe_in_a_line(record["machine"])]


def notes_of_beats(record: Mapping[str, Any], rows: Rows) -> list[str]:
    """Return notes on the cost of the heartbeat itself, and on beats that are not counted."""
    return [*_own_cost(record), *_left_out(rows)]


def _failures(record: Mapping[str, Any]) -> list[str]:
    failed = [f"{c['name']}, round {c['round']}, failed: {c['error']}" for c in record["cells"] if "error" in c]
    by_reason: dict[str, list[str]] = {}
    for each in record["skipped"]:
        by_reason.setdefault(each["reason"], []).append(each["what"])
    return [*failed, *(f"Skipped: {'; '.join(whats)}: {reason}." for reason, whats in by_reason.items())]


def _baseline_row(record: Mapping[str, Any], number: int) -> Row | None:
    found = {c["round"]: c["result"] for c in record["cells"] if c["round"] == number and "result" in c}
    return Row(Condition(ui="thread"), found, "ui", record["seed"]) if found else None


def _noise(record: Mapping[str, Any]) -> list[str]:
    before, after = (_baseline_row(record, number) for number in (0, record["rounds"] + 1))
    speeds = [row.in_view("foreground").frames_per_s for row in (before, after) if row is not None]
    return find_noise(
        record["machine"]["load_before"],
        before.percentile(95) if before else None,
        after.percentile(95) if after else None,
        [speed for speed in speeds if speed],
    )


def _own_cost(record: Mapping[str, Any]) -> list[str]:
    """Return a note on the lateness and cost of the heartbeat itself."""
    both = [row for number in (0, record["rounds"] + 1) if (row := _baseline_row(record, number)) is not None]
    if not both:
        return []
    late = " and ".join(f"p50 {row.percentile(50):.2f}, p99 {row.p99:.2f} ms" for row in both)
    when = " before and after the cells" if len(both) > 1 else ""
    note = f"The tool itself: with no load its heartbeat was late by {late}{when}"
    watched = [row.controller_share for row in Rows(record) if row.condition.executor == AWARE_THREAD]
    shares = [
        row.cpu_share for row in Rows(record) if row.condition.ui in (None, "thread") and row.cpu_share is not None
    ]
    if shares:
        # The drawing of windows is not a cost of the tool.
        note += f"; it used {statistics.median(shares):.2%} of a core (median of the cells without a window that draws)"
    if watched:
        median, most = statistics.median(watched), max(watched)
        note += f"; the thread that limits our pool's workers used {median:.2%}, at most {most:.2%}"
    return [f"{note}."]


def _left_out(rows: Rows) -> list[str]:
    """Return a note on the number of beats that are not counted."""
    counts = [row.left_out for row in rows]
    out, every = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
    if not out:
        return []
    share = f"{out} of {every} beats ({out / every:.1%})"
    return [f"Left out: {share}, in which the machine itself stood still: not even a real-time process ran."]


def _incomplete(record: Mapping[str, Any]) -> list[str]:
    if record["complete"]:
        return []
    return [f"Not complete: the run was interrupted after {len(record['cells'])} measurements."]
