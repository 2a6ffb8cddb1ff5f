"""The suites: which conditions each of them measures.

Each starts at a base and varies one thing at a time, for every combination of everything would take days. With
:class:`Axes` the user asks for combinations of their own.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..subjects.condition import Condition
from ..subjects.executors import (
    AWARE_THREAD,
    BY_HAND,
    EXECUTORS,
    LOW_ISOLATED,
    LOW_LEVEL_ONLY,
    LOW_PROCESS,
    PRIORITY_THREAD,
    STDLIB_PROCESS,
    STDLIB_THREAD,
    stdlib_of,
)
from ..subjects.loads import FIT, LOADS
from ..system import usable_cpus
from ..watching.windows import UIS

_FOUR: Final = ((STDLIB_PROCESS, None), (LOW_PROCESS, "idle"), (STDLIB_THREAD, None), (AWARE_THREAD, "below_normal"))
THREAD_LEVELS: Final = ("idle", "lowest", "below_normal", "normal", "above_normal", "highest", "time_critical")
_LOWERED: Final = ("below_normal", "lowest", "idle")
GIL_LOADS: Final = ("python", "ufuncs", "sorted", "quad")
# What the limit of running workers is judged by.
DRAWING_MS: Final = (0.3, 2.0, 5.0)
DRAWING_LOADS: Final = ("python-1ms", "python-10ms", "python-50ms")
AWARE_LOADS: Final = ("python-1ms", "python", "python-50ms", "ufuncs", "matmul", "exp", "svd", "fft", "mixed")
# Tasks that wait, for which a limit might be too low, and tasks that do not end, for which others might wait.
WAITING_LOADS: Final = ("waits", "halves", "short-waits")
ENDLESS_LOADS: Final = ("endless", "late")
_MANY_WORKERS: Final = 20
# Who works beside a program in use: in its session, and in another one.
NEIGHBOURS: Final = ((STDLIB_PROCESS, None), ("recipe-psutil", None), (LOW_LEVEL_ONLY, "idle"), (LOW_PROCESS, "idle"))
FAR_NEIGHBOURS: Final = (
    (STDLIB_PROCESS, None),
    ("every-thread-nice", None),
    (LOW_PROCESS, "idle"),
    (LOW_ISOLATED, "idle"),
)
FREE_LOADS: Final = tuple(name for name, load in LOADS.items() if load.holds_gil is False)
_GIL_WORKERS: Final = 4


@dataclass(frozen=True)
class Design:
    """A suite of conditions.

    Parameters
    ----------
    name : str
        As on the command line.
    question : str
        What it answers.
    make : callable
        Takes labels of further interpreters, returns the conditions.
    base : Condition
        Where `Axes` start from.
    executors, loads : tuple of str
        What `Axes` combine unless told otherwise.
    seconds : float
        Length of a window.
    rounds : int
        How often.
    """

    name: str
    question: str
    make: Callable[[Sequence[str]], list[Condition]]
    base: Condition
    executors: tuple[str, ...]
    loads: tuple[str, ...]
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Axes:
    """What the user wants to see; an axis of None is not varied."""

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
    def chosen(self) -> dict[str, list[object]]:
        """The axes that were given."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(values) for name, values in given.items() if values is not None}


def conditions_of(design: Design, axes: Axes, pythons: Sequence[str]) -> list[Condition]:
    """Return what to measure: the suite's conditions, or every combination of the axes that were given.

    Wherever an executor is measured, so are the standard library's and an idle machine under the same conditions.
    """
    found = _combine(design, axes, pythons) if axes.chosen else design.make(pythons)
    return list(dict.fromkeys(found))


def _combine(design: Design, axes: Axes, pythons: Sequence[str]) -> list[Condition]:
    base = design.base
    combined: list[Condition] = []
    for load, workers, blas, ui, foreign, switch, drawing, feeding, python in itertools.product(
        axes.load or design.loads,
        axes.workers or (base.workers,),
        axes.blas_threads or (base.blas_threads,),
        axes.ui or (base.ui,),
        axes.foreign or (base.foreign,),
        axes.switch_ms or (base.switch_ms,),
        axes.drawing_ms or (base.drawing_ms,),
        axes.feeding or (base.feeding,),
        ("", *pythons),
    ):
        condition = dataclasses.replace(
            base,
            load=load,
            workers=workers,
            blas_threads=blas,
            ui=ui,
            foreign=foreign,
            switch_ms=switch,
            drawing_ms=drawing,
            feeding=feeding,
            python=python,
        )
        combined.append(condition.without_background())
        for executor in axes.executor or design.executors:
            allowed = EXECUTORS[executor].priorities
            chosen = [priority for priority in axes.priority or allowed[:1] if priority in allowed] or allowed[:1]
            if feeding == base.feeding:  # the others are to compare ours with one worker
                combined.append(condition.with_executor(stdlib_of(executor)))
            combined += [condition.with_executor(executor, priority) for priority in chosen or (None,)]
    return combined


def _quick_base() -> Condition:
    return Condition(workers=usable_cpus(), ui="thread", foreground="same-session")


def _make_quick(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    base = _quick_base()
    loaded = [dataclasses.replace(base, load=load).with_executor(*each) for load in (FIT, "matmul") for each in _FOUR]
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
    other = dataclasses.replace(base, foreground="other-session")
    found = [base.without_background(), other.without_background()]
    found += [base.with_executor(*each) for each in every]
    found += [
        dataclasses.replace(base, workers=workers).with_executor(*each) for workers in (cpus, 4 * cpus) for each in few
    ]
    capped = [*few, ("loky-recipe", None), ("joblib-recipe", None)]
    found += [dataclasses.replace(base, blas_threads=1).with_executor(*each) for each in capped]
    found += [other.with_executor(*each) for each in (*few, (LOW_ISOLATED, "idle"))]
    return found


def _make_neighbour(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    base = _desktop_base()
    busy = dataclasses.replace(base, foreground="busy-session")
    found = [base.without_background(), busy.without_background()]
    found += [base.with_executor(*each) for each in NEIGHBOURS]
    found += [busy.with_executor(*each) for each in FAR_NEIGHBOURS]
    return found


def _ui_base() -> Condition:
    return Condition(workers=2 * usable_cpus(), ui="thread")


def _make_ui(pythons: Sequence[str]) -> list[Condition]:
    del pythons
    found: list[Condition] = []
    for ui in UIS:
        base = dataclasses.replace(_ui_base(), ui=ui)
        found.append(base.without_background())
        found += [
            dataclasses.replace(base, load=load).with_executor(*each) for load in ("python", "matmul") for each in _FOUR
        ]
        found += [dataclasses.replace(base, load="arrays").with_executor(*each) for each in _FOUR[:2]]
    return found + _drawing(dataclasses.replace(_ui_base(), ui="thread", load="python-10ms"))


def _drawing(base: Condition) -> list[Condition]:
    """Return a window that draws in Python, beside pools of threads and one worker set up by hand."""
    found = []
    for drawing in DRAWING_MS:
        place = dataclasses.replace(base, drawing_ms=drawing)
        executors = ((STDLIB_THREAD, None), (BY_HAND, None), (AWARE_THREAD, "below_normal"))
        found += [place.without_background(), *(place.with_executor(*each) for each in executors)]
    return found


def _gil_base() -> Condition:
    return Condition(workers=_GIL_WORKERS, ui="thread")


def _make_gil(pythons: Sequence[str]) -> list[Condition]:
    base = _gil_base()
    found: list[Condition] = []
    for load in (*GIL_LOADS, *FREE_LOADS):
        # Raised levels starve whatever is beside them, and take their time: two loads show that.
        levels = THREAD_LEVELS if load in ("python", "matmul") else THREAD_LEVELS[:4]
        found += _levels(dataclasses.replace(base, load=load), levels)
    for load in ("python", "ufuncs", "matmul"):
        found += _levels(dataclasses.replace(base, load=load, foreign=4), _LOWERED)
    for load, workers in itertools.product(("python", "matmul"), (1, 2)):
        found += _levels(dataclasses.replace(base, load=load, workers=workers), ("idle",))
    for load in ("python", "ufuncs"):
        found += _levels(dataclasses.replace(base, load=load, switch_ms=1.0), ("idle",))
    for python, load in itertools.product(pythons, ("python", "ufuncs", "sorted", "matmul")):
        found += _levels(dataclasses.replace(base, load=load, python=python), ("idle",))
    aware = [dataclasses.replace(base, load=load) for load in AWARE_LOADS]
    aware += [dataclasses.replace(base, load="python", foreign=4)]
    aware += [dataclasses.replace(base, load=load, workers=_MANY_WORKERS) for load in WAITING_LOADS]
    aware += [dataclasses.replace(base, load=load) for load in ENDLESS_LOADS]
    aware += [dataclasses.replace(base, load="python", python=python) for python in pythons]
    for load in DRAWING_LOADS:
        found += _drawing(dataclasses.replace(base, load=load))
    for place in aware:
        found += [place.with_executor(STDLIB_THREAD), place.with_executor(AWARE_THREAD, "below_normal")]
    found += [
        dataclasses.replace(base, load="python", python=python).with_executor(AWARE_THREAD, "lowest")
        for python in pythons
    ]
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
