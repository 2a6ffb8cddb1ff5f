"""Use of this machine by others: input, the power line, the low-memory notification, and the list of processes.

Some facts:

* ``GetLastInputInfo`` covers this process's session only, in ticks of 1 ms that restart after 2 ** 32. Input from a
  program has the tick that the program gives it, which may be a little later than now.
* ``GetSystemPowerStatus``: ACLineStatus is 0 on battery, 1 on line, 255 if not known; BatteryFlag 128 means that
  there is no battery.
* ``NtQuerySystemInformation`` lists all processes and threads in one call, including other users' processes.
  A process's base priority is 4 at IDLE, 6 at BELOW_NORMAL and 8 at NORMAL; a thread adds its own level to that
  ("Scheduling Priorities"). The system does not tell the CPU time of processes that have ended.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from ..common import CannotTellError, Usage, answering
from ..unknown import busy_seconds
from . import seam

__all__ = ["busy_seconds", "list_threads", "list_usage", "open_battery", "open_idle_clock", "open_memory"]

_TICKS: Final = 2**32
# How many ms later than now the tick of an input may be.
_LATEST: Final = 60_000
_ON_BATTERY: Final = 0
_NO_BATTERY: Final = 128
_NORMAL: Final = 8
_KERNEL: Final = (0, 4)  # the processes "System Idle Process" and "System"
# SYSTEM_PROCESS_INFORMATION and SYSTEM_THREAD_INFORMATION, winternl.h. The fields used here are documented in
# "NtQuerySystemInformation" and in the headers of Process Hacker (phnt, ntexapi.h).
_PROCESS: Final = struct.Struct("@IIqIIQqqqHHPiPPIIPPPIPPPPPPPPPqqqqqq")
_THREAD: Final = struct.Struct("@qqqIPPPiiIII0q")
_UNITS: Final = 1e7  # units in a second


def open_idle_clock() -> Callable[[], float]:
    reason = "Windows does not tell when the keyboard was last used"
    return answering(_idle_seconds, reason, "Start the program in a session with a desktop.")


def _idle_seconds() -> float:
    last = seam.system.last_input()
    milliseconds = (seam.system.ticks() - last) % _TICKS
    return 0.0 if milliseconds >= _TICKS - _LATEST else milliseconds / 1000


def open_battery() -> Callable[[], bool]:
    return answering(_is_on_battery, "Windows does not tell the power status", "Use a newer Windows.")


def _is_on_battery() -> bool:
    line, battery = seam.system.ac_line()
    return line == _ON_BATTERY and not battery & _NO_BATTERY


def open_memory() -> Callable[[], bool]:
    try:
        handle = seam.system.open_memory_notification()  # stays open until this process ends
        seam.system.query_memory_notification(handle)
    except OSError as error:
        reason = f"Windows does not tell that it is short of memory ({error})"
        raise CannotTellError(reason, "Use a newer Windows.") from error
    return lambda: seam.system.query_memory_notification(handle)


def list_usage(pids: Iterable[int] | None = None) -> dict[int, Usage]:
    wanted = None if pids is None else set(pids)
    return {process.pid: process.usage for process in _list_processes() if wanted is None or process.pid in wanted}


def list_threads(pid: int) -> dict[int, Usage]:
    for process in _list_processes():
        if process.pid == pid:
            return dict(map(_read_thread, _THREAD.iter_unpack(process.threads)))
    return {}


class _Process(NamedTuple):
    pid: int
    usage: Usage
    threads: bytes


def _list_processes() -> Iterator[_Process]:
    data, at = seam.system.list_processes(), 0
    while True:
        fields = _PROCESS.unpack_from(data, at)
        following, threads = fields[:2]
        created, user, kernel = fields[6:9]
        priority, pid, parent = fields[12:15]
        begin = at + _PROCESS.size
        counts = priority >= _NORMAL and pid not in _KERNEL
        usage = Usage(created, parent, (user + kernel) / _UNITS, 0.0, threads, counts)
        yield _Process(pid, usage, data[begin : begin + threads * _THREAD.size])
        if not following:
            return
        at += following


def _read_thread(fields: tuple[int, ...]) -> tuple[int, Usage]:
    kernel, user, created, _, _, pid, tid, _, priority, *_ = fields
    return tid, Usage(created, pid, (user + kernel) / _UNITS, 0.0, 1, priority >= _NORMAL)
