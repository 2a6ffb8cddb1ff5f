"""The costs of sending large arrays, for the transfer and for the window of the program."""

import operator
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ..analysis.bootstrap import Interval, as_text, compare_medians
from ..analysis.rows import stood_still
from ..cells.transport import PERIOD_NS
from ..subjects.peers import PEERS, WORKERS
from ..suites.transport import KINDS, ONE, OURS, SIZE, SIZES, SOME_PEERS, STDLIB, text_of
from .tables import Table, Value, table_if_any
from .targets import Target, target_table

NOTE: Final = (
    f"{WORKERS} workers; 600 MB, or one array of 1 GB, at a time. MB/s: until the last array has been read, all of it. "
    "late: how late the beats of the parent's main thread were, 200 a second; beats that a stall swallowed are "
    "charged, too; medians of the rounds, and the most in all. over the stdlib: with 99 % intervals. copies: memory of "
    "all processes beyond the caller's array while the workers have it, in arrays."
)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table for each direction, one of the array that all tasks get, and one of targets."""
    heads = (
        "array | pool | MB/s:0 | over the stdlib | late, p50 ms:2 | late, p95 ms:2 | late, p99 ms:1 | late, most ms:0"
    )
    found = _brief_tables(record)
    for kind, title in KINDS.items():
        rows = [
            _row(record, kind, size, peer)
            for size in SIZES
            for peer in SOME_PEERS
            if _results(record, kind, size, peer)
        ]
        found += table_if_any(title, heads, rows)
    one = [_one_row(record, peer) for peer in SOME_PEERS if _results(record, ONE, SIZE, peer)]
    heads = "pool | tasks:0 | ms each:2 | times as fast as the stdlib | copies:2"
    found += table_if_any(f"one array of {text_of(SIZE)} that all tasks get", heads, one)
    targets = [row for kind in KINDS for row in _targets(record, kind)] + _one_targets(record)
    return [*found, *([target_table("Targets for large arrays", targets)] if targets else [])]


def _brief_tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of arrays of one size with both directions side by side, if both were measured."""
    rows = []
    for peer in SOME_PEERS:
        ways = [_results(record, kind, SIZE, peer) for kind in KINDS]
        if all(ways):
            numbers = [(_median_rate(results), _late_ms(results, 95), _late_ms(results, 99)) for results in ways]
            rows.append((PEERS[peer].title, *numbers[0], *numbers[1]))
    late = "late, p95 ms:1 | late, p99 ms:1"
    heads = f"pool | returned, MB/s:0 | {late} | sent, MB/s:0 | {late}"
    return table_if_any(f"arrays of {text_of(SIZE)}, both ways", heads, rows)


def _results(record: Mapping[str, Any], kind: str, size: int, peer: str) -> list[Mapping[str, Any]]:
    wanted = [kind, size, peer]
    return [cell["result"] for cell in record["cells"] if cell.get("transport") == wanted and "result" in cell]


def _row(record: Mapping[str, Any], kind: str, size: int, peer: str) -> Sequence[Value]:
    results = _results(record, kind, size, peer)
    return (
        text_of(size),
        PEERS[peer].title,
        _median_rate(results),
        as_text(_compare(record, kind, size, peer, _rate)),
        *(_late_ms(results, percent) for percent in (50, 95, 99, 100)),
    )


def _one_row(record: Mapping[str, Any], peer: str) -> Sequence[Value]:
    results = _results(record, ONE, SIZE, peer)
    return (
        PEERS[peer].title,
        results[0]["waves"][0]["tasks"],
        1e3 / statistics.median(map(_tasks_per_s, results)),
        as_text(_compare(record, ONE, SIZE, peer, _tasks_per_s)),
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
    """Return the median of the rounds' percentiles of the lateness, in ms; for 100 the maximum of all rounds.

    Beats during which the machine itself stalled are left out.
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
    """Return a pool's value over the standard library's."""
    ours, theirs = (_results(record, kind, size, each) for each in (peer, STDLIB))
    pairs = [*zip(map(what, ours), map(what, theirs), strict=False)]
    return compare_medians(pairs, operator.truediv, record["seed"]) if pairs and peer != STDLIB else None


def _targets(record: Mapping[str, Any], kind: str) -> list[Sequence[Value]]:
    results = _results(record, kind, SIZE, OURS)
    if not results:
        return []
    of_what = f"{KINDS[kind]}, {text_of(SIZE)}"
    return [
        Target(f"{of_what}: throughput over the stdlib", least=2.5).judge(_compare(record, kind, SIZE, OURS, _rate)),
        Target(f"{of_what}: late, p95 ms", most=0.5).judge(_late_ms(results, 95)),
        Target(f"{of_what}: late, p99 ms", most=5).judge(_late_ms(results, 99)),
    ]


def _one_targets(record: Mapping[str, Any]) -> list[Sequence[Value]]:
    results = _results(record, ONE, SIZE, OURS)
    if not results:
        return []
    ratio = _compare(record, ONE, SIZE, OURS, _tasks_per_s)
    return [
        Target("one array for all tasks: times as fast as the stdlib", least=50).judge(ratio),
        Target("one array for all tasks: copies", most=1.1).judge(_copies(results)),
    ]
