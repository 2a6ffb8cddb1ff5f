"""Whether two runs of a suite agree."""

from collections.abc import Mapping
from typing import Any, Final

from ..analysis.bootstrap import as_text
from ..analysis.rows import SAME, Rows
from ..findings.notes import describe_in_a_line
from ..findings.tables import Table, Value, columns
from ..suites.plain import PLAIN

_COLUMNS: Final = columns(
    "condition | p99 A:1 | p99 B:1 | B/A:2 | p99/stdlib A | p99/stdlib B | verdict A | verdict B | agree"
)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[Table], list[str]]:
    """Compare two runs, condition by condition: return tables, and notes on how many verdicts agree.

    The tables have the conditions that both measured. Runs of different suites, or of a suite without verdicts, raise a
    `ValueError`.
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
            pairs = [(row, ours.reference(row)), (other, theirs.reference(other))]
            verdicts = [each.verdict(reference) for each, reference in pairs]
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
                *(as_text(each.latency_ratio(reference)) for each, reference in pairs),
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
