"""Detects whether other programs use the CPUs: the condition "cpu_busy".

All programs count except those that yield: the kernel's threads, and processes and threads at a low priority, such as
the workers of other programs' low-priority pools. The workers of this program's pools do not count, nor do processes
that they have started, nor this process itself: it pickles for its pools, and uses their results. Other children of
this process count.

The first check is cheap: the CPU time of the whole machine, minus that of processes which are known not to count. Only
if the rest is too large, all processes are listed at two points in time, and the CPU time in between is added up for
those that count. For processes with several threads, the threads are listed as well. CPU time of ended processes is
attributed to their parent, as the system does, unless one of them did not count. Lists of many processes are costly, so
their number is limited: a few may follow each other closely, further ones come every few seconds.
"""

import math
import os
import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ._originals import now
from ._system import backend
from ._system.common import Usage

# The limit in CPUs, and the seconds over which it applies.
_LIMIT: Final = 0.5
_WINDOW_S: Final = 2.0
# Minimum of seconds between two lists; with the time before the first list, this makes the window.
_APART_S: Final = 1.5
# CPUs that a process must use to be examined more closely.
_NOTICEABLE: Final = 0.02
# Share of a CPU that the lists may cost. If one takes so long that this would delay the next one too much (seconds),
# they may cost more, up to the second share. Also the number of lists that a first answer takes, and the number that
# may be made in advance.
_OWN_SHARE: Final = 0.001
_LONGEST_S: Final = 8.0
_MOST_SHARE: Final = 0.01
_FOR_AN_ANSWER: Final = 3
_MOST_CREDIT: Final = 4.0


class _List(NamedTuple):
    """All processes at a time, and the threads of some."""

    at: float
    usage: dict[int, Usage]
    ours: set[int]
    threads: dict[int, dict[int, Usage]]


class Others:
    """Measures the CPU time of other programs. It is for one thread."""

    def __init__(self) -> None:
        self._intervals: deque[tuple[float, float]] = deque()  # their length, and the CPU time used
        self._at = now()
        self._machine = backend.activity.busy_seconds()
        self._known: dict[int, Usage] = {}
        self._before: _List | None = None
        self._is_first = True
        self._is_busy = False
        self._credit = _MOST_CREDIT  # lists that may be made
        self._price_s = _LONGEST_S  # seconds until one more may be made

    def are_busy(self, workers: Iterable[int]) -> bool:
        """Return whether other programs have used too much lately; call it about twice a second.

        `workers` are the process ids of the workers of this program's pools.
        """
        roots = {os.getpid(), *workers}
        if not self._may_be_busy(roots):
            self._before, self._is_busy = None, False
        elif self._may_list():
            began = time.thread_time()
            self._list(roots)
            cost = time.thread_time() - began
            self._price_s = max(min(cost / _OWN_SHARE, _LONGEST_S), cost / _MOST_SHARE, _APART_S)
            self._credit -= 1
        return self._is_busy

    def _may_list(self) -> bool:
        if self._before is None:
            return self._credit >= _FOR_AN_ANSWER
        return self._credit >= 1 and (self._is_first or self._at - self._before.at >= _APART_S)

    def _may_be_busy(self, roots: set[int]) -> bool:
        """Return whether other programs may be busy, from the CPU time of the whole machine."""
        machine, before, at = backend.activity.busy_seconds(), self._known, now()
        self._known = backend.activity.list_usage({*before, *roots})
        explained = sum(_used(each, before.get(pid, each)) for pid, each in self._known.items())
        elapsed, used = at - self._at, machine - self._machine - explained
        self._at, self._machine = at, machine
        self._credit = min(self._credit + elapsed / self._price_s, _MOST_CREDIT)
        self._intervals.append((elapsed, used))
        while sum(length for length, _ in self._intervals) - self._intervals[0][0] >= _WINDOW_S:
            self._intervals.popleft()
        total, total_used = (sum(each) for each in zip(*self._intervals, strict=True))
        return used > _LIMIT * elapsed or total_used > _LIMIT * total

    def _list(self, roots: set[int]) -> None:
        """List all processes; with an earlier list, decide whether other programs are busy."""
        before, usage = self._before, backend.activity.list_usage()
        ours = _with_descendants(roots - {os.getpid()}, usage) | {os.getpid()}
        threads: dict[int, dict[int, Usage]] = {}
        if before is not None:
            elapsed = self._at - before.at
            busy = {pid for pid in usage if _delta(usage, before.usage, pid) > _NOTICEABLE * elapsed}
            for pid in busy - ours:
                if usage[pid].counts and usage[pid].threads > 1:
                    threads[pid] = backend.activity.list_threads(pid)
                elif not usage[pid].counts:
                    self._known[pid] = usage[pid]
            if not self._is_first:
                self._is_busy = _count(before, usage, ours | before.ours, threads) > _LIMIT * elapsed
        self._known.update((pid, usage[pid]) for pid in ours if pid in usage)
        self._is_first = before is None
        self._before = _List(self._at, usage, ours, threads)


def _count(before: _List, usage: dict[int, Usage], ours: set[int], threads: dict[int, dict[int, Usage]]) -> float:
    """Return the CPU time that others have used since `before`."""
    # The CPU time of an ended process is now in that of its parent, or of the nearest ancestor that is left. If one of
    # the ended processes did not count, no ended child of that ancestor counts.
    gone = {pid: was for pid, was in before.usage.items() if pid not in usage or usage[pid].key != was.key}
    ended: dict[int, float] = {}
    for pid, was in gone.items():
        parent, generations = was.parent, len(gone)
        while parent in gone and generations:
            parent, generations = gone[parent].parent, generations - 1
        lost = was.seconds + was.of_children if was.counts and pid not in ours else math.inf
        ended[parent] = ended.get(parent, 0.0) + lost
    total = 0.0
    for pid, each in usage.items():
        if not each.counts or pid in ours:
            continue
        used = _delta(usage, before.usage, pid)
        if pid in threads:
            if pid not in before.threads:
                continue  # the next list tells which of its threads count
            low = (tid for tid, thread in threads[pid].items() if not thread.counts)
            used -= sum(_delta(threads[pid], before.threads[pid], tid) for tid in low)
        old = before.usage.get(pid)
        of_children = each.of_children - (old.of_children if old and old.key == each.key else 0.0)
        total += max(used, 0.0) + max(of_children - ended.get(pid, 0.0), 0.0)
    return total


def _delta(usage: dict[int, Usage], before: dict[int, Usage], number: int) -> float:
    """Return the CPU time that a process or a thread has used itself since `before`."""
    now_, was = usage[number], before.get(number)
    return now_.seconds - (was.seconds if was and was.key == now_.key else 0.0)


def _used(each: Usage, was: Usage) -> float:
    """Return the CPU time that a process has used since `was`, including its ended children."""
    if each.key != was.key:
        return 0.0
    return each.seconds - was.seconds + each.of_children - was.of_children


def _with_descendants(pids: set[int], usage: dict[int, Usage]) -> set[int]:
    """Return these processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid, each in usage.items():
        children.setdefault(each.parent, []).append(pid)
    found, unseen = set(pids), list(pids)
    while unseen:
        parent = unseen.pop()
        # On Windows, the number of an ended parent may be that of a newer process now.
        since = usage[parent].key if parent in usage else -math.inf
        new = {pid for pid in children.get(parent, []) if usage[pid].key >= since} - found
        found |= new
        unseen += new
    return found
