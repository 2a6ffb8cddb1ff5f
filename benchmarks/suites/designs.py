"""The suites of conditions.

Each suite starts at a base condition and varies one part at a time, because all combinations would take days. With
:class:`Axes`, users choose their own combinations.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..subjects.condition import Condition
from ..subjects.executors import (
    AWARE_THREAD,
    BY_HAND,
    EXECUTORS,
    LOW_ISOLATED,
    LOW_LEVEL_ONLY,
    LOW_PROCESS,
    PRIORITY_INTERPRETER,
    PRIORITY_THREAD,
    STDLIB_INTERPRETER,
    STDLIB_PROCESS,
    STDLIB_THREAD,
    stdlib_of,
)
from ..subjects.loads import FIT, LOADS
from ..system import usable_cpus
from ..watching.windows import COMPARED_UIS

_FOUR: Final = ((STDLIB_PROCESS, None), (LOW_PROCESS, "idle"), (STDLIB_THREAD, None), (AWARE_THREAD, "below_normal"))
THREAD_LEVELS: Final = ("idle", "lowest", "below_normal", "normal", "above_normal", "highest", "time_critical")
_LOWERED: Final = ("below_normal", "lowest", "idle")
GIL_LOADS: Final = ("python", "ufuncs", "sorted", "quad")
# Workers with their own GIL, in place of threads; and their loads and windows: plain code, and a window that needs
# locks which all threads of a process share, so that a low-priority worker may delay it.
OWN_GILS: Final = (
    (STDLIB_INTERPRETER, None),
    *((PRIORITY_INTERPRETER, level) for level in _LOWERED),
    (STDLIB_PROCESS, None),
    (LOW_PROCESS, "idle"),
)
OWN_GIL_PLACES: Final = (("python", "thread"), ("objects", "memory"))
# Drawing times and loads to judge the limit of running workers.
DRAWING_MS: Final = (0.3, 2.0, 5.0)
DRAWING_LOADS: Final = ("python-1ms", "python-10ms", "python-50ms")
AWARE_LOADS: Final = ("python-1ms", "python", "python-50ms", "ufuncs", "matmul", "exp", "svd", "fft", "mixed")
# Tasks that wait, for which a limit might be too low, and tasks that do not end, which might delay other tasks.
WAITING_LOADS: Final = ("waits", "halves", "short-waits")
ENDLESS_LOADS: Final = ("endless", "late")
_MANY_WORKERS: Final = 20
# The pools next to a program in use: in its session, and in another one.
NEIGHBOURS: Final = ((STDLIB_PROCESS, None), ("recipe-psutil", None), (LOW_LEVEL_ONLY, "idle"), (LOW_PROCESS, "idle"))
FAR_NEIGHBOURS: Final = (
    (STDLIB_PROCESS, None),
    ("every-thread-nice", None),
    (LOW_PROCESS, "idle"),
    (LOW_ISOLATED, "idle"),
)
FREE_LOADS: Final = tuple(name for name, load in LOADS.items() if load.holds_gil is False)
_GIL_WORKERS: Final = 4
# Parts of a condition that `Axes` combine with the executors, in this order.
_PLACE: Final = (
    "load", "workers", "blas_threads", "ui", "foreign", "switch_ms", "drawing_ms", "feeding", "python",
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """A suite of conditions."""

    name: str  # on the command line
    question: str  # that the suite answers
    make: Callable[[Sequence[str]], list[Condition]]  # takes labels of further interpreters
    base: Condition  # the condition that `Axes` vary
    executors: tuple[str, ...]  # that `Axes` combine by default
    loads: tuple[str, ...]  # the same
    seconds: float  # duration of a measurement
    rounds: int


@dataclass(frozen=True)
class Axes:
    """The parts that the user wants to vary; an axis of None is not varied."""

    executor: Sequence[str] | None = None
    priority: Sequence[str] | None = None
    load: Sequence[str] | None = None
    workers: Sequence[int] | None = None
    blas_threads: Sequence[int] | None = None
    ui: Sequence[str] | None = None
    foreign: Sequence[int] | None = None
    switch_ms: Sequence[float] | None = None
    drawing_ms: Sequence[float] | None = None
    feeding: Sequence[str] | None = None

    @property
    def chosen(self) -> dict[str, list[Any]]:
        """The axes that were given."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(values) for name, values in given.items() if values is not None}


def conditions_of(design: Design, axes: Axes, pythons: Sequence[str]) -> list[Condition]:
    """Return the conditions to measure: those of the suite, or every combination of the axes that were given.

    They include an idle machine and, unless an axis changes the feeding, the standard library's executor.
    """
    found = _combine(design, axes, pythons) if axes.chosen else design.make(pythons)
    return list(dict.fromkeys(found))


def _combine(design: Design, axes: Axes, pythons: Sequence[str]) -> list[Condition]:
    base = design.base
    given = {**axes.chosen, "load": axes.load or design.loads, "python": ("", *pythons)}
    places = {name: given.get(name) or (getattr(base, name),) for name in _PLACE}
    combined: list[Condition] = []
    for parts in itertools.product(*places.values()):
        condition = base.but(**dict(zip(places, parts, strict=True)))
        combined.append(condition.without_background())
        for executor in axes.executor or design.executors:
            allowed = EXECUTORS[executor].priorities
            chosen = [priority for priority in axes.priority or allowed[:1] if priority in allowed] or allowed[:1]
            if condition.feeding == base.feeding:  # other ways of feeding compare ours with one worker
                combined.append(condition.with_executor(stdlib_of(executor)))
            combined += [condition.with_executor(executor, priority) for priority in chosen or (None,)]
    return combined


def _quick_base() -> Condition:
    return Condition(workers=usable_cpus(), ui="thread", foreground="same-session")


def _make_quick(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    base = _quick_base()
    loaded = [base.but(load=load).with_executor(*each) for load in (FIT, "matmul") for each in _FOUR]
    return [base.without_background(), *loaded]


def _desktop_base() -> Condition:
    return Condition(workers=2 * usable_cpus(), load="matmul", foreground="same-session")


def _make_desktop(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    base, cpus = _desktop_base(), usable_cpus()
    few = [(STDLIB_PROCESS, None), ("recipe-psutil", None), ("every-thread-nice", None), (LOW_PROCESS, "idle")]
    every = [
        (name, priority)
        for name, kind in EXECUTORS.items()
        if kind.processes
        for priority in kind.priorities or (None,)
    ]
    other = base.but(foreground="other-session")
    found = [base.without_background(), other.without_background()]
    found += [base.with_executor(*each) for each in every]
    found += [base.but(workers=workers).with_executor(*each) for workers in (cpus, 4 * cpus) for each in few]
    capped = [*few, ("loky-recipe", None), ("joblib-recipe", None)]
    found += [base.but(blas_threads=1).with_executor(*each) for each in capped]
    found += [other.with_executor(*each) for each in (*few, (LOW_ISOLATED, "idle"))]
    return found


def _make_neighbour(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    base = _desktop_base()
    busy = base.but(foreground="busy-session")
    found = [base.without_background(), busy.without_background()]
    found += [base.with_executor(*each) for each in NEIGHBOURS]
    found += [busy.with_executor(*each) for each in FAR_NEIGHBOURS]
    return found


def _ui_base() -> Condition:
    return Condition(workers=2 * usable_cpus(), ui="thread")


def _make_ui(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    found: list[Condition] = []
    for ui in COMPARED_UIS:
        base = _ui_base().but(ui=ui)
        found.append(base.without_background())
        found += [base.but(load=load).with_executor(*each) for load in ("python", "matmul") for each in _FOUR]
        found += [base.but(load="arrays").with_executor(*each) for each in _FOUR[:2]]
    return found + _drawing(_ui_base().but(ui="thread", load="python-10ms"))


def _drawing(base: Condition) -> list[Condition]:
    """Return conditions with a window that draws in Python, next to thread pools and one worker set up by hand."""
    found = []
    for drawing in DRAWING_MS:
        place = base.but(drawing_ms=drawing)
        executors = ((STDLIB_THREAD, None), (BY_HAND, None), (AWARE_THREAD, "below_normal"))
        found += [place.without_background(), *(place.with_executor(*each) for each in executors)]
    return found


def _gil_base() -> Condition:
    return Condition(workers=_GIL_WORKERS, ui="thread")


def _make_gil(pythons: Sequence[str]) -> list[Condition]:
    base = _gil_base()
    found: list[Condition] = []
    for load in (*GIL_LOADS, *FREE_LOADS):
        # Raised priorities starve other threads, and take long to measure: two loads are enough to show that.
        levels = THREAD_LEVELS if load in ("python", "matmul") else THREAD_LEVELS[:4]
        found += _levels(base.but(load=load), levels)
    for load in ("python", "ufuncs", "matmul"):
        found += _levels(base.but(load=load, foreign=4), _LOWERED)
    for load, workers in itertools.product(("python", "matmul"), (1, 2)):
        found += _levels(base.but(load=load, workers=workers), ("idle",))
    for load in ("python", "ufuncs"):
        found += _levels(base.but(load=load, switch_ms=1.0), ("idle",))
    for (load, ui), foreign in itertools.product(OWN_GIL_PLACES, (0, 4)):
        place = base.but(load=load, ui=ui, foreign=foreign)
        found += [place.without_background(), place.with_executor(STDLIB_THREAD)]
        found += [place.with_executor(*each) for each in OWN_GILS]
    for python, load in itertools.product(pythons, ("python", "ufuncs", "sorted", "matmul")):
        found += _levels(base.but(load=load, python=python), ("idle",))
    aware = [base.but(load=load) for load in AWARE_LOADS]
    aware += [base.but(load="python", foreign=4)]
    aware += [base.but(load=load, workers=_MANY_WORKERS) for load in WAITING_LOADS]
    aware += [base.but(load=load) for load in ENDLESS_LOADS]
    aware += [base.but(load="python", python=python) for python in pythons]
    for load in DRAWING_LOADS:
        found += _drawing(base.but(load=load))
    for place in aware:
        found += [place.with_executor(STDLIB_THREAD), place.with_executor(AWARE_THREAD, "below_normal")]
    found += [base.but(load="python", python=python).with_executor(AWARE_THREAD, "lowest") for python in pythons]
    return found


def _levels(condition: Condition, priorities: Sequence[str]) -> list[Condition]:
    return [
        condition.without_background(),
        condition.with_executor(STDLIB_THREAD),
        *(condition.with_executor(PRIORITY_THREAD, priority) for priority in priorities),
    ]


DESIGNS: Final = {
    design.name: design
    for design in (
        Design(
            "quick",
            "which executor to take, in a minute: a real job beside a program in use",
            _make_quick,
            _quick_base(),
            tuple(executor for executor, _ in _FOUR),
            (FIT, "matmul"),
            seconds=1.6,
            rounds=2,
        ),
        Design(
            "desktop",
            "is the system still responsive? The window is another process",
            _make_desktop,
            _desktop_base(),
            tuple(name for name, kind in EXECUTORS.items() if kind.processes),
            ("matmul",),
            seconds=4.0,
            rounds=3,
        ),
        Design(
            "neighbour",
            "what does another program lose, and what is done meanwhile? By default, and against another session",
            _make_neighbour,
            _desktop_base(),
            (STDLIB_PROCESS, LOW_PROCESS),
            ("matmul",),
            seconds=4.0,
            rounds=5,
        ),
        Design(
            "ui",
            "does my own window still move? The window is the main thread of the process with the executor",
            _make_ui,
            _ui_base(),
            tuple(executor for executor, _ in _FOUR),
            ("python", "matmul"),
            seconds=3.0,
            rounds=3,
        ),
        Design(
            "gil",
            "when does thread priority matter? Loads that hold the GIL or release it, at every thread level",
            _make_gil,
            _gil_base(),
            (STDLIB_THREAD, PRIORITY_THREAD),
            (*GIL_LOADS, *FREE_LOADS),
            seconds=1.6,
            rounds=5,
        ),
    )
}
