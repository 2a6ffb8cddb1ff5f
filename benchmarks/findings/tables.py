"""Tables, and how they are printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

Value: TypeAlias = float | str | None


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str  # with the unit
    digits: int | None = None  # decimals of its numbers; None for text


@dataclass(frozen=True)
class Table:
    """A table. A value of None was not measured, or does not apply."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]


def columns(heads: str) -> tuple[Column, ...]:
    """Return columns from their titles, and their decimals if they are numbers: ``"load | p99 ms:1 | verdict"``."""
    parts = [head.partition(":") for head in heads.split(" | ")]
    return tuple(Column(title, int(digits) if digits else None) for title, _, digits in parts)


def table_if_any(title: str, heads: str, rows: Sequence[Sequence[Value]]) -> list[Table]:
    """Return a table with these :func:`columns`, if there are rows."""
    return [Table(title, columns(heads), rows)] if rows else []


def texts(table: Table) -> list[list[str]]:
    """Return the values, row by row, as they are shown."""
    return [[_text(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]


def _text(value: Value, column: Column) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.{column.digits or 0}f}"


def to_markdown(table: Table) -> str:
    """Return the table for a document."""
    lines = [
        [column.title for column in table.columns],
        ["---" if column.digits is None else "---:" for column in table.columns],
        *texts(table),
    ]
    return "\n".join([f"### {table.title}", "", *("| " + " | ".join(line) + " |" for line in lines)])


def to_plain(table: Table) -> str:
    """Return the table with its columns aligned by spaces, for a pipe."""
    lines = [[column.title for column in table.columns], *texts(table)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.columns))]
    padded = [
        "  ".join(
            text.ljust(width) if column.digits is None else text.rjust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *padded])


def to_html(table: Table) -> str:
    """Return the table for the report."""
    sides = ["" if column.digits is None else ' class="number"' for column in table.columns]
    head = "".join(f"<th{side}>{escape(column.title)}</th>" for column, side in zip(table.columns, sides, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{side}>{escape(text)}</td>" for text, side in zip(row, sides, strict=True)) + "</tr>"
        for row in texts(table)
    )
    title = escape(table.title)
    return f"<table>\n<caption>{title}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
