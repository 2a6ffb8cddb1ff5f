"""A condition, which describes one measurement, and the names of its parts."""

from dataclasses import dataclass, replace
from typing import Any, Final

NOTHING: Final = "nothing"
CALLBACKS: Final = "callbacks"
AT_ONCE: Final = "at once"
FEEDINGS: Final = (CALLBACKS, "thread", AT_ONCE)
_SESSIONS: Final = {"other-session": "another session", "busy-session": "another session, busy"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One executor that runs one load, and the observers; as it is stored in the JSON and sent to the cell's process.

    The `foreground` is the session of another process, which computes and then beats: "same-session", "other-session",
    or "busy-session", another session whose other programs keep all other CPUs busy, so that it needs the whole
    machine. The `feeding` is how tasks are submitted: by the callback of a task that ends ("callbacks"), by a "thread",
    or all at the start ("at once"). The `ui` is the window that beats in the main thread of the executor's process.
    """

    executor: str = NOTHING  # a key of `benchmarks.subjects.executors.EXECUTORS`, or "nothing"
    priority: str | None = None  # of the workers; None for an executor without a priority
    load: str | None = None  # a key of `benchmarks.subjects.loads.LOADS`, or "fit"
    workers: int = 0
    blas_threads: int | None = None  # limit in each process, set in its environment; None does not limit them
    ui: str | None = None  # a key of `benchmarks.watching.windows.UIS`
    foreground: str | None = None
    foreign: int = 0  # number of other busy processes at normal priority
    switch_ms: float | None = None  # the interpreter's switch interval; None leaves it at Python's 5 ms
    drawing_ms: float = 0.0  # CPU time of the Python code that the window runs for each frame
    feeding: str = CALLBACKS
    python: str = ""  # label of the interpreter, "" for the one that runs the benchmarks

    @property
    def name(self) -> str:
        """The condition in a few words."""
        details = [
            self.load,
            self.ui and f"ui {self.ui}",
            f"{self.workers} workers" if self.workers else None,
            None if self.blas_threads is None else f"BLAS threads {self.blas_threads}",
            _SESSIONS.get(self.foreground or ""),
            f"foreign {self.foreign}" if self.foreign else None,
            None if self.switch_ms is None else f"switch {self.switch_ms:g} ms",
            f"drawing {self.drawing_ms:g} ms" if self.drawing_ms else None,
            f"fed {self.feeding}" if self.feeding != CALLBACKS else None,
            f"Python {self.python}" if self.python else None,
        ]
        executor = f"{self.executor} {self.priority}" if self.priority else self.executor
        return ", ".join([executor, *filter(None, details)])

    def but(self, **parts: Any) -> "Condition":
        """Return the same condition with other parts."""
        return replace(self, **parts)

    def with_executor(self, executor: str, priority: str | None = None) -> "Condition":
        """Return the same condition with another executor."""
        return self.but(executor=executor, priority=priority)

    def without_background(self) -> "Condition":
        """Return the same condition with nothing in the background, which tables call "alone"."""
        return self.but(
            executor=NOTHING, priority=None, load=None, workers=0, blas_threads=None, switch_ms=None, feeding=CALLBACKS
        )
