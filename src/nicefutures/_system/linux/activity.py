"""Use of this machine by others: the desktop, /sys/class/power_supply, /proc/pressure and /proc/<pid>/stat.

Some facts:

* A supply of scope "Device" belongs to a mouse or a phone. A laptop runs on battery if a battery is discharging and no
  external supply is online (Documentation/ABI/testing/sysfs-class-power; UPower decides the same way). On external
  power, a battery may say "Not charging", and the second of two batteries may say "Unknown".
* ``avg10`` is the percentage of the last 10 s in which some tasks waited for memory (Documentation/accounting/psi.rst).
  From 10 % on, systemd tells its services to free memory (``MemoryPressureThresholdSec=`` is 200 ms in 2 s,
  systemd.resource-control(5)); systemd-oomd kills at 60 %.
* logind tells when a terminal was last read (``session_get_idle_hint`` in logind-session.c).
* A process's ``stat`` has the nice and the policy of its main thread. Its times of children include only children whose
  exit status it has read (proc_pid_stat(5)).
* In the first line of ``/proc/stat``, a thread at SCHED_IDLE and nice 0 counts as "user", one at nice > 0 as "nice"
  (account_user_time in kernel/sched/cputime.c).
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..._originals import now
from ..common import CannotTellError, Usage, answering
from ..posix import desktop
from ..posix.bus import Bus
from ..posix.link import Connect
from . import seam
from .scheduling import Policy

_LOGIND: Final = "org.freedesktop.login1"
_SUPPLIES: Final = "/sys/class/power_supply"
_PRESSURE: Final = "/proc/pressure/memory"
# Per cent of the last 10 s.
_PRESSURE_LIMIT: Final = 10.0
_PF_KTHREAD: Final = 0x0020_0000  # linux/sched.h


def open_idle_clock() -> Callable[[], float]:
    return desktop.open_clock({**desktop.SOURCES, "logind": _open_console}, seam.system.connect)


def _open_console(connect: Connect) -> Callable[[], float]:
    """Return a function that tells how many seconds ago this session's terminal was last read, in steps of 8 s.

    logind's answer for a graphical session is not used, because desktops report to logind late, and some never.
    """
    bus = Bus(connect, "SYSTEM")

    def get(name: str) -> Any:
        session, properties = "/org/freedesktop/login1/session/auto", "org.freedesktop.DBus.Properties"
        return bus.call(_LOGIND, session, properties, "Get", f"{_LOGIND}.Session", name)[1]

    if (kind := get("Type")) != "tty":
        msg = f"a session of type {kind!r} has no terminal"
        raise OSError(msg)
    return lambda: now() - int(get("IdleSinceHintMonotonic")) / 1e6


def open_battery() -> Callable[[], bool]:
    return answering(_is_on_battery, "the kernel does not list power supplies", "Mount /sys.")


def _is_on_battery() -> bool:
    batteries = []
    for name in seam.system.list_directory(_SUPPLIES):
        if _ask(name, "scope") == "Device":
            continue
        if _ask(name, "type") in ("Battery", "UPS"):
            batteries.append(name)
        elif _ask(name, "online") == "1":
            return False
    return any(_ask(name, "status") == "Discharging" for name in batteries)


def _ask(supply: str, what: str) -> str:
    """Return a property of a power supply; empty if the supply lacks it, or has just been unplugged."""
    with contextlib.suppress(OSError):
        return seam.system.read_text(f"{_SUPPLIES}/{supply}/{what}").strip()
    return ""


def open_memory() -> Callable[[], bool]:
    reason = "the kernel does not tell the pressure on memory"
    return answering(_is_memory_low, reason, "Use Linux 4.20 or later, and boot with psi=1.")


def _is_memory_low() -> bool:
    # The first line is "some avg10=0.00 avg60=0.00 avg300=0.00 total=70799".
    some = seam.system.read_stat(_PRESSURE).split(b"avg10=", 1)[1].split(None, 1)[0]
    return float(some) >= _PRESSURE_LIMIT


def busy_seconds() -> float:
    try:  # "cpu  user nice system idle iowait irq softirq ...", in ticks; interrupts belong to no program
        words = seam.system.read_stat("/proc/stat").split(None, 4)
        return sum(map(int, words[1:4])) / seam.system.clock_ticks()
    except (OSError, ValueError) as error:
        reason = f"/proc/stat cannot be read ({error})"
        raise CannotTellError(reason, "Mount /proc.") from error


def list_usage(pids: Iterable[int] | None = None) -> dict[int, Usage]:
    try:
        return _read("/proc", pids)
    except OSError as error:
        reason = f"/proc cannot be read ({error})"
        raise CannotTellError(reason, "Mount /proc.") from error


def list_threads(pid: int) -> dict[int, Usage]:
    with contextlib.suppress(OSError):  # it has ended
        return _read(f"/proc/{pid}/task", None)
    return {}


def _read(directory: str, numbers: Iterable[int] | None) -> dict[int, Usage]:
    tick = 1 / seam.system.clock_ticks()
    if numbers is None:
        numbers = [int(name) for name in seam.system.list_directory(directory) if name.isdecimal()]
    usage = {}
    for number in numbers:
        try:
            stat = seam.system.read_stat(f"{directory}/{number}/stat")
        except OSError:  # it has ended
            continue
        fields = stat.rpartition(b")")[2].split()  # from the third field on
        flags, nice, policy = int(fields[6]), int(fields[16]), int(fields[38])
        usage[number] = Usage(
            int(fields[19]),
            int(fields[1]),
            (int(fields[11]) + int(fields[12])) * tick,
            (int(fields[13]) + int(fields[14])) * tick,
            int(fields[17]),
            nice <= 0 and policy != Policy.SCHED_IDLE and not flags & _PF_KTHREAD,
        )
    return usage
