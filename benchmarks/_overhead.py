"""``python -m benchmarks run overhead``: what the library costs on a machine with nothing else to do, beside its peers.

Each cell is one pyperf process for one peer; the rounds interleave them. The work that is done with nothing beside it
is counted by :mod:`benchmarks._cell`.
"""

import importlib.util
import multiprocessing
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from ._bootstrap import Samples, compare_medians
from ._condition import Condition
from ._executors import LOW_PROCESS, STDLIB_PROCESS, title_of
from ._overhead_cell import PEERS, WORKERS, OverheadSpec
from ._rows import Rows
from ._run import Cell, Suite, make_cell
from ._tables import Column, Table, Value
from ._targets import Target, target_table

NAME: Final = "overhead"
QUESTION: Final = "what does it cost? Start, import, a call, map and work, beside the stdlib, loky, joblib and pebble"
ROUNDS: Final = 5
_WORK_S: Final = 2.0
_VALUES: Final = 3


class Kind(NamedTuple):
    """A kind of cost: its title, unit, the factor from s to it, calls in a value, and the peers that have it."""

    title: str
    unit: str
    scale: float
    loops: int
    peers: tuple[str, ...]


_AUTO: Final = "low-spawn-auto"
# Those that send several calls at a time, where it pays.
_CHUNKING: Final = (_AUTO, "pool", "joblib", "joblib-low")
_ALL: Final = tuple(name for name in PEERS if name != _AUTO)
_STARTED: Final = tuple(name for name in _ALL if not name.endswith(("thread", "fork", "pipe")))
_FEW: Final = ("stdlib-spawn", "low-spawn", _AUTO, "pool", "loky", "joblib")
KINDS: Final = {
    "call": Kind("a call and its result", "us", 1e6, 300, _ALL),
    "map": Kind("an item of map, chunks as each library chooses", "us", 1e6, 1500, tuple(PEERS)),
    "map 10 us": Kind("a call of 10 us through map", "us", 1e6, 3000, _FEW),
    "map 1 ms": Kind("a call of 1 ms through map", "us", 1e6, 400, _FEW),
    "map 100 ms": Kind("a call of 100 ms through map", "us", 1e6, 10, _FEW),
    "map mixed": Kind(
        "a call through map: 0.1 ms, one in fifty 1 s", "us", 1e6, 200, ("stdlib-spawn", "low-spawn", _AUTO)
    ),
    "start": Kind("start of two workers", "ms", 1e3, 1, _STARTED),
    "import": Kind("import", "ms", 1e3, 1, tuple(name for name, peer in PEERS.items() if peer.module)),
}
_TARGETS: Final = {
    ("map", "low-fork"): Target("a call through map, forked", most=1.05),
    ("map", "low-spawn"): Target("a call through map, spawned", most=1.05),
    ("map", "priority-thread"): Target("a call through map, threads", most=1.05),
    ("start", "low-spawn"): Target("start of two spawned workers, ms more", most=25),
    ("import", "low-spawn"): Target("import, ms more", most=25),
}
# What the backend is measured by, beside joblib's own.
_THROUGH_JOBLIB: Final = ("joblib", "joblib-low")
_JOBLIB_TARGET: Final = Target("a call through joblib", most=1.1)
_WORK: Final = ((STDLIB_PROCESS, None), (LOW_PROCESS, "idle"), (LOW_PROCESS, "normal"))
_WORK_TARGET: Final = Target("background work on an idle machine", least=0.97)
_COLUMNS: Final = (
    Column("what"),
    Column("unit"),
    Column("median", 2),
    Column("over the stdlib"),
    Column("minus the stdlib"),
    Column("target"),
    Column("met"),
)
_JOBLIB_COLUMNS: Final = tuple(
    Column(column.title.replace("the stdlib", "loky's"), column.digits) for column in _COLUMNS
)
NOTE: Final = (
    "over, minus: the medians compared with those of the stdlib's executor, started in the same way, with 99 % "
    "intervals. met: not clear if the target is inside the interval."
)


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float, optional
        Length of the windows in which work is counted.
    """
    seconds = _WORK_S if seconds is None else seconds
    skipped = [
        {"what": peer.title, "reason": reason} for name, peer in PEERS.items() if (reason := _why_not(name)) is not None
    ]
    cells = [_cost(kind, peer) for kind, each in KINDS.items() for peer in each.peers if _why_not(peer) is None]
    cells += [make_cell(condition, seconds, 0) for condition in _work_conditions()]
    return Suite(NAME, cells, {"seconds": seconds, "workers": WORKERS}, skipped)


def _why_not(peer: str) -> str | None:
    # macOS has fork, but a process that has used its frameworks does not survive it.
    forks = sys.platform != "darwin" and "fork" in multiprocessing.get_all_start_methods()
    if peer.endswith("-fork") and not forks:
        return "no fork here"
    package = PEERS[peer].module.partition(".")[0]
    if package and importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return None


def _cost(kind: str, peer: str) -> Cell:
    # joblib starts a call of its machinery for every single one.
    loops = KINDS[kind].loops // (30 if kind == "call" and peer in _THROUGH_JOBLIB else 1)
    if kind == "map" and peer in _CHUNKING:
        loops *= 20
    spec = OverheadSpec(kind, peer, loops, _VALUES)
    expected_s = {"map 100 ms": 3.5, "map mixed": 9.0}.get(kind, 1.3)
    return Cell(f"{kind} {peer}", "benchmarks._overhead_cell", asdict(spec), expected_s, record={"cost": [kind, peer]})


def _work_conditions() -> list[Condition]:
    return [
        Condition(executor=executor, priority=priority, load="matmul", workers=WORKERS, blas_threads=blas)
        for blas in (None, 1)
        for executor, priority in _WORK
    ]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of costs for each kind, and one of the work."""
    found = [Table(kind.title, _COLUMNS, rows) for name, kind in KINDS.items() if (rows := _cost_rows(record, name))]
    small, through, work = _small_rows(record), _joblib_rows(record), _work_rows(record)
    if small:
        found.append(target_table("what was hoped for of small calls", small))
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
        if peer == _THROUGH_JOBLIB[1]:
            continue  # it has a table of its own
        measured = values(record, kind, peer)
        if measured:
            reference = values(record, kind, PEERS[peer].reference) if PEERS[peer].reference else []
            target = _TARGETS.get((kind, peer))
            by_difference = KINDS[kind].unit == "ms"
            rows.append(_row(PEERS[peer].title, KINDS[kind].unit, measured, reference, target, by_difference, record))
    return rows


def _small_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    """Return what was hoped for of calls that are sent together, and of what a call costs with the transport."""
    empty = values(record, "map", _AUTO)
    rows = (
        [Target("an empty call, in chunks of automatic size, us", most=4).judge(statistics.median(empty))]
        if empty
        else []
    )
    for what, kind, ours, theirs, most in (
        ("a call of 100 ms, in chunks of automatic size over chunks of one", "map 100 ms", _AUTO, "low-spawn", 1.02),
        ("a call of 0.1 ms or 1 s, in the same way", "map mixed", _AUTO, "low-spawn", 1.1),
        ("a call through map at normal priority over the stdlib's", "map", "normal-spawn", "stdlib-spawn", 1.1),
        ("a call through map at idle over the same without shared memory", "map", "low-spawn", "low-spawn-pipe", 1.1),
    ):
        pairs = [*zip(values(record, kind, ours), values(record, kind, theirs), strict=False)]
        if pairs:
            rows.append(Target(what, most=most).judge(compare_medians(pairs, _over, record["seed"])))
    return rows


def _joblib_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    rows: list[Sequence[Value]] = []
    for name, kind in KINDS.items():
        theirs, ours = (values(record, name, peer) for peer in _THROUGH_JOBLIB)
        if theirs and ours:
            target = _JOBLIB_TARGET if kind.unit == "us" else None
            for peer, measured, reference in zip(_THROUGH_JOBLIB, (theirs, ours), ([], theirs), strict=True):
                title = f"{kind.title}: {PEERS[peer].title}"
                rows.append(_row(title, kind.unit, measured, reference, target, False, record))
    return rows


def _work_rows(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    rows, by_condition = [], Rows(record)
    for condition in _work_conditions():
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
    ratio = compare_medians(pairs, _over, record["seed"])
    difference = compare_medians(pairs, _minus, record["seed"])
    judged: Sequence[Value] = (None, None)
    if target is not None:
        judged = target.judge(difference if by_difference else ratio)[2:]
    return (title, unit, statistics.median(measured), ratio.text, difference.text, *judged)


def _over(ours: Samples, theirs: Samples) -> Samples:
    return np.asarray(ours / theirs)


def _minus(ours: Samples, theirs: Samples) -> Samples:
    return np.asarray(ours - theirs)
