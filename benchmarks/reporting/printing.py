"""Tables on a terminal, in a pipe, or as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from ..findings.tables import Table, texts, to_markdown, to_plain
from .summary import is_warning, summarise


def _draw(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        drawn.add_column(column.title, justify="left" if column.digits is None else "right", overflow="fold")
    for row in texts(table):
        drawn.add_row(*row)
    return drawn


def print_tables(tables: Sequence[Table], notes: Sequence[str], *, markdown: bool = False) -> None:
    """Print tables and notes below them: drawn on a terminal, plain elsewhere, or as Markdown."""
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
    """Print the results of a record, as Markdown for a document or as text.

    With `only`, leave out the tables without this text in their titles; if there is no such table, raise a
    `ValueError`.
    """
    summary = summarise(record)
    if only is None and not markdown:
        print_tables([], [*summary.verdict, ""])
    chosen = [table for table in summary.tables if only is None or only in table.title]
    if only is not None and not chosen:
        titles = "; ".join(table.title for table in summary.tables)
        msg = f"no table with {only!r} in its title; there are: {titles}"
        raise ValueError(msg)
    print_tables(chosen, [*(summary.verdict if markdown else []), *summary.notes], markdown=markdown)


def show_verdict(record: Mapping[str, Any]) -> None:
    """Print the verdict and warnings about it, or the tables if the suite has no verdict."""
    summary = summarise(record)
    if not summary.verdict:
        show(record)
        return
    print_tables([], [*summary.verdict, *(note for note in summary.notes if is_warning(note))])
