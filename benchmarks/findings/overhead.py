"""The costs of the library and of its peers."""

import operator
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..analysis.bootstrap import compare_medians
from ..analysis.rows import Rows
from ..subjects.executors import STDLIB_PROCESS, title_of
from ..subjects.peers import PEERS
from ..suites.overhead import AUTO, KINDS, THROUGH_JOBLIB, work_conditions
from .tables import Table, Value, columns
from .targets import Target, target_table

_TARGETS: Final = {
    ("map", "low-fork"): Target("a call through map, forked", most=1.05),
    ("map", "low-spawn"): Target("a call through map, spawned", most=1.05),
    ("map", "priority-thread"): Target("a call through map, threads", most=1.05),
    ("start", "low-spawn"): Target("start of two spawned workers, ms more", most=25),
    ("import", "low-spawn"): Target("import, ms more", most=25),
}
_JOBLIB_TARGET: Final = Target("a call through joblib", most=1.1)
_WORK_TARGET: Final = Target("background work on an idle machine", least=0.97)
_HEADS: Final = "what | unit | median:2 | over the stdlib | minus the stdlib | target | reached"
_COLUMNS: Final = columns(_HEADS)
_JOBLIB_COLUMNS: Final = columns(_HEADS.replace("the stdlib", "loky's"))
NOTE: Final = (
    "over, minus: the medians compared with those of the stdlib's executor, started in the same way, with 99 % "
    "intervals. reached: not clear if the target is inside the interval."
)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of costs for each kind, and one of the work."""
    found = [Table(kind.title, _COLUMNS, rows) for name, kind in KINDS.items() if (rows := _cost_rows(record, name))]
    small, through, work = _small_rows(record), _joblib_rows(record), _work_rows(record)
    if small:
        found.append(target_table("Targets for small calls", small))
    if through:
        found.append(Table("through joblib", _JOBLIB_COLUMNS, through))
    return [*found, *([Table("products of 700 x 700, nothing beside", _COLUMNS, work)] if work else [])]


def values(record: Mapping[str, Any], kind: str, peer: str) -> list[float]:
    """Return all values of a cost in its unit, in the order of the rounds."""
    return [
        value * KINDS[kind].scale
        for cell in record["cells"]
        if cell.get("cost") == [kind, peer] and "result" in cell
        for value in cell["result"]["values_s"]
    ]


def _cost_rows(record: Mapping[str, Any], kind: str) -> list[Sequence[Value]]:
    rows: list[Sequence[Value]] = []
    for peer in KINDS[kind].peers:
        if peer == THROUGH_JOBLIB[1]:
            continue  # it has its own table
        measured = values(record, kind, peer)
        if measured:
            reference = values(record, kind, PEERS[peer].reference) if PEERS[peer].reference else []
            target = _TARGETS.get((kind, peer))
            by_difference = KINDS[kind].unit == "ms"
            rows.append(_row(PEERS[peer].title, KINDS[kind].unit, measured, reference, target, by_difference, record))
    return rows


def _small_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    """Return the targets for calls that are sent together, and for the cost of a call with the transport."""
    empty = values(record, "map", AUTO)
    rows = (
        [Target("an empty call, in chunks of automatic size, us", most=4).judge(statistics.median(empty))]
        if empty
        else []
    )
    for what, kind, ours, theirs, most in (
        ("a call of 100 ms, in chunks of automatic size over chunks of one", "map 100 ms", AUTO, "low-spawn", 1.02),
        ("a call of 0.1 ms or 1 s, in the same way", "map mixed", AUTO, "low-spawn", 1.1),
        ("a call through map at normal priority over the stdlib's", "map", "normal-spawn", "stdlib-spawn", 1.1),
        ("a call through map at idle over the same without shared memory", "map", "low-spawn", "low-spawn-pipe", 1.1),
    ):
        pairs = [*zip(values(record, kind, ours), values(record, kind, theirs), strict=False)]
        if pairs:
            rows.append(Target(what, most=most).judge(compare_medians(pairs, operator.truediv, record["seed"])))
    return rows


def _joblib_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    rows: list[Sequence[Value]] = []
    for name, kind in KINDS.items():
        theirs, ours = (values(record, name, peer) for peer in THROUGH_JOBLIB)
        if theirs and ours:
            target = _JOBLIB_TARGET if kind.unit == "us" else None
            for peer, measured, reference in zip(THROUGH_JOBLIB, (theirs, ours), ([], theirs), strict=True):
                title = f"{kind.title}: {PEERS[peer].title}"
                rows.append(_row(title, kind.unit, measured, reference, target, False, record))
    return rows


def _work_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    rows, by_condition = [], Rows(record)
    for condition in work_conditions():
        row, reference = by_condition.get(condition), by_condition.get(condition.with_executor(STDLIB_PROCESS))
        if row is not None:
            blas = "as by default" if condition.blas_threads is None else "one BLAS thread in the environment"
            ours, is_reference = [*row.rates.values()], condition.executor == STDLIB_PROCESS
            theirs = [*reference.rates.values()] if reference is not None and not is_reference else []
            title = f"{title_of(condition.executor, condition.priority)}, {blas}"
            target = _WORK_TARGET if condition.priority == "idle" else None
            rows.append(_row(title, "1/s", ours, theirs, target, False, record))
    return rows


def _row(
    title: str,
    unit: str,
    measured: Sequence[float],
    reference: Sequence[float],
    target: Target | None,
    by_difference: bool,
    record: Mapping[str, Any],
) -> Sequence[Value]:
    pairs = [*zip(measured, reference, strict=False)]
    if not pairs:
        return (title, unit, statistics.median(measured), None, None, None, None)
    ratio = compare_medians(pairs, operator.truediv, record["seed"])
    difference = compare_medians(pairs, operator.sub, record["seed"])
    judged: Sequence[Value] = (None, None)
    if target is not None:
        judged = target.judge(difference if by_difference else ratio)[2:]
    return (title, unit, statistics.median(measured), ratio.text, difference.text, *judged)
