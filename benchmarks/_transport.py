"""``python -m benchmarks run transport``: large arrays through process pools, and a window of the parent meanwhile.

Each cell is one pool with arrays of one size that go one way; the rounds interleave them.
"""

import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ._bootstrap import Interval, Samples, compare_medians
from ._overhead_cell import PEERS, WORKERS
from ._rows import stood_still
from ._run import Cell, Suite
from ._tables import Column, Table, Value
from ._targets import Target, target_table
from ._transport_cell import PERIOD_NS, TransportSpec

NAME: Final = "transport"
QUESTION: Final = "what do large arrays cost on their way to the workers and back, and what the window of the program?"
ROUNDS: Final = 5
_SECONDS: Final = 1.0
# Seconds that it takes to start a pool and to end it.
_OVERHEAD_S: Final = 3.0
KINDS: Final = {"results": "arrays that workers return", "arguments": "arrays that workers get"}
_ONE: Final = "one"
SIZES: Final = (10**6, 10**7, 10**8, 10**9)
_SIZE: Final = 10**8
_STDLIB, OURS = "stdlib-spawn", "low-spawn"
SOME_PEERS: Final = (_STDLIB, OURS, "low-spawn-pipe", "pool", "loky", "joblib")
NOTE: Final = (
    f"{WORKERS} workers; 600 MB, or one array of 1 GB, at a time. MB/s: until the last array has been read, all of it. "
    "late: how late the beats of the parent's main thread were, 200 a second; beats that a stall swallowed are "
    "charged, too; medians of the rounds, and the most in all. over the stdlib: with 99 % intervals. copies: memory of "
    "all processes beyond the caller's array while the workers have it, in arrays."
)


def make_suite(seconds: float | None = None) -> Suite:
    """Return the suite.

    Parameters
    ----------
    seconds : float, optional
        How long at least arrays are under way in a cell.
    """
    seconds = _SECONDS if seconds is None else seconds
    there = [peer for peer in SOME_PEERS if not _needs(peer) or importlib.util.find_spec(_needs(peer)) is not None]
    skipped = [
        {"what": PEERS[peer].title, "reason": f"{_needs(peer)} is not installed"}
        for peer in SOME_PEERS
        if peer not in there
    ]
    cells = [_cell(kind, size, peer, seconds) for kind in KINDS for size in SIZES for peer in there]
    cells += [_cell(_ONE, _SIZE, peer, seconds) for peer in there]
    return Suite(NAME, cells, {"seconds": seconds, "workers": WORKERS}, skipped)


def _needs(peer: str) -> str:
    return peer if peer in ("loky", "joblib") else ""


def _cell(kind: str, size: int, peer: str, seconds: float) -> Cell:
    return Cell(
        f"{kind} of {_text(size)}, {peer}",
        "benchmarks._transport_cell",
        asdict(TransportSpec(kind, peer, size, seconds)),
        _OVERHEAD_S + 2 * seconds,
        record={"transport": [kind, size, peer]},
    )


def _text(size: int) -> str:
    return f"{size // 10**6} MB" if size < 10**9 else f"{size // 10**9} GB"


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table for each direction, one of the array that all tasks get, and one of what was hoped for."""
    columns: tuple[Column, ...] = (
        Column("array"),
        Column("pool"),
        Column("MB/s", 0),
        Column("over the stdlib"),
        Column("late, p50 ms", 2),
        Column("late, p95 ms", 2),
        Column("late, p99 ms", 1),
        Column("late, most ms", 0),
    )
    found = _brief_tables(record)
    for kind, title in KINDS.items():
        rows = [
            _row(record, kind, size, peer)
            for size in SIZES
            for peer in SOME_PEERS
            if _results(record, kind, size, peer)
        ]
        if rows:
            found.append(Table(title, columns, rows))
    one = [_one_row(record, peer) for peer in SOME_PEERS if _results(record, _ONE, _SIZE, peer)]
    if one:
        columns = (
            Column("pool"),
            Column("tasks", 0),
            Column("ms each", 2),
            Column("times as fast as the stdlib"),
            Column("copies", 2),
        )
        found.append(Table(f"one array of {_text(_SIZE)} that all tasks get", columns, one))
    targets = [row for kind in KINDS for row in _targets(record, kind)] + _one_targets(record)
    return [*found, *([target_table("what was hoped for of large arrays", targets)] if targets else [])]


def _brief_tables(record: Mapping[str, Any]) -> list[Table]:
    """Return both ways of arrays of one size side by side, if there are both."""
    rows = []
    for peer in SOME_PEERS:
        ways = [_results(record, kind, _SIZE, peer) for kind in KINDS]
        if all(ways):
            numbers = [(_median_rate(results), _late_ms(results, 95), _late_ms(results, 99)) for results in ways]
            rows.append((PEERS[peer].title, *numbers[0], *numbers[1]))
    columns = [Column("pool")]
    for way in ("returned", "sent"):
        columns += [Column(f"{way}, MB/s", 0), Column("late, p95 ms", 1), Column("late, p99 ms", 1)]
    return [Table(f"arrays of {_text(_SIZE)}, both ways", columns, rows)] if rows else []


def _results(record: Mapping[str, Any], kind: str, size: int, peer: str) -> list[Mapping[str, Any]]:
    wanted = [kind, size, peer]
    return [cell["result"] for cell in record["cells"] if cell.get("transport") == wanted and "result" in cell]


def _row(record: Mapping[str, Any], kind: str, size: int, peer: str) -> Sequence[Value]:
    results = _results(record, kind, size, peer)
    ratio = _compare(record, kind, size, peer, _rate)
    rate = _median_rate(results)
    over = ratio.text if ratio is not None else None
    return (_text(size), PEERS[peer].title, rate, over, *(_late_ms(results, percent) for percent in (50, 95, 99, 100)))


def _one_row(record: Mapping[str, Any], peer: str) -> Sequence[Value]:
    results = _results(record, _ONE, _SIZE, peer)
    ratio = _compare(record, _ONE, _SIZE, peer, _tasks_per_s)
    return (
        PEERS[peer].title,
        results[0]["waves"][0]["tasks"],
        1e3 / statistics.median(map(_tasks_per_s, results)),
        ratio.text if ratio is not None else None,
        _copies(results),
    )


def _rate(result: Mapping[str, Any]) -> float:
    """Return MB per second."""
    return float(
        sum(wave["bytes"] for wave in result["waves"]) / 1e6 / sum(wave["seconds"] for wave in result["waves"])
    )


def _median_rate(results: Sequence[Mapping[str, Any]]) -> float:
    return statistics.median(map(_rate, results))


def _tasks_per_s(result: Mapping[str, Any]) -> float:
    (wave,) = result["waves"]
    return float(wave["tasks"] / wave["seconds"])


def _copies(results: Sequence[Mapping[str, Any]]) -> float | None:
    told = [result["copies"] for result in results if result["copies"] is not None]
    return statistics.median(told) if told else None


def _late_ms(results: Sequence[Mapping[str, Any]], percent: float) -> float:
    """Return the median of the rounds' percentiles of the lateness, in ms; the most in all rounds for 100.

    Beats in a time in which the machine itself stood still are left out.
    """
    of_rounds = []
    for result in results:
        late = [
            np.asarray(wave["lateness_ns"])[~stood_still(wave, result["machine"], PERIOD_NS)]
            for wave in result["waves"]
        ]
        of_rounds.append(float(np.percentile(np.concatenate(late), percent)) / 1e6)
    return max(of_rounds) if percent == 100 else statistics.median(of_rounds)  # noqa: PLR2004


def _compare(record: Mapping[str, Any], kind: str, size: int, peer: str, what: Any) -> Interval | None:
    """Return how a pool's number compares with the standard library's."""
    ours, theirs = (_results(record, kind, size, each) for each in (peer, _STDLIB))
    pairs = [*zip(map(what, ours), map(what, theirs), strict=False)]
    return compare_medians(pairs, _over, record["seed"]) if pairs and peer != _STDLIB else None


def _over(ours: Samples, theirs: Samples) -> Samples:
    return ours / theirs


def _targets(record: Mapping[str, Any], kind: str) -> list[Sequence[Value]]:
    results = _results(record, kind, _SIZE, OURS)
    if not results:
        return []
    of_what = f"{KINDS[kind]}, {_text(_SIZE)}"
    return [
        Target(f"{of_what}: throughput over the stdlib", least=2.5).judge(_compare(record, kind, _SIZE, OURS, _rate)),
        Target(f"{of_what}: late, p95 ms", most=0.5).judge(_late_ms(results, 95)),
        Target(f"{of_what}: late, p99 ms", most=5).judge(_late_ms(results, 99)),
    ]


def _one_targets(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    results = _results(record, _ONE, _SIZE, OURS)
    if not results:
        return []
    ratio = _compare(record, _ONE, _SIZE, OURS, _tasks_per_s)
    return [
        Target("one array for all tasks: times as fast as the stdlib", least=50).judge(ratio),
        Target("one array for all tasks: copies", most=1.1).judge(_copies(results)),
    ]
