"""``nicefutures set`` and ``nicefutures show``: the priorities of running processes."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from .._levels import NoSuchProcessError, PriorityError, ProcessPriority
from .._system import backend
from .._system.common import ProcessDescription, ProcessEndedError, no_such_process
from .common import USAGE_ERROR, printable, put, put_json, say

# The line of Linux that names the process of a thread (proc_pid_status(5)).
_PROCESS: Final = re.compile(r"^Tgid:\s*(\d+)$", re.MULTILINE)
# The command line of ``nicefutures run --pause-when``; NUL separates its words.
_PAUSES: Final = re.compile(r"(?:^|[/\\\0])nicefutures(?:\.exe)?\0run\0(?:.*\0)?--pause-when[\0=]([^\0]+)", re.DOTALL)


def set_level(priority: ProcessPriority, pids: Sequence[int], *, at_most: bool, tree: bool) -> int:
    """Set the priority of processes, or only lower the threads that are above it; return the exit status."""
    put_at = backend.priority.cap_process if at_most else backend.priority.set_process
    status = 0
    for root in pids:
        for pid in growing_tree(root) if tree else [root]:
            try:
                check_process(pid, f"priority {priority.name} of process {pid}")
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
    """Show the priorities of processes; return the exit status."""
    status = 0
    rows: dict[int, dict[str, Any]] = {}
    depths = {}
    for root in pids:
        for pid, depth in _tree(root) if tree else [(root, 0)]:
            if pid in rows:
                continue
            try:
                check_process(pid, f"the priority of process {pid}")
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


def check_process(pid: int, requested: str) -> None:
    """Raise a NoSuchProcessError for the id of a thread, which Linux would take for its process."""
    try:
        found = _PROCESS.search(Path(f"/proc/{pid}/status").read_text("utf-8", "replace"))
    except OSError:  # there is no such file, or it is hidden
        return
    if found and int(found[1]) != pid:
        raise no_such_process(requested, pid)


# --- trees


def growing_tree(root: int) -> Iterator[int]:
    """Yield a process and its descendants, parents first, until no new one has started since the last was yielded.

    A caller that sets the priority of each one sets that of all, because a new process has its parent's priority.
    """
    yield root
    seen: set[psutil.Process] = set()
    while fresh := [process for process in _descendants(root) if process not in seen]:
        # Another process may have its id by now.
        yield from (process.pid for process in fresh if process.is_running())
        seen.update(fresh)


def _tree(root: int) -> Iterator[tuple[int, int]]:
    """Yield a process and its descendants in the order of their tree, each with its depth."""
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
    # Not every reader of JSON accepts surrogates.
    name = name and name.encode("utf-8", "backslashreplace").decode()
    row = {"pid": pid, "ppid": _ask(pid, "ppid"), "name": name}
    try:
        description = backend.priority.describe(pid)
    except ProcessEndedError:
        return {**row, **dict.fromkeys(ProcessDescription._fields), "state": "zombie", "paused_by": None}
    threads = description.threads
    is_stopped = _ask(pid, "status") == psutil.STATUS_STOPPED
    return {
        **row,
        **description._asdict(),
        "level": description.level.name.lower(),
        "threads": threads and {level.name.lower(): count for level, count in threads.items()},
        "state": "stopped" if is_stopped else description.state,
        "paused_by": _find_run(pid) if is_stopped else None,
    }


def _find_run(pid: int) -> str | None:
    """Return the ``nicefutures run --pause-when`` that has started a stopped process, and its conditions."""
    for parent in _ask(pid, "parents") or ():
        found = _PAUSES.search("\0".join(_ask(parent.pid, "cmdline") or ()))
        if found and _ask(parent.pid, "status") != psutil.STATUS_STOPPED:
            return f"nicefutures run (PID {parent.pid}): {found[1]}"
    return None


def _ask(pid: int, what: str) -> Any:
    try:
        return getattr(psutil.Process(pid), what)()
    except (psutil.Error, OSError):  # gone, not permitted, or a system without the call
        return None


def _table(rows: list[dict[str, Any]], depths: list[int]) -> str:
    """Format the columns that this system has; indent names by their depth in a tree."""
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
