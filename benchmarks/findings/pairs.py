"""Direct comparisons of two conditions, which answer the question of a suite."""

from collections.abc import Mapping, Sequence
from typing import Final

from ..analysis.bootstrap import as_text
from ..analysis.rows import Rows
from ..subjects.condition import Condition
from .tables import Table, Value, columns
from .wording import background_of, where_of

_PAIR_COLUMNS: Final = columns("where | this | over that | p99 ms:1 | over:1 | ratio | verdict | speed | work")
Pair = tuple[Condition, Condition]


def pair_tables(rows: Rows, pairs: Mapping[str, Sequence[Pair]]) -> list[Table]:
    """Return a table for each title, with those of its pairs that were measured."""
    found = []
    for title, each in pairs.items():
        lines = [line for this, that in each if (line := _pair_line(rows, this, that)) is not None]
        kept = [place for place in range(len(_PAIR_COLUMNS)) if any(line[place] is not None for line in lines)]
        if lines:
            shown = [[line[place] for place in kept] for line in lines]
            found.append(Table(title, [_PAIR_COLUMNS[place] for place in kept], shown))
    return found


def _pair_line(rows: Rows, this: Condition, that: Condition) -> Sequence[Value] | None:
    ours, theirs = rows.get(this), rows.get(that)
    if ours is None or theirs is None:
        return None
    ratio, work = ours.latency_ratio(theirs), ours.work_ratio(theirs)
    by_ui = this.ui != that.ui
    names = [f"ui {each.ui}" if by_ui else background_of(each) + _blas(this, that, each) for each in (this, that)]
    where = ", ".join(filter(None, [this.load, background_of(this) if by_ui else "", where_of(this)]))
    texts = [as_text(interval) for interval in (ratio, ours.speed_ratio(theirs), work)]
    return (where, *names, ours.p99, theirs.p99, texts[0], ours.verdict(theirs), *texts[1:])


def _blas(this: Condition, that: Condition, each: Condition) -> str:
    if this.blas_threads == that.blas_threads:
        return ""
    return ", BLAS left alone" if each.blas_threads is None else f", BLAS threads {each.blas_threads}"
