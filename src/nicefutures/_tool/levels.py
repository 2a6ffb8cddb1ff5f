"""``nicefutures set`` and ``nicefutures show``: the levels of running processes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from .._levels import NoSuchProcessError, PriorityError, ProcessPriority
from .._system import backend
from .._system.common import ProcessDescription, ProcessEndedError
from .common import USAGE_ERROR, printable, put, put_json, say


def set_level(priority: ProcessPriority, pids: Sequence[int], *, at_most: bool, tree: bool) -> int:
    """Put processes at a level, or only what of them is above it; return the exit status."""
    put_at = backend.priority.cap_process if at_most else backend.priority.set_process
    status = 0
    for root in pids:
        for pid in _growing_tree(root) if tree else [root]:
            try:
                shortfall = put_at(priority, pid)
            except PriorityError as error:
                if pid != root and isinstance(error, NoSuchProcessError):
                    continue  # it ended meanwhile
                say(error)
                status = USAGE_ERROR
            else:
                if shortfall is not None:
                    say(shortfall.text)
    return status


def show(pids: Sequence[int], *, as_json: bool, tree: bool) -> int:
    """Show what processes have; return the exit status."""
    status = 0
    rows: dict[int, dict[str, Any]] = {}
    depths = {}
    for root in pids:
        for pid, depth in _tree(root) if tree else [(root, 0)]:
            if pid in rows:
                continue
            try:
                rows[pid] = _row(pid)
                depths[pid] = depth
            except PriorityError as error:
                if pid != root and isinstance(error, NoSuchProcessError):
                    continue  # it ended meanwhile
                say(error)
                status = USAGE_ERROR
    if as_json:
        return put_json(list(rows.values())) or status
    if rows:
        return put(_table(list(rows.values()), list(depths.values()))) or status
    return status


# --- trees


def _growing_tree(root: int) -> Iterator[int]:
    """Yield a process and its descendants, parents first, until none has come up since the others were yielded.

    Who deals with each as it comes has dealt with all in the end, for a new process has the level of its parent.
    """
    yield root
    seen: set[psutil.Process] = set()
    while fresh := [process for process in _descendants(root) if process not in seen]:
        # Its id may be somebody else's by now.
        yield from (process.pid for process in fresh if process.is_running())
        seen.update(fresh)


def _tree(root: int) -> Iterator[tuple[int, int]]:
    """Yield a process and its descendants in the order of their tree, and how deep in it each is."""
    parents = {}
    for process in _descendants(root):
        try:
            parents[process.pid] = process.ppid()
        except psutil.Error:  # it ended meanwhile
            continue
    children = defaultdict(list)
    for pid, parent in sorted(parents.items(), reverse=True):
        children[parent if parent in parents else root].append(pid)
    left = [(root, 0)]
    while left:
        pid, depth = left.pop()
        yield pid, depth
        left += [(child, depth + 1) for child in children[pid]]


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):  # gone, hidden, or a system without the call
        return []


# --- rows


def _row(pid: int) -> dict[str, Any]:
    name = _ask(pid, "name")
    # Not every reader of JSON takes surrogates.
    name = name and name.encode("utf-8", "backslashreplace").decode()
    row = {"pid": pid, "ppid": _ask(pid, "ppid"), "name": name}
    try:
        description = backend.priority.describe(pid)
    except ProcessEndedError:
        return {**row, **dict.fromkeys(ProcessDescription._fields), "state": "zombie"}
    threads = description.threads
    return {
        **row,
        **description._asdict(),
        "level": description.level.name.lower(),
        "threads": threads and {level.name.lower(): count for level, count in threads.items()},
    }


def _ask(pid: int, what: str) -> Any:
    try:
        return getattr(psutil.Process(pid), what)()
    except (psutil.Error, OSError):  # gone, not ours to look at, or a system without the call
        return None


def _table(rows: list[dict[str, Any]], depths: list[int]) -> str:
    """Lay out the columns that this system has, and names by their depth in a tree."""
    columns = [key for key in rows[0] if key != "ppid" and any(row[key] is not None for row in rows)]
    if any(depths) and "name" not in columns:
        columns.insert(1, "name")
    cells = [[key.replace("_", " ").upper() for key in columns]]
    for row, depth in zip(rows, depths, strict=True):
        cells.append(["  " * depth * (key == "name") + _cell(row[key]) for key in columns])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {level}" for level, count in value.items())
    return "-" if value is None else printable(str(value))
