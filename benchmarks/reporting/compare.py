"""Whether two runs of a suite agree."""

from collections.abc import Mapping
from typing import Any, Final

from ..analysis.rows import SAME, Row, Rows
from ..findings.notes import describe_in_a_line
from ..findings.tables import Column, Table, Value
from ..suites.plain import PLAIN

_COLUMNS: Final = (
    Column("condition"),
    Column("p99 A", 1),
    Column("p99 B", 1),
    Column("B/A", 2),
    Column("p99/stdlib A"),
    Column("p99/stdlib B"),
    Column("verdict A"),
    Column("verdict B"),
    Column("agree"),
)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[Table], list[str]]:
    """Compare two runs, condition by condition.

    Returns
    -------
    tables : list of Table
        The conditions that both measured.
    notes : list of str
        How many verdicts agree.

    Raises
    ------
    ValueError
        If they are not runs of the same suite, or of a suite without verdicts.
    """
    if first["suite"] != second["suite"]:
        msg = f"two suites: {first['suite']} and {second['suite']}; give two files of the same suite"
        raise ValueError(msg)
    if first["suite"] in PLAIN:
        msg = f"{first['suite']} has no verdicts to compare: look at the two with python -m benchmarks show"
        raise ValueError(msg)
    ours, theirs = Rows(first), Rows(second)
    lines: list[list[Value]] = []
    clear = kept = agreed = both = 0
    for row in ours:
        other = theirs.get(row.condition)
        if other is not None:
            verdicts = [_verdict(row, ours), _verdict(other, theirs)]
            same = verdicts[0] == verdicts[1]
            if verdicts[0] is not None:
                agreed += same
                clear += SAME not in verdicts[:1]
                both += SAME not in verdicts
                kept += same and SAME not in verdicts[:1]
            lines.append([
                row.condition.name,
                row.p99,
                other.p99,
                other.p99 / row.p99 if row.p99 else None,
                *(_ratio_text(each, rows) for each, rows in ((row, ours), (other, theirs))),
                *verdicts,
                None if verdicts[0] is None else "yes" if same else "no",
            ])  # fmt: skip
    total = sum(line[-1] is not None for line in lines)
    notes = [
        (
            f"{agreed} of {total} verdicts agree; of {clear} that are better or worse in A, {kept} are the same in B; "
            f"{kept} of the {both} that are better or worse in both are so in the same direction."
        ),
        *(f"{name}: {describe_in_a_line(record['machine'])}" for name, record in (("A", first), ("B", second))),
    ]
    return [Table(f"{first['suite']}: A and B", _COLUMNS, lines)], notes


def _verdict(row: Row, rows: Rows) -> str | None:
    reference = rows.reference(row)
    return row.verdict(reference) if reference is not None else None


def _ratio_text(row: Row, rows: Rows) -> str | None:
    reference = rows.reference(row)
    ratio = row.latency_ratio(reference) if reference is not None else None
    return ratio.text if ratio is not None else None
