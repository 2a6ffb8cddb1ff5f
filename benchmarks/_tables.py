"""Tables that live in the JSON, and how they are printed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table as RichTable

Value: TypeAlias = float | str | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title : str
        With the unit.
    digits : int or None
        Decimals of its numbers; None for text.
    """

    title: str
    digits: int | None = None


@dataclass(frozen=True)
class Table:
    """A table. A value of None was not measured, or does not apply."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Table":
        """Return the table that was saved."""
        return cls(data["title"], [Column(**column) for column in data["columns"]], data["rows"])


def _texts(table: Table) -> list[list[str]]:
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
        *_texts(table),
    ]
    return "\n".join([f"### {table.title}", "", *("| " + " | ".join(line) + " |" for line in lines)])


def to_plain(table: Table) -> str:
    """Return the table with its columns aligned by spaces, for a pipe."""
    lines = [[column.title for column in table.columns], *_texts(table)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.columns))]
    padded = [
        "  ".join(
            text.ljust(width) if column.digits is None else text.rjust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *padded])


def print_on_terminal(table: Table, console: Console) -> None:
    """Print the table with rules and colours."""
    drawn = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        drawn.add_column(column.title, justify="left" if column.digits is None else "right", overflow="fold")
    for row in _texts(table):
        drawn.add_row(*row)
    console.print(drawn)
