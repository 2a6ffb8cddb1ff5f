"""``nicefutures set`` and ``nicefutures show``: the levels of running processes."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import psutil

from .._levels import PriorityError, ProcessPriority
from .._system import backend
from .._system.common import ProcessDescription
from .common import USAGE_ERROR, say


def set_level(priority: ProcessPriority, pids: Sequence[int | None]) -> int:
    """Put processes at a level; return the exit status."""
    status = 0
    for pid in pids:
        try:
            shortfall = backend.priority.set_process(priority, pid)
        except PriorityError as error:
            say(error)
            status = USAGE_ERROR
        else:
            if shortfall is not None:
                say(shortfall.text)
    return status


def show(pids: list[int], *, as_json: bool) -> int:
    """Show what processes have; return the exit status."""
    status = 0
    rows = []
    for pid in pids:
        try:
            rows.append(_row(pid, backend.priority.describe(pid)))
        except PriorityError as error:
            say(error)
            status = USAGE_ERROR
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        table = _table(rows)
        encoding = sys.stdout.encoding or "ascii"
        print(table.encode(encoding, "backslashreplace").decode(encoding))  # a name may have any character
    return status


def _row(pid: int, description: ProcessDescription) -> dict[str, Any]:
    threads = description.threads
    return {
        "pid": pid,
        "name": _process_name(pid),
        **description._asdict(),
        "level": description.level and description.level.name.lower(),
        "threads": threads and {level.name.lower(): count for level, count in threads.items()},
    }


def _process_name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, OSError):  # gone, not ours to look at, or a system without the call
        return None


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay out the columns that this system has."""
    columns = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    cells = [[key.replace("_", " ").upper() for key in columns]]
    cells += [[_cell(row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {level}" for level, count in value.items())
    return "-" if value is None else str(value)
