"""The summary of a record: a verdict, tables, and notes on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..analysis.rows import Rows
from ..findings import choice, cluster, desktop, engine, gil, neighbour, overhead, pausing, transport, ui
from ..findings.loads import load_tables
from ..findings.notes import notes_of, notes_of_beats
from ..findings.tables import Table

NOTE: Final = (
    "Lateness: from the time when a beat of a 60 Hz schedule was due to the time when it was shown, in ms; beats "
    "that a stall swallowed are charged, too. Rounds are pooled. p99/stdlib, work/stdlib: over the standard "
    "library's executor under the same conditions, with 99 % bootstrap intervals. Verdict, on the p99: better or "
    "worse if the interval excludes 1 and the difference is 2 ms or more. Unnoticed: a p99 within a frame of 16.7 ms, "
    "and other programs keep 90 % of their speed."
)


@dataclass(frozen=True)
class Summary:
    """The results of a record."""

    verdict: Sequence[str]  # in sentences with numbers, the most important one first
    tables: Sequence[Table]  # for the terminal
    full: Sequence[Table]  # the same with all columns
    notes: Sequence[str]  # the method, failures and noise


class _Findings(NamedTuple):
    """The functions that make the verdict and the tables of a suite of conditions."""

    verdict: Callable[[Rows], list[str]]
    tables: Callable[[Rows], list[Table]]


class _Plain(NamedTuple):
    """A note on the tables of a suite that has tables only, and the function that makes them."""

    note: str
    tables: Callable[[Mapping[str, Any]], list[Table]]


_OF_CONDITIONS: Final = {
    "quick": _Findings(choice.verdict, lambda _rows: []),  # the table of choices is enough
    "desktop": _Findings(desktop.verdict, desktop.tables),
    "neighbour": _Findings(neighbour.verdict, neighbour.tables),
    "ui": _Findings(ui.verdict, ui.tables),
    "gil": _Findings(gil.verdict, gil.tables),
}
_PLAIN: Final = {
    "overhead": _Plain(overhead.NOTE, overhead.tables),
    "engine": _Plain(engine.NOTE, engine.tables),
    "transport": _Plain(transport.NOTE, transport.tables),
    "cluster": _Plain(cluster.NOTE, cluster.tables),
    "pausing": _Plain(pausing.NOTE, pausing.tables),
}


def is_warning(note: str) -> bool:
    """Return whether a note casts doubt on the numbers."""
    return note.startswith(("The machine was noisy", "Not complete", "Skipped")) or ", failed: " in note


def summarise(record: Mapping[str, Any]) -> Summary:
    """Return the summary of a record, even if its run was interrupted."""
    suite, notes = record["suite"], notes_of(record)
    if suite in _PLAIN:
        tables = _PLAIN[suite].tables(record)
        return Summary([], tables, tables, [_PLAIN[suite].note, *notes])
    rows, findings = Rows(record), _OF_CONDITIONS[suite]
    extra = [*choice.choice_tables(rows), *findings.tables(rows)]
    return Summary(
        findings.verdict(rows),
        [*load_tables(rows, full=False), *extra],
        [*extra, *load_tables(rows, full=True)],
        [NOTE, *notes_of_beats(record, rows), *notes],
    )
