"""What a run leaves: one JSON file, which all that is printed comes from."""

import json
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ._machine import describe_in_a_line
from ._tables import Table, print_on_terminal, to_markdown, to_plain

# Raised when a file of an older version could no longer be shown.
FORMAT: Final = 1


def save(record: dict[str, Any], path: Path) -> None:
    """Write the record, in one step: a file that was good stays good if this fails."""
    draft = path.with_name(f"{path.name}.part")
    draft.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")
    draft.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    ValueError
        If the file is not one.
    OSError
        If it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record["format"]
    except (ValueError, TypeError, KeyError):
        msg = f"{path} is not a file of python -m benchmarks"
        raise ValueError(msg) from None
    if found != FORMAT:
        msg = f"{path} has format {found}, this program reads format {FORMAT}: run the benchmark again"
        raise ValueError(msg)
    return dict(record)


def show(record: dict[str, Any], *, markdown: bool = False) -> None:
    """Print the tables and notes of a record: drawn on a terminal, plain elsewhere, or as Markdown."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for data in record["summary"]["tables"]:
        table = Table.from_json(data)
        if markdown:
            print(to_markdown(table), end="\n\n")
        elif console.is_terminal:
            print_on_terminal(table, Console())
        else:
            print(to_plain(table), end="\n\n")
    notes = [*record["summary"]["notes"], describe_in_a_line(record["machine"])]
    for note in notes:
        console.print(f"- {note}" if markdown else note)
