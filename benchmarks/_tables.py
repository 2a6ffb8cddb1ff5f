"""Tables, and how they are printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
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


def to_html(table: Table) -> str:
    """Return the table for the report."""
    sides = ["" if column.digits is None else ' class="number"' for column in table.columns]
    head = "".join(f"<th{side}>{escape(column.title)}</th>" for column, side in zip(table.columns, sides, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{side}>{escape(text)}</td>" for text, side in zip(row, sides, strict=True)) + "</tr>"
        for row in _texts(table)
    )
    title = escape(table.title)
    return f"<table>\n<caption>{title}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _draw(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        drawn.add_column(column.title, justify="left" if column.digits is None else "right", overflow="fold")
    for row in _texts(table):
        drawn.add_row(*row)
    return drawn


def print_tables(tables: Sequence[Table], notes: Sequence[str], *, markdown: bool = False) -> None:
    """Print tables and what is to be said below: drawn on a terminal, plain elsewhere, or as Markdown."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for table in tables:
        if markdown:
            print(to_markdown(table), end="\n\n")
        elif console.is_terminal:
            Console().print(_draw(table))
        else:
            print(to_plain(table), end="\n\n")
    for note in notes:
        console.print(f"- {note}" if markdown else note)


def show(record: Mapping[str, Any], *, markdown: bool = False, only: str | None = None) -> None:
    """Print what a record says.

    Parameters
    ----------
    record : mapping
        What :func:`benchmarks._record.load` returns.
    markdown : bool
        For a document.
    only : str, optional
        Leave out the tables without this text in their titles.

    Raises
    ------
    ValueError
        If there is no such table.
    """
    from ._summary import summarise

    summary = summarise(record)
    chosen = [table for table in summary.tables if only is None or only in table.title]
    if only is not None and not chosen:
        titles = "; ".join(table.title for table in summary.tables)
        msg = f"no table with {only!r} in its title; there are: {titles}"
        raise ValueError(msg)
    print_tables(chosen, [*summary.verdict, *summary.notes], markdown=markdown)
