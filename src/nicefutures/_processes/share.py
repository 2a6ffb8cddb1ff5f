"""Log a warning if low-priority workers get almost no CPU time, because other programs keep the machine busy."""

import contextlib
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .._levels import ProcessPriority
from .._originals import now

_LOGGER: Final = logging.getLogger("nicefutures")
# Seconds: least time between two samples, and the time in which the workers must get so little.
_PERIOD_S: Final = 10.0
window_s = 60.0
# Limits: the share of one CPU that the workers get together, and the share of all CPUs that is in use.
_LITTLE: Final = 0.02
_BUSY: Final = 0.9


class _Sample(NamedTuple):
    """The time, the workers, and the CPU times of these, of all programs and of all CPUs with idle time, in s."""

    at: float
    pids: frozenset[int]
    workers: float
    used: float
    all: float


class Share:
    """Measures the CPU time that the workers of a pool get, while the pool's threads wait for them."""

    def __init__(self, level: Callable[[], ProcessPriority], pids: Callable[[], Iterable[int]]) -> None:
        self._level, self._pids = level, pids  # pids: of workers that have a task and do not stand still
        self._lock = threading.Lock()
        self._looked = -math.inf
        self._last: _Sample | None = None
        self._first: _Sample | None = None  # since then, the same workers have got little
        self._has_said = False

    def look(self) -> None:
        """Log a warning, once, if the workers have got almost no CPU time for a minute."""
        if self._has_said or now() - self._looked < _PERIOD_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = now()
            level = self._level()
            sample = _take_sample(self._pids()) if level < ProcessPriority.NORMAL else None
            last, self._last = self._last, sample
            if sample is None or last is None or _share(last, sample) >= _LITTLE:
                self._first = sample
                return
            first = self._first or last
            share, is_busy = _share(first, sample), sample.used - first.used > _BUSY * (sample.all - first.all)
            if sample.at - first.at < window_s or not is_busy:
                return
            self._has_said = True
        finally:
            self._lock.release()
        remedy = "Let it run until they are done"
        if level is ProcessPriority.IDLE:
            remedy = "priority='below_normal' gives the workers about a tenth of their share; or let it run"
        text = "In %.0f s the worker processes got %.1f %% of a CPU, because other programs use all CPUs and the "
        text += "workers, at priority %r, yield to them. %s."
        try:
            _LOGGER.warning(text, sample.at - first.at, 100 * share, level.name.lower(), remedy)
        except Exception:  # noqa: BLE001, of the user's handlers and filters: it is not an error of the task
            sys.excepthook(*sys.exc_info())


def _share(first: _Sample, last: _Sample) -> float:
    """Return the share of one CPU that the workers got between two samples; 1 if they are others."""
    return (last.workers - first.workers) / (last.at - first.at) if first.pids == last.pids else 1.0


def _take_sample(pids: Iterable[int]) -> _Sample | None:
    """Return a sample if a worker is ready to run, and if the system tells the CPU times."""
    import psutil  # imported while a thread waits anyway

    pids, is_ready, used = frozenset(pids), False, 0.0
    try:
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                times = process.cpu_times()
                used += times.user + times.system
                is_ready = is_ready or process.status() == psutil.STATUS_RUNNING
        machine = psutil.cpu_times()
    except OSError:  # a sandbox hides a file of /proc, or there are no more descriptors
        return None
    if not is_ready:
        return None
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    everything = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
    return _Sample(now(), pids, used, everything - idle, everything)
