"""Pauses pools by conditions: one thread checks the conditions of all pools of the process.

The thread exists while there are such pools, and sleeps while none of them has work. A condition with a name has one
sensor for all pools. Methods of a pool (`Pausable`), and functions of the user, run in that thread while it holds no
lock.

With gevent and eventlet, the thread is a greenlet: during a check, the other greenlets wait.
"""

import atexit
import contextlib
import functools
import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from ._arguments import Condition
from ._levels import Shortfall
from ._originals import now
from ._others import Others
from ._pausing import Pausable
from ._system import backend
from ._system.common import CannotTellError

_T = TypeVar("_T")
# Is passed a function that lists the process ids of all workers; returns what `_Sensor._ask` returns.
_Question = Callable[[Callable[[], list[int]]], float | None]

_LOGGER: Final = logging.getLogger("nicefutures")
# Seconds between two checks; between two calls of a user's function; until a failed sensor is tried again; until the
# thread sleeps when no pool has work.
_PERIOD_S: Final = 0.5
_FUNCTION_PERIOD_S: Final = 1.0
_RETRY_S: Final = 10.0
_PATIENCE_S: Final = 1.0
# Seconds for which the interpreter's exit waits for a user's function.
_END_S: Final = 1.0
# How many tasks may continue: a task that ends releases its memory.
_LEAVE: Final = {"memory_low": 1}


class _Sensor:
    """Tells when a condition was last met."""

    def __init__(self) -> None:
        self._last_met: float | None = None
        self._is_met = False
        self._asked_at: float | None = None
        self._period_s = _FUNCTION_PERIOD_S

    def age(self, pids: Callable[[], list[int]]) -> float:
        """Return how many seconds ago the condition was last met; infinite if never."""
        at = now()
        if self._asked_at is None or at - self._asked_at >= self._period_s:
            age = self._ask(pids)
            self._asked_at, self._is_met = at, age == 0
            if age is not None:
                self._last_met = now() - age
        if self._is_met:  # it counts until the next answer, which may come after a short `idle_after`
            return 0.0
        return float("inf") if self._last_met is None else now() - self._last_met

    def forget(self) -> None:
        """Forget resources that only the parent may use, because this process is a fork, and ask again."""
        self._asked_at = None

    def _ask(self, pids: Callable[[], list[int]], /) -> float | None:
        """Return how many seconds ago the condition was met; None if it is not met, or not known."""
        raise NotImplementedError


class _Function(_Sensor):
    """A condition that is a function of the user."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self._function = function
        self._has_failed = False

    def _ask(self, _: Callable[[], list[int]]) -> float | None:
        try:
            return 0.0 if self._function() else None
        except BaseException as error:  # noqa: BLE001, also sys.exit(), which would end the thread
            if not self._has_failed:
                self._has_failed = True
                text = "The condition %s of pause_when failed, and counts as False."
                _log(logging.ERROR, text, _name(self._function), error=error)
            return None


class _Named(_Sensor):
    """A condition with a name. It raises a CannotTellError if this system cannot detect it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._period_s = _PERIOD_S / 2  # once per check, for any number of pools
        self._has_failed = False
        self._name = name
        self._question: _Question | None = _OPENERS[self._name]()

    def forget(self) -> None:
        super().forget()
        self._question = None

    def _ask(self, pids: Callable[[], list[int]]) -> float | None:
        try:
            if self._question is None:
                self._question = _OPENERS[self._name]()
            answer = self._question(pids)
        except Exception as error:  # noqa: BLE001, a server may answer anything
            if not self._has_failed:
                reason = error.reason if isinstance(error, CannotTellError) else error
                _log(logging.WARNING, "The condition %r cannot be detected any more: %s", self._name, reason)
            self._question, self._has_failed, self._period_s = None, True, _RETRY_S
            return None
        self._has_failed, self._period_s = False, _PERIOD_S / 2
        return answer


def _open_user() -> _Question:
    clock = backend.activity.open_idle_clock()
    return lambda _: clock()


def _open_cpu() -> _Question:
    others = Others()
    return lambda pids: 0.0 if others.are_busy(pids()) else None


def _asking(is_met: Callable[[], bool]) -> _Question:
    return lambda _: 0.0 if is_met() else None


_OPENERS: Final[dict[str, Callable[[], _Question]]] = {
    "user_active": _open_user,
    "on_battery": lambda: _asking(backend.activity.open_battery()),
    "cpu_busy": _open_cpu,
    "memory_low": lambda: _asking(backend.activity.open_memory()),
}


class Watch:
    """The conditions of one pool. It does not keep the pool alive."""

    def __init__(self, watcher: "_Watcher", pool: Pausable, sensors: dict[str, _Sensor], idle_after: float) -> None:
        self.paused_by: set[str] = set()  # the conditions that pause it
        self._watcher = watcher
        self._sensors = sensors
        self._idle_after = idle_after
        self._pool = weakref.ref(pool, lambda _: self.close())

    def wake(self) -> None:
        """Wake the thread, because there is work; if it is awake, this costs one test."""
        if self._watcher.sleeps and self._sensors:
            self._watcher.wake()

    def close(self) -> None:
        """Stop watching. The pool keeps its state."""
        self._watcher.remove(self)

    def has_work(self) -> bool:
        """Return whether the pool has work; False if it is gone."""
        pool = self._pool()
        return pool is not None and pool.has_work()

    def pids(self) -> list[int]:
        """Return the process ids of the pool's workers."""
        pool = self._pool()
        return [] if pool is None else pool.pids()

    def forget(self) -> None:
        """Begin again in a forked process, because open resources belong to the parent."""
        self.paused_by.clear()
        for sensor in self._sensors.values():
            sensor.forget()

    def release(self) -> None:
        """Continue the pool, whatever its conditions are."""
        pool = self._pool()
        while pool is not None and self.paused_by:
            pool.resume(self.paused_by.pop())

    def look(self, pids: Callable[[], list[int]]) -> None:
        """Check the conditions, and pause or continue the pool."""
        for reason, sensor in self._sensors.items():
            is_met = sensor.age(pids) < self._idle_after
            pool = self._pool()
            if pool is None or is_met == (reason in self.paused_by):
                if pool is not None and is_met and reason in _LEAVE:
                    pool.pause(reason, leave=_LEAVE[reason])  # a task may have ended, so another one may begin
                continue
            if is_met:
                self.paused_by.add(reason)
                pool.pause(reason, leave=_LEAVE.get(reason, 0))
                _log(logging.INFO, "%s pauses: %s", pool, reason)
            else:
                self.paused_by.discard(reason)
                pool.resume(reason)
                if not any(pool.reasons):
                    _log(logging.INFO, "%s continues: no %s for %g s", pool, reason, self._idle_after)


class _Watcher:
    """Owns the watching thread."""

    def __init__(self) -> None:
        self._has_hooks = False
        self._watches: list[Watch] = []
        self._reset()

    def _reset(self) -> None:
        self.sleeps = True  # it must be woken when there is work
        self._thread: threading.Thread | None = None
        self._sensors: dict[str, _Named] = {}
        # Reentrant, because the garbage collector may end a pool at any point. The other lock signals by its release:
        # an event or condition of `threading` would take a lock itself to signal.
        self._lock = threading.RLock()
        self._news = threading.Lock()
        self._news.acquire()
        for watch in self._watches:
            watch.forget()

    # --- for the thread of the caller

    def add(
        self, pool: Pausable, conditions: Iterable[Condition], idle_after: float, tell: Callable[[Shortfall], None]
    ) -> Watch:
        """Pause a pool while one of the conditions is met, from its next task on. The pool is not kept alive.

        `parse_pause_when` returns the conditions. The pool continues after `idle_after` seconds without a condition.
        `tell` is called, in this thread, for each condition that cannot be detected. Such a condition never pauses the
        pool.
        """
        sensors: dict[str, _Sensor] = {}
        for condition in conditions:
            try:
                _make_thread(self._run)
                if callable(condition):
                    sensors[_unique(_name(condition), sensors)] = _Function(condition)
                else:
                    sensor = self._sensors.get(condition) or _Named(condition)
                    sensors[_unique(condition, sensors)] = self._sensors.setdefault(condition, sensor)
            except CannotTellError as error:
                name = _name(condition) if callable(condition) else repr(condition)
                tell(Shortfall(f"the condition {name}", "", error.reason, error.remedy, "detect"))
        watch = Watch(self, pool, sensors, idle_after)
        if sensors:
            with self._lock:
                self._watches.append(watch)
                if not self._has_hooks:
                    self._has_hooks = True
                    atexit.register(self._end)
                    if hasattr(os, "register_at_fork"):
                        os.register_at_fork(after_in_child=self._reset)
        return watch

    def remove(self, watch: Watch) -> None:
        """Stop watching a pool."""
        with self._lock, contextlib.suppress(ValueError):
            self._watches.remove(watch)
            if not self._watches:
                self._sensors = {}
        self._tell()

    def _end(self) -> None:
        """End the thread, because the interpreter ends: it would stop the thread anywhere, also while it has a lock."""
        with self._lock:
            self._watches.clear()
            thread = self._thread
        self._tell()
        if thread is not None:
            thread.join(_END_S)

    def wake(self) -> None:
        """Wake the thread, and start it if there is none."""
        with self._lock:
            if not self._watches:
                return
            if self._thread is None:
                thread = _make_thread(self._run)
                # No more threads, or the interpreter ends: the next task tries again.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            self.sleeps = self._thread is None
        self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has been signalled already
            self._news.release()

    # --- the thread

    def _run(self) -> None:
        quiet_since: float | None = None
        while not self._is_done():
            at_work = [watch for watch in list(self._watches) if self._attempt(watch, watch.has_work)]
            for watch in at_work:
                self._attempt(watch, functools.partial(watch.look, self._list_pids))
            if at_work:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now()
            elif now() - quiet_since >= _PATIENCE_S:
                quiet_since = None
                self._sleep()
                continue
            self._news.acquire(timeout=_PERIOD_S)

    def _is_done(self) -> bool:
        """Return whether the thread must end, because there is nothing to watch."""
        with self._lock:
            if not self._watches:
                self._thread, self.sleeps = None, True
            return not self._watches

    def _sleep(self) -> None:
        """Wait for work, or for the end of the last pool."""
        self.sleeps = True
        # A task that was submitted before the line above has not woken the thread.
        if not any(self._attempt(watch, watch.has_work) for watch in list(self._watches)):
            self._news.acquire()
        self.sleeps = False

    def _attempt(self, watch: Watch, step: Callable[[], _T]) -> _T | None:
        """Run a step for one pool, whose errors must not affect the other pools."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001, a fault of ours
            watch.close()
            with contextlib.suppress(Exception):
                watch.release()
            _log(logging.ERROR, "A pool does not pause by itself any more.", error=error)
            return None

    def _list_pids(self) -> list[int]:
        return [pid for watch in list(self._watches) for pid in self._attempt(watch, watch.pids) or ()]


def _log(level: int, text: str, *arguments: object, error: BaseException | None = None) -> None:
    """Log without errors: one of the user's log handlers would end the thread, and leave pools paused."""
    with contextlib.suppress(BaseException):
        _LOGGER.log(level, text, *arguments, exc_info=error)


def _make_thread(run: Callable[[], None]) -> threading.Thread:
    try:
        return threading.Thread(target=run, name="nicefutures-watch", daemon=True)
    except RuntimeError as error:
        reason = f"no thread can watch in a subinterpreter ({error})"
        raise CannotTellError(reason, "Make the executor in the main interpreter.") from error


def _name(function: Callable[[], object]) -> str:
    """Return the name of a condition that is a function, or an object that is called like one."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _unique(name: str, names: Iterable[str]) -> str:
    """Return the name, or a new one if it is taken, for example for the second lambda."""
    return name if name not in names else next(new for n in itertools.count(2) if (new := f"{name} ({n})") not in names)


_watcher: Final = _Watcher()
watch: Final = _watcher.add
